"""The runner with small workflows under act: secrets, groups, cancellation, token, limits."""

from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from sandbox import Sandbox
from sandbox.actions import Runner, UnsupportedExpression
from sandbox.github import GitHub
from tests.support.actions import conclusions, when


@pytest.fixture
def hub(sandbox: Sandbox) -> GitHub:
    sandbox.github.add_user("alice")
    return sandbox.github


def workflow(hub: GitHub, name: str, *steps: str, on: Any = "workflow_dispatch", **job: Any) -> None:
    """Commit a workflow of one job with these commands."""
    rules = {"runs-on": "ubuntu-latest", "steps": [{"run": step} for step in steps], **job}
    commit(hub, name, {"on": on, "jobs": {"only": rules}})


def commit(hub: GitHub, name: str, content: Any) -> None:
    text = yaml.safe_dump(content, sort_keys=False)
    hub.add_commit(name, "alice", files={f".github/workflows/{name}": text})


ASK = """exec python3 -c '
import os, urllib.request as requests
url, headers = os.environ["GITHUB_API_URL"] + "/repos/acme/operations/issues", {"Authorization": "token " + os.environ["G"]}
print("api", requests.urlopen(requests.Request(url, headers=headers)).status)'
"""


@pytest.mark.slow
def test_job_gets_environment_secrets_and_own_token(hub: GitHub) -> None:
    for name, value in (("recovery", "of recovery"), ("security", "of security")):
        hub.put_secret("TOKEN", value, hub.add_environment(name))
    hub.put_variable("COLOUR", "red")
    said = 'echo "got $(echo "$T" | tr a-z A-Z) $C $GITHUB_RUN_ID $GITHUB_ACTOR $GITHUB_TRIGGERING_ACTOR [$HIDDEN]"'
    env = {
        "T": "${{ secrets.TOKEN }}",
        "C": "${{ vars.COLOUR }}",
        "G": "${{ github.token }}",
        "HIDDEN": "${{ secrets.OTHER }}",
    }
    workflow(hub, "a.yml", said, ASK, environment="recovery", env=env, permissions={"issues": "read"})
    hub.put_secret("OTHER", "hidden", "security")

    with Runner(hub, {}) as runner:
        run = hub.dispatch("a.yml", by="alice")
        runner.wait()
        log = runner.log(run.id)

    assert f"got OF RECOVERY red {run.id} alice alice []" in log
    assert "api 200" in log
    assert not any("of recovery" in line for line in log)
    spent = httpx.get(f"{hub.api_url}/repos/acme/operations", headers={"authorization": f"token ghs_run{run.id}x1j0"})
    assert spent.status_code == 401


ACTION = """\
name: two
outputs:
  told: {description: one, value: "${{ steps.inner.outputs.told }}"}
runs:
  using: composite
  steps:
    - {id: inner, shell: sh, run: "echo told=yes >> $GITHUB_OUTPUT; echo hidden=yes >> $GITHUB_OUTPUT"}
"""


@pytest.mark.slow
def test_output_that_an_action_does_not_declare_is_empty(hub: GitHub) -> None:
    shown = {"TOLD": "${{ steps.inner.outputs.told }}", "HIDDEN": "${{ steps.inner.outputs.hidden || 'nothing' }}"}
    steps = [
        {"uses": "actions/checkout@v5"},
        {"id": "inner", "uses": "./.github/actions/two"},
        {"run": 'echo "told $TOLD, hidden $HIDDEN"', "env": shown},
    ]
    hub.add_commit("two", "alice", files={".github/actions/two/action.yml": ACTION})
    workflow(hub, "a.yml", steps=steps, outputs={"hidden": "${{ steps.inner.outputs.hidden }}"})

    with Runner(hub, {}) as runner:
        run = hub.dispatch("a.yml", by="alice")
        runner.wait()
        log = runner.log(run.id)

    assert "told yes, hidden nothing" in log


@pytest.mark.slow
def test_group_serializes_only_its_own_runs(hub: GitHub, tmp_path: Path) -> None:
    gate, marks = tmp_path / "gate", tmp_path / "marks"
    waits = f"echo began >> {marks}; until test -e {gate}; do sleep 0.05; done; echo ended >> {marks}"
    group = {"group": "one", "queue": "max"}
    workflow(hub, "a.yml", waits, concurrency=group)
    workflow(hub, "b.yml", f"echo second >> {marks}", concurrency=group)
    workflow(hub, "c.yml", f"touch {gate}", concurrency={"group": "another"})

    with Runner(hub, {}) as runner:
        for name in ("a.yml", "b.yml", "c.yml"):
            hub.dispatch(name, by="alice")
        runner.wait()

    assert [run.conclusion for run in hub.runs] == ["success"] * 3
    assert marks.read_text().split() == ["began", "ended", "second"]


