"""A Worker with a good release and a bad one."""

from datetime import timedelta

from tests.conftest import WORKER, World
from tests.support.scenarios import Given, Scenario


def _prepare(world: World, _given: Given) -> None:
    world.release(timedelta(hours=2), code="good", tag="good")
    world.release(timedelta(minutes=10), code="bad", tag="bad", behaviour={"status": 500})


def _reached(world: World) -> bool:
    worker = world.sandbox.account.workers[WORKER]
    (version,) = worker.live
    return worker.versions[version].upload.modules[0].content == b"good"


SCENARIOS = {
    "": Scenario(_prepare, _reached),
    "with the current secrets": Scenario(_prepare, _reached, options={"current_secrets": True}, is_like_another=True),
}
