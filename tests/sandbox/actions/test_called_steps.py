"""Steps of called workflow files under act: contexts, inputs, secrets, variables, token."""

import json
from typing import Any

import httpx
import pytest

from sandbox.actions import Runner
from sandbox.github import GitHub
from tests.support.called_files import CALL, commit, hub, latest, runner, start

__all__ = ["hub", "runner"]

HOSTILE = "it's $(touch pwned) `x` }} ${{ github.actor }} \\ \" é"
SAY = "import json, os; print('said', json.dumps({n.lower(): os.environ.get(n) for n in os.environ['NAMES'].split()}))"

SAY_BACKWARDS = SAY.replace("os.environ.get(n)", "os.environ[n][::-1]")
"""The log masks the secrets themselves."""

CONTEXTS = {
    "TEXT": "${{ inputs.text }}",
    "DRY": "${{ inputs.dry && 'yes' || 'no' }}",
    "WORKFLOW": "${{ github.workflow }}",
    "WORKFLOW_REF": "${{ github.workflow_ref }}",
    "FILE": "${{ job.workflow_ref }} ${{ job.workflow_file_path }}",
    "EVENT": "${{ github.event_name }} ${{ github.event.workflow }}",
    "OUTER": "[${{ env.OUTER }}]",
    "INNER": "${{ env.INNER }}",
    "VARIABLE": "${{ vars.COLOUR }}",
}
"""Variable → the expression that a step of the called workflow file sees."""


def say(**env: str) -> dict[str, Any]:
    """Return a job that prints its name and these variables as JSON."""
    names = " ".join(["GITHUB_JOB", *env])
    step = {"shell": "python3 -I {0}", "env": {"NAMES": names, **env}, "run": SAY}
    return {"runs-on": "ubuntu-latest", "steps": [step]}


def said(runner: Runner, run_id: int) -> list[dict[str, Any]]:
    """Return what the jobs printed."""
    lines = [line.removeprefix("said ") for line in runner.log(run_id) if line.startswith("said ")]
    return [json.loads(line) for line in lines]


@pytest.mark.slow
def test_steps_see_run_of_caller_and_inputs_as_data(hub: GitHub, runner: Runner) -> None:
    declared = {"text": {"type": "string"}, "dry": {"type": "boolean"}}
    job = say(**CONTEXTS)
    job["env"] = {"OF_JOB": "${{ inputs.text }}"}
    job["steps"][0]["env"]["NAMES"] += " OF_JOB GITHUB_WORKFLOW_REF"
    job["steps"].insert(0, {"if": "inputs.text == ''", "run": "echo never"})
    called = {
        "on": {"workflow_call": {"inputs": declared}},
        "name": "Called",
        "env": {"INNER": "${{ inputs.text }}"},
        "jobs": {"say": job},
    }
    hub.put_variable("COLOUR", "red")
    gate = {"outputs": {"text": "${{ github.event.inputs.text }}"}}
    call = {"needs": "gate", "uses": CALL, "with": {"text": "${{ needs.gate.outputs.text }}", "dry": True}}
    on = {"workflow_dispatch": {"inputs": {"text": {"type": "string"}}}}
    commit(hub, called, {"gate": gate, "call": call}, on=on, env={"OUTER": "out"}, name="Main")

    run = hub.dispatch("main.yml", {"text": HOSTILE}, by="alice")
    runner.wait()

    ref = "acme/operations/.github/workflows/{}.yml@refs/heads/main"
    assert latest(run) == {"gate": "success", "call / say": "success"}
    assert said(runner, run.id) == [
        {
            "github_job": "say",
            "text": HOSTILE,
            "dry": "yes",
            "workflow": "Main",
            "workflow_ref": ref.format("main"),
            "file": f"{ref.format('called')} .github/workflows/called.yml",
            "event": "workflow_dispatch .github/workflows/main.yml",
            "outer": "[]",
            "inner": HOSTILE,
            "variable": "red",
            "of_job": HOSTILE,
            "github_workflow_ref": ref.format("main"),
        }
    ]
    assert "never" not in runner.log(run.id)
    assert [step.name for step in run.jobs[1].steps][-2:] == [f"Run {SAY}"[:100], "Complete job"]


