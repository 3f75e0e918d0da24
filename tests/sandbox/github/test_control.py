"""Control of the sandbox's GitHub by other processes, and its self-description."""

from datetime import datetime
from typing import Any

import httpx
import pytest

from sandbox import Sandbox
from sandbox.github import GitHub
from tests.sandbox.github.conftest import Api


def control(api: Api, name: str, /, **body: Any) -> Any:
    response = api.http.post(f"{api.github.control_url}/{name}", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def test_environment_variables_locate_github(sandbox: Sandbox) -> None:
    hub = sandbox.github
    assert hub.environ() == {
        "GITHUB_API_URL": hub.api_url,
        "GITHUB_SERVER_URL": hub.api_url,
        "GITHUB_REPOSITORY": "acme/operations",
        "GITHUB_TOKEN": hub.token,
    }
    assert sandbox.describe()["github"]["api_url"] == hub.api_url


def test_repository_name_is_configurable() -> None:
    with Sandbox(repository="you/ops") as sandbox:
        assert sandbox.github.environ()["GITHUB_REPOSITORY"] == "you/ops"
        headers = {"authorization": f"Bearer {sandbox.github.token}"}
        answer = httpx.get(f"{sandbox.github.api_url}/repos/You/Ops", headers=headers, verify=False)
    assert answer.json()["full_name"] == "you/ops"


def test_github_describes_itself(api: Api) -> None:
    described = api.http.get(api.github.control_url).json()
    assert described == api.github.describe()
    assert {"login": "tina", "type": "User", "role": "triage"} in described["users"]


def test_incident_is_seeded_over_http(api: Api, workflow: str) -> None:
    control(api, "add_user", login="bob", role="maintain")
    number = control(api, "open_issue", title="Down", labels=["incident"], author="bob", at="2026-11-20T10:00:00Z")
    payload = control(api, "label", number=number, label="recover:rollback-worker", by="bob")
    assert payload["label"]["name"] == "recover:rollback-worker"
    control(api, "comment", number=number, body="on it", by="bob")
    control(api, "unlabel", number=number, label="recover:rollback-worker", by="bob")
    control(api, "close", number=number, by="bob")
    control(api, "reopen", number=number, by="bob")
    run = control(api, "dispatch", workflow="rollback-worker.yml", inputs={"service": "api"}, by="bob")
    assert api.get(f"actions/runs/{run['id']}")["actor"]["login"] == "bob"
    control(api, "put_secret", name="X", value="1")
    assert control(api, "secrets") == {"X": "1"}
    (issue,) = api.http.get(f"{api.github.control_url}/issues").json()
    assert (issue["created_at"], issue["state"]) == ("2026-11-20T10:00:00Z", "open")
    delivered = api.http.get(f"{api.github.control_url}/deliveries").json()
    assert [one["event"] for one in delivered][-2:] == ["issues", "workflow_dispatch"]


def test_invalid_seed_is_refused_over_http(api: Api) -> None:
    url = api.github.control_url
    bad: list[tuple[str, Any]] = [
        ("label", {"number": 1}),
        ("open_issue", {"title": "x", "author": "nobody"}),
        ("open_issue", []),
        ("unknown", {}),
        ("dispatch", {"workflow": "nope.yml"}),
    ]
    assert [api.http.post(f"{url}/{name}", json=body).status_code for name, body in bad] == [400, 400, 400, 404, 400]


def test_control_applies_to_github_only(api: Api, sandbox: Sandbox) -> None:
    url = api.github.control_url
    control(api, "switches", private=False)
    assert api.github.switches.private is False
    control(api, "faults", method="GET", status=503, message="down")
    assert api.http.get(f"{api.github.api_url}/user").json()["message"] == "down"
    assert sandbox.faults.rules == []
    control(api, "clock", advance=60)
    assert api.http.get(f"{url}/clock").json() == api.http.get(sandbox.clock_url).json()
    assert [record["path"] for record in api.http.get(f"{url}/requests").json()] == ["/user"]
    assert api.http.get(f"{url}/edge").status_code == 404


def test_invalid_seed_raises(github: GitHub, incident: int) -> None:
    with pytest.raises(ValueError, match='no user "nobody"'):
        github.comment(incident, "x", "nobody")
    with pytest.raises(ValueError, match="already has the label"):
        github.label(incident, "incident", "alice")
    with pytest.raises(ValueError, match="time zone"):
        github.comment(incident, "x", "alice", at=datetime(2026, 11, 20))  # noqa: DTZ001
    with pytest.raises(ValueError, match="does not have the label"):
        github.unlabel(incident, "sev1", "alice")


def test_requests_are_recorded_without_token(api: Api, incident: int) -> None:
    api("POST", f"issues/{incident}/comments", json={"body": "x"})
    (record,) = api.github.requests
    assert (record.method, record.status, record.body) == ("POST", 201, {"body": "x"})
    assert record.headers["authorization"] == "Bearer ***"
