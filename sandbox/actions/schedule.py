"""Schedule the jobs of runs: order, waiting, start and cancellation.

A job waits for its needs, then its `if` is decided. Only a job that may run joins its concurrency group. The first of
the group waits for its environment: branches, then reviewers. It then waits for a runner, and runs.

A job that calls a workflow file has no environment and no runner. It joins the group of the file, and ends after the
jobs of the file.
"""

import threading
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import replace
from typing import Generic, TypeVar

from sandbox.actions import calls
from sandbox.actions import plan as plans
from sandbox.actions.event import matches
from sandbox.actions.expressions import InvalidWorkflow, UnsupportedExpression, render_text
from sandbox.actions.plan import GroupClaim
from sandbox.actions.tracked_run import (
    Result,
    TrackedJob,
    TrackedRun,
    TrackedWorkflow,
    claims_of,
    combine_results,
    jobs_again,
)
from sandbox.github import GitHubRepository
from sandbox.github.actions.state import FakeJob as JobRecord
from sandbox.github.actions.state import FakeRun
from sandbox.github.environments.state import EnvironmentProtection

MAX_PENDING = 100
"""Maximum number of waiting members in a group with `queue: max`."""

T = TypeVar("T", bound=Hashable)
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


class RunScheduler:
    """Schedules runs. All changes of a run happen under the lock of the repository, followed by `advance`.

    `execute` runs a job in its own thread and returns its result and outputs. `report` receives problems outside of a
    run.
    """

    def __init__(
        self,
        github: GitHubRepository,
        execute: Callable[[TrackedJob], tuple[Result, Mapping[str, str]]],
        report: Callable[[Exception], object],
    ) -> None:
        self._github, self._execute, self._report = github, execute, report
        self.changed = threading.Condition(github.lock)
        self.runs: list[TrackedRun] = []
        self.held_jobs: set[str] = set()
        """IDs of jobs that get no runner."""
        self._closed = False
        self._groups: ConcurrencyGroups[TrackedRun | TrackedWorkflow | TrackedJob] = ConcurrencyGroups()
        self._threads: list[threading.Thread] = []

    def start_run(self, work: TrackedRun) -> None:
        with self.changed:
            self._add_jobs(work, work.root, None)
            self._start_run(work)

    def rerun(self, work: TrackedRun, records: Collection[JobRecord]) -> None:
        """Start a further attempt of all jobs, or of `records` and the jobs that need them. The others keep outputs."""
        with self.changed:
            before = next(other for other in reversed(self.runs) if other.run is work.run)
            work.again = jobs_again(before.root, records) if records else None
            self._add_jobs(work, work.root, before.root)
            self._start_run(work)

    def _add_jobs(self, work: TrackedRun, workflow: TrackedWorkflow, former: TrackedWorkflow | None) -> None:
        """Add the jobs of a file, or keep those of the attempt before that do not run again."""
        for job in workflow.plan.jobs:
            before = former.tasks.get(job.id) if former and work.again is not None else None
            if before and work.again is not None and before not in work.again:
                workflow.tasks[job.id] = self._carry(before, work, workflow)
            else:
                workflow.tasks[job.id] = TrackedJob(job, work, workflow, former=before)

    def _carry(self, task: TrackedJob, work: TrackedRun, workflow: TrackedWorkflow) -> TrackedJob:
        record = self._github.carry_job(work.run.id, task.record) if task.record else None
        kept = replace(task, run=work, workflow=workflow, record=record, pending_deployment=None, deployment=None)
        if task.called:
            called = kept.called = replace(task.called, caller=kept, tasks={})
            called.tasks = {name: self._carry(inner, work, called) for name, inner in task.called.tasks.items()}
        return kept

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
            while any(self._advance_job(task) for work in active for task in work.tasks) or any(
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
        if self._groups.holds(work.claim, work):
            waits = any(task.state == "pending" and task.claim for task in work.tasks)
            self._cancel_jobs(work.root, spares=self._github.switches.waiting_job_cancel_runs_always or not waits)
            return
        for task in work.tasks:
            self._complete(task, "cancelled")

    def _cancel_jobs(self, workflow: TrackedWorkflow, *, spares: bool = True) -> None:
        """Cancel the jobs whose `if` is not true now. With `spares` false, cancel all, also those not begun."""
        for task in workflow.tasks.values():
            continues = spares and self._may_continue(task)
            if task.called and task.state == "running":
                self._cancel_jobs(task.called, spares=continues or not self._github.switches.cancel_ends_calls)
            elif not spares or (task.state != "blocked" and not continues):
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
            ready = all(task.workflow.tasks[name].state == "completed" for name in task.job.needs)
            return ready and self._is_open(task) and self._decide(task)
        if task.job.is_call:
            return self._advance_call(task)
        if task.state == "pending" and self._groups.holds(task.claim, task):
            return self._enter_environment(task)
        if task.state == "waiting" and task.pending_deployment and task.pending_deployment.state != "waiting":
            return self._queue(task) if task.pending_deployment.state == "approved" else self._reject(task)
        if task.state == "queued" and task.job.id not in self.held_jobs:
            runner = self._github.find_runner(task.job.labels, task.job.runner_group)
            return runner is not None and self._start(task, runner)
        return False

    def _is_open(self, task: TrackedJob) -> bool:
        """Return whether the file of the job has its group."""
        caller = task.workflow.caller
        return caller.state == "running" if caller else self._groups.holds(task.run.claim, task.run)

    def _decide(self, task: TrackedJob) -> bool:
        workflow = task.workflow
        try:
            task.job = plans.plan_job(task.job.id, workflow.file.content, workflow.contexts, task.needs, task.status)
        except UnsupportedExpression as error:
            self._report(error)
            return self._complete(task, "failure")
        if not task.job.may_run:
            return self._complete(task, "skipped")
        task.state = "pending"
        if not task.job.is_call:
            self._set_status(task, "pending" if task.claim else "queued")
        if task.claim:
            self._join_from(task, task.claim, task)
        return True

    def _advance_call(self, task: TrackedJob) -> bool:
        """Advance a job that calls a file: to the group of the file, to its jobs, to its end."""
        called = task.called
        if task.state == "pending" and self._groups.holds(task.claim, task):
            return self._open_called(task)
        if task.state == "queued" and called and self._groups.holds(called.plan.claim, called):
            task.state = "running"
            return True
        if task.state == "running" and called and all(inner.state == "completed" for inner in called.tasks.values()):
            jobs = {name: {"outputs": dict(inner.outputs)} for name, inner in called.tasks.items()}
            task.outputs = calls.output_values(called.file, jobs, called.contexts)
            result = combine_results([inner.result for inner in called.tasks.values()])
            return self._complete(task, "cancelled" if task.cancelled else result)
        return False

    def _open_called(self, task: TrackedJob) -> bool:
        """Add the jobs of the called file. Its inputs are known now; one of a wrong type fails the job."""
        file = task.workflow.file.called[task.job.id]
        try:
            inputs = calls.input_values(file, task.job.definition.get("with") or {}, task.known)
            contexts = {**task.workflow.contexts, "inputs": inputs}
            plan = plans.plan_run(file.content, contexts)
        except InvalidWorkflow as error:
            task.run.log.append(f"Error: {error}")
            return self._complete(task, "failure")
        except UnsupportedExpression as error:
            self._report(error)
            return self._complete(task, "failure")
        called = task.called = TrackedWorkflow(file, contexts, plan, caller=task)
        self._add_jobs(task.run, called, task.former.called if task.former else None)
        task.state = "queued"
        if plan.claim:
            self._join_from(task, plan.claim, called)
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
        if not rules.approvers or task.record is None:
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
            return plans.is_condition_met(condition, task.known, task.status)
        except UnsupportedExpression:
            return False

    def _join_from(self, task: TrackedJob, claim: GroupClaim, member: TrackedJob | TrackedWorkflow) -> None:
        """Join the group for a job or the file that it calls. Nobody may wait for the group of an own caller.

        github.com/rhysd/actionlint/issues/538, github.com/github/vscode-github-actions/issues/135
        """
        outer = [task.run.claim, *(each for caller in task.callers for each in claims_of(caller))]
        outer += [task.claim] if member is not task else []
        if claim.group.lower() in {other.group.lower() for other in outer if other}:
            task.run.log.append(
                f"Canceling since a deadlock for concurrency group '{claim.group}' was detected between "
                f"'top level workflow' and '{task.name}'"
            )
            self._cancel_task(task)
        else:
            self._join(claim, member)

    def _join(self, claim: GroupClaim, member: TrackedRun | TrackedWorkflow | TrackedJob) -> None:
        for other in self._groups.join(claim, member):
            if isinstance(other, TrackedRun):
                self._cancel_run(other)
            elif isinstance(other, TrackedJob):
                self._cancel_task(other)
            elif other.caller:
                self._cancel_task(other.caller)

    def _cancel_task(self, task: TrackedJob) -> None:
        if task.state == "completed":
            return
        task.cancelled = True
        if task.called and task.state == "running":
            self._cancel_jobs(task.called)
        elif task.state != "running":
            self._complete(task, "cancelled")
        elif task.stop:
            threading.Thread(target=task.stop, daemon=True).start()

    def _start(self, task: TrackedJob, runner: str) -> bool:
        if self._closed:
            return self._complete(task, "cancelled")
        task.state = "running"
        self._set_status(task, "in_progress")
        if task.record:
            task.record.runner_name = runner
        if not task.job.definition.get("steps"):
            outputs = task.job.definition.get("outputs", {})
            task.outputs = {name: render_text(str(value), task.known) for name, value in outputs.items()}
            return self._complete(task, "success")
        thread = threading.Thread(target=self._run, args=(task,), daemon=True, name=f"{task.run.run.id} {task.name}")
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
        self._groups.leave(task.claim, task)
        if task.called:
            self._groups.leave(task.called.plan.claim, task.called)
            task.called = task.called if task.state == "running" else None  # else its jobs never began
        task.state = "completed"
        if not task.called or not any(inner.record for inner in task.called.all_tasks):
            self._set_status(task, "completed", conclusion)
        if task.pending_deployment and task.pending_deployment.state == "waiting":
            task.run.run.pending_deployments.remove(task.pending_deployment)
        return True

    def _set_status(self, task: TrackedJob, status: str, conclusion: str | None = None) -> None:
        run, now = task.run.run, self._github.clock.now().replace(microsecond=0)
        if task.record is None:
            at = now if task.job.needs or task.callers else run.run_started_at
            task.record = self._github.add_job(
                run.id, task.name, status="queued", conclusion=None, created_at=at, labels=task.job.labels
            )
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
        if all(task.state == "completed" for task in work.tasks):
            work.ended = True
            self._groups.leave(work.claim, work)
            self._github.set_run(work.run.id, "completed", _conclusion(work))
            return True
        states = {task.state for task in work.tasks if not task.job.is_call}
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


def _conclusion(work: TrackedRun) -> Result:
    """Return the conclusion of the run.

    A job that exceeds its time limit cancels the run: github.com/evoila/meho/issues/2800.
    """
    return "cancelled" if work.cancelled else combine_results([task.result for task in work.root.tasks.values()])
