"""Runbook `all-clear`: reset the application switches of an incident, and nothing else."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ops.core.errors import Reason, Refused
from ops.core.owners import describe_owners
from ops.core.plan import PlanSection
from ops.core.runtime_contract import AI_SWITCH
from ops.core.verdict import SEEN
from ops.engine.context import Context
from ops.engine.runbook import IncidentUse, RequestEffect, param
from ops.engine.step import StepPlan
from ops.switches import steps, values
from ops.switches.ai_providers import provider_tasks
from ops.switches.steps import SetSwitch, SwitchRunbook, SwitchWrite
from ops.switches.values import DesiredValue, SwitchState

if TYPE_CHECKING:
    from ops.config import Environment

UNCHANGED_SECTION = "Unchanged switches"


class AllClear(SwitchRunbook["AllClear.Params"]):
    """Reset all switches of an incident to their normal state."""

    @dataclass(frozen=True)
    class Params:
        reason: str = param("Reason, shown in the timeline", default="")

    name = "all-clear"
    section = "Limits and switches"
    when = "An incident is over, and its switches are still on"
    setting = "`switches`"
    example = Params()
    incident_use = IncidentUse(menu_rank=9, is_required=True, may_be_closed=True)

    def fits(self, environment: "Environment", service: str) -> list[dict[str, Any]]:  # noqa: ARG002
        return [{}] if environment.runtime and environment.runtime.switches else []

    def effect(self, params: Mapping[str, Any], environment: "Environment") -> RequestEffect:  # noqa: ARG002
        return RequestEffect(ends_state=True)

    def plan(self, ctx: Context[Params]) -> StepPlan:
        incident, now = ctx.request.require_incident(), ctx.clock.now()
        states, unknown = steps.read_switches(ctx)
        mine, left = values.split_by_incident(states, incident, now)
        planned, hidden = _plan_release(ctx, mine, incident)
        writes = [write for write, _ in planned]
        doubts = (*hidden, *_find_doubts(ctx, states, mine))
        if doubts and not planned:
            raise Refused(
                f"the active switches of incident #{incident} are unknown: {'; '.join(doubts)}",
                reason=Reason.LIVE_UNKNOWN,
                hint="Run the same command again in a minute.",
            )
        reset = ", ".join(each.current.name for each, desired in planned if not each.stays_for(desired))
        kept = [_describe_kept(each) for each, desired in planned if each.stays_for(desired)]
        done = "; ".join([*([f"reset to normal: {reset}"] if reset else []), *kept])
        own = steps.own_switch_probes(ctx) if reset or not kept else ()
        return StepPlan(
            summary=done or f"no switch is on for incident #{incident}",
            changes=tuple(SetSwitch.of(ctx, each) for each in writes),
            sections=_unchanged_switches_section([f"{each.name}: {each.reason}" for each in (*left, *unknown)]),
            warnings=tuple(f"{each}. Run the same command again in a minute" for each in doubts),
            remaining_message="; ".join(doubts),
            consequences=("limits and maintenance at the edge stay unchanged: `ops status` lists them",),
            reason=None if planned else Reason.NOTHING_LEFT,
            done_message=f"{done[:1].upper()}{done[1:]}",
            proved_claim=_all_clear_claim(ctx, incident, kept, is_reset=bool(reset)),
            proof_limit=steps.ONE_LOCATION_NOTE,
            proves_health=bool(reset) or not kept,
            tasks=_list_tasks(ctx, writes),
            notices=steps.list_switch_notices(ctx, writes),
            probes=partial(steps.build_switch_probes, ctx, steps.expected_after(writes), own),
        )


def _plan_release(
    ctx: Context[AllClear.Params], mine: list[SwitchState], incident: int
) -> tuple[list[tuple[SwitchWrite, DesiredValue]], list[str]]:
    """Return the writes, each with its request, and why the incidents of a switch are unknown for now."""
    planned, hidden = list[tuple[SwitchWrite, DesiredValue]](), list[str]()
    for each in mine:
        desired = DesiredValue(each.rules.normal, ctx.request.actor, incident, leaves_runs=True)
        try:
            write = steps.plan_write(ctx, each, desired)
        except Refused as error:
            if error.reason != Reason.LIVE_UNKNOWN:
                raise
            hidden.append(error.message)
        else:
            planned += [(write, desired)] if write else []
    return planned, hidden


def _describe_kept(write: SwitchWrite) -> str:
    return f"{write.current.name} stays {write.value.state}, held by {describe_owners(write.value.owners)}"


def _all_clear_claim(ctx: Context[AllClear.Params], incident: int, kept: list[str], *, is_reset: bool) -> str:
    if not kept:
        return f"the switches of #{incident} are normal, {SEEN}; {steps.describe_health_by_switch(ctx)}"
    stays = f"{'; '.join(kept)}, {SEEN}"
    if not is_reset:
        return stays
    return f"the other switches of #{incident} are normal; {stays}; {steps.describe_health_by_switch(ctx)}"


def _list_tasks(ctx: Context[AllClear.Params], writes: list[SwitchWrite]) -> tuple[str, ...]:
    ai = ctx.environment.require_runtime().ai
    before = {each.current.name: each.current.state(ctx.clock.now()) for each in writes}
    return tuple(
        task
        for each in writes
        if ai is not None and each.current.name == AI_SWITCH and each.value.state != before[AI_SWITCH]
        for task in provider_tasks(ai.message, before=before[AI_SWITCH], after=each.value.state)
    )


def _find_doubts(
    ctx: Context[AllClear.Params], states: Mapping[str, SwitchState], mine: list[SwitchState]
) -> Iterator[str]:
    """Yield switches that the application shows active by a run that KV does not show; it may be this incident's."""
    for name, observed in steps.read_shown_switches(ctx).items():
        current = states.get(name)
        if current is not None and current not in mine and observed.state != current.rules.normal:
            yield from filter(None, [current.describe_hidden_run(observed, ctx.clock.now())])


def _unchanged_switches_section(lines: list[str]) -> tuple[PlanSection, ...]:
    return (PlanSection(UNCHANGED_SECTION, tuple(lines)),) if lines else ()
