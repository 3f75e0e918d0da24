"""An account without the Worker that answers during maintenance."""

from datetime import timedelta

from tests.conftest import World
from tests.support.offline import OFFICE
from tests.support.scenarios import Given, Scenario, deploy_hotfix


def _prepare(world: World, _given: Given) -> None:
    world.release(timedelta(hours=2), code="good")


def _reached(world: World) -> bool:
    is_there = OFFICE in world.sandbox._account.workers
    return is_there and world.sandbox.subdomain(OFFICE) == {"enabled": True, "previews_enabled": False}


SCENARIOS = {"": Scenario(_prepare, _reached, (deploy_hotfix,), is_like_another=True, proves_by_probes=False)}
