"""An account without the Worker that answers during maintenance."""

from datetime import timedelta

from tests.conftest import World
from tests.support.offline import MAINTENANCE_WORKER
from tests.support.scenarios import Given, Scenario, deploy_hotfix


def _prepare(world: World, _given: Given) -> None:
    world.release(timedelta(hours=2), code="good")


def _reached(world: World) -> bool:
    is_there = MAINTENANCE_WORKER in world.sandbox.account.workers
    return is_there and world.sandbox.subdomain(MAINTENANCE_WORKER) == {"enabled": True, "previews_enabled": False}


SCENARIOS = {"": Scenario(_prepare, _reached, (deploy_hotfix,), is_like_another=True, proves_by_probes=False)}
