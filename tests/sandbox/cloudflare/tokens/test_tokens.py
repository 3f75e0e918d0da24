"""API tokens over the API, and the audit log of their use."""

from typing import Any

import pytest

from sandbox import Sandbox
from tests.sandbox.conftest import WORKER, Api, Releases

HOUR = {"since": "2000-01-01T00:00:00Z", "before": "2100-01-01T00:00:00Z"}


@pytest.fixture(params=["user", "account"])
def tokens(request: pytest.FixtureRequest, api: Api) -> Any:
    """Return a client of the token endpoints, for a user and for the account."""
    owner = request.param
    permission = "API Tokens Write" if owner == "user" else "Account API Tokens Write"
    admin = api.sandbox.add_token("admin", [permission], owner=owner)
    base = "/user/tokens" if owner == "user" else f"/accounts/{api.sandbox.account_id}/tokens"

    def call(method: str, path: str = "", **options: Any) -> Any:
        return api(method, base + path, **{"token": admin, **options})

    return call


def _policies(tokens: Any, *names: str) -> list[dict[str, Any]]:
    ids = {group["name"]: group["id"] for group in tokens("GET", "/permission_groups").result}
    return [{"effect": "allow", "permission_groups": [{"id": ids[name]} for name in names], "resources": {"*": "*"}}]


def test_tokens_are_created_verified_and_deleted(tokens: Any, api: Api, releases: Releases) -> None:
    wanted = {"name": "ci 2", "policies": _policies(tokens, "Workers Scripts Write")}
    made = tokens("POST", json=wanted).result
    assert tokens("GET", "/verify", token=made["value"]).result == {"id": made["id"], "status": "active"}
    assert api.script("GET", "deployments", token=made["value"]).status == 200
    assert "value" not in tokens("GET", f"/{made['id']}").result
    assert made["id"] in [token["id"] for token in tokens("GET").result]
    assert tokens("DELETE", f"/{made['id']}").result == {"id": made["id"]}
    assert api.script("GET", "deployments", token=made["value"]).error == (403, 10000)


def test_roll_replaces_value_and_keeps_token(tokens: Any, api: Api, releases: Releases) -> None:
    made = tokens("POST", json={"name": "ci", "policies": _policies(tokens, "Workers Scripts Read")}).result
    value = tokens("PUT", f"/{made['id']}/value", json={}).result
    assert tokens("GET", "/verify", token=value).result["id"] == made["id"]
    assert tokens("GET", "/verify", token=made["value"]).error == (403, 10000)


def test_token_is_disabled_and_enabled(tokens: Any) -> None:
    made = tokens("POST", json={"name": "ci", "policies": []}).result
    off = {"name": "ci", "policies": [], "status": "disabled"}
    assert tokens("PUT", f"/{made['id']}", json=off).result["status"] == "disabled"
    assert tokens("GET", "/verify", token=made["value"]).error == (403, 10000)
    tokens("PUT", f"/{made['id']}", json=off | {"status": "active"})
    assert tokens("GET", "/verify", token=made["value"]).status == 200


@pytest.mark.parametrize(
    "body",
    [
        {"name": "ci"},
        {"name": "ci", "policies": [{"effect": "allow", "permission_groups": [{"id": "x"}], "resources": {}}]},
        {"name": "ci", "policies": [1]},
    ],
)
def test_invalid_token_body_is_refused(tokens: Any, body: dict[str, Any]) -> None:
    assert tokens("POST", json=body).error == (400, 10026)
    assert tokens("PUT", "/none", json=body).error == (404, 1001)


def test_token_list_requires_permission(tokens: Any, api: Api) -> None:
    assert tokens("GET", token=api.sandbox.token).error == (403, 10000)


@pytest.fixture
def audit(api: Api) -> Any:
    reader = api.sandbox.add_token("auditor", ["Account Settings Read"])

    def read(**query: Any) -> Any:
        return api.get(f"/accounts/{api.sandbox.account_id}/logs/audit", token=reader, params=HOUR | query)

    return read


def test_audit_log_names_token_and_action(api: Api, audit: Any, releases: Releases, sandbox: Sandbox) -> None:
    api.script("PUT", "secrets", json={"name": "KEY", "text": "k4n4ry", "type": "secret_text"})
    api.deploy(releases.good)
    assert audit().result == []
    sandbox.clock.advance(60)
    answer = audit()
    deployed, put = answer.result
    assert (put["action"]["type"], put["action"]["result"], put["resource"]["type"]) == ("update", "success", "secrets")
    assert (deployed["action"]["result"], deployed["raw"]["status_code"]) == ("failure", 400)
    assert put["raw"]["uri"].endswith(f"/workers/scripts/{WORKER}/secrets")
    assert put["resource"]["product"] == "workers"
    assert put["actor"]["token_id"] == api.get("/user/tokens/verify").result["id"]
    assert (put["actor"]["context"], put["actor"]["email"]) == ("api_token", "ci@example.com")
    assert len(put["raw"]["cf_ray_id"]) == 20
    assert answer.response.json()["result_info"] == {"count": "2", "cursors": {"after": ""}}
    assert "k4n4ry" not in answer.response.text


def test_audit_log_is_filtered_and_paged(api: Api, audit: Any, releases: Releases, sandbox: Sandbox) -> None:
    sandbox.switches.audit_lag_seconds = 0
    for version in (releases.good, releases.bad, releases.good):
        api.deploy(version)
    api.script("PUT", "schedules", json=[])
    first = audit(limit=3, direction="asc")
    assert [row["raw"]["method"] for row in first.result] == ["POST"] * 3
    cursor = first.response.json()["result_info"]["cursors"]["after"]
    sandbox.switches.audit_cursor_after = False
    assert audit(limit=3, direction="asc").response.json()["result_info"] == {"count": "3", "cursor": cursor}
    sandbox.switches.audit_names_next_page = False
    assert audit(limit=3, direction="asc").response.json()["result_info"] == {"count": "3"}
    assert [row["resource"]["type"] for row in audit(cursor=cursor, direction="asc").result] == ["schedules"]
    assert len(audit(resource_type="deployments").result) == 3
    assert len(audit(**{"action_type.not": "create"}).result) == 1
    assert audit(before="2000-01-02").result == []
    assert audit(actor_shoe_size="44").error == (400, 10026)
    assert audit(since="yesterday").error == (400, 10026)
    assert api.get(f"/accounts/{sandbox.account_id}/logs/audit", params=HOUR).error == (403, 10000)
