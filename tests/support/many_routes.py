"""A bakery whose shop has many routes, closed and reopened as a whole."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.records import RequestRecord
from tests.conftest import Outcome, World
from tests.support.bakery import TOKEN, WORKER, Bakery, bakery
from tests.support.in_process import answered_in_process
from tests.support.interleavings import RequestedRun
from tests.support.offline import MAINTENANCE_WORKER

HOST = "shop.bakery.example"


@dataclass
class ManyRoutes:
    """The shop, and the runs that close and open it."""

    made: Bakery
    world: World

    def ops(self, state: str, *arguments: str, **environ: str | None) -> Outcome:
        where = ["--environment", "live", "--config", str(self.made.config), "--service", "shop", "--yes", "--json"]
        return self.world.ops("maintenance", "--state", state, *where, *arguments, **{"BAKERY_TOKEN": TOKEN, **environ})

    def run(self, state: str) -> RequestedRun:
        reached = {"on": lambda: self.all_lead_to(MAINTENANCE_WORKER), "off": lambda: self.all_lead_to(WORKER)}
        asked = {"service": "shop", "state": state}
        return RequestedRun("maintenance", asked, reached[state], environ={"BAKERY_TOKEN": TOKEN}, environment="live")

    def all_lead_to(self, worker: str) -> bool:
        return set(self.routes.values()) == {worker}

    @property
    def routes(self) -> Mapping[str, str | None]:
        (zone,) = self.world.sandbox.zones.all.values()
        return {route.pattern: route.script for route in zone.routes.values()}

    def lead(self, pattern: str, script: str) -> None:
        """Let somebody else point a route to another Worker."""
        (zone,) = self.world.sandbox.zones.all.values()
        (route,) = [each for each in zone.routes.values() if each.pattern == pattern]
        self.world.sandbox.zones.add_route(zone, pattern, script, id=route.id)

    @property
    def calls(self) -> list[RequestRecord]:
        """Return the requests to Cloudflare's API."""
        return [each for each in self.world.sandbox.requests if each.path.startswith("/client/")]

    @property
    def stored(self) -> dict[str, Any]:
        """Return the variables of the live version of ops-maintenance."""
        (live,) = self.world.sandbox.live(MAINTENANCE_WORKER)
        bindings = self.world.sandbox.account.workers[MAINTENANCE_WORKER].versions[live].upload.bindings
        return {each["name"]: each.get("json", each.get("text")) for each in bindings}


@contextmanager
def many_routes(folder: Path, count: int) -> Iterator[ManyRoutes]:
    """Make the shop with this many routes, reached without sockets."""
    with answered_in_process(), bakery(folder) as made:
        made.sandbox.switches.propagation_seconds = 0
        made.edit("        url: https://shop.bakery.example\n", "        url: https://shop.bakery.example\n" + VERIFY)
        (zone,) = made.sandbox.zones.all.values()
        for number in range(1, count):
            made.sandbox.zones.add_route(zone, f"{HOST}/departments/{number:03}/*", WORKER)
        made.sandbox.requests.clear()
        yield ManyRoutes(made, World(made.sandbox, folder))


VERIFY = "        verify: {successes: 1, interval: 500ms, deadline: 5s}\n"
