"""Publish results of limits: on the pull request, on incidents, and on the one drift issue."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ops.core.errors import ConfigError, Decision
from ops.core.redaction import Redactor
from ops.core.run_record import RecordRow, RunRecord
from ops.github import comments
from ops.github.issues import add_once
from ops.limits import text
from ops.limits.incident_notes import RaiseNote
from ops.publish.comment import render_note

if TYPE_CHECKING:
    from ops.core.result import RunResult
    from ops.github.pulls import PullRequests

LABEL = "limits-drift"
TITLE = "Limits in KV differ from limits.yml"
APPLIED = {Decision.RECOVERED, Decision.HEALTHY_AS_BEFORE, Decision.NOTHING_TO_DO}
"""Decisions after which the limits are in effect."""


def comment_result(pulls: "PullRequests", sha: str, result: "RunResult", redactor: Redactor, *, log: str) -> str:
    """Add the result to the comment on the merged pull request of a commit. Return a line about it.

    Raises ProviderError and CommentForbidden.
    """
    message = f"{result.decision.value.replace('_', ' ')}: {result.message}"
    message = f"{message}. {result.hint}" if result.decision == Decision.REFUSED and result.hint else message
    notes = result.after.notes if result.after else ()
    return comment_message(pulls, sha, result.environment, message, redactor, notes=notes, log=log)


def comment_message(
    pulls: "PullRequests",
    sha: str,
    environment: str,
    message: str,
    redactor: Redactor,
    *,
    notes: Sequence[str] = (),
    log: str,
) -> str:
    """Add a result to the comment on the merged pull request of a commit. Return a line about it.

    Raises ProviderError and CommentForbidden.
    """
    pull = pulls.merged_pull(sha)
    if pull is None:
        return f"no pull request for commit {sha[:12]}, so there is no comment to update"
    mark = text.marker(environment)
    before = comments.read_comment(pulls.repository, pull.number, mark)
    body = text.render_result(before, environment, message, notes, log=log)
    return f"commented at {comments.save_comment(pulls.repository, pull.number, mark, redactor.redact_text(body))}"


def save_drift(pulls: "PullRequests", differences: Sequence[str], result: "RunResult", redactor: Redactor) -> str:
    """Open or edit the drift issue. Return a line about it. Raises ProviderError."""
    body = redactor.redact_text(text.render_drift(differences, result.environment, result.message))
    title = f"{TITLE} in {result.environment}"
    mark = text.marker(result.environment)
    return f"reported at {comments.save_issue(pulls.repository, LABEL, mark, title, body).url}"


def close_drift(pulls: "PullRequests", result: "RunResult", redactor: Redactor) -> Iterator[str]:
    """Close the drift issue, if one is open. Yield a line about it. Raises ProviderError."""
    issue = comments.open_issue(pulls.repository, LABEL, text.marker(result.environment))
    if issue is not None:
        body = redactor.redact_text(text.render_drift_end(result.message))
        comments.close_issue(pulls.repository, issue.number, body)
        yield f"closed {issue.url}"


def post_notes(
    pulls: "PullRequests", notes: Iterable[RaiseNote], result: "RunResult", redactor: Redactor
) -> Iterator[str]:
    """Post each line once on its incident, and yield a line about each. Raises ProviderError."""
    now = result.timeline[-1].at
    for note in notes:
        line, at = redactor.redact_text(f"{result.environment}: {_with_result(note, result)}"), note.at or now
        run = f"note-{hashlib.sha256(line.encode()).hexdigest()[:16]}"
        record = RunRecord(run, source="note", rows=(RecordRow(at, "note", line),))
        try:
            if url := add_once(pulls.repository, note.incident, record, render_note(at, line, record)):
                yield f"noted at {url}"
        except ConfigError as error:
            yield f"warning: {error.message}, so it gets no line about {note.limit}"


def _with_result(note: RaiseNote, result: "RunResult") -> str:
    if not note.needs_result:
        return note.text
    if result.decision in APPLIED:
        proof = [each for each in (result.after.notes if result.after else ()) if f"limit {note.limit}:" in each]
        return "; not proved: ".join([f"{note.text}: in effect, seen at one location", *proof])
    return f"{note.text}: not confirmed, {result.decision.value.replace('_', ' ')}: {result.message}"
