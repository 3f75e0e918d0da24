"""The result of a run: one value, printed for people and as one line of JSON."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ops.core.errors import Decision, Reason, needs_people
from ops.core.next_step import SuggestedCommand, command_to_json
from ops.core.plan import LiveState, Plan
from ops.core.timeline import EventKind, RunEvent
from ops.core.verdict import ProbeObservation, Verdict

DURATIONS = {
    "trigger_to_plan": EventKind.PLANNED,
    "trigger_to_write": EventKind.WRITTEN,
    "trigger_to_read_back": EventKind.READ_BACK,
    "trigger_to_verified": EventKind.VERIFIED,
    "total": EventKind.ENDED,
}
"""Name of a duration → kind of the first event that ends it."""
MOVED = "moved: "
"""Start of a rehearsal's event that says how it moved the traffic by accident."""
MOVED_TRAFFIC = LiveState.MOVED.words


@dataclass(frozen=True)
class RunResult:
    """Result of a run. `durations` are monotonic seconds, or None if the run did not reach that point."""

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
    timeline: tuple[RunEvent, ...]
    before: ProbeObservation | None
    after: ProbeObservation | None
    durations: dict[str, float | None]
    wrote: bool
    """Whether a write was answered or was seen to be made; of a rehearsal, only one that moved the traffic."""
    outcome: dict[str, list[str]] = field(default_factory=dict)
    """Targets of the changes, by the keys of OUTCOME_WORDS."""
    hint: str = ""
    suggested_command: SuggestedCommand | None = None
    """Command that the hint refers to, if any."""
    links: dict[str, str] = field(default_factory=dict)
    only_rehearsed: bool = False
    """Whether no planned change was written, so there is no undo."""
    is_answered: bool = True
    """Whether the incident shows this result. A dry run and a run without an incident write nothing there."""
    is_recorded: bool = False
    """Whether an incident holds the whole record of this run."""

    @property
    def needs_people(self) -> bool:
        """Whether people must be called; then the contacts are shown."""
        return needs_people(self.decision)

    @property
    def made_change(self) -> bool:
        """Whether a planned change was made, so its undo and its manual steps count."""
        return self.wrote and not self.only_rehearsed

    @property
    def notices(self) -> Mapping[int, str]:
        """Other incidents that the changes concern → text for a comment on them; empty if nothing was changed."""
        return self.plan.notices if self.plan and self.made_change else {}

    def to_json(self) -> dict[str, Any]:
        """Return the JSON result of schema 1 (docs/reference/results.md)."""
        return {
            "schema": 1,
            "decision": self.decision.value,
            "reason": self.reason.value,
            "exit_code": self.exit_code,
            "message": self.message,
            "hint": self.hint,
            **command_to_json("press", self.suggested_command),
            "runbook": self.runbook,
            "environment": self.environment,
            "service": self.service,
            "run": self.run,
            "incident": self.incident,
            "wrote": self.wrote,
            "outcome": self.outcome,
            "plan": self.plan.to_json() if self.plan else None,
            "timeline": [event.to_json() for event in self.timeline],
            "probes_before": observation_to_json(self.before),
            "probes_after": observation_to_json(self.after),
            "durations": {name: None if s is None else round(s, 3) for name, s in self.durations.items()},
            "undo": [each.command for each in self.plan.undo] if self.plan and self.made_change else [],
            "links": self.links,
        }


def measure_durations(first: Callable[[EventKind], float | None], *, is_proved: bool) -> dict[str, float | None]:
    """Return seconds from the trigger to each point; "verified" counts only if `is_proved`."""
    return {name: first(kind) if is_proved or kind != EventKind.VERIFIED else None for name, kind in DURATIONS.items()}


def duration_label(duration: str, *, proves_health: bool = True) -> str:
    """Return the words for the end of a duration, such as "read back"; a proof of another claim is "proved"."""
    label = duration.removeprefix("trigger_to_").replace("_", " ")
    return label if proves_health else label.replace("verified", "proved")


