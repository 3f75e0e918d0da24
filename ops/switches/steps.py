"""Read, plan, write and check switches in KV.

Shared by all runbooks that set a switch. KV has no compare-and-set and no history: if two runs write the same key, the
later one wins, and the earlier one reads back another revision.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ops.config.probes import ProbeSet, probes_claim
from ops.core.errors import Refused
from ops.core.next_step import SuggestedCommand
from ops.core.plan import Change, Plan
from ops.core.runtime_contract import RUNTIME_PATH, ReportedSwitch, SwitchValue, make_revision
from ops.core.suggestions import quote_name
from ops.core.threads import start_call
from ops.engine.context import Context, P
from ops.engine.runbook import ChangeState, ObservedState, Runbook, TokenPermissions
from ops.switches import values as switches
from ops.switches.values import DesiredValue, SkippedSwitch, SwitchState

if TYPE_CHECKING:
    from ops.config import Environment, Service
    from ops.config.probes import Probe
    from ops.config.runtime import RuntimeConfig

KIND = "runtime"
NOTHING: Mapping[str, Any] = {}
SEEN = "seen at one location"
ONE_LOCATION_NOTE = "other locations may take a minute or longer, because KV is eventually consistent"
"""Limit of every proof that reads the application at one location."""
NEW_KEY_WARNING = (
    "{name} was never set: locations that read it recently may miss the new key for a minute. Run "
    "`ops switches prepare` on a quiet day to create all keys"
)
REPLACES_WARNING = (
    "the application already shows {name} = {state}, from a run that KV does not show yet. This run replaces its "
    "unknown incident, end and message. To keep them, run the same command in a minute instead"
)
SHOWN_STATE_TIMEOUT = 2.0
"""Longest wait, in seconds, for the switches that the application shows before a write."""


@dataclass(frozen=True)
class SwitchWrite:
    """One write: the current state of a switch, and its new value."""

    current: SwitchState
    value: SwitchValue
    replaces_unknown: bool = False
    """Whether the application shows this state from a value that KV does not show, with unknown other fields."""


@dataclass(frozen=True)
class SwitchDetails:
    """Write of each change in a plan, and the values that the public endpoint must show afterwards by JSON path."""

    writes: Mapping[Change, SwitchWrite]
    expected: Mapping[str, Any] = field(default_factory=dict)


class SwitchRunbook(Runbook[P, SwitchDetails]):
    """Base of the runbooks that set switches; their plans carry SwitchDetails."""

    kind = KIND
    writes = (("PUT", "/accounts/*/storage/kv/namespaces/*/values/*"),)
    permissions = TokenPermissions(cloudflare=("Workers KV Storage Write", "Workers Scripts Read"))

    def service(self, params: P, environment: "Environment") -> str:  # noqa: ARG002  the same for each switch
        """Return the service that reads the switches."""
        return environment.runtime.service if environment.runtime else ""

    def probes(self, ctx: Context[P], plan: Plan[SwitchDetails] | None) -> ProbeSet:
        """Probe the public endpoint, and the health of the service."""
        _, service = switch_reader(ctx)
        shows = self.expected_before_plan(ctx) if plan is None else plan.details.expected
        return build_probe_set(ctx, shows, self.own_probes(ctx, service, plan))

    def expected_before_plan(self, ctx: Context[P]) -> Mapping[str, Any]:  # noqa: ARG002  most know no more before they read
        """Return the expected values of the public endpoint before there is a plan. Raises ConfigError."""
        return {}

    def own_probes(self, ctx: Context[P], service: "Service", plan: Plan[SwitchDetails] | None) -> "tuple[Probe, ...]":  # noqa: ARG002
        return service.probes

    def check(self, ctx: Context[P], plan: Plan[SwitchDetails], change: Change) -> ObservedState:
        return check_write(ctx, plan.details.writes[change])

    def apply(self, ctx: Context[P], plan: Plan[SwitchDetails], change: Change) -> str:
        return apply_write(ctx, plan.details.writes[change])


def switch_reader(ctx: Context[Any]) -> "tuple[RuntimeConfig, Service]":
    """Return the runtime settings and the service that reads switches. Raises ConfigError."""
    runtime = ctx.environment.require_runtime()
    return runtime, ctx.environment.service(runtime.service)


def read_switch(ctx: Context[Any], name: str) -> SwitchState:
    """Read one switch. Raises ConfigError, ProviderError, and Refused if its value is malformed."""
    runtime, _ = switch_reader(ctx)
    rules = switches.find_rules(runtime, name)
    key = SwitchState(name, rules, None, None).key
    return switches.parse_state(name, rules, ctx.cloudflare.kv.read_value(runtime.namespace, key))


def read_switches(ctx: Context[Any]) -> tuple[dict[str, SwitchState], list[SkippedSwitch]]:
    """Read all switches, 100 per request; skip those with a malformed value. Raises ProviderError."""
    runtime, _ = switch_reader(ctx)
    keys = {name: SwitchState(name, rules, None, None).key for name, rules in runtime.switches.items()}
    values = ctx.cloudflare.kv.read_values(runtime.namespace, list(keys.values()))
    found, left = dict[str, SwitchState](), list[SkippedSwitch]()
    for name, rules in runtime.switches.items():
        try:
            found[name] = switches.parse_state(name, rules, values[keys[name]])
        except Refused as error:
            left.append(SkippedSwitch(name, error.message))
    return found, left


def plan_write(ctx: Context[Any], current: SwitchState, desired: DesiredValue) -> SwitchWrite | None:
    """Plan the write; None if both KV and the application show the desired state.

    KV's API may return a previous value for a while, so a recent change can still be reverted or repeated.
    """
    revision, now = make_revision(ctx.run_id, current.key), ctx.clock.now()
    value = switches.value_to_write(current, desired, revision=revision, now=now)
    observed = _read_shown_switch(ctx, current.name, wait=SHOWN_STATE_TIMEOUT if value else None)
    if value is None and observed is not None and (observed.state != desired.state or current.differs_from(observed)):
        value = switches.value_to_write(current, desired, revision=revision, now=now, repeat=True)
    if value is None:
        return None
    holds_more = observed is not None and observed.state == desired.state != current.rules.normal
    return SwitchWrite(current, value, replaces_unknown=holds_more and current.differs_from(observed))


def _read_shown_switch(ctx: Context[Any], name: str, *, wait: float | None) -> ReportedSwitch | None:
    try:
        return start_call(lambda: read_shown_switches(ctx)).result(timeout=wait).get(name)
    except TimeoutError:
        return None


def read_shown_switches(ctx: Context[Any]) -> Mapping[str, ReportedSwitch]:
    """Read the switches that the application shows; empty if its answer is malformed."""
    _, service = switch_reader(ctx)
    document = ctx.web.fetch_runtime_state(service.url)
    return {} if isinstance(document, str) else document.switches


def expected_after(writes: Iterable[SwitchWrite]) -> dict[str, Any]:
    """Return what the public endpoint must show after these writes, by JSON path."""
    found = [switches.expected_json(each.current.name, each.value.state, each.value.revision) for each in writes]
    return {path: value for each in found for path, value in each.items()}


def plan_first_write(ctx: Context[Any], current: SwitchState) -> SwitchWrite:
    """Plan the first value of a switch: its normal state."""
    value = SwitchValue(
        current.rules.normal,
        ctx.request.actor,
        ctx.request.incident,
        ctx.clock.now(),
        make_revision(ctx.run_id, current.key),
    )
    return SwitchWrite(current, value)


def build_changes(
    ctx: Context[Any], planned: Iterable[tuple[SwitchWrite, SuggestedCommand | None]]
) -> dict[Change, SwitchWrite]:
    now = ctx.clock.now()
    return {
        Change(
            target=f"Switch {each.current.name}",
            before=each.current.describe(now),
            after=switches.describe_planned(each.value),
            done_when=f"KV holds it with the revision {each.value.revision}",
            undo=undo,
        ): each
        for each, undo in planned
    }


def build_details(
    ctx: Context[Any],
    current: SwitchState,
    write: SwitchWrite | None,
    undo: SuggestedCommand | None,
    shows: Mapping[str, Any] = NOTHING,
) -> SwitchDetails:
    """Build the details of one switch; `shows` are further values that the public endpoint must show."""
    value = write.value if write else current.value
    state = write.value.state if write else current.state(ctx.clock.now())
    # An ended value shows as the normal state; its revision may be missing.
    revision = value.revision if value and not value.is_over(ctx.clock.now()) else None
    writes = build_changes(ctx, [(write, undo)]) if write else {}
    return SwitchDetails(writes, {**switches.expected_json(current.name, state, revision), **shows})


def build_probe_set(ctx: Context[Any], shows: Mapping[str, Any], own: "tuple[Probe, ...]" = ()) -> ProbeSet:
    """Return the probes; the deadline covers `settle`, during which KV may show the previous value."""
    from ops.config.probes import Probe

    runtime, service = switch_reader(ctx)
    probe = Probe.model_validate({"name": "runtime", "http": {"path": RUNTIME_PATH, "json": dict(shows)}})
    verify = service.verify
    deadline = max(runtime.settle, verify.successes * verify.interval)
    own_verify = verify.model_copy(update={"deadline": deadline})
    return ProbeSet(service.url, (probe, *own), own_verify, deciding=probe.name)


def describe_health(ctx: Context[Any], name: str = "") -> str:
    """Return what healthy probes show of the service, for the claim of a plan that sets the switch `name`."""
    runtime, service = switch_reader(ctx)
    own = runtime.switches[name].probes if name else ()
    return probes_claim((*service.probes, *own))


def check_write(ctx: Context[Any], setting: SwitchWrite) -> ObservedState:
    """Check by revision, because another run may write the same state. KV's API may return a previous value."""
    runtime, _ = switch_reader(ctx)
    current = setting.current
    text = ctx.cloudflare.kv.read_value(runtime.namespace, current.key)
    if text == current.text:
        message = f"KV holds {current.name} unchanged: {current.describe(ctx.clock.now())}"
        return ObservedState(ChangeState.PLANNED, message, may_lag=True)
    try:
        found = switches.parse_state(current.name, current.rules, text)
    except Refused as error:
        return ObservedState(ChangeState.CHANGED_ELSEWHERE, error.message, may_lag=True)
    if found.value is not None and found.value.revision == setting.value.revision:
        return ObservedState(
            ChangeState.DONE, f"KV holds {current.name} = {quote_name(found.value.state)}, by this run"
        )
    return ObservedState(
        ChangeState.CHANGED_ELSEWHERE, f"{current.name} is {found.describe(ctx.clock.now())}", may_lag=True
    )


def apply_write(ctx: Context[Any], setting: SwitchWrite) -> str:
    runtime, _ = switch_reader(ctx)
    ctx.cloudflare.kv.write_value(runtime.namespace, setting.current.key, setting.value.to_json())
    return f"Cloudflare accepted it: {setting.current.name} = {setting.value.state}"


def write_warnings(planned: Iterable[SwitchWrite]) -> tuple[str, ...]:
    found = list(planned)
    return (
        *(NEW_KEY_WARNING.format(name=each.current.name) for each in found if each.current.value is None),
        *(
            REPLACES_WARNING.format(name=each.current.name, state=each.value.state)
            for each in found
            if each.replaces_unknown
        ),
    )
