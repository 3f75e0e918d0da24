"""Closure by a switch: maintenance of the application around another change.

KV has no compare-and-set and may show a previous value, so the state that the application shows counts too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ops.config.probes import ProbeSet
from ops.core.runtime_contract import MAINTENANCE_SWITCH, make_revision
from ops.engine.context import Context
from ops.engine.step import DEFAULT_WORDS, ChangeState, ObservedState, ReadBackWords
from ops.maintenance import plan_by_switch, refusals
from ops.maintenance.ownership import SameIntent, describe_closure_owners
from ops.maintenance.state import MaintenanceRequest
from ops.maintenance.steps import AT_END
from ops.switches import steps as switch_steps
from ops.switches import values
from ops.switches.steps import SetSwitch, SwitchWrite
from ops.switches.values import DesiredValue, SwitchState, expected_switch_json

if TYPE_CHECKING:
    from ops.config import Service


@dataclass
class SwitchClosure:
    """Maintenance of the service that reads the switches."""

    service: "Service"
    turn_on: "Sequence[SetSwitch]" = ()
    """Empty if it is on already."""
    turn_off: "Sequence[SetSwitch]" = ()
    ends_at: datetime | None = None
    """Automatic end of another run's maintenance."""
    standing: SwitchState | None = None
    """Value that was on before this run."""
    resumed_run: str = ""
    """Run that wrote it and did not turn it off, in words; this run does."""
    owner_texts: Mapping[str, str] = field(default_factory=dict)
    taken: Mapping[str, str] = field(default_factory=dict)
    is_closed_by_run: bool = False
    """Whether this run sent `turn_on`."""
    is_reopened_by_run: bool = False
    """Whether this run sent `turn_off`; then the application must show its revision."""

    @property
    def services(self) -> "tuple[Service, ...]":
        return (self.service,)

    @property
    def kept(self) -> Mapping[str, datetime | None]:
        return {} if self.turn_off else {self.service.name: self.ends_at}

    @property
    def closing_targets(self) -> Sequence[str]:
        return [each.target for each in self.turn_on]

    @property
    def opening_targets(self) -> Sequence[str]:
        return [each.target for each in self.turn_off]

    @property
    def resumed(self) -> Mapping[str, str]:
        return {self.service.name: self.resumed_run} if self.resumed_run else {}

    def only_standing(self) -> "SwitchClosure | None":
        return self if self.standing else None

    def check_before_start(self, ctx: Context[Any]) -> ObservedState | None:
        """Return CHANGED_ELSEWHERE if the application shows maintenance of others, which KV may not show yet."""
        shown = switch_steps.read_shown_switches(ctx).get(MAINTENANCE_SWITCH)
        if shown is None or shown.state != plan_by_switch.ON:
            return None
        text = f"the application shows {MAINTENANCE_SWITCH} = on, from a run that KV does not show yet"
        return ObservedState(ChangeState.CHANGED_ELSEWHERE, text)

    def check_before_end(self, ctx: Context[Any]) -> ObservedState | None:
        """Return whether others took it over or turned it off; None if neither. KV may show a previous value."""
        now, closed = ctx.clock.now(), self.turn_off[0].write.current
        before = self.turn_on[0].write.current.text if self.turn_on else None
        revision = closed.value.revision if closed.value else ""
        current = switch_steps.read_switch(ctx, MAINTENANCE_SWITCH)
        shown = switch_steps.read_shown_switches(ctx).get(MAINTENANCE_SWITCH)
        if self.turn_on and current.text == before:
            return None
        if not current.is_on(now):
            if self.resumed_run and shown and shown.state == plan_by_switch.ON and shown.revision == revision:
                return None  # KV shows the value from before the earlier run
            return ObservedState(ChangeState.DONE, f"{self.service.name} is open already: {current.describe(now)}")
        if current.value is not None and current.value.revision != revision:
            why = f"another run took it over: {current.describe(now)}"
        elif shown and shown.state == plan_by_switch.ON and shown.revision not in {None, revision}:
            why = "another run took it over, which the application shows and KV does not show yet"
        else:
            return None
        self.taken = {self.service.name: why}
        return ObservedState(ChangeState.NOT_WANTED, f"{self.service.name} is not reopened: {why}")

    def find_closed(self, ctx: Context[Any], *, partly: bool = False) -> frozenset[str]:  # noqa: ARG002  it has one way in
        shown = switch_steps.read_shown_switches(ctx).get(MAINTENANCE_SWITCH)
        return frozenset([self.service.name] if shown and shown.state == plan_by_switch.ON else [])

    def find_stored(self, ctx: Context[Any]) -> frozenset[str]:
        return self.find_closed(ctx)

    def closed_probes(self, ctx: Context[Any]) -> ProbeSet:
        return switch_steps.build_switch_probes(ctx, expected_switch_json(MAINTENANCE_SWITCH, plan_by_switch.ON, None))

    def reopened_probes(self, ctx: Context[Any], services: Mapping[str, ProbeSet]) -> Mapping[str, ProbeSet]:
        write, name = self.turn_off[0].write, self.service.name
        revision = write.value.revision if self.is_reopened_by_run else None
        shows = expected_switch_json(MAINTENANCE_SWITCH, write.value.state, revision)
        return {name: switch_steps.build_switch_probes(ctx, shows, services[name].probes)}


