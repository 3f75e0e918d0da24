"""Rehearsal of a rollback: lost answers, foreign deployments and interruption."""

import json
import os
import signal
import time
from collections.abc import Callable

import pytest

from ops.app import run
from ops.core.redaction import Redactor
from ops.core.run import EndedRun
from ops.core.run_record import read_record
from ops.core.timeline import EventKind, RunEvent
from ops.engine.engine import RunOptions
from ops.engine.signals import SignalHandler
from ops.runbooks.rollback_worker import RollbackWorker
from tests.conftest import World
from tests.runbooks.test_rollback_worker_rehearsal import (
    ROLLBACK,
    leave_rehearsal,
    open_shop,
    rehearsed,
    rollback,
    splits,
    steps,
)
from tests.support.commands import WRITE, Command, ended, texts
from tests.support.prepared_python import RunPython
from tests.support.shop import WORKER, Shop
from tests.templates.scripts import RUN, Workflow

__all__ = ["rehearsed"]


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["before", "after"])
@pytest.mark.parametrize("write", [1, 2], ids=["start", "restoration"])
def test_lost_answer_is_settled_by_reading(rehearsed: Shop, write: int, lost: str) -> None:
    rehearsed.world.sandbox.fault(**WRITE, lost=lost, skip=write - 1)

    outcome = rollback(rehearsed)

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    bad, good = rehearsed.bad, rehearsed.good
    assert splits(rehearsed) == [{bad: 100, good: 0}, {bad: 100}, {good: 100}]
    assert steps(outcome)[-1].endswith(": healthy")


def test_rehearsal_in_a_lagging_list_is_undone(world: World) -> None:
    world.sandbox.switches.deployments_lag_reads = 2
    opened = open_shop(world, good=503)

    outcome = rollback(opened)

    assert ended(outcome) == (3, "refused", "target_unhealthy"), outcome.err
    assert opened.live == {opened.bad: 100}


@pytest.mark.slow
def test_rejected_rehearsal_does_not_stop_the_rollback(rehearsed: Shop) -> None:
    rehearsed.world.sandbox.fault(**WRITE, code=100405)

    outcome = rollback(rehearsed)

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert splits(rehearsed) == [{rehearsed.good: 100}]
    assert any("100405" in text for text in texts(outcome, "warning"))


def test_failed_restoration_is_said_and_is_no_unchanged_state(world: World) -> None:
    opened = open_shop(world, good=503)
    world.sandbox.fault(**WRITE, code=10013, skip=1, times=None)

    outcome = rollback(opened)

    assert ended(outcome) == (4, "failed", "target_unhealthy"), outcome.err
    assert "nothing was changed" not in outcome.result["message"]
    assert any(" 10013" in text for text in texts(outcome, "warning"))

    world.sandbox.faults.clear()
    rollback(opened, "--to", opened.bad)

    assert opened.live == {opened.bad: 100}


@pytest.mark.slow
def test_unreadable_state_after_an_unclear_start_ends_the_run(rehearsed: Shop) -> None:
    rehearsed.world.sandbox.fault(
        **WRITE, lost="after", after=lambda: rehearsed.world.sandbox.fault(path="/accounts/**", status=500, times=None)
    )

    outcome = rollback(rehearsed)

    assert ended(outcome)[:2] == (4, "failed"), outcome.err
    assert "nothing was changed" not in outcome.result["message"]
    assert rehearsed.live == {rehearsed.bad: 100, rehearsed.good: 0}
    assert any(" 10013" in text for text in texts(outcome, "warning"))


def test_list_without_the_rehearsal_does_not_stop_the_rollback(rehearsed: Shop) -> None:
    rehearsed.world.sandbox.switches.deployments_lag_reads = 16

    outcome = rollback(rehearsed)

    assert outcome.result["wrote"], outcome.err
    assert rehearsed.live == {rehearsed.good: 100}
    assert any("did not start" in text for text in texts(outcome, "warning"))


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("write", [1, 2], ids=["start", "restoration"])
def test_foreign_deployment_is_kept_and_stops_the_run(rehearsed: Shop, write: int, moment: str) -> None:
    sandbox = rehearsed.world.sandbox
    hotfix = sandbox.upload(WORKER, code="hotfix", author="dana@shop.example")
    hooks = {moment: lambda: sandbox.deploy(WORKER, hotfix, author="dana@shop.example")}
    sandbox.fault(**WRITE, skip=write - 1, **hooks)

    outcome = rollback(rehearsed)

    has_moved = moment == "before"  # its write replaced the hotfix, which came in after the comparison
    ends = (4, "failed", "world_moved") if has_moved else (3, "refused", "world_moved")
    assert ended(outcome) == ends, outcome.err
    assert rehearsed.live == {hotfix: 100}
    assert outcome.result["wrote"] is has_moved
    assert ("the traffic was not moved" in outcome.result["message"]) is not has_moved
    said = [*texts(outcome, "warning"), outcome.result["message"]]
    assert any("dana@shop.example" in text for text in said)


