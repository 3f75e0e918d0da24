"""Imports of a command: only the packages of its product; `ops --help` imports no runbook."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from typing import Any

import pytest

from ops.app.registry import discover_runbooks, find_runbook_file, load_runbook, runbook_names, scheduled_files
from ops.engine.runbook import Runbook
from tests.conftest import ROOT, WORKER, Releases, World
from tests.gate.support import Job
from tests.support.scenarios import options_of

LIST_MODULES = """
import sys
from ops import cli

code = cli.run(sys.argv[1:])
print(*(name for name in sys.modules if name.startswith("ops.")), sep="\\n", file=sys.stderr)
sys.exit(code)
"""


def imported_modules(world: World, *arguments: str, **variables: str | None) -> set[str]:
    """Return the modules of ops that the command imports in a new process."""
    given = {name: value for name, value in variables.items() if value is not None}
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **world.sandbox.environ(), **given}
    done = subprocess.run(
        [sys.executable, "-c", LIST_MODULES, *arguments],
        env=environ,
        cwd=world.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {line for line in done.stderr.splitlines() if re.fullmatch(r"ops(\.\w+)+", line)}


def packages(modules: set[str]) -> set[str]:
    return {name.split(".")[1] for name in modules}


def products() -> set[str]:
    """Return the product packages in the import rule."""
    rule = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    level = next(layer for layer in rule["layers"] if "rotation" in layer)
    return set(level.split(" | "))


@pytest.mark.slow
def test_rollback_imports_no_other_product(world: World, releases: Releases) -> None:
    where = ["--service", "api", "--environment", "production", "--config", str(world.config)]

    modules = imported_modules(world, "rollback-worker", *where, "--dry-run", "--json")

    assert world.sandbox.live(WORKER) == {releases.bad: 100}
    assert packages(modules) & products() == {"workers"}
    assert {name for name in modules if name.startswith("ops.runbooks.")} == {"ops.runbooks.rollback_worker"}
    assert not packages(modules) & {"scheduled", "gate", "incident", "evidence", "status", "report", "setup", "drills"}


@pytest.mark.slow
def test_gate_imports_only_the_runbook_of_the_label(world: World) -> None:
    """Each import delays the recovery: a job compiles every module again."""
    github = world.sandbox.github
    job = Job(world, github.open_issue("The API answers 500", labels=["incident"], author=github.add_user("alice")))

    modules = imported_modules(world, "gate", "--config", str(world.config), **job.variables(job.label()))

    assert (job.outputs["go"], job.outputs["runbook"]) == ("true", "rollback-worker")
    assert {name for name in modules if name.startswith("ops.runbooks.")} == {"ops.runbooks.rollback_worker"}
    assert packages(modules) & products() == {"workers"}
    assert len(modules) <= 126


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("--help",), ("limits", "--help")])
def test_help_imports_no_runbook(world: World, arguments: tuple[str, ...]) -> None:
    assert not packages(imported_modules(world, *arguments)) & {
        "runbooks",
        "scheduled",
        "config",
        "cloudflare",
        *products(),
    }


@pytest.mark.sampled
@pytest.mark.parametrize("name", [*runbook_names(), *scheduled_files()])
def test_runbook_name_and_help_match_its_file(name: str) -> None:
    file, made = find_runbook_file(name), load_runbook(name)

    assert made.name == file.name == name
    assert file.help_line == str(made.__doc__).splitlines()[0]


@pytest.mark.slow
def test_every_scheduled_runbook_is_listed() -> None:
    found = set()
    for path in (ROOT / "ops/scheduled").glob("*.py"):
        tree = ast.parse(path.read_text())
        for each in ast.walk(tree):
            has_name = isinstance(each, ast.ClassDef) and any(
                isinstance(line, ast.Assign) and [ast.unparse(to) for to in line.targets] == ["name"]
                for line in each.body
            )
            found |= {path.stem} if has_name else set()

    assert {file.module for file in scheduled_files().values()} == found


def test_scheduled_runbook_has_only_a_command() -> None:
    for name in scheduled_files():
        assert name not in discover_runbooks()
        assert load_runbook(name).label_use is None
        assert {"--dry-run", "--yes", "--json", "--environment"} <= options_of(name)
    with pytest.raises(KeyError):
        discover_runbooks()["limits apply"]


@pytest.mark.parametrize("runbook", discover_runbooks().values(), ids=lambda runbook: runbook.name)
def test_runbook_that_does_not_fit_every_service_names_the_setting(runbook: Runbook[Any]) -> None:
    fits_all = type(runbook).fits is Runbook.fits

    assert fits_all == (not runbook.setting)
