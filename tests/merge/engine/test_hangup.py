"""SIGHUP: a closed terminal or a lost ssh ends a run with its result, and `nohup` keeps it running."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, WORKER, Releases, World
from tests.support.commands import LIST, WRITE, Terminal, ended, has_ended, timeline
from tests.support.shop import Shop

OWN_TERMINAL = """\
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Makes the terminal on stdin the controlling one, so that its end sends SIGHUP (man 4 tty_ioctl).

The tests may run under `nohup`, whose children ignore that.
"""
WHERE = ("--service", "api", "--environment", "production")


@contextmanager
def hangups() -> Iterator[list[int]]:
    """Yield the hangups that no handler of ours took; without one this process would end."""
    missed: list[int] = []
    former = signal.signal(signal.SIGHUP, lambda number, _: missed.append(number))
    try:
        yield missed
    finally:
        signal.signal(signal.SIGHUP, former)


def hang_up() -> None:
    os.kill(os.getpid(), signal.SIGHUP)


def test_hangup_at_the_write_ends_the_run_with_its_result(world: World, releases: Releases) -> None:
    world.sandbox.fault(**WRITE, before=hang_up)

    with hangups() as missed:
        outcome = world.rollback()
        assert missed == []
        hang_up()
        assert missed == [signal.SIGHUP]  # the run put the handler back

    assert ended(outcome) == (130, "interrupted", "signal")
    assert (outcome.result["message"], outcome.result["wrote"]) == (
        "written, not seen live: SIGHUP ended the run",
        True,
    )
    assert outcome.result["timeline"] == timeline(world)
    assert world.live == {releases.good: 100}
    assert ended(world.rollback())[1] == "nothing_to_do"


def test_ignored_hangup_stays_ignored(shop: Shop) -> None:
    """`nohup` starts a program with SIGHUP ignored."""
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    shop.world.sandbox.fault(**{**WRITE, "before": hang_up})
    try:
        outcome = shop.ops("rollback-worker", "--yes", "--json")
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, former)

    assert ended(outcome)[:2] == (0, "recovered")


def descendants(pid: int) -> set[int]:
    """Return the process and everything below it."""
    found = {pid}
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            found |= descendants(int(child))
    return found


@contextmanager
def on_terminal(folder: Path, environ: dict[str, str], *arguments: str, nohup: bool = False) -> Iterator[Terminal]:
    """Start `./run ops …` as the leader of a session on a terminal of its own, which the block closes."""
    ours, its = pty.openpty()
    program = [sys.executable, str(ROOT / "run"), "ops", *arguments]
    argv = [sys.executable, "-c", OWN_TERMINAL, *(["/usr/bin/env", "nohup", *program] if nohup else program)]
    variables = {"PATH": os.environ["PATH"], **environ}
    with subprocess.Popen(
        argv, env=variables, cwd=folder, start_new_session=True, text=True, stdin=its, stdout=its, stderr=its
    ) as process:
        os.close(its)
        try:
            yield Terminal(process, ours)
        finally:
            if process.poll() is None:
                process.kill()


def close_during(rule: dict[str, Any], world: World, terminal: list[Terminal]) -> None:
    """Close the terminal while the run waits for the answer to a request."""
    world.sandbox.fault(**rule, before=lambda: os.close(terminal[0].descriptor), delay=0.3)


@pytest.mark.parametrize(("rule", "wrote"), [(LIST, False), (WRITE, True)], ids=["in the plan", "at the write"])
def test_closed_terminal_ends_the_run_with_its_record(
    world: World, releases: Releases, rule: dict[str, Any], wrote: bool
) -> None:
    """Nothing can be printed any more, so the record is all that stays."""
    held: list[Terminal] = []
    close_during(rule, world, held)
    with on_terminal(world.folder, world.sandbox.environ(), "rollback-worker", *WHERE, "--yes") as terminal:
        held.append(terminal)
        below = descendants(terminal.process.pid)
        code = terminal.process.wait(timeout=60)

    end = timeline(world)[-1]
    assert (code, end["kind"], end["text"], end["data"]["reason"]) == (130, "ended", "interrupted", "signal")
    assert world.live == {releases.good if wrote else releases.bad: 100}
    (record,) = (world.folder / ".ops" / "runs").glob("*/record.md")
    assert "SIGHUP ended the run" in record.read_text()
    assert all(map(has_ended, below))


def test_terminal_that_closes_at_the_confirmation_changes_nothing(world: World, releases: Releases) -> None:
    with on_terminal(world.folder, world.sandbox.environ(), "rollback-worker", *WHERE) as terminal:
        terminal.until('Type "api" to go on')
        os.close(terminal.descriptor)
        code = terminal.process.wait(timeout=60)

    assert code == 130
    assert timeline(world)[-1]["text"] == "interrupted"
    assert world.writes() == []


def test_nohup_goes_on_without_its_terminal(world: World, releases: Releases) -> None:
    held: list[Terminal] = []
    close_during(WRITE, world, held)
    with on_terminal(world.folder, world.sandbox.environ(), "rollback-worker", *WHERE, "--yes", nohup=True) as terminal:
        held.append(terminal)
        code = terminal.process.wait(timeout=60)

    assert (code, timeline(world)[-1]["text"]) == (0, "recovered")


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("drill", "rollback-worker"), "planned"),
        (("drill", "relapse"), "watch --service"),
        (("watch", "--for", "30m", *WHERE), "healthy"),
        (("sandbox",), "all that is in it is gone"),
    ],
    ids=["drill", "drill with a watch", "watch", "sandbox"],
)
def test_closed_terminal_ends_other_commands_and_their_children(
    world: World, releases: Releases, arguments: tuple[str, ...], shown: str
) -> None:
    world.sandbox.deploy(WORKER, releases.good)
    environ = world.sandbox.environ() if arguments[0] == "watch" else {}
    with on_terminal(world.folder, environ, *arguments) as terminal:
        terminal.until(shown)
        below = descendants(terminal.process.pid)
        os.close(terminal.descriptor)
        code = terminal.process.wait(timeout=60)

    assert code == (0 if arguments[0] == "sandbox" else 130)  # the end of a sandbox is no failure
    assert all(map(has_ended, below))