def test_foreign_deployment_that_cannot_be_restored_is_named(rehearsed: Shop) -> None:
    """The start of the rehearsal replaced it, so the traffic moved."""
    sandbox = rehearsed.world.sandbox
    hotfix = sandbox.upload(WORKER, code="hotfix", author="dana@shop.example")
    sandbox.fault(**WRITE, before=lambda: sandbox.deploy(WORKER, hotfix, author="dana@shop.example"))
    sandbox.fault(**WRITE, code=10013, skip=1, times=None)

    outcome = rollback(rehearsed)

    assert rehearsed.live == {rehearsed.bad: 100, rehearsed.good: 0}
    (said,) = [text for text in texts(outcome, "warning") if f"replaced {hotfix[:8]}, deployed" in text]
    assert "does not affect the traffic" not in said
    assert ended(outcome)[:2] == (4, "failed"), outcome.err
    assert "not moved" not in outcome.result["message"]
    assert f"{rehearsed.bad[:8]} has been live since " in outcome.result["message"]
    assert f" in place of {hotfix[:8]}, deployed " in outcome.result["message"]

    sandbox.faults.clear()
    rollback(rehearsed)

    assert rehearsed.live == {hotfix: 100}


@pytest.mark.slow
def test_one_bad_response_refuses_no_target(rehearsed: Shop) -> None:
    rehearsed.world.edit_config("successes: 2", "successes: 1")
    named = f'{{"version": "{rehearsed.good}"}}'
    rehearsed.world.sandbox.edge_fault(path="/cart", status=503, body=named, content_type="application/json", skip=1)

    outcome = rollback(rehearsed)

    assert steps(outcome)[-1].endswith(": healthy"), outcome.err
    assert rehearsed.live == {rehearsed.good: 100}


def test_foreign_deployment_during_the_probes_is_kept(world: World) -> None:
    opened = open_shop(world, good=503)
    hotfix = world.sandbox.upload(WORKER, code="hotfix")

    result = run_with_hook(opened, "probed", lambda: world.sandbox.deploy(WORKER, hotfix, author="dana@shop.example"))

    assert (result.exit_code, result.reason.value) == (3, "world_moved")
    assert splits(opened)[-1] == {hotfix: 100}


def test_same_rollback_by_a_colleague_during_the_probes_is_nothing_to_do(rehearsed: Shop) -> None:
    sandbox = rehearsed.world.sandbox

    result = run_with_hook(rehearsed, "probed", lambda: sandbox.deploy(WORKER, rehearsed.good))

    assert (result.exit_code, result.reason.value) == (0, "already_live")
    assert splits(rehearsed)[-1] == {rehearsed.good: 100}


def run_with_hook(opened: Shop, step: str, hook: Callable[[], object], *, nth: int = 1) -> EndedRun:
    """Run in this process, and call the hook at the nth event of the rehearsal that begins with `step`."""
    seen = 0

    def sink(event: RunEvent) -> None:
        nonlocal seen
        if event.kind == EventKind.REHEARSED and event.text.startswith(step):
            seen += 1
            if seen == nth:
                hook()

    options = RunOptions(dry_run=False, confirm=lambda _: False, show_plan=lambda _: None, probe_wait=0.0)
    request = run.RunRequest(
        runbook=RollbackWorker(), params=RollbackWorker.Params("web"), environment="live", config=opened.world.config
    )
    environ = {**opened.world.sandbox.environ(), "SHOP_TOKEN": opened.world.sandbox.token}
    with SignalHandler().in_run() as signals:
        return run.run_runbook(request, environ, Redactor(), sink=sink, options=options, signals=signals)[0]


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("step", "nth"),
    [*((step, nth) for step in ("writing", "written", "read back", "probed") for nth in (1, 2)), ("compared", 1)],
)
def test_interrupted_rehearsal_is_undone(rehearsed: Shop, step: str, nth: int) -> None:
    result = run_with_hook(rehearsed, step, lambda: os.kill(os.getpid(), signal.SIGTERM), nth=nth)

    assert result.exit_code == 130
    assert not result.wrote
    assert "nothing was changed" not in result.message or (step, nth) == ("compared", 1)
    assert rehearsed.live == {rehearsed.bad: 100}
    assert rollback(rehearsed).result["decision"] == "recovered"
    assert rehearsed.live == {rehearsed.good: 100}