@pytest.mark.slow
def test_waiting_run_is_replaced_by_newest_without_queue(hub: GitHub, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    workflow(hub, "a.yml", f"until test -e {gate}; do sleep 0.05; done", concurrency="one")
    workflow(hub, "b.yml", "true", concurrency="one")
    workflow(hub, "c.yml", "true", concurrency={"group": "one", "cancel-in-progress": True})

    with Runner(hub, {}) as runner:
        runs = [hub.dispatch(name, by="alice") for name in ("a.yml", "b.yml", "b.yml")]
        assert runs[1].conclusion in {None, "cancelled"}
        gate.touch()
        runner.wait()
        gate.unlink()
        on, newest = hub.dispatch("a.yml", by="alice"), hub.dispatch("c.yml", by="alice")
        runner.wait()

    assert [run.conclusion for run in runs] == ["success", "cancelled", "success"]
    assert [on.conclusion, newest.conclusion] == ["cancelled", "success"]


CAREFUL = """exec python3 -c '
import os, signal, sys, threading
def stop(number, _): os.write(1, b"asked to stop by %d\\n" % number); sys.exit(130)
signal.signal(signal.SIGINT, stop)
print("up", flush=True)
threading.Event().wait(60)'
"""


@pytest.mark.slow
def test_canceled_step_gets_sigint_and_later_jobs_are_skipped(hub: GitHub) -> None:
    jobs = {
        "first": {"runs-on": "ubuntu-latest", "steps": [{"run": CAREFUL}, {"run": "echo last", "if": "always()"}]},
        "then": {"runs-on": "ubuntu-latest", "needs": "first", "steps": [{"run": "echo never"}]},
    }
    commit(hub, "a.yml", {"on": {"issues": {"types": ["opened"]}}, "jobs": jobs})

    with Runner(hub, {}) as runner:
        runner.on_line = when("up", runner.cancel)
        hub.open_issue("Any", author="alice")
        runner.wait()
        (run,) = hub.runs
        log = runner.log(run.id)

    assert "asked to stop by 2" in log
    assert "last" in log
    assert "never" not in log
    assert (run.event, run.conclusion, conclusions(run)) == (
        "issues",
        "cancelled",
        {"first": "cancelled", "then": "skipped"},
    )


@pytest.mark.slow
def test_push_runs_workflow_of_its_commit_by_paths(hub: GitHub) -> None:
    workflow(hub, "a.yml", "cat limits.txt", on={"push": {"paths": ["limits.txt"]}})
    rules = {"runs-on": "ubuntu-latest", "steps": [{"uses": "actions/checkout@v5"}, {"run": "cat limits.txt"}]}
    commit(hub, "a.yml", {"on": {"push": {"paths": ["limits.txt"]}}, "jobs": {"only": rules}})

    with Runner(hub, {}) as runner:
        hub.add_commit("elsewhere", "alice", files={"other.txt": "1"})
        hub.add_commit("limits", "alice", files={"limits.txt": "as limited as it gets"}, branch="side")
        runner.wait()
        (run,) = hub.runs
        log = runner.log(run.id)

    assert (run.head_branch, run.conclusion) == ("side", "success")
    assert "as limited as it gets" in log


def test_unsupported_workflow_is_a_startup_failure(hub: GitHub) -> None:
    workflow(hub, "a.yml", "true", on=["issues"], strategy={"matrix": {"a": [1]}})
    workflow(hub, "b.yml", "true", on=["issues"], **{"if": "false"})

    with Runner(hub, {}) as runner:
        hub.open_issue("Any", author="alice")
        with pytest.raises(UnsupportedExpression, match="strategy"):
            runner.wait()

    assert [run.conclusion for run in hub.runs] == ["startup_failure", "skipped"]


def test_github_token_events_start_nothing(hub: GitHub) -> None:
    workflow(hub, "a.yml", "true", on=["issues", "issue_comment"])

    with Runner(hub, {}) as runner:
        number = hub.open_issue("Any")
        hub.comment(number, "by the bot", "github-actions[bot]")
        runner.wait()

    assert hub.runs == []


def test_run_without_runnable_jobs_is_skipped(hub: GitHub) -> None:
    workflow(hub, "a.yml", "exit 1", on="issues", **{"if": "github.event.action == 'labeled'"})

    with Runner(hub, {}) as runner:
        hub.open_issue("Any", author="alice")
        runner.wait()
        (run,) = hub.runs

    assert (run.conclusion, conclusions(run)) == ("skipped", {"only": "skipped"})
    assert runner.log(run.id) == []