@pytest.mark.slow
def test_called_job_has_only_secrets_that_its_caller_passes(hub: GitHub, runner: Runner) -> None:
    """An environment adds secrets to inherited ones, and replaces the values of those passed by name."""
    environment = hub.add_environment("recovery")
    hub.put_secret("SHARED", "shared-of-repository")
    hub.put_secret("ONLY", "only-of-repository")
    hub.put_secret("SHARED", "shared-of-environment", environment)
    hub.put_secret("OWN", "own-of-environment", environment)
    names = ("shared", "only", "own")
    show = {name.upper(): f"${{{{ secrets.{name} }}}}" for name in names}
    job = say(CALL="${{ inputs.call }}", **show)
    job["steps"][0] |= {"run": SAY_BACKWARDS}
    on = {"workflow_call": {"inputs": {"call": {"type": "string"}}, "secrets": dict.fromkeys(names)}}
    called = {"on": on, "jobs": {"say": {**job, "environment": "recovery"}}}
    outer = {"on": on, "jobs": {"in": {"uses": CALL, "secrets": "inherit", "with": {"call": "${{ inputs.call }}"}}}}
    below = "./.github/workflows/outer.yml"
    passed = {"SHARED": "${{ secrets.shared }}", "OWN": "${{ secrets.OWN }}"}
    calls: dict[str, Any] = {
        "inherit": {"secrets": "inherit"},
        "named": {"secrets": passed},
        "none": {},
        "below": {"uses": below, "secrets": {"ONLY": "${{ secrets.ONLY }}"}},
    }
    main = {name: {"uses": CALL, "with": {"call": name}, **rules} for name, rules in calls.items()}
    commit(hub, called, main, {"outer": outer})

    run = start(hub)
    runner.wait()

    found = {each["call"][::-1]: [each[name][::-1] for name in names] for each in said(runner, run.id)}
    assert found == {
        "inherit": ["shared-of-environment", "only-of-repository", "own-of-environment"],
        "named": ["shared-of-environment", "", ""],
        "none": ["", "", ""],
        "below": ["", "only-of-repository", ""],
    }
    assert run.conclusion == "success"


ASK = """exec python3 -c '
import os, urllib.error, urllib.request as requests
url, headers = os.environ["GITHUB_API_URL"] + "/repos/acme/operations/issues", {"Authorization": "token " + os.environ["G"]}
def ask(data):
    try: return requests.urlopen(requests.Request(url, data=data, headers=headers)).status
    except urllib.error.HTTPError as error: return error.code
print("api", os.environ["GITHUB_JOB"], ask(None), ask(b"{\\"title\\": \\"x\\"}"))'
"""


@pytest.mark.slow
def test_token_of_called_job_has_its_permissions_or_those_of_the_caller(hub: GitHub, runner: Runner) -> None:
    asking = {"runs-on": "ubuntu-latest", "env": {"G": "${{ github.token }}"}, "steps": [{"run": ASK}]}
    jobs = {"inherits": asking, "narrows": {**asking, "permissions": {"issues": "read"}}}
    call = {"uses": CALL, "permissions": {"issues": "write"}}
    commit(hub, {"on": "workflow_call", "jobs": jobs}, {"call": call})

    run = start(hub)
    runner.wait()

    assert {"api inherits 200 201", "api narrows 200 403"} <= set(runner.log(run.id))
    for job in range(2):
        token = {"authorization": f"token ghs_run{run.id}x1j0j{job}"}
        assert httpx.get(f"{hub.api_url}/repos/acme/operations", headers=token).status_code == 401
