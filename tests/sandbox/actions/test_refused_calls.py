"""Calls of workflow files that GitHub refuses, so that the run ends without a job."""

from typing import Any

import pytest

from sandbox.actions import Runner, UnsupportedExpression
from sandbox.actions.calls import MAX_LEVELS
from sandbox.github import GitHub
from tests.support.called_files import CALL, ONE, commit, hub, latest, runner, start, workflow_file

__all__ = ["hub", "runner"]


def test_calls_nest_and_loops_are_refused(hub: GitHub, runner: Runner) -> None:
    def chain(levels: int) -> dict[str, Any]:
        """Return files that call each other, one below the other, below main.yml and called.yml."""
        names = ["called", *(f"l{number}" for number in range(levels - 2))]
        calls: list[dict[str, Any]] = [{"in": {"uses": f"./.github/workflows/{name}.yml"}} for name in names[1:]]
        return {name: workflow_file(jobs) for name, jobs in zip(names, [*calls, {"leaf": {}}], strict=True)}

    whole = chain(MAX_LEVELS)
    commit(hub, whole.pop("called"), {"call": {"uses": CALL}}, whole)
    deepest = start(hub)
    deeper = chain(MAX_LEVELS + 1)
    commit(hub, deeper.pop("called"), {"call": {"uses": CALL}}, deeper)
    too_deep = start(hub)
    commit(hub, workflow_file({"again": {"uses": CALL}}), {"call": {"uses": CALL}})
    loop = start(hub)
    runner.wait()

    assert latest(deepest) == {" / ".join(["call", *["in"] * (MAX_LEVELS - 2), "leaf"]): "success"}
    assert [(run.conclusion, run.jobs) for run in (too_deep, loop)] == [("startup_failure", [])] * 2


READ = {"contents": "read"}
BROKEN: dict[str, tuple[Any, dict[str, Any]]] = {
    "missing file": (workflow_file(ONE), {"uses": "./.github/workflows/nowhere.yml"}),
    "version": (workflow_file(ONE), {"uses": f"{CALL}@main"}),
    "other folder": (workflow_file(ONE), {"uses": "./workflows/called.yml"}),
    "not YAML": ("on: workflow_call\njobs: {one: [", {}),
    "no jobs": ({"on": "workflow_call"}, {}),
    "job twice": ("on: workflow_call\njobs:\n" + "  one: {runs-on: ubuntu-latest, steps: []}\n" * 2, {}),
    "not callable": (workflow_file(ONE, on="workflow_dispatch"), {}),
    "unknown top key": (workflow_file(ONE, steps=[]), {}),
    "unknown job key": (workflow_file({"one": {"step": []}}), {}),
    "no runner": ({"on": "workflow_call", "jobs": {"one": {"steps": []}}}, {}),
    "need of a missing job": (workflow_file({"one": {"needs": "two"}}), {}),
    "expression": (workflow_file({"one": {"if": "github.ref == "}}), {}),
    "open expression": (workflow_file({"one": {"name": "${{ github.ref"}}), {}),
    "function": (workflow_file({"one": {"steps": [{"run": "echo ${{ toYAML(github) }}"}]}}), {}),
    "secret in a condition": (workflow_file({"one": {"if": "secrets.X != ''"}}), {}),
    "env in a group": (workflow_file({"one": {"concurrency": "x-${{ env.X }}"}}), {}),
    "permission of a job": (workflow_file({"one": {"permissions": {"issues": "write"}}}), {"permissions": READ}),
    "permission of a job that never runs": (
        workflow_file({"one": {"if": "false", "permissions": {"contents": "write"}}}),
        {"permissions": READ, "if": "false"},
    ),
    "permission of the file": (workflow_file(ONE, permissions={"actions": "read"}), {"permissions": READ}),
    "permission beyond the default": (workflow_file({"one": {"permissions": {"issues": "read"}}}), {}),
    "permission below a narrow caller": (
        workflow_file({"one": {"uses": "./.github/workflows/inner.yml", "permissions": {}}}),
        {"permissions": {"issues": "write"}},
    ),
    "unknown permission": (workflow_file({"one": {"permissions": {"secrets": "read"}}}), {}),
    "missing input": (
        workflow_file(ONE, on={"workflow_call": {"inputs": {"a": {"type": "string", "required": True}}}}),
        {},
    ),
    "unknown input": (workflow_file(ONE), {"with": {"a": "1"}}),
    "input of another type": (
        workflow_file(ONE, on={"workflow_call": {"inputs": {"a": {"type": "boolean"}}}}),
        {"with": {"a": "true"}},
    ),
    "input without a type": (workflow_file(ONE, on={"workflow_call": {"inputs": {"a": {"required": False}}}}), {}),
    "missing secret": (workflow_file(ONE, on={"workflow_call": {"secrets": {"A": {"required": True}}}}), {}),
    "unknown secret": (workflow_file(ONE), {"secrets": {"A": "${{ secrets.A }}"}}),
    "secret as input": (
        workflow_file(ONE, on={"workflow_call": {"inputs": {"a": {"type": "string"}}}}),
        {"with": {"a": "${{ secrets.A }}"}},
    ),
    "env of the caller": (workflow_file(ONE), {"env": {"A": "1"}}),
    "environment of the caller": (workflow_file(ONE), {"environment": "recovery"}),
    "name of a job": (workflow_file({"1-one": {}}), {}),
    "job without keys": ({"on": "workflow_call", "jobs": {"one": None}}, {}),
    "list of inputs": (workflow_file(ONE, on={"workflow_call": {"inputs": ["a"]}}), {}),
    "list of permissions": (workflow_file({"one": {"permissions": ["contents"]}}), {}),
    "list in with": (workflow_file(ONE), {"with": ["a"]}),
    "text as a step": (workflow_file({"one": {"steps": ["echo"]}}), {}),
    "long text with an expression": (
        workflow_file({"one": {"steps": [{"run": "#" * 21_000 + "${{ github.ref }}"}]}}),
        {},
    ),
    "output without a value": (workflow_file(ONE, on={"workflow_call": {"outputs": {"a": {"description": "x"}}}}), {}),
}
"""Called file and rules of the job that calls it; inner.yml asks for `issues: write`."""


