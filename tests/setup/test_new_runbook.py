"""`ops new-runbook`: what it writes passes the guards, in a copy of the repository and from outside of it."""

import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from tests.conftest import ROOT, WORKER, World
from tests.support.commands import Command

NAME = "turn-off-address"
FILE, TEST = Path("ops/runbooks/turn_off_address.py"), Path("tests/runbooks/test_turn_off_address.py")
OF_EVERY_RUNBOOK = [
    *("tests/test_dry_run.py", "tests/test_claims.py", "tests/test_secrets_stay_secret.py", "tests/test_docs.py"),
    "tests/engine/test_interruption.py",
]
"""The files with tests that take each runbook by its name."""
OF_ALL_RUNBOOKS = ["tests/test_claims.py", "tests/test_docs.py", "tests/setup/test_workflows.py"]
"""The files with tests that take all of them together."""


def place(folder: Path) -> Path:
    """Make the folders that it writes to."""
    for path in (FILE, TEST):
        (folder / path.parent).mkdir(parents=True)
    return folder


def pytest_in(folder: Path, *arguments: str) -> str:
    """Run tests of a copy of the repository in this number of processes; return what it printed."""
    return program(folder, "pytest", "-q", "-n2", "-pno:cacheprovider", "-pno:randomly", *arguments)


NAMES = (NAME, NAME, "status", "ops-check")
"""Of the last there is a workflow, and a button is a workflow too."""


def program(folder: Path, *arguments: str) -> str:
    environ = {**os.environ, "PYTHONPATH": str(folder), "MYPY_CACHE_DIR": os.devnull}
    argv = [sys.executable, "-m", *arguments]
    done = subprocess.run(argv, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_writes_a_runbook_and_its_test_and_replaces_nothing(world: World) -> None:
    place(world.folder)

    outcomes = [world.ops("new-runbook", name, "--into", str(world.folder)) for name in (*NAMES, "../x")]

    assert [outcome.code for outcome in outcomes] == [0, 2, 2, 2, 2]
    assert "./run pytest tests/test_docs.py tests/test_contract.py --update-golden" in outcomes[0].out
    assert "exists already" in outcomes[1].err
    assert (world.folder / FILE).read_text().count('name = "turn-off-address"') == 1
    assert sorted(path.name for path in world.folder.rglob("*.py")) == [TEST.name, FILE.name]


def test_the_runbook_that_it_writes_works(world: World) -> None:
    world.release(timedelta(hours=1), code="good")
    world.sandbox.switch_subdomain(WORKER, enabled=True, previews_enabled=True)
    place(world.folder)
    assert world.ops("new-runbook", NAME, "--into", str(world.folder)).code == 0

    outcome = Command(world, NAME, program=("-m", "tests.support.outside_runbook", str(world.folder / FILE))).run()

    assert outcome.code == 0, outcome.err
    assert world.sandbox.subdomain(WORKER) == {"enabled": False, "previews_enabled": False}


def test_a_right_without_a_read_is_not_one_of_the_report_token(world: World) -> None:
    place(world.folder)
    assert world.ops("new-runbook", NAME, "--into", str(world.folder)).code == 0
    file = world.folder / FILE
    file.write_text(file.read_text().replace('("Workers Scripts Write",)', '("Cache Purge", "Zone Read")'))

    said = program(
        ROOT, "tests.support.outside_runbook", str(file), "workflows", "environments", "--config", str(world.config)
    )

    rights = {name.strip("` "): rights for _, name, _, _, rights, *_ in (line.split("|") for line in said.splitlines())}
    assert "Cache Purge" in rights["recovery"]
    assert "Zone Read" in rights["report"]
    assert [right for right in rights["report"].split(", ") if not right.strip().endswith(" Read")] == []


@pytest.mark.slow
def test_what_it_writes_passes_the_guards_of_the_repository(world: World) -> None:
    copy = world.folder / "copy"
    for name in ("ops", "tests", "sandbox"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (path for path in ROOT.iterdir() if not (copy / path.name).exists()):
        (copy / path.name).symlink_to(path)
    assert world.ops("new-runbook", NAME, "--into", str(copy)).code == 0

    program(copy, "ruff", "check", "--no-cache", str(FILE), str(TEST))
    program(copy, "ruff", "format", "--no-cache", "--check", str(FILE), str(TEST))
    program(copy, "mypy", str(FILE), str(TEST))
    assert "1 passed" in pytest_in(copy, str(TEST))
    pytest_in(copy, "tests/test_layers.py", "tests/test_dry_run.py", "-m", "not slow", "-k", f"layers or {NAME}")


@pytest.mark.slow
def test_a_runbook_outside_the_repository_passes_the_tests_of_every_runbook(world: World) -> None:
    place(world.folder)
    assert world.ops("new-runbook", NAME, "--into", str(world.folder)).code == 0
    file = str(world.folder / FILE)

    pytest_in(ROOT, "--runbook", file, *OF_ALL_RUNBOOKS, "-m", "not slow")
    said = pytest_in(ROOT, "--runbook", file, *OF_EVERY_RUNBOOK, "-m", "slow or not slow", "-k", NAME)

    assert int(said.split(" passed")[0].split()[-1]) > 50