@dataclass(frozen=True, kw_only=True, eq=False)
class _CloseBySwitch(SetSwitch):
    closure: SwitchClosure
    words: ReadBackWords = DEFAULT_WORDS  # the same command recognizes what this run closed

    def check(self, ctx: Context[Any]) -> ObservedState:
        world = super().check(ctx)
        return world if self.closure.is_closed_by_run else self.closure.check_before_start(ctx) or world

    def apply(self, ctx: Context[Any]) -> str:
        self.closure.is_closed_by_run = True
        return super().apply(ctx)


@dataclass(frozen=True, kw_only=True, eq=False)
class _ReopenBySwitch(SetSwitch):
    closure: SwitchClosure

    def check(self, ctx: Context[Any]) -> ObservedState:
        world = super().check(ctx)
        return world if self.closure.is_reopened_by_run else self.closure.check_before_end(ctx) or world

    def apply(self, ctx: Context[Any]) -> str:
        self.closure.is_reopened_by_run = True
        return super().apply(ctx)


def plan_switch(ctx: Context[Any], service: "Service", message: str, intent: SameIntent) -> SwitchClosure:
    """Plan to close the service by its switch. Raises Refused if only paths are closed, or the state is unknown."""
    request = MaintenanceRequest.during_run(message)
    plan = plan_by_switch.plan_maintenance(ctx, service, request, message)
    write = next((each.write for each in plan.changes if isinstance(each, SetSwitch)), None)
    current = write.current if write else switch_steps.read_switch(ctx, MAINTENANCE_SWITCH)
    previous = current.value if current.is_on(ctx.clock.now()) else None
    if write is None or (previous is not None and not previous.paths):  # another run's message and end stay
        return _keep_standing(ctx, service, current, intent)
    if write.replaces_unknown:
        raise refusals.unknown_switch_refusal(current.describe_unstored(plan_by_switch.ON, ctx.clock.now()))
    if previous is not None:
        close = ctx.suggest("maintenance", service=service.name, state=plan_by_switch.ON)
        raise refusals.closed_paths_refusal(service.name, current.describe(ctx.clock.now()), close)
    settle = ctx.environment.require_runtime().settle
    closure, step = SwitchClosure(service), SetSwitch.of(ctx, write)
    closure.turn_on = [
        _CloseBySwitch(*step.values, step.done_when, None, write=write, wait_after=settle, closure=closure)
    ]
    _plan_opening(
        ctx, closure, SwitchState(write.current.name, write.current.rules, write.value.to_json(), write.value)
    )
    return closure


def _keep_standing(ctx: Context[Any], service: "Service", current: SwitchState, intent: SameIntent) -> SwitchClosure:
    """Plan to keep what is closed, and to reopen it if an earlier run of the same intent closed it."""
    value, now = current.value if current.is_on(ctx.clock.now()) else None, ctx.clock.now()
    if value is None:
        return SwitchClosure(service)
    run, owner_text = intent.find_run_of_switch(service.name, value, current.key), describe_closure_owners(value, now)
    shown = switch_steps.read_shown_switches(ctx).get(MAINTENANCE_SWITCH) if run else None
    if shown is not None and current.differs_from(shown):  # one of them is up to a minute behind
        if shown.state == plan_by_switch.ON:
            run, owner_text = "", "taken over by another run, which the application shows and KV does not show yet"
        elif (now - value.since).total_seconds() > ctx.environment.require_runtime().settle:
            return SwitchClosure(service)  # the application has had the time to see this value, so it was turned off
    closure = SwitchClosure(
        service, ends_at=value.until, standing=current, resumed_run=run, owner_texts={service.name: owner_text}
    )
    if run:
        _plan_opening(ctx, closure, current)
    return closure


def _plan_opening(ctx: Context[Any], closure: SwitchClosure, closed: SwitchState) -> None:
    """Plan the step that turns it off, from the value that closes it."""
    step = SetSwitch.of(ctx, _plan_switch_end(ctx, closed))
    target, before, after = step.values
    closure.turn_off = [
        _ReopenBySwitch(f"{target}{AT_END}", before, after, step.done_when, None, write=step.write, closure=closure)
    ]


def _plan_switch_end(ctx: Context[Any], closed: SwitchState) -> SwitchWrite:
    now = ctx.clock.now()
    owners = tuple(each.name for each in closed.owners(now))  # the run alone
    desired = DesiredValue(
        plan_by_switch.OFF, ctx.request.actor, ctx.request.incident, has_no_end=True, accepted_owners=owners
    )
    revision = make_revision(f"{ctx.run_id} {plan_by_switch.OFF}", closed.key)
    value = values.value_to_write(closed, desired, revision=revision, now=now)
    assert value is not None
    return SwitchWrite(closed, value)
