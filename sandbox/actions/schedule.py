"""Schedule the jobs of runs: order, waiting, start and cancellation.

A job waits for its needs, then its `if` is decided. Only a job that may run joins its concurrency group. The first of
the group waits for its environment: branches, then reviewers. It then waits for a runner, and runs.
"""

import threading
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar

from sandbox.actions import plan as plans
from sandbox.actions.event import matches
from sandbox.actions.expressions import JobStatus, UnsupportedExpression, render_text
from sandbox.actions.plan import GroupClaim, PlannedJob, RunPlan
from sandbox.github import GitHub
from sandbox.github.actions.state import FakeJob as JobRecord
from sandbox.github.actions.state import FakeRun, PendingDeployment
from sandbox.github.environments.state import EnvironmentProtection

MAX_PENDING = 100
"""Maximum number of waiting members in a group with `queue: max`."""

T = TypeVar("T", bound=Hashable)
Result = Literal["", "success", "failure", "cancelled", "skipped"]
State = Literal["blocked", "pending", "waiting", "queued", "running", "completed"]
"""Blocked by its needs, pending in its group, waiting for a reviewer, queued for a runner, running, completed."""
_REJECTED = "The deployment was rejected or didn't satisfy other protection rules."


class ConcurrencyGroups(Generic[T]):
    """The groups of one repository. The first member, a run or a job, holds the group; the others wait in order.

    docs.github.com/actions/how-tos/write-workflows/choose-when-workflows-run/control-workflow-concurrency
    """

    def __init__(self) -> None:
        self._queues: dict[str, list[T]] = {}

    def join(self, claim: GroupClaim, member: T) -> list[T]:
        """Queue the member and return the members to cancel; the member itself if the queue is full.

        Group names ignore case.
        """
        queue = self._queues.setdefault(claim.group.lower(), [])
        if claim.queues_all and len(queue) > MAX_PENDING:
            return [member]
        displaced = [] if claim.queues_all else queue[1:]
        if claim.cancels_running:
            displaced += queue[:1]
        queue.append(member)
        return displaced

    def holds(self, claim: GroupClaim | None, member: T) -> bool:
        """Return whether the member holds its group; always true without a claim."""
        return claim is None or self._queues.get(claim.group.lower(), [member])[0] is member

    def leave(self, claim: GroupClaim | None, member: T) -> None:
        if claim is None:
            return
        queue = self._queues.get(claim.group.lower(), [])
        if member in queue:
            queue.remove(member)
        if not queue:
            self._queues.pop(claim.group.lower(), None)


