"""Read, plan, write and check switches in KV.

Shared by all runbooks that set a switch. KV has no compare-and-set and no history: if two runs write the same key, the
later one wins, and the earlier one reads back another revision.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ops.config.probes import ProbeSet, probes_claim
from ops.core.clock import format_duration, format_utc
from ops.core.errors import NeedsAcceptance, OpsError, Reason, Refused
from ops.core.names import quote_name
from ops.core.next_step import SuggestedCommand
from ops.core.owners import StateOwner, describe_owners, find_others, find_owner
from ops.core.runtime_contract import (
    NAMESPACE_BINDING,
    RUNTIME_PATH,
    ReportedSwitch,
    SwitchValue,
    make_revision,
    tag_owners,
)
from ops.core.threads import start_call
from ops.engine.context import CloudflareClients, Context, P
from ops.engine.runbook import Runbook, TokenPermissions
from ops.engine.step import ChangeState, ObservedState, ReadBackWords, Step
from ops.switches import values as switches
from ops.switches.values import SAME_END_TOLERANCE, DesiredValue, SkippedSwitch, SwitchState, describe_planned

if TYPE_CHECKING:
    from ops.config import Environment, Service
    from ops.config.probes import Probe
    from ops.config.sections import RuntimeConfig

T = TypeVar("T")
KIND = "runtime"
NOTHING: Mapping[str, Any] = {}
ONE_LOCATION_NOTE = "other locations may take a minute or longer, because KV is eventually consistent"
"""Limit of every proof that reads the application at one location."""
NEW_KEY_WARNING = (
    "{name} was never set: locations that read it recently may miss the new key for a minute. Run "
    "`ops switches prepare` on a quiet day to create all keys"
)
ACCEPT_OWNERS = "Incidents and persons whose other state this may replace, such as 7,dana"
ACCEPT_LONGER = "Allow an end later than `longest` after the first start"
REPLACES_WARNING = (
    "the application already shows {name} = {state}, from a run that KV does not show yet. This run replaces its "
    "unknown incident, end and message. To keep them, run the same command in a minute instead"
)
WRITES_AGAIN = ReadBackWords(repeat="it writes the value again, unless KV and the application show it.")
SHOWN_STATE_TIMEOUT = 2.0
"""Longest wait, in seconds, for the switches that the application shows before a write."""


@dataclass(frozen=True)
class SwitchWrite:
    """One write: the current state of a switch, and its new value."""

    current: SwitchState
    value: SwitchValue
    replaces_unknown: bool = False
    """Whether the application shows this state from a value that KV does not show, with unknown other fields."""

    def stays_for(self, desired: DesiredValue) -> tuple[StateOwner, ...]:
        """Return the owners for whom the standing state stays, although another one was requested."""
        return self.value.owners if self.value.state != desired.state else ()


@dataclass(frozen=True, kw_only=True, eq=False)
class SetSwitch(Step):
    """Write one switch to KV."""

    write: SwitchWrite
    words: ReadBackWords = WRITES_AGAIN

    @staticmethod
    def of(ctx: Context[Any], write: SwitchWrite, undo: SuggestedCommand | None = None) -> "SetSwitch":
        return SetSwitch(
            target=f"Switch {write.current.name}",
            before=write.current.describe(ctx.clock.now()),
            after=switches.describe_planned(write.value),
            done_when=f"KV holds it with the revision {write.value.revision}",
            undo=undo,
            write=write,
        )

    def check(self, ctx: Context[Any]) -> ObservedState:
        """Check by revision, because another run may write the same state. KV's API may return a previous value."""
        current, now = self.write.current, ctx.clock.now()
        text = ctx.cloudflare.kv.read_value(switch_reader(ctx)[0].namespace, current.key)
        if text == current.text:
            message = f"KV holds {current.name} unchanged: {current.describe(now)}"
            return ObservedState(ChangeState.PLANNED, message, may_lag=True)
        try:
            live = switches.parse_switch_state(current.name, current.rules, text)
        except Refused as error:
            return ObservedState(ChangeState.CHANGED_ELSEWHERE, error.message, may_lag=True)
        if live.value is not None and live.value.revision == self.write.value.revision:
            return ObservedState(
                ChangeState.DONE, f"KV holds {current.name} = {quote_name(live.value.state)}, by this run"
            )
        return ObservedState(ChangeState.CHANGED_ELSEWHERE, f"{current.name} is {live.describe(now)}", may_lag=True)

    def apply(self, ctx: Context[Any]) -> str:
        current, value = self.write.current, self.write.value
        ctx.cloudflare.kv.write_value(switch_reader(ctx)[0].namespace, current.key, value.to_json())
        return f"Cloudflare accepted it: {current.name} = {value.state}"


