"""Evidence of an incident: issue, workflow runs, our records, Cloudflare's history."""

import re
from dataclasses import dataclass
from datetime import datetime

from ops.cloudflare.types.workers import WorkerDeployment, WorkerVersion
from ops.github.incident_form import IncidentForm
from ops.github.issues import IssueRecord
from ops.report.impact import ImpactSources
from ops.watch.state import is_closed_watch

TEAM = frozenset({"OWNER", "MEMBER", "COLLABORATOR"})
"""`author_association` of team members (docs.github.com/graphql/reference/enums#commentauthorassociation)."""

FOLLOWING_JOB = re.compile("report|watch|tell|(wait|end|next)-.*")
"""Jobs of a workflow run that start after the job that acts."""


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
        found = [version for version in sorted(every) if prefix and version.startswith(prefix)]
        return known.get(found[0], WorkerVersion(found[0])) if len(found) == 1 else None

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
    impact: ImpactSources | None = None
    """Numbers of the analytics; None if their window is unknown."""
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
        found = [
            one
            for one in self.records
            if (one.record.source, one.record.environment, one.record.service)
            == ("watch", run.environment, run.service)
            and not is_closed_watch(one.record.watch)
            and one.record.rows
            and one.record.rows[0].at >= run.rows[0].at
        ]
        return max(found, key=lambda one: one.record.rows[0].at, default=None)

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
        found = [
            (row.at, one.url)
            for one in self.records
            if one.record.source == "note"
            for row in one.record.rows
            if row.text.lower().startswith(words)
        ]
        return min(found, default=None)
