"""Evidence of an incident: its journal, workflow runs, histories at Cloudflare, commits.

docs.github.com/rest/actions/workflow-jobs
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ops.cloudflare.types.workers import WorkerDeployment, WorkerVersion
from ops.core.clock import parse_utc
from ops.core.incident_fold import fold_incident
from ops.core.incident_state import IncidentJournal, IncidentState, IssueRecord, LiveHeld, Moment, ServiceState
from ops.core.names import DRILL_LABEL
from ops.core.recent_change import RecentChanges
from ops.core.run_record import is_closed_watch
from ops.core.service_fold import find_start_moment
from ops.github.actions import job_id
from ops.github.client import read_json
from ops.report.action_items import TrackedItem
from ops.report.impact import ServiceImpact

if TYPE_CHECKING:
    from github.Repository import Repository

FOLLOWING_JOB = re.compile("report|watch|tell(-later)?|wait(-.*)?|(end|next)-.*")
"""Jobs of a workflow run that start after the job that acts."""
MAX_COMMITS = 50
VERSION_PREFIX = 8
"""Characters of a version's id in a record."""


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
        acting = (job for job in self.jobs if not FOLLOWING_JOB.fullmatch(job_id(job.name)))
        started = [(job.started_at, job) for job in acting if job.started_at is not None]
        return max(started, key=lambda one: one[0], default=(None, None))[1]


@dataclass(frozen=True)
class ReportedHistory:
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
        """Return the version whose id starts with `prefix`, if it is unique. A shorter text is another value."""
        if len(prefix) < VERSION_PREFIX:
            return None
        known = {v.id: v for v in self.versions}
        every = {version for d in self.deployments for version, _ in d.split} | known.keys()
        versions = [version for version in sorted(every) if version.startswith(prefix)]
        return known.get(versions[0], WorkerVersion(versions[0])) if len(versions) == 1 else None

    def first_deployment(self, version: str) -> WorkerDeployment | None:
        return next((d for d in reversed(self.deployments) if version in d.serving_versions), None)


@dataclass(frozen=True)
class ListedCommit:
    sha: str
    author: str
    message: str
    url: str


@dataclass(frozen=True, kw_only=True)
class IncidentEvidence(IncidentJournal):
    """All evidence of one incident. `unavailable` lists the sources that could not be read, with the reason."""

    places: tuple[tuple[str, str], ...] = ()
    """Environment and service of each service in ops.yml."""
    runs: tuple[WorkflowRun, ...] = ()
    histories: tuple[ReportedHistory, ...] = ()
    commits: tuple[ListedCommit, ...] = ()
    compare_url: str = ""
    unavailable: tuple[str, ...] = ()
    impact: tuple[ServiceImpact, ...] = ()
    """Numbers of the analytics by service; without the services whose window is unknown."""
    live: LiveHeld | None = None
    """What the incident holds; None if nobody read it."""
    action_items: tuple[TrackedItem, ...] | None = None
    """Rows of the report with their state; None if nobody read them."""
    recent: RecentChanges | None = None
    """Changes in the hour before the start; None if nobody read them."""

    @property
    def is_drill(self) -> bool:
        return DRILL_LABEL in self.labels

    @cached_property
    def state(self) -> IncidentState:
        return fold_incident(self, self.live, self.places)

    @property
    def leftovers(self) -> tuple[str, ...]:
        """Return what a closed incident still holds, or what is unknown of it."""
        return self.state.leftovers if self.closed_at is not None and self.live else ()

    @property
    def reset_commands(self) -> tuple[str, ...]:
        """Return the commands and labels that reset the leftovers."""
        return self.live.reset_commands if self.closed_at is not None and self.live else ()

    @property
    def start(self) -> Moment:
        """Return when the first service broke, as far as that is known; else when the incident began."""
        known = [(each.broken_since.at, each.broken_since) for each in self.state.services if each.broken_since.at]
        return min(known, key=lambda pair: pair[0])[1] if known else find_start_moment(self)

    @property
    def counted_runs(self) -> tuple[IssueRecord, ...]:
        """Return the records of runs that count, oldest first."""
        return tuple(one for one in self.our_runs if not one.doubt)

    @property
    def main_run(self) -> IssueRecord | None:
        """Return the decisive run: the one of the last recovery, else the last that wrote, else the last."""
        recovered = {each.recovered_by for each in self.state.services if each.healthy_since == self.state.mitigated.at}
        runs = self.counted_runs
        decisive = [one for one in runs if one.record.run in recovered]
        wrote = [one for one in runs if one.first_event_at("written")]
        return next(reversed(decisive or wrote or runs), None)

    def find_run(self, service: ServiceState) -> IssueRecord | None:
        """Return the run that recovered the service, else the last one that wrote to it, else None."""
        place = (service.environment, service.service)
        runs = [one for one in self.counted_runs if (one.record.environment, one.record.service) == place]
        recovered = (one for one in runs if service.recovered_by and one.record.run == service.recovered_by)
        return next(recovered, None) or next((one for one in reversed(runs) if one.first_event_at("written")), None)

    def find_workflow_run(self, recorded: IssueRecord) -> WorkflowRun | None:
        return next((run for run in self.runs if (run.id, run.attempt) == recorded.actions_run), None)

    def find_watch(self, recorded: IssueRecord) -> IssueRecord | None:
        """Return the newest watch of the service's health between the run and the next one that wrote; else None."""
        run, began = recorded.record, recorded.record.rows[0].at
        place = (run.environment, run.service)
        writes = (one for one in self.counted_runs if one.first_event_at("writing"))
        same = (one.record for one in writes if (one.record.environment, one.record.service) == place)
        end = min((each.rows[0].at for each in same if each.rows[0].at > began), default=None)
        watches = [
            one
            for one in self.records
            if (one.record.source, one.record.environment, one.record.service) == ("watch", *place)
            and not is_closed_watch(one.record.watch)
            and one.record.rows
            and began <= one.record.rows[0].at
            and (end is None or one.record.rows[0].at < end)
        ]
        return max(watches, key=lambda one: one.record.rows[0].at, default=None)

    def find_history(self, recorded: IssueRecord) -> ReportedHistory | None:
        where = (recorded.record.environment, recorded.record.service)
        return next((one for one in self.histories if (one.environment, one.service) == where), None)

    def find_versions(self, recorded: IssueRecord) -> tuple[WorkerVersion | None, WorkerVersion | None]:
        """Return the versions before and after the run; None if Cloudflare does not list one."""
        served = self.find_history(recorded)
        _, before, after = recorded.record.versions[0] if recorded.record.versions else ("", "", "")
        taken, put = (served.find_version(side.split(" ")[0]) if served else None for side in (before, after))
        return taken, put


def read_workflow_runs(repository: "Repository", run_ids: Iterable[tuple[int, int]]) -> Iterator[WorkflowRun]:
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
