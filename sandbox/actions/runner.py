"""Start the runs of each delivery; the public interface of the Actions runner."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Self

from sandbox.actions import calls
from sandbox.actions import plan as plans
from sandbox.actions.act import find_act
from sandbox.actions.event import changed_paths, expression_contexts, is_skipped, is_triggered, workflow_source_ref
from sandbox.actions.execution import JobExecution
from sandbox.actions.expressions import UNKNOWN, InvalidWorkflow, UnsupportedExpression, render_text
from sandbox.actions.local_files import find_artifacts, find_site, write_artifact_actions
from sandbox.actions.schedule import RunScheduler
from sandbox.actions.tracked_run import TrackedRun, TrackedWorkflow
from sandbox.github import GitHubRepository
from sandbox.github.actions.state import FOLDER, FakeRun, RunChange
from sandbox.github.repository import Delivery

TIMEOUT_SECONDS = 300.0
"""Timeout of `wait` for all runs, in real seconds."""


class Runner:
    """Runs workflows for deliveries while its context is open.

    `environ` is added to every step. `delay` passes on the sandbox's clock between a run's delivery and its first job.
    `pip_cache` keeps wheels between runs; steps find programs in its folder `ops-programs` first. `on_line` gets the
    run's ID and each line that steps print. `minute` is the number of real seconds per minute of a job's time limit.
    `actions` maps `owner/name` to a folder used instead of a download; apart from actions/checkout and those of
    artifacts, no other action can be downloaded. `repositories` maps `owner/name` to a git checkout that a checkout of
    another repository clones, if the sandbox's GitHub lacks that one.

    Raises:
        ActNotFound: act is not installed.
    """

    def __init__(
        self,
        github: GitHubRepository,
        environ: Mapping[str, str],
        *,
        pip_cache: Path | None = None,
        delay: timedelta = timedelta(),
        minute: float = 60.0,
        actions: Mapping[str, Path] | None = None,
        repositories: Mapping[str, Path] | None = None,
        on_line: Callable[[int, str], object] = lambda _run_id, _line: None,
    ) -> None:
        find_act()
        self.delay = delay
        self.on_line = on_line
        self._github = github
        self._scratch = Path(tempfile.mkdtemp(prefix="runner-"))
        self._problems: list[Exception] = []
        self._refused: dict[int, str] = {}
        """Run → why GitHub refuses its files."""
        self._execution = JobExecution(
            github,
            dict(environ),
            self._scratch,
            pip_cache or self._scratch / "pip",
            minute=minute,
            delay=lambda: self.delay,
            on_line=self._add_line,
            actions={**write_artifact_actions(self._scratch / "actions"), **(actions or {})},
            repositories=repositories or {},
        )
        github.pages.find_artifact = partial(find_site, self._scratch / "actions")
        github.set_runner(partial(find_artifacts, self._scratch / "actions"), self._find_mistake)
        self._schedule = RunScheduler(github, self._execution, self._problems.append)

    def __enter__(self) -> Self:
        self._stop_listening = (self._github.listen_to(self.deliver), self._github.listen_to_runs(self._on_run_change))
        return self

    def __exit__(self, *_: object) -> None:
        for stop in self._stop_listening:
            stop()
        self._schedule.close()
        self._execution.kill()
        self._schedule.join(30)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def deliver(self, delivery: Delivery) -> list[int]:
        """Start the workflows of the delivery, and return the IDs of the runs. A second call starts them again."""
        started = []
        for begin in self._start_functions(delivery):
            try:
                started.append(begin().id)
            except Exception as error:  # noqa: BLE001  a delivery fails nobody's request; `wait` tells it
                self._problems.append(error)
        return started

    def schedule(self, workflow: str) -> list[int]:
        """Start the workflow once for each cron time in its file on the default branch, and return the IDs of the runs.

        Raises:
            ValueError: the file has no cron times.
        """
        runs = self._github.schedule(workflow)
        for run in runs:
            try:
                self._start(run)
            except UnsupportedExpression as error:
                self._problems.append(error)
        return [run.id for run in runs]

    def wait(self, *, is_ignored: Callable[[FakeRun], bool] = lambda _: False) -> None:
        """Wait until all runs have ended, except for ignored ones, which go on.

        Raises:
            Exception: the first problem of a run that could not be started.
            TimeoutError: a run has not ended after TIMEOUT_SECONDS.
        """
        self.wait_until(
            lambda: all(work.ended or is_ignored(work.run) for work in self._schedule.runs), TIMEOUT_SECONDS
        )
        if self._problems:
            raise self._problems[0]

    def wait_until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait until the condition is true. It is checked after every change of a job. Raises TimeoutError."""
        with self._schedule.changed:
            if not self._schedule.changed.wait_for(condition, seconds):
                on = [str(work.run.id) for work in self._schedule.runs if not work.ended]
                raise TimeoutError(f"after {seconds:.0f} s, these runs have not ended: {', '.join(on) or 'none'}")

    def settle(self, seconds: float = 0.3) -> None:
        """Give running jobs real time until one of them changes, at most `seconds`.

        For `FakeClock.on_sleep`: jobs run in real time while a virtual clock moves.
        """
        with self._schedule.changed:
            on = (task for work in self._schedule.runs if not work.ended for task in work.tasks)
            if any(task.state == "running" and not task.job.is_call for task in on):
                self._schedule.changed.wait(seconds)

    def cancel(self, run_id: int) -> None:
        """Cancel the run, as the button on its page does."""
        self._schedule.cancel(self._tracked_run(run_id))

    def hold_jobs(self, *jobs: str) -> None:
        """Give no runner to jobs with these IDs; without arguments, give runners to all jobs again."""
        with self._schedule.changed:
            self._schedule.held_jobs = set(jobs)
            self._schedule.advance()

    def connect(self, name: str, *labels: str, group: str = "Default") -> None:
        """Add a self-hosted runner, or bring it online. It takes one job at a time.

        docs.github.com/actions/reference/runners/self-hosted-runners: a job without a runner is queued for a day.
        """
        with self._schedule.changed:
            self._github.add_runner(name, *labels, group=group)
            self._schedule.advance()

    def expire_job(self, run_id: int, job: str) -> None:
        """End the running jobs of that run with this ID as if their time limit had passed."""
        self._execution.expire(run_id, job)

    def crash_job(self, run_id: int, job: str) -> None:
        """Lose the runner of the running jobs of that run with this ID: its processes get SIGKILL, and no step ends."""
        self._execution.crash(run_id, job)

    def make_unavailable(self, *actions: str) -> None:
        """Let downloads of these actions, as `owner/name`, fail; without arguments, let all succeed again."""
        self._execution.unavailable = set(actions)

    def log(self, run_id: int) -> list[str]:
        """Return the lines of the run so far; of a run whose files GitHub refuses, the reason."""
        return [self._refused[run_id]] if run_id in self._refused else list(self._tracked_run(run_id).log)

    def _on_run_change(self, change: RunChange) -> None:
        known = any(work.run is change.run for work in self._schedule.runs)
        if known and change.kind == "cancelled":
            self.cancel(change.run.id)
        elif change.kind == "rerun" and (known or change.run.id in self._refused):
            try:
                if (work := self._plan_or_fail(change.run)) and known:
                    self._schedule.rerun(work, change.jobs)
                elif work:
                    self._schedule.start_run(work)
            except UnsupportedExpression as error:
                self._problems.append(error)
        self._schedule.advance()

    def _add_line(self, run_id: int, line: str) -> None:
        self.on_line(run_id, line)

    def _tracked_run(self, run_id: int) -> TrackedRun:
        return next(work for work in reversed(self._schedule.runs) if work.run.id == run_id)

    def _start_functions(self, delivery: Delivery) -> Iterator[Callable[[], FakeRun]]:
        """Yield one start function per run. It creates the run, except for a dispatch, which has one already."""
        event, payload = delivery
        if not self._github.actions_policy.enabled:
            return
        if event == "workflow_dispatch":
            taken = {work.run.id for work in self._schedule.runs}
            made = [run for run in self._github.runs if run.payload is payload and run.id not in taken]
            yield partial(self._start, made[0]) if made else partial(self._start_new, payload["workflow"], delivery)
            return
        for path in self._triggered_workflows(delivery):
            yield partial(self._start_new, path, delivery)

    def _triggered_workflows(self, delivery: Delivery) -> Iterator[str]:
        """Yield the paths of the workflows that the delivery starts. A file without a readable `on` starts nothing."""
        if is_skipped(self._github, delivery):
            return
        try:
            files = self._github.files(workflow_source_ref(delivery))
        except UnsupportedExpression as error:
            self._problems.append(error)
            return
        for path in sorted(files):
            if path.startswith(FOLDER) and path.endswith((".yml", ".yaml")):
                try:
                    on = plans.parse_workflow(files[path].decode())["on"]
                    if is_triggered(
                        on, delivery.event, delivery.payload, lambda: changed_paths(self._github, delivery)
                    ):
                        yield path
                except (InvalidWorkflow, UnicodeDecodeError):
                    continue
                except UnsupportedExpression as error:
                    self._problems.append(error)

    def _start_new(self, path: str, delivery: Delivery) -> FakeRun:
        by, where = delivery.payload["sender"]["login"], workflow_source_ref(delivery) or "main"
        return self._start(self._github.start_run(path, delivery.event, delivery.payload, by, where))

    def _start(self, run: FakeRun) -> FakeRun:
        if work := self._plan_or_fail(run):
            self._schedule.start_run(work)
        return run

    def _plan_or_fail(self, run: FakeRun) -> TrackedRun | None:
        """Return the planned run; None if GitHub refuses its files, so that it ends without a job.

        Raises:
            UnsupportedExpression: the workflow cannot be planned; the run has the conclusion startup_failure.
        """
        self._refused.pop(run.id, None)
        try:
            return self._plan(run)
        except InvalidWorkflow as error:
            self._refused[run.id] = f"Invalid workflow file: {error}"
            title = self._refused_title(run) if self._github.switches.refused_run_has_title else run.workflow.path
            self._github.set_run_title(run.id, title)
            self._github.set_run(run.id, "completed", self._github.switches.refused_run_conclusion)
            return None
        except UnsupportedExpression:
            self._github.set_run(run.id, "completed", "startup_failure")
            raise

    def _refused_title(self, run: FakeRun) -> str:
        """Return the title of `run-name`; the path of the file if it cannot be read."""
        try:
            content = plans.parse_workflow(run.commit.files[run.workflow.path].decode())
            known = expression_contexts(run, content, self._github.repository, {})
            return render_text(str(content.get("run-name", "")), known).strip()
        except (InvalidWorkflow, UnsupportedExpression):
            return run.workflow.path

    def _find_mistake(self, path: str, files: Mapping[str, bytes]) -> str:
        """Return why GitHub refuses a workflow file; "" if it does not."""
        try:
            file = self._read_files(path, files)
            plans.order_jobs(file.content["jobs"])
        except InvalidWorkflow as error:
            return str(error)
        return ""

    def _read_files(self, path: str, files: Mapping[str, bytes]) -> calls.WorkflowFile:
        return calls.read_files(path, files, writes_by_default=self._github.actions_policy.token_writes)

    def _plan(self, run: FakeRun) -> TrackedRun:
        file = self._read_files(run.workflow.path, run.commit.files)
        known = expression_contexts(
            run, file.content, self._github.repository, {} if run.fork else self._github.variables()
        )
        plan = plans.plan_run(file.content, known)
        for job in plan.possible_jobs:
            if not job.needs and not job.is_call:
                plans.checkout_commit(job, self._github.resolve, run.commit.sha)
        called = list(file.tree)[1:]
        unknown = {**known, "inputs": UNKNOWN}
        for each, jobs in [
            (file, plan.possible_jobs),
            *((one, plans.plan_run(one.content, unknown).jobs) for one in called),
        ]:
            for job in jobs:
                for context in ("secrets", "vars"):
                    plans.values_used(each.content, job, context, {})
        self._github.set_run_title(run.id, render_text(str(file.content.get("run-name", "")), known).strip())
        self._github.set_called_files(run.id, [each.path for each in called])
        names_have_caller = self._github.switches.called_names_have_caller
        return TrackedRun(run, TrackedWorkflow(file, known, plan), names_have_caller=names_have_caller)
