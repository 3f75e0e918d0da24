"""A small operations repository: its jobs run the program of the actions' repository, never its own files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.tools import own_program
from tests.support.actions import Stage, conclusions, stage
from tests.support.configurations import SMALL_REPOSITORY

ACTIONS = "backout-tools/backout"
LABEL = "recover:shop"
MARK = "import pathlib, sys; pathlib.Path('imported').touch(); sys.exit('a module of the workspace was imported')\n"
MODULES = (
    *("ops/__init__.py", "ops/__main__.py", "click.py", "json.py", "pathlib.py", "pydantic/__init__.py"),
    *("pip/__init__.py", "pip/__main__.py", "sitecustomize.py", "usercustomize.py", "conftest.py"),
)
"""Modules that Python would import from its current folder."""


@pytest.fixture
def world(plain_pip_cache: Path) -> Iterator[Stage]:
    names: dict[str, Any] = {"account": "5e" * 16, "worker": "bakery-shop", "token": "BAKERY_TOKEN"}
    with stage(plain_pip_cache, {"status": 200}, config=SMALL_REPOSITORY, answers=True, **names) as made:
        yield made


def test_label_recovers_and_workspace_modules_are_not_imported(world: Stage, tmp_path: Path) -> None:
    hub = world.github
    own_program.write_program(tmp_path)
    assert not [name for name in hub.files() if name.startswith(("ops/", ".github/actions"))]
    hub.add_commit("Modules", "alice", files=dict.fromkeys(MODULES, MARK))
    first, second = world.incident(), world.incident()

    with world.runner(actions={ACTIONS: tmp_path}) as runner:
        runner.make_unavailable(ACTIONS)
        hub.label(first, LABEL, "alice")
        runner.wait()
        runner.make_unavailable()
        hub.label(second, LABEL, "alice")
        runner.wait()
        recovery = hub.runs[-1]
        log = "\n".join(runner.log(recovery.id))
        hub.add_commit("A push", "alice", files={"README.md": "# Operations\n"})
        runner.wait()
        checked = "\n".join(runner.log(hub.runs[-1].id))

    assert world.live == {world.good: 100}, log
    started = {name: end for name, end in conclusions(recovery).items() if end != "skipped"}
    assert started == dict.fromkeys(("gate", "recovery-production", "report"), "success"), log
    assert (hub.runs[-1].workflow.file, conclusions(hub.runs[-1])) == ("ops-check.yml", {"check": "success"}), checked
    assert "Every file is as ops.yml has it." in checked
    assert "a module of the workspace was imported" not in log + checked
    answer = world.comments(first)
    assert "job `gate` failed in step `Set up job`, which downloads its actions" in answer
    assert f"`ops label recover:shop --incident {first}`" in answer
    assert "./run" not in answer + world.comments(second) + log
