"""Reruns in the local runner: all jobs, failed jobs, or a single job. No process starts."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml

from sandbox import Sandbox
from sandbox.actions import Runner
from sandbox.github import GitHub
from sandbox.github.actions.state import FakeJob, FakeRun

GATE = {"outputs": {"attempt": "${{ github.run_attempt }}", "by": "${{ github.triggering_actor }}"}}
RECOVER = {"needs": "gate", "environment": "recovery"}
TELL = {
    "needs": ["gate", "recover"],
    "if": "always()",
    "name": "approved ${{ needs.gate.outputs.attempt }} by ${{ needs.gate.outputs.by }} now ${{ github.run_attempt }}",
}


@pytest.fixture
def hub(sandbox: Sandbox) -> GitHub:
    """Return a repository: alice starts runs, tina reruns them. `recovery` allows no branch, so its job fails."""
    hub = sandbox.github
    for login in ("alice", "tina"):
        hub.add_user(login)
    hub.add_environment("recovery", branches=[])
    jobs: dict[str, dict[str, Any]] = {"gate": GATE, "recover": RECOVER, "tell": TELL}
    whole = {job: {"runs-on": "ubuntu-latest", "steps": [], **rules} for job, rules in jobs.items()}
    text = yaml.safe_dump({"on": "workflow_dispatch", "jobs": whole}, sort_keys=False)
    hub.add_commit("a", "alice", files={".github/workflows/a.yml": text})
    return hub


@pytest.fixture
def runner(hub: GitHub) -> Iterator[Runner]:
    with Runner(hub, {}) as started:
        yield started


def api(hub: GitHub, method: str, path: str) -> httpx.Response:
    token = hub.add_token("ghp_tina", "tina")
    url = f"{hub.api_url}/repos/{hub.repository}/actions/{path}"
    return httpx.request(method, url, headers={"authorization": f"token {token}"})


def job_names(run: FakeRun, attempt: int) -> list[str]:
    return [job.name for job in run.jobs if job.run_attempt == attempt]


def latest_job(run: FakeRun, name: str) -> FakeJob:
    return next(job for job in reversed(run.jobs) if job.name == name)


def test_rerun_of_all_jobs_keeps_payload_and_names_starter(hub: GitHub, runner: Runner) -> None:
    run = hub.dispatch("a.yml", by="alice")
    hub.clock.advance(60)
    assert (run.conclusion, job_names(run, 1)) == ("failure", ["gate", "recover", "approved 1 by alice now 1"])
    hub.add_environment("recovery")

    assert api(hub, "POST", f"runs/{run.id}/rerun").status_code == 201
    runner.wait()

    assert (run.run_attempt, run.actor.login, run.triggering_actor.login) == (2, "alice", "tina")
    assert (run.conclusion, job_names(run, 2)) == ("success", ["gate", "recover", "approved 2 by tina now 2"])
    assert latest_job(run, "gate").created_at > run.created_at


def test_rerun_of_failed_jobs_keeps_other_outputs(hub: GitHub, runner: Runner) -> None:
    run = hub.dispatch("a.yml", by="alice")
    gate = latest_job(run, "gate")
    hub.clock.advance(60)
    hub.add_environment("recovery")

    assert api(hub, "POST", f"runs/{run.id}/rerun-failed-jobs").status_code == 201
    runner.wait()

    assert (run.conclusion, job_names(run, 2)) == ("success", ["gate", "recover", "approved 1 by alice now 2"])
    carried = latest_job(run, "gate")
    assert (carried.id != gate.id, carried.completed_at) == (True, gate.completed_at)
    listed = api(hub, "GET", f"runs/{run.id}/jobs").json()["jobs"]
    assert [(job["name"], job["run_attempt"]) for job in listed] == [(name, 2) for name in job_names(run, 2)]


def test_rerun_of_one_job_includes_dependents_and_review(hub: GitHub, runner: Runner) -> None:
    hub.add_environment("recovery", reviewers=["tina"])
    run = hub.dispatch("a.yml", by="alice")
    hub.review(run.id, "tina")
    runner.wait()
    assert run.conclusion == "success"

    assert api(hub, "POST", f"jobs/{latest_job(run, 'recover').id}/rerun").status_code == 201

    assert (run.status, latest_job(run, "recover").status) == ("waiting", "waiting")
    assert [review.state for review in run.reviews] == ["approved"]
    hub.review(run.id, "tina", "rejected")
    runner.wait()
    assert job_names(run, 2) == ["gate", "recover", "approved 1 by alice now 2"]
    assert (run.conclusion, latest_job(run, "recover").conclusion) == ("failure", "failure")


def test_active_or_successful_run_cannot_be_rerun(hub: GitHub, runner: Runner) -> None:
    hub.add_environment("recovery")
    runner.hold_jobs("recover")
    run = hub.dispatch("a.yml", by="alice")

    running = api(hub, "POST", f"runs/{run.id}/rerun")
    runner.hold_jobs()
    runner.wait()
    well = api(hub, "POST", f"runs/{run.id}/rerun-failed-jobs")

    assert (running.status_code, running.json()["message"]) == (403, "This workflow is already running")
    assert (well.status_code, well.json()["message"]) == (403, "This workflow run cannot be retried")
    assert (run.run_attempt, run.conclusion) == (1, "success")
