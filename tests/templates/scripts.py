"""Run the scripts of workflow steps in another process, on the sandbox's GitHub."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ops.github.comments import BOT, request_comment_mark
from ops.setup.workflows import load_scripts
from sandbox.github import GitHub
from tests.conftest import World
from tests.support.prepared_python import RunPython

RUN = "7001"
COMMENTS = "/repos/*/*/issues/*/comments"
COMMENT = "/repos/*/*/issues/comments/*"


@dataclass(frozen=True)
class Step:
    """Output of a finished step."""

    code: int
    out: str
    err: str
    outputs: Mapping[str, str]
    summary: str


@dataclass
class Workflow:
    """A run of incident.yml for a label on an incident."""

    world: World
    incident: int
    python: RunPython
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def github(self) -> GitHub:
        return self.world.sandbox.github

    @property
    def bodies(self) -> list[str]:
        return [comment.body for comment in self.github.issue(self.incident).comments]

    def label(self, name: str = "recover:api", by: str = "alice") -> Mapping[str, Any]:
        return self.github.label(self.incident, name, by)

    def announce(self, run: int | str, attempt: int = 1) -> None:
        """Post the comment with which the gate announces a run."""
        text = f"**Received** `recover:api`, starting\n\n{request_comment_mark(run, attempt)}\n"
        self.github.comment(self.incident, text, BOT)

    def step(self, script: str, payload: Any, **environ: str) -> Step:
        folder = self.world.folder
        self.github.catch_up()  # jobs start seconds apart
        event, output, summary = folder / "event.json", folder / "output", folder / "summary"
        event.write_text(payload if isinstance(payload, str) else json.dumps(payload))
        output.write_text("")
        summary.write_text("")
        variables = {
            "PATH": os.environ["PATH"],
            "PROGRAM": "./run ops",
            "RUNNER_TEMP": str(folder),
            **self.github.environ(),
            "GITHUB_EVENT_PATH": str(event),
            "GITHUB_OUTPUT": str(output),
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_RUN_ID": RUN,
            "GITHUB_STEP_SUMMARY": str(summary),
            "GITHUB_TRIGGERING_ACTOR": "alice",
            **self.environ,
            **environ,
        }
        clock = self.world.sandbox.environ()["OPS_CLOCK_URL"]
        done = self.python(load_scripts()[script], environ=variables, folder=folder, argv=["-c"], clock=clock)
        outputs = dict(line.split("=", 1) for line in output.read_text().splitlines())
        return Step(done.returncode, done.stdout, done.stderr, outputs, summary.read_text())
