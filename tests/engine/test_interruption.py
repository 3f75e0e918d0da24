"""Signals and kills at each step: record, live state, and the second run."""

import errno
import os
import signal
import threading
from dataclasses import replace
from typing import NoReturn

import pytest

from ops import cli
from ops.app import run
from ops.cli.runbook_command import runbook_command
from ops.core.errors import Interrupted, Reason
from ops.core.redaction import Redactor
from ops.core.run import EndedRun
from ops.core.timeline import EventKind, RunEvent
from ops.engine.context import Context
from ops.engine.engine import RunOptions
from ops.engine.signals import SignalHandler
from ops.engine.step import StepPlan
from ops.runbooks.rollback_worker import RollbackWorker
from tests.conftest import Outcome, Releases, World
from tests.support.claims import TOKEN, case_world
from tests.support.claims import run as run_again
from tests.support.commands import PROMISE, WRITE, Command, ended, interruptions, is_awaited, ours, timeline
from tests.support.scenarios import SECRETS, Case, Given, all_cases, part_of, program_of

REQUESTS = 9
"""Requests of a whole run that it waits for: four parallel reads, then deployments with two details, the write, the read back."""
WRITE_AT = 8
SENT_STATES = {"unknown whether the change was made", "written, not seen live", "written and live, not proved"}
"""What an interrupted run can know of its change, once that is sent."""


def assert_interrupted(world: World, number: signal.Signals, outcome: Outcome) -> None:
    """Check exit code and message, and that the record on disk is complete and equals the result."""
    assert outcome.code == 130, outcome.err
    result = outcome.result
    assert (result["decision"], result["reason"]) == ("interrupted", "signal")
    sent = any(event["kind"] == "writing" for event in result["timeline"])
    state, _, said = result["message"].rpartition(": ")
    assert said == f"{number.name} ended the run"
    assert state in (SENT_STATES if sent else {"nothing was changed"})
    assert PROMISE.search(result["hint"])
    assert [event["kind"] for event in timeline(world)[-2:]] == ["failed", "ended"]
    assert result["timeline"] == timeline(world)


def assert_second_run_finishes(world: World, releases: Releases, *, applied: bool) -> None:
    """Check that one deployment of ours made the good version live."""
    world.sandbox.faults.clear()

    outcome = world.rollback()

    assert outcome.code == 0, outcome.err
    assert outcome.result["decision"] == ("nothing_to_do" if applied else "recovered")
    assert world.live == {releases.good: 100}
    assert len(ours(world)) == 1


def interrupt_at_request(world: World, releases: Releases, number: signal.Signals, nth: int, moment: str) -> None:
    """Interrupt at a request: `before` it reaches Cloudflare, or `after` it took effect but before its answer."""
    command = Command(world)
    lost = {"lost": "before"} if moment == "before" and number == signal.SIGKILL else {}
    at = {"path": "/client/v4/accounts/**", "when": is_awaited, "skip": nth - 1}
    world.sandbox.fault(**at, **{moment: command.send(number)}, **lost)

    outcome = command.run()

    applied = nth > WRITE_AT or (nth == WRITE_AT and not lost)
    assert world.live == {releases.good if applied else releases.bad: 100}
    if number == signal.SIGKILL:
        assert outcome.code == -signal.SIGKILL, outcome.err
        assert timeline(world)[-1]["kind"] != "ended"
    else:
        assert_interrupted(world, number, outcome)
    assert_second_run_finishes(world, releases, applied=applied)


EVERY_END = interruptions(REQUESTS)
FAST = [(signal.SIGKILL, WRITE_AT, "after")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "nth", "moment"),
    [*FAST, *(pytest.param(*end, marks=pytest.mark.slow) for end in EVERY_END if end not in FAST)],
)
def test_run_interrupted_at_any_request_can_be_finished(
    world: World, releases: Releases, number: signal.Signals, nth: int, moment: str
) -> None:
    interrupt_at_request(world, releases, number, nth, moment)


