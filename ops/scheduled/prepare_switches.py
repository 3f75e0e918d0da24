"""`ops switches prepare`: the keys of all switches, on a calm day, each in its normal state.

KV remembers for a minute and longer that a key was not there: what is made on a bad night may not be seen at once.
"""

from dataclasses import dataclass
from typing import Any

from ops.core.errors import Reason
from ops.core.plan import Plan, PlanSection
from ops.core.suggestions import shown
from ops.engine.context import Context
from ops.engine.runbook import param
from ops.switches import steps, values
from ops.switches.steps import Settings, SwitchRunbook


@dataclass(frozen=True)
class Params:
    reason: str = param("why, in a few words, for the timeline", default="")


class PrepareSwitches(SwitchRunbook[Params]):
    """Make the key of every switch that has none, in its normal state; what is there is not touched."""

    name = "switches prepare"
    when = "Nothing: it is for a calm day"
    by_label = False
    everyday = True
    params = Params
    example = Params()

    def preflight(self, ctx: Context[Params]) -> Plan[Settings]:
        now = ctx.clock.now()
        found, unknown = steps.read_all(ctx)
        missing = [each for each in found.values() if each.value is None]
        seen = steps.shown_switches(ctx) if missing else {}
        # KV's API may not show a new key yet; the application shows a revision only where it read one.
        late = [each.name for each in missing if each.name in seen and seen[each.name].revision]
        made = [steps.first_setting(ctx, each) for each in missing if each.name not in late]
        shows: dict[str, Any] = {}
        for each in made:
            shows |= values.shown_json(each.standing.name, each.value.state, each.value.revision)
        there = [f"{name}: {each.told(now)}" for name, each in found.items() if each.value is not None]
        there += [f"{name}: {shown(seen[name].state)}, as the application shows it" for name in late]
        there += [f"{each.name}: {each.why}" for each in unknown]
        of = steps.changes(ctx, [(each, None) for each in made])
        service = ctx.environment.needed_runtime().service
        return Plan(
            summary=f"keys to be made: {', '.join(each.standing.name for each in made)}"
            if made
            else "every switch has its key",
            changes=tuple(of),
            sections=(PlanSection("There already, and not touched", tuple(there)),) if there else (),
            consequences=("nothing changes for users: what has no key is in that state too",),
            reason=None if made else Reason.ALREADY_PREPARED,
            done_message="Prepared the switches",
            proved_claim=f"the keys are there, and {service} reads them, {steps.ELSEWHERE}",
            details=Settings(of, shows),
        )
