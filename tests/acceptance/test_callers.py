"""A team's own workflows that call our jobs, in real jobs under act."""

from pathlib import Path

from tests.support.actions import conclusions
from tests.support.ferry_port import FOLDER, log, opened, runner_of

CALL = """\
jobs:
  recover:
    uses: ./.github/workflows/recover.yml
    secrets: inherit
    permissions: {contents: read, issues: write, actions: read}
"""
LABELS = f"name: mine\non: {{issues: {{types: [labeled]}}}}\n{CALL}"
BUTTON = f"""\
name: copy
on:
  workflow_dispatch:
    inputs:
      service: {{type: string}}
      environment: {{type: string}}
      incident: {{type: string}}
{CALL}"""


def test_own_workflow_that_calls_ours_recovers_nothing(pip_cache: Path, tmp_path: Path) -> None:
    """Its label stays for the right workflow, which recovers although both get the event."""
    with opened(tmp_path) as port, runner_of(port, pip_cache) as runner:
        port.upgrade()
        (tmp_path / FOLDER / "a-copy.yml").write_text(BUTTON)
        (tmp_path / FOLDER / "a-mine.yml").write_text(LABELS)
        port.commit("Our own way")
        runner.wait()

        pressed = port.press("a-copy", "alice", service="booking", environment="live")
        runner.wait()
        assert port.serves() == 500
        assert (conclusions(pressed)["gate"], conclusions(pressed)["recovery-live"]) == ("failure", "skipped")
        assert sum("`other_ref`" in each for each in port.comments) == 1, log(port, runner)

        run = port.label("recover:booking")
        runner.wait()
        (mine,) = (each for each in port.hub.runs if each.workflow.path.endswith("a-mine.yml"))
        assert (mine.conclusion, run.conclusion, port.serves()) == ("failure", "success", 200), log(port, runner)
        assert conclusions(mine)["recovery-live"] == "skipped"
        assert "recover:booking" not in {each.name for each in port.hub.issue(port.ferry.incident).labels}
