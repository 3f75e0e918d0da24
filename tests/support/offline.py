"""Helpers for tests of maintenance: an API with three ingress paths, and the command."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx

from sandbox.cloudflare.zones.state import FakeZone
from tests.conftest import WORKER, Outcome, World

MAINTENANCE_WORKER = "ops-maintenance"
HOST, ALSO = "api.fortunet.example", "app.fortunet.example"
DEV = f"{WORKER}.sandbox.workers.dev"
PERMISSIONS = ["Workers Scripts Write", "Workers Routes Write", "Zone Read"]


@dataclass
class MaintenanceWorld:
    """An API behind a route, a custom domain and workers.dev, with a prepared ops-maintenance."""

    world: World
    zone: FakeZone
    edge: httpx.Client

    def ops(self, *arguments: str, **environ: str) -> Outcome:
        where = ["--environment", "production", "--config", str(self.world.config), "--yes", "--json"]
        return self.world.ops("maintenance", *arguments, *where, **{"CLOUDFLARE_API_TOKEN": "security", **environ})

    def on(self, *arguments: str, **environ: str) -> Outcome:
        return self.ops("--state", "on", "--service", "api", *arguments, **environ)

    def off(self, *arguments: str) -> Outcome:
        return self.ops("--state", "off", "--service", "api", *arguments)

    def route(self, pattern: str, script: str | None) -> str:
        return self.world.sandbox.zones.add_route(self.zone, pattern, script).id

    @property
    def routes(self) -> dict[str, str | None]:
        return {route.pattern: route.script for route in self.zone.routes.values()}

    @property
    def ways(self) -> Any:
        return sorted(self.zone.routes.items()), self.world.sandbox.subdomain(WORKER)

    def get(self, url: str, method: str = "GET", **headers: str) -> httpx.Response:
        """Send a request; its target is sent unchanged."""
        host, slash, target = url.partition("/")
        sent = httpx.Request(method, self.world.sandbox.edge_url, headers={"host": host, **headers})
        sent.extensions["target"] = (slash + target or "/").encode("ascii")
        return self.edge.send(sent)

    def serves(self, url: str) -> str:
        answer = self.get(url)
        return "off" if answer.status_code == 503 and MAINTENANCE_WORKER in answer.headers else answer.text


def account(place: MaintenanceWorld) -> Any:
    return place.world.sandbox.account


@contextmanager
def prepared(world: World) -> Iterator[MaintenanceWorld]:
    world.edit_config("deadline: 10s", "deadline: 5s")
    sandbox = world.sandbox
    sandbox.switches.propagation_seconds = 0
    sandbox.add_token("security", PERMISSIONS)
    healthy = {"paths": {"/api/ai": {"body": "ai", "status": 200}, "/": {"body": "home", "status": 200}}}
    world.release(timedelta(hours=2), code="api", behaviour=healthy)
    sandbox.deploy("other", sandbox.upload("other", behaviour={"body": "other", "status": 200}))
    zone = sandbox.zones.all[sandbox.zones.add("fortunet.example")]
    sandbox.zones.add_route(zone, f"{HOST}/*", WORKER)
    sandbox.zones.add_domain(zone, ALSO, WORKER)
    sandbox.set_subdomain(WORKER, enabled=True, previews_enabled=True)
    with httpx.Client(verify=False) as edge:
        found = MaintenanceWorld(world, zone, edge)
        assert found.ops("prepare").code == 0
        sandbox.requests.clear()
        yield found
