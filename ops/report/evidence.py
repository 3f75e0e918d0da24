"""What the sources said of an incident: GitHub's issue and runs, our own records on the issue, Cloudflare's history."""

import re
from dataclasses import dataclass
from datetime import datetime

from ops.cloudflare.types.workers import WorkerDeployment, WorkerVersion
from ops.gate.form import IncidentForm
from ops.github.issues import IssueRecord

TEAM = frozenset({"OWNER", "MEMBER", "COLLABORATOR"})
"""`author_association` of those who belong here (docs.github.com/graphql/reference/enums#commentauthorassociation)."""


@dataclass(frozen=True)
class Act:
    """What a person did on the issue, as its timeline has it. `at` is GitHub's clock, to the second."""

    at: datetime
    kind: str
    """GitHub's word: labeled, assigned, renamed, closed, reopened, commented, cross-referenced."""
    who: str
    text: str
    url: str
    is_edited: bool = False


@dataclass(frozen=True)
class Job:
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
    jobs: tuple[Job, ...] = ()

    @property
    def acting(self) -> Job | None:
        """The job that acted: the last to start of those before the report."""
        started = [(job.started_at, job) for job in self.jobs if job.started_at is not None and job.name != "report"]
        return max(started, key=lambda one: one[0], default=(None, None))[1]


@dataclass(frozen=True)
class Served:
    """What Cloudflare lists of one service; newest deployment first."""

    environment: str
    service: str
    url: str
    """Its page in the dashboard."""
    deployments: tuple[WorkerDeployment, ...]
    versions: tuple[WorkerVersion, ...]

    def version(self, prefix: str) -> WorkerVersion | None:
        """By the first characters of its id, where they are enough."""
        known = {v.id: v for v in self.versions}
        every = {version for d in self.deployments for version, _ in d.split} | known.keys()
        found = [version for version in sorted(every) if prefix and version.startswith(prefix)]
        return known.get(found[0], WorkerVersion(found[0])) if len(found) == 1 else None

    def first_served_at(self, version: str) -> WorkerDeployment | None:
        return next((d for d in reversed(self.deployments) if version in d.serving_versions), None)


@dataclass(frozen=True)
class Commit:
    sha: str
    author: str
    message: str
    url: str


@dataclass(frozen=True)
class Evidence:
    """`unasked`: the sources that could not be asked, each with why."""

    number: int
    title: str
    url: str
    opened_at: datetime
    opened_by: str
    opened_by_team: bool
    closed_at: datetime | None
    labels: tuple[str, ...]
    stated: IncidentForm
    acts: tuple[Act, ...]
    recorded: tuple[IssueRecord, ...]
    left_out: int
    """Entries that tell nothing, and comments of people who do not belong here."""
    read_at: datetime
    runs: tuple[WorkflowRun, ...] = ()
    served: tuple[Served, ...] = ()
    commits: tuple[Commit, ...] = ()
    compare_url: str = ""
    unasked: tuple[str, ...] = ()
    still_on: tuple[str, ...] = ()
    """Of an incident that is closed: what is on for it all the same, and what of that is not known."""
    sets_back: tuple[str, ...] = ()
    """What to press for it, one line each."""

    @property
    def is_drill(self) -> bool:
        return "drill" in self.labels

    @property
    def began(self) -> datetime | None:
        return self.stated.began

    @property
    def severity(self) -> str:
        """The label, else the form's answer."""
        return next((label for label in self.labels if re.fullmatch("sev[0-9]", label)), self.stated.severity)

    @property
    def our_runs(self) -> tuple[IssueRecord, ...]:
        """Oldest first."""
        runs = [one for one in self.recorded if one.is_run and one.record.rows]
        return tuple(sorted(runs, key=lambda one: one.record.rows[0].at))

    @property
    def main_run(self) -> IssueRecord | None:
        """The run that tells how it ended: the last that recovered, else the last that wrote, else the last."""
        runs = self.our_runs
        recovered = [one for one in runs if one.record.decision in {"recovered", "healthy_as_before"}]
        wrote = [one for one in runs if one.first_event_at("written")]
        return next(reversed(recovered or wrote or runs), None)

    def workflow_run(self, recorded: IssueRecord) -> WorkflowRun | None:
        return next((run for run in self.runs if (run.id, run.attempt) == recorded.actions_run), None)

    def serving(self, recorded: IssueRecord) -> Served | None:
        where = (recorded.record.environment, recorded.record.service)
        return next((one for one in self.served if (one.environment, one.service) == where), None)

    def exchanged(self, recorded: IssueRecord) -> tuple[WorkerVersion | None, WorkerVersion | None]:
        """What the run was to take out of service, and what to put there; None where Cloudflare does not list it."""
        served = self.serving(recorded)
        _, before, after = recorded.record.versions[0] if recorded.record.versions else ("", "", "")
        taken, put = (served.version(side.split(" ")[0]) if served else None for side in (before, after))
        return taken, put

    def notes(self, words: str) -> tuple[datetime, str] | None:
        """The first row by a person that begins with these words: when, and where it stands."""
        found = [
            (row.at, one.url)
            for one in self.recorded
            if one.record.source == "note"
            for row in one.record.rows
            if row.text.lower().startswith(words)
        ]
        return min(found, default=None)