@dataclass(eq=False)
class TrackedJob:
    """One job in one attempt of a run."""

    job: PlannedJob
    run: "TrackedRun"
    state: State = "blocked"
    result: Result = ""
    """The value of `needs.JOB.result`."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    record: JobRecord | None = None
    """The job in the API, once its `if` is decided."""
    pending_deployment: PendingDeployment | None = None
    """Pending approval of a reviewer."""
    deployment: int | None = None
    cancelled: bool = False
    stop: Callable[[], None] | None = None
    """Ends the running job."""

    @property
    def claim(self) -> GroupClaim | None:
        return self.job.claim

    @property
    def needs(self) -> dict[str, Any]:
        """Return the context `needs` of the job."""
        needed = {name: self.run.tasks[name] for name in self.job.needs}
        return {name: {"result": task.result, "outputs": dict(task.outputs)} for name, task in needed.items()}

    @property
    def status(self) -> JobStatus:
        """Status over all jobs before it, including indirect needs.

        github.com/actions/runner/issues/2205
        """
        before = self._before()
        return JobStatus(
            success=not self.run.cancelled and all(task.result == "success" for task in before),
            failure=any(task.result == "failure" for task in before),
            cancelled=self.run.cancelled,
        )

    def _before(self) -> "set[TrackedJob]":
        direct = {self.run.tasks[name] for name in self.job.needs}
        return direct.union(*(task._before() for task in direct))  # noqa: SLF001


@dataclass(eq=False)
class TrackedRun:
    """One attempt of a run, from its start to its end."""

    run: FakeRun
    workflow: Mapping[str, Any]
    contexts: Mapping[str, Any]
    """The contexts github, inputs and vars."""
    plan: RunPlan
    tasks: dict[str, TrackedJob] = field(default_factory=dict)
    """In the order of the workflow file."""
    log: list[str] = field(default_factory=list)
    """Lines of all jobs, masked as on GitHub."""
    cancelled: bool = False
    ended: bool = False

    @property
    def claim(self) -> GroupClaim | None:
        return self.plan.claim


class RunScheduler:
    """Schedules runs. All changes of a run happen under the lock of the repository, followed by `advance`.

    `execute` runs a job in its own thread and returns its result and outputs. `report` receives problems outside of a
    run.
    """

    def __init__(
        self,
        github: GitHub,
        execute: Callable[[TrackedJob], tuple[Result, Mapping[str, str]]],
        report: Callable[[Exception], object],
    ) -> None:
        self._github, self._execute, self._report = github, execute, report
        self.changed = threading.Condition(github.lock)
        self.runs: list[TrackedRun] = []
        self.held_jobs: set[str] = set()
        """IDs of jobs that get no runner."""
        self._closed = False
        self._groups: ConcurrencyGroups[TrackedRun | TrackedJob] = ConcurrencyGroups()
        self._threads: list[threading.Thread] = []

    def start_run(self, work: TrackedRun) -> None:
        with self.changed:
            work.tasks = {job.id: TrackedJob(job, work) for job in work.plan.jobs}
            self._start_run(work)

    def rerun(self, work: TrackedRun, records: Collection[JobRecord]) -> None:
        """Start a further attempt of all jobs, or of `records` and the jobs that need them. The others keep outputs."""
        with self.changed:
            before = next(other for other in reversed(self.runs) if other.run is work.run)
            again = {name for name, task in before.tasks.items() if not records or task.record in records}
            for name in plans.order_jobs(work.workflow["jobs"]):
                again |= {name} if again & set(plans.job_needs(work.workflow["jobs"][name])) else set()
            for job in work.plan.jobs:
                work.tasks[job.id] = (
                    TrackedJob(job, work) if job.id in again else self._carry(before.tasks[job.id], work)
                )
            self._start_run(work)

    def _carry(self, task: TrackedJob, work: TrackedRun) -> TrackedJob:
        record = self._github.carry_job(work.run.id, task.record) if task.record else None
        return replace(task, run=work, record=record, pending_deployment=None, deployment=None)

    def _start_run(self, work: TrackedRun) -> None:
        self.runs.append(work)
        if work.claim:
            self._github.set_run(work.run.id, "pending")
            self._join(work.claim, work)
        self.advance()

    def advance(self) -> None:
        """Advance every job as far as possible now."""
        with self.changed:
            active = [work for work in self.runs if not work.ended]
            while any(self._advance_job(task) for work in active for task in work.tasks.values()) or any(
                self._update_run(work) for work in active if not work.ended
            ):
                pass
            self.changed.notify_all()

    def cancel(self, work: TrackedRun) -> None:
        """Cancel the run. A job continues if its `if` is true for a cancelled run.

        docs.github.com/actions/reference/workflows-and-actions/workflow-cancellation
        """
        with self.changed:
            self._cancel_run(work)
            self.advance()

    def _cancel_run(self, work: TrackedRun) -> None:
        if work.ended or work.cancelled:
            return
        work.cancelled = True
        started = self._groups.holds(work.claim, work)
        for task in work.tasks.values():
            if not started:
                self._complete(task, "cancelled")
            elif task.state != "blocked" and not self._may_continue(task):
                self._cancel_task(task)

    def close(self) -> None:
        """Cancel all runs and start no further job."""
        with self.changed:
            self._closed = True
            for work in self.runs:
                self.cancel(work)

    def join(self, seconds: float) -> None:
        for thread in self._threads:
            thread.join(seconds)

    def _advance_job(self, task: TrackedJob) -> bool:
        """Advance one job and return whether it changed."""
        if task.state == "blocked":
            ready = all(task.run.tasks[name].state == "completed" for name in task.job.needs)
            if ready and self._groups.holds(task.run.claim, task.run):
                return self._decide(task)
        if task.state == "pending" and self._groups.holds(task.claim, task):
            return self._enter_environment(task)
        if task.state == "waiting" and task.pending_deployment and task.pending_deployment.state != "waiting":
            return self._queue(task) if task.pending_deployment.state == "approved" else self._reject(task)
        if task.state == "queued" and task.job.id not in self.held_jobs:
            return self._start(task)
        return False

    def _decide(self, task: TrackedJob) -> bool:
        work = task.run
        try:
            task.job = plans.plan_job(task.job.id, work.workflow, work.contexts, task.needs, task.status)
        except UnsupportedExpression as error:
            self._report(error)
            return self._complete(task, "failure")
        if not task.job.may_run:
            return self._complete(task, "skipped")
        task.state = "pending"
        self._set_status(task, "queued")
        if task.claim:
            self._set_status(task, "pending")
            self._join(task.claim, task)
        return True

    def _enter_environment(self, task: TrackedJob) -> bool:
        """Enter the environment if its rules allow the job."""
        run, name = task.run.run, task.job.environment
        if name is None:
            return self._queue(task)
        rules = self._github.protection(name)
        if task.job.deploys:
            task.deployment = self._github.add_deployment(name, run.triggering_actor.login, run_id=run.id)
        if not _is_allowed(rules, branch_of(run)):
            branch = (
                f'Branch "{branch_of(run)}" is not allowed to deploy to {name} due to environment protection rules.'
            )
            return self._reject(task, branch)
        if not rules.reviewers or task.record is None:
            return self._queue(task)
        task.pending_deployment, task.state = self._github.ask_reviewers(run.id, name, task.record), "waiting"
        self._set_status(task, "waiting")
        return True

    def _queue(self, task: TrackedJob) -> bool:
        task.state = "queued"
        self._set_status(task, "queued")
        return True

    def _reject(self, task: TrackedJob, *why: str) -> bool:
        task.run.log += [*why, _REJECTED]
        return self._complete(task, "failure")

    def _may_continue(self, task: TrackedJob) -> bool:
        """Return whether the job's `if` is true now; false if it cannot be evaluated."""
        condition = str(task.job.definition.get("if", ""))
        try:
            return plans.is_condition_met(condition, {**task.run.contexts, "needs": task.needs}, task.status)
        except UnsupportedExpression:
            return False

    def _join(self, claim: GroupClaim, member: TrackedRun | TrackedJob) -> None:
        for other in self._groups.join(claim, member):
            if isinstance(other, TrackedRun):
                self._cancel_run(other)
            else:
                self._cancel_task(other)

    def _cancel_task(self, task: TrackedJob) -> None:
        if task.state == "completed":
            return
        task.cancelled = True
        if task.state != "running":
            self._complete(task, "cancelled")
        elif task.stop:
            threading.Thread(target=task.stop, daemon=True).start()

    def _start(self, task: TrackedJob) -> bool:
        if self._closed:
            return self._complete(task, "cancelled")
        task.state = "running"
        self._set_status(task, "in_progress")
        if task.record:
            task.record.runner_name = "GitHub Actions 1"
        if not task.job.definition.get("steps"):
            known = {**task.run.contexts, "needs": task.needs}
            task.outputs = {
                name: render_text(str(value), known) for name, value in task.job.definition.get("outputs", {}).items()
            }
            return self._complete(task, "success")
        thread = threading.Thread(target=self._run, args=(task,), daemon=True, name=f"{task.run.run.id} {task.job.id}")
        self._threads.append(thread)
        thread.start()
        return True

    def _run(self, task: TrackedJob) -> None:
        result: Result = "failure"
        outputs: Mapping[str, str] = {}
        try:
            result, outputs = self._execute(task)
        except Exception as error:  # noqa: BLE001  a thread has nobody to raise to; `wait` raises it
            self._report(error)
        with self.changed:
            task.outputs = outputs
            self._complete(task, "cancelled" if task.cancelled else result)
            self.advance()

    def _complete(self, task: TrackedJob, conclusion: Result) -> bool:
        if task.state == "completed":
            return False
        task.result = "success" if conclusion == "failure" and task.job.may_fail else conclusion
        task.state = "completed"
        self._groups.leave(task.claim, task)
        self._set_status(task, "completed", conclusion)
        if task.pending_deployment and task.pending_deployment.state == "waiting":
            task.run.run.pending_deployments.remove(task.pending_deployment)
        return True

    def _set_status(self, task: TrackedJob, status: str, conclusion: str | None = None) -> None:
        run, now = task.run.run, self._github.clock.now().replace(microsecond=0)
        if task.record is None:
            at = now if task.job.needs else run.run_started_at
            task.record = self._github.add_job(run.id, task.job.name, status="queued", conclusion=None, created_at=at)
            task.record.started_at = task.record.runner_name = None
        if status in {"in_progress", "completed"}:
            self._github.set_job(task.record, status, conclusion)
        else:
            task.record.status = status
        if task.deployment:
            state = {"success": "success", None: status}.get(conclusion, "failure")
            self._github.set_deployment(task.deployment, state)

    def _update_run(self, work: TrackedRun) -> bool:
        """Show the state of the run in the API, and return whether it has ended and released its group."""
        tasks = work.tasks.values()
        if all(task.state == "completed" for task in tasks):
            work.ended = True
            self._groups.leave(work.claim, work)
            self._github.set_run(work.run.id, "completed", _conclusion(work))
            return True
        states = {task.state for task in tasks}
        shown = "in_progress" if states & {"running", "completed"} else work.run.status
        if "waiting" in states and "running" not in states:
            shown = "waiting"
        if shown != work.run.status:
            self._github.set_run(work.run.id, shown)
        return False


def branch_of(run: FakeRun) -> str:
    """Return the branch as environments compare it: github.com/rocicorp/mono/pull/6163."""
    return f"refs/pull/{run.pull.number}/merge" if run.pull else run.head_branch


def _is_allowed(rules: EnvironmentProtection, branch: str) -> bool:
    if rules.policy == "protected":
        return branch == "main"
    return rules.policy == "all" or any(matches(pattern, branch) for pattern in rules.branches)


def _conclusion(work: TrackedRun) -> str:
    """Return the conclusion of the run.

    A job that exceeds its time limit cancels the run: github.com/evoila/meho/issues/2800.
    """
    results = [task.result for task in work.tasks.values()]
    if work.cancelled:
        return "cancelled"
    if all(result == "skipped" for result in results):
        return "skipped"
    return next((one for one in ("failure", "cancelled") if one in results), "success")
