"""Pages run: each command of a tutorial or how-to page does what the page says, in a world on the sandbox.

Every page begins with the world of `ops sandbox --example`: a good and a bad release, and a person on call.
"""

import os
import subprocess
from pathlib import Path

import pytest

from ops.drills.practice import break_example
from tests.conftest import REFERENCE, ROOT, World
from tests.support.page_commands import PageCommand, commands_of, differing_line

DOCS = ROOT / "docs"


@pytest.fixture
def example(world: World, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the variables that `ops sandbox --example` prints, in a folder with the files of a fresh clone."""
    world.sandbox.clock.longest_sleep = 0.0
    for name in ("ops.yml", "limits.yml"):
        (world.folder / name).write_text((REFERENCE / name).read_text())
    monkeypatch.chdir(world.folder)
    return {**world.sandbox.environ(), **break_example(world.sandbox), "OPS_PROGRAM": "./run ops"}


def run_shell(command: str, environ: dict[str, str], folder: Path) -> tuple[int, str]:
    program = ["bash", "-c", f"set -o pipefail; {command}"]
    done = subprocess.run(
        program, env={"PATH": os.environ["PATH"], **environ}, cwd=folder, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def run(world: World, command: PageCommand, environ: dict[str, str]) -> tuple[int, str]:
    """Return the exit code and what the terminal shows."""
    if not command.is_ops:
        return run_shell(command.text, environ, world.folder)
    outcome = world.ops(*command.words, **environ)
    return outcome.code, outcome.out + outcome.err


def test_tutorial_runs_as_written(world: World, example: dict[str, str]) -> None:
    start, *rest = commands_of(DOCS / "tutorial" / "first-incident.md")
    assert start.words == ("sandbox", "--example")

    wrong, printed = [], ""
    for command in rest:
        if command.words[:1] == ("drill",):  # `ops drill` has tests of its own
            continue
        code, printed = run(world, command, example)
        if code or (command.output and differing_line(command.output, printed)):
            wrong.append((command.text, code, differing_line(command.output, printed), printed))

    assert wrong == []
    assert printed.startswith("## What happened\n")
    assert "a variable is missing" in printed
    assert world.sandbox.github.issue(1).state == "closed"
