"""Endpoints that cancel, rerun and review a run, and environment rules."""

from typing import Any

import pytest

from tests.sandbox.github.conftest import Api


@pytest.fixture
def waiting(api: Api, workflow: str) -> int:
    """Return the ID of a run that waits for a review by rita or by alice, its starter."""
    hub = api.github
    hub.add_environment("recovery", reviewers=["rita", "alice"], prevent_self_review=True)
    run = hub.dispatch("rollback-worker.yml", {"service": "api"}, "alice")
    hub.ask_reviewers(run.id, "recovery", hub.add_job(run.id, "recover", status="waiting", conclusion=None))
    hub.add_deployment("recovery", "alice", run_id=run.id)
    return run.id


def test_pending_deployment_names_its_reviewers(api: Api, waiting: int, rita: str, alice: str) -> None:
    path = f"actions/runs/{waiting}/pending_deployments"

    may = [api.get(path, token=token)[0]["current_user_can_approve"] for token in (rita, alice, api.github.token)]

    (pending,) = api.get(path)
    assert may == [True, False, False]
    assert pending["environment"]["name"] == "recovery"
    assert [one["reviewer"]["login"] for one in pending["reviewers"]] == ["rita", "alice"]
    assert api.get(f"actions/runs/{waiting}/approvals") == []


def test_review_returns_deployments_and_is_listed(api: Api, waiting: int, rita: str) -> None:
    path = f"actions/runs/{waiting}/pending_deployments"
    number = api.get(path)[0]["environment"]["id"]
    body = {"environment_ids": [number], "state": "rejected", "comment": "No."}

    (deployment,) = api.ok("POST", path, token=rita, json=body)

    assert deployment["environment"] == "recovery"
    (listed,) = api.get(f"actions/runs/{waiting}/approvals")
    assert (listed["user"]["login"], listed["state"], listed["comment"]) == ("rita", "rejected", "No.")
    assert [one["id"] for one in listed["environments"]] == [number]
    assert api.get(path) == []


@pytest.mark.parametrize(
    "change", [{"environment_ids": [1]}, {"environment_ids": []}, {"state": "maybe"}, {"comment": None}]
)
def test_invalid_review_is_refused(api: Api, waiting: int, rita: str, change: dict[str, Any]) -> None:
    path = f"actions/runs/{waiting}/pending_deployments"
    number = api.get(path)[0]["environment"]["id"]
    body = {"environment_ids": [number], "state": "approved", "comment": "", **change}

    assert api.refusal("POST", path, token=rita, json=body)[0] == 422
    assert len(api.get(path)) == 1


def test_github_token_cannot_review(api: Api, waiting: int) -> None:
    path = f"actions/runs/{waiting}/pending_deployments"
    body = {"environment_ids": [api.get(path)[0]["environment"]["id"]], "state": "approved", "comment": ""}

    assert api.refusal("POST", path, json=body) == (422, "You are not a required reviewer of this environment")


def test_completed_run_cannot_be_canceled(api: Api, waiting: int) -> None:
    assert api.ok("POST", f"actions/runs/{waiting}/cancel") == {}
    api.github.set_run(waiting, "completed", "success")
    assert api.refusal("POST", f"actions/runs/{waiting}/cancel")[0] == 409


def test_run_and_job_can_be_rerun(api: Api, waiting: int, alice: str) -> None:
    (job,) = api.get(f"actions/runs/{waiting}/jobs")["jobs"]
    assert api.get(f"actions/jobs/{job['id']}") == job
    assert api.refusal("POST", f"actions/jobs/{job['id']}/rerun") == (403, "This workflow is already running")
    api.github.set_run(waiting, "completed", "failure")

    assert api.ok("POST", f"actions/jobs/{job['id']}/rerun", token=alice) == {}
    api.github.set_run(waiting, "completed", "failure")
    assert api.ok("POST", f"actions/runs/{waiting}/rerun", json={"enable_debug_logging": True}) == {}

    run = api.get(f"actions/runs/{waiting}")
    assert (run["run_attempt"], run["triggering_actor"]["login"]) == (3, "github-actions[bot]")
    assert api.refusal("POST", "actions/jobs/1/rerun")[0] == 404


@pytest.fixture
def root(api: Api) -> str:
    """Return the token of an administrator."""
    api.github.add_user("root", "admin")
    return api.github.add_token("ghp_root", "root")


def id_of(api: Api, login: str) -> int:
    return api.github.issue(api.github.open_issue("Mine", author=login)).user.id


def test_omitted_environment_rules_are_removed(api: Api, root: str) -> None:
    rita = id_of(api, "rita")
    rules = {
        "reviewers": [{"type": "User", "id": rita}],
        "prevent_self_review": True,
        "deployment_branch_policy": {"protected_branches": False, "custom_branch_policies": True},
    }
    api.ok("PUT", "environments/recovery", token=root, json=rules)
    policies = "environments/recovery/deployment-branch-policies"

    policy = api.ok("POST", policies, token=root, json={"name": "main", "type": "branch"})

    shown = api.get("environments/recovery")
    reviewers, branches = shown["protection_rules"]
    assert (reviewers["type"], branches["type"]) == ("required_reviewers", "branch_policy")
    assert reviewers["prevent_self_review"] is True
    assert [one["reviewer"]["login"] for one in reviewers["reviewers"]] == ["rita"]
    assert shown["deployment_branch_policy"] == rules["deployment_branch_policy"]
    assert api.get(policies) == {"total_count": 1, "branch_policies": [policy]}
    assert api.ok("PUT", "environments/recovery", token=root, json={})["protection_rules"] == []
    assert api.refusal("POST", policies, token=root, json={"name": "main"})[0] == 404


def test_invalid_reviewers_are_refused(api: Api, root: str) -> None:
    body = {"reviewers": [{"type": "User", "id": 1}]}
    assert api.refusal("PUT", "environments/recovery", token=root, json=body)[0] == 422

    api.github.switches.plan = "team"

    body = {"reviewers": [{"type": "User", "id": id_of(api, "rita")}]}
    status, message = api.refusal("PUT", "environments/recovery", token=root, json=body)
    assert (status, "billing plan" in message) == (422, True)
