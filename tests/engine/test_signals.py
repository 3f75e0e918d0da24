"""SIGINT, SIGTERM and SIGHUP at any moment: exit code, messages and live state agree."""

import importlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click
import pytest

from ops import cli
from ops.core.errors import Interrupted
from ops.core.threads import start_call
from ops.engine.signals import SignalHandler
from tests.conftest import REFERENCE, ROOT, Outcome, Releases, World
from tests.support.commands import ours
from tests.support.properties import is_hunt

STARTUP_SECONDS = [
    (random.Random(n).uniform(0, 0.3), (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)[n % 3])
    for n in range(40 if is_hunt() else 9)
]
"""Seconds after the process can handle a signal; the weekly tests try more of them."""
ANYWHERE = [random.Random(n).uniform(0.3, 5) for n in range(100, 104)]
ENDING = [0.0, 0.002, 0.005, 0.01, 0.03, *(random.Random(n).uniform(0, 0.06) for n in range(35 if is_hunt() else 0))]
"""Seconds after the result was printed."""


@contextmanager
def running(world: World, *arguments: str, **environ: str) -> Iterator["subprocess.Popen[str]"]:
    """Start `./run ops …` with the sandbox's addresses and tokens."""
    variables = {"PATH": os.environ["PATH"], **world.sandbox.environ(), **environ}
    argv = [sys.executable, str(ROOT / "run"), "ops", *arguments]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(argv, env=variables, cwd=world.folder, text=True, **pipes) as process:
        yield process
        if process.poll() is None:
            process.kill()


def wait_until_signals_are_handled(process: "subprocess.Popen[str]") -> None:
    """Wait until SIGTERM is caught or blocked; until then only Python itself is starting.

    Python blocks every signal between fork and exec, and `run` only some.
    """
    is_handled = False
    while not is_handled:
        lines = (line.split() for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
        masks = {line[0]: int(line[1], 16) for line in lines if line[0] in {"SigCgt:", "SigBlk:"}}
        assert process.poll() is None
        caught, blocked = masks["SigCgt:"], masks["SigBlk:"]
        is_handled = _has_signal(caught | blocked, signal.SIGTERM) and not _has_signal(blocked, signal.SIGUSR1)


def _has_signal(mask: int, number: signal.Signals) -> bool:
    return bool(mask >> (number - 1) & 1)


def wait_for_end(process: "subprocess.Popen[str]", before: str = "") -> Outcome:
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    assert "Exception ignored" not in err
    return Outcome(process.returncode, before + out, err)


ROLLBACK = ("rollback-worker", "--service", "api", "--environment", "production", "--yes", "--json")


def assert_matches_live_state(outcome: Outcome, world: World, releases: Releases) -> None:
    """Compare the live state with the result on stdout, or else with the message."""
    wrote = bool(ours(world))
    assert world.live == {releases.good if wrote else releases.bad: 100}
    if not outcome.out:
        assert outcome.code == 130
        assert "nothing was changed" in outcome.err
        assert not wrote
        return
    assert outcome.code == outcome.result["exit_code"]
    assert outcome.code in {0, 130}
    assert outcome.result.get("wrote", False) == wrote
    assert ("nothing" in outcome.result["message"]) == (not wrote)


@pytest.mark.slow
@pytest.mark.hypothesis
@pytest.mark.parametrize(("moment", "number"), STARTUP_SECONDS)
def test_signal_during_startup_matches_live_state(
    world: World, releases: Releases, moment: float, number: signal.Signals
) -> None:
    with running(world, *ROLLBACK) as process:
        wait_until_signals_are_handled(process)
        time.sleep(moment)
        process.send_signal(number)
        outcome = wait_for_end(process)

    assert_matches_live_state(outcome, world, releases)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ANYWHERE, ids=lambda moment: f"{moment:.2f} s")
def test_signal_at_any_later_moment_matches_live_state(world: World, releases: Releases, moment: float) -> None:
    with running(world, *ROLLBACK) as process:
        wait_until_signals_are_handled(process)
        time.sleep(moment)
        process.send_signal(signal.SIGINT)
        outcome = wait_for_end(process)

    assert_matches_live_state(outcome, world, releases)


