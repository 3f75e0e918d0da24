"""Publish results of limits: on the pull request, on incidents, and on the one drift issue.

An incident gets lines about its raised limits: applied, not confirmed, replaced, ended.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ops.core.clock import format_utc
from ops.core.errors import ConfigError, Decision
from ops.core.names import join_sentences
from ops.core.redaction import Redactor
from ops.core.run_record import job_of, make_note
from ops.core.verdict import NO_OBSERVATION, SEEN, add_place
from ops.github import comments
from ops.github.issues import add_once
from ops.limits import diff
from ops.publish.comment import render_note

if TYPE_CHECKING:
    from ops.core.run import EndedRun
    from ops.github.pulls import PullRequests
    from ops.limits.file import Limit, Limits, Temporary

LABEL = "limits-drift"
TITLE = "Limits in KV differ from limits.yml"
APPLIED = {Decision.RECOVERED, Decision.HEALTHY_AS_BEFORE, Decision.NOTHING_TO_DO}
"""Decisions after which the limits are in effect."""


@dataclass(frozen=True)
class RaiseNote:
    """A line for the timeline of an incident."""

    incident: int
    limit: str
    text: str
    at: datetime | None = None
    """Time of the event in UTC; None: that of the run."""
    needs_result: bool = False
    """Whether it is true only if the run succeeded."""


def raise_notes(
    limits: "Limits", before: "Limits", stored: "Limits", kept: Mapping[str, str], now: datetime
) -> Iterator[RaiseNote]:
    """Yield the lines of a run.

    `limits` are those of limits.yml, `before` those of its former commit, `stored` those in KV before the run.
    """
    for name in dict.fromkeys([*limits, *before, *stored]):
        was, held = _temporary_limit(before, name), _temporary_limit(stored, name)
        entry = _temporary_limit(limits, name)
        owner = next((each for each in (entry, was) if each and each.is_same(held)), None)
        if held is not None and owner is not None and owner.incident is not None:
            yield from _end_notes(name, held, owner.incident, limits.get(name), now)
        if entry is not None and entry.incident is not None:
            yield from _begin_notes(name, entry, entry.incident, kept.get(name, ""), now, is_new=entry != was)


def _begin_notes(
    name: str, entry: "Temporary", incident: int, kept: str, now: datetime, *, is_new: bool
) -> Iterator[RaiseNote]:
    until = format_utc(entry.until)
    if entry.is_over(now):
        if is_new:
            yield RaiseNote(incident, name, f"{name} was not raised to {entry.limit}: the entry ended at {until}")
    elif kept:
        yield RaiseNote(incident, name, kept)
    else:
        yield RaiseNote(incident, name, f"{name} raised to {entry.limit} until {until}", needs_result=True)


def _end_notes(
    name: str, held: "Temporary", incident: int, limit: "Limit | None", now: datetime
) -> Iterator[RaiseNote]:
    entry, until = limit.temporary if limit is not None else None, format_utc(held.until)
    base = f"{limit.limit} in {limit.period} s" if limit is not None else "the value in the code"
    if held.is_over(now):
        yield RaiseNote(incident, name, f"{name}: the raise to {held.limit} ended; {base} applies", at=held.until)
    elif entry is None or entry.is_over(now):
        text = f"{name}: the raise to {held.limit} until {until} is removed from limits.yml; {base} applies"
        yield RaiseNote(incident, name, text, needs_result=True)
    elif not entry.is_same(held):
        whose = f" for incident #{entry.incident}" if entry.incident not in {None, incident} else ""
        new = f"{entry.limit} until {format_utc(entry.until)}{whose}"
        yield RaiseNote(incident, name, f"{name}: the raise to {held.limit} is replaced by {new}", needs_result=True)


def _temporary_limit(limits: "Limits", name: str) -> "Temporary | None":
    limit = limits.get(name)
    return None if limit is None else limit.temporary


def comment_result(pulls: "PullRequests", sha: str, result: "EndedRun", redactor: Redactor, *, log: str) -> str:
    """Add the result to the comment on the merged pull request of a commit. Return a line about it.

    Raises ProviderError and CommentForbidden.
    """
    message = f"{result.decision.value.replace('_', ' ')}: {result.message}"
    message = join_sentences(message, result.hint if result.decision == Decision.REFUSED else "")
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
    mark = diff.limits_marker(environment)
    before = comments.read_comment(pulls.repository, pull.number, mark)
    body = diff.render_limits_result(before, environment, message, notes, log=log)
    return f"commented at {comments.save_comment(pulls.repository, pull.number, mark, redactor.redact_text(body))}"


def save_drift(pulls: "PullRequests", differences: Sequence[str], result: "EndedRun", redactor: Redactor) -> str:
    """Open or edit the drift issue. Return a line about it. Raises ProviderError."""
    body = redactor.redact_text(diff.render_drift(differences, result.environment, result.message))
    title = f"{TITLE} in {result.environment}"
    mark = diff.limits_marker(result.environment)
    return f"reported at {comments.save_issue(pulls.repository, LABEL, mark, title, body).url}"


def close_drift(pulls: "PullRequests", result: "EndedRun", redactor: Redactor) -> Iterator[str]:
    """Close the drift issue, if one is open. Yield a line about it. Raises ProviderError."""
    issue = comments.open_issue(pulls.repository, LABEL, diff.limits_marker(result.environment))
    if issue is not None:
        body = redactor.redact_text(diff.render_drift_end(result.message))
        comments.close_issue(pulls.repository, issue.number, body)
        yield f"closed {issue.url}"


def post_notes(
    pulls: "PullRequests", notes: Iterable[RaiseNote], result: "EndedRun", redactor: Redactor
) -> Iterator[str]:
    """Post each line once on its incident, and yield a line about each. Raises ProviderError."""
    now = result.events[-1].at
    for note in notes:
        line, at = redactor.redact_text(f"{result.environment}: {_note_with_result(note, result)}"), note.at or now
        run = f"note-{hashlib.sha256(line.encode()).hexdigest()[:16]}"
        record = make_note(run, at, line, job_of(result.id))
        try:
            if url := add_once(pulls.repository, note.incident, record, render_note(at, line)):
                yield f"noted at {url}"
        except ConfigError as error:
            yield f"warning: {error.message}, so it gets no line about {note.limit}"


def _note_with_result(note: RaiseNote, result: "EndedRun") -> str:
    if not note.needs_result:
        return note.text
    if result.decision in APPLIED:
        after = result.after or NO_OBSERVATION
        proof = [each for each in after.notes if f"limit {note.limit}:" in each]
        return "; not proved: ".join([add_place(f"{note.text}: in effect, {SEEN}", after.seen_from), *proof])
    return f"{note.text}: not confirmed, {result.decision.value.replace('_', ' ')}: {result.message}"
