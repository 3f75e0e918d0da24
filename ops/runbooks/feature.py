"""Set a feature switch without a deployment (procedure scenario 4)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ops.config.probes import ProbeSet
from ops.core.clock import format_utc
from ops.core.errors import ConfigError, Reason
from ops.core.next_step import SuggestedCommand
from ops.core.owners import advise_asking_owners, describe_owners, find_owner
from ops.core.plan import PlanSection
from ops.core.public_update import PublicState
from ops.core.runtime_contract import AI_SWITCH, BANNER_SWITCH, MAINTENANCE_SWITCH
from ops.core.standard_texts import Audience, TextFacts, fill_text
from ops.core.verdict import SEEN
from ops.engine.context import Context
from ops.engine.runbook import IncidentUse, RequestEffect, param
from ops.engine.step import StepPlan
from ops.switches import steps, values
from ops.switches.steps import ACCEPT_LONGER, ACCEPT_OWNERS, SetSwitch, SwitchRunbook, SwitchWrite
from ops.switches.values import DesiredValue, SwitchState

if TYPE_CHECKING:
    from ops.config import Environment
    from ops.config.sections import SwitchConfig

DEDICATED_RUNBOOKS = {AI_SWITCH: "ai-failover", MAINTENANCE_SWITCH: "maintenance"}
"""Switches with a runbook of their own."""


def _list_feature_switches(environment: "Environment") -> "Mapping[str, SwitchConfig]":
    switches = environment.runtime.switches if environment.runtime else {}
    return {name: each for name, each in switches.items() if name not in DEDICATED_RUNBOOKS}


def _list_feature_states(environment: "Environment") -> dict[str, None]:
    return dict.fromkeys(state for each in _list_feature_switches(environment).values() for state in each.states)


class Feature(SwitchRunbook["Feature.Params"]):
    """Set a feature switch for a limited time."""

    @dataclass(frozen=True)
    class Params:
        name: str = param("Switch in ops.yml", choices=_list_feature_switches)
        state: str = param(
            "New state: on, off, or another state of the switch in ops.yml", choices=_list_feature_states
        )
        until: str = param("End, such as 2h or 2026-11-24T05:00Z (default: `longest` in ops.yml)", default="")
        accept_owners: tuple[str, ...] = param(ACCEPT_OWNERS, default=())
        accept_longer: bool = param(ACCEPT_LONGER, default=False)
        reason: str = param("Reason, shown in the timeline", default="")

    name = "feature"
    section = "Limits and switches"
    when = "A feature causes errors, and the application has a switch for it"
    setting = "`switches`"
    incident_use = IncidentUse(menu_rank=2)
    example = Params(name="session-do", state="off")

    def fits(self, environment: "Environment", service: str) -> list[dict[str, Any]]:  # noqa: ARG002
        return [{"name": name, "state": each.states[1]} for name, each in _list_feature_switches(environment).items()]

    def effect(self, params: Mapping[str, Any], environment: "Environment") -> RequestEffect:
        switches = environment.runtime.switches if environment.runtime else {}
        rules = switches.get(str(params.get("name")))
        return RequestEffect(ends_state=rules is not None and params.get("state") == rules.normal)

    def probes(self, ctx: Context[Params]) -> ProbeSet:
        _parse_desired_value(ctx)
        name, state = ctx.params.name, ctx.params.state
        return steps.build_switch_probes(
            ctx, values.expected_switch_json(name, state, None), steps.own_switch_probes(ctx, name)
        )

    def plan(self, ctx: Context[Params]) -> StepPlan:
        desired, name, now = _parse_desired_value(ctx), ctx.params.name, ctx.clock.now()
        current = steps.read_switch(ctx, name)
        write = self.plan_switch(ctx, current, desired)
        stays = write.stays_for(desired) if write else ()
        undo = self._suggest_undo(ctx, current, write, desired)
        shown, own = steps.expect_shown(ctx, current, write), () if stays else steps.own_switch_probes(ctx, name)
        return StepPlan(
            summary=_summarize_feature(current, write, desired),
            changes=(SetSwitch.of(ctx, write, undo),) if write else (),
            sections=(PlanSection("Banner", (write.value.message,)),) if write and write.value.message else (),
            consequences=_feature_consequences(current, write),
            warnings=(*steps.write_warnings([write] if write else []), *steps.end_warnings(write, desired, now)),
            reason=None if write else Reason.ALREADY_SET,
            next_step=steps.suggest_acceptance(ctx, self.typed_name, stays),
            done_message=f"Set {name} to {desired.state}" if not stays else f"Released {name}",
            proved_claim=_feature_claim(ctx, write, desired),
            proof_limit=steps.ONE_LOCATION_NOTE,
            proves_health=not stays,
            tasks=advise_asking_owners(stays),
            notices=steps.list_switch_notices(ctx, [write] if write else []),
            probes=partial(steps.build_switch_probes, ctx, shown, own),
        )

    def _suggest_undo(
        self, ctx: Context[Params], current: SwitchState, write: SwitchWrite | None, desired: DesiredValue
    ) -> SuggestedCommand | None:
        """Return the command that sets the state before; None if only the end of the incident changes."""
        now = ctx.clock.now()
        back = current.state(now)
        if back == desired.state and write and not find_owner(current.owners(now), desired.requester):
            back = current.rules.normal  # releases the incident that the write adds
        return ctx.suggest(self.typed_name, name=ctx.params.name, state=back) if back != desired.state else None


def _parse_desired_value(ctx: Context[Feature.Params]) -> DesiredValue:
    """Return the desired value. Raises ConfigError."""
    runtime, params = ctx.environment.require_runtime(), ctx.params
    rules = values.find_switch_rules(runtime, params.name)
    if params.name in DEDICATED_RUNBOOKS:
        hint = f"Use `{ctx.command_prefix[0]} {DEDICATED_RUNBOOKS[params.name]}`."
        raise ConfigError(f"the switch {params.name} has a runbook of its own", reason=Reason.UNKNOWN_NAME, hint=hint)
    state = values.require_switch_state(params.name, rules, params.state)
    until = values.parse_switch_end(params.name, rules, state, params.until, ctx.clock.now())
    return DesiredValue(
        state,
        ctx.request.actor,
        ctx.request.incident,
        until,
        message=find_banner_text(ctx, params.name, state),
        accepted_owners=params.accept_owners,
        accepts_longer=params.accept_longer,
    )


def _summarize_feature(current: SwitchState, write: SwitchWrite | None, desired: DesiredValue) -> str:
    if write is None:
        return f"{current.name} is already {desired.state}"
    if stays := write.stays_for(desired):
        return f"{current.name}: stays {write.value.state}, held by {describe_owners(stays)}"
    until = f" until {format_utc(write.value.until)}" if write.value.until else ""
    return f"{current.name}: {desired.state}{until}"


def _feature_consequences(current: SwitchState, write: SwitchWrite | None) -> tuple[str, ...]:
    if write is None:
        return ()
    effect = current.rules.effect.get(write.value.state)
    return (*([f"while it is {write.value.state}: {effect}"] if effect else []), *steps.describe_switch_end(write))


def _feature_claim(ctx: Context[Feature.Params], write: SwitchWrite | None, desired: DesiredValue) -> str:
    name = ctx.params.name
    if write and (stays := write.stays_for(desired)):
        return f"{name} stays {write.value.state}, {SEEN}, held by {describe_owners(stays)}"
    return f"{name} is {desired.state}, {SEEN}; {steps.describe_health_by_switch(ctx, name)}"


def find_banner_text(ctx: Context[Any], switch: str, state: str) -> str:
    """Return the text for users that goes with a state of the switch; empty for another switch and without a banner.

    It names the components of the page that the service with the switch belongs to.
    """
    states = {each.value.replace("_", "-"): each for each in PublicState}
    if switch != BANNER_SWITCH or state not in states:
        return ""
    page, service = ctx.config.status_page, ctx.environment.require_runtime().service
    shown = page.environment or next(iter(ctx.config.environments)) if page else ""
    names = page.names_of((service,)) if page and shown == ctx.environment.name else ()
    facts = TextFacts(names, ctx.clock.now(), page.title if page else "", page.url if page else "")
    return fill_text(states[state], Audience.BANNER, facts, ctx.config.messages.texts)
