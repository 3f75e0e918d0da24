"""Start workflow runs on the branch of a verification, and read runs, jobs and artifacts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from ops.github.client import GitHubApiError
from ops.github.own_writes import FOLDER, WORKFLOW
from ops.github.verification import SKIP
from ops.platform.github_repository import VerificationRepository

T = TypeVar("T")
STEP, LONGEST_STEP, LONGEST_RUN, LONGEST_START = 5.0, 25.0, 420.0, 100.0
"""Seconds between two reads, at first and at most, those until a run has ended, and those until it appears."""
MESSAGE = "Measure GitHub Actions for ops verify-platform"
WORKFLOWS = f"/actions/workflows/{WORKFLOW}"


@dataclass(frozen=True)
class MeasuredJobState:
    status: str
    conclusion: str
    """Empty until it has ended."""
    steps: Mapping[str, str]
    """Step → conclusion."""

    def has_passed(self, step: str) -> bool:
        return self.steps.get(step) == "success"


NO_JOB = MeasuredJobState("", "", {})


@dataclass(frozen=True)
class WorkflowRunState:
    id: int
    status: str
    conclusion: str
    title: str


class WorkflowRuns:
    """Runs of the branch of a verification, whose workflow is not that of the default branch."""

    def __init__(self, repository: VerificationRepository, branch: str) -> None:
        self._repository, self._branch = repository, branch
        self._head = ""
        self._seen: set[int] = set()
        self.names_runs: bool | None = None
        """Whether the answer to a dispatch names the run; None before the first one."""

    def commit(self, files: Mapping[str, str], *, starts_runs: bool = False) -> None:
        """Write the files to the branch. With `starts_runs`, workflows run for this push. Raises ProviderError."""
        message = MESSAGE if starts_runs else f"{MESSAGE} {SKIP}"
        self._head = self._repository.api.commit(self._branch, dict(files), message)

    def dispatch(self, inputs: Mapping[str, str] | None = None) -> int | None:
        """Start the workflow of the last commit, and return the run; None if none appears.

        Raises:
            GitHubApiError: GitHub refused to start it.
        """
        run = self._send_dispatch(dict(inputs or {}))
        if run is not None:
            self._seen.add(run)
            return run
        return self.find_run("workflow_dispatch")

    def _send_dispatch(self, inputs: Mapping[str, str]) -> int | None:
        """Return the run that the answer names. An older server refuses to name it, and takes a second request."""
        api = self._repository.api
        try:
            run = api.dispatch(self._branch, inputs, names_run=self.names_runs is not False)
        except GitHubApiError as error:
            if self.names_runs is not None or error.status != 422:
                raise
            run = api.dispatch(self._branch, inputs, names_run=False)
        self.names_runs = run is not None
        return run

    def find_run(self, event: str) -> int | None:
        """Wait for a run of the last commit for this event; None if none appears."""

        def find_started_run() -> int | None:
            listed = self._repository.read("/actions/runs", head_sha=self._head, event=event)
            return next((int(each["id"]) for each in listed["workflow_runs"] if each["id"] not in self._seen), None)

        run = self.wait(find_started_run, LONGEST_START)
        if run is not None:
            self._repository.api.own_run(run)
            self._seen.add(run)
        return run

    def has_other_workflows(self) -> bool:
        """Return whether the default branch has other workflows than that of the verification."""
        listed = self._repository.read(f"/contents/{FOLDER.rstrip('/')}")
        return any(each.get("name") != WORKFLOW for each in listed)

    def list_titles(self, event: str) -> list[str]:
        """Return the titles of the newest runs of the workflow for this event."""
        listed = self._repository.read(f"{WORKFLOWS}/runs", event=event, per_page=50)
        return [str(each.get("display_title") or "") for each in listed["workflow_runs"]]

    def await_end(self, run: int, longest: float = LONGEST_RUN) -> WorkflowRunState | None:
        """Wait until the run has ended; None if it did not in time."""

        def read_run_state() -> WorkflowRunState | None:
            shown = self._repository.read(f"/actions/runs/{run}")
            texts = (str(shown.get(name) or "") for name in ("status", "conclusion", "display_title"))
            state = WorkflowRunState(run, *texts)
            return state if state.status == "completed" else None

        return self.wait(read_run_state, longest)

    def list_jobs(self, run: int) -> dict[str, MeasuredJobState]:
        """Return the jobs of the run by their names; of two with one name, the last one."""
        return {
            str(each["name"]): MeasuredJobState(
                str(each.get("status") or ""),
                str(each.get("conclusion") or ""),
                {str(step["name"]): str(step.get("conclusion") or "") for step in each.get("steps") or ()},
            )
            for each in self._repository.read(f"/actions/runs/{run}/jobs", per_page=100)["jobs"]
        }

    def list_artifacts(self, run: int) -> list[str]:
        return [
            str(each.get("name")) for each in self._repository.list_rows(f"/actions/runs/{run}/artifacts", "artifacts")
        ]

    def count_deployments(self, environment: str) -> int:
        return len(self._repository.read("/deployments", environment=environment, per_page=100))

    def cancel(self, run: int) -> None:
        self._repository.api.cancel_run(run)

    def wait(self, read: Callable[[], T | None], longest: float, step: float = STEP) -> T | None:
        """Read until there is a value, at most `longest` seconds. The pauses grow to a sixth of the wait so far."""
        clock = self._repository.clock
        began = clock.monotonic()
        while True:
            if (value := read()) is not None:
                return value
            waited = clock.monotonic() - began
            if waited >= longest:
                return None
            clock.sleep(min(max(step, waited / 6), LONGEST_STEP))
