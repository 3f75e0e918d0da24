"""Pull requests, merges and schedules as workflow triggers, and what runs for forks receive."""

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml

from sandbox import Sandbox
from sandbox.actions import Runner, UnsupportedExpression
from sandbox.actions.event import expression_contexts
from sandbox.github import GitHub
from sandbox.github.actions.state import FakeRun

FILE = ".github/workflows/limits.yml"
ON: dict[str, Any] = {
    "pull_request": {"paths": ["limits.txt"]},
    "push": {"branches": ["main"], "paths": ["limits.txt"]},
    "schedule": [{"cron": "17 * * * *"}],
}
OFF = {"only": {"runs-on": "ubuntu-latest", "if": "false", "steps": []}}
"""Jobs that start no process, for tests that only check whether a run exists."""


def workflow(on: Any = ON, jobs: Any = OFF, **more: Any) -> str:
    return yaml.safe_dump({"on": on, **more, "jobs": jobs}, sort_keys=False)


@pytest.fixture
def hub(sandbox: Sandbox) -> GitHub:
    """Return a repository with the workflow and its limits on main; alice writes, zoe is a stranger."""
    sandbox.github.add_user("alice")
    sandbox.github.add_user("zoe", None)
    sandbox.github.add_commit("Limits", "alice", files={"limits.txt": "a 1\n-\nb 1\n", FILE: workflow()})
    return sandbox.github


@pytest.fixture
def runner(hub: GitHub) -> Iterator[Runner]:
    with Runner(hub, {}) as started:
        yield started


def propose(hub: GitHub, text: str = "a 2\n-\nb 1\n", branch: str = "raise", path: str = "limits.txt") -> int:
    hub.add_commit("Raise", "alice", branch=branch, files={path: text})
    return hub.open_pull("Raise", branch, "alice")


def events(hub: GitHub) -> list[str]:
    return [run.event for run in hub.runs]


def api(hub: GitHub, method: str, path: str, token: str, body: Any = None) -> httpx.Response:
    url, headers = f"{hub.api_url}/repos/{hub.repository}/{path}", {"authorization": f"token {token}"}
    return httpx.request(method, url, headers=headers, json=body)


def github_context(run: FakeRun) -> Any:
    return expression_contexts(run, yaml.safe_load(run.commit.files[FILE]), "acme/operations", {})["github"]


@pytest.mark.usefixtures("runner")
def test_pull_request_triggers_on_open_push_and_reopen(hub: GitHub) -> None:
    number = propose(hub)
    hub.add_commit("More", "alice", branch="raise", files={"limits.txt": "a 3\n-\nb 1\n"})
    hub.label(number, "sev1", "alice")
    hub.close(number, "alice")
    hub.reopen(number, "alice")
    propose(hub, branch="docs", path="docs.md")
    assert [run.payload["action"] for run in hub.runs] == ["opened", "synchronize", "reopened"]


@pytest.mark.usefixtures("runner")
def test_path_filter_ignores_changes_merged_from_main(hub: GitHub) -> None:
    number = propose(hub, branch="docs", path="docs.md")
    hub.add_commit("Elsewhere", "alice", files={"limits.txt": "a 5\n"})
    heads = [hub.resolve(name) or "" for name in ("docs", "main")]
    hub.add_commit("Merge main", "alice", heads, branch="docs", files={"limits.txt": "a 5\n"})
    assert events(hub) == ["push"]
    assert hub.changed_files(number) == ["docs.md"]


@pytest.mark.usefixtures("runner")
def test_merge_triggers_push_unless_by_github_token(hub: GitHub) -> None:
    alice = hub.add_token("ghp_alice", "alice")
    first, second = propose(hub), propose(hub, "a 1\n-\nb 2\n", "other")
    assert api(hub, "PUT", f"pulls/{first}/merge", hub.token).status_code == 200
    assert events(hub) == ["pull_request"] * 2
    assert api(hub, "PUT", f"pulls/{second}/merge", alice).status_code == 200
    assert events(hub)[2:] == ["push"]
    assert hub.runs[-1].actor.login == "alice"


@pytest.mark.usefixtures("runner")
def test_reverted_change_does_not_match_paths(hub: GitHub) -> None:
    before = hub.files()["limits.txt"]
    first = hub.add_commit("Raise", "alice", branch="back", files={"limits.txt": "a 9\n"})
    second = hub.add_commit("And back", "alice", [first], branch="back", files={"limits.txt": before, "other": "1"})
    hub.add_commit("On top", "alice", [second], files={})
    assert events(hub) == []


