"""Permissions: the permission endpoint, roles, and the scope of tokens."""

import httpx
import pytest

from sandbox.github import GitHub
from tests.sandbox.github.conftest import WORKFLOW, Api


@pytest.mark.parametrize(
    ("role", "permission"),
    [("admin", "admin"), ("maintain", "write"), ("write", "write"), ("triage", "read"), ("read", "read")],
)
def test_permission_returns_role_and_base_permission(api: Api, role: str, permission: str) -> None:
    api.github.add_user("Bob", role)  # type: ignore[arg-type]
    answer = api.get("collaborators/bob/permission")
    assert (answer["permission"], answer["role_name"], answer["user"]["login"]) == (permission, role, "Bob")


def test_stranger_has_no_permission_unless_repository_is_public(api: Api) -> None:
    assert api.get("collaborators/zoe/permission")["permission"] == "none"
    api.github.switches.private = False
    assert api.get("collaborators/zoe/permission")["role_name"] == "read"


def test_permission_of_app_bot_and_unknown_login(api: Api) -> None:
    api.github.add_user("Copilot", None, kind="Bot")
    assert api.get("collaborators/github-actions%5Bbot%5D/permission")["permission"] == "none"
    assert api.refusal("GET", "collaborators/Copilot/permission") == (404, "Copilot is not a user")
    assert api.refusal("GET", "collaborators/nobody/permission") == (404, "Not Found")


def test_changed_role_applies_at_once(api: Api) -> None:
    api.github.add_user("alice", None)
    assert api.get("collaborators/alice/permission")["permission"] == "none"
    assert api.refusal("GET", "collaborators/alice")[0] == 404


def test_permission_read_can_be_denied_to_github_token(api: Api, alice: str) -> None:
    api.github.switches.github_token_reads_permissions = False
    path = "collaborators/alice/permission"
    assert api.refusal("GET", path) == (403, "Resource not accessible by integration")
    assert api.get(path, token=alice)["permission"] == "write"


def test_permission_read_requires_push_access(api: Api, tina: str) -> None:
    refusal = (403, "Must have push access to view collaborator permission.")
    assert api.refusal("GET", "collaborators/alice/permission", token=tina) == refusal


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "actions/secrets/public-key"),
        ("GET", "environments/recovery/secrets/public-key"),
        ("PUT", "actions/secrets/TOKEN"),
        ("PUT", "environments/recovery/secrets/TOKEN"),
        ("POST", "actions/variables"),
        ("POST", "environments/recovery/variables"),
        ("PUT", "environments/recovery"),
        ("PUT", f"contents/{WORKFLOW}"),
    ],
)
def test_github_token_cannot_manage_secrets_or_workflows(api: Api, method: str, path: str) -> None:
    api.github.add_environment("recovery")
    body = {"message": "x", "content": ""} if path.startswith("contents") else {}
    options = {} if method == "GET" else {"json": body}
    assert api.refusal(method, path, **options) == (403, "Resource not accessible by integration")


def test_github_token_opens_pull_request_only_with_setting(api: Api) -> None:
    api.github.add_commit("Fix", "alice", branch="fix", files={"a": "1"})
    body = {"title": "Fix", "head": "fix", "base": "main"}
    assert api.refusal("POST", "pulls", json=body)[0] == 403
    api.github.switches.actions_may_create_pull_requests = True
    assert api.ok("POST", "pulls", json=body)["user"]["login"] == "github-actions[bot]"


def test_workflow_token_has_permissions_of_its_job(api: Api, incident: int) -> None:
    token = api.github.add_workflow_token("ghs_gate", {"issues": "write", "pull-requests": "read"})
    assert api.ok("POST", f"issues/{incident}/comments", token=token, json={"body": "x"})
    assert api.get("pulls", token=token) == []
    assert api.get("collaborators/alice/permission", token=token)
    assert api.refusal("GET", "contents/README.md", token=token) == (403, "Resource not accessible by integration")
    with pytest.raises(ValueError, match="cannot grant: secrets"):
        api.github.add_workflow_token("ghs_dream", {"secrets": "write"})


def test_pull_requests_permission_covers_comments_on_pulls_only(api: Api, incident: int) -> None:
    api.github.add_commit("Fix", "alice", branch="fix", files={"a": "1"})
    pull = api.github.open_pull("Fix", "fix", "alice")
    token = api.github.add_workflow_token("ghs_plan", {"pull-requests": "write"})
    plan = api.ok("POST", f"issues/{pull}/comments", token=token, json={"body": "the plan"})
    assert api.ok("PATCH", f"issues/comments/{plan['id']}", token=token, json={"body": "a newer plan"})
    assert api.refusal("POST", f"issues/{incident}/comments", token=token, json={"body": "x"})[0] == 403


def test_fine_grained_token_is_limited_to_permissions(api: Api, incident: int) -> None:
    token = api.github.add_token("github_pat_1", "alice", ["issues:read"])
    assert api.get(f"issues/{incident}", token=token)
    refusal = api.refusal("POST", f"issues/{incident}/comments", token=token, json={"body": "x"})
    assert refusal == (403, "Resource not accessible by personal access token")


def test_classic_token_without_scope_gets_404(api: Api, incident: int) -> None:
    token = api.github.add_token("ghp_gist", "alice", ["gist"])
    assert api.refusal("GET", f"issues/{incident}", token=token) == (404, "Not Found")
    assert api("GET", "/user", token=token).headers["x-oauth-scopes"] == "gist"


def test_private_repository_returns_404_to_stranger(api: Api, incident: int) -> None:
    token = api.github.add_token("ghp_zoe", "zoe")
    assert api.refusal("GET", f"issues/{incident}", token=token) == (404, "Not Found")
    api.github.switches.private = False
    assert api.get(f"issues/{incident}", token=token)
    assert api.ok("POST", f"issues/{incident}/comments", token=token, json={"body": "me too"})


@pytest.mark.parametrize("scheme", ["token", "Token", "Bearer", "bearer"])
def test_token_is_accepted_in_both_schemes(api: Api, scheme: str) -> None:
    headers = {"authorization": f"{scheme} {api.github.token}"}
    assert api("GET", "/repos/acme/operations", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("authorization", "message"),
    [("Bearer nonsense", "Bad credentials"), ("Basic eDp5", "Bad credentials"), (None, "Requires authentication")],
)
def test_invalid_token_returns_401(github: GitHub, authorization: str | None, message: str) -> None:
    headers = {"authorization": authorization} if authorization else {}
    answer = httpx.get(f"{github.api_url}/repos/acme/operations", headers=headers, verify=False)
    assert (answer.status_code, answer.json()["message"]) == (401, message)


def test_user_agent_is_required(github: GitHub) -> None:
    request = httpx.Request("GET", f"{github.api_url}/user", headers={"authorization": f"token {github.token}"})
    with httpx.Client(verify=False) as client:
        answer = client.send(request)
    assert answer.status_code == 403
    assert "User-Agent" in answer.json()["message"]
