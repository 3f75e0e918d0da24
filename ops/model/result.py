"""What a run says at its end: one value, printed for people and as one JSON line."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ops.model.errors import Decision, Reason, needs_people
from ops.model.plan import Plan
from ops.model.timeline import Event, Kind
from ops.model.verdict import Observation


@dataclass(frozen=True)
class Result:
    """`durations` are seconds, monotonic, None where that point was not reached."""

    decision: Decision
    reason: Reason
    exit_code: int
    message: str
    runbook: str
    environment: str
    service: str
    run: str
    incident: int | None
    plan: Plan | None
    timeline: tuple[Event, ...]
    before: Observation | None
    after: Observation | None
    durations: dict[str, float | None]
    wrote: bool
    hint: str = ""
    links: dict[str, str] = field(default_factory=dict)

    @property
    def needs_people(self) -> bool:
        """It did not end well: the contacts are shown, with their availability."""
        return needs_people(self.decision)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "decision": self.decision.value,
            "reason": self.reason.value,
            "exit_code": self.exit_code,
            "message": self.message,
            "hint": self.hint,
            "runbook": self.runbook,
            "environment": self.environment,
            "service": self.service,
            "run": self.run,
            "incident": self.incident,
            "wrote": self.wrote,
            "plan": plan_json(self.plan),
            "timeline": [event.to_json() for event in self.timeline],
            "probes_before": observation_json(self.before),
            "probes_after": observation_json(self.after),
            "durations": {name: None if s is None else round(s, 3) for name, s in self.durations.items()},
            "undo": list(self.plan.undo) if self.plan and self.wrote else [],
            "links": self.links,
        }


def durations(first: Callable[[Kind], float | None], *, is_proved: bool) -> dict[str, float | None]:
    """From the trigger to the first event of each kind; verified only where it was proved."""
    return {
        "trigger_to_plan": first(Kind.PLANNED),
        "trigger_to_write": first(Kind.WRITTEN),
        "trigger_to_read_back": first(Kind.READ_BACK),
        "trigger_to_verified": first(Kind.VERIFIED) if is_proved else None,
        "total": first(Kind.ENDED),
    }


def sentence(decision: Decision, reason: Reason, plan: Plan) -> str:
    """One sentence for the first line of every report."""
    match decision:
        case Decision.RECOVERED | Decision.HEALTHY_AS_BEFORE if plan.proves:
            return plan.proves
        case Decision.NOTHING_TO_DO if plan.proves:
            return f"{plan.summary}; {plan.proves}"
        case Decision.UNVERIFIED if plan.proves:
            return f"{'changed' if plan.changes else 'nothing was changed'}, and this does not hold: {plan.proves}"
        case Decision.RECOVERED if reason == Reason.NOT_SEEN_FAILING:
            return "the probes are healthy now; they were not seen failing before"
        case Decision.RECOVERED:
            return "the probes failed before and are healthy now"
        case Decision.HEALTHY_AS_BEFORE:
            return "changed, and healthy; but no probe failed before either, so this may be the wrong service"
        case Decision.NOTHING_TO_DO:
            return f"{plan.summary}; the probes are healthy"
        case Decision.UNVERIFIED:
            return f"{'changed, but still' if plan.changes else 'nothing was changed, and it is'} unhealthy"
        case _:
            return "the probes could not tell whether it is healthy: this is no success"


def plan_json(plan: Plan | None) -> dict[str, Any] | None:
    if plan is None:
        return None
    return {
        "summary": plan.summary,
        "changes": [
            {"target": c.target, "before": c.before, "after": c.after, "done_when": c.done_when, "undo": c.undo}
            for c in plan.changes
        ],
        "sections": {section.title: list(section.lines) for section in plan.sections},
        "not_undone": list(plan.not_undone),
        "follows": list(plan.follows),
        "warnings": list(plan.warnings),
        "reason": plan.reason.value if plan.reason else None,
        "next_step": plan.next_step,
        "done": plan.done,
    }


def observation_json(observation: Observation | None) -> dict[str, Any] | None:
    if observation is None:
        return None
    return {
        "verdict": observation.verdict.value,
        "rounds": observation.rounds,
        "notes": list(observation.notes),
        "probes": [
            {
                "name": result.probe,
                "verdict": result.verdict.value,
                "seconds": None if result.seconds is None else round(result.seconds, 3),
                "version": result.echoed_version,
                "assertions": {a.name: {"verdict": a.verdict.value, "detail": a.detail} for a in result.assertions},
            }
            for result in observation.results
        ],
    }
