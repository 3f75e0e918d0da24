"""Refuse a further attempt of a workflow run, unless nothing changed since its request.

GitHub offers a re-run for 30 days. If all jobs are re-run, the gate checks again.
"""

from datetime import datetime
from typing import TYPE_CHECKING

from ops.core.clock import MAX_CLOCK_SKEW, format_utc
from ops.core.errors import Reason
from ops.gate.outcomes import GateJob, RecoveryRequest, RefusedRequest
from ops.gate.refusals import APPROVE_AGAIN, PRESS_AGAIN

if TYPE_CHECKING:
    from ops.github.client import Repository
    from ops.github.issues import IssueRecord

_CHANGES = {"writing", "written"}


def refuse_unknown_time(job: GateJob) -> RefusedRequest | None:
    """Refuse a further attempt of a button if the time of the click is not known."""
    if job.run_attempt == 1 or job.started_at is not None:
        return None
    return RefusedRequest(
        reason=Reason.RERUN,
        message=f"this is attempt {job.run_attempt}, and GitHub does not say when the button was pressed",
        hint=PRESS_AGAIN,
    )


def refuse_approval_again(job: GateJob) -> RefusedRequest | None:
    """Refuse a further attempt of an approval: one event approves one run."""
    if job.run_attempt == 1:
        return None
    return RefusedRequest(
        reason=Reason.RERUN,
        message=f"this is attempt {job.run_attempt} of an approval, and an approval counts once",
        hint=APPROVE_AGAIN,
    )


def refuse_further_attempt(repository: "Repository", request: RecoveryRequest, attempt: int) -> RefusedRequest | None:
    """Return a refusal of a re-run if a run changed something after the request, or if that is not known.

    Raises ProviderError.
    """
    from ops.github.client import provider_errors
    from ops.github.issues import trusted_records

    if request.incident is None:
        return _rerun_refusal(
            request, attempt, "it names no incident, so it is not known what changed since the request"
        )
    with provider_errors():
        runs = trusted_records(repository, request.incident)
    for run in runs:
        if run.record.environment == request.environment and _has_changed_since(run, request.requested_at):
            at = format_utc(request.requested_at)
            return _rerun_refusal(
                request, attempt, f"{{run}} of {{runbook}} changed something after the request ({at})", run
            )
    return None


def _has_changed_since(run: "IssueRecord", at: datetime) -> bool:
    """Return whether the run changed something after that time. The clocks of runner and GitHub may differ."""
    rows = run.record.rows
    is_change = bool(run.record.versions) or any(row.kind in _CHANGES for row in rows)
    return run.is_run and is_change and max((row.at for row in rows), default=at) > at - MAX_CLOCK_SKEW


def refuse_unknown_changes(request: RecoveryRequest, attempt: int, why: str) -> RefusedRequest:
    return _rerun_refusal(request, attempt, f"it is not known what changed since the request ({why})")


def _rerun_refusal(
    request: RecoveryRequest, attempt: int, why: str, run: "IssueRecord | None" = None
) -> RefusedRequest:
    return RefusedRequest(
        reason=Reason.RERUN,
        message=f"this is attempt {attempt} of an old request, and {why}",
        hint=PRESS_AGAIN,
        values={"run": run.record.run, "runbook": run.record.runbook} if run else {},
        incident=request.incident,
        label=request.label,
        request=request,
    )
