"""Scenario 4 of the rollback procedure: a part of the application off by its switch, without a deployment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.core.clock import format_utc
from ops.core.errors import ConfigError, Reason
from ops.core.plan import Plan
from ops.core.runtime_contract import AI, MAINTENANCE
from ops.engine.context import Context
from ops.engine.runbook import param
from ops.switches import steps, values
from ops.switches.steps import Setting, SwitchRunbook
from ops.switches.values import Standing, Wanted

if TYPE_CHECKING:
    from ops.config import Environment, Service
    from ops.config.probes import Probe

OTHERS = {AI: "ai-failover", MAINTENANCE: "maintenance"}
"""Switches that have a runbook of their own, which knows more of them."""


@dataclass(frozen=True)
class Params:
    name: str = param("the switch of ops.yml")
    state: str = param("on or off, or another state that the switch has in ops.yml")
    until: str = param(
        "when it ends by itself, as 2h or 2026-11-24T05:00Z; without it, `longest` of ops.yml", default=""
    )
    reason: str = param("why, in a few words, for the timeline", default="")


class Feature(SwitchRunbook[Params]):
    """Set a switch of the application, which ends by itself, and see it in effect."""

    name = "feature"
    when = "A part of the application causes errors and can be switched off"
    params = Params
    example = Params(name="session-do", state="off")

    def fits(self, environment: "Environment", service: str) -> list[dict[str, Any]]:  # noqa: ARG002
        switches = environment.runtime.switches if environment.runtime else {}
        return [{"name": name, "state": each.states[1]} for name, each in switches.items() if name not in OTHERS]

    def choices(self, environment: "Environment") -> Mapping[str, Sequence[str]]:
        switches = environment.runtime.switches if environment.runtime else {}
        offered = {name: each for name, each in switches.items() if name not in OTHERS}
        states = dict.fromkeys(state for each in offered.values() for state in each.states)
        return {"name": tuple(offered), "state": tuple(states)}

    def wanted(self, ctx: Context[Params]) -> Mapping[str, Any]:
        _asked(ctx)
        return values.shown_json(ctx.params.name, ctx.params.state, None)

    def own_probes(
        self,
        ctx: Context[Params],
        service: "Service",
        plan: Plan[steps.Settings] | None,  # noqa: ARG002  known before it
    ) -> "tuple[Probe, ...]":
        return (*service.probes, *ctx.environment.needed_runtime().switches[ctx.params.name].probes)

    def preflight(self, ctx: Context[Params]) -> Plan[steps.Settings]:
        wanted, params = _asked(ctx), ctx.params
        standing = steps.read(ctx, params.name)
        made = steps.setting(ctx, standing, wanted)
        back = standing.state(ctx.clock.now())
        undo = ctx.press(self.name, name=params.name, state=back) if back != wanted.state else None
        details = steps.planned(ctx, standing, made, undo)
        return Plan(
            summary=_summary(standing, made, wanted),
            changes=tuple(details.of),
            consequences=_follows(standing, made, wanted),
            warnings=steps.warnings([made] if made else []),
            reason=None if made else Reason.ALREADY_SET,
            done_message=f"Set {params.name} to {wanted.state}",
            proved_claim=f"{params.name} is {wanted.state}, {steps.ELSEWHERE}; the probes are healthy",
            details=details,
        )


def _asked(ctx: Context[Params]) -> Wanted:
    """Raises ConfigError."""
    runtime, params = ctx.environment.needed_runtime(), ctx.params
    rules = values.rules_of(runtime, params.name)
    if params.name in OTHERS:
        hint = f"Use `{ctx.program[0]} {OTHERS[params.name]}`."
        raise ConfigError(f"{params.name} has a runbook of its own", reason=Reason.UNKNOWN_NAME, hint=hint)
    state = values.state_of(params.name, rules, params.state)
    until = values.until_of(params.name, rules, state, params.until, ctx.clock.now())
    return Wanted(state, ctx.request.actor, ctx.request.incident, until)


def _summary(standing: Standing, made: Setting | None, wanted: Wanted) -> str:
    if made is None:
        return f"{standing.name} is {wanted.state} already"
    until = f" until {format_utc(made.value.until)}" if made.value.until else ""
    return f"{standing.name}: {wanted.state}{until}"


def _follows(standing: Standing, made: Setting | None, wanted: Wanted) -> tuple[str, ...]:
    effect = standing.rules.effect.get(wanted.state)
    until = made.value.until if made else None
    return (
        *([f"while it is {wanted.state}: {effect}"] if effect else []),
        *([f"at {format_utc(until)} it is {standing.rules.normal} again by itself"] if until else []),
    )
