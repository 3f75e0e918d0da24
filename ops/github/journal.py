"""Read one incident issue: what people did on it, and the records on it with their weight.

docs.github.com/rest/issues/timeline
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ops.core.clock import parse_utc
from ops.core.incident_state import IncidentJournal, IssueAction, IssueRecord
from ops.core.run_record import RecordRules, RunRecord, is_edited, read_record
from ops.core.threads import run_parallel_mixed
from ops.github.comments import author_login
from ops.github.issues import TrustedAuthors, parse_form, require_incident
from ops.github.records import JudgedRecord, Trust, judge_comments, read_comment_history

if TYPE_CHECKING:
    from github.Issue import Issue
    from github.IssueComment import IssueComment
    from github.Repository import Repository

TEAM = frozenset({"OWNER", "MEMBER", "COLLABORATOR"})
"""`author_association` of team members (docs.github.com/graphql/reference/enums#commentauthorassociation)."""
RELEVANT_EVENTS = {"labeled", "assigned", "renamed", "closed", "reopened", "commented", "cross-referenced"}
DELETED_USER = {"login": "ghost", "type": "User"}
"""User that GitHub shows for a deleted account."""
MAX_COMMENT_LENGTH = 300
"""Most characters of a comment; the link leads to the full text."""


def read_journal(
    repository: "Repository", number: int, rules: RecordRules, *, read_at: datetime, is_incident: bool = True
) -> IncidentJournal:
    """Read the incident issue. Raises what PyGithub raises, and ConfigError with `is_incident` for another issue."""
    issue = repository.get_issue(number)
    if is_incident:
        require_incident(issue)
    return read_issue_journal(issue, rules, read_at=read_at)


def read_issue_journal(issue: "Issue", rules: RecordRules, *, read_at: datetime) -> IncidentJournal:
    """Read the timeline of the issue and who edited its comments in parallel, then who wrote them.

    Raises what PyGithub raises.
    """
    repository = issue.repository
    entries, history = run_parallel_mixed(
        [
            lambda: [entry.raw_data for entry in issue.get_timeline()],
            lambda: read_comment_history(repository, issue.number),
        ]
    )
    sorted_entries = _sort_entries(entries, issue.html_url, TrustedAuthors(repository))
    comments = [(_parse_comment(repository, entry), record) for entry, record in sorted_entries.records]
    judged = judge_comments(repository, rules, comments, history)
    opener = issue.raw_data.get("user") or DELETED_USER
    return IncidentJournal(
        number=issue.number,
        title=issue.title,
        url=issue.html_url,
        opened_at=issue.created_at,
        opened_by=opener["login"],
        opened_by_team=_is_team_member(issue.raw_data, opener),
        closed_at=issue.closed_at if issue.state == "closed" else None,
        labels=tuple(label.name for label in issue.labels),
        form=parse_form(issue.body, now=read_at, opened=issue.created_at),
        actions=tuple(sorted_entries.actions),
        records=tuple(map(_convert_record, judged)),
        unverified=tuple(dict.fromkeys(each.doubt for each in judged if each.is_unverified)),
        skipped=sorted_entries.skipped,
        skipped_records=sorted_entries.skipped_records,
        read_at=read_at,
    )


@dataclass
class _SortedEntries:
    actions: list[IssueAction] = field(default_factory=list)
    records: list[tuple[Mapping[str, Any], RunRecord]] = field(default_factory=list)
    skipped: int = 0
    skipped_records: int = 0


def _sort_entries(entries: Iterable[Mapping[str, Any]], page: str, writers: TrustedAuthors) -> _SortedEntries:
    result = _SortedEntries()
    for entry in entries:
        is_relevant = entry.get("event") in RELEVANT_EVENTS
        record = _read_journal_record(entry) if is_relevant else None
        if record and writers.includes((entry.get("actor") or DELETED_USER)["login"]):
            result.records.append((entry, record))
        elif is_relevant and record is None and (action := _parse_action(entry, page, writers)):
            result.actions.append(action)
        else:
            result.skipped += 1
            result.skipped_records += record is not None
    return result


def _convert_record(judged: JudgedRecord) -> IssueRecord:
    """Return the record with its doubt.

    Unless its own digest shows an edit, it also counts if nobody can verify it now, or if a responder completed it from
    a laptop with `ops incident import`: then it is the word of that person.
    """
    comment, edited = judged.comment, is_edited(judged.comment.body)
    counts = judged.trust != Trust.NONE or ((judged.is_unverified or bool(judged.editor)) and not edited)
    author, doubt = judged.editor or author_login(comment), "" if counts else judged.doubt
    return IssueRecord(judged.record, author, edited, comment.html_url, doubt)


def _read_journal_record(entry: Mapping[str, Any]) -> RunRecord | None:
    return read_record(entry.get("body") or "") if entry["event"] == "commented" else None


def _parse_comment(repository: "Repository", entry: Mapping[str, Any]) -> "IssueComment":
    """Return the comment of a timeline entry, which has all fields of one."""
    from github.IssueComment import IssueComment

    fields = {**entry, "user": entry.get("user") or entry.get("actor")}
    return IssueComment(repository.requester, {}, fields, completed=True)


def _is_team_member(entry: Mapping[str, Any], author: Mapping[str, Any]) -> bool:
    return author.get("type") == "User" and entry.get("author_association") in TEAM


def _parse_action(entry: Mapping[str, Any], page: str, writers: TrustedAuthors) -> IssueAction | None:
    kind, actor = entry["event"], entry.get("actor") or DELETED_USER
    text = _journal_text(kind, entry)
    if text is None or not (actor.get("type") == "User" or kind in {"closed", "reopened"}):
        return None
    if _is_by_outsider(entry, actor, writers):
        return None
    return IssueAction(
        at=parse_utc(entry["created_at"]),
        kind=kind,
        who=actor["login"],
        text=text,
        url=entry.get("html_url") or f"{page}#event-{entry.get('id', '')}",
        is_edited=kind == "commented" and entry.get("updated_at") != entry["created_at"],
    )


def _is_by_outsider(entry: Mapping[str, Any], actor: Mapping[str, Any], writers: TrustedAuthors) -> bool:
    """Return whether an outsider wrote the entry: everyone can comment, or mention the issue elsewhere.

    The association of a mention refers to the mentioning repository, which may be the author's own.
    """
    if entry["event"] == "cross-referenced":
        source = (entry.get("source") or {}).get("issue") or {}
        return source.get("author_association") not in TEAM or not writers.includes(actor["login"])
    return entry["event"] == "commented" and not _is_team_member(entry, actor)


def _journal_text(kind: str, entry: Mapping[str, Any]) -> str | None:
    """Return the text of an entry; None if it is irrelevant."""
    match kind:
        case "labeled":
            return str(entry["label"]["name"])
        case "assigned":
            return str((entry.get("assignee") or {}).get("login", ""))
        case "renamed":
            return f"{entry['rename']['from']} → {entry['rename']['to']}"
        case "commented":
            return str(entry.get("body") or "")[:MAX_COMMENT_LENGTH]
        case "cross-referenced":
            source = (entry.get("source") or {}).get("issue") or {}
            return f"pull request {source['number']}: {source['title']}" if source.get("pull_request") else None
        case _:
            return str(entry.get("state_reason") or "").replace("_", " ")
