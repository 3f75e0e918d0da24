"""Output to a closed pipe or a full disk: the run continues and keeps its record."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, Outcome, Releases, World
from tests.support.commands import timeline

ROLLBACK = ("rollback-worker", "--service", "api", "--environment", "production", "--yes")


@pytest.fixture(params=["a pipe without a reader", "a full disk"])
def unwritable_output(request: pytest.FixtureRequest) -> Iterator[int]:
    if request.param == "a full disk":
        descriptor = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, descriptor = os.pipe()
        os.close(reader)
    yield descriptor
    os.close(descriptor)


def ops(folder: Path, stdout: int, *arguments: str, **environ: str) -> Outcome:
    argv = [sys.executable, "-m", "ops", *arguments]
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ}
    done = subprocess.run(
        argv, env=variables, cwd=folder, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )
    return Outcome(done.returncode, "", done.stderr)


def test_closed_pipe_ends_command_silently(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)

    outcome = ops(tmp_path, writer, "--help")

    os.close(writer)
    assert (outcome.code, outcome.err) == (141, "")


def test_unwritable_output_is_reported(world: World) -> None:
    with Path("/dev/full").open("wb") as full:
        outcome = ops(world.folder, full.fileno(), "config", "check")

    assert outcome.code == 2
    assert re.search(r"(?m)^error: `ops config check` .*\(No space left on device\)", outcome.err)
    assert "Traceback" not in outcome.err
    assert "Exception ignored" not in outcome.err


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["text", "json"])
def test_unwritable_output_does_not_stop_recovery(
    world: World, releases: Releases, unwritable_output: int, more: tuple[str, ...]
) -> None:
    outcome = ops(world.folder, unwritable_output, *ROLLBACK, *more, **world.sandbox.environ())

    assert outcome.code == 0, outcome.err
    assert world.live == {releases.good: 100}
    assert (timeline(world)[-1]["kind"], timeline(world)[-1]["text"]) == ("ended", "recovered")
    assert "a sink failed" not in str(timeline(world))
    assert "Traceback" not in outcome.err
    assert "Exception ignored" not in outcome.err
