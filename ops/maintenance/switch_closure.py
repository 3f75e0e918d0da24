"""Maintenance by the switch of a service around another change: on before it, off after it.

KV has no compare-and-set and may show a previous value, so the state that the application shows counts too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ops.config.probes import ProbeSet
from ops.core.errors import Reason, Refused
from ops.core.runtime_contract import MAINTENANCE_SWITCH, make_revision
from ops.engine.context import Context
from ops.engine.step import ChangeState, ObservedState
from ops.maintenance import by_switch
from ops.maintenance.state import MaintenanceRequest
from ops.maintenance.steps import AT_END
from ops.switches import steps as switch_steps
from ops.switches import values
from ops.switches.steps import SetSwitch, SwitchWrite
from ops.switches.values import DesiredValue, SwitchState, expected_json

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

    def check_before_start(self, ctx: Context[Any]) -> ObservedState | None:
        """Return CHANGED_ELSEWHERE if the application shows maintenance of others, which KV may not show yet."""
        shown = switch_steps.read_shown_switches(ctx).get(MAINTENANCE_SWITCH)
        if shown is None or shown.state != by_switch.ON:
            return None
        text = f"the application shows {MAINTENANCE_SWITCH} = on, from a run that KV does not show yet"
        return ObservedState(ChangeState.CHANGED_ELSEWHERE, text)

    def check_before_end(self, ctx: Context[Any]) -> ObservedState | None:
        """Return whether others took it over or turned it off; None if neither. KV may show a previous value."""
        on, now = self.turn_on[0].write, ctx.clock.now()
        current = switch_steps.read_switch(ctx, MAINTENANCE_SWITCH)
        shown = switch_steps.read_shown_switches(ctx).get(MAINTENANCE_SWITCH)
        if current.text == on.current.text:
            return None
        if not current.is_on(now):
            return ObservedState(ChangeState.DONE, f"{self.service.name} is open already: {current.describe(now)}")
        if current.value is not None and current.value.revision != on.value.revision:
            why = f"another run took it over: {current.describe(now)}"
        elif shown and shown.state == by_switch.ON and shown.revision not in {None, on.value.revision}:
            why = "another run took it over, which the application shows and KV does not show yet"
        else:
            return None
        self.taken = {self.service.name: why}
        return ObservedState(ChangeState.NOT_WANTED, f"{self.service.name} is not reopened: {why}")

    def find_closed(self, ctx: Context[Any], *, partly: bool = False) -> frozenset[str]:  # noqa: ARG002  it has one way in
        shown = switch_steps.read_shown_switches(ctx).get(MAINTENANCE_SWITCH)
        return frozenset([self.service.name] if shown and shown.state == by_switch.ON else [])

    def closed_probes(self, ctx: Context[Any]) -> ProbeSet:
        return switch_steps.build_probe_set(ctx, expected_json(MAINTENANCE_SWITCH, by_switch.ON, None))

    def reopened_probes(self, ctx: Context[Any], services: Mapping[str, ProbeSet]) -> Mapping[str, ProbeSet]:
        write, name = self.turn_off[0].write, self.service.name
        revision = write.value.revision if self.is_reopened_by_run else None
        shows = expected_json(MAINTENANCE_SWITCH, write.value.state, revision)
        return {name: switch_steps.build_probe_set(ctx, shows, services[name].probes)}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Close(SetSwitch):
    closure: SwitchClosure

    def check(self, ctx: Context[Any]) -> ObservedState:
        world = super().check(ctx)
        return world if self.closure.is_closed_by_run else self.closure.check_before_start(ctx) or world

    def apply(self, ctx: Context[Any]) -> str:
        self.closure.is_closed_by_run = True
        return super().apply(ctx)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Reopen(SetSwitch):
    closure: SwitchClosure

    def check(self, ctx: Context[Any]) -> ObservedState:
        world = super().check(ctx)
        return world if self.closure.is_reopened_by_run else self.closure.check_before_end(ctx) or world

    def apply(self, ctx: Context[Any]) -> str:
        self.closure.is_reopened_by_run = True
        return super().apply(ctx)


def plan_switch(ctx: Context[Any], service: "Service", message: str) -> SwitchClosure:
    """Plan to close the service by its switch. Raises Refused if only paths are closed, or the state is unknown."""
    request = MaintenanceRequest.during_run(message)
    plan = by_switch.plan_maintenance(ctx, service, request, message)
    write = next((each.write for each in plan.changes if isinstance(each, SetSwitch)), None)
    current = write.current if write else switch_steps.read_switch(ctx, MAINTENANCE_SWITCH)
    previous = current.value if current.is_on(ctx.clock.now()) else None
    if write is None or (previous is not None and not previous.paths):  # another run's message and end stay
        return SwitchClosure(service, ends_at=previous.until if previous else None)
    if write.replaces_unknown:
        raise Refused(
            f"the application shows {MAINTENANCE_SWITCH} = on, from a run that KV does not show yet "
            f"({current.describe(ctx.clock.now())}). One of them is up to a minute behind",
            reason=Reason.LIVE_UNKNOWN,
            hint="Run the same command again in a minute: it opens nothing that another run closed.",
        )
    if previous is not None:
        raise Refused(
            f"some paths of {service.name} are in maintenance already: {current.describe(ctx.clock.now())}",
            reason=Reason.ALREADY_OFF,
            hint="Close the whole service, or open these paths. Then run the same command again.",
            suggested_command=ctx.suggest("maintenance", service=service.name, state=by_switch.ON),
        )
    settle = ctx.environment.require_runtime().settle
    closure = SwitchClosure(service)
    closure.turn_on = [_Close.of(ctx, write, wait_after=settle, closure=closure)]
    opening = _Reopen.of(ctx, _plan_switch_end(ctx, write), closure=closure)
    closure.turn_off = [replace(opening, target=f"{opening.target}{AT_END}")]
    return closure


def _plan_switch_end(ctx: Context[Any], on: SwitchWrite) -> SwitchWrite:
    """Plan the write that turns it off, from the value that this run writes before."""
    now, closed = ctx.clock.now(), SwitchState(on.current.name, on.current.rules, on.value.to_json(), on.value)
    desired = DesiredValue(by_switch.OFF, ctx.request.actor, ctx.request.incident, has_no_end=True)
    revision = make_revision(f"{ctx.run_id} {by_switch.OFF}", closed.key)
    value = values.value_to_write(closed, desired, revision=revision, now=now)
    assert value is not None
    return SwitchWrite(closed, value)
