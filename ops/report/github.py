"""Read an incident from GitHub: the issue with its timeline, workflow runs, commits.

docs.github.com/rest/issues/timeline, docs.github.com/rest/actions/workflow-jobs
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ops.core.clock import parse_utc
from ops.core.run_record import is_edited, read_record
from ops.github.client import read_json
from ops.github.incident_form import IncidentForm
from ops.github.issues import IssueRecord, TrustedAuthors
from ops.report.evidence import TEAM, IncidentEvidence, IssueAction, ListedCommit, WorkflowJob, WorkflowRun

if TYPE_CHECKING:
    from github.Repository import Repository

RELEVANT_EVENTS = {"labeled", "assigned", "renamed", "closed", "reopened", "commented", "cross-referenced"}
DELETED_USER = {"login": "ghost", "type": "User"}
"""User that GitHub shows for a deleted account."""
MAX_COMMENT_LENGTH = 300
"""Most characters of a comment; the link leads to the full text."""
MAX_COMMITS = 50


def read_issue(
    repository: "Repository", number: int, *, read_at: datetime, stated: Callable[[str | None], IncidentForm]
) -> IncidentEvidence:
    """Read the incident issue; `stated` parses its form. Raises PyGithub's exceptions."""
    issue = repository.get_issue(number)
    opener = issue.raw_data.get("user") or DELETED_USER
    page, writers = issue.html_url, TrustedAuthors(repository)
    acts, recorded, left_out = [], [], 0
    for entry in issue.get_timeline():
        found = _parse_entry(entry.raw_data, page, writers)
        if isinstance(found, IssueAction):
            acts.append(found)
        elif isinstance(found, IssueRecord):
            recorded.append(found)
        else:
            left_out += 1
    return IncidentEvidence(
        number=number,
        title=issue.title,
        url=page,
        opened_at=issue.created_at,
        opened_by=opener["login"],
        opened_by_team=_is_team_member(issue.raw_data, opener),
        closed_at=issue.closed_at if issue.state == "closed" else None,
        labels=tuple(label.name for label in issue.labels),
        form=stated(issue.body),
        actions=tuple(acts),
        records=tuple(recorded),
        skipped=left_out,
        read_at=read_at,
    )


def _is_team_member(entry: Mapping[str, Any], author: Mapping[str, Any]) -> bool:
    return author.get("type") == "User" and entry.get("author_association") in TEAM


def _parse_entry(entry: Mapping[str, Any], page: str, writers: TrustedAuthors) -> IssueAction | IssueRecord | None:
    kind, actor = entry.get("event"), entry.get("actor") or DELETED_USER
    if kind not in RELEVANT_EVENTS:
        return None
    body = entry.get("body") or ""
    if kind == "commented" and (block := read_record(body)) is not None:
        author = actor["login"]
        return IssueRecord(block, author, is_edited(body), entry["html_url"]) if writers.includes(author) else None
    text = _entry_text(kind, entry)
    if text is None or actor.get("type") != "User" or _is_by_outsider(entry, actor, writers):
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


def _entry_text(kind: str, entry: Mapping[str, Any]) -> str | None:
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


def workflow_runs(repository: "Repository", run_ids: Iterable[tuple[int, int]]) -> Iterator[WorkflowRun]:
    """Yield each run attempt with its jobs; skip runs that GitHub has deleted."""
    from github import UnknownObjectException

    for run_id, attempt in dict.fromkeys(run_ids):
        path = f"/actions/runs/{run_id}"
        try:
            run = read_json(repository, path)
            jobs = read_json(repository, f"{path}/attempts/{attempt}/jobs?per_page=100")
        except UnknownObjectException:
            continue
        yield WorkflowRun(
            id=run_id,
            attempt=attempt,
            url=run["html_url"],
            event=run["event"],
            actor=(run.get("triggering_actor") or run.get("actor") or {}).get("login", "ghost"),
            created_at=parse_utc(run["created_at"]),
            conclusion=run.get("conclusion") or run.get("status") or "",
            jobs=tuple(_parse_job(job) for job in jobs["jobs"]),
        )


def _parse_job(job: Mapping[str, Any]) -> WorkflowJob:
    started = job.get("started_at")
    return WorkflowJob(
        name=job["name"],
        created_at=parse_utc(job["created_at"]),
        started_at=parse_utc(started) if started and job.get("runner_name") else None,
    )


def list_commits(repository: "Repository", name: str, older: str, newer: str) -> list[ListedCommit]:
    """Return the newest MAX_COMMITS commits between two, oldest first. Raises PyGithub's exceptions."""
    path = f"/repos/{name}/compare/{quote(older, safe='')}...{quote(newer, safe='')}"
    _, found = repository.requester.requestJsonAndCheck("GET", path)
    return [
        ListedCommit(
            sha=commit["sha"],
            author=(commit.get("author") or {}).get("login")
            or (commit["commit"].get("author") or {}).get("name")
            or "ghost",
            message=commit["commit"]["message"].splitlines()[0] if commit["commit"]["message"] else "",
            url=commit["html_url"],
        )
        for commit in found["commits"][-MAX_COMMITS:]
    ]
