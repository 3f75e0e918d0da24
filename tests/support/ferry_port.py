"""The ferry company of `former_stories` with an operations repository, whose workflows run under act."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from ops.tools import own_program
from sandbox import Sandbox
from sandbox.actions import Runner
from sandbox.github import GitHub
from sandbox.github.actions.state import FakeRun
from tests.conftest import World
from tests.support import former_stories as stories
from tests.support.actions import conclusions
from tests.support.former_release import read_workflows
from tests.support.former_stories import HOST, TOKEN, Ferry, open_ferry

RELEASE = "0.1.1"
FOLDER = ".github/workflows"
ENVIRONMENTS = ("database", "recovery", "report", "security")


@dataclass
class Port:
    """The company and its repository."""

    ferry: Ferry
    world: World

    @property
    def hub(self) -> GitHub:
        return self.ferry.sandbox.github

    @property
    def incident(self) -> str:
        return str(self.ferry.incident)

    def commit(self, message: str) -> str:
        """Commit what the folder has, with nothing else in the folder of the workflows."""
        paths = [path for path in self.world.folder.rglob("*") if path.is_file()]
        files = {str(path.relative_to(self.world.folder)): path.read_bytes() for path in paths}
        head = self.hub.resolve("main") or ""
        gone = {path: None for path in self.hub.files(head) if path.startswith(FOLDER)}
        return self.hub.add_commit(message, "alice", files={**gone, **files})

    def upgrade(self) -> None:
        """Write the workflows of this version, and merge them, without the check that each push would start."""
        done = self.world.ops("workflows", "sync", "--config", str(self.world.config))
        assert done.code == 0, done.out + done.err
        (self.world.folder / FOLDER / "ops-check.yml").unlink()
        self.commit("Upgrade")

    def go_back(self) -> None:
        """Revert the commit of the upgrade, with this program: the actions of another repository may be newer."""
        for path in (self.world.folder / FOLDER).iterdir():
            path.unlink()
        self.write_former_files()
        self.commit("Revert the upgrade")

    def write_former_files(self) -> None:
        for path, text in read_workflows(RELEASE).items():
            (self.world.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.world.folder / path).write_text(text)

    def label(self, name: str) -> FakeRun:
        self.hub.label(self.ferry.incident, name, "alice")
        return next(run for run in reversed(self.hub.runs) if run.workflow.path == f"{FOLDER}/incident.yml")

    def press(self, button: str, by: str, **inputs: Any) -> FakeRun:
        return self.hub.dispatch(f"{button}.yml", {"incident": self.incident, **inputs}, by=by)

    @property
    def digest(self) -> str:
        """The digest of the request that waits."""
        (comment,) = (each for each in self.comments if "waits for a second person" in each)
        return comment.partition("digest `")[2][:32]

    @property
    def comments(self) -> list[str]:
        return [each.body for each in self.hub.issue(self.ferry.incident).comments]

    @property
    def trips(self) -> int:
        (row,) = self.ferry.sandbox.d1.query(stories.DATABASE, "SELECT count(*) AS number FROM trips")
        return int(row["number"])

    def serves(self) -> int:
        url = f"{self.ferry.sandbox.edge_url}/health"
        return httpx.get(url, headers={"host": HOST}, verify=False).status_code


@contextmanager
def opened(folder: Path) -> Iterator[Port]:
    """Open the company with a broken release, and with all files of the former release in its repository."""
    with Sandbox(account_id=stories.ACCOUNT, virtual_clock=True) as sandbox:
        world = World(sandbox, folder)

        def program(*arguments: str, **environ: Any) -> Mapping[str, str]:
            given = {"CLOUDFLARE_API_TOKEN": None, **environ}
            done = world.ops(*arguments, "--config", str(world.config), **given)
            assert done.code == 0, done.err
            return {}

        ferry = open_ferry(sandbox, folder, program)
        ferry.ops("maintenance", "prepare", "--yes")
        own_program.write_program(folder)
        hub = sandbox.github
        hub.switches.plan = "enterprise"
        for name in ENVIRONMENTS:
            hub.add_environment(name)
            hub.put_secret("FERRY_TOKEN", TOKEN, name)
        hub.add_environment("approve-live", reviewers=["bob"])
        hub.add_label("recover:booking")
        port = Port(ferry, world)
        port.write_former_files()
        port.commit("As 0.1.1 wrote it")
        ferry.release("broken", ago=timedelta(minutes=10), status=500)
        yield port


def runner_of(port: Port, pip_cache: Path) -> Runner:
    environ = {k: v for k, v in port.ferry.sandbox.environ().items() if k != "CLOUDFLARE_API_TOKEN"}
    return Runner(port.hub, environ, pip_cache=pip_cache)


def log(port: Port, runner: Runner) -> str:
    return "\n".join(line for run in port.hub.runs for line in runner.log(run.id) if "::set-output::" not in line)


def ended(run: FakeRun, *jobs: str) -> bool:
    found = conclusions(run)
    return all(found.get(job) for job in jobs)
