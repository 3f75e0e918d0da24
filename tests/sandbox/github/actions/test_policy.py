"""Policy of Actions in GitHub's API: docs.github.com/rest/actions/permissions."""

import pytest

from tests.sandbox.github.conftest import Api

PATHS = ("actions/permissions", "actions/permissions/workflow", "actions/permissions/fork-pr-contributor-approval")


@pytest.mark.parametrize("path", PATHS)
def test_token_of_a_job_may_not_read_the_policy(api: Api, path: str) -> None:
    assert api.refusal("GET", path) == (403, "Resource not accessible by integration")


def test_admin_reads_the_policy(api: Api) -> None:
    hub = api.github
    hub.add_user("root", "admin")
    admin = hub.add_token("ghp_root", "root")
    hub.set_actions_policy(allowed="selected", patterns=("docker/*",))

    answers = [api("GET", path, token=admin).json() for path in (*PATHS, "actions/permissions/selected-actions")]

    assert answers[0]["allowed_actions"] == "selected"
    assert answers[0]["selected_actions_url"].endswith("/actions/permissions/selected-actions")
    assert answers[1] == {"default_workflow_permissions": "read", "can_approve_pull_request_reviews": False}
    assert answers[2] == {"approval_policy": "first_time_contributors"}
    assert answers[3] == {"github_owned_allowed": True, "verified_allowed": False, "patterns_allowed": ["docker/*"]}
    hub.set_actions_policy(enabled=False)
    assert api("GET", PATHS[0], token=admin).json() == {"enabled": False}
