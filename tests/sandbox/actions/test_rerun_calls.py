"""Reruns of jobs in called workflow files. No process starts."""

from typing import Any

import pytest

from sandbox.actions import Runner
from sandbox.github import GitHub
from sandbox.github.actions.state import FakeRun
from tests.support.called_files import CALL, ONE, commit, hub, latest, runner, start, workflow_file

__all__ = ["hub", "runner"]


@pytest.fixture
def failed(hub: GitHub, runner: Runner) -> FakeRun:
    """Return a run of two calls in a row, whose first one failed at its job `act`."""
    hub.add_environment("recovery", branches=[])
    attempt = {"attempt": "${{ github.run_attempt }}"}
    needs = {"needs": ["gate", "act"], "if": "always()"}
    jobs = {
        "gate": {"outputs": attempt},
        "act": {"needs": "gate", "environment": "recovery", "outputs": attempt},
        "tell": {**needs, "name": "gate ${{ needs.gate.outputs.attempt }}"},
        "alone": {},
    }
    outputs = {name: {"value": f"${{{{ jobs.{name}.outputs.attempt }}}}"} for name in ("gate", "act")}
    called = workflow_file(jobs, on={"workflow_call": {"outputs": outputs}})
    show = "gate ${{ needs.call.outputs.gate }} act ${{ needs.call.outputs.act }}"
    main = {
        "before": {},
        "call": {"needs": "before", "uses": CALL},
        "end": {"needs": "call", "if": "always()", "name": show},
    }
    commit(hub, called, {**main, "other": {"uses": "./.github/workflows/other.yml"}}, {"other": workflow_file(ONE)})
    run = start(hub)
    runner.wait()
    assert latest(run)["call / act"] == "failure"
    hub.clock.advance(60)
    hub.add_environment("recovery")
    return run


AGAIN = {
    "before": "success",
    "call / gate": "success",
    "call / act": "success",
    "call / alone": "success",
    "other / one": "success",
}


def test_rerun_of_failed_jobs_keeps_other_jobs_of_the_call(hub: GitHub, runner: Runner, failed: FakeRun) -> None:
    old = {job.name: job for job in failed.jobs}

    hub.rerun(failed.id, "tina", only="failed")
    runner.wait()

    assert failed.conclusion == "success"
    assert latest(failed) == {**AGAIN, "call / gate 1": "success", "gate 1 act 2": "success"}
    new = {job.name: job for job in failed.jobs if job.run_attempt == 2}
    kept = {name for name in AGAIN if new[name].completed_at == old[name].completed_at}
    assert kept == AGAIN.keys() - {"call / act"}


def test_rerun_of_one_called_job_runs_what_needs_it(hub: GitHub, runner: Runner, failed: FakeRun) -> None:
    hub.rerun(failed.id, "tina", only=next(job for job in failed.jobs if job.name == "call / gate"))
    runner.wait()

    assert latest(failed) == {**AGAIN, "call / gate 2": "success", "gate 2 act 2": "success"}


def test_rerun_before_a_call_runs_all_of_it(hub: GitHub, runner: Runner, failed: FakeRun) -> None:
    old = {job.name: job for job in failed.jobs}

    hub.rerun(failed.id, "tina", only=old["before"])
    runner.wait()

    assert latest(failed) == {**AGAIN, "call / gate 2": "success", "gate 2 act 2": "success"}
    new = {job.name: job for job in failed.jobs if job.run_attempt == 2}
    assert new["call / alone"].created_at > old["call / alone"].created_at
    assert new["other / one"].completed_at == old["other / one"].completed_at


def test_rerun_of_all_jobs_runs_all_calls(hub: GitHub, runner: Runner, failed: FakeRun) -> None:
    hub.rerun(failed.id, "tina")
    runner.wait()

    assert latest(failed) == {**AGAIN, "call / gate 2": "success", "gate 2 act 2": "success"}


def test_rerun_of_refused_run_reads_its_files_again(hub: GitHub, runner: Runner) -> None:
    """They stay the same, but the setting of the repository may change."""
    commit(hub, workflow_file({"one": {"permissions": {"issues": "write"}}}), {"call": {"uses": CALL}})
    run = start(hub)
    assert (run.conclusion, run.jobs) == ("startup_failure", [])

    hub.rerun(run.id, "alice")
    assert (run.run_attempt, run.status, run.conclusion, run.jobs) == (2, "completed", "startup_failure", [])
    hub.set_actions_policy(token_writes=True)
    hub.rerun(run.id, "alice")
    runner.wait()

    assert (run.run_attempt, latest(run)) == (3, {"call / one": "success"})


def test_title_of_a_run_is_its_run_name_unless_github_refuses_the_file(hub: GitHub, runner: Runner) -> None:
    names: dict[str, Any] = {"name": "Main", "run-name": "run ${{ github.run_attempt }} of ${{ github.event_name }}"}
    commit(hub, workflow_file(ONE), {"call": {"uses": CALL}}, **names)
    good = start(hub)
    commit(hub, "on: workflow_call\n", {"call": {"uses": CALL}}, **names)
    refused = start(hub)
    runner.wait()

    assert (good.title, good.conclusion) == ("run 1 of workflow_dispatch", "success")
    assert (refused.title, refused.conclusion) == (".github/workflows/main.yml", "startup_failure")
