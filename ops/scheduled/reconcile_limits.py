"""`ops limits reconcile`: compare KV with limits.yml, on a schedule.

Ended temporary limits are removed from KV. Other differences are reported in an issue. They are corrected only with
`enforce` in ops.yml, without an open incident, and one day after the report. A pause in an outage is harmless: the
application ends a temporary limit by its own clock.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

from ops.core.clock import format_rounded_up
from ops.core.errors import Decision, OpsError, Reason
from ops.core.names import LIMITS_FILE as FILE
from ops.core.plan import RunOutcome
from ops.core.redaction import Redactor
from ops.core.run import EndedRun
from ops.engine.context import Context
from ops.engine.runbook import Publications, Schedule, TokenPermissions
from ops.engine.step import StepPlan
from ops.github import comments
from ops.github.pulls import PullRequests
from ops.limits import diff, publication
from ops.limits.file import LimitsValue, drop_ended, parse_stored_limits, value_limits
from ops.limits.raises import leave_out_limits, low_raises
from ops.scheduled.apply_limits import (
    ApplyLimits,
    LimitsRead,
    build_limits_plan,
    describe_limits_error,
    find_limits_read,
    find_notes,
    limits_write_step,
    plan_without_write,
)

INCIDENT = "incident"
REPORT_PERIOD = timedelta(hours=24)
"""Time between the report of a difference and its correction."""


def _publish_drift(result: EndedRun, environ: Mapping[str, str], redactor: Redactor) -> Iterator[str]:
    """Open or edit the one drift issue, or close it; note on their incidents the raises that ended."""
    read = find_limits_read(result)
    if read is None or read.drift is None or result.decision == Decision.PLANNED:
        return
    is_gone = result.exit_code == 0 and (not read.drift or result.wrote)
    with closing(PullRequests.of(environ, redactor)) as pulls:
        if not pulls.is_available:
            return
        try:
            notes = find_notes(pulls, read, result) if read.ending is None else []
            ended = (note for note in notes if note.at is not None)
            yield from publication.post_notes(pulls, ended, result, redactor)
            if is_gone:
                yield from publication.close_drift(pulls, result, redactor)
            else:
                yield publication.save_drift(pulls, read.drift, result, redactor)
        except (OpsError, comments.CommentForbidden) as error:
            yield f"warning: could not update the issue ({describe_limits_error(error)})"


class ReconcileLimits(ApplyLimits):
    """Remove ended limits from KV, and report differences from limits.yml."""

    name = "limits reconcile"
    section = "Limits and switches"
    schedule = Schedule("reconcile-limits", minute=41, pauses=True)
    when = "No incident: a schedule starts it"
    permissions = TokenPermissions(cloudflare=("Workers KV Storage Write",), github=("issues: write",))
    publications = Publications(_publish_drift)

    def _plan_limits_write(
        self, ctx: Context[ApplyLimits.Params], read: LimitsRead, warnings: tuple[str, ...]
    ) -> StepPlan:
        stored, garbage = parse_stored_limits(read.before)
        if not garbage and self._is_application_ahead(ctx, read, stored):
            message = f"the application shows revision {read.value.revision} of {FILE}; KV's API does not yet"
            return plan_without_write(
                replace(read, ending=RunOutcome(Decision.NOTHING_TO_DO, Reason.ALREADY_LIVE, message))
            )
        if read.before is None:
            message = f"KV holds no limits: {FILE} was never applied here, so the values in the code apply"
            return plan_without_write(
                replace(read, ending=RunOutcome(Decision.NOTHING_TO_DO, Reason.NEVER_APPLIED, message))
            )
        live, desired = (stored.limits if stored else {}), read.value.limits
        if stored is not None and live == desired:
            message = f"KV matches {FILE}, revision {stored.revision}"
            return plan_without_write(
                replace(read, drift=(), ending=RunOutcome(Decision.NOTHING_TO_DO, Reason.ALREADY_LIVE, message))
            )
        if stored is not None and drop_ended(live, ctx.clock.now()) == desired:
            plan = build_limits_plan(ctx, read, stored, changes=(limits_write_step(read),), warnings=warnings)
            return replace(
                plan, summary=f"a temporary limit has ended: {plan.summary}", read=replace(plan.read, drift=())
            )
        drift = (garbage,) if garbage else tuple(diff.list_limit_differences(live, desired))
        applied = value_limits(stored) if stored else {}
        _, left_out = leave_out_limits(read.limits, low_raises(read.limits, applied, ctx.clock.now()))
        if (why := "; ".join(left_out.values()) or self._reason_to_wait(ctx)) == "":
            return build_limits_plan(ctx, read, stored, changes=(limits_write_step(read),), warnings=warnings)
        message = f"KV differs from {FILE} ({'; '.join(drift)}); not corrected: {why}"
        return plan_without_write(
            replace(read, drift=drift, ending=RunOutcome(Decision.NOTHING_TO_DO, Reason.DRIFTED, message))
        )

    def _is_application_ahead(
        self, ctx: Context[ApplyLimits.Params], read: LimitsRead, stored: LimitsValue | None
    ) -> bool:
        """Return whether only the application shows the revision of limits.yml; KV's API may lag a minute."""
        if stored is not None and stored.revision == read.value.revision:
            return False
        runtime = ctx.environment.require_runtime()
        document = ctx.web.fetch_runtime_state(ctx.environment.service(runtime.service).url)
        return not isinstance(document, str) and document.revision == read.value.revision

    def _reason_to_wait(self, ctx: Context[ApplyLimits.Params]) -> str:
        """Return why a difference is not corrected, or an empty string if it is."""
        limits = ctx.environment.require_runtime().limits
        if limits is None or not limits.enforce:
            return "`runtime.limits.enforce` is not set in ops.yml"
        if not ctx.github.pulls.is_available:
            return "without GitHub the age of the difference is unknown"
        since = ctx.github.pulls.issue_opened_at(publication.LABEL, diff.limits_marker(ctx.environment.name))
        if since is None or (age := ctx.clock.now() - since) < REPORT_PERIOD:
            left = REPORT_PERIOD if since is None else REPORT_PERIOD - age
            return f"it must be reported for another {format_rounded_up(left.total_seconds())} first"
        return "an incident is open" if ctx.github.pulls.is_any_open(INCIDENT) else ""
