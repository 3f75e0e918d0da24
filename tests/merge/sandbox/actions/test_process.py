"""One job in act: cancelled while act still prepares it."""

import subprocess
import threading
from pathlib import Path

from sandbox.actions.act import ActInvocation, ActProcess

WORKFLOW = """
on: workflow_dispatch
jobs:
  slow:
    runs-on: ubuntu-latest
    steps:
      - run: exec sleep 60
"""


def test_job_cancelled_before_its_first_step_ends_at_once(tmp_path: Path) -> None:
    """At that time, act runs a short program of its own, which is no step."""
    repository, folder = tmp_path / "repository", tmp_path / "job"
    repository.mkdir()
    folder.mkdir()
    subprocess.run(["git", "init", "-q", str(repository)], check=True)
    workflow = repository / "slow.yml"
    workflow.write_text(WORKFLOW)
    invocation = ActInvocation(
        event="workflow_dispatch",
        workflow=workflow,
        actions={},
        payload={"inputs": {}},
        actor="mia",
        environ={},
        secrets={},
        variables={},
    )
    process = ActProcess(invocation, folder, repository, tmp_path)
    is_prepared = threading.Event()

    def on_line(line: object) -> None:
        if isinstance(line, dict) and "jobID" in line:
            is_prepared.set()

    following = threading.Thread(target=process.follow, args=(on_line,))
    following.start()
    assert is_prepared.wait(30)
    process.cancel()
    following.join(30)
    has_ended = not following.is_alive()
    process.kill()

    assert has_ended
