"""Workflow files that GitHub refuses although no other file calls them, and events that start nothing."""

from typing import Any

import httpx
import pytest
import yaml

from sandbox.actions import Runner
from sandbox.actions.expressions import MAX_LENGTH
from sandbox.github import GitHub
from tests.support.called_files import ONE, hub, runner, start, workflow_file

__all__ = ["hub", "runner"]
DISPATCH = "workflow_dispatch"


def commit(hub: GitHub, content: Any, message: str = "files") -> None:
    hub.add_commit(message, "alice", files={".github/workflows/main.yml": yaml.safe_dump(content, sort_keys=False)})


def long_text(length: int) -> dict[str, Any]:
    expression = "${{ github.sha }}"
    return {"one": {"env": {"TEXT": "x" * (length - len(expression)) + expression}}}


REFUSED: dict[str, dict[str, Any]] = {
    "expression that does not end": {"one": {"name": "${{ github.sha"}},
    "unknown context": {"one": {"name": "${{ weather.today }}"}},
    "secret in a condition": {"one": {"if": "secrets.X != ''"}},
    "expression that is too long": long_text(MAX_LENGTH + 1),
    "unknown queue": {"one": {"concurrency": {"group": "one", "queue": "some"}}},
    "queue that cancels": {"one": {"concurrency": {"group": "one", "queue": "max", "cancel-in-progress": True}}},
    "group without a name": {"one": {"concurrency": {"queue": "max"}}},
    "unknown key of a group": {"one": {"concurrency": {"group": "one", "order": "first"}}},
    "cancel that is no truth": {"one": {"concurrency": {"group": "one", "cancel-in-progress": 1}}},
    "unknown key of an environment": {"one": {"environment": {"name": "recovery", "deploy": False}}},
    "unknown key of a step": {"one": {"steps": [{"run": "true", "needs": "two"}]}},
    "step that does nothing": {"one": {"steps": [{"name": "nothing"}]}},
    "step that does two things": {"one": {"steps": [{"run": "true", "uses": "actions/checkout@v5"}]}},
    "need of a missing job": {"one": {"needs": "two"}},
}


@pytest.mark.parametrize("jobs", REFUSED.values(), ids=REFUSED)
def test_refused_file_ends_run_without_a_job(hub: GitHub, runner: Runner, jobs: dict[str, Any]) -> None:
    commit(hub, workflow_file(jobs, on=DISPATCH))

    run = start(hub)
    runner.wait()

    assert (run.conclusion, run.jobs, len(runner.log(run.id))) == ("startup_failure", [], 1)


@pytest.mark.parametrize(
    "jobs",
    [
        long_text(MAX_LENGTH),
        {"one": {"env": {"TEXT": "x" * (2 * MAX_LENGTH)}}},
        {"one": {"concurrency": {"group": "one", "queue": "max", "cancel-in-progress": False}}},
        {"one": {"concurrency": {"group": "one", "cancel-in-progress": "${{ github.sha == '' }}"}}},
        {"one": {"environment": {"name": "recovery", "deployment": False, "url": "https://example.com"}}},
    ],
    ids=["longest expression", "longer text", "queue", "expression that cancels", "environment"],
)
def test_file_at_a_limit_is_accepted(hub: GitHub, runner: Runner, jobs: dict[str, Any]) -> None:
    commit(hub, workflow_file(jobs, on=DISPATCH))

    run = start(hub)
    runner.wait()

    assert run.conclusion == "success"


@pytest.mark.parametrize(
    ("message", "count"),
    [
        ("files", 1),
        ("files [skip ci]", 0),
        ("[no ci] files", 0),
        ("files\n\n\nskip-checks: true", 0),
        ("tell of skip-checks: true in a line", 1),
    ],
)
def test_message_of_a_commit_skips_runs_of_its_push(hub: GitHub, runner: Runner, message: str, count: int) -> None:
    commit(hub, workflow_file(ONE, on=["push", DISPATCH]), message)
    pushed = len(hub.runs)
    dispatched = start(hub)
    runner.wait()

    assert (pushed, dispatched.conclusion) == (count, "success")


def test_nothing_starts_while_actions_are_off(hub: GitHub, runner: Runner) -> None:
    commit(hub, workflow_file(ONE, on=[DISPATCH, "issues"]))
    hub.set_actions_policy(enabled=False)
    hub.add_token("token", "alice", ["actions:write"])

    hub.open_issue("Down", author="alice")
    answer = httpx.post(
        f"{hub.api_url}/repos/{hub.repository}/actions/workflows/main.yml/dispatches",
        headers={"authorization": "Bearer token"},
        json={"ref": "main"},
    )
    runner.wait()

    assert (answer.status_code, list(hub.runs)) == (422, [])
