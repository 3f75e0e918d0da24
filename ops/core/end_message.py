"""The message at the end of a run: its decision in words, and what is live.

Only this module adds "nothing was changed" to a message.
"""

from collections.abc import Sequence

from ops.core.errors import Decision, Reason
from ops.core.plan import LiveState, Plan
from ops.core.timeline import EventKind, RunEvent
from ops.core.verdict import ProbeObservation, Verdict, add_place

MOVED = "moved: "
"""Start of a rehearsal's event that says how it moved the traffic by accident."""
MOVED_TRAFFIC = LiveState.MOVED.words


def describe_decision(decision: Decision, before: Verdict, plan: Plan, *, wrote: bool, after: ProbeObservation) -> str:
    """Return the sentence that starts every report. `before` is the verdict before the run.

    A success says where its answers come from: other data centers may differ.
    """
    seen_from = after.seen_from
    match decision:
        case Decision.HEALTHY_AS_BEFORE if plan.healthy_before_message:
            return add_place(plan.healthy_before_message, seen_from)
        case Decision.RECOVERED | Decision.HEALTHY_AS_BEFORE if plan.proved_claim:
            return "; ".join(filter(None, [add_place(plan.proved_claim, seen_from), plan.proof_limit]))
        case Decision.NOTHING_TO_DO if plan.proved_claim:
            claim = add_place(plan.proved_claim, seen_from)
            return "; ".join(filter(None, [plan.summary, claim, plan.proof_limit]))
        case Decision.STILL_UNHEALTHY if plan.proved_claim:
            known = "changed" if wrote else "nothing was changed"
            return f"{known}, but the probes do not confirm: {plan.claim_without_health}; {after.failure}"
        case Decision.RECOVERED if before == Verdict.INCONCLUSIVE:
            return f"{add_place('the probes are healthy now', seen_from)}; whether they failed before is unknown"
        case Decision.RECOVERED:
            return add_place("the probes failed before and are healthy now", seen_from)
        case Decision.HEALTHY_AS_BEFORE:
            healthy = add_place("changed, and healthy as before", seen_from)
            return f"{healthy}: no probe failed before either, so this may be the wrong service"
        case Decision.NOTHING_TO_DO:
            return f"{_left_alone(plan)}; {add_place('the probes are healthy', seen_from)}"
        case Decision.STILL_UNHEALTHY if wrote:
            return f"changed, and {_unhealthy_advice(before, plan)}"
        case Decision.STILL_UNHEALTHY:
            return f"nothing was changed, and it is unhealthy: {_left_alone(plan)}"
        case _:
            said = "the probes gave no verdict" if not after.is_empty else "ops.yml has no probe that could show it"
            said = f"{said}, so this is not a success"
            return said if wrote else f"{_left_alone(plan)}; {said}"


def _left_alone(plan: Plan) -> str:
    """Return why this run sent no write."""
    return "somebody had made the same change already" if plan.changes else plan.summary


def _unhealthy_advice(before: Verdict, plan: Plan) -> str:
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
