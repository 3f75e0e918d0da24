"""Switches of the runner: other answers of GitHub, where its documentation is silent or says two things."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox.actions import Runner
from sandbox.actions.local_files import find_artifacts
from sandbox.github import GitHub
from tests.support.actions import conclusions
from tests.support.called_files import CALL, ONE, commit, hub, latest, runner, start, workflow_file

__all__ = ["hub", "runner"]
GROUP = {"concurrency": {"group": "one", "queue": "max"}}


def ask(hub: GitHub, method: str, path: str, body: Any = None) -> httpx.Response:
    hub.add_token("token", "alice", ["actions:write"])
    url, headers = f"{hub.api_url}/repos/{hub.repository}{path}", {"authorization": "Bearer token"}
    return httpx.request(method, url, headers=headers, json=body)


@pytest.mark.parametrize(("switch", "result"), [(True, "success"), (False, "cancelled")])
def test_always_job_after_a_cancel_that_finds_a_waiting_job(
    hub: GitHub, runner: Runner, switch: bool, result: str
) -> None:
    hub.switches.waiting_job_cancel_runs_always = switch
    commit(hub, workflow_file(ONE), {"act": GROUP, "tell": {"needs": "act", "if": "always()"}})
    runner.hold_jobs("act")
    start(hub)
    waiting = start(hub)

    runner.cancel(waiting.id)
    runner.wait_until(lambda: waiting.status == "completed")

    assert conclusions(waiting) == {"act": "cancelled", "tell": result}


@pytest.mark.parametrize(("switch", "name"), [(True, "call / one"), (False, "one")])
def test_name_of_a_called_job(hub: GitHub, runner: Runner, switch: bool, name: str) -> None:
    hub.switches.called_names_have_caller = switch
    commit(hub, workflow_file(ONE), {"call": {"uses": CALL}})

    run = start(hub)
    runner.wait()

    assert latest(run) == {name: "success"}


REFUSED = {"call": {"uses": CALL, "permissions": {}}}
ASKING = workflow_file({"one": {"permissions": {"issues": "read"}}})


@pytest.mark.parametrize("conclusion", ["startup_failure", "failure"])
@pytest.mark.parametrize(("has_title", "title"), [(False, ".github/workflows/main.yml"), (True, "recover one")])
def test_run_of_a_refused_file(hub: GitHub, runner: Runner, conclusion: Any, has_title: bool, title: str) -> None:
    hub.switches.refused_run_conclusion, hub.switches.refused_run_has_title = conclusion, has_title
    title_of_file: dict[str, Any] = {"run-name": "recover one"}
    commit(hub, ASKING, REFUSED, **title_of_file)

    run = start(hub)
    runner.wait()

    shown = ask(hub, "GET", f"/actions/runs/{run.id}").json()
    assert (shown["conclusion"], shown["display_title"], run.jobs) == (conclusion, title, [])


@pytest.mark.parametrize(("switch", "status", "runs"), [(False, 204, 1), (True, 422, 0)])
def test_dispatch_of_a_refused_file(hub: GitHub, runner: Runner, switch: bool, status: int, runs: int) -> None:
    hub.switches.dispatch_checks_files = switch
    commit(hub, ASKING, REFUSED)

    answer = ask(hub, "POST", "/actions/workflows/main.yml/dispatches", {"ref": "main"})
    runner.wait()

    assert (answer.status_code, len(hub.runs)) == (status, runs)


@pytest.mark.parametrize("lag", [0, 2])
def test_artifacts_are_listed_after_some_reads(hub: GitHub, tmp_path: Path, lag: int) -> None:
    hub.switches.artifacts_lag_reads = lag
    run = hub.add_run("ci.yml")
    hub.set_runner(lambda number: find_artifacts(tmp_path, number), lambda *_: "")
    assert ask(hub, "GET", f"/actions/runs/{run}/artifacts").json() == {"total_count": 0, "artifacts": []}
    folder = tmp_path / "artifacts" / str(run) / "site"
    folder.mkdir(parents=True)
    (folder / "index.html").write_bytes(b"four")

    reads = [ask(hub, "GET", f"/actions/runs/{run}/artifacts").json()["artifacts"] for _ in range(lag + 2)]

    assert [len(each) for each in reads] == [0] * lag + [1, 1]
    assert (reads[-1], reads[-1][0]["size_in_bytes"]) == (reads[-2], 4)
