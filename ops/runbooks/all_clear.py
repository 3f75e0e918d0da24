"""Reset the switches of an incident. Maintenance at the edge is reopened separately."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.core.errors import ConfigError, Reason, Refused
from ops.core.plan import Plan, PlanSection
from ops.engine.context import Context
from ops.engine.runbook import param
from ops.switches import steps, values
from ops.switches.steps import SwitchDetails, SwitchRunbook
from ops.switches.values import DesiredValue, SwitchState

if TYPE_CHECKING:
    from ops.config import Environment


class AllClear(SwitchRunbook["AllClear.Params"]):
    """Reset all switches of an incident to their normal state."""

    @dataclass(frozen=True)
    class Params:
        reason: str = param("Reason, shown in the timeline", default="")

    name = "all-clear"
    section = "Limits and switches"
    when = "An incident is over, and its switches are still on"
    menu_rank = 9
    allows_closed_incident = True
    params = Params
    example = Params()
    needs_incident = True

    def fits(self, environment: "Environment", service: str) -> list[dict[str, Any]]:  # noqa: ARG002
        return [{}] if environment.runtime and environment.runtime.switches else []

    def preflight(self, ctx: Context[Params]) -> Plan[SwitchDetails]:
        incident, now = _require_incident(ctx), ctx.clock.now()
        found, unknown = steps.read_switches(ctx)
        mine, left = values.split_by_incident(found, incident, now)
        desired = {each.name: DesiredValue(each.rules.normal, ctx.request.actor, incident) for each in mine}
        planned = [setting for each in mine if (setting := steps.plan_write(ctx, each, desired[each.name]))]
        shows = steps.expected_after(planned)
        doubts = tuple(_find_doubts(ctx, found, mine))
        if doubts and not planned:
            raise Refused(
                f"the active switches of incident #{incident} are unknown: {'; '.join(doubts)}",
                reason=Reason.LIVE_UNKNOWN,
                hint="Run the same command again in a minute.",
            )
        writes = steps.build_changes(ctx, [(each, None) for each in planned])
        names = ", ".join(each.current.name for each in planned)
        return Plan(
            summary=f"reset to normal: {names}" if planned else f"no switch is on for incident #{incident}",
            changes=tuple(writes),
            sections=_skipped_section([f"{each.name}: {each.reason}" for each in (*left, *unknown)]),
            warnings=tuple(f"{each}. Run the same command again in a minute" for each in doubts),
            remaining_message="; ".join(doubts),
            consequences=("limits and maintenance at the edge stay unchanged: `ops status` lists them",),
            reason=None if planned else Reason.NOTHING_LEFT,
            done_message=f"Reset to normal: {names}",
            proved_claim=f"the switches of #{incident} are normal, {steps.SEEN}; {steps.describe_health(ctx)}",
            proof_limit=steps.ONE_LOCATION_NOTE,
            details=SwitchDetails(writes, shows),
        )


def _require_incident(ctx: Context[AllClear.Params]) -> int:
    """Return the incident's number. Raises ConfigError if it is missing."""
    if ctx.request.incident is None:
        raise ConfigError("all-clear needs an incident", hint="Add its number, such as `--incident 42`.")
    return ctx.request.incident


def _find_doubts(
    ctx: Context[AllClear.Params], found: Mapping[str, SwitchState], mine: list[SwitchState]
) -> Iterator[str]:
    """Yield switches that the application shows active and KV does not; they may belong to this incident."""
    for name, observed in steps.read_shown_switches(ctx).items():
        current = found.get(name)
        if current is not None and current not in mine and observed.state != current.rules.normal:
            yield from filter(None, [current.describe_disagreement(observed, ctx.clock.now())])


def _skipped_section(lines: list[str]) -> tuple[PlanSection, ...]:
    return (PlanSection("Unchanged", tuple(lines)),) if lines else ()
