"""Rulesets: who changes them, the rules of a branch, and pushes and merges against them."""

import base64
from typing import Any

import pytest

from tests.sandbox.github.conftest import Api

REVIEW = {
    "dismiss_stale_reviews_on_push": True,
    "require_code_owner_review": True,
    "require_last_push_approval": False,
    "required_approving_review_count": 1,
    "required_review_thread_resolution": False,
}
RULES: list[dict[str, Any]] = [{"type": "deletion"}, {"type": "pull_request", "parameters": REVIEW}]
RULESET = {
    "name": "Default branch",
    "enforcement": "active",
    "conditions": {"ref_name": {"include": ["~DEFAULT_BRANCH"], "exclude": []}},
    "rules": RULES,
}
BY_ADMIN = {"actor_id": 5, "actor_type": "RepositoryRole", "bypass_mode": "pull_request"}


@pytest.fixture
def admin(api: Api) -> str:
    api.github.add_user("ada", "admin")
    return api.github.add_token("ghp_ada", "ada")


def kinds(api: Api, branch: str) -> list[str]:
    return [rule["type"] for rule in api.get(f"rules/branches/{branch}")]


def test_ruleset_is_created_read_changed_and_deleted(api: Api, admin: str, alice: str) -> None:
    made = api.ok("POST", "rulesets", token=admin, json=RULESET)
    assert (made["rules"], made["bypass_actors"]) == (RULES, [])
    assert [set(one) & {"rules", "conditions"} for one in api.get("rulesets", token=alice)] == [set()]
    assert "bypass_actors" not in api.get(f"rulesets/{made['id']}", token=alice)
    assert (kinds(api, "main"), kinds(api, "feature/x")) == (["deletion", "pull_request"], [])

    api.ok("PUT", f"rulesets/{made['id']}", token=admin, json={"enforcement": "disabled"})

    assert (kinds(api, "main"), api.get(f"rulesets/{made['id']}")["rules"]) == ([], RULES)
    assert api("DELETE", f"rulesets/{made['id']}", token=admin).status_code == 204
    assert api.get("rulesets") == []


@pytest.mark.parametrize(
    "body",
    [
        RULESET,
        {"enforcement": "active"},
        RULESET | {"name": "b", "enforcement": "evaluate"},
        RULESET | {"name": "b", "target": "repository"},
        RULESET | {"name": "b", "rules": [{"type": "nonsense"}]},
        RULESET | {"name": "b", "rules": [{"type": "pull_request", "parameters": {}}]},
    ],
)
def test_invalid_ruleset_is_refused(api: Api, admin: str, body: dict[str, Any]) -> None:
    api.ok("POST", "rulesets", token=admin, json=RULESET)
    assert api.refusal("POST", "rulesets", token=admin, json=body)[0] == 422


def test_only_admin_changes_rulesets(api: Api, alice: str) -> None:
    number = api.github.add_ruleset("Default branch", RULES)
    assert api.refusal("POST", "rulesets", token=alice, json=RULESET)[0] == 403
    assert api.refusal("DELETE", f"rulesets/{number}", token=alice)[0] == 403
    fine = api.github.add_token("github_pat_1", "alice", ["contents:write"])
    assert api.refusal("POST", "rulesets", token=fine, json=RULESET) == (
        403,
        "Resource not accessible by personal access token",
    )


@pytest.mark.parametrize("path", ["rulesets", "rules/branches/main", "branches/main/protection"])
def test_private_repository_on_free_has_no_rules(api: Api, admin: str, path: str) -> None:
    api.github.switches.plan = "free"
    api.github.switches.free_plan_lists_branch_rules = False
    assert api.refusal("GET", path, token=admin) == (
        403,
        "Upgrade to GitHub Pro or make this repository public to enable this feature.",
    )
    api.github.switches.private = False
    status = api("GET", path, token=admin).status_code
    assert status == (404 if path.endswith("protection") else 200)


def test_unknown_code_owners_are_listed(api: Api) -> None:
    assert api.refusal("GET", "codeowners/errors")[0] == 404
    text = "# team\n/ops.yml @alice @acme/on-call @nobody\n*.js @rita # reads only\n"
    api.github.add_commit("Own", "alice", files={".github/CODEOWNERS": text})
    found = api.get("codeowners/errors")["errors"]
    assert [(one["line"], one["column"], one["kind"]) for one in found] == [
        (2, 31, "Unknown owner"),
        (3, 6, "Unknown owner"),
    ]


def test_branch_has_no_rules_on_free(api: Api) -> None:
    api.github.add_ruleset("Default branch", RULES)
    assert kinds(api, "main") == ["deletion", "pull_request"]
    api.github.switches.plan = "free"
    assert kinds(api, "main") == []


def test_branch_has_no_older_protection(api: Api, admin: str, alice: str) -> None:
    assert api.refusal("GET", "branches/main/protection", token=admin) == (404, "Branch not protected")
    assert api.refusal("GET", "branches/none/protection", token=admin) == (404, "Branch not found")
    assert api.refusal("GET", "branches/main/protection", token=alice)[0] == 403


def test_ruleset_refuses_pushes_and_merges_without_approval(api: Api, admin: str, alice: str) -> None:
    api.github.add_commit("Raise", "alice", branch="limits", files={"limits.yml": "a: 2\n"})
    number = api.github.open_pull("Raise", "limits", "alice")
    api.github.add_ruleset("Default branch", RULES, bypass_actors=[BY_ADMIN])
    file = {"message": "x", "content": base64.b64encode(b"x").decode()}

    assert api.refusal("PUT", "contents/x", token=admin, json=file)[0] == 409
    assert api("PUT", "contents/x", token=alice, json=file | {"branch": "limits"}).status_code == 201
    status, message = api.refusal("PUT", f"pulls/{number}/merge", token=alice, json={})
    assert (status, "approving review" in message) == (405, True)
    assert api("PUT", f"pulls/{number}/merge", token=admin, json={}).status_code == 200