class SwitchRunbook(Runbook[P]):
    """Base of the runbooks that set switches."""

    kinds = (KIND,)
    writes = (("PUT", "/accounts/*/storage/kv/namespaces/*/values/*"),)
    permissions = TokenPermissions(cloudflare=("Workers KV Storage Write", "Workers Scripts Read"))

    def service(self, params: P, environment: "Environment") -> str:  # noqa: ARG002  the same for each switch
        """Return the service that reads the switches."""
        return environment.runtime.service if environment.runtime else ""

    def probes(self, ctx: Context[P]) -> ProbeSet:
        """Probe the public endpoint, and the health of the service."""
        return build_switch_probes(ctx, NOTHING, own_switch_probes(ctx))

    def plan_switch(self, ctx: Context[P], current: SwitchState, desired: DesiredValue) -> SwitchWrite | None:
        """Plan the write; a refusal suggests this run with the acceptance that it needs."""
        return plan_with_acceptance(ctx, self.typed_name, lambda: plan_write(ctx, current, desired))

    @property
    def typed_name(self) -> str:
        """Name of the command with these parameters. A runbook that only a job starts takes none of them."""
        runbooks = (each for each in type(self).__mro__ if issubclass(each, Runbook))
        return next(each.name for each in runbooks if each.job.due is None)


def switch_reader(ctx: Context[Any]) -> "tuple[RuntimeConfig, Service]":
    """Return the runtime settings and the service that reads switches. Raises ConfigError."""
    runtime = ctx.environment.require_runtime()
    return runtime, ctx.environment.service(runtime.service)


def read_switch(ctx: Context[Any], name: str) -> SwitchState:
    """Read one switch. Raises ConfigError, ProviderError, and Refused if its value is malformed."""
    runtime, _ = switch_reader(ctx)
    rules = switches.find_switch_rules(runtime, name)
    key = SwitchState(name, rules, None, None).key
    return switches.parse_switch_state(name, rules, ctx.cloudflare.kv.read_value(runtime.namespace, key))


def read_switch_if_readable(ctx: Context[Any], name: str) -> tuple[SwitchState, str]:
    """Read one switch. A malformed value counts as none, with what is wrong with it. Raises ProviderError."""
    runtime, _ = switch_reader(ctx)
    rules = switches.find_switch_rules(runtime, name)
    never = SwitchState(name, rules, None, None)
    text = ctx.cloudflare.kv.read_value(runtime.namespace, never.key)
    try:
        return switches.parse_switch_state(name, rules, text), ""
    except Refused as error:
        return replace(never, text=text), error.message


def read_switches(ctx: Context[Any]) -> tuple[dict[str, SwitchState], list[SkippedSwitch]]:
    """Read all switches, 100 per request; skip those with a malformed value. Raises ProviderError."""
    runtime, _ = switch_reader(ctx)
    keys = {name: SwitchState(name, rules, None, None).key for name, rules in runtime.switches.items()}
    values = ctx.cloudflare.kv.read_values(runtime.namespace, list(keys.values()))
    states, left = dict[str, SwitchState](), list[SkippedSwitch]()
    for name, rules in runtime.switches.items():
        try:
            states[name] = switches.parse_switch_state(name, rules, values[keys[name]])
        except Refused as error:
            left.append(SkippedSwitch(name, error.message))
    return states, left


def plan_with_acceptance(ctx: Context[Any], runbook: str, plan: Callable[[], T]) -> T:
    """Return the plan. If a person must accept something first, the refusal suggests this run with that acceptance."""
    try:
        return plan()
    except NeedsAcceptance as error:
        error.suggested_command = suggest_run_again(ctx, runbook, error.accept)
        raise


def suggest_acceptance(ctx: Context[Any], runbook: str, others: Sequence[StateOwner]) -> SuggestedCommand | None:
    """Return this run with the acceptance of the others; None without others."""
    names = tuple(dict.fromkeys(each.name for each in others))
    return suggest_run_again(ctx, runbook, {"accept_owners": names}) if names else None


