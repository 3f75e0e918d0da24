"""Environments: policies of branches, reviewers, and the answers of each GitHub plan."""

from typing import Any

import pytest

from tests.sandbox.github.conftest import Api

CUSTOM = {"deployment_branch_policy": {"protected_branches": False, "custom_branch_policies": True}}
POLICIES = "environments/recovery/deployment-branch-policies"


@pytest.fixture
def admin(api: Api) -> str:
    api.github.add_user("ada", "admin")
    return api.github.add_token("ghp_ada", "ada")


def patterns(api: Api) -> list[tuple[str, str]]:
    return [(one["type"], one["name"]) for one in api.get(POLICIES)["branch_policies"]]


def test_patterns_are_added_once_and_deleted(api: Api, admin: str) -> None:
    api.ok("PUT", "environments/recovery", token=admin, json=CUSTOM)
    main = api.ok("POST", POLICIES, token=admin, json={"name": "main"})
    tag = api.ok("POST", POLICIES, token=admin, json={"name": "main", "type": "tag"})
    assert api("POST", POLICIES, token=admin, json={"name": "main"}).status_code == 303
    assert patterns(api) == [("branch", "main"), ("tag", "main")]

    assert api("DELETE", f"{POLICIES}/{tag['id']}", token=admin).status_code == 204

    assert patterns(api) == [("branch", "main")]
    assert api.refusal("DELETE", f"{POLICIES}/{tag['id']}", token=admin)[0] == 404
    api.ok("PUT", "environments/recovery", token=admin, json=CUSTOM)
    assert api.get(POLICIES)["branch_policies"] == [main]


def test_equal_policies_are_refused(api: Api, admin: str) -> None:
    policy = {"protected_branches": True, "custom_branch_policies": True}
    body = {"deployment_branch_policy": policy}
    assert api.refusal("PUT", "environments/recovery", token=admin, json=body)[0] == 422


def test_environment_is_deleted_by_admin(api: Api, admin: str, alice: str) -> None:
    api.github.add_environment("recovery")
    assert api.refusal("DELETE", "environments/recovery", token=alice)[0] == 403
    assert api("DELETE", "environments/recovery", token=admin).status_code == 204
    assert api.get("environments")["environments"] == []


def test_wait_timer_is_kept_and_shown(api: Api, admin: str) -> None:
    shown = api.ok("PUT", "environments/recovery", token=admin, json={"wait_timer": 30})
    assert [(one["type"], one["wait_timer"]) for one in shown["protection_rules"]] == [("wait_timer", 30)]


@pytest.mark.parametrize("body", [{"wait_timer": 0}, {"reviewers": None}, {"prevent_self_review": False}])
def test_private_repository_on_team_refuses_reviewers_also_as_default(api: Api, admin: str, body: Any) -> None:
    api.github.switches.plan = "team"
    assert api.refusal("PUT", "environments/recovery", token=admin, json=CUSTOM | body)[0] == 422
    assert api.get("environments/recovery")["protection_rules"] == []
    assert api("PUT", "environments/recovery", token=admin, json=CUSTOM).status_code == 200


def test_private_repository_on_free_creates_environment_without_rules(api: Api, admin: str) -> None:
    api.github.switches.plan = "free"
    status, message = api.refusal("PUT", "environments/recovery", token=admin, json=CUSTOM)
    assert (status, "billing plan" in message) == (422, True)
    assert api.get("environments/recovery")["protection_rules"] == []
    assert api("PUT", "environments/other", token=admin, json={}).status_code == 200
    api.github.switches.free_plan_creates_environments = False
    assert api.refusal("PUT", "environments/third", token=admin, json={})[0] == 404


@pytest.mark.parametrize("switches", [{"private": False}, {"enterprise_server": True}])
def test_public_repository_and_enterprise_server_have_reviewers(
    api: Api, admin: str, switches: dict[str, bool]
) -> None:
    api.github.switches.plan = "free"
    api.github.switches.private = switches.get("private", True)
    rita = api.get("/users/rita")["id"]
    api.github.switches.enterprise_server = switches.get("enterprise_server", False)
    base = "/api/v3" if api.github.switches.enterprise_server else ""
    path = f"{base}/repos/{api.github.repository}/environments/recovery"
    shown = api.ok("PUT", path, token=admin, json={"reviewers": [{"type": "User", "id": rita}]})
    assert shown["protection_rules"][0]["reviewers"][0]["reviewer"]["login"] == "rita"


def test_reviewer_needs_read_access(api: Api, admin: str) -> None:
    body = {"reviewers": [{"type": "User", "id": api.get("/users/zoe")["id"]}]}
    assert api.refusal("PUT", "environments/recovery", token=admin, json=body)[0] == 422


def test_repository_shows_permissions_of_person(api: Api, admin: str, tina: str) -> None:
    assert api.get("", token=admin)["permissions"]["admin"] is True
    assert api.get("", token=tina)["permissions"] == {
        "admin": False,
        "maintain": False,
        "push": False,
        "triage": True,
        "pull": True,
    }
    assert "permissions" not in api.get("")
