"""Step that runs `tell` from its file, and answers by itself if it cannot."""

import ast
import json
import re
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from ops.setup.workflows import SCRIPTS, load_scripts, render_scripts
from tests.setup.test_workflows import CONFIGURATIONS, config
from tests.support.prepared_python import fresh_python
from tests.support.workflows import generated
from tests.templates.scripts import COMMENTS, Step, Workflow
from tests.templates.test_tell import FAILED, SKIPPED
from tests.templates.test_tell_request import BUTTON

PATH = str(SCRIPTS["tell"])
PROGRAM = dict(render_scripts(config(), {}))[SCRIPTS["tell"]]
NEEDS = json.dumps({"gate": FAILED, "recovery-production": SKIPPED})
CONTENTS = {"path": "/repos/*/*/contents/**", "times": None}


def load(workflow: Workflow, payload: Mapping[str, Any], program: str | None = PROGRAM, needs: str = NEEDS) -> Step:
    """Run the step in a repository whose default branch has moved on since, to another program."""
    sha = workflow.github.add_commit("Set up", "alice", files={PATH: program})
    workflow.github.add_commit("Moved on", "alice", files={PATH: "raise SystemExit(99)"})
    return workflow.step("load", payload, NEEDS=needs, GITHUB_WORKFLOW_SHA=sha)


@pytest.mark.parametrize("is_fresh", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_program_of_the_same_commit_answers(workflow: Workflow, is_fresh: bool) -> None:
    workflow.python = fresh_python if is_fresh else workflow.python

    done = load(workflow, workflow.label())

    (body,) = workflow.bodies
    assert (done.code, done.err) == (0, "")
    assert body.startswith("**Failed before the run began, and nothing was changed:**")
    assert f"`./run ops label recover:api --incident {workflow.incident}`" in body


@pytest.mark.parametrize("result", ["skipped", "cancelled"])
def test_program_has_the_facts_of_its_repository(workflow: Workflow, result: str) -> None:
    """The gate names the job that may act: another one that fails changes nothing. Not for FortuneT."""
    path = CONFIGURATIONS["ten_services"]
    outputs = {"go": "true", "attempt": "1", "job": "recovery-eu", "environment": "eu", "power": "recovery"}
    needs = {"gate": {"result": "success", "outputs": outputs}, "recovery-eu": {"result": result, "outputs": {}}}

    load(
        workflow,
        workflow.label(),
        (generated(path) / PATH).read_text(),
        json.dumps(needs | {"check-outage": FAILED, "recovery-prod": SKIPPED}),
    )

    (body,) = workflow.bodies
    assert ("nothing was changed" in body.partition(":")[0]) == (result == "skipped")
    assert f"which needs `{config(path).environments['eu'].token}`" in body


@pytest.mark.parametrize(
    ("program", "fault", "why"),
    [
        (None, {}, "(HTTPError 404)"),
        ("it is no Python", {}, "(SyntaxError)"),
        ("raise ValueError('@everyone')", {}, "(ValueError)"),
        (PROGRAM, {"status": 403}, "(HTTPError 403)"),
        pytest.param(PROGRAM, {"status": 503}, "(HTTPError 503)", marks=pytest.mark.slow),
        pytest.param(PROGRAM, {"lost": "after"}, "(", marks=pytest.mark.slow),
        pytest.param(PROGRAM, {"truncate": 900}, "(IncompleteRead)", marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_step_answers_without_the_program(
    workflow: Workflow, program: str | None, fault: Mapping[str, Any], why: str
) -> None:
    if fault:
        workflow.github.fault(**CONTENTS, **fault)

    done = load(workflow, workflow.label(), program)

    (body,) = workflow.bodies
    assert done.code == 1
    assert f"/actions/runs/{workflow.environ.get('GITHUB_RUN_ID', 7001)}/attempts/1)" in body
    assert "`./run ops status`" in body
    assert why in body
    assert "everyone" not in body
    assert done.out.startswith("::error title=request::")
    assert done.out.count("\n") == 1


@pytest.mark.slow
def test_short_failure_of_github_is_waited_for(workflow: Workflow) -> None:
    workflow.github.fault(path=CONTENTS["path"], times=2, status=502)

    done = load(workflow, workflow.label())

    assert (done.code, len(workflow.bodies)) == (0, 1)
    assert "nothing was changed" in workflow.bodies[0]


@pytest.mark.parametrize(
    ("incident", "comments"), [("{}", 1), ("#{}", 1), ("", 0), ("https://github.com/acme/other/issues/{}", 0)]
)
def test_button_is_answered_on_its_incident(workflow: Workflow, incident: str, comments: int) -> None:
    workflow.github.add_commit("Button", "alice", files={".github/workflows/rollback-worker.yml": BUTTON})
    inputs = {"service": "api", "incident": incident.format(workflow.incident)}
    payload = workflow.github.dispatch("rollback-worker.yml", inputs, "alice").payload

    done = load(workflow, payload, None)

    assert (done.code, len(workflow.bodies)) == (1, comments)
    assert "::error title=request::" in done.out


def test_comment_that_cannot_be_written_stays_in_the_log(workflow: Workflow) -> None:
    workflow.github.fault(path=COMMENTS, times=None, status=403)

    done = load(workflow, workflow.label(), None)

    assert (done.code, workflow.bodies) == (1, [])
    assert done.out.startswith("::error title=request::")


def test_closed_issue_and_pull_request_get_no_comment(workflow: Workflow) -> None:
    payload = workflow.label()
    pull = {**payload, "issue": {**payload["issue"], "pull_request": {}}}

    for each in (pull, {**payload, "action": "closed"}):
        assert load(workflow, each, None).code == 1

    assert workflow.bodies == []


def test_loader_is_short() -> None:
    assert load_scripts()["load"].count("\n") < 65


@pytest.mark.sampled
@pytest.mark.parametrize("script", load_scripts())
def test_script_supports_python_3_9(script: str) -> None:
    ast.parse(load_scripts()[script], feature_version=(3, 9))


@pytest.mark.slow
@pytest.mark.parametrize("script", load_scripts())
def test_script_uses_no_expression_and_only_standard_library(script: str) -> None:
    text = load_scripts()[script]

    assert "${{" not in text
    found = set(re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE))
    assert found <= sys.stdlib_module_names
