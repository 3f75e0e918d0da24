"""What act says of a job → its steps in the Actions API, with the sandbox's times, and the log of its run."""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from sandbox.actions.single_job import LAST_STEP
from sandbox.github import GitHub
from sandbox.github.actions.state import Job

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""act gives its steps a terminal, and GitHub does not."""


class Record:
    """Of one job. `result` is empty while act has not told it."""

    def __init__(
        self, github: GitHub, job: Job, log: list[str], secrets: Iterable[str], on_line: Callable[[str], object]
    ) -> None:
        self._github, self._job, self._log, self._on_line = github, job, log, on_line
        lines = {line for secret in secrets for line in (secret, *secret.splitlines()) if line.strip()}
        self._secrets = sorted(lines, key=len, reverse=True)
        self._began: datetime | None = None
        self.result = ""

    def line(self, line: Mapping[str, Any]) -> None:
        """Take one line of act's. Only its `msg` is masked by act, and only that is kept."""
        step = line.get("stepID") or [""]
        if step[0] == LAST_STEP:
            return
        for text in _COLOURS.sub("", str(line.get("msg", ""))).splitlines():
            masked = self.masked(text)
            self._log.append(masked)
            if line.get("raw_output"):
                self._on_line(masked)
        if "jobResult" in line:
            self.result = str(line["jobResult"])
        elif line.get("stage") == "Main" and len(line.get("stepID", ())) == 1:
            self._step(line)

    def masked(self, text: str) -> str:
        """Without secrets, line by line as on GitHub: act masks no secret of several lines."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def holds_secret(self, text: str) -> bool:
        return any(secret in text for secret in self._secrets)

    def _step(self, line: Mapping[str, Any]) -> None:
        now = self._github.clock.now().replace(microsecond=0)
        if "stepResult" in line:
            name = str(line.get("step", "")).splitlines()[:1]
            self._github.add_step(self._job, "".join(name)[:100], str(line["stepResult"]), self._began or now)
            self._began = None
        elif self._began is None:
            self._began = now
