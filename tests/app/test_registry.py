"""A command imports the packages of its own product alone, and `ops --help` imports no runbook."""

import os
import re
import subprocess
import sys
import tomllib

import pytest

from ops.app.registry import RunbookFile, discover, file_of
from tests.conftest import ROOT, WORKER, Releases, World

LIST_MODULES = """
import sys
from ops import cli

code = cli.run(sys.argv[1:])
print(*(name for name in sys.modules if name.startswith("ops.")), sep="\\n", file=sys.stderr)
sys.exit(code)
"""


def imported(world: World, *arguments: str) -> set[str]:
    """Names of the modules of ops that the command imports in a fresh process."""
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **world.sandbox.environ()}
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
    """The product packages, as the import rule names them."""
    rule = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    level = next(layer for layer in rule["layers"] if "rotation" in layer)
    return set(level.split(" | "))


def test_a_rollback_imports_no_other_product(world: World, releases: Releases) -> None:
    where = ["--service", "api", "--environment", "production", "--config", str(world.config)]

    modules = imported(world, "rollback-worker", *where, "--dry-run", "--json")

    assert world.sandbox.live(WORKER) == {releases.bad: 100}
    assert packages(modules) & products() == {"workers"}
    assert {name for name in modules if name.startswith("ops.runbooks.")} == {"ops.runbooks.rollback_worker"}
    assert not packages(modules) & {"scheduled", "gate", "incident", "evidence", "status", "report", "setup", "drills"}


@pytest.mark.parametrize("arguments", [("--help",), ("limits", "--help")])
def test_help_imports_no_runbook(world: World, arguments: tuple[str, ...]) -> None:
    assert not packages(imported(world, *arguments)) & {"runbooks", "scheduled", "config", "cloudflare", *products()}


def test_a_runbook_has_the_name_and_the_help_line_of_its_file() -> None:
    scheduled = [RunbookFile("scheduled", name) for name in ("prepare_maintenance", "clear_switches", "apply_limits")]
    files = {**{file_of(name): name for name in discover()}, **{file: file.load().name for file in scheduled}}

    for file, name in files.items():
        runbook = file.load()
        assert runbook.name == name
        assert file.help_line == str(runbook.__doc__).splitlines()[0]
