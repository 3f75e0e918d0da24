"""Deliveries → runs, each in its turn."""

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self

from sandbox.actions import plan as plans
from sandbox.actions.checkout import for_act, lay_out
from sandbox.actions.event import changed_paths, contexts, ref, source_ref, starts
from sandbox.actions.expressions import Unsupported, may_be_same
from sandbox.actions.plan import Claim, Plan
from sandbox.actions.process import Act, Start, act
from sandbox.actions.record import Record
from sandbox.github import GitHub
from sandbox.github.actions.state import FOLDER, Run
from sandbox.github.repository import Delivery

LONGEST = 300.0
"""Real seconds for all that was started, in `wait`."""


@dataclass(eq=False)
class Work:
    """One run, from its delivery to its end."""

    run: Run
    plan: Plan
    record: Record
    state: str = "pending"
    """pending, running or ended."""
    cancelled: bool = False
    process: Act | None = None
    thread: threading.Thread = field(default_factory=threading.Thread)

    def meets(self, claims: tuple[Claim, ...]) -> list[Claim]:
        """Those of the claims that may be of a group of this run's."""
        return [one for one in claims if any(may_be_same(one.group, own.group) for own in self.plan.claims)]


class Runner:
    """A context manager: what is delivered inside starts workflows.

    `environ` is for every step, `delay` passes on the sandbox's clock between a run's delivery and its first job,
    `pip_cache` is where wheels are kept from one run to the next, `on_line` gets what steps print, with the run's id.
    Raises MissingTool.
    """

    def __init__(
        self,
        github: GitHub,
        environ: Mapping[str, str],
        *,
        pip_cache: Path | None = None,
        delay: timedelta = timedelta(),
        on_line: Callable[[int, str], object] = lambda _run_id, _line: None,
    ) -> None:
        act()
        self.delay = delay
        self._github = github
        self._environ = dict(environ)
        self._scratch = Path(tempfile.mkdtemp(prefix="runner-"))
        self._pip_cache = pip_cache or self._scratch / "pip"
        self._works: list[Work] = []
        self._turn = threading.Condition()
        self._problems: list[Exception] = []
        self.on_line = on_line

    def __enter__(self) -> Self:
        self._stop_listening = self._github.listen_to(self.take)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_listening()
        for work in self._works:
            self._cancel(work, at_once=True)
        for work in self._works:
            work.thread.join(timeout=30)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def take(self, delivery: Delivery) -> list[int]:
        """Start what the delivery starts; given once more, it does so once more. The ids of the runs."""
        started = []
        for begin in self._beginnings(delivery):
            try:
                started.append(begin().id)
            except Exception as error:  # noqa: BLE001  a delivery fails nobody's request; `wait` tells it
                self._problems.append(error)
        return started

    def schedule(self, workflow: str) -> list[int]:
        """Start it, as if each time that the file on the default branch names had come. The ids of the runs.

        Raises ValueError where it names none.
        """
        runs = self._github.schedule(workflow)
        for run in runs:
            try:
                self._begin(run)
            except Unsupported as error:
                self._problems.append(error)
        return [run.id for run in runs]

    def wait(self) -> None:
        """Until all has ended. Raises what could not be started, and TimeoutError."""
        for work in self._works:
            work.thread.join(timeout=LONGEST)
            if work.thread.is_alive():
                raise TimeoutError(f"run {work.run.id} did not end in {LONGEST:.0f} s")
        if self._problems:
            raise self._problems[0]

    def cancel(self, run_id: int) -> None:
        """As the button on the run's page."""
        self._cancel(next(work for work in self._works if work.run.id == run_id))

    def log(self, run_id: int) -> list[str]:
        """Its lines so far."""
        return list(next(work for work in self._works if work.run.id == run_id).record.log)

    def _said(self, run_id: int, line: str) -> None:
        self.on_line(run_id, line)

    def _beginnings(self, delivery: Delivery) -> Iterator[Callable[[], Run]]:
        """One for each run. It is made now, except for a dispatch: that has its run."""
        event, payload = delivery
        if event == "workflow_dispatch":
            taken = {work.run.id for work in self._works}
            made = [run for run in self._github.runs if run.payload is payload and run.id not in taken]
            yield partial(self._begin, made[0]) if made else partial(self._begin_new, payload["workflow"], delivery)
            return
        for path in self._listening(delivery):
            yield partial(self._begin_new, path, delivery)

    def _listening(self, delivery: Delivery) -> Iterator[str]:
        """The paths of the workflows that it starts. One that cannot be read is a problem of its own."""
        try:
            files = self._github.files(source_ref(delivery))
        except Unsupported as error:
            self._problems.append(error)
            return
        for path in sorted(files):
            if path.startswith(FOLDER) and path.endswith((".yml", ".yaml")):
                try:
                    on = plans.read(files[path].decode())["on"]
                    if starts(on, delivery.event, delivery.payload, lambda: changed_paths(self._github, delivery)):
                        yield path
                except Unsupported as error:
                    self._problems.append(error)

    def _begin_new(self, path: str, delivery: Delivery) -> Run:
        by, where = delivery.payload["sender"]["login"], source_ref(delivery) or "main"
        return self._begin(self._github.start_run(path, delivery.event, delivery.payload, by, where))

    def _begin(self, run: Run) -> Run:
        try:
            workflow = plans.read(run.commit.files[run.workflow.path].decode())
            visible = {} if run.fork else self._github.variables()
            plan = plans.make(workflow, contexts(run, workflow, self._github.repository, visible))
            plans.checked_out(plan, self._github.resolve, run.commit.sha)
        except Unsupported:
            self._github.set_run(run.id, "completed", "startup_failure")
            raise
        work = Work(run, plan, Record(self._github, run, plan, partial(self._said, run.id)))
        work.thread = threading.Thread(target=self._work, args=(work,), daemon=True, name=f"run {run.id}")
        with self._turn:
            stopped = [other for other in self._works if self._gives_way(other, work)]
            self._works.append(work)
        for other in stopped:
            self._cancel(other)
        work.thread.start()
        return run

    def _work(self, work: Work) -> None:
        try:
            with self._turn:
                self._turn.wait_for(lambda: work.cancelled or self._is_next(work))
                work.state = "running"
            failed = self._execute(work) if work.plan.running and not work.cancelled else False
            work.record.end(failed=failed, cancelled=work.cancelled)
        except Exception as error:  # noqa: BLE001  a thread has nobody to raise to; `wait` tells it
            self._problems.append(error)
            self._github.set_run(work.run.id, "completed", "startup_failure")
        finally:
            with self._turn:
                work.state = "ended"
                self._turn.notify_all()

    def _is_next(self, work: Work) -> bool:
        """No earlier run holds or awaits a group that this one may claim."""
        earlier = self._works[: self._works.index(work)]
        return not any(other.state != "ended" and other.meets(work.plan.claims) for other in earlier)

    def _gives_way(self, other: Work, new: Work) -> bool:
        """A newcomer cancels the run that waits in its group, unless that queues all; perhaps the one that goes on."""
        if other.state == "ended":
            return False
        waits = other.state == "pending" and not self._is_next(other)
        return any(claim.cancels or (waits and not claim.queues_all) for claim in other.meets(new.plan.claims))

    def _execute(self, work: Work) -> bool:
        """Whether it failed."""
        run, folder = work.run, self._scratch / str(work.run.id)
        self._github.clock.advance(self.delay.total_seconds())
        sha = plans.checked_out(work.plan, self._github.resolve, run.commit.sha)
        lay_out(self._github.files(sha), folder / "repository")
        workflow = run.commit.files[run.workflow.path].decode()
        (folder / run.workflow.file).write_text(for_act(workflow, ref=ref(run), sha=run.commit.sha))
        tokens = self._tokens(work)
        try:
            with self._turn:
                if work.cancelled:
                    return False
                work.process = Act(self._started_with(work, tokens, folder), folder, self._pip_cache)
            self._github.set_run(run.id, "in_progress")
            return work.process.follow(work.record.line) != 0
        finally:
            for token in tokens.values():
                self._github.revoke(token)
            shutil.rmtree(folder, ignore_errors=True)

    def _tokens(self, work: Work) -> dict[str, str]:
        """A GITHUB_TOKEN for each job, with what that job asks for; under the name that act has for it.

        To a fork it is one that reads.
        docs.github.com/actions/reference/workflows-and-actions/workflow-syntax#how-permissions-are-calculated-for-a-workflow-job
        """
        tokens = {}
        for index, job in enumerate(work.plan.jobs):
            secret = f"ghs_run{work.run.id}x{work.run.run_attempt}j{index}"
            asked = {name: level for name, level in job.permissions.items() if level != "none"}
            granted = dict.fromkeys(asked, "read") if work.run.fork else asked
            tokens[plans.own(index, plans.TOKEN)] = self._github.add_workflow_token(secret, granted)
        return tokens

    def _started_with(self, work: Work, tokens: Mapping[str, str], folder: Path) -> Start:
        run, hub = work.run, self._github
        secrets = plans.secrets(work.plan, lambda name: _visible(run, hub.secrets, name))
        variables = plans.variables(work.plan, lambda name: _visible(run, hub.variables, name))
        environ = {name: value for name, value in hub.environ().items() if name != "GITHUB_TOKEN"}
        environ |= {
            "GITHUB_REF": ref(run),
            "GITHUB_RUN_ID": str(run.id),
            "GITHUB_RUN_NUMBER": str(run.run_number),
            "GITHUB_RUN_ATTEMPT": str(run.run_attempt),
            "GITHUB_TRIGGERING_ACTOR": run.triggering_actor.login,
        }
        return Start(
            event=run.event,
            workflow=folder / run.workflow.file,
            payload=run.payload,
            actor=run.actor.login,
            runs_on=frozenset(job.runs_on for job in work.plan.running),
            environ={**self._environ, **environ},
            secrets={**secrets, **tokens},
            variables=variables,
        )

    def _cancel(self, work: Work, *, at_once: bool = False) -> None:
        with self._turn:
            if work.state == "ended":
                return
            work.cancelled = True
            self._turn.notify_all()
            process = work.process
        if process is not None:
            process.kill() if at_once else process.cancel()


def _visible(run: Run, values: Any, environment: str | None) -> Mapping[str, str]:
    """Secrets or variables: to a fork neither the repository's nor an environment's.

    docs.github.com/actions/how-tos/write-workflows/choose-what-workflows-do/use-secrets
    """
    return {} if run.fork else {**values(), **_of(values, environment)}


def _of(values: Any, environment: str | None) -> Mapping[str, str]:
    """An environment that a job names comes into being with its first run, empty."""
    try:
        return dict(values(environment)) if environment else {}
    except KeyError:
        return {}
