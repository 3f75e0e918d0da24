"""An API behind routes: open, or closed by an earlier run."""

import shutil
from dataclasses import replace

from tests.conftest import WORKER, World
from tests.support.offline import MAINTENANCE_WORKER, PERMISSIONS
from tests.support.scenarios import Given, Scenario, deploy_hotfix, routed


def close(world: World, given: Given, *options: str) -> None:
    """Turn maintenance on, as an earlier run."""
    routed(world, given)
    world.sandbox.add_token("closing", PERMISSIONS)
    where = ["--environment", "production", "--config", str(world.config), "--yes", "--json"]
    asked = ["maintenance", "--service", "api", "--state", "on", *options, *where]
    assert world.ops(*asked, CLOUDFLARE_API_TOKEN="closing", GITHUB_TOKEN="").code == 0
    shutil.rmtree(world.folder / ".ops")  # the record of that run


def scripts(world: World) -> set[str | None]:
    """Return the Workers that the routes point to."""
    (zone,) = world.sandbox.zones.all.values()
    return {route.script for route in zone.routes.values()}


def _path_is_closed(world: World) -> bool:
    (zone,) = world.sandbox.zones.all.values()
    return "api.fortunet.example/api/ai*" in {r.pattern for r in zone.routes.values() if r.script == MAINTENANCE_WORKER}


def _reroute(world: World) -> None:
    (zone,) = world.sandbox.zones.all.values()
    first = next(iter(zone.routes.values()))
    zone.routes[first.id] = replace(first, script=None)


STRANGERS = (deploy_hotfix, _reroute)
SCENARIOS = {
    "": Scenario(routed, lambda world: scripts(world) == {MAINTENANCE_WORKER}, STRANGERS, proves_by_probes=False),
    "a path": Scenario(
        routed,
        _path_is_closed,
        STRANGERS,
        {"path": "/api/ai"},
        ("POST", "/zones/*/workers/routes"),
        is_like_another=True,
        proves_by_probes=False,
    ),
    "off": Scenario(
        close,
        lambda world: scripts(world) == {WORKER},
        STRANGERS,
        {"state": "off"},
        by_a_person=True,
        is_like_another=True,
        proves_by_probes=False,
    ),
}
