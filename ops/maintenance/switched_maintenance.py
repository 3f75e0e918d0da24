"""Maintenance by the application's switch around another change: on before it, off after it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ops.core.errors import ProviderError, Reason, Refused
from ops.core.plan import Change
from ops.core.runtime_contract import MAINTENANCE_SWITCH, make_revision
from ops.engine.context import Context
from ops.maintenance import by_switch
from ops.maintenance.state import MaintenanceRequest
from ops.switches import steps, values
from ops.switches.steps import SwitchWrite
from ops.switches.values import DesiredValue, SwitchState

if TYPE_CHECKING:
    from ops.config import Service


@dataclass(frozen=True)
class SwitchedMaintenance:
    """Maintenance of the service that reads the switches."""

    service: "Service"
    turn_on: Mapping[Change, SwitchWrite] = field(default_factory=dict)
    """Empty if it is on already."""
    turn_off: Mapping[Change, SwitchWrite] = field(default_factory=dict)
    """Empty if the run does not turn it on."""


def plan_maintenance(ctx: Context[Any], service: "Service", message: str) -> SwitchedMaintenance:
    """Plan both writes. The first one waits until its value is in effect.

    Raises:
        Refused: only some paths are in maintenance, and the run would open or close the others.
        ProviderError: the switch cannot be read.
    """
    request = MaintenanceRequest(is_on=True, path="", message=message, until="", reopen_at_end=False)
    plan = by_switch.plan_maintenance(ctx, service, request, message)
    settle = ctx.environment.require_runtime().settle
    turn_on = {replace(change, wait_after=settle): write for change, write in plan.details.writes.items()}
    if not turn_on:
        return SwitchedMaintenance(service)
    (write,) = turn_on.values()
    previous = write.current.value
    if previous is not None and write.current.is_on(ctx.clock.now()):
        if not previous.paths:  # another run owns it, so its message and end stay
            return SwitchedMaintenance(service)
        raise Refused(
            f"some paths of {service.name} are in maintenance already: {write.current.describe(ctx.clock.now())}",
            reason=Reason.ALREADY_OFF,
            hint="Close the whole service, or open these paths. Then run the same command again.",
            suggested_command=ctx.suggest("maintenance", service=service.name, state=by_switch.ON),
        )
    return SwitchedMaintenance(service, turn_on, _plan_end(ctx, service, write))


def _plan_end(ctx: Context[Any], service: "Service", on: SwitchWrite) -> dict[Change, SwitchWrite]:
    """Plan the write that turns it off, from the value that this run writes before."""
    now, closed = ctx.clock.now(), SwitchState(on.current.name, on.current.rules, on.value.to_json(), on.value)
    desired = DesiredValue(by_switch.OFF, ctx.request.actor, ctx.request.incident, has_no_end=True)
    revision = make_revision(f"{ctx.run_id} {by_switch.OFF}", closed.key)
    value = values.value_to_write(closed, desired, revision=revision, now=now)
    assert value is not None
    undo = ctx.suggest("maintenance", service=service.name, state=by_switch.ON)
    planned = steps.build_changes(ctx, [(SwitchWrite(closed, value), undo)])
    return {replace(each, target=f"{each.target}, at the end"): write for each, write in planned.items()}


def require_in_effect(ctx: Context[Any], maintenance: SwitchedMaintenance) -> None:
    """Raise ProviderError unless the application shows that it is in maintenance."""
    shown = steps.read_shown_switches(ctx).get(MAINTENANCE_SWITCH)
    if shown is not None and shown.state == by_switch.ON:
        return
    name = maintenance.service.name
    state = f"shows {MAINTENANCE_SWITCH} = {shown.state}" if shown else "does not show its switches"
    raise ProviderError(
        f"{name} is not in maintenance yet: it {state}",
        reason=Reason.NO_EVIDENCE,
        hint="Nothing was restored. Start the same command again in a minute.",
        suggested_command=ctx.suggest("maintenance", service=name, state=by_switch.OFF),
    )
