"""Workflows, dispatches, runs and jobs in GitHub's API."""

from typing import Any

import pytest

from tests.sandbox.github.conftest import Api

DISPATCHES = "actions/workflows/rollback-worker.yml/dispatches"


def test_workflows_are_files_of_default_branch(api: Api, workflow: str) -> None:
    (listed,) = api.get("actions/workflows")["workflows"]
    assert (listed["name"], listed["path"], listed["state"]) == ("Roll back a Worker", workflow, "active")
    assert api.get(f"actions/workflows/{listed['id']}") == listed == api.get("actions/workflows/rollback-worker.yml")
    assert api.refusal("GET", "actions/workflows/nope.yml")[0] == 404
    api.github.add_commit("Away", "alice", files={workflow: None})
    assert api.get("actions/workflows")["total_count"] == 0


def test_dispatch_is_delivered_with_defaults_and_starts_run(api: Api, workflow: str, alice: str) -> None:
    body = {"ref": "main", "inputs": {"service": "api", "dry_run": False}}
    answer = api("POST", DISPATCHES, token=alice, json=body)
    assert (answer.status_code, answer.content) == (204, b"")
    event, payload = api.github.deliveries[-1]
    inputs = {"service": "api", "reason": "none", "dry_run": "false", "percent": ""}
    assert (event, payload["inputs"], payload["ref"]) == ("workflow_dispatch", inputs, "refs/heads/main")
    assert (payload["workflow"], payload["sender"]["login"]) == (workflow, "alice")
    (run,) = api.get("actions/runs")["workflow_runs"]
    assert (run["event"], run["status"], run["actor"]["login"]) == ("workflow_dispatch", "queued", "alice")
    assert api.github.runs[0].payload is payload


def test_dispatch_returns_run_on_request(api: Api, workflow: str) -> None:
    asked = {"ref": "main", "inputs": {"service": "api"}, "return_run_details": True}
    details = api.ok("POST", DISPATCHES, json=asked)
    run = api.get(details["run_url"].removeprefix(api.github.api_url))
    assert (run["id"], run["html_url"]) == (details["workflow_run_id"], details["html_url"])
    api.github.switches.dispatch_answers_run_details = False
    assert api.refusal("POST", DISPATCHES, json=asked) == (422, '"return_run_details" is not a permitted key.')


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({"inputs": {}}, '"ref" wasn\'t supplied.'),
        ({"ref": "nope", "inputs": {"service": "api"}}, "No ref found for: nope"),
        ({"ref": "main"}, "Required input 'service' not provided"),
        ({"ref": "main", "inputs": {"service": "api", "target": "x"}}, 'Unexpected inputs provided: ["target"]'),
        (
            {"ref": "main", "inputs": {"service": "apj"}},
            "Provided value 'apj' for input 'service' not in the list of allowed values",
        ),
        (
            {"ref": "main", "inputs": {"service": "api", "dry_run": "maybe"}},
            "Provided value 'maybe' for input 'dry_run' not in the list of allowed values",
        ),
        (
            {"ref": "main", "inputs": {"service": "api", "percent": "x"}},
            "Provided value 'x' for input 'percent' is not a number",
        ),
        ({"ref": "old", "inputs": {}}, "Workflow does not have 'workflow_dispatch' trigger"),
    ],
)
def test_invalid_dispatch_is_refused(api: Api, workflow: str, body: Any, refusal: str) -> None:
    api.github.add_commit("Before buttons", "alice", branch="old", files={workflow: "on: push\n"})
    assert api.refusal("POST", DISPATCHES, json=body) == (422, refusal)
    assert api.github.runs == []


def test_dispatch_with_too_many_inputs_is_refused(api: Api, workflow: str) -> None:
    body = {"ref": "main", "inputs": {f"input{number}": "" for number in range(26)}}
    status, message = api.refusal("POST", DISPATCHES, json=body)
    assert (status, "No more than 25" in message) == (422, True)


def test_python_dispatch_is_validated_like_api(api: Api, workflow: str) -> None:
    assert api.github.dispatch("rollback-worker.yml", {"service": "web"}, "alice").payload["inputs"]["service"] == "web"
    with pytest.raises(ValueError, match="not in the list"):
        api.github.dispatch("rollback-worker.yml", {"service": "apj"}, "alice")
    with pytest.raises(ValueError, match="no workflow"):
        api.github.dispatch("nope.yml", {}, "alice")


def test_repository_dispatch_is_delivered(api: Api) -> None:
    body = {"event_type": "recover", "client_payload": {"incident": 42}}
    assert api("POST", "dispatches", json=body).status_code == 204
    event, payload = api.github.deliveries[-1]
    assert (event, payload["action"], payload["client_payload"]) == ("repository_dispatch", "recover", {"incident": 42})
    too_many = {"event_type": "x", "client_payload": {str(number): 1 for number in range(11)}}
    assert api.refusal("POST", "dispatches", json=too_many)[0] == 422


def test_runs_are_newest_first_and_filtered(api: Api, workflow: str, incident: int) -> None:
    hub = api.github
    dispatched = hub.dispatch("rollback-worker.yml", {"service": "api"}, "alice")
    payload = hub.label(incident, "recover:rollback-worker", "tina")
    labelled = hub.start_run("rollback-worker.yml", "issues", payload, "tina")
    hub.set_run(labelled.id, "completed", "failure")

    def ids(query: str) -> list[int]:
        return [run["id"] for run in api.get(f"actions/runs?{query}")["workflow_runs"]]

    assert ids("") == [labelled.id, dispatched.id]
    assert ids("event=issues") == ids("status=failure") == ids("actor=tina") == [labelled.id]
    assert ids("status=queued") == [dispatched.id]
    assert ids("branch=nope") == []
    assert api.get("actions/workflows/rollback-worker.yml/runs")["total_count"] == 2
    assert [run.run_number for run in hub.runs] == [1, 2]


def test_jobs_and_steps_belong_to_attempt(api: Api, workflow: str) -> None:
    hub = api.github
    run = hub.dispatch("rollback-worker.yml", {"service": "api"}, "alice")
    hub.add_job(run.id, "recover", conclusion="failure", steps=["Check", "Recover"])
    hub.set_run(run.id, "completed", "failure")
    hub.clock.advance(60)
    hub.rerun(run.id, "tina")
    hub.add_job(run.id, "recover", status="in_progress", conclusion=None)
    jobs = f"actions/runs/{run.id}/jobs"
    assert [job["run_attempt"] for job in api.get(jobs)["jobs"]] == [2]
    assert [job["run_attempt"] for job in api.get(f"{jobs}?filter=all")["jobs"]] == [1, 2]
    (first,) = api.get(f"actions/runs/{run.id}/attempts/1/jobs")["jobs"]
    assert ([step["name"] for step in first["steps"]], first["conclusion"]) == (["Check", "Recover"], "failure")
    assert api.refusal("GET", f"actions/runs/{run.id}/attempts/3/jobs")[0] == 404
    again = api.get(f"actions/runs/{run.id}")
    assert (again["run_attempt"], again["actor"]["login"], again["triggering_actor"]["login"]) == (2, "alice", "tina")