@pytest.mark.slow
def test_second_run_continues_the_rehearsal_of_a_killed_one(rehearsed: Shop) -> None:
    leave_rehearsal(rehearsed)

    outcome = rollback(rehearsed)

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    bad, good = rehearsed.bad, rehearsed.good
    assert splits(rehearsed) == [{bad: 100, good: 0}, {bad: 100}, {good: 100}]
    assert any("left by another run" in text for text in steps(outcome))
    assert any("an unfinished rehearsal left" in text for text in outcome.result["plan"]["warnings"])


@pytest.mark.slow
@pytest.mark.parametrize("more", [("--to", "old"), ("--no-rehearsal",)], ids=["another target", "no rehearsal"])
def test_leftover_rehearsal_is_replaced(rehearsed: Shop, more: tuple[str, ...]) -> None:
    leave_rehearsal(rehearsed)

    outcome = rollback(rehearsed, *(rehearsed.old if each == "old" else each for each in more))

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert len(rehearsed.live) == 1


@pytest.mark.slow
def test_leftover_rehearsal_is_removed_on_request(rehearsed: Shop) -> None:
    leave_rehearsal(rehearsed)

    rollback(rehearsed, "--to", rehearsed.bad)

    assert splits(rehearsed)[1:] == [{rehearsed.bad: 100}]


@pytest.mark.slow
def test_rehearsal_killed_at_any_request_can_be_finished(world: World) -> None:
    opened = open_shop(world)
    plan, rehearsal = 7, 10  # requests
    for nth in range(plan + 1, plan + rehearsal + 1):
        command = Command(world, service="web", environment="live", environ={"SHOP_TOKEN": world.sandbox.token})
        world.sandbox.fault(path="/client/v4/accounts/**", skip=nth - 1, after=command.send(signal.SIGKILL))
        outcome = command.run()
        assert outcome.code == -signal.SIGKILL, outcome.out
        assert opened.live[opened.bad] == 100
        world.sandbox.faults.clear()

    outcome = rollback(opened)

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert opened.live == {opened.good: 100}


def wait_for_rehearsal(rehearsed: Shop, number: int) -> bool:
    """Return whether the comment on the incident shows within nine seconds that a rehearsal began."""
    for _ in range(90):
        bodies = (each.body for each in rehearsed.world.sandbox.github.issue(number).comments)
        rows = [row for body in bodies if (read := read_record(body)) for row in read.rows if row.kind == "rehearsed"]
        if any(row.text.startswith("writing: ") for row in rows):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
def test_comment_says_at_once_that_a_rehearsal_began(rehearsed: Shop) -> None:
    hub, seen = rehearsed.world.sandbox.github, []
    number = hub.open_issue("Cart fails", "", ["incident"], hub.add_user("mai"))
    rehearsed.world.sandbox.fault(**WRITE, skip=1, before=lambda: seen.append(wait_for_rehearsal(rehearsed, number)))

    outcome = rehearsed.ops(*ROLLBACK, "--yes", "--incident", str(number), **hub.environ())

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert seen == [True]


@pytest.mark.slow
def test_last_job_says_what_a_killed_rehearsal_left(rehearsed: Shop, python: RunPython) -> None:
    world, hub = rehearsed.world, rehearsed.world.sandbox.github
    number = hub.open_issue("Cart fails", "", ["incident"], hub.add_user("mai"))
    workflow = Workflow(world, number, python)
    payload = workflow.label("recover:web", "mai")
    job = {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": RUN, "GITHUB_RUN_ATTEMPT": "1", "GITHUB_ACTOR": "mai"}
    environ = {"SHOP_TOKEN": world.sandbox.token, **hub.environ(), **job}
    incident = ("--incident", str(number))
    command = Command(world, service="web", environment="live", environ=environ, more=incident)

    def kill() -> None:
        wait_for_rehearsal(rehearsed, number)
        command.send(signal.SIGKILL)()

    world.sandbox.fault(**WRITE, skip=1, lost="before", before=kill)
    outcome = command.run()
    needs = {
        "gate": {"result": "success", "outputs": {"go": "true", "attempt": "1", "environment": "live"}},
        "recovery-live": {"result": "failure", "outputs": {}},
    }
    workflow.step("tell", payload, NEEDS=json.dumps(needs))

    assert outcome.code == -signal.SIGKILL, outcome.err
    assert rehearsed.live == {rehearsed.bad: 100, rehearsed.good: 0}
    (body,) = workflow.bodies
    said, _, _ = body.partition("<!-- ")
    assert said.startswith("**Unknown whether anything was changed, because the run stopped in its middle:** ")
    assert "look at what is live: `./run ops status --environment live`" in said
    assert f"`./run ops label recover:web --incident {number}`" in said
    assert "Its rehearsal may have left a version at 0 %, which gets no traffic. The next run removes it." in said

    again = rehearsed.ops(*ROLLBACK, "--yes", *incident, **hub.environ())
    assert ended(again)[:2] == (0, "recovered"), again.err
    assert rehearsed.live == {rehearsed.good: 100}
