"""Single-job workflows for act: literal `needs`, the run's own commit, collected outputs."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.actions.act import OUTPUT_STEP, OtherRepository, single_job
from sandbox.actions.expressions import EXPRESSION
from sandbox.actions.local_files import write_files
from sandbox.actions.plan import job_needs, parse_workflow
from tests.support.workflows import generated

WORKFLOWS = [
    path for path in sorted((generated() / ".github" / "workflows").glob("*.yml")) if path.name != "weekly.yml"
]
"""All but `weekly.yml` of this repository, which has a matrix: no drill runs it."""
OUTPUTS = Path("/tmp/outputs")
HOSTILE = "it's }} ${{ github.token }} \\ \" \n é 😀"
CONTEXTS: dict[str, Any] = {
    "github": {"sha": "5" * 40, "triggering_actor": "tina"},
    "needs": {"gate": {"result": "success", "outputs": {"text": HOSTILE}}},
}


def copy_job(job: dict[str, Any], **top: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        single_job({"on": "push", **top, "jobs": {"one": job}}, "one", CONTEXTS, OUTPUTS)
    )
    return found


def expressions(value: Any, key: str = "") -> Iterator[str]:
    """Yield expressions at any depth; programs may contain the same words as text."""
    if isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from expressions(inner, str(name))
    elif isinstance(value, str):
        yield from [value] if key == "if" else [found[1] for found in EXPRESSION.finditer(value)]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_single_job_keeps_steps_of_shipped_workflows(path: Path) -> None:
    workflow = parse_workflow(path.read_text())
    for name, job in workflow["jobs"].items():
        if "uses" in job:  # a call runs no step
            continue
        needs = {each: {"result": "success", "outputs": {}} for each in job_needs(job)}

        copy = json.loads(single_job(workflow, name, {**CONTEXTS, "needs": needs}, OUTPUTS))

        (kept,) = copy["jobs"].values()
        steps = [step for step in kept["steps"] if step.get("id") != OUTPUT_STEP]
        assert kept.keys() - {"strategy"} == {"runs-on", "env", "steps"}
        assert kept.get("strategy") == job.get("strategy")
        same = [at for at, step in enumerate(job["steps"]) if "repository" not in (step.get("with") or {})]
        assert len(steps) == len(job["steps"])
        assert [steps[at].get("uses") for at in same] == [job["steps"][at].get("uses") for at in same]
        assert [steps[at].get("run") for at in same] == [job["steps"][at].get("run") for at in same]
        assert len(kept["steps"]) - len(steps) == ("outputs" in job)
        assert [found for found in expressions(kept) if re.search(r"\bneeds\b", re.sub("'[^']*'", "", found))] == []


def test_needs_and_commit_become_literals() -> None:
    steps = [
        {
            "if": "needs.gate.result == 'success'",
            "env": {"A": "${{ needs.gate.outputs.text }} needs.gate", "B": "${{ steps.x.outputs.needs }}"},
            "run": "echo ${{ github.sha }} ${{ github.triggering_actor }} ${{ github.token }} '${{ 'needs.gate' }}'",
        }
    ]

    (step,) = copy_job({"steps": steps})["jobs"]["one"]["steps"]

    literal, _, rest = step["env"]["A"].partition("}}")
    assert step["if"] == """fromJSON('"success"') == 'success'"""
    assert rest == " needs.gate"
    assert "${{" not in literal.removeprefix("${{")
    assert json.loads(literal.removeprefix("${{ fromJSON('").removesuffix("') ")) == HOSTILE
    assert step["env"]["B"] == steps[0]["env"]["B"]  # type: ignore[index]
    assert step["run"] == (
        f"""echo ${{{{ fromJSON('"{"5" * 40}"') }}}} ${{{{ fromJSON('"tina"') }}}} """
        "${{ github.token }} '${{ 'needs.gate' }}'"
    )


def test_job_variable_from_needs_moves_to_steps() -> None:
    env = {"A": "${{ needs.gate.result }}", "B": "${{ github.ref }}"}

    job = copy_job({"env": env, "steps": [{"run": "a"}, {"run": "b", "env": {"A": "own"}}]})["jobs"]["one"]

    assert job["env"] == {"B": "${{ github.ref }}"}
    assert [step["env"]["A"] for step in job["steps"]] == ["${{ fromJSON('\"success\"') }}", "own"]


def test_checkout_ref_is_dropped_and_outputs_are_written() -> None:
    steps = [
        {"uses": "actions/checkout@v5", "with": {"ref": "main", "persist-credentials": False}},
        {"uses": "acme/release@v1", "with": {"ref": "v1"}},
    ]

    job = copy_job({"steps": steps, "outputs": {"a": "${{ steps.s.outputs.a }}", "b": "${{ needs.gate.result }}"}})

    first, second, last = job["jobs"]["one"]["steps"]
    assert (first["with"], second["with"]) == ({"persist-credentials": False}, {"ref": "v1"})
    assert last["env"] == {"OUTPUT_0": "${{ steps.s.outputs.a }}", "OUTPUT_1": "${{ fromJSON('\"success\"') }}"}
    assert last["run"].endswith(f"> '{OUTPUTS}'")
    assert last["if"] == "always()"


@pytest.mark.parametrize("name", ["Acme/App", "${{ 'Acme/App' }}"])
@pytest.mark.parametrize("known", [True, False])
def test_checkout_of_another_repository_clones_its_folder(tmp_path: Path, known: bool, name: str) -> None:
    app, workspace = tmp_path / "app", tmp_path / "workspace"
    write_files({"db/1.sql": b"SELECT 1"}, app)
    step = {"if": "true", "uses": "actions/checkout@v7", "with": {"repository": name, "path": "app"}}
    workflow = {"on": "push", "jobs": {"one": {"steps": [step]}}}
    others = {"acme/app": OtherRepository(app, is_on_github=False)} if known else {}

    (made,) = json.loads(single_job(workflow, "one", CONTEXTS, OUTPUTS, others))["jobs"]["one"]["steps"]

    assert (made.get("uses"), made["if"]) == (None, "true")
    environ = {**os.environ, **made["env"], "GITHUB_WORKSPACE": str(workspace)}
    workspace.mkdir()
    done = subprocess.run(["sh", "-e", "-c", made["run"]], env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is known
    assert done.stdout == ("" if known else "Error: this runner has no repository Acme/App\n")
    assert (workspace / "app/db/1.sql").exists() is known
