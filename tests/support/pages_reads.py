"""The parallel reads of a Pages site, put in an order."""

import threading
from collections.abc import Callable

from tests.conftest import World

PROJECT = {"method": "GET", "path": "/accounts/*/pages/projects/*"}
LIST = {"method": "GET", "path": "/accounts/*/pages/projects/*/deployments"}
HOST = "fortunet.example"
ORDERS = [
    ("list", "project"),
    ("project", "list"),
    ("list and project", "site"),
    ("site", "list and project"),
]


def between(world: World, first: str, then: str, come: Callable[[], object]) -> None:
    """From now on that comes once, after the first reads were answered, and the other reads wait for it."""
    here, left = threading.Event(), threading.Semaphore(len(first.split(" and ")) - 1)

    def read() -> None:
        if not left.acquire(blocking=False) and not here.is_set():
            come()
            here.set()

    def wait() -> None:
        assert here.wait(30)

    world.sandbox.switches.pages_propagation_seconds = 0
    for name in first.split(" and "):
        _on(world, name, after=read)
    for name in then.split(" and "):
        _on(world, name, before=wait)


def _on(world: World, name: str, **moment: Callable[[], object]) -> None:
    if name == "site":
        world.sandbox.edge_fault(host=HOST, times=None, **moment)
    else:
        world.sandbox.fault(**(PROJECT if name == "project" else LIST), times=None, **moment)
