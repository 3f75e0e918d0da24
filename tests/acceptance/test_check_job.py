"""Workflow `ops-check` under act: a synced push passes, a hand-edited file fails."""

from pathlib import Path

from sandbox.github.actions.state import FakeRun
from tests.support.actions import conclusions, stage

INCIDENT = ".github/workflows/incident.yml"


def test_check_fails_on_edited_generated_file(pip_cache: Path) -> None:
    with stage(pip_cache, answers=True) as world, world.runner() as runner:
        hub = world.github

        def checked(known: int) -> tuple[FakeRun, str]:
            runner.wait()
            (run,) = (run for run in hub.runs[known:] if run.workflow.path.endswith("/ops-check.yml"))
            return run, "\n".join(runner.log(run.id))

        hub.add_commit("No CI", "alice", files={".github/workflows/ci.yml": None})
        run, log = checked(0)
        assert conclusions(run) == {"check": "success"}, log
        assert "Every file is as ops.yml has it." in log

        known, text = len(hub.runs), hub.files()[INCIDENT].decode()
        hub.add_commit(
            "By hand", "alice", files={INCIDENT: text.replace("contents: read", "contents: write", 1)}, branch="by-hand"
        )
        hub.open_pull("By hand", "by-hand", "alice")
        run, log = checked(known)
        assert conclusions(run) == {"check": "failure"}, log
        assert "incident.yml (was edited since the last sync)" in log
