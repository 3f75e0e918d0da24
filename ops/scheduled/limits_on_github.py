"""What becomes of limits on GitHub after a run: told on the merged pull request, and on the one issue of a difference.

Nothing here changes how the run ended: what fails is a line of warning.
"""

from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from ops.core.errors import Decision, OpsError
from ops.core.plan import Plan
from ops.core.redaction import Redactor
from ops.core.result import Result
from ops.github import actions, comments
from ops.github.pulls import Pulls
from ops.limits import text
from ops.scheduled.apply_limits import Details
from ops.scheduled.reconcile_limits import LABEL

TITLE = "What applies differs from limits.yml"
Say = Callable[[str], object]


def on_pull_request(result: Result, environ: Mapping[str, str], redactor: Redactor, say: Say) -> None:
    """In the comment that has the plan of the pull request which was merged."""
    found = _details(result.plan)
    if found is None or not actions.is_job(environ):
        return
    with closing(Pulls.of(environ, redactor)) as pulls:
        try:
            say(_told(result, found, pulls, environ, redactor))
        except (OpsError, comments.Forbidden) as error:
            say(f"warning: the pull request could not be told ({_text(error)})")


def _told(result: Result, found: Details, pulls: Pulls, environ: Mapping[str, str], redactor: Redactor) -> str:
    pull = pulls.merged_as(found.commits.own)
    if pull is None:
        return f"no pull request brought commit {found.commits.own[:12]}, so there is none to tell"
    before = comments.comment(pulls.repository, pull.number, text.MARKER)
    said = f"{result.decision.value.replace('_', ' ')}: {result.message}"
    notes = result.after.notes if result.after else ()
    body = text.applied(before, said, notes, log=actions.links(environ, None).get("run", ""))
    return f"told at {comments.keep_comment(pulls.repository, pull.number, text.MARKER, redactor.text(body))}"


def on_drift(result: Result, environ: Mapping[str, str], redactor: Redactor, say: Say) -> None:
    """One issue: opened, edited in place, and closed when there is no difference any more."""
    found = _details(result.plan)
    if found is None or found.drift is None or result.decision == Decision.PLANNED:
        return
    is_gone = result.exit_code == 0 and (not found.drift or result.wrote)
    with closing(Pulls.of(environ, redactor)) as pulls:
        if not pulls.is_on:
            return
        try:
            if not is_gone:
                body = redactor.text(text.drift(found.drift, result.message))
                say(f"reported at {comments.keep_issue(pulls.repository, LABEL, TITLE, body).url}")
            elif (issue := comments.open_issue(pulls.repository, LABEL)) is not None:
                comments.close_issue(pulls.repository, issue.number, redactor.text(text.settled(result.message)))
                say(f"closed {issue.url}")
        except (OpsError, comments.Forbidden) as error:
            say(f"warning: the issue could not be kept ({_text(error)})")


def _details(plan: Plan[Any] | None) -> Details | None:
    found = plan.details if plan else None
    return found if isinstance(found, Details) else None


def _text(error: Exception) -> str:
    return error.message if isinstance(error, OpsError) else "the token may not"