def test_pull_request_by_github_token_starts_nothing(hub: GitHub, runner: Runner) -> None:
    hub.switches.actions_may_create_pull_requests = True
    hub.add_commit("Raise", "alice", branch="raise", files={"limits.txt": "a 2\n"})
    body = {"title": "Raise", "head": "raise", "base": "main"}
    assert api(hub, "POST", "pulls", hub.token, body).status_code == 201
    change = {"message": "x", "content": base64.b64encode(b"a 3\n").decode()}
    for branch in ("raise", "main"):
        file = api(hub, "GET", f"contents/limits.txt?ref={branch}", hub.token).json()
        put = api(hub, "PUT", "contents/limits.txt", hub.token, {**change, "sha": file["sha"], "branch": branch})
        assert put.status_code == 200
    runner.wait()
    assert hub.runs == []


def test_pull_request_run_uses_merge_and_shows_head(hub: GitHub, runner: Runner) -> None:
    number = propose(hub, workflow({"pull_request": None}, name="Of the pull request"), path=FILE)
    (run,) = hub.runs
    runner.wait()
    merge = hub.resolve(f"refs/pull/{number}/merge")
    github = github_context(run)
    names = ("ref", "ref_name", "head_ref", "base_ref", "sha")
    assert [github[name] for name in names] == [f"refs/pull/{number}/merge", f"{number}/merge", "raise", "main", merge]
    assert (run.name, run.head.sha, run.head_branch) == ("Of the pull request", hub.resolve("raise"), "raise")


@pytest.mark.usefixtures("runner")
def test_new_workflow_of_pull_request_runs_unless_in_conflict(hub: GitHub) -> None:
    added = ".github/workflows/new.yml"
    hub.add_commit("New", "alice", branch="new", files={added: workflow({"pull_request": None})})
    hub.open_pull("New", "new", "alice")
    assert [run.workflow.path for run in hub.runs] == [added]
    hub.add_commit("Here", "alice", branch="clash", files={"limits.txt": "a 2\n"})
    hub.add_commit("There", "alice", files={"limits.txt": "a 3\n"})
    hub.open_pull("Clash", "clash", "alice")
    assert events(hub) == ["pull_request", "push"]


def test_schedule_runs_default_branch_as_last_cron_editor(hub: GitHub, runner: Runner) -> None:
    hub.add_user("bob")
    twice = {**ON, "schedule": [{"cron": "17 * * * *"}, {"cron": "3 3 * * 1"}]}
    hub.add_commit("Twice", "bob", files={FILE: workflow(twice)})
    hub.add_commit("Renamed", "alice", files={FILE: workflow(twice, name="Limits")})
    hub.add_commit("Aside", "alice", branch="aside", files={FILE: workflow({"schedule": [{"cron": "1 1 1 1 1"}]})})

    assert runner.schedule("limits.yml") == [run.id for run in hub.runs]

    runner.wait()
    assert [run.payload["schedule"] for run in hub.runs] == ["17 * * * *", "3 3 * * 1"]
    assert {(run.event, run.actor.login, run.head_branch, run.conclusion) for run in hub.runs} == {
        ("schedule", "bob", "main", "skipped")
    }
    assert github_context(hub.runs[0])["ref"] == "refs/heads/main"
    hub.add_commit("Never", "alice", files={FILE: workflow("push")})
    with pytest.raises(ValueError, match=r'"limits\.yml" with a schedule'):
        runner.schedule("limits.yml")


def test_two_commits_in_one_job_are_a_startup_failure(hub: GitHub, runner: Runner) -> None:
    steps = [{"uses": "actions/checkout@v5"}, {"uses": "actions/checkout@v5", "with": BASE}]
    both = workflow({"pull_request": None}, {"both": {"runs-on": "ubuntu-latest", "steps": steps}})
    hub.add_commit("Both", "alice", files={FILE: both})
    propose(hub)
    with pytest.raises(UnsupportedExpression, match="checks out one commit per job"):
        runner.wait()
    assert hub.runs[-1].conclusion == "startup_failure"


