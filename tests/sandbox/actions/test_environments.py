"""Environments in the local runner: reviewers, branches, plans and deployments."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml

from sandbox import Sandbox
from sandbox.actions import Runner
from sandbox.github import GitHub
from sandbox.github.actions.state import FakeRun
from tests.support.actions import conclusions

STEPS = [{"run": "echo never"}, {"if": "always()", "run": "echo never"}]


@pytest.fixture
def hub(sandbox: Sandbox) -> GitHub:
    """Return a repository with the environment `recovery`; alice starts runs, rita reviews."""
    hub = sandbox.github
    hub.add_user("alice")
    hub.add_user("rita", "read")
    hub.add_environment("recovery")
    return hub


@pytest.fixture
def runner(hub: GitHub) -> Iterator[Runner]:
    with Runner(hub, {}) as started:
        yield started


def commit(hub: GitHub, *, branch: str = "main", **jobs: Any) -> None:
    whole = {job: {"runs-on": "ubuntu-latest", "steps": [], **rules} for job, rules in jobs.items()}
    text = yaml.safe_dump({"on": ["workflow_dispatch", "pull_request"], "jobs": whole}, sort_keys=False)
    hub.add_commit("a", "alice", branch=branch, files={".github/workflows/a.yml": text})


def start(hub: GitHub, ref: str = "main") -> FakeRun:
    return hub.dispatch("a.yml", by="alice", ref=ref)


def review(hub: GitHub, run: FakeRun, login: str, state: str = "approved") -> httpx.Response:
    token = hub.add_token(f"github_pat_{login}", login, ["actions:read", "deployments:write"])
    url, headers = f"{hub.api_url}/repos/{hub.repository}/actions/runs/{run.id}", {"authorization": f"token {token}"}
    pending = httpx.get(f"{url}/pending_deployments", headers=headers).json()
    body = {"environment_ids": [one["environment"]["id"] for one in pending], "state": state, "comment": "Seen."}
    return httpx.post(f"{url}/pending_deployments", headers=headers, json=body)


def test_waiting_job_holds_its_group(hub: GitHub, runner: Runner) -> None:
    hub.add_environment("recovery", reviewers=["rita"])
    commit(hub, approval={"environment": "recovery", "concurrency": "one"}, recover={"needs": "approval"})

    first, second = start(hub), start(hub)

    assert [(run.status, run.jobs[0].status) for run in (first, second)] == [
        ("waiting", "waiting"),
        ("queued", "pending"),
    ]
    assert review(hub, first, "rita").status_code == 200
    runner.wait_until(lambda: first.status == "completed")
    assert conclusions(first) == {"approval": "success", "recover": "success"}
    assert second.jobs[0].status == "waiting"


def test_rejected_job_runs_no_step_and_later_jobs_run(hub: GitHub, runner: Runner) -> None:
    hub.add_environment("recovery", reviewers=["rita"])
    tell = {"needs": "recover", "if": "always() && needs.recover.result == 'failure'"}
    commit(hub, recover={"environment": "recovery", "steps": STEPS}, tell=tell)
    run = start(hub)

    review(hub, run, "rita", "rejected")
    runner.wait()

    assert (run.conclusion, conclusions(run)) == ("failure", {"recover": "failure", "tell": "success"})
    assert run.jobs[0].steps == []
    assert runner.log(run.id) == ["The deployment was rejected or didn't satisfy other protection rules."]


def test_run_canceled_during_review_runs_no_step(hub: GitHub, runner: Runner) -> None:
    hub.add_environment("recovery", reviewers=["rita"])
    commit(hub, recover={"environment": "recovery", "steps": STEPS}, tell={"needs": "recover", "if": "always()"})
    run = start(hub)
    url, headers = (
        f"{hub.api_url}/repos/{hub.repository}/actions/runs/{run.id}",
        {"authorization": f"token {hub.token}"},
    )

    assert httpx.post(f"{url}/cancel", headers=headers).status_code == 202
    runner.wait()

    assert (run.conclusion, conclusions(run)) == ("cancelled", {"recover": "cancelled", "tell": "success"})
    assert httpx.get(f"{url}/pending_deployments", headers=headers).json() == []
    assert httpx.post(f"{url}/cancel", headers=headers).status_code == 409


def test_review_requires_reviewer_other_than_starter(hub: GitHub, runner: Runner) -> None:
    hub.add_environment("recovery", reviewers=["rita", "alice"], prevent_self_review=True)
    commit(hub, recover={"environment": "recovery"})
    run = start(hub)
    hub.add_user("bob")

    assert [review(hub, run, login).status_code for login in ("bob", "alice")] == [422, 422]
    assert review(hub, run, "rita").status_code == 200
    runner.wait()

    assert [(one.user.login, one.state, one.comment) for one in run.reviews] == [("rita", "approved", "Seen.")]
    assert review(hub, run, "rita").status_code == 422


@pytest.mark.parametrize(
    ("branches", "ref", "may"),
    [(["main"], "main", True), (["main"], "side", False), (["release/*"], "release/1", True), ([], "main", False)],
)
def test_job_on_disallowed_branch_fails_before_first_step(
    hub: GitHub, runner: Runner, branches: list[str], ref: str, may: bool
) -> None:
    hub.add_environment("recovery", branches=branches)
    for branch in {"main", ref}:
        commit(hub, branch=branch, recover={"environment": "recovery", "steps": [] if may else STEPS})

    run = start(hub, ref)
    runner.wait()

    assert conclusions(run) == {"recover": "success" if may else "failure"}
    denied = f'Branch "{ref}" is not allowed to deploy to recovery due to environment protection rules.'
    assert (denied in runner.log(run.id)) is not may
    assert run.jobs[0].steps == []


def test_pull_request_does_not_count_as_allowed_branch(hub: GitHub, runner: Runner) -> None:
    hub.add_environment("recovery", branches=["main", "raise"])
    commit(hub, branch="raise", recover={"environment": "recovery", "steps": STEPS})

    hub.open_pull("Raise", "raise", "alice")
    runner.wait()

    (run,) = hub.runs
    assert conclusions(run) == {"recover": "failure"}


def test_missing_environment_is_created_without_rules(hub: GitHub, runner: Runner) -> None:
    commit(hub, recover={"environment": {"name": "recovery-${{ github.ref_name }}"}})

    run = start(hub)
    runner.wait()

    url, headers = f"{hub.api_url}/repos/{hub.repository}", {"authorization": f"token {hub.token}"}
    made = httpx.get(f"{url}/environments/recovery-main", headers=headers).json()
    assert (run.conclusion, made["protection_rules"], made["deployment_branch_policy"]) == ("success", [], None)


def test_deployment_status_follows_job_unless_disabled(hub: GitHub, runner: Runner) -> None:
    hub.add_environment("quiet", branches=[])
    commit(
        hub,
        recover={"environment": "recovery"},
        quiet={"environment": {"name": "quiet", "deployment": False}},
        broken={"environment": "quiet"},
    )

    start(hub)
    runner.wait()

    url, headers = f"{hub.api_url}/repos/{hub.repository}/deployments", {"authorization": f"token {hub.token}"}
    found = httpx.get(url, headers=headers).json()
    states = {(one["environment"], httpx.get(one["statuses_url"], headers=headers).json()[0]["state"]) for one in found}
    assert states == {("recovery", "success"), ("quiet", "failure")}
    assert len(found) == 2


def test_plan_without_reviewers_skips_review(hub: GitHub, runner: Runner) -> None:
    hub.add_environment("recovery", reviewers=["rita"])
    hub.switches.plan = "team"
    commit(hub, recover={"environment": "recovery"})

    run = start(hub)
    runner.wait()

    assert run.conclusion == "success"
    assert run.reviews == []


@pytest.mark.slow
@pytest.mark.parametrize("has_environments", [True, False])
def test_plan_without_environments_ignores_secrets_and_rules(
    hub: GitHub, runner: Runner, has_environments: bool
) -> None:
    hub.switches.plan = "enterprise" if has_environments else "free"
    for environment in ("recovery", None):
        hub.put_secret("TOKEN" if environment else "RECOVERY_TOKEN", "s3cret-value", environment)
        hub.put_variable("COLOUR", f"of {environment}", environment)
    hub.add_environment("recovery", branches=["main"] if has_environments else [])
    env = {"A": "${{ secrets.TOKEN }}", "B": "${{ secrets.RECOVERY_TOKEN }}", "C": "${{ vars.COLOUR }}"}
    commit(hub, recover={"environment": "recovery", "steps": [{"env": env, "run": 'echo "said [$A] [$B] [$C]"'}]})

    run = start(hub)
    runner.wait()

    assert run.conclusion == "success"
    said = "said [***] [***] [of recovery]" if has_environments else "said [] [***] [of None]"
    assert said in runner.log(run.id)
