"""Timed maintenance in one workflow run: a job waits, and the next one reopens the service."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from sandbox.actions import Runner
from sandbox.clock import FakeClock
from tests.conftest import World
from tests.support.actions import conclusions, find_job, read_bodies
from tests.support.offline import HOST, PERMISSIONS, prepared
from tests.support.workflows import operations_repository


@contextmanager
def ticking_clock(clock: FakeClock) -> Iterator[None]:
    """Advance the fixed clock of the world each second, since the waiting job uses the clock of this machine."""
    ended = threading.Event()

    def pass_seconds() -> None:
        while not ended.wait(1.0):
            clock.advance(1.0)

    thread = threading.Thread(target=pass_seconds)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_timed_maintenance_is_reopened_by_later_job(world: World, pip_cache: Path) -> None:
    with prepared(world) as place, ticking_clock(world.sandbox.clock):
        hub = world.sandbox.github
        hub.add_user("alice")
        hub.add_commit("All of it", "alice", files=operations_repository())
        hub.add_environment("security")
        hub.put_secret(
            "CLOUDFLARE_API_TOKEN", world.sandbox.add_token("of-security", permissions=PERMISSIONS), "security"
        )
        number = hub.open_issue("A key has leaked", labels=["incident"], author="alice")
        environ = {name: value for name, value in world.sandbox.environ().items() if name != "CLOUDFLARE_API_TOKEN"}
        end = world.sandbox.clock.now() + timedelta(seconds=40)
        inputs = {"service": "api", "environment": "production", "state": "on", "incident": str(number)}
        timed = {"until": f"{end:%Y-%m-%dT%H:%M:%SZ}", "reopen_at_end": True, "dry_run": False}

        with Runner(hub, environ, pip_cache=pip_cache) as runner:
            run = hub.dispatch("maintenance.yml", {**inputs, **timed}, by="alice")
            runner.wait()
            log = "\n".join(runner.log(run.id))

        assert run.conclusion == "success", log
        jobs = conclusions(run)
        ran = {name for name, conclusion in jobs.items() if conclusion == "success"}
        assert ran == {"gate", "security-production", "wait", "end-security-production", "report"}
        assert place.serves(f"{HOST}/") == "home"
        closed, opened = read_bodies(hub, number)
        assert "The whole of api is offline as requested" in closed
        assert "The whole of api is open as requested" in opened
        assert find_job(run, "end-security-production").started_at is not None
