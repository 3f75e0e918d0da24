"""A repository of release 0.1.1 moves to this version while people, jobs and a watch wait, in real jobs under act."""

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
from tests.support.former_stories import HOST, TOKEN, WORKER, Ferry, open_ferry

RELEASE = "0.1.1"
FOLDER = ".github/workflows"
ENVIRONMENTS = ("database", "recovery", "report", "security")
CLOSE: dict[str, Any] = {
    "environment": "live",
    "service": "booking",
    "state": "on",
    "until": "1h",
    "reopen_at_end": True,
    "dry_run": False,
}
"""Inputs of the button *maintenance*."""


@dataclass
class Port:
    """The ferry company with the workflows of the former release, and this program."""

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
        """Write the workflows of this version, and merge them."""
        done = self.world.ops("workflows", "sync", "--config", str(self.world.config))
        assert done.code == 0, done.out + done.err
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
        return self.hub.runs[-1]

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
    return all(any(name.rpartition(" / ")[2] == job and end for name, end in found.items()) for job in jobs)


def test_watch_and_request_go_on_after_the_upgrade(pip_cache: Path, tmp_path: Path) -> None:
    with opened(tmp_path) as port, runner_of(port, pip_cache) as runner:
        runner.hold_jobs("watch")
        rolled = port.label("recover:booking")
        runner.wait_until(lambda: ended(rolled, "recovery-live"), 120)
        assert port.ferry.versions["broken"] not in port.ferry.sandbox.live(WORKER), log(port, runner)
        asked = port.label("recover:tickets")
        runner.wait_until(lambda: ended(asked, "database-live"), 120)
        before = port.trips

        port.upgrade()

        runner.hold_jobs()
        runner.wait()
        port.press("approve-restore", "bob", digest=port.digest)
        runner.wait()

        assert {run.conclusion for run in port.hub.runs} == {"success"}, log(port, runner)
        assert port.trips == before - 1
        assert any("**Approved** by `@bob`" in each for each in port.comments)
        assert sum("booking in live is mitigated" in each for each in port.comments) == 2, port.comments


def test_reviewer_and_timed_end_go_on_after_the_upgrade_and_the_way_back(pip_cache: Path, tmp_path: Path) -> None:
    with opened(tmp_path) as port, runner_of(port, pip_cache) as runner:
        port.ferry.release("fixed", ago=timedelta(minutes=9))
        runner.hold_jobs("wait-security-live")
        closed = port.press("maintenance", "alice", **CLOSE)
        runner.wait_until(lambda: closed.status == "waiting", 120)

        port.upgrade()

        port.hub.review(closed.id, "bob")
        runner.wait_until(lambda: ended(closed, "security-live", "watch"), 120)
        assert port.serves() == 503, log(port, runner)
        port.ferry.wait(minutes=61)
        runner.hold_jobs()
        runner.wait()

        assert closed.conclusion == conclusions(closed)["end-security-live"] == "success", conclusions(closed)
        assert port.serves() == 200
        port.go_back()
        port.ferry.release("broken again", ago=timedelta(minutes=5), status=500)
        port.ferry.wait(minutes=1)
        rolled = port.label("recover:booking")
        runner.wait_until(lambda: ended(rolled, "recovery-live"), 120)
        assert port.serves() == 200, "\n".join(each for each in runner.log(rolled.id) if "set-output" not in each)[
            -9000:
        ]
        runner.cancel(rolled.id)
