"""Setting switches in KV: the reading, the one write of each with its comparison, and what then has to show.

Shared by all that set one. KV has no comparison at a write and no history: of two runs that write the same key the
later one wins, and the earlier one finds another's revision there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ops.core.errors import Refused
from ops.core.next_step import SuggestedCommand
from ops.core.plan import Change, Plan
from ops.core.runtime_contract import ENDPOINT, ReportedSwitch, SwitchValue, revision_of
from ops.core.suggestions import shown
from ops.core.threads import start
from ops.engine.context import Context, P
from ops.engine.runbook import ChangeState, ObservedState, Runbook, TokenPermissions
from ops.probes.runner import ProbeSet
from ops.switches import values as switches
from ops.switches.values import Left, Standing, Wanted

if TYPE_CHECKING:
    from ops.config import Environment, Service
    from ops.config.probes import Probe
    from ops.config.runtime import RuntimeConfig

KIND = "runtime"
NOTHING: Mapping[str, Any] = {}
ELSEWHERE = "seen at one location; others may take a minute and longer, since KV is eventually consistent"
NEW_KEY = (
    "nobody ever set {name}: where it was looked for a moment ago, KV may go on to say for a minute that it is not "
    "there. `ops switches prepare` makes the keys on a calm day"
)
REPLACES = (
    "the application shows {name} = {state} already, set by another run than KV shows. Its incident, end and message "
    "are not known, and this run replaces them. To keep them, run the same command again in a minute instead"
)
A_MOMENT = 2.0
"""Seconds that a write waits for what the application shows."""


@dataclass(frozen=True)
class Setting:
    """One write: what was there, and what is to be there."""

    standing: Standing
    value: SwitchValue
    replaces: bool = False
    """The application shows this state by a value that KV does not show: what else that says is not known."""


@dataclass(frozen=True)
class Settings:
    """What each change of a plan is, and what the public endpoint has to show in the end: JSON path → value."""

    of: Mapping[Change, Setting]
    shows: Mapping[str, Any] = field(default_factory=dict)


class SwitchRunbook(Runbook[P, Settings]):
    """What it sets is told of in a Settings."""

    kind = KIND
    writes = (("PUT", "/accounts/*/storage/kv/namespaces/*/values/*"),)
    permissions = TokenPermissions(cloudflare=("Workers KV Storage Write", "Workers Scripts Read"))

    def service(self, params: P, environment: "Environment") -> str:  # noqa: ARG002  whatever is set
        """The one that reads the switches."""
        return environment.runtime.service if environment.runtime else ""

    def probes(self, ctx: Context[P], plan: Plan[Settings] | None) -> ProbeSet:
        """The public endpoint, and beside it what tells whether the service is well."""
        _, service = reader(ctx)
        shows = self.wanted(ctx) if plan is None else plan.details.shows
        return probe_set(ctx, shows, self.own_probes(ctx, service, plan))

    def wanted(self, ctx: Context[P]) -> Mapping[str, Any]:  # noqa: ARG002  most know no more before they read
        """What the public endpoint would show, were it so already. Sends nothing. Raises ConfigError."""
        return {}

    def own_probes(self, ctx: Context[P], service: "Service", plan: Plan[Settings] | None) -> "tuple[Probe, ...]":  # noqa: ARG002
        return service.probes

    def check(self, ctx: Context[P], plan: Plan[Settings], change: Change) -> ObservedState:
        return check(ctx, plan.details.of[change])

    def apply(self, ctx: Context[P], plan: Plan[Settings], change: Change) -> str:
        return apply(ctx, plan.details.of[change])


def reader(ctx: Context[Any]) -> "tuple[RuntimeConfig, Service]":
    """Who reads switches here, as ops.yml has it. Raises ConfigError."""
    runtime = ctx.environment.needed_runtime()
    return runtime, ctx.environment.service(runtime.service)


def read(ctx: Context[Any], name: str) -> Standing:
    """One switch of ops.yml. Raises ConfigError, Refused where it is not understood, ProviderError."""
    runtime, _ = reader(ctx)
    rules = switches.rules_of(runtime, name)
    key = Standing(name, rules, None, None).key
    return switches.standing(name, rules, ctx.cloudflare.kv.read_value(runtime.namespace, key))


def read_all(ctx: Context[Any]) -> tuple[dict[str, Standing], list[Left]]:
    """Every switch of ops.yml, 100 in one request; and those that are not understood. Raises ProviderError."""
    runtime, _ = reader(ctx)
    keys = {name: Standing(name, rules, None, None).key for name, rules in runtime.switches.items()}
    values = ctx.cloudflare.kv.read_values(runtime.namespace, list(keys.values()))
    found, left = dict[str, Standing](), list[Left]()
    for name, rules in runtime.switches.items():
        try:
            found[name] = switches.standing(name, rules, values[keys[name]])
        except Refused as error:
            left.append(Left(name, error.message))
    return found, left


def setting(ctx: Context[Any], standing: Standing, wanted: Wanted) -> Setting | None:
    """None where it is so already, by KV and by the application.

    KV's API may answer a former value for a while: what was set a moment ago can still be taken back, or set again.
    """
    revision, now = revision_of(ctx.run_id, standing.key), ctx.clock.now()
    value = switches.value_of(standing, wanted, revision=revision, now=now)
    seen = _seen(ctx, standing.name, wait=A_MOMENT if value else None)
    if value is None and seen is not None and (seen.state != wanted.state or standing.differs_from(seen)):
        value = switches.value_of(standing, wanted, revision=revision, now=now, repeat=True)
    if value is None:
        return None
    holds_more = seen is not None and seen.state == wanted.state != standing.rules.normal
    return Setting(standing, value, replaces=holds_more and standing.differs_from(seen))


def _seen(ctx: Context[Any], name: str, *, wait: float | None) -> ReportedSwitch | None:
    try:
        return start(lambda: shown_switches(ctx)).result(timeout=wait).get(name)
    except TimeoutError:
        return None


def shown_switches(ctx: Context[Any]) -> Mapping[str, ReportedSwitch]:
    """Switch → what the application shows of it; nothing where its answer is not understood."""
    _, service = reader(ctx)
    document = ctx.web.shown(service.url)
    return {} if isinstance(document, str) else document.switches


def first_setting(ctx: Context[Any], standing: Standing) -> Setting:
    """The key of a switch that nobody ever set, in its normal state."""
    value = SwitchValue(
        standing.rules.normal,
        ctx.request.actor,
        ctx.request.incident,
        ctx.clock.now(),
        revision_of(ctx.run_id, standing.key),
    )
    return Setting(standing, value)


def changes(ctx: Context[Any], made: Iterable[tuple[Setting, SuggestedCommand | None]]) -> dict[Change, Setting]:
    now = ctx.clock.now()
    return {
        Change(
            target=f"Switch {each.standing.name}",
            before=each.standing.told(now),
            after=switches.coming(each.value),
            done_when=f"KV holds it with the revision {each.value.revision}",
            undo=undo,
        ): each
        for each, undo in made
    }


def planned(
    ctx: Context[Any],
    standing: Standing,
    made: Setting | None,
    undo: SuggestedCommand | None,
    shows: Mapping[str, Any] = NOTHING,
) -> Settings:
    """Of one switch: its change, where there is one, and what then shows, beside `shows`."""
    value = made.value if made else standing.value
    state = made.value.state if made else standing.state(ctx.clock.now())
    # A value that has ended shows as the normal state, and of its revision nothing is promised.
    revision = value.revision if value and not value.is_over(ctx.clock.now()) else None
    of = changes(ctx, [(made, undo)]) if made else {}
    return Settings(of, {**switches.shown_json(standing.name, state, revision), **shows})


def probe_set(ctx: Context[Any], shows: Mapping[str, Any], own: "tuple[Probe, ...]" = ()) -> ProbeSet:
    """Until `settle` the former value may show: KV takes its time."""
    from ops.config.probes import Probe

    runtime, service = reader(ctx)
    probe = Probe.model_validate({"name": "runtime", "http": {"path": ENDPOINT, "json": dict(shows)}})
    verify = service.verify
    deadline = max(runtime.settle, verify.successes * verify.interval)
    own_verify = verify.model_copy(update={"deadline": deadline})
    return ProbeSet(service.url, (probe, *own), own_verify, deciding=probe.name)


def check(ctx: Context[Any], setting: Setting) -> ObservedState:
    """By the revision: a value of the same state may be another's. KV's API may answer a former value for a while."""
    runtime, _ = reader(ctx)
    standing = setting.standing
    text = ctx.cloudflare.kv.read_value(runtime.namespace, standing.key)
    if text == standing.text:
        held = f"KV holds {standing.name} as it was: {standing.told(ctx.clock.now())}"
        return ObservedState(ChangeState.PLANNED, held, may_lag=True)
    try:
        found = switches.standing(standing.name, standing.rules, text)
    except Refused as error:
        return ObservedState(ChangeState.CHANGED_ELSEWHERE, error.message, may_lag=True)
    if found.value is not None and found.value.revision == setting.value.revision:
        return ObservedState(ChangeState.DONE, f"KV holds {standing.name} = {shown(found.value.state)}, by this run")
    return ObservedState(
        ChangeState.CHANGED_ELSEWHERE, f"{standing.name} is {found.told(ctx.clock.now())}", may_lag=True
    )


def apply(ctx: Context[Any], setting: Setting) -> str:
    runtime, _ = reader(ctx)
    ctx.cloudflare.kv.write_value(runtime.namespace, setting.standing.key, setting.value.to_json())
    return f"Cloudflare took it: {setting.standing.name} = {setting.value.state}"


def warnings(made: Iterable[Setting]) -> tuple[str, ...]:
    found = list(made)
    return (
        *(NEW_KEY.format(name=each.standing.name) for each in found if each.standing.value is None),
        *(REPLACES.format(name=each.standing.name, state=each.value.state) for each in found if each.replaces),
    )
