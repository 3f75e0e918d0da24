"""Checklist of the report: steps that records prove, and steps that only people can tick."""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta

from ops.core.errors import Decision
from ops.core.incident_state import IssueRecord, ServiceHealth
from ops.core.run_record import ENDED_KIND, MESSAGES_SOURCE
from ops.publish.comment import AFTER, BEFORE, POST_MORTEM
from ops.report.evidence import IncidentEvidence
from ops.report.impact import ImpactView
from ops.watch.state import MAX_PAUSE, parse_watch_state

MONITORED, TOLERANCE = timedelta(minutes=30), timedelta(minutes=1)
"""Time of the step "Monitor", and what the last round of a watch may lack."""
StepCheck = Callable[[IncidentEvidence], bool]
OPEN, TICKED = "- [ ] ", "- [x] "
"""Start of a step, as GitHub writes it when a person clicks its box."""
RECORDED = " (recorded)"
"""End of a step that a check ticked; a tick without it is by people."""


def _is_watched(evidence: IncidentEvidence) -> bool:
    """Return whether a watch of each affected service ended well after 30 minutes or more."""
    runs = [evidence.find_run(each) for each in evidence.state.services if each.state == ServiceHealth.MITIGATED]
    watches = [evidence.find_watch(one) for one in runs if one]
    return bool(watches) and len(watches) == len(evidence.state.services) and all(map(_is_long_and_good, watches))


def _is_long_and_good(watch: IssueRecord | None) -> bool:
    """Return whether the watch ended well after 30 minutes, and no runner was missing for more than a pause."""
    ended = watch.first_event_at(ENDED_KIND) if watch else None
    state = parse_watch_state(watch.record.watch, None) if watch else None
    if watch is None or ended is None or state is None or watch.record.decision != Decision.MITIGATED:
        return False
    missed = sum(verdict is None for _, verdict in state.probe_rounds()) * state.interval
    return missed <= MAX_PAUSE and ended - watch.record.rows[0].at >= MONITORED - TOLERANCE


def _has_low_error_rates(evidence: IncidentEvidence) -> bool:
    """Return whether the figures of each affected service have complete minutes after its recovery, and no bad one."""
    services = evidence.state.services
    views = {(each.environment, each.service): ImpactView(each) for each in evidence.impact}
    found = [views.get((each.environment, each.service)) for each in services]
    return bool(services) and all(view is not None and view.is_calm_afterwards for view in found)


def _was_chat_notified(one: IssueRecord) -> bool:
    """Return whether a chat accepted a message of a run, or that the incident was opened."""
    return one.record.notified and not one.doubt and (one.record.is_run or one.record.source == MESSAGES_SOURCE)


def _has_written(evidence: IncidentEvidence) -> bool:
    return any(one.first_event_at("written") for one in evidence.counted_runs)


CHECKS: Mapping[str, StepCheck] = {
    "Identify the issue clearly": lambda evidence: bool(evidence.state.services),
    "Determine root cause (if possible)": lambda evidence: any(evidence.find_notes("root cause")),
    "Choose appropriate rollback method": lambda evidence: any(one.record.versions for one in evidence.counted_runs),
    "Notify team": lambda evidence: any(_was_chat_notified(one) for one in evidence.records),
    "Execute rollback": _has_written,
    "Verify recovery": lambda evidence: evidence.state.mitigated.at is not None,
    "Document incident": lambda evidence: bool(evidence.counted_runs),
    "Monitor for 30 minutes": _is_watched,
    "Check error rates": _has_low_error_rates,
    POST_MORTEM: lambda _: True,
}
"""Step → whether the records prove it. People tick the other steps, and those that the records do not prove."""


def list_checklist_steps() -> tuple[str, ...]:
    return tuple(title for title, _ in (*BEFORE, *AFTER))


def proved_steps(evidence: IncidentEvidence) -> set[str]:
    return {title for title in list_checklist_steps() if title in CHECKS and CHECKS[title](evidence)}


def render_steps(steps: Iterable[str], evidence: IncidentEvidence) -> str:
    """Return a task list with the proved steps ticked."""
    proved = proved_steps(evidence)
    return "\n".join(f"{TICKED}{each}{RECORDED}" if each in proved else f"{OPEN}{each}" for each in steps)
