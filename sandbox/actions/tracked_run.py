"""One attempt of a run: its workflow files, its jobs, and their state."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sandbox.actions.calls import WorkflowFile
from sandbox.actions.expressions import JobStatus
from sandbox.actions.plan import GroupClaim, PlannedJob, RunPlan, order_jobs
from sandbox.github.actions.state import FakeJob as JobRecord
from sandbox.github.actions.state import FakeRun, PendingDeployment

Result = Literal["", "success", "failure", "cancelled", "skipped"]
State = Literal["blocked", "pending", "waiting", "queued", "running", "completed"]
"""Blocked by its needs, pending in its group, waiting for a reviewer, queued for a runner, running, completed.

A call is queued for the group of the file that it calls.
"""


@dataclass(eq=False)
class TrackedWorkflow:
    """A workflow file in one attempt of a run: that of the run, or one that a job calls."""

    file: WorkflowFile
    contexts: Mapping[str, Any]
    """The contexts github, inputs and vars. In a called file, github is that of the caller."""
    plan: RunPlan
    caller: "TrackedJob | None" = None
    tasks: dict[str, "TrackedJob"] = field(default_factory=dict)
    """In the order of the file."""

    @property
    def all_tasks(self) -> "Iterator[TrackedJob]":
        """Yield each job, and the jobs of the file that it calls."""
        for task in self.tasks.values():
            yield task
            if task.called:
                yield from task.called.all_tasks


@dataclass(eq=False)
class TrackedJob:
    """One job in one attempt of a run."""

    job: PlannedJob
    run: "TrackedRun"
    workflow: TrackedWorkflow
    """The file that holds the job."""
    state: State = "blocked"
    result: Result = ""
    """The value of `needs.JOB.result`."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    record: JobRecord | None = None
    """The job in the API, once its `if` is decided. A call has one only if no job of its file has one."""
    pending_deployment: PendingDeployment | None = None
    """Pending approval of a reviewer."""
    deployment: int | None = None
    cancelled: bool = False
    stop: Callable[[], None] | None = None
    """Ends the running job."""
    called: TrackedWorkflow | None = None
    """The file that it calls, once it holds its own group."""
    former: "TrackedJob | None" = None
    """The job in the attempt before."""

    @property
    def claim(self) -> GroupClaim | None:
        return self.job.claim

    @property
    def callers(self) -> "tuple[TrackedJob, ...]":
        """The job that calls its file, then the one that calls that file, and so on."""
        caller = self.workflow.caller
        return (caller, *caller.callers) if caller else ()

    @property
    def path(self) -> tuple[str, ...]:
        """IDs of its callers, outermost first, and its own."""
        return (*(caller.job.id for caller in reversed(self.callers)), self.job.id)

    @property
    def name(self) -> str:
        """Name in the API: github.com/8398a7/action-slack/issues/183."""
        if not self.run.names_have_caller:
            return self.job.name
        return " / ".join([*(caller.job.name for caller in reversed(self.callers)), self.job.name])

    @property
    def needs(self) -> dict[str, Any]:
        """Return the context `needs` of the job."""
        needed = {name: self.workflow.tasks[name] for name in self.job.needs}
        return {name: {"result": task.result, "outputs": dict(task.outputs)} for name, task in needed.items()}

    @property
    def known(self) -> dict[str, Any]:
        """Return its contexts github, inputs, vars and needs."""
        return {**self.workflow.contexts, "needs": self.needs}

    @property
    def status(self) -> JobStatus:
        """Status over all jobs before it, including indirect needs and those of its callers.

        github.com/actions/runner/issues/2205, also for jobs of a called file [unsure: called-status]
        """
        before = self._before()
        cancelled = self.run.cancelled or any(caller.cancelled for caller in self.callers)
        return JobStatus(
            success=not cancelled and all(task.result == "success" for task in before),
            failure=any(task.result == "failure" for task in before),
            cancelled=cancelled,
        )

    def _before(self) -> "set[TrackedJob]":
        direct = {self.workflow.tasks[name] for name in self.job.needs}
        return direct.union(*(task._before() for task in (*direct, *self.callers[:1])))  # noqa: SLF001


@dataclass(eq=False)
class TrackedRun:
    """One attempt of a run, from its start to its end."""

    run: FakeRun
    root: TrackedWorkflow
    again: Collection[TrackedJob] | None = None
    """Jobs of the attempt before that run again; None for all."""
    log: list[str] = field(default_factory=list)
    """Lines of all jobs, masked as on GitHub."""
    cancelled: bool = False
    ended: bool = False
    names_have_caller: bool = True
    """Whether the API names called jobs with their callers."""

    @property
    def claim(self) -> GroupClaim | None:
        return self.root.plan.claim

    @property
    def tasks(self) -> list[TrackedJob]:
        return list(self.root.all_tasks)


def jobs_again(workflow: TrackedWorkflow, records: Collection[JobRecord]) -> set[TrackedJob]:
    """Return the jobs of `records` with all jobs that need them. A call runs again for each job of its file."""
    again: set[TrackedJob] = set()
    for name in order_jobs(workflow.file.content["jobs"]):
        task = workflow.tasks[name]
        if any(workflow.tasks[need] in again for need in task.job.needs):
            again |= {task, *(task.called.all_tasks if task.called else ())}
        elif task.record in records:
            again.add(task)
        elif task.called and (inner := jobs_again(task.called, records)):
            again |= {task, *inner}
    return again


def claims_of(call: TrackedJob) -> tuple[GroupClaim | None, ...]:
    return (call.claim, call.called.plan.claim if call.called else None)


def combine_results(results: Sequence[Result]) -> Result:
    """Return the result of a run or a call from those of its jobs; for a call, undocumented [unsure: called-status]."""
    if all(result == "skipped" for result in results):
        return "skipped"
    return next((one for one in results if one == "failure"), "cancelled" if "cancelled" in results else "success")
