"""`ops switches prepare`: create the KV keys of all switches, each in its normal state.

KV may cache for a minute or longer that a key does not exist, so a key created during an incident may be seen late.
"""

from dataclasses import dataclass
from functools import partial

from ops.core.errors import Reason
from ops.core.names import quote_name
from ops.core.plan import PlanSection
from ops.core.verdict import SEEN
from ops.engine.context import Context
from ops.engine.runbook import IncidentUse, param
from ops.engine.step import StepPlan
from ops.switches import steps
from ops.switches.steps import SetSwitch, SwitchRunbook


class PrepareSwitches(SwitchRunbook["PrepareSwitches.Params"]):
    """Create missing switch keys in KV, each in its normal state."""

    @dataclass(frozen=True)
    class Params:
        reason: str = param("Reason, shown in the timeline", default="")

    name = "switches prepare"
    section = "Set-up"
    when = "No incident: run it once, on a quiet day"
    label_use = None
    incident_use = IncidentUse(is_routine=True)
    example = Params()

    def plan(self, ctx: Context[Params]) -> StepPlan:
        now = ctx.clock.now()
        states, unknown = steps.read_switches(ctx)
        missing = [each for each in states.values() if each.value is None]
        observed = steps.read_shown_switches(ctx) if missing else {}
        # KV's API may not show a new key yet; the application shows a revision only if it read one.
        late = [each.name for each in missing if each.name in observed and observed[each.name].revision]
        planned = [steps.plan_first_write(ctx, each) for each in missing if each.name not in late]
        shows = steps.expected_after(planned)
        there = [f"{name}: {each.describe(now)}" for name, each in states.items() if each.value is not None]
        there += [f"{name}: {quote_name(observed[name].state)}, as the application shows it" for name in late]
        there += [f"{each.name}: {each.reason}" for each in unknown]
        service = ctx.environment.require_runtime().service
        return StepPlan(
            summary=f"create keys: {', '.join(each.current.name for each in planned)}"
            if planned
            else "all switch keys exist",
            changes=tuple(SetSwitch.of(ctx, each) for each in planned),
            sections=(PlanSection("Switches that have a key", tuple(there)),) if there else (),
            consequences=("nothing changes for users: a switch without a key has its normal state too",),
            reason=None if planned else Reason.ALREADY_PREPARED,
            done_message="Created the switch keys",
            proved_claim=f"the switch keys exist, and {service} reads them, {SEEN}",
            proof_limit=steps.ONE_LOCATION_NOTE,
            proves_health=False,
            probes=partial(steps.build_switch_probes, ctx, shows),
        )