@pytest.mark.slow
@pytest.mark.hypothesis
@pytest.mark.parametrize("moment", ENDING, ids=lambda moment: f"{moment * 1000:.1f} ms")
def test_signal_after_the_result_keeps_the_exit_code(world: World, releases: Releases, moment: float) -> None:
    with running(world, *ROLLBACK) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        time.sleep(moment)
        process.send_signal(signal.SIGINT)
        outcome = wait_for_end(process, line)

    assert outcome.code == json.loads(line)["exit_code"] == 0
    assert_matches_live_state(outcome, world, releases)


@pytest.mark.slow
def test_signal_in_a_drill_reports_no_external_change(world: World) -> None:
    with running(world, "drill", "rollback-worker", "--config", str(REFERENCE / "ops.yml")) as process:
        assert process.stdout is not None
        shown = ""
        while " written " not in shown:
            shown = process.stdout.readline()
            assert shown
        process.send_signal(signal.SIGINT)
        outcome = wait_for_end(process)

    assert outcome.code == 130
    assert "error: SIGINT ended `ops drill rollback-worker`; nothing outside this machine was changed" in outcome.err


@pytest.mark.slow
def test_signal_during_label_sync_reports_possible_changes(world: World) -> None:
    hub = world.sandbox.github
    at_the_third = {"method": "POST", "path": "/repos/*/*/labels", "skip": 2, "delay": 0.3}

    with running(world, "labels", "sync", **hub.environ()) as process:
        hub.fault(**at_the_third, after=lambda: process.send_signal(signal.SIGINT))
        outcome = wait_for_end(process)

    assert outcome.code == 130
    assert outcome.out.count("created ") == 2
    assert "error: SIGINT ended `ops labels sync`; some of its changes may have been made" in outcome.err


def test_signal_outside_a_run_is_raised_only_once() -> None:
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    process = SignalHandler()
    process.install()
    try:
        with pytest.raises(KeyboardInterrupt, match="SIGTERM"):
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        process = SignalHandler()
        process.install()
        process.stop_raising()
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def test_signal_at_the_end_of_a_run_interrupts_the_next() -> None:
    process = SignalHandler()
    with process.in_run():
        process.stop_raising()
        os.kill(os.getpid(), signal.SIGINT)

    with process.in_run(), pytest.raises(Interrupted, match="SIGINT"), process.delay():
        pass


@pytest.mark.slow
def test_caught_signal_inside_exec_exits_with_130(tmp_path: Path) -> None:
    """Dataclasses are made by `exec`, so a signal may come there while modules are imported."""
    (tmp_path / "stopped.py").write_text("""
import sys
from ops.engine.signals import PROCESS_SIGNALS
PROCESS_SIGNALS.install()
try:
    exec("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
except KeyboardInterrupt:
    sys.exit(130)
""")
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    done = subprocess.run([sys.executable, "-m", "stopped"], env=environ, capture_output=True, check=False)

    assert (done.returncode, done.stderr) == (130, b"")


SET_NAME = """
class Stopping:
    def __set_name__(self, *_):
        os.kill(os.getpid(), signal.SIGINT)
def interrupt():
    type("Holder", (), {"at": Stopping()})
"""
CLEANUP = """
def interrupt():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        {}["half made"]
"""


@pytest.mark.slow
@pytest.mark.parametrize("interrupt", [SET_NAME, CLEANUP], ids=["set-name", "cleanup"])
@pytest.mark.parametrize("module", ["ops.cloudflare.client", "ops.cloudflare.types.zones"])
def test_signal_that_another_exception_replaces_changes_nothing(
    world: World, releases: Releases, tmp_path: Path, module: str, interrupt: str
) -> None:
    """Python 3.11 replaces what `__set_name__` raises by a RuntimeError; a cleanup may raise any exception."""
    (tmp_path / "sitecustomize.py").write_text(f"""
import os, signal, sys
{interrupt}
def stop(event, arguments):
    if event == "import" and arguments[0] == "{module}":
        interrupt()
sys.addaudithook(stop)
""")
    with running(world, *ROLLBACK, PYTHONPATH=str(tmp_path)) as process:
        outcome = wait_for_end(process)

    assert outcome.result["exit_code"] == 130
    assert_matches_live_state(outcome, world, releases)


