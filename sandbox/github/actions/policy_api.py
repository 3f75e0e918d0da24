"""Policy of Actions in the repository, and its self-hosted runners.

docs.github.com/rest/actions/permissions, docs.github.com/rest/actions/self-hosted-runners
Only an admin reads it, and no GITHUB_TOKEN.
"""

from typing import Any

from sandbox.github.actions import changes, serializers
from sandbox.github.call import REPO, GitHubAnswer, GitHubCall, GitHubRefusal, Routes

ROUTES = Routes()
_PERMISSIONS = REPO + "/actions/permissions"


@ROUTES.add("GET", _PERMISSIONS)
def get_permissions(call: GitHubCall) -> GitHubAnswer:
    policy = call.repository.actions_policy
    if not policy.enabled:
        return GitHubAnswer(body={"enabled": False})
    url = call.urls.repo("/actions/permissions/selected-actions")
    body: dict[str, Any] = {
        "enabled": True,
        "allowed_actions": policy.allowed,
        "sha_pinning_required": policy.needs_sha,
    }
    return GitHubAnswer(body={**body, **({"selected_actions_url": url} if policy.allowed == "selected" else {})})


@ROUTES.add("GET", _PERMISSIONS + "/selected-actions")
def get_selected_actions(call: GitHubCall) -> GitHubAnswer:
    policy = call.repository.actions_policy
    if policy.allowed != "selected":
        raise GitHubRefusal(409, "Conflict")
    body = {
        "github_owned_allowed": policy.github_owned,
        "verified_allowed": policy.verified,
        "patterns_allowed": list(policy.patterns),
    }
    return GitHubAnswer(body=body)


@ROUTES.add("GET", _PERMISSIONS + "/workflow")
def get_workflow_permissions(call: GitHubCall) -> GitHubAnswer:
    may_create = call.repository.switches.actions_may_create_pull_requests
    body = {
        "default_workflow_permissions": "write" if call.repository.actions_policy.token_writes else "read",
        "can_approve_pull_request_reviews": may_create,
    }
    return GitHubAnswer(body=body)


@ROUTES.add("GET", _PERMISSIONS + "/artifact-and-log-retention")
def get_retention(call: GitHubCall) -> GitHubAnswer:
    """Return for how many days GitHub keeps artifacts and logs, and since October 2026 also workflow runs."""
    switches = call.repository.switches
    longest = 400 if switches.private else 90
    return GitHubAnswer(body={"days": int(switches.runs_kept_days), "maximum_allowed_days": longest})


@ROUTES.add("GET", _PERMISSIONS + "/fork-pr-contributor-approval")
def get_fork_approval(call: GitHubCall) -> GitHubAnswer:
    return GitHubAnswer(body={"approval_policy": call.repository.actions_policy.fork_approval})


@ROUTES.add("GET", REPO + "/actions/runners")
def list_runners(call: GitHubCall) -> GitHubAnswer:
    own = [one for one in call.repository.runners.values() if not one.of_owner]
    busy = changes.busy_runners(call.repository)
    return call.page(own, lambda one: serializers.runner(one, is_busy=one.name in busy), under="runners")
