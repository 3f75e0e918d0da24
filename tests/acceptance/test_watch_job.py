"""The job that watches a service after a recovery, under act."""

from pathlib import Path
from typing import Any

import pytest

from ops.tools import program_files
from tests.acceptance.test_small_repository import ACTIONS, LABEL
from tests.support.actions import conclusions, stage
from tests.support.configurations import SMALL_REPOSITORY

pytestmark = pytest.mark.slow


def test_watch_job_keeps_its_comment_and_completes_the_report(pip_cache: Path, tmp_path: Path) -> None:
    names: dict[str, Any] = {"account": "5e" * 16, "worker": "bakery-shop", "token": "BAKERY_TOKEN"}
    program_files.write_program(tmp_path)
    with stage(pip_cache, {"status": 200}, config=SMALL_REPOSITORY, is_watched=True, **names) as world:
        world.sandbox.clock.longest_sleep = 5.0
        number = world.incident()
        with world.runner(actions={ACTIONS: tmp_path}) as runner:
            world.github.label(number, LABEL, "alice")
            runner.wait()
            run = world.github.runs[-1]
            log = "\n".join(runner.log(run.id))

        assert {name: end for name, end in conclusions(run).items() if name != "menu"} == {
            "gate": "success",
            "recovery-production": "success",
            "report": "success",
            "watch": "success",
            "tell": "skipped",
        }, log
        _, watched = (comment.body for comment in world.github.issue(number).comments)
        assert "shop in production is mitigated: healthy since" in watched
        assert "xychart-beta" in watched
