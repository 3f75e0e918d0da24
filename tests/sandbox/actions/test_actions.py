"""Actions in a job: unavailable downloads, and local folders in place of downloads."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox import Sandbox
from sandbox.actions import Runner, UnsupportedExpression
from sandbox.github import GitHub
from tests.support.actions import conclusions

SET_UP = """\
name: Set up
description: "."
inputs: {word: {default: none}}
runs: {using: composite, steps: [{shell: sh, run: "echo said $WORD", env: {WORD: "${{ inputs.word }}"}}]}
"""


@pytest.fixture
def hub(sandbox: Sandbox) -> GitHub:
    sandbox.github.add_user("alice")
    return sandbox.github


def commit(hub: GitHub, *steps: Any, **files: str) -> None:
    """Commit a workflow: a job with these steps, and a job that always runs after it."""
    tell = {"runs-on": "ubuntu-latest", "needs": "one", "if": "always()", "steps": []}
    jobs = {"one": {"runs-on": "ubuntu-latest", "steps": steps}, "tell": tell}
    text = yaml.safe_dump({"on": "workflow_dispatch", "jobs": jobs}, sort_keys=False)
    hub.add_commit("a", "alice", files={".github/workflows/a.yml": text, **files})


@pytest.mark.parametrize(
    "uses", ["acme/unknown@v1", "acme/known/sub@v1", "acme/private/sub@main", "actions/checkout@v5", "docker://alpine"]
)
def test_unavailable_action_fails_job_before_its_steps(hub: GitHub, tmp_path: Path, uses: str) -> None:
    hub.add_repository("acme/private")
    commit(hub, {"run": "echo never"}, {"uses": uses}, {"if": "always()", "run": "echo never"})

    with Runner(hub, {}, actions={"acme/known": tmp_path}) as runner:
        runner.make_unavailable("actions/checkout", "acme/known")
        run = hub.dispatch("a.yml", by="alice")
        runner.wait()
        log = runner.log(run.id)

    assert (run.conclusion, conclusions(run)) == ("failure", {"one": "failure", "tell": "success"})
    assert log == [f"Error: Unable to resolve action `{uses}`, repository not found"]
    assert [(step.name, step.conclusion) for step in run.jobs[0].steps] == [("Set up job", "failure")]


@pytest.mark.slow
def test_missing_nested_action_fails_at_its_step(hub: GitHub) -> None:
    own = "name: Own\ndescription: '.'\nruns: {using: composite, steps: [{uses: acme/unknown@v2}]}\n"
    steps = [{"uses": "actions/checkout@v5"}, {"run": "echo before"}, {"uses": "./.github/actions/own"}]
    commit(hub, *steps, {"if": "always()", "run": "echo after"}, **{".github/actions/own/action.yml": own})

    with Runner(hub, {}) as runner:
        run = hub.dispatch("a.yml", by="alice")
        runner.wait()
        log = runner.log(run.id)

    assert (run.conclusion, conclusions(run)) == ("failure", {"one": "failure", "tell": "success"})
    assert {"before", "after"} <= set(log)


@pytest.mark.slow
def test_local_folder_replaces_action_download(hub: GitHub, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "sub"):
        folder.mkdir(exist_ok=True)
        (folder / "action.yml").write_text(SET_UP)
    nested = "name: N\ndescription: '.'\nruns: {using: composite, steps: [{uses: acme/other@v3, with: {word: deep}}]}\n"
    (tmp_path / "nested").mkdir()
    (tmp_path / "nested" / "action.yml").write_text(nested)
    own = (
        "name: Own\ndescription: '.'\nruns: {using: composite, steps: [{uses: acme/known/sub@v2, with: {word: in}}]}\n"
    )
    steps = [
        {"uses": "actions/checkout@v5"},
        {"uses": "acme/known@v1", "with": {"word": "out"}},
        {"uses": "./.github/actions/own"},
        {"uses": "acme/known/nested@v1"},
    ]
    commit(hub, *steps, **{".github/actions/own/action.yml": own})

    with Runner(hub, {}, actions={"acme/known": tmp_path, "acme/other": tmp_path}) as runner:
        run = hub.dispatch("a.yml", by="alice")
        runner.wait()
        log = runner.log(run.id)

    assert run.conclusion == "success", log
    assert [line for line in log if line.startswith("said ")] == ["said out", "said in", "said deep"]


OTHERS = """\
on: push
permissions: {contents: read}
jobs:
  one:
    runs-on: ubuntu-latest
    steps:
      - {uses: actions/checkout@v5}
      - {run: "cat cart.js"}
      - uses: actions/checkout@v5
        with: {repository: acme/operations, path: operations, token: "${{ secrets.READER }}"}
      - {run: "cat operations/ops.yml"}
      - {id: own, continue-on-error: true, uses: actions/checkout@v5, with: {repository: acme/operations, path: again}}
      - {run: "echo with its own token: ${{ steps.own.outcome }}"}
"""


def test_checkout_of_a_branch_of_another_repository_is_unsupported(hub: GitHub) -> None:
    hub.add_repository("acme/application")
    commit(hub, {"uses": "actions/checkout@v5", "with": {"repository": "acme/application", "ref": "old"}})

    with Runner(hub, {}) as runner:
        hub.dispatch("a.yml", by="alice")
        with pytest.raises(UnsupportedExpression, match="default branch"):
            runner.wait()


@pytest.mark.slow
def test_job_of_another_repository_has_its_own_files_secrets_and_token(hub: GitHub) -> None:
    """A checkout of a private repository needs a token that reads it: github.com/actions/checkout#usage."""
    application = hub.add_repository("acme/application")
    application.add_user("alice")
    hub.add_commit("ops.yml", "alice", files={"ops.yml": "version: 1\n", ".github/workflows/a.yml": OTHERS})
    hub.put_secret("READER", "operations-has-this-one")
    application.put_secret("READER", hub.add_token("github_pat_reader", "alice", ["contents:read"]))

    with Runner(application, {}) as runner:
        files = {"cart.js": "sum\n", ".github/workflows/a.yml": OTHERS}
        application.add_commit("Add the cart", "alice", files=files)
        runner.wait()
        (run,) = application.runs
        log = runner.log(run.id)

    assert (run.conclusion, hub.runs) == ("success", []), log
    assert {"sum", "version: 1", "with its own token: failure"} <= {*log}
    assert "Error: fatal: repository 'acme/operations' not found" in log