def suggest_run_again(ctx: Context[Any], runbook: str, accept: Mapping[str, Any] = NOTHING) -> SuggestedCommand:
    """Return this run once more, with what a person accepts."""
    own = {"reason", "revision"}  # a revision is given by a job alone
    given = {name: value for name, value in vars(ctx.params).items() if value and name not in own}
    return ctx.suggest(runbook, **{**given, **accept})


def plan_write(ctx: Context[Any], current: SwitchState, desired: DesiredValue) -> SwitchWrite | None:
    """Plan the write; None if both KV and the application show the desired state.

    Raises:
        Refused: others hold another state, or the end is too late.
    """
    return plan_value(ctx, current, desired.state, partial(switches.value_to_write, current, desired))


def plan_value(
    ctx: Context[Any], current: SwitchState, state: str, build: "ValueBuilder", *, replaces_all: bool = False
) -> SwitchWrite | None:
    """Plan the write of the value that `build` returns; None if it returns none.

    `replaces_all`: also a value that KV does not show yet, with unknown owners.

    KV's API may return a previous value for a while, so a recent change can still be reverted or repeated.
    """
    revision, now = make_revision(ctx.run_id, current.key), ctx.clock.now()
    value = build(revision=revision, now=now)
    observed = _read_shown_switch(ctx, current.name, wait=SHOWN_STATE_TIMEOUT if value else None)
    if observed is not None and (observed.revision is None or current.differs_from(observed)):
        _refuse_other_namespace(ctx, current, observed)
        if not replaces_all:
            _refuse_hidden_owners(ctx, current, observed)
    if value is None and observed is not None and (observed.state != state or current.differs_from(observed)):
        value = build(revision=revision, now=now, repeat=True)
    if value is None:
        return None
    tag = tag_owners(switch_reader(ctx)[0].namespace, value.owners) if value.owners else ""
    value = replace(value, revision=f"{revision}{tag}")
    holds_more = observed is not None and observed.state == state != current.rules.normal
    return SwitchWrite(current, value, replaces_unknown=holds_more and current.differs_from(observed))


class ValueBuilder(Protocol):
    """Returns the value to write; None if KV holds it already, unless `repeat` is set."""

    def __call__(self, *, revision: str, now: datetime, repeat: bool = False) -> SwitchValue | None: ...


def is_own_value(ctx: Context[Any], observed: ReportedSwitch) -> bool:
    """Return whether the application shows a value that this requester alone holds."""
    own = StateOwner(ctx.request.incident, ctx.request.actor, ctx.clock.now())
    return (observed.revision or "").endswith(tag_owners(switch_reader(ctx)[0].namespace, [own]))


def _refuse_hidden_owners(ctx: Context[Any], current: SwitchState, observed: ReportedSwitch) -> None:
    """Refuse a write over a state that KV does not show yet, unless only this requester holds it."""
    if observed.state == current.rules.normal or not current.differs_from(observed) or is_own_value(ctx, observed):
        return
    raise Refused(
        f"{current.describe_unstored(observed.state, ctx.clock.now())}, so who needs it is unknown",
        reason=Reason.LIVE_UNKNOWN,
        hint="Run the same command again in a minute.",
    )


def _refuse_other_namespace(ctx: Context[Any], current: SwitchState, observed: ReportedSwitch) -> None:
    """Refuse if the live version of the service binds another KV namespace than the one in ops.yml."""
    runtime, service = switch_reader(ctx)
    try:
        bound = read_bound_namespace(ctx.cloudflare, service.worker)
    except OpsError:
        return  # the state that the application shows decides after the write
    if bound in {"", runtime.namespace}:
        return
    raise Refused(
        f"ops.yml names the KV namespace {runtime.namespace}, and {service.name} reads {bound}: {service.name} shows "
        f"{current.name} = {quote_name(observed.state)}; the namespace in ops.yml holds "
        f"{current.describe(ctx.clock.now())}",
        reason=Reason.OTHER_NAMESPACE,
        hint=f"Set `runtime.namespace` to {bound} in ops.yml. Then run the same command again.",
    )


def read_bound_namespace(cloudflare: CloudflareClients, worker: str) -> str:
    """Return the id of the namespace that the live version binds as OPS_RUNTIME; empty if it binds none."""
    deployments = cloudflare.workers.find_deployments(worker)
    version = cloudflare.workers.read_version(worker, deployments[0].split[0][0]) if deployments else None
    binding = version.bindings.get(("kv_namespace", NAMESPACE_BINDING)) if version else None
    return str(json.loads(binding).get("namespace_id") or "") if binding else ""


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
    expected = [
        switches.expected_switch_json(each.current.name, each.value.state, each.value.revision) for each in writes
    ]
    return {path: value for each in expected for path, value in each.items()}


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