def describe_decision(decision: Decision, before: Verdict, plan: Plan, *, wrote: bool, after: ProbeObservation) -> str:
    """Return the sentence that starts every report. `before` is the verdict before the run."""
    match decision:
        case Decision.HEALTHY_AS_BEFORE if plan.healthy_before_message:
            return plan.healthy_before_message
        case Decision.RECOVERED | Decision.HEALTHY_AS_BEFORE if plan.proved_claim:
            return "; ".join(filter(None, [plan.proved_claim, plan.proof_limit]))
        case Decision.NOTHING_TO_DO if plan.proved_claim:
            return "; ".join(filter(None, [plan.summary, plan.proved_claim, plan.proof_limit]))
        case Decision.STILL_UNHEALTHY if plan.proved_claim:
            known = "changed" if wrote else "nothing was changed"
            return f"{known}, but the probes do not confirm: {plan.claim_without_health}; {after.failure}"
        case Decision.RECOVERED if before == Verdict.INCONCLUSIVE:
            return "the probes are healthy now; whether they failed before is unknown"
        case Decision.RECOVERED:
            return "the probes failed before and are healthy now"
        case Decision.HEALTHY_AS_BEFORE:
            return "changed, and healthy as before: no probe failed before either, so this may be the wrong service"
        case Decision.NOTHING_TO_DO:
            return f"{_left_alone(plan)}; the probes are healthy"
        case Decision.STILL_UNHEALTHY if wrote:
            return f"changed, and {_unhealthy(before, plan)}"
        case Decision.STILL_UNHEALTHY:
            return f"nothing was changed, and it is unhealthy: {_left_alone(plan)}"
        case _:
            said = "the probes gave no verdict, so this is not a success"
            return said if wrote else f"{_left_alone(plan)}; {said}"


def _left_alone(plan: Plan) -> str:
    """Return why this run sent no write."""
    return "somebody had made the same change already" if plan.changes else plan.summary


def _unhealthy(before: Verdict, plan: Plan) -> str:
    match before:
        case Verdict.HEALTHY:
            advice = "undo it" if plan.undo else "no command can undo it"
            return f"unhealthy now, though it was healthy before: {advice}"
        case Verdict.UNHEALTHY:
            return "unhealthy as before: it did not help"
        case _:
            return "unhealthy; whether it was healthy before is unknown"


def planned_outcome(next_job_message: str, *, requested: bool) -> tuple[Decision, Reason, str]:
    """Return the outcome of a run that only plans: a dry run, unless another job continues."""
    if next_job_message:
        return Decision.PLANNED, Reason.HANDED_ON, f"planned, and {next_job_message}"
    if not requested:
        return Decision.PLANNED, Reason.IMPLICIT_DRY_RUN, "nothing was changed, since nobody could confirm the plan"
    return Decision.PLANNED, Reason.DRY_RUN, "dry run: nothing was changed"


def lead_with_state(message: str, live: LiveState) -> str:
    """Return the message of a run that did not succeed, after what is live.

    Only this function adds "nothing was changed": no hint and no message of a runbook has it.
    """
    return f"{live.words}: {message.removeprefix(f'{live.words}: ')}"


def with_sentence(message: str, more: str) -> str:
    """Return the message with a further statement, if there is one."""
    if not more:
        return message
    return f"{message} {more[:1].upper()}{more[1:]}" if message.endswith("?") else f"{message}; {more}"


def describe_state_after_bug(events: Sequence[RunEvent]) -> str:
    """Return what is known about the live state after a bug ended the run."""
    kinds = {event.kind for event in events}
    moved = [event.text.removeprefix(MOVED) for event in events if event.text.startswith(MOVED)]
    if EventKind.WRITTEN in kinds:
        return "the change was made, but it is not proved that it helped"
    if EventKind.WRITING in kinds:
        return "the change was sent, but it is unknown whether it was made"
    if moved:
        return f"{MOVED_TRAFFIC}: {moved[-1]}"
    unchanged = LiveState.REHEARSED if EventKind.REHEARSED in kinds else LiveState.UNCHANGED
    return unchanged.words


def observation_to_json(observation: ProbeObservation | None) -> dict[str, Any] | None:
    """Return the probes' results as the JSON result holds them; times are seconds."""
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
