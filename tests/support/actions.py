"""A stage for tests of the whole path: our files in the fake GitHub, people, releases, a runner."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ops.core.run_record import STATE_SOURCE, read_record
from ops.github.actions import job_id
from sandbox import Sandbox
from sandbox.actions import Runner
from sandbox.github import GitHub
from sandbox.github.actions.state import FakeJob, FakeRun
from tests.conftest import ACCOUNT, REFERENCE, WORKER
from tests.support.workflows import operations_repository

LABEL = "recover:rollback-api"
BUTTON = "rollback-worker.yml"
ANSWER = ".github/workflows/answer.yml"
CI = ".github/workflows/ci.yml"
"""Not included, because a push would run all tests."""


def read_bodies(github: GitHub, number: int) -> list[str]:
    """Return the comments of an incident without the one that shows its state."""
    bodies = [comment.body for comment in github.issue(number).comments]
    return [body for body in bodies if not ((record := read_record(body)) and record.source == STATE_SOURCE)]


@dataclass(frozen=True)
class Stage:
    """A bad release after a good one, and a repository with our files. alice can write, tina can triage."""

    sandbox: Sandbox
    pip_cache: Path
    good: str
    bad: str
    worker: str = WORKER

    @property
    def github(self) -> GitHub:
        return self.sandbox.github

    @property
    def live(self) -> Mapping[str, float]:
        return self.sandbox.live(self.worker)

    @property
    def ours(self) -> list[str]:
        """Messages of the deployments by ops, newest first."""
        messages = [one.annotations.get("workers/message", "") for one in self.sandbox.deployments(self.worker)]
        return [message for message in messages if message.startswith("ops1 ")]

    def runner(self, environ: Mapping[str, str] | None = None, **options: Any) -> Runner:
        known = {name: value for name, value in self.sandbox.environ().items() if name != "CLOUDFLARE_API_TOKEN"}
        return Runner(self.github, {**known, **(environ or {})}, pip_cache=self.pip_cache, **options)

    def incident(self) -> int:
        return self.github.open_issue("The API answers 500", labels=["incident"], author="alice")

    def comments(self, number: int) -> str:
        return "\n".join(comment.body for comment in self.github.issue(number).comments)

    def labels(self, number: int) -> set[str]:
        return {label.name for label in self.github.issue(number).labels}


@contextmanager
def stage(
    pip_cache: Path,
    good: Mapping[str, Any] | None = None,
    *,
    config: Path = REFERENCE / "ops.yml",
    account: str = ACCOUNT,
    worker: str = WORKER,
    token: str = "CLOUDFLARE_API_TOKEN",
    is_watched: bool = False,
    answers: bool = False,
) -> Iterator[Stage]:
    """`good` is the behaviour of the good release; the other parameters are those of another configuration.

    `is_watched`: a job watches the service after a recovery. `answers`: with `answer.yml`, a second run of each label.
    """
    with Sandbox(account_id=account) as sandbox:
        now, hub = sandbox.clock.now(), sandbox.github
        hub.switches.plan = "enterprise"
        first = release(sandbox, "good", now - timedelta(hours=2), good, worker)
        second = release(sandbox, "bad", now - timedelta(minutes=10), {"status": 500}, worker)
        hub.add_user("alice")
        hub.add_user("tina", "triage")
        files = operations_repository(config, is_watched=is_watched)
        left_out = {CI} if answers else {CI, ANSWER}
        hub.add_commit("All of it", "alice", files={path: text for path, text in files.items() if path not in left_out})
        reading = sandbox.add_token("sandbox-reading", permissions=["Workers Scripts Read", "Account Analytics Read"])
        for environment, value in (("recovery", sandbox.token), ("report", reading)):
            hub.add_environment(environment)
            hub.put_secret(token, value, environment)
        yield Stage(sandbox, pip_cache, first, second, worker)


def release(
    sandbox: Sandbox, name: str, at: datetime, behaviour: Mapping[str, Any] | None = None, worker: str = WORKER
) -> str:
    version = sandbox.upload(worker, code=name, tag=name, behaviour=behaviour, at=at)
    sandbox.deploy(worker, version, at=at)
    return version


def conclusions(run: FakeRun) -> dict[str, str | None]:
    """Return id of a job in its own file → conclusion."""
    return {job_id(job.name): job.conclusion for job in run.jobs}


def find_job(run: FakeRun, name: str) -> FakeJob:
    """Return the newest job with this id in its own file."""
    return next(job for job in reversed(run.jobs) if job_id(job.name) == name)


def when(line: str, call: Callable[[int], object]) -> Callable[[int, str], None]:
    """Return an `on_line` for a runner that calls `call` once, with the run's ID, when a step prints the line."""
    done: list[int] = []

    def on_line(run_id: int, text: str) -> None:
        if line in text and not done:
            done.append(run_id)
            threading.Thread(target=call, args=(run_id,)).start()

    return on_line
