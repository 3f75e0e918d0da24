"""`ops new-runbook`: its output passes the guards, inside a repository copy and outside."""

import os
import shlex
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from check.__main__ import CHECKS
from tests.conftest import REFERENCE, ROOT, WORKER, World
from tests.support import team_files
from tests.support.commands import Command
from tests.support.tracked import copy_compiled, tracked
from tests.support.workflows import generated

NAME = "turn-off-address"
FILE, TEST = Path("ops/runbooks/turn_off_address.py"), Path("tests/runbooks/test_turn_off_address.py")
PAGE = Path("docs/how-to/turn-off-address.md")
TYPE_CACHE = ROOT / ".mypy_cache"
OF_EVERY_RUNBOOK = [
    *("tests/test_dry_run.py", "tests/test_claims.py", "tests/test_secrets_stay_secret.py"),
    "tests/engine/test_interruption.py",
]
"""Test files that run once per runbook."""
OF_ALL_RUNBOOKS = [
    *("tests/test_claims.py", "tests/static/test_docs.py"),
    *("tests/setup/test_workflows.py", "tests/setup/test_workflow_later_jobs.py"),
]
"""Test files that check all runbooks together."""
OF_THIS_TREE = ("test_reference_pages_are_generated_from_the_code", "test_published_docs_build_without_warnings")
"""Of those, the tests that read no runbook of another place. Each takes 4 s."""


def create_folders(folder: Path) -> Path:
    """Create the folders that `ops new-runbook` writes to."""
    for path in (FILE, TEST, PAGE):
        (folder / path.parent).mkdir(parents=True)
    return folder


def pytest_in(folder: Path, *arguments: str) -> str:
    """Run tests of a copy of the repository in one process; return the output."""
    return run_module(folder, "pytest", "-q", "-n0", "-pno:cacheprovider", "-pno:randomly", *arguments)


NAMES = (NAME, NAME, "status", "ops-check")
"""New, existing, a command, and the name of a workflow (a button is a workflow too)."""


def run_module(folder: Path, *arguments: str) -> str:
    environ = {**os.environ, "PYTHONPATH": str(folder), "PYTEST_ADDOPTS": "-n0"}  # a worker starts as slow as a run
    argv = [sys.executable, "-m", *arguments]
    done = subprocess.run(argv, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_new_runbook_creates_files_and_overwrites_none(world: World) -> None:
    create_folders(world.folder)

    outcomes = [world.ops("new-runbook", name, "--into", str(world.folder)) for name in (*NAMES, "../x")]

    assert [outcome.code for outcome in outcomes] == [0, 2, 2, 2, 2]
    assert "./run pytest tests/static/test_docs.py tests/test_contract.py --update-golden" in outcomes[0].out
    assert "exists already" in outcomes[1].err
    assert (world.folder / FILE).read_text().count('name = "turn-off-address"') == 1
    assert sorted(path.name for path in world.folder.rglob("*.py")) == [TEST.name, FILE.name]


@pytest.mark.slow
def test_generated_runbook_works(world: World) -> None:
    world.release(timedelta(hours=1), code="good")
    world.sandbox.set_subdomain(WORKER, enabled=True, previews_enabled=True)
    create_folders(world.folder)
    assert world.ops("new-runbook", NAME, "--into", str(world.folder)).code == 0

    outcome = Command(world, NAME, program=("-m", "tests.support.outside_runbook", str(world.folder / FILE))).run()

    assert outcome.code == 0, outcome.err
    assert world.sandbox.subdomain(WORKER) == {"enabled": False, "previews_enabled": False}


@pytest.mark.slow
def test_report_token_gets_only_read_permissions(world: World) -> None:
    create_folders(world.folder)
    assert world.ops("new-runbook", NAME, "--into", str(world.folder)).code == 0
    file = world.folder / FILE
    file.write_text(file.read_text().replace('("Workers Scripts Write",)', '("Cache Purge", "Zone Read")'))

    said = run_module(
        ROOT, "tests.support.outside_runbook", str(file), "workflows", "environments", "--config", str(world.config)
    )

    rights = {name.strip("` "): rights for _, name, _, _, rights, *_ in (line.split("|") for line in said.splitlines())}
    assert "Cache Purge" in rights["recovery"]
    assert "Zone Read" in rights["report"]
    assert [right for right in rights["report"].split(", ") if not right.strip().endswith(" Read")] == []


def copy_repository(copy: Path) -> Path:
    """Copy the tracked files, and with them the compiled modules and the types."""
    with team_files.allowed():
        for path in tracked():
            target = copy / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
    copy_compiled(copy)
    if TYPE_CACHE.exists():
        shutil.copytree(TYPE_CACHE, copy / TYPE_CACHE.relative_to(ROOT))
    return copy


@pytest.mark.slow
def test_contributing_commands_add_a_runbook(tmp_path: Path) -> None:
    copy = copy_repository(tmp_path / "copy")
    for path in generated().rglob("*.yml"):
        shutil.copy(path, copy / path.relative_to(generated()))
    shutil.copy(REFERENCE / "limits.yml", copy)
    for words in (["init"], ["add", "--all"]):  # the checks read the files that Git tracks
        subprocess.run(["git", *words], cwd=copy, check=True, capture_output=True)
    *adding, checking = commands((ROOT / "CONTRIBUTING.md").read_text())
    said = [run_module(copy, *command) for command in adding]

    assert "1 passed" in said[1]
    assert "turn-off-address.yml" in said[2]
    assert NAME in (copy / "tests/contract.json").read_text()
    assert checking == ["check"]
    for check in CHECKS:
        run_module(copy, *narrow(check))


def narrow(check: str) -> list[str]:
    """Return the check for the new files: the others have their own, and the tests of the pages have just passed.

    The tests of the tree share a process with a generic test, which finds the new runbook.
    """
    words = [word for word in shlex.split(check) if word != "."]
    if words[0] == "pytest":
        ignored = "--ignore=tests/static/test_docs.py"
        return [*words, "-n0", "-pno:randomly", ignored, "tests/test_dry_run.py", "-k", f"static or {NAME}"]
    return words if words[0] == "ops" else [*words, str(FILE), str(TEST)]


def commands(text: str) -> list[list[str]]:
    """Return the commands of "Add a runbook", without `./run`: the copy uses the environment of this process."""
    section = text.split("## Add a runbook")[1].split("\n## ", maxsplit=1)[0]
    lines = section.split("```sh\n")[1].split("```")[0].splitlines()
    assert all(line.startswith("./run ") for line in lines)
    return [line.split()[1:] for line in lines]


@pytest.mark.slow
def test_external_runbook_passes_common_tests(world: World) -> None:
    create_folders(world.folder)
    assert world.ops("new-runbook", NAME, "--into", str(world.folder)).code == 0
    file = str(world.folder / FILE)

    others = (f"--deselect=tests/static/test_docs.py::{name}" for name in OF_THIS_TREE)
    pytest_in(ROOT, "--runbook", file, *OF_ALL_RUNBOOKS, *others, "-m", "not slow")
    said = pytest_in(ROOT, "--runbook", file, *OF_EVERY_RUNBOOK, "-m", "slow or not slow", "-k", NAME)

    assert int(said.split(" passed")[0].split()[-1]) > 50


def test_folder_that_is_no_copy_of_the_repository_is_refused(world: World) -> None:
    refused = world.ops("new-runbook", NAME, "--into", str(world.folder))

    assert refused.code == 2
    assert str(world.folder / FILE.parent) in refused.err
    assert not (world.folder / FILE.parent).exists()
