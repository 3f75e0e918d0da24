"""Evidence of an incident: the issue with its timeline, workflow runs, records, histories.

docs.github.com/rest/issues/timeline, docs.github.com/rest/actions/workflow-jobs
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ops.cloudflare.types.workers import WorkerDeployment, WorkerVersion
from ops.core.clock import parse_utc
from ops.core.run_record import is_edited, read_record
from ops.github.client import read_json
from ops.github.issues import IncidentForm, IssueRecord, TrustedAuthors
from ops.report.impact import ServiceImpact
from ops.watch.state import is_closed_watch

if TYPE_CHECKING:
    from github.Repository import Repository

TEAM = frozenset({"OWNER", "MEMBER", "COLLABORATOR"})
"""`author_association` of team members (docs.github.com/graphql/reference/enums#commentauthorassociation)."""

FOLLOWING_JOB = re.compile("report|watch|tell|(wait|end|next)-.*")
"""Jobs of a workflow run that start after the job that acts."""
RELEVANT_EVENTS = {"labeled", "assigned", "renamed", "closed", "reopened", "commented", "cross-referenced"}
DELETED_USER = {"login": "ghost", "type": "User"}
"""User that GitHub shows for a deleted account."""
MAX_COMMENT_LENGTH = 300
"""Most characters of a comment; the link leads to the full text."""
MAX_COMMITS = 50


@dataclass(frozen=True)
class IssueAction:
    """Action of a person in the issue's timeline. `at` is GitHub's clock, in whole seconds."""

    at: datetime
    kind: str
    """GitHub's event: labeled, assigned, renamed, closed, reopened, commented, cross-referenced."""
    who: str
    text: str
    url: str
    is_edited: bool = False


@dataclass(frozen=True)
class WorkflowJob:
    name: str
    created_at: datetime
    started_at: datetime | None


@dataclass(frozen=True)
class WorkflowRun:
    id: int
    attempt: int
    url: str
    event: str
    actor: str
    created_at: datetime
    conclusion: str
    jobs: tuple[WorkflowJob, ...] = ()

    @property
    def acting_job(self) -> WorkflowJob | None:
        """Return the job that acted: the last one to start, except those that follow it."""
        acting = (job for job in self.jobs if not FOLLOWING_JOB.fullmatch(job.name))
        started = [(job.started_at, job) for job in acting if job.started_at is not None]
        return max(started, key=lambda one: one[0], default=(None, None))[1]


@dataclass(frozen=True)
class ServiceHistory:
    """Deployments (newest first) and versions of one service at Cloudflare."""

    environment: str
    service: str
    url: str
    """Page of the service in the dashboard."""
    deployments: tuple[WorkerDeployment, ...]
    versions: tuple[WorkerVersion, ...]
    schema: tuple[str, ...] = ()
    """How far the schema of its databases is ahead of the live code, and the ways on."""

    def find_version(self, prefix: str) -> WorkerVersion | None:
        """Return the version whose id starts with `prefix`, if it is unique."""
        known = {v.id: v for v in self.versions}
        every = {version for d in self.deployments for version, _ in d.split} | known.keys()
        versions = [version for version in sorted(every) if prefix and version.startswith(prefix)]
        return known.get(versions[0], WorkerVersion(versions[0])) if len(versions) == 1 else None

    def first_deployment(self, version: str) -> WorkerDeployment | None:
        return next((d for d in reversed(self.deployments) if version in d.serving_versions), None)


@dataclass(frozen=True)
class ListedCommit:
    sha: str
    author: str
    message: str
    url: str


@dataclass(frozen=True)
class IncidentEvidence:
    """All evidence of one incident. `unavailable` lists the sources that could not be read, with the reason."""

    number: int
    title: str
    url: str
    opened_at: datetime
    opened_by: str
    opened_by_team: bool
    closed_at: datetime | None
    labels: tuple[str, ...]
    form: IncidentForm
    actions: tuple[IssueAction, ...]
    records: tuple[IssueRecord, ...]
    skipped: int
    """Number of irrelevant timeline entries, and of comments by people outside the team."""
    read_at: datetime
    runs: tuple[WorkflowRun, ...] = ()
    histories: tuple[ServiceHistory, ...] = ()
    commits: tuple[ListedCommit, ...] = ()
    compare_url: str = ""
    unavailable: tuple[str, ...] = ()
    impact: tuple[ServiceImpact, ...] = ()
    """Numbers of the analytics by service; without the services whose window is unknown."""
    leftovers: tuple[str, ...] = ()
    """For a closed incident: switches, limits and maintenance that are still active, or unknown."""
    reset_commands: tuple[str, ...] = ()
    """Commands and labels that reset the leftovers."""

    @property
    def is_drill(self) -> bool:
        return "drill" in self.labels

    @property
    def began(self) -> datetime | None:
        return self.form.began

    @property
    def severity(self) -> str:
        """Return the severity label, else the form's answer."""
        return next((label for label in self.labels if re.fullmatch("sev[0-9]", label)), self.form.severity)

    @property
    def our_runs(self) -> tuple[IssueRecord, ...]:
        """Return the records of our runs, oldest first."""
        runs = [one for one in self.records if one.is_run and one.record.rows]
        return tuple(sorted(runs, key=lambda one: one.record.rows[0].at))

    @property
    def main_run(self) -> IssueRecord | None:
        """Return the decisive run: the last one that recovered, else the last that wrote, else the last."""
        runs = self.our_runs
        recovered = [one for one in runs if one.is_recovery]
        wrote = [one for one in runs if one.first_event_at("written")]
        return next(reversed(recovered or wrote or runs), None)

    def find_workflow_run(self, recorded: IssueRecord) -> WorkflowRun | None:
        return next((run for run in self.runs if (run.id, run.attempt) == recorded.actions_run), None)

    def find_watch(self, recorded: IssueRecord) -> IssueRecord | None:
        """Return the newest watch of the service's health that began after the run; None if there is none."""
        run = recorded.record
        watches = [
            one
            for one in self.records
            if (one.record.source, one.record.environment, one.record.service)
            == ("watch", run.environment, run.service)
            and not is_closed_watch(one.record.watch)
            and one.record.rows
            and one.record.rows[0].at >= run.rows[0].at
        ]
        return max(watches, key=lambda one: one.record.rows[0].at, default=None)

    def find_history(self, recorded: IssueRecord) -> ServiceHistory | None:
        where = (recorded.record.environment, recorded.record.service)
        return next((one for one in self.histories if (one.environment, one.service) == where), None)

    def find_versions(self, recorded: IssueRecord) -> tuple[WorkerVersion | None, WorkerVersion | None]:
        """Return the versions before and after the run; None if Cloudflare does not list one."""
        served = self.find_history(recorded)
        _, before, after = recorded.record.versions[0] if recorded.record.versions else ("", "", "")
        taken, put = (served.find_version(side.split(" ")[0]) if served else None for side in (before, after))
        return taken, put

    def find_note(self, words: str) -> tuple[datetime, str] | None:
        """Return time and URL of the first note that starts with these words."""
        notes = [
            (row.at, one.url)
            for one in self.records
            if one.record.source == "note"
            for row in one.record.rows
            if row.text.lower().startswith(words)
        ]
        return min(notes, default=None)


def read_issue(
    repository: "Repository", number: int, *, read_at: datetime, stated: Callable[[str | None, datetime], IncidentForm]
) -> IncidentEvidence:
    """Read the incident issue; `stated` parses its form. Raises PyGithub's exceptions."""
    issue = repository.get_issue(number)
    opener = issue.raw_data.get("user") or DELETED_USER
    page, writers = issue.html_url, TrustedAuthors(repository)
    acts, recorded, left_out = [], [], 0
    for entry in issue.get_timeline():
        parsed = _parse_entry(entry.raw_data, page, writers)
        if isinstance(parsed, IssueAction):
            acts.append(parsed)
        elif isinstance(parsed, IssueRecord):
            recorded.append(parsed)
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
        form=stated(issue.body, issue.created_at),
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
    _, rows = repository.requester.requestJsonAndCheck("GET", path)
    return [
        ListedCommit(
            sha=commit["sha"],
            author=(commit.get("author") or {}).get("login")
            or (commit["commit"].get("author") or {}).get("name")
            or "ghost",
            message=commit["commit"]["message"].splitlines()[0] if commit["commit"]["message"] else "",
            url=commit["html_url"],
        )
        for commit in rows["commits"][-MAX_COMMITS:]
    ]
