"""A repository of the sandbox with small workflow files that call each other. No process starts."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from sandbox import Sandbox
from sandbox.actions import Runner
from sandbox.github import GitHub
from sandbox.github.actions.state import FakeRun

CALL = "./.github/workflows/called.yml"
ONE: dict[str, Any] = {"one": {}}


@pytest.fixture
def hub(sandbox: Sandbox) -> GitHub:
    for login in ("alice", "tina"):
        sandbox.github.add_user(login)
    return sandbox.github


@pytest.fixture
def runner(hub: GitHub) -> Iterator[Runner]:
    with Runner(hub, {}) as started:
        yield started


def workflow_file(jobs: Mapping[str, Any], *, on: Any = "workflow_call", **top: Any) -> dict[str, Any]:
    """Return a workflow. A job without steps ends at once."""
    whole = {
        name: rules if "uses" in rules else {"runs-on": "ubuntu-latest", "steps": [], **rules}
        for name, rules in jobs.items()
    }
    return {"on": on, "jobs": whole, **top}


def commit(
    hub: GitHub,
    called: Any,
    main: Mapping[str, Any],
    others: Mapping[str, Any] | None = None,
    *,
    on: Any = "workflow_dispatch",
    **top: Any,
) -> None:
    """Commit main.yml with these jobs, called.yml, and others by their names. A text stands as it is."""
    files = {"main": workflow_file(main, on=on, **top), "called": called, **(others or {})}
    texts = {
        name: text if isinstance(text, str) else yaml.safe_dump(text, sort_keys=False) for name, text in files.items()
    }
    hub.add_commit("files", "alice", files={f".github/workflows/{name}.yml": text for name, text in texts.items()})


def start(hub: GitHub, name: str = "main.yml") -> FakeRun:
    return hub.dispatch(name, by="alice")


def statuses(run: FakeRun) -> dict[str, str]:
    return {job.name: job.status for job in run.jobs}


def latest(run: FakeRun) -> dict[str, str | None]:
    """Return name → conclusion of the jobs of the latest attempt."""
    return {job.name: job.conclusion for job in run.jobs if job.run_attempt == run.run_attempt}
