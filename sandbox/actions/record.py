"""What act says of a run → its jobs and steps in the Actions API, with the sandbox's times, and its log."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from sandbox.actions.plan import Job, Plan
from sandbox.github import GitHub
from sandbox.github.actions.state import Job as JobRecord
from sandbox.github.actions.state import Run

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""act gives its steps a terminal, and GitHub does not."""


class Record:
    """Of one run."""

    def __init__(self, github: GitHub, run: Run, plan: Plan, on_line: Callable[[str], object]) -> None:
        self._github, self._run, self._on_line = github, run, on_line
        self._planned = {job.id: job for job in plan.jobs}
        self._jobs: dict[str, JobRecord] = {}
        self._began: datetime | None = None
        self.log: list[str] = []
        """The lines, masked as on GitHub."""
        for job in plan.running:
            if not job.needs:
                self._add(job, created_at=run.run_started_at)

    def line(self, line: Mapping[str, Any]) -> None:
        """One of act's. Only its `msg` is masked, and only that is kept."""
        for text in _COLOURS.sub("", str(line.get("msg", ""))).splitlines():
            self.log.append(text)
            if line.get("raw_output"):
                self._on_line(text)
        planned = self._planned.get(str(line.get("jobID")))
        if planned is None:
            return
        job = self._jobs.get(planned.id) or self._add(planned, created_at=self._github.clock.now())
        if job.status == "queued":
            self._github.set_job(job, "in_progress")
        if "jobResult" in line:
            self._github.set_job(job, "completed", str(line["jobResult"]))
        elif line.get("stage") == "Main" and len(line.get("stepID", ())) == 1:
            self._step(job, line)

    def end(self, *, failed: bool, cancelled: bool) -> None:
        """Every job and the run get a conclusion. A job that was on when the run was cancelled is cancelled."""
        for planned in self._planned.values():
            job = self._jobs.get(planned.id)
            if job is None:
                job = self._add(planned, created_at=self._github.clock.now())
                self._github.set_job(job, "completed", "skipped")
            elif job.status != "completed":
                self._github.set_job(job, "completed", "cancelled" if cancelled else "failure")
            elif cancelled and job.conclusion == "failure":
                job.conclusion = "cancelled"
        skipped = all(job.conclusion == "skipped" for job in self._jobs.values())
        done = "failure" if failed else "skipped" if skipped else "success"
        self._github.set_run(self._run.id, "completed", "cancelled" if cancelled else done)

    def _add(self, job: Job, created_at: datetime) -> JobRecord:
        at = created_at.replace(microsecond=0)
        added = self._github.add_job(self._run.id, job.name, status="queued", conclusion=None, created_at=at)
        added.started_at = None
        self._jobs[job.id] = added
        return added

    def _step(self, job: JobRecord, line: Mapping[str, Any]) -> None:
        now = self._github.clock.now().replace(microsecond=0)
        if "stepResult" in line:
            name = str(line.get("step", "")).splitlines()[:1]
            self._github.add_step(job, "".join(name)[:100], str(line["stepResult"]), self._began or now)
            self._began = None
        elif self._began is None:
            self._began = now