def expect_shown(ctx: Context[Any], current: SwitchState, write: SwitchWrite | None) -> dict[str, Any]:
    """Return what the public endpoint must show of one switch, by JSON path, also if nothing is written."""
    value = write.value if write else current.value
    state = write.value.state if write else current.state(ctx.clock.now())
    # An ended value shows as the normal state; its revision may be missing.
    revision = value.revision if value and not value.is_over(ctx.clock.now()) else None
    return switches.expected_switch_json(current.name, state, revision)


def own_switch_probes(ctx: Context[Any], name: str = "") -> "tuple[Probe, ...]":
    """Return the probes of the service that reads the switches, and those of the switch `name`."""
    runtime, service = switch_reader(ctx)
    return (*service.probes, *(runtime.switches[name].probes if name else ()))


def build_switch_probes(ctx: Context[Any], shows: Mapping[str, Any], own: "tuple[Probe, ...]" = ()) -> ProbeSet:
    """Return the probes; the deadline covers `settle`, during which KV may show the previous value.

    Without expected values in `shows`, no probe decides: the endpoint answers, and proves no request.
    """
    from ops.config.probes import Probe

    runtime, service = switch_reader(ctx)
    probe = Probe.model_validate({"name": "runtime", "http": {"path": RUNTIME_PATH, "json": dict(shows)}})
    verify = service.verify
    deadline = max(runtime.settle, verify.successes * verify.interval)
    own_verify = verify.model_copy(update={"deadline": deadline})
    return ProbeSet(service.url, (probe, *own), own_verify, deciding=probe.name if shows else "")


def describe_health_by_switch(ctx: Context[Any], name: str = "") -> str:
    """Return what healthy probes show of the service, for the claim of a plan that sets the switch `name`."""
    return probes_claim(own_switch_probes(ctx, name))


def describe_switch_end(write: SwitchWrite) -> tuple[str, ...]:
    """Return lines about the end of the planned state, and who needs it until when."""
    value, normal = write.value, write.current.rules.normal
    held = (f"held by {describe_owners(value.owners)}",) if len(value.owners) > 1 else ()
    return (*held, *([f"at {format_utc(value.until)} it returns to {normal} automatically"] if value.until else []))


def end_warnings(write: SwitchWrite | None, desired: DesiredValue, now: datetime) -> tuple[str, ...]:
    """Warn that others lose the state, and that a state that began earlier ends sooner than a new one would."""
    if write is None:
        return ()
    current, value = write.current, write.value
    before, own = current.owners(now), find_owner(value.owners, desired.requester)
    lost = [each for each in find_others(before, desired.requester) if each not in value.owners]
    replaced = (f"it replaces {current.state(now)}, held by {describe_owners(lost)}",) if lost else ()
    full = now + timedelta(seconds=current.rules.longest)
    is_new = own is not None and not find_owner(before, desired.requester) and not desired.until
    if own is None or own.until is None or not is_new or full - own.until <= SAME_END_TOLERANCE:
        return replaced
    began = f"it began at {format_utc(value.since)}, and may last {format_duration(current.rules.longest)}"
    return (*replaced, f"{began}: it ends at {format_utc(own.until)}. For longer, add `--until` and `--accept-longer`")


def list_switch_notices(ctx: Context[Any], writes: Iterable[SwitchWrite]) -> dict[int, str]:
    """Return a text for each other incident that needs one of the switches, before or after the writes."""
    texts = dict[int, list[str]]()
    for write in writes:
        owners = (*write.current.owners(ctx.clock.now()), *write.value.owners)
        others = {each.incident for each in owners if each.incident} - {ctx.request.incident}
        for incident in sorted(others):
            texts.setdefault(incident, []).append(f"{write.current.name} is now {describe_planned(write.value)}")
    return {incident: "; ".join(lines) for incident, lines in texts.items()}


def write_warnings(planned: Iterable[SwitchWrite]) -> tuple[str, ...]:
    warnings = list(planned)
    return (
        *(NEW_KEY_WARNING.format(name=each.current.name) for each in warnings if each.current.value is None),
        *(
            REPLACES_WARNING.format(name=each.current.name, state=each.value.state)
            for each in warnings
            if each.replaces_unknown
        ),
    )
