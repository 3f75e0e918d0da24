"""Run the gate as a job of GitHub Actions does: the public command on the sandbox's GitHub."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.github import GitHub
from tests.conftest import Outcome, World

LABEL = "recover:rollback-api"


@dataclass
class Job:
    """A job of GitHub Actions with an open incident."""

    world: World
    incident: int
    environ: dict[str, str | None] = field(default_factory=dict)

    @property
    def github(self) -> GitHub:
        return self.world.sandbox.github

    def label(self, by: str = "alice", name: str = LABEL) -> Mapping[str, Any]:
        return self.github.label(self.incident, name, by)

    def gate(self, payload: Any, event: str = "issues", **environ: str | None) -> Outcome:
        given = self.variables(payload, event, **environ)
        return self.world.ops("gate", "--config", str(self.world.config), **given)

    def variables(self, payload: Any, event: str = "issues", **environ: str | None) -> dict[str, str | None]:
        """Write the event, and return the variables of a job that it starts."""
        path = self.world.folder / "event.json"
        path.write_text(payload if isinstance(payload, str) else json.dumps(payload))
        self.output.unlink(missing_ok=True)
        sender = payload.get("sender") if isinstance(payload, Mapping) else None
        repository = environ.get("GITHUB_REPOSITORY", self.github.repository)
        usual = {
            **self.github.environ(),
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_NAME": event,
            "GITHUB_EVENT_PATH": str(path),
            "GITHUB_OUTPUT": str(self.output),
            "GITHUB_REF": "refs/heads/main",
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_WORKFLOW_REF": f"{repository}/{workflow_file(payload)}@refs/heads/main",
            "GITHUB_TRIGGERING_ACTOR": sender["login"] if sender else "alice",
        }
        return {**usual, **self.environ, **environ}

    @property
    def output(self) -> Path:
        return self.world.folder / "output"

    @property
    def outputs(self) -> dict[str, str]:
        """Outputs as the runner reads them; {} if nothing was written."""
        return parse_outputs(self.output.read_text()) if self.output.exists() else {}

    @property
    def labels(self) -> list[str]:
        return [label.name for label in self.github.issue(self.incident).labels]

    @property
    def comments(self) -> list[str]:
        return [comment.body for comment in self.github.issue(self.incident).comments]

    @property
    def answers(self) -> list[str]:
        """The comments without those that announce a run."""
        return [body for body in self.comments if not body.startswith("**Received**")]

    def permission_reads(self) -> int:
        return sum(request.path.endswith("/permission") for request in self.github.requests)

    def assert_accepted(self, done: Outcome, permission: str = "checked") -> None:
        assert (done.code, self.outputs["go"], self.outputs["permission"]) == (0, "true", permission), done.err

    def assert_refused(self, done: Outcome, reason: str) -> None:
        """Assert the refusal, a comment with its reason, and the removal of the label."""
        assert (done.code, self.outputs["go"], self.outputs["reason"]) == (3, "false", reason), done.err
        about = {"go", "report", "reason", "message", "hint", "attempt", "actor", "answered"}
        assert {value for name, value in self.outputs.items() if name not in about} == {""}
        assert self.outputs["answered"] == "true"
        (comment,) = self.answers
        page = rf"http://[0-9.:]+/acme/operations/blob/HEAD/docs/reference/reasons\.md#{reason}"
        assert re.search(rf"Reason: \[`{reason}`\]\({page}\)", comment), comment
        assert "**Next step:**" in comment
        assert LABEL not in self.labels


def workflow_file(payload: Any) -> str:
    """Return the path of the workflow that such an event starts: that of the button, or the one that reads labels."""
    button = payload.get("workflow") if isinstance(payload, Mapping) else None
    return button or ".github/workflows/incident.yml"


def parse_outputs(text: str) -> dict[str, str]:
    """Parse GITHUB_OUTPUT (docs.github.com/actions): name<<DELIMITER, the value, DELIMITER."""
    found, lines = {}, iter(text.split("\n"))
    for line in lines:
        if line:
            name, delimiter = line.split("<<")
            value = []
            for inner in lines:
                if inner == delimiter:
                    break
                value.append(inner)
            found[name] = "\n".join(value)
    return found
