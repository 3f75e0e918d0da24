"""The comment with the state of an incident: one for each, edited in place.

GitHub has no compare-and-set for a text. So a writer reads the comment before, writes only a newer state, and reads it
back: of two at once, the newer state stays, unless one writes between the edit and the last read of the other. The next
renewal mends that. The body of the issue belongs to people. A failure is a line, and ends nothing.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

from ops.app.configuration import load_config
from ops.core.clock import find_clock
from ops.core.errors import ConfigError, OpsError
from ops.core.incident_fold import fold_incident
from ops.core.incident_state import IncidentJournal, IncidentState, ServiceHealth
from ops.core.names import first_of
from ops.core.public_update import UpdateOffer, list_recorded_updates, offer_update
from ops.core.redaction import Redactor
from ops.core.run_record import STATE_SOURCE, RecordRow, RunRecord, embed_record, read_record
from ops.github import actions
from ops.github.client import connect, provider_errors
from ops.github.comments import BOT, author_login, own_login
from ops.github.list_lag import await_listed
from ops.render import collapse_blank_lines, load_templates
from ops.status.incident import find_environments, read_journal_of, read_live_held

if TYPE_CHECKING:
    from github.Issue import Issue
    from github.IssueComment import IssueComment
    from github.Repository import Repository

    from ops.config import Config

PAGE = "docs/reference/incident-state.md"
MOST_LINES = 5
"""Most lines of one kind: the comment must fit on a phone."""
MOST_CHARACTERS = 160
"""Most characters of why something is unknown; `ops incident show` prints all."""
TRIES = 3
OVERLAP = timedelta(minutes=5)
"""Age of comments that are read after one was made: another run may have made one at the same time."""
ICONS = {
    ServiceHealth.BROKEN: "❌",
    ServiceHealth.RELAPSED: "❌",
    ServiceHealth.UNKNOWN: "⚠️",
    ServiceHealth.RECOVERED: "✅",
    ServiceHealth.MITIGATED: "✅",
}


def render_state(state: IncidentState, docs: str = "", offer: UpdateOffer | None = None) -> str:
    """Return the comment, without its record. `docs`: URL before `docs/`; empty if it is unknown.

    `offer`: the next public update, if there is one.
    """
    text = (
        load_templates()
        .get_template("state.md.j2")
        .render(
            state=state,
            icons=ICONS,
            held=first_of([each.describe() for each in state.held], MOST_LINES),
            unknown=first_of(
                [shorten(f"{each.what}: {each.why}", MOST_CHARACTERS) for each in state.unknown], MOST_LINES
            ),
            page=f"{docs}{PAGE}" if docs else "",
            offer=offer,
        )
    )
    return collapse_blank_lines(text).strip()


def save_state(
    repository: "Repository",
    journal: "IncidentJournal",
    state: IncidentState,
    environ: Mapping[str, str],
    *,
    docs: str = "",
    offer: UpdateOffer | None = None,
) -> str:
    """Write the state, unless the comment shows a newer one. Return its URL; "" if there is none.

    A laptop only edits it: a comment that a person made belongs to that person. Raises what PyGithub raises.
    """
    row = RecordRow(state.read_at, STATE_SOURCE, state.headline)
    record = RunRecord(
        _state_comment_name(state.number),
        source=STATE_SOURCE,
        rows=(row,),
        job=actions.job_number(environ),
    )
    body, issue = embed_record(render_state(state, docs, offer), record), repository.get_issue(state.number)
    known = [int(one.url.rpartition("-")[2]) for one in journal.records if one.record.source == STATE_SOURCE]
    read_at = state.read_at.replace(microsecond=0)  # as a record has it
    if own := _list_own_states(issue, known):
        comment = own[0]
        for duplicate in own[1:]:
            _delete_state_comment(duplicate)
    elif actions.is_job(environ):
        comment = _create_state_once(issue, body, read_at)
    else:
        return ""
    _write_newest_state(issue, comment, body, read_at)
    return comment.html_url


def _state_comment_name(number: int) -> str:
    return f"state-{number}"


def _list_own_states(issue: "Issue", known: Iterable[int]) -> "list[IssueComment]":
    """Return those of these comments that still exist, and that one of us made, oldest first.

    A person can write such a record too. A job that was killed after it made a comment leaves a second one.
    """
    from github import UnknownObjectException

    own = list["IssueComment"]()
    for number in sorted(known):
        try:
            comment = issue.get_comment(number)
        except UnknownObjectException:
            continue
        authors = {author_login(own[0])} if own else {BOT, own_login(issue.repository)}
        if author_login(comment) in authors:
            own.append(comment)
    return own


def _delete_state_comment(comment: "IssueComment") -> None:
    """Delete the comment, unless another run has deleted it."""
    from github import UnknownObjectException

    with suppress(UnknownObjectException):
        comment.delete()


def _create_state_once(issue: "Issue", body: str, read_at: datetime) -> "IssueComment":
    """Create the comment. If another run made one at the same time, delete ours and return the older one."""
    created, own = issue.create_comment(body), own_login(issue.repository)
    since = min(created.created_at, read_at) - OVERLAP
    for comment in issue.get_comments(since=since):
        record = read_record(comment.body)
        is_other = record is not None and record.run == _state_comment_name(issue.number) and comment.id < created.id
        if is_other and author_login(comment) == own:
            _delete_state_comment(created)
            return comment
    return created


def _write_newest_state(issue: "Issue", comment: "IssueComment", body: str, read_at: datetime) -> None:
    """Edit the comment until it shows this state or a newer one."""
    for _ in range(TRIES):
        if (shown := _find_state_time(comment.body)) is not None and shown >= read_at:
            return
        comment.edit(body)
        comment = issue.get_comment(comment.id)


def _find_state_time(body: str) -> datetime | None:
    """Return the time of the state in a comment; None without one."""
    record = read_record(body)
    return next((row.at for row in record.rows if row.kind == STATE_SOURCE), None) if record else None


def publish_state(
    journal: "IncidentJournal", state: IncidentState, config: "Config", environ: Mapping[str, str], redactor: Redactor
) -> str:
    """Write the comment. Return the problem, or an empty text."""
    docs, shown = actions.docs_base(environ, config.github.actions), redactor.redact_value(state)
    offer = offer_update(state, list_recorded_updates(journal.records)) if config.status_page else None
    try:
        with provider_errors():
            save_state(connect(environ, redactor), journal, shown, environ, docs=docs, offer=offer)
    except OpsError as error:
        return _describe_state_problem(state.number, error)
    return ""


def refresh_state(
    number: int, config_path: Path, environ: Mapping[str, str], redactor: Redactor, *, after: str = ""
) -> str:
    """Read the incident and write its comment. Return the problem, or an empty text.

    `after`: URL of the comment that was just posted, which a list that is behind may lack. A laptop only edits a
    comment that is there. An issue that is no incident has none, and nor has one without a valid ops.yml, which other
    commands name.
    """
    try:
        config = load_config(config_path, environ, redactor)
        journal = _read_journal(number, config, environ, redactor, after)
    except ConfigError:
        return ""
    except OpsError as error:
        return _describe_state_problem(number, error)
    if not actions.is_job(environ) and not any(one.record.source == STATE_SOURCE for one in journal.records):
        return ""
    live = read_live_held(config, config_path, environ, number, find_environments(journal, config))
    return publish_state(journal, fold_incident(journal, live, config.places), config, environ, redactor)


def _read_journal(
    number: int, config: "Config", environ: Mapping[str, str], redactor: Redactor, after: str
) -> IncidentJournal:
    """Read the incident until it shows the comment `after`. Raises ConfigError and ProviderError."""

    def read_journal() -> IncidentJournal:
        return read_journal_of(number, config, environ, redactor)

    def read_whole() -> IncidentJournal | None:
        journal = read_journal()
        return journal if not after or any(one.url == after for one in journal.records) else None

    return await_listed(read_whole, find_clock(environ)) or read_journal()


def _describe_state_problem(number: int, error: OpsError) -> str:
    return f"the comment with the state of #{number} is not up to date: {error.message}"
