"""Deployments: the run that used an environment."""

from datetime import timedelta

from sandbox.github import GitHub
from tests.sandbox.github.conftest import Api


def test_deployment_links_to_its_run(api: Api, github: GitHub, alice: str) -> None:
    hour_ago = github.clock.now() - timedelta(hours=1)
    github.add_deployment("recovery", "alice", hour_ago, run_id=7)
    github.add_deployment("security", "alice", run_id=8)

    listed = api.get("/repos/acme/operations/deployments")
    (recovery,) = api.get("/repos/acme/operations/deployments?environment=recovery")
    (status,) = api.get(f"/repos/acme/operations/deployments/{recovery['id']}/statuses")

    assert [one["environment"] for one in listed] == ["security", "recovery"]
    assert "/actions/runs/7/job/" in status["log_url"]
    assert api.refusal("GET", "/repos/acme/operations/deployments/1/statuses")[0] == 404
