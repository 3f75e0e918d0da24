"""The real workflow files, triggered by the sandbox's GitHub and run by act."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox.actions import Runner
from sandbox.github.actions.state import FakeJob, FakeRun
from tests.conftest import REFERENCE
from tests.support.actions import BUTTON, LABEL, Stage, conclusions, find_job, release, stage, when
from tests.support.browser import needs_chromium
from tests.support.workflows import operations_repository

REASON = "it's $(touch pwned) `x`"


@pytest.fixture
def staged(pip_cache: Path) -> Iterator[Callable[..., Stage]]:
    with ExitStack() as stages:
        yield lambda good=None: stages.enter_context(stage(pip_cache, good))


def log_text(runner: Runner, run_id: int) -> str:
    return "\n".join(runner.log(run_id))


def test_button_rolls_back_with_environment_secret(staged: Callable[..., Stage], tmp_path: Path) -> None:
    world = staged()
    world.github.put_secret(
        "CLOUDFLARE_API_TOKEN", "that of another environment", world.github.add_environment("other")
    )

    with world.runner() as runner:
        run = world.github.dispatch(
            BUTTON, {"service": "api", "environment": "production", "reason": REASON, "dry_run": False}, by="alice"
        )
        runner.wait()
        log = log_text(runner, run.id)

    assert world.live == {world.good: 100}, log
    assert REASON in world.ours[0]
    assert f"run={run.id}." in world.ours[0]
    assert (run.status, run.conclusion, conclusions(run)["recovery-production"]) == ("completed", "success", "success")
    job = find_job(run, "recovery-production")
    assert job.started_at is not None
    assert job.completed_at is not None
    assert run.created_at <= job.created_at <= job.started_at < job.completed_at
    assert [step.conclusion for step in job.steps[:3]] == ["success"] * 3
    assert world.sandbox.token not in log
    assert f"ghs_run{run.id}" not in log
    assert not list(tmp_path.rglob("pwned"))


@needs_chromium
def test_required_browser_probe_completes_in_job(staged: Callable[..., Stage], tmp_path: Path) -> None:
    world = staged({"status": 200, "body": {"status": "ok", "version": {"id": "{{version}}"}}})
    text, config = (REFERENCE / "ops.yml").read_text(), tmp_path / "ops.yml"
    here = "          # A program can be a probe too"
    probe = "          - {name: visit, browser: {paths: [/health], required: true}}\n"
    config.write_text(text.replace(here, probe + here, 1))
    files = operations_repository(config)
    world.github.add_commit("A browser probe", "alice", files=files)

    with world.runner() as runner:
        inputs = {"service": "api", "environment": "production", "dry_run": False}
        run = world.github.dispatch(BUTTON, inputs, by="alice")
        runner.wait()
        log = log_text(runner, run.id)

    assert world.live == {world.good: 100}, log
    assert (run.conclusion, "visit healthy: pages 1" in log) == ("success", True), log


def test_concurrent_requests_are_serialized_and_deduplicated(
    staged: Callable[..., Stage],
) -> None:
    world = staged()
    world.github.add_user("bob")
    first, second = world.incident(), world.incident()

    with world.runner() as runner:
        world.github.label(first, "triage", "alice")
        world.github.label(first, LABEL, "alice")
        again = runner.deliver(world.github.deliveries[-1])
        world.github.label(second, LABEL, "bob")
        runner.wait()
        unrelated, one, twice, other = world.github.runs
        log = log_text(runner, one.id) + log_text(runner, other.id)

    assert world.live == {world.good: 100}, log
    assert len(world.ours) == 1
    assert set(conclusions(unrelated).values()) == {"skipped"}
    assert (one.conclusion, other.conclusion) == ("success", "success"), log
    assert again == [twice.id]
    assert (twice.conclusion, twice.jobs[1].conclusion) == ("failure", "skipped")
    did, idle = sorted((recovery(one), recovery(other)), key=lambda job: job.started_at or job.created_at)
    answered = {recovery(one).id: world.comments(first).lower(), recovery(other).id: world.comments(second).lower()}
    assert "recovered" in answered[did.id]
    assert "nothing to do" in answered[idle.id]
    assert LABEL not in world.labels(first) | world.labels(second)
    assert did.completed_at is not None
    assert idle.started_at is not None
    assert did.completed_at <= idle.started_at


def recovery(run: FakeRun) -> FakeJob:
    return find_job(run, "recovery-production")


def test_label_without_write_access_changes_nothing(staged: Callable[..., Stage]) -> None:
    world = staged()
    number = world.incident()

    with world.runner() as runner:
        world.github.label(number, LABEL, "tina")
        runner.wait()

    (run,) = world.github.runs
    assert world.live == {world.bad: 100}
    ended = conclusions(run)
    assert (run.conclusion, ended["recovery-production"], ended["security-production"]) == (
        "failure",
        "skipped",
        "skipped",
    )
    assert LABEL not in world.labels(number)
    assert "tina" in world.comments(number)


def test_late_job_refuses_old_request(
    staged: Callable[..., Stage],
) -> None:
    world = staged()
    number = world.incident()

    with world.runner(delay=timedelta(hours=1)) as runner:
        fix = release(world.sandbox, "fix", world.sandbox.clock.now() + timedelta(minutes=20))
        world.github.label(number, LABEL, "alice")
        runner.wait()

    (run,) = world.github.runs
    assert world.live == {fix: 100}
    assert world.ours == []
    assert conclusions(run)["recovery-production"] == "skipped"
    assert "request_too_old" in world.comments(number)
    assert (run.updated_at - run.created_at) >= timedelta(hours=1)


def test_run_canceled_during_verification_keeps_its_record(
    staged: Callable[..., Stage],
) -> None:
    unwell: Mapping[str, Any] = {"status": 503}
    world = staged(unwell)
    number = world.incident()

    with world.runner() as runner:
        runner.on_line = when("after, 0 of 3 in a row", runner.cancel)
        inputs = {"service": "api", "environment": "production", "incident": str(number)}
        run = world.github.dispatch(BUTTON, inputs, by="alice")
        runner.wait()
        log = log_text(runner, run.id)

    assert world.live == {world.good: 100}, log
    assert run.conclusion == "cancelled"
    assert conclusions(run)["recovery-production"] == "cancelled"
    assert "interrupted" in world.comments(number).lower(), log
    assert "SIGINT ended the run" in world.comments(number)


def test_leak_report_opens_one_incident_and_logs_no_value(staged: Callable[..., Stage]) -> None:
    world = staged()
    sent = {"secret": "CLOUDFLARE_API_TOKEN", "seen": "k4n4ry-0123456789abcdef $(touch pwned)", "source": "a scanner"}

    with world.runner() as runner:
        pressed = world.github.dispatch("secret-leak.yml", sent, by="alice")
        runner.wait()
        httpx.post(
            f"{world.github.api_url}/repos/{world.github.repository}/dispatches",
            headers={"authorization": f"Bearer {world.github.token}"},
            json={"event_type": "secret-leak", "client_payload": sent},
        ).raise_for_status()
        runner.wait()
        runs = list(world.github.runs)
        log = "".join(log_text(runner, run.id) for run in runs)

    assert [run.event for run in runs] == ["workflow_dispatch", "repository_dispatch"], log
    assert {run.conclusion for run in runs} == {"success"}, log
    (incident,) = world.github.issues
    assert incident.title == "Leaked secret: CLOUDFLARE_API_TOKEN"
    menu, note = incident.comments
    assert menu.body.startswith("### Recover\n")
    assert "reported as leaked again" in note.body
    assert "k4n4ry" not in log
    assert pressed.id == runs[0].id
