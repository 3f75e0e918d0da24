"""Mistyped command lines: each answer names a command that is accepted, sends no request and fits on a phone."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_help import parse
from tests.conftest import ROOT, World
from tests.support.bakery import CONFIG
from tests.support.shop import STAGING

GOLDEN = Path(__file__).parent / "mistakes.json"
"""Mistake → lines of its answer. A new mistake gets an empty list: `--update-golden` writes its answer."""
ANSWERS: dict[str, list[str]] = json.loads(GOLDEN.read_text())
OFFERED = re.compile("(example: | +(try: )?)ops ")
INTERNAL = re.compile(r"\b(NODE|None|UNSET|Traceback|UsageError|Params|callback|kwargs|argparse|click)\b")
LISTED = re.compile(r"Choose: |Name one of: |These fit: |known: |did you mean|in ops\.yml: see|add --config")
"""Words before the names that fit, or before the setting that is missing."""


@pytest.fixture
def bakery(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Two environments with a Worker each; one also has a site, a secret, a database and a switch."""
    text = CONFIG.replace("\nlabels:", f"{STAGING.replace('web', 'shop')}\nlabels:")
    world.config.write_text(text)
    monkeypatch.chdir(world.folder)
    return world


@pytest.mark.sampled(4)
@pytest.mark.parametrize("mistake", ANSWERS)
def test_mistake_is_answered_with_a_command_that_works(mistake: str, bakery: World, update_golden: bool) -> None:
    outcome = bakery.ops(*shlex.split(mistake)[1:])

    assert (outcome.code, outcome.out, bakery.sandbox.requests) == (2, "", [])
    lines = outcome.err.splitlines()
    offered = [line.strip().removeprefix("try: ").removeprefix("example: ") for line in lines if OFFERED.match(line)]
    for command in offered:
        parse(command)
    assert offered or any(map(LISTED.search, lines)) or mistake.startswith("ops --")
    assert not any("--yes" in command for command in offered) or re.search(" (-y|--yes)", mistake)
    assert len([line for line in lines if not line.startswith("  ops ")]) <= 3
    assert not INTERNAL.search(outcome.err)
    assert all(len(line) <= 200 for line in lines)
    if update_golden:
        stored = json.loads(GOLDEN.read_text())
        GOLDEN.write_text(json.dumps({**stored, mistake: lines}, indent=1, ensure_ascii=False) + "\n")
    assert lines == (lines if update_golden else ANSWERS[mistake])


def test_secret_in_a_mistake_is_not_repeated(bakery: World) -> None:
    secret = "Zx81Kq93mP20vLw7Rt56Yb14Nc"

    outcome = bakery.ops("rollback-worker", "--tokn", secret)

    assert outcome.code == 2
    assert secret not in outcome.err


def test_answer_begins_with_the_program_that_was_called(bakery: World) -> None:
    lines = bakery.ops("undo", OPS_PROGRAM="./run ops").err.splitlines()

    assert lines[1:] == ["  try: ./run ops last", " help: ./run ops --help"]


@pytest.mark.parametrize(("arguments", "code"), [((), 2), (("--help",), 0)])
def test_run_alone_shows_its_help(arguments: tuple[str, ...], code: int) -> None:
    done = subprocess.run([sys.executable, str(ROOT / "run"), *arguments], capture_output=True, text=True, check=False)

    assert (done.returncode, bool(done.stdout)) == (code, code == 0)
    assert "./run ops drill rollback-worker" in done.stdout + done.stderr
    assert not INTERNAL.search(done.stdout + done.stderr)
