"""The jobs of a recovery by label, in process: what GitHub does after `ops adopt` set the label of a drill."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sandbox.github import GitHubRepository
from sandbox.github.actions.state import FakeJob, FakeRun, RunChange
from tests.conftest import Outcome
from tests.support import plain_yaml
from tests.support.adoption import Team

PREFIX = "recover:backout-drill-"


class LabelJobs:
    """Reacts to a label in the next pause of `ops`, as GitHub does some seconds later. `secrets`: name → value."""

    def __init__(self, team: Team, repository: GitHubRepository) -> None:
        self.team, self.repository = team, repository
        self.recovered: list[Outcome] = []
        self.on_label: Callable[[int], object] = lambda _: None
        """Called with the incident before a run begins."""
        self.on_run: Callable[[str], bool] = lambda _: True
        """Called with the name of the drill; returns whether the run gets on."""
        self.after_run: Callable[[], object] = lambda: None
        self.is_on = True
        """Whether GitHub starts workflows."""
        self.is_working = False
        self._labeled: list[tuple[int, str, Any]] = []
        repository.listen_to(self.hear)
        repository.listen_to_runs(self._end)
        team.world.sandbox.clock.on_sleep = self.act

    def hear(self, delivery: Any) -> None:
        label = delivery.payload.get("label", {}).get("name", "")
        if delivery.event == "issues" and delivery.payload["action"] == "labeled" and label.startswith(PREFIX):
            self._labeled.append((delivery.payload["issue"]["number"], label, delivery.payload))

    def _end(self, change: RunChange) -> None:
        if change.kind == "cancelled":
            change.run.status, change.run.conclusion = "completed", "cancelled"

    def act(self) -> None:
        while self._labeled:
            number, label, payload = self._labeled.pop(0)
            self.on_label(number)
            if not self.is_on:
                return
            run = self.repository.start_run("incident.yml", "issues", payload, payload["sender"]["login"])
            run.status, run.title = "in_progress", f"incident #{number} {label} at {payload['issue']['updated_at']}"
            name = label.removeprefix("recover:")
            if self.on_run(name):
                self.is_working = True
                try:
                    self._recover(run, number, name)
                finally:
                    self.is_working = False
                self.after_run()

    def _recover(self, run: FakeRun, number: int, name: str) -> None:
        files = self.repository.files("main")
        config = Path(tempfile.mkdtemp(dir=self.team.world.folder)) / "ops.yml"
        config.write_bytes(files["ops.yml"])
        token = self._secret(name, config)
        if token is None:
            run.status, run.conclusion = "completed", "failure"
            return
        environ = {**self.repository.environ(), "GITHUB_RUN_ID": str(run.id), **token}
        where = ("--service", name, "--environment", name, "--incident", str(number), "--config", str(config))
        self.recovered.append(self.team.world.ops("rollback-worker", *where, "--yes", "--json", **environ))
        states = {"recover / gate": "success", "recover / report": "success", "recover / watch": None}
        at = self.team.world.sandbox.clock.now()
        for job, (title, conclusion) in enumerate(states.items()):
            status = "completed" if conclusion else "in_progress"
            run.jobs.append(
                FakeJob(id=run.id + job, name=title, run_attempt=1, created_at=at, status=status, conclusion=conclusion)
            )
        self.repository.open_issue(
            f"Drill: Incident report: incident {number}", labels=["post-incident"], author="dana"
        )

    def _secret(self, name: str, config: Path) -> dict[str, str | None] | None:
        """Return the variable with the token that the job reads; None without its secret, or its entry in ops.yml."""
        environment = plain_yaml.load(config.read_text())["environments"].get(name, {"token": ""})
        variable = environment.get("token", "CLOUDFLARE_API_TOKEN")
        value = self.repository.secrets("recovery").get(variable)
        return None if value is None else {"CLOUDFLARE_API_TOKEN": None, variable: value}
