"""Set a feature switch without a deployment (procedure scenario 4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.core.clock import format_utc
from ops.core.errors import ConfigError, Reason
from ops.core.plan import Plan
from ops.core.runtime_contract import AI_SWITCH, MAINTENANCE_SWITCH
from ops.engine.context import Context
from ops.engine.runbook import param
from ops.switches import steps, values
from ops.switches.steps import SwitchRunbook, SwitchWrite
from ops.switches.values import DesiredValue, SwitchState

if TYPE_CHECKING:
    from ops.config import Environment, Service
    from ops.config.probes import Probe

DEDICATED_RUNBOOKS = {AI_SWITCH: "ai-failover", MAINTENANCE_SWITCH: "maintenance"}
"""Switches with a runbook of their own."""


class Feature(SwitchRunbook["Feature.Params"]):
    """Set a feature switch for a limited time."""

    @dataclass(frozen=True)
    class Params:
        name: str = param("Switch in ops.yml")
        state: str = param("New state: on, off, or another state of the switch in ops.yml")
        until: str = param("End, such as 2h or 2026-11-24T05:00Z (default: `longest` in ops.yml)", default="")
        reason: str = param("Reason, shown in the timeline", default="")

    name = "feature"
    section = "Limits and switches"
    when = "A feature causes errors, and the application has a switch for it"
    menu_rank = 2
    params = Params
    example = Params(name="session-do", state="off")

    def fits(self, environment: "Environment", service: str) -> list[dict[str, Any]]:  # noqa: ARG002
        switches = environment.runtime.switches if environment.runtime else {}
        return [
            {"name": name, "state": each.states[1]} for name, each in switches.items() if name not in DEDICATED_RUNBOOKS
        ]

    def parameter_choices(self, environment: "Environment") -> Mapping[str, Sequence[str]]:
        switches = environment.runtime.switches if environment.runtime else {}
        offered = {name: each for name, each in switches.items() if name not in DEDICATED_RUNBOOKS}
        states = dict.fromkeys(state for each in offered.values() for state in each.states)
        return {"name": tuple(offered), "state": tuple(states)}

    def expected_before_plan(self, ctx: Context[Params]) -> Mapping[str, Any]:
        _parse_params(ctx)
        return values.expected_json(ctx.params.name, ctx.params.state, None)

    def own_probes(
        self,
        ctx: Context[Params],
        service: "Service",
        plan: Plan[steps.SwitchDetails] | None,  # noqa: ARG002  known before it
    ) -> "tuple[Probe, ...]":
        return (*service.probes, *ctx.environment.require_runtime().switches[ctx.params.name].probes)

    def preflight(self, ctx: Context[Params]) -> Plan[steps.SwitchDetails]:
        desired, params = _parse_params(ctx), ctx.params
        current = steps.read_switch(ctx, params.name)
        write = steps.plan_write(ctx, current, desired)
        back = current.state(ctx.clock.now())
        undo = ctx.suggest(self.name, name=params.name, state=back) if back != desired.state else None
        details = steps.build_details(ctx, current, write, undo)
        return Plan(
            summary=_summarize(current, write, desired),
            changes=tuple(details.writes),
            consequences=_consequences(current, write, desired),
            warnings=steps.write_warnings([write] if write else []),
            reason=None if write else Reason.ALREADY_SET,
            done_message=f"Set {params.name} to {desired.state}",
            proved_claim=f"{params.name} is {desired.state}, {steps.SEEN}; {steps.describe_health(ctx, params.name)}",
            proof_limit=steps.ONE_LOCATION_NOTE,
            details=details,
        )


def _parse_params(ctx: Context[Feature.Params]) -> DesiredValue:
    """Return the desired value. Raises ConfigError."""
    runtime, params = ctx.environment.require_runtime(), ctx.params
    rules = values.find_rules(runtime, params.name)
    if params.name in DEDICATED_RUNBOOKS:
        hint = f"Use `{ctx.command_prefix[0]} {DEDICATED_RUNBOOKS[params.name]}`."
        raise ConfigError(f"the switch {params.name} has a runbook of its own", reason=Reason.UNKNOWN_NAME, hint=hint)
    state = values.require_state(params.name, rules, params.state)
    until = values.parse_end(params.name, rules, state, params.until, ctx.clock.now())
    return DesiredValue(state, ctx.request.actor, ctx.request.incident, until)


def _summarize(current: SwitchState, write: SwitchWrite | None, desired: DesiredValue) -> str:
    if write is None:
        return f"{current.name} is already {desired.state}"
    until = f" until {format_utc(write.value.until)}" if write.value.until else ""
    return f"{current.name}: {desired.state}{until}"


def _consequences(current: SwitchState, write: SwitchWrite | None, desired: DesiredValue) -> tuple[str, ...]:
    effect = current.rules.effect.get(desired.state)
    until = write.value.until if write else None
    return (
        *([f"while it is {desired.state}: {effect}"] if effect else []),
        *([f"at {format_utc(until)} it returns to {current.rules.normal} automatically"] if until else []),
    )
