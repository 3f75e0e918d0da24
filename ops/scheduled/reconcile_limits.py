"""`ops limits reconcile`: by a schedule, whether KV holds what limits.yml says.

A temporary limit that is over leaves KV. What else differs is somebody's: it is reported, and put right only where
ops.yml says so, on a day without an incident, once it was on report for a day.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

from ops.core.clock import format_duration
from ops.core.errors import Decision, OpsError, Reason
from ops.core.names import LIMITS_FILE as FILE
from ops.core.plan import Plan, RunOutcome
from ops.core.redaction import Redactor
from ops.core.result import RunResult
from ops.engine.context import Context
from ops.engine.runbook import Schedule, TokenPermissions
from ops.github import comments
from ops.github.pulls import PullRequests
from ops.limits import text
from ops.limits.value import Value, without_what_is_past
from ops.scheduled.apply_limits import (
    ApplyLimits,
    Details,
    Params,
    details_of,
    difference,
    plan_of,
    reason_of,
    stored_in,
    write,
)

LABEL = "limits-drift"
TITLE = "What applies differs from limits.yml"
INCIDENT = "incident"
ON_REPORT = timedelta(hours=24)
"""How long a difference is reported before it is put right."""


class ReconcileLimits(ApplyLimits):
    """Take what is over out of KV, and report what differs from limits.yml."""

    name = "limits reconcile"
    schedule = Schedule("reconcile-limits", minute=41)
    when = "Nothing: a schedule starts it"
    permissions = TokenPermissions(cloudflare=("Workers KV Storage Write",), github=("issues: write",))

    def _plan(self, ctx: Context[Params], found: Details, warnings: tuple[str, ...]) -> Plan[Details]:
        stored, garbage = stored_in(found.before)
        if not garbage and self._is_shown(ctx, found, stored):
            said = f"the application shows what {FILE} says, revision {found.value.revision}, and KV's API not yet"
            return _ends(replace(found, ending=RunOutcome(Decision.NOTHING_TO_DO, Reason.ALREADY_LIVE, said)))
        if found.before is None:
            said = f"KV holds no limits yet: nothing of {FILE} was ever applied here, and those of the code hold"
            return _ends(replace(found, ending=RunOutcome(Decision.NOTHING_TO_DO, Reason.NEVER_APPLIED, said)))
        live, wanted = (stored.limits if stored else {}), found.value.limits
        if stored is not None and live == wanted:
            said = f"KV holds what {FILE} says, revision {stored.revision}"
            return _ends(replace(found, drift=(), ending=RunOutcome(Decision.NOTHING_TO_DO, Reason.ALREADY_LIVE, said)))
        if stored is not None and without_what_is_past(live, ctx.clock.now()) == wanted:
            plan = plan_of(ctx, found, stored, changes=(write(found),), warnings=warnings)
            return replace(
                plan, summary=f"a temporary limit is over: {plan.summary}", details=replace(plan.details, drift=())
            )
        drift = (garbage,) if garbage else tuple(difference(live, wanted))
        if (why := self._why_not(ctx)) == "":
            return plan_of(ctx, found, stored, changes=(write(found),), warnings=warnings)
        said = f"KV differs from {FILE} ({'; '.join(drift)}), and is left so: {why}"
        return _ends(replace(found, drift=drift, ending=RunOutcome(Decision.NOTHING_TO_DO, Reason.DRIFTED, said)))

    def _is_shown(self, ctx: Context[Params], found: Details, stored: Value | None) -> bool:
        """Whether the application alone shows the revision of limits.yml: KV's API may be behind for a minute."""
        if stored is not None and stored.revision == found.value.revision:
            return False
        runtime = ctx.environment.require_runtime()
        document = ctx.web.fetch_runtime_state(ctx.environment.service(runtime.service).url)
        return not isinstance(document, str) and document.revision == found.value.revision

    def _why_not(self, ctx: Context[Params]) -> str:
        """Why a difference is not put right; nothing where it is."""
        limits = ctx.environment.require_runtime().limits
        if limits is None or not limits.enforce:
            return "ops.yml has no runtime.limits.enforce"
        if not ctx.github.pulls.is_available:
            return "it is not known since when, without GitHub"
        since = ctx.github.pulls.issue_since(LABEL, text.marker(ctx.environment.name))
        if since is None or (age := ctx.clock.now() - since) < ON_REPORT:
            left = ON_REPORT if since is None else ON_REPORT - age
            return f"it is on report for another {format_duration(left.total_seconds())} first"
        return "an incident is open" if ctx.github.pulls.is_any_open(INCIDENT) else ""

    def publish_result(self, result: RunResult, environ: Mapping[str, str], redactor: Redactor) -> Iterator[str]:
        """Keep one issue: opened, edited in place, and closed when there is no difference any more."""
        found = details_of(result)
        if found is None or found.drift is None or result.decision == Decision.PLANNED:
            return
        is_gone = result.exit_code == 0 and (not found.drift or result.wrote)
        mark = text.marker(result.environment)
        with closing(PullRequests.of(environ, redactor)) as pulls:
            if not pulls.is_available:
                return
            try:
                if not is_gone:
                    body = redactor.text(text.drift(found.drift, result.environment, result.message))
                    title = f"{TITLE} in {result.environment}"
                    yield f"reported at {comments.keep_issue(pulls.repository, LABEL, mark, title, body).url}"
                elif (issue := comments.open_issue(pulls.repository, LABEL, mark)) is not None:
                    comments.close_issue(pulls.repository, issue.number, redactor.text(text.settled(result.message)))
                    yield f"closed {issue.url}"
            except (OpsError, comments.CommentForbidden) as error:
                yield f"warning: the issue could not be kept ({reason_of(error)})"


def _ends(found: Details) -> Plan[Details]:
    assert found.ending is not None
    return Plan(summary=found.ending.message, reason=found.ending.reason, details=found)