class InterruptsInFinalizer:
    """Sends the signal from a place where Python ignores exceptions."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)


def test_signal_in_a_finalizer_interrupts_the_next_step(
    capfd: pytest.CaptureFixture[str],
) -> None:
    process = SignalHandler()
    with process.in_run():
        InterruptsInFinalizer()
        with pytest.raises(Interrupted, match="SIGINT"), process.delay():
            pass

    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
def test_signal_while_python_locks_its_imports_blocks_no_thread() -> None:
    """An exception right after the lock would leave it locked: each thread that imports then waits without an end."""
    program = """
import _imp, os, signal, sys, time
from ops.core.errors import Interrupted
from ops.core.threads import start_call
from ops.engine.signals import SignalHandler
def stop(frame, event, called):
    if event == "c_return" and called is _imp.acquire_lock:
        sys.setprofile(None)
        os.kill(os.getpid(), signal.SIGTERM)
with SignalHandler().in_run():
    try:
        sys.setprofile(stop)
        import colorsys
        time.sleep(10)
    except Interrupted as error:
        print(error.message)
start_call(lambda: __import__("sched")).result(timeout=60)
"""
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "SIGTERM ended the run\n"), done.stderr


@pytest.mark.parametrize("is_recorded", [True, False], ids=["its end is recorded", "it ends"])
def test_import_that_a_signal_met_leaves_no_timer_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_recorded: bool
) -> None:
    """SIGALRM after the end of the run would kill a process that no longer handles it."""
    (tmp_path / "met_by_signal.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    monkeypatch.syspath_prepend(tmp_path)
    process, former = SignalHandler(), signal.getsignal(signal.SIGALRM)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    try:
        with process.in_run():
            importlib.import_module("met_by_signal")
            if is_recorded:
                process.stop_raising()
                assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        assert signal.getsignal(signal.SIGALRM) != former
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)  # drops one that waits to be unblocked
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
        signal.signal(signal.SIGALRM, former)
        del sys.modules["met_by_signal"]


class AlarmRaised(Exception):
    pass


class Alarm:
    """Raise from a signal handler some microseconds after a thread began to start."""

    def __init__(self) -> None:
        self.armed = False

    def __call__(self, *_: object) -> None:
        if self.armed:
            self.armed = False
            raise AlarmRaised

    def interrupt_a_start(self, microseconds: int) -> None:
        with suppress(AlarmRaised):
            self.armed = True
            signal.setitimer(signal.ITIMER_REAL, microseconds / 1e6)
            start_call(lambda: None)
            self.armed = False


def test_signal_during_thread_start_keeps_the_thread_intact(monkeypatch: pytest.MonkeyPatch) -> None:
    ignored: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)
    alarm = Alarm()
    former = signal.signal(signal.SIGALRM, alarm)
    try:
        for nth in range(400):
            alarm.interrupt_a_start(microseconds=20 + nth % 100)
    finally:
        alarm.armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        time.sleep(0.05)
        signal.signal(signal.SIGALRM, former)

    # Python ignores what our own handler raises in a weakref callback of the main thread: that is no harm to a thread.
    assert [found for found in ignored if not isinstance(found.exc_value, AlarmRaised)] == []


def test_held_signal_at_the_end_of_a_run_is_not_raised() -> None:
    process = SignalHandler()
    with process.in_run(), process.delay():
        os.kill(os.getpid(), signal.SIGINT)
        process.stop_raising()


@click.command("in-a-lock")
def in_a_lock() -> None:
    """Release an unlocked lock, as `threading.Condition` does after a signal between its two steps."""
    try:
        raise KeyboardInterrupt("SIGTERM")
    finally:
        threading.Lock().release()


def test_signal_inside_a_lock_outside_a_run_is_reported(world: World) -> None:
    cli.cli.add_command(in_a_lock)
    try:
        outcome = world.ops("in-a-lock")
    finally:
        del cli.cli.commands["in-a-lock"]

    assert outcome.code == 130
    assert "error: SIGTERM ended `ops in-a-lock`; some of its changes may have been made" in outcome.err