@pytest.mark.slow
def test_interruption_matrix_covers_every_request(world: World, releases: Releases) -> None:
    world.rollback()

    requests = [*filter(is_awaited, world.sandbox.requests)]
    assert requests[WRITE_AT - 1 : WRITE_AT] == world.writes()
    assert len(requests) == REQUESTS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "round_number"),
    [
        pytest.param(signal.SIGINT, 2, id="SIGINT in the first round"),
        pytest.param(signal.SIGTERM, 3, id="SIGTERM in the second round"),
        pytest.param(signal.SIGINT, 4, id="SIGINT in the third round"),
        *(pytest.param(signal.SIGKILL, n, id=f"SIGKILL in round {n - 1}") for n in (2, 3, 4)),
    ],
)
def test_signal_during_verification_keeps_the_change(
    world: World, releases: Releases, number: signal.Signals, round_number: int
) -> None:
    """The probe sends the signal, so that it arrives within a round; round 1 is the one before the write."""
    world.verify_three_rounds()
    probe = (
        f"echo >>rounds; test $(wc -l <rounds) -eq {round_number} && kill -{number.value} $PPID && sleep 0.2; exit 0"
    )
    here = "          # A program can be a probe too"
    world.edit_config(here, f"          - name: x\n            command: {{run: [sh, -c, '{probe}']}}\n{here}")

    outcome = Command(world).run()

    assert world.live == {releases.good: 100}
    if number == signal.SIGKILL:
        assert outcome.code == -signal.SIGKILL
        assert "read_back" in [event["kind"] for event in timeline(world)]
    else:
        assert_interrupted(world, number, outcome)
        assert outcome.result["wrote"]
        assert outcome.result["undo"]
    assert_second_run_finishes(world, releases, applied=True)


@pytest.mark.slow
def test_signal_during_the_write_waits_for_the_answer(world: World, releases: Releases) -> None:
    command = Command(world)
    world.sandbox.fault(**WRITE, before=command.send(signal.SIGTERM), delay=0.2)

    outcome = command.run()

    assert_interrupted(world, signal.SIGTERM, outcome)
    assert [event["kind"] for event in timeline(world)][-4:] == ["writing", "written", "failed", "ended"]
    assert outcome.result["wrote"]


@pytest.mark.slow
def test_signal_during_an_unclear_write_is_recorded(world: World, releases: Releases) -> None:
    command = Command(world)
    world.sandbox.fault(**WRITE, before=command.send(signal.SIGTERM), lost="after")

    outcome = command.run()

    assert_interrupted(world, signal.SIGTERM, outcome)
    assert [event["kind"] for event in timeline(world)][-4:] == ["writing", "warning", "failed", "ended"]
    assert timeline(world)[-3]["data"]["reason"] == "unclear"
    assert_second_run_finishes(world, releases, applied=True)


@pytest.mark.slow
def test_repeated_signals_keep_the_record_complete(world: World, releases: Releases) -> None:
    command = Command(world)
    hook = command.send(signal.SIGINT, signal.SIGTERM, signal.SIGINT)
    world.sandbox.fault(path="/client/v4/accounts/**", before=hook, skip=3, times=None)

    outcome = command.run()

    assert outcome.code == 130, outcome.err
    assert [event["kind"] for event in timeline(world)[-2:]] == ["failed", "ended"]
    assert outcome.result["timeline"] == timeline(world)


def run_with_a_signal_at(world: World, kind: EventKind) -> EndedRun:
    """Run in this process, which signals itself while the second of two sinks gets the event."""

    def sink(event: RunEvent) -> None:
        if event.kind == kind:
            os.kill(os.getpid(), signal.SIGTERM)

    options = RunOptions(dry_run=False, confirm=lambda _: False, show_plan=lambda _: None, probe_wait=0.0)
    request = run.RunRequest(
        runbook=RollbackWorker(), params=RollbackWorker.Params("api"), environment="production", config=world.config
    )
    environ = world.sandbox.environ()
    with SignalHandler().in_run() as signals:
        return run.run_runbook(request, environ, Redactor(), sink=sink, options=options, signals=signals)[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        EventKind.WRITING,
        EventKind.WRITTEN,
        EventKind.READ_BACK,
        *(
            pytest.param(kind, marks=pytest.mark.slow)
            for kind in (EventKind.PLANNED, EventKind.PROBED, EventKind.CONFIRMED, EventKind.VERIFIED)
        ),
    ],
)
def test_signal_during_recording_loses_no_event(world: World, releases: Releases, kind: EventKind) -> None:
    result = run_with_a_signal_at(world, kind)

    assert result.exit_code == 130
    assert [event["kind"] for event in timeline(world)] == [event.kind for event in result.events]
    assert [event.kind for event in result.events][-3:] == [kind, EventKind.FAILED, EventKind.ENDED]


