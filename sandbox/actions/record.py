"""Turn act's log of a job into steps of the Actions API and the log of the run."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sandbox.actions.single_job import OUTPUT_STEP
from sandbox.github import GitHub
from sandbox.github.actions.state import FakeJob

_COLORS = re.compile(r"\x1b\[[0-9;]*m")
"""act gives its steps a terminal; GitHub does not."""


SET_UP, COMPLETE = "Set up job", "Complete job"
"""Steps that GitHub adds. The first one downloads actions."""


class JobRecorder:
    """Records the steps and the log of one job. `steps` are those of the workflow file."""

    def __init__(
        self,
        github: GitHub,
        job: FakeJob,
        steps: Sequence[Mapping[str, Any]],
        log: list[str],
        *,
        secrets: Iterable[str],
        on_line: Callable[[str], object],
        is_cancelled: Callable[[], bool],
    ) -> None:
        self._github, self._job, self._steps, self._log = github, job, steps, log
        self._on_line, self._is_cancelled = on_line, is_cancelled
        lines = {line for secret in secrets for line in (secret, *secret.splitlines()) if line.strip()}
        self._secrets = sorted(lines, key=len, reverse=True)
        self._index = {str(step.get("id", index)): index for index, step in enumerate(steps)}
        self._next = 0
        """Index of the next step in the workflow file."""
        self._began: datetime | None = None

    def add_line(self, line: Mapping[str, Any]) -> None:
        """Record one line of act's log. Only its `msg` is kept, because act masks nothing else."""
        step = line.get("stepID") or [""]
        if step[0] == OUTPUT_STEP:
            return
        for text in _COLORS.sub("", str(line.get("msg", ""))).splitlines():
            masked = self.mask_secrets(text)
            self._log.append(masked)
            if line.get("raw_output"):
                self._on_line(masked)
        if line.get("stage") == "Main" and len(step) == 1 and step[0] in self._index:
            self._record_step(line, self._index[step[0]])
        elif line.get("step") in {SET_UP, COMPLETE} and "stepResult" in line:
            self._skip_to(len(self._steps) if line["step"] == COMPLETE else 0)
            self._add(str(line["step"]), str(line["stepResult"]))

    def mask_secrets(self, text: str) -> str:
        """Mask secrets line by line, as GitHub does. act does not mask multi-line secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def contains_secret(self, text: str) -> bool:
        return any(secret in text for secret in self._secrets)

    def _record_step(self, line: Mapping[str, Any], index: int) -> None:
        self._began = self._began or self._now()
        if "stepResult" not in line:
            return
        self._skip_to(index)
        self._next = index + 1
        name = str(line.get("step", "")) if "name" in self._steps[index] else _step_name(self._steps[index])
        conclusion = str(line["stepResult"])
        self._add(name, "cancelled" if conclusion == "failure" and self._is_cancelled() else conclusion)

    def _skip_to(self, index: int) -> None:
        """Record the steps that act skipped without a log line."""
        for step in self._steps[self._next : index]:
            self._add(_step_name(step), "skipped", self._now())
        self._next = max(self._next, index)

    def _add(self, name: str, conclusion: str, at: datetime | None = None) -> None:
        self._github.add_step(self._job, name[:100], conclusion, at or self._began or self._now())
        self._began = self._began if at else None

    def _now(self) -> datetime:
        return self._github.clock.now().replace(microsecond=0)


def _step_name(step: Mapping[str, Any]) -> str:
    """Return the step's name as GitHub shows it."""
    first = "".join(str(step.get("run", "")).splitlines()[:1])
    return str(step.get("name") or f"Run {step.get('uses') or first}")
