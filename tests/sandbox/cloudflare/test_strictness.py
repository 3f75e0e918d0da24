"""Strictness of the API: routes, tokens, request bodies and error responses."""

from typing import Any

import pytest

from sandbox import Sandbox
from tests.sandbox.conftest import WORKER, Api, Releases

READ = {"Workers Scripts Read"}
WRITE = {"Workers Scripts Write"}


def test_unknown_route_is_answered_and_recorded(api: Api, sandbox: Sandbox) -> None:
    assert api.get("/radar/1").error == (404, 7003)
    assert [(record.method, record.path) for record in sandbox.unknown_requests] == [("GET", "/client/v4/radar/1")]


def test_path_outside_api_is_unknown_route(api: Api, sandbox: Sandbox) -> None:
    response = api.http.get(sandbox.api_url.removesuffix("/client/v4") + "/accounts")
    assert (response.status_code, response.json()["errors"][0]["code"]) == (404, 7003)
    assert len(sandbox.unknown_requests) == 1


def test_wrong_method_returns_405(api: Api, releases: Releases) -> None:
    answer = api.script("PUT", "deployments", json={})
    assert answer.error == (405, 7001)
    assert api.sandbox.unknown_requests


def test_responses_are_json_with_ray_id(api: Api, releases: Releases) -> None:
    for answer in (api.script("GET", "deployments"), api.get("/radar/1"), api.get("scripts/none/deployments")):
        assert answer.response.headers["content-type"] == "application/json"
        assert len(answer.response.headers["cf-ray"]) == 20


@pytest.mark.parametrize(
    "header",
    [None, "Bearer unknown", "Bearer", "Basic sandbox-workers-pages-writing", "Bearer expired", "Bearer powerless"],
)
def test_request_without_valid_token_is_an_authentication_error(
    api: Api, releases: Releases, header: str | None
) -> None:
    api.sandbox.add_token("expired", WRITE, expired=True)
    api.sandbox.add_token("powerless", {"Workers KV Storage Write"})
    url = f"{api.sandbox.api_url}/accounts/{api.sandbox.account_id}/workers/scripts/{WORKER}/deployments"
    response = api.http.get(url, headers={} if header is None else {"authorization": header})
    assert (response.status_code, response.json()["errors"][0]["code"]) == (403, 10000)


def test_authentication_error_can_be_401(api: Api) -> None:
    api.sandbox.switches.auth_error_status = 401
    assert api.get("scripts/any/deployments", token="unknown").error == (401, 10000)


def test_read_token_cannot_write(api: Api, releases: Releases) -> None:
    token = api.sandbox.add_token("reader", READ)
    assert api.script("GET", "deployments", token=token).status == 200
    body = {"strategy": "percentage", "versions": [{"version_id": releases.good, "percentage": 100}]}
    assert api.script("POST", "deployments", token=token, json=body).error == (403, 10000)


def test_other_account_is_forbidden_and_malformed_is_unknown(api: Api) -> None:
    assert api.get(f"/accounts/{'a' * 32}/workers/scripts/{WORKER}/deployments").error == (403, 10000)
    assert api.get(f"/accounts/mine/workers/scripts/{WORKER}/deployments").error == (404, 7003)


@pytest.mark.parametrize("path", ["deployments", "versions", "secrets", "settings", "script-settings", "subdomain"])
def test_missing_worker_returns_10007(api: Api, path: str) -> None:
    assert api.script("GET", path).error == (404, 10007)


GOOD: dict[str, Any] = {"strategy": "percentage", "versions": [{"version_id": "GOOD", "percentage": 100}]}


def _versions(*percentages: Any) -> dict[str, Any]:
    shares = [{"version_id": name, "percentage": share} for name, share in zip(["GOOD", "BAD", "X"], percentages)]  # noqa: B905
    return {"versions": shares}


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "change",
    [
        {"strategy": "blue_green"},
        {"strategy": None},
        {"strategy": 1},
        {"extra": True},
        {"versions": []},
        {"versions": {}},
        {"versions": ["GOOD"]},
        {"versions": [{"version_id": "GOOD"}]},
        {"versions": [{"version_id": "GOOD", "percentage": 100, "note": ""}]},
        _versions(99),
        _versions(100.5),
        _versions("100"),
        _versions(True),
        _versions(60, 60),
        _versions(-10, 110),
        _versions(50, 25, 25),
        {"versions": [{"version_id": "GOOD", "percentage": 50}] * 2},
        {"annotations": "text"},
        {"annotations": {"workers/message": 1}},
        {"annotations": {"workers/triggered_by": "rollback"}},
        {"code_update_strategy": "immediate"},
        {"code_update_strategy": {}},
        {"code_update_strategy": {"mode": "now"}},
        {"code_update_strategy": {"mode": "immediate", "max_delay": 0}},
        {"code_update_strategy": {"mode": "deferred", "max_delay": 86_401}},
        {"code_update_strategy": {"mode": "deferred", "max_delay": 1.5}},
    ],
)
def test_invalid_deployment_is_refused_without_effect(api: Api, releases: Releases, change: dict[str, Any]) -> None:
    body = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    for share in body["versions"]:
        if isinstance(share, dict):
            share["version_id"] = {"GOOD": releases.good, "BAD": releases.bad}.get(share["version_id"], "X")
    assert api.script("POST", "deployments", json=body).error == (400, 10026)
    assert api.sandbox.live(WORKER) == {releases.bad: 100}


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"{}", "text/plain"),
        (b"{}", None),
        (b"", "application/json"),
        (b"{", "application/json"),
        (b"\xff", "application/json"),
    ],
)
def test_body_without_json_is_refused(api: Api, releases: Releases, content: bytes, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}
    assert api.script("POST", "deployments", content=content, headers=headers).error == (400, 10026)


@pytest.mark.parametrize("body", [[], "text", 1])
def test_json_without_object_is_refused(api: Api, releases: Releases, body: Any) -> None:
    assert api.script("POST", "deployments", json=body).error == (400, 10026)


def test_chunked_body_is_refused(api: Api, sandbox: Sandbox) -> None:
    answer = api.script("POST", "deployments", content=iter([b"{}"]))
    assert answer.status == 411
