"""The end of an incident: what it set is set back. Only switches: what is off at the edge is opened by hand."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.core.errors import ConfigError, Reason, Refused
from ops.core.plan import Plan, PlanSection
from ops.engine.context import Context
from ops.engine.runbook import param
from ops.switches import steps, values
from ops.switches.steps import Settings, SwitchRunbook
from ops.switches.values import Standing, Wanted

if TYPE_CHECKING:
    from ops.config import Environment


@dataclass(frozen=True)
class Params:
    reason: str = param("why, in a few words, for the timeline", default="")


class AllClear(SwitchRunbook[Params]):
    """Set every switch that an incident set back to its normal state."""

    name = "all-clear"
    when = "An incident is over, and switches that were set for it are still on"
    on_closed = True
    params = Params
    example = Params()
    needs_incident = True

    def fits(self, environment: "Environment", service: str) -> list[dict[str, Any]]:  # noqa: ARG002
        return [{}] if environment.runtime and environment.runtime.switches else []

    def preflight(self, ctx: Context[Params]) -> Plan[Settings]:
        incident, now = _incident(ctx), ctx.clock.now()
        found, unknown = steps.read_all(ctx)
        mine, left = values.of_incident(found, incident, now)
        wanted = {each.name: Wanted(each.rules.normal, ctx.request.actor, incident) for each in mine}
        made = [setting for each in mine if (setting := steps.setting(ctx, each, wanted[each.name]))]
        shows: dict[str, Any] = {}
        for each in made:
            shows |= values.shown_json(each.standing.name, each.value.state, each.value.revision)
        doubts = tuple(_doubts(ctx, found, mine))
        if doubts and not made:
            raise Refused(
                f"it is not known which switches are on for incident #{incident}: {'; '.join(doubts)}",
                reason=Reason.LIVE_UNKNOWN,
                hint="Run the same command again in a minute.",
            )
        of = steps.changes(ctx, [(each, None) for each in made])
        names = ", ".join(each.standing.name for each in made)
        return Plan(
            summary=f"back to normal: {names}" if made else f"no switch is on for incident #{incident}",
            changes=tuple(of),
            sections=_sections([f"{each.name}: {each.why}" for each in (*left, *unknown)]),
            warnings=tuple(f"{each}. Run the same command again in a minute" for each in doubts),
            remaining_message="; ".join(doubts),
            consequences=("limits and what is off at the edge stay as they are: `ops status` says what is still on",),
            reason=None if made else Reason.NOTHING_LEFT,
            done_message=f"Set back to normal: {names}",
            proved_claim=(
                f"what incident #{incident} had set is normal again, {steps.ELSEWHERE}; the probes are healthy"
            ),
            details=Settings(of, shows),
        )


def _incident(ctx: Context[Params]) -> int:
    """Raises ConfigError."""
    if ctx.request.incident is None:
        raise ConfigError("of which incident?", hint="Give its number: --incident 42.")
    return ctx.request.incident


def _doubts(ctx: Context[Params], found: Mapping[str, Standing], mine: list[Standing]) -> Iterator[str]:
    """Switches that the application shows on, by a value that KV's API does not show: perhaps of this incident."""
    for name, seen in steps.shown_switches(ctx).items():
        standing = found.get(name)
        if standing is not None and standing not in mine and seen.state != standing.rules.normal:
            yield from filter(None, [standing.apart(seen, ctx.clock.now())])


def _sections(lines: list[str]) -> tuple[PlanSection, ...]:
    return (PlanSection("Left as it is", tuple(lines)),) if lines else ()
