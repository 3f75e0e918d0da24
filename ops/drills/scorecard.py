"""Scorecard of several drills: the result of each one, and its JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ops.core.clock import format_rfc3339, format_seconds
from ops.core.drill_result import DrillKind, DrillOutcome, DrillResult, DrillTime
from ops.core.errors import EXIT_CODES, Decision, most_urgent_exit_code
from ops.core.run import DURATIONS
from ops.drills.score import time_taken
from ops.drills.support import Edge, Trigger

NO_TARGET = 2
"""Exit code of a drill that recovered without a target: a gap of ops.yml."""
SHOWN = {"trigger_to_write": "write", "trigger_to_verified": "verified"}
"""Stage with a target → its name in the table."""


@dataclass(frozen=True)
class PlannedDrill:
    """A drill on one edge by one trigger."""

    name: str
    edge: Edge
    trigger: Trigger
    runbook: str = ""
    """The runbook whose target it has."""
    unfit: str = ""
    """Why this configuration cannot run it; "" if it can."""

    def __str__(self) -> str:
        return f"{self.name} by {self.trigger} ({self.edge})"

    def to_json(self) -> dict[str, str]:
        return {"name": self.name, "edge": self.edge, "trigger": self.trigger}


@dataclass(frozen=True)
class ScoredDrill:
    """A drill that ended."""

    planned: PlannedDrill
    result: DrillResult
    message: str
    exit_code: int
    stages: Mapping[str, float | None]
    """Stage → seconds from the trigger; None if unknown."""
    seconds: float
    """Real time of the whole drill, with its set-up."""

    @property
    def is_passed(self) -> bool:
        return self.result.outcome == DrillOutcome.PASSED

    def to_json(self) -> dict[str, Any]:
        return {
            **self.planned.to_json(),
            **self.result.to_json(),
            "message": self.message,
            "exit_code": self.exit_code,
            "stages": dict(self.stages),
            "seconds": round(self.seconds, 1),
        }


@dataclass(frozen=True)
class Scorecard:
    """All drills of one `ops drill all`."""

    environment: str
    started: datetime
    seconds: float
    scored: tuple[ScoredDrill, ...]
    unfit: tuple[PlannedDrill, ...] = ()
    """Drills that the configuration cannot run."""
    not_run: tuple[PlannedDrill, ...] = ()
    """Drills that did not start, or did not end, before a signal."""

    @property
    def exit_code(self) -> int:
        """Return the most urgent exit code. Without any drill there is no evidence."""
        if self.not_run:
            return EXIT_CODES[Decision.INTERRUPTED]
        if not self.scored:
            return EXIT_CODES[Decision.NO_EVIDENCE]
        return most_urgent_exit_code(each.exit_code for each in self.scored)

    def count(self, outcome: DrillOutcome) -> int:
        return sum(each.result.outcome == outcome for each in self.scored)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "environment": self.environment,
            "started": format_rfc3339(self.started),
            "seconds": round(self.seconds, 1),
            "exit_code": self.exit_code,
            **{outcome.value: self.count(outcome) for outcome in DrillOutcome if outcome != DrillOutcome.STOPPED},
            "drills": [each.to_json() for each in self.scored],
            "unfit": [{**each.to_json(), "reason": each.unfit} for each in self.unfit],
            "not_run": [each.to_json() for each in self.not_run],
        }


def score_result(
    planned: PlannedDrill, environment: str, result: Mapping[str, Any], started: datetime, seconds: float
) -> ScoredDrill:
    """Return the score of a drill with this result, as `ops drill --json` prints it."""
    code, targets, durations = int(result["exit_code"]), result.get("targets", {}), result["durations"]
    outcome, message = DrillOutcome.PASSED, str(result["message"])
    if code:
        outcome = DrillOutcome.NO_EVIDENCE if result["decision"] == Decision.NO_EVIDENCE else DrillOutcome.FAILED
        message = "; ".join([*_describe_late(result), message])
    elif not targets:
        outcome, code = DrillOutcome.FAILED, NO_TARGET
        message = f"no target: ops.yml has no recovery_targets.{planned.runbook}"
    write, verified = (_measure_stage(durations, stage, targets.get(stage)) for stage in SHOWN)
    drill = DrillResult(
        planned.name,
        DrillKind.SANDBOX,
        environment,
        str(result.get("service") or ""),
        started,
        outcome,
        write,
        verified,
    )
    return ScoredDrill(planned, drill, message, code, {name: durations.get(name) for name in DURATIONS}, seconds)


def _measure_stage(durations: Mapping[str, float | None], stage: str, target: Mapping[str, Any] | None) -> DrillTime:
    """Return the time of the stage, measured against its target as the drill did."""
    return DrillTime(time_taken(durations, stage), target["seconds"]) if target else DrillTime(durations.get(stage))


def _describe_late(result: Mapping[str, Any]) -> list[str]:
    """Describe each known time above its target."""
    late = []
    for stage, target in result.get("targets", {}).items():
        seconds = time_taken(result["durations"], stage)
        if seconds is not None and seconds > target["seconds"]:
            target_text = format_seconds(target["seconds"])
            late.append(f"{SHOWN[stage]} after {format_seconds(seconds)}, and its target is {target_text}")
    return late