@pytest.mark.parametrize(("called", "call"), BROKEN.values(), ids=BROKEN)
def test_broken_call_ends_run_without_a_job(
    hub: GitHub, runner: Runner, called: dict[str, Any], call: dict[str, Any]
) -> None:
    """The jobs of the caller do not start either. Another file on the same label is not concerned."""
    labeled = {"issues": {"types": ["labeled"]}}
    others = {
        "inner": workflow_file({"in": {"permissions": {"issues": "write"}}}),
        "answer": workflow_file({"answer": {}}, on=labeled),
    }
    commit(hub, called, {"gate": {}, "call": {"needs": "gate", "uses": CALL, **call}}, others, on=labeled)

    hub.label(hub.open_issue("Down", author="alice"), "recover", "alice")
    answer, run = hub.runs
    runner.wait()

    assert (run.status, run.conclusion, run.jobs) == ("completed", "startup_failure", [])
    assert answer.conclusion == "success"
    (why,) = runner.log(run.id)
    assert why.startswith("Invalid workflow file: .github/workflows/main.yml: ")


def test_permissions_of_called_jobs_may_equal_those_of_the_caller(hub: GitHub, runner: Runner) -> None:
    asks = {"one": {"permissions": {"issues": "write"}}, "none": {"permissions": {}}, "same": {}}
    inner = workflow_file({"in": {"permissions": {"issues": "read"}}})
    calls = {**asks, "deep": {"uses": "./.github/workflows/inner.yml"}}
    commit(hub, workflow_file(calls), {"call": {"uses": CALL, "permissions": {"issues": "write"}}}, {"inner": inner})
    granted = start(hub)
    hub.set_actions_policy(token_writes=True)
    commit(hub, workflow_file(asks), {"call": {"uses": CALL}})
    by_setting = start(hub)
    runner.wait()

    assert (granted.conclusion, by_setting.conclusion) == ("success", "success")
    assert list(latest(granted)) == ["call / one", "call / none", "call / same", "call / deep / in"]


@pytest.mark.parametrize(
    ("called", "call"),
    [
        (workflow_file(ONE), {"strategy": {"matrix": {"a": [1]}}}),
        (workflow_file({"one": {"container": "alpine"}}), {}),
        (workflow_file(ONE), {"uses": "acme/shared/.github/workflows/x.yml@v1"}),
        (workflow_file({"one": {"permissions": "read-all"}}), {}),
        (workflow_file({"one": {"env": {"A": "${{ toJSON(secrets) }}"}}}), {}),
    ],
)
def test_unsupported_call_is_reported(hub: GitHub, runner: Runner, called: Any, call: dict[str, Any]) -> None:
    commit(hub, called, {"call": {"uses": CALL, **call}})

    run = start(hub)

    with pytest.raises(UnsupportedExpression):
        runner.wait()
    assert (run.conclusion, run.jobs) == ("startup_failure", [])