@pytest.mark.slow
def test_signal_before_the_first_step_stops_at_once(world: World, releases: Releases) -> None:
    with pytest.raises(Interrupted):
        run_with_a_signal_at(world, EventKind.REQUESTED)

    assert [event["kind"] for event in timeline(world)] == ["requested"]
    assert world.sandbox.requests == []


@pytest.mark.slow
def test_ctrl_c_at_the_confirmation_changes_nothing(world: World, releases: Releases) -> None:
    with Command(world).on_terminal() as terminal:
        terminal.until('Type "api" to go on')
        terminal.interrupt()
        code = terminal.end()

    assert code == 130
    assert "INTERRUPTED  nothing was changed: SIGINT ended the run" in terminal.shown
    assert timeline(world)[-1]["kind"] == "ended"
    assert world.writes() == []


class SignalInsideLock(RollbackWorker):
    """In a lock."""

    name = "in-a-lock"

    def plan(self, ctx: Context[RollbackWorker.Params]) -> StepPlan:
        """Release an unlocked lock, as `threading.Condition` does after a signal between its two steps."""
        try:
            raise Interrupted("SIGINT ended the run", reason=Reason.SIGNAL)
        finally:
            threading.Lock().release()


def test_signal_inside_a_lock_interrupts_the_run(world: World, releases: Releases) -> None:
    cli.cli.add_command(runbook_command(SignalInsideLock()))
    try:
        where = ["--service", "api", "--environment", "production", "--config", str(world.config)]
        outcome = world.ops(SignalInsideLock.name, *where, "--yes", "--json")
    finally:
        del cli.cli.commands[SignalInsideLock.name]

    assert ended(outcome) == (130, "interrupted", "signal")
    assert world.live == {releases.bad: 100}


class FullDisk(RollbackWorker):
    """On a disk that fills up after the write."""

    name = "full-disk"

    def plan(self, ctx: Context[RollbackWorker.Params]) -> StepPlan:
        return replace(super().plan(ctx), decide=self.fail)

    @staticmethod
    def fail() -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_full_disk_after_the_write_reports_the_change(world: World, releases: Releases) -> None:
    cli.cli.add_command(runbook_command(FullDisk()))
    try:
        where = ["--service", "api", "--environment", "production", "--config", str(world.config)]
        outcome = world.ops(FullDisk.name, *where, "--yes")
    finally:
        del cli.cli.commands[FullDisk.name]

    assert world.live == {releases.good: 100}
    assert outcome.code == 1
    assert "the change was made, but it is not proved that it helped" in outcome.err
    assert "nothing was changed" not in outcome.err


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["after", "before"])
@pytest.mark.parametrize("case", list(all_cases()), ids=str)
def test_any_runbook_killed_at_its_write_can_be_finished(case: Case, moment: str) -> None:
    (method, path), *_ = case.writes
    with case_world(case) as world:
        incident = ["--incident", str(Given().incident)] if case.runbook.incident_use.is_required else []
        github = world.sandbox.github.environ() if case.runbook.permissions.github else {}
        environ = {**SECRETS, **github, "CLOUDFLARE_API_TOKEN": TOKEN, "OPS_SOURCE": str(world.folder / "app")}
        environ |= case.scenario.environ(world)
        command = Command(world, case.runbook.name, "", environ=environ, more=(*case.arguments, *incident))
        command.program = program_of(case)
        faults = world.sandbox.github if part_of(path) == "github" else world.sandbox
        faults.fault(method=method, path=path, lost=moment, **{moment: command.send(signal.SIGKILL)})

        assert command.run().code == -signal.SIGKILL
        world.sandbox.clock.advance(60)
        second = run_again(world, case)

        assert second.outcome.code == 0, second.outcome.err
        assert case.scenario.reached(world)