SAY = """exec python3 - <<'PYTHON'
import json, os, urllib.error, urllib.request as requests
base = os.environ["GITHUB_API_URL"] + "/repos/acme/operations/"
def ask(path, **body):
    data = json.dumps(body).encode() if body else None
    headers = {"Authorization": "token " + os.environ["TOKEN"]}
    try:
        return requests.urlopen(requests.Request(base + path, data, headers)).status
    except urllib.error.HTTPError as error:
        return error.code
print("files", open("limits.txt").read().split("\\n"))
print("asked", ask("contents/limits.txt?ref=" + os.environ["HEAD"]), ask(f"issues/{os.environ['N']}/comments", body="x"))
print("given", [os.environ["SECRET"], os.environ["COLOUR"]])
print("where", os.environ["GITHUB_REF"], os.environ["GITHUB_HEAD_REF"], os.environ["GITHUB_BASE_REF"], os.environ["SHA"])
PYTHON
"""
PLAN = {
    "runs-on": "ubuntu-latest",
    "environment": "limits",
    "permissions": {"contents": "read", "pull-requests": "write"},
    "env": {
        "SECRET": "${{ secrets.CF }}",
        "COLOUR": "${{ vars.COLOUR }}",
        "TOKEN": "${{ github.token }}",
        "HEAD": "${{ github.event.pull_request.head.sha }}",
        "N": "${{ github.event.number }}",
        "SHA": "${{ github.sha }}",
    },
}
BASE = {"ref": "${{ github.event.pull_request.base.sha }}", "persist-credentials": False}


@pytest.fixture
def planning(hub: GitHub) -> GitHub:
    """Return a repository whose workflow prints its inputs, with a secret and a variable in an environment."""
    hub.put_secret("CF", "cf-secret", hub.add_environment("limits"))
    hub.put_variable("COLOUR", "red", "limits")
    steps = [{"uses": "actions/checkout@v5", "with": BASE}, {"run": SAY}]
    hub.add_commit("Plan", "alice", files={FILE: workflow(ON, {"plan": {**PLAN, "steps": steps}})})
    return hub


def run_output(hub: GitHub, runner: Runner) -> dict[str, str]:
    runner.wait()
    lines = [line.partition(" ") for line in runner.log(hub.runs[-1].id)]
    return {word: rest for word, _, rest in lines if word in {"files", "asked", "given", "where"}}


@pytest.mark.slow
def test_fork_run_gets_read_token_and_no_secrets(planning: GitHub, runner: Runner) -> None:
    number = planning.open_fork_pull("Raise", "zoe", {"limits.txt": "a 99\n"})
    assert run_output(planning, runner) == {
        "files": "['a 1', '-', 'b 1', '']",
        "asked": "200 403",
        "given": "['', '']",
        "where": f"refs/pull/{number}/merge patch-1 main {planning.resolve(f'refs/pull/{number}/merge')}",
    }
    assert planning.runs[-1].conclusion == "success"


@pytest.mark.slow
def test_branch_run_gets_secrets_and_write_token(planning: GitHub, runner: Runner) -> None:
    propose(planning)
    answers = run_output(planning, runner)
    assert (answers["asked"], answers["given"]) == ("200 201", "['***', 'red']")
    assert answers["files"] == "['a 1', '-', 'b 1', '']"


@pytest.mark.slow
def test_pull_request_checks_out_merge_by_default(hub: GitHub, runner: Runner) -> None:
    steps = [{"uses": "actions/checkout@v5"}, {"run": "echo files $(cat limits.txt); echo where $GITHUB_REF"}]
    hub.add_commit("Show", "alice", branch="raise", files={FILE: workflow(ON, {"show": {**PLAN, "steps": steps}})})
    hub.add_commit("Lower b", "alice", files={"limits.txt": "a 1\n-\nb 0\n"})
    number = propose(hub)
    assert run_output(hub, runner) == {"files": "a 2 - b 0", "where": f"refs/pull/{number}/merge"}


@pytest.mark.slow
def test_checkout_ref_can_come_from_another_job(hub: GitHub, runner: Runner) -> None:
    steps = [{"uses": "actions/checkout@v5"}, {"id": "say", "run": "echo files $(cat limits.txt)"}]
    named = {"uses": "actions/checkout@v5", "with": {"ref": "${{ needs.own.outputs.base }}"}}
    own = {**PLAN, "steps": steps, "outputs": {"base": BASE["ref"]}}
    base = {**PLAN, "needs": "own", "steps": [named, {"run": "echo where $(cat limits.txt)"}]}
    hub.add_commit("Both", "alice", files={FILE: workflow(ON, {"own": own, "base": base})})

    propose(hub)

    assert run_output(hub, runner) == {"files": "a 2 - b 1", "where": "a 1 - b 1"}


@pytest.mark.slow
def test_scheduled_run_knows_its_cron(hub: GitHub, runner: Runner) -> None:
    steps = [
        {"uses": "actions/checkout@v5"},
        {"run": "echo 'given ${{ github.event.schedule }}'; echo where $GITHUB_REF"},
    ]
    hub.add_commit("Show", "alice", files={FILE: workflow(ON, {"show": {**PLAN, "steps": steps}})})
    runner.schedule("limits.yml")
    assert run_output(hub, runner) == {"given": "17 * * * *", "where": "refs/heads/main"}
