"""States that incidents and persons hold: a service closed by routes or by its switch, a site, a feature."""

import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx

from tests.conftest import WORKER, Outcome, World
from tests.support import databases, offline, switches
from tests.support.interleavings import RequestedRun
from tests.support.offline import HOST, MAINTENANCE_WORKER, PERMISSIONS
from tests.support.shop import SITE, open_shop

Holder = int | str
"""An incident, or a person without one."""
ON_CALL = "alice"
"""The person who acts for each incident."""
SITE_HOST = "docs.shop.example"
SECURITY, CLOSING = {"CLOUDFLARE_API_TOKEN": "security"}, {"SHOP_TOKEN": "closing"}
SHOP_SWITCHES = {
    "switches": {**switches.DECLARED["switches"], "basket": {"normal": "on", "on_unknown": "on"}},
    "ai": switches.DECLARED["ai"],
}


@dataclass(frozen=True)
class HeldState:
    """A state, the commands that hold and release it, and whether it is in effect."""

    world: World
    runbook: str
    hold: Mapping[str, Any]
    release: Mapping[str, Any]
    is_held: Callable[[], bool]
    read_owners: Callable[[], list[Holder]]
    environ: Mapping[str, str]
    environment: str = "production"

    def request(self, holder: Holder, *, holds: bool, **more: Any) -> RequestedRun:
        params, incident = (
            {**(self.hold if holds else self.release), **more},
            holder if isinstance(holder, int) else None,
        )
        environ = {**self.environ, "USER": str(holder) if incident is None else ON_CALL}
        return RequestedRun(
            self.runbook,
            params,
            lambda: self.is_held() == holds,
            incident,
            environ,
            self.environment,
            acts_each_time=True,
        )

    def press(self, holder: Holder, *, holds: bool, more: tuple[str, ...] = (), **environ: str) -> Outcome:
        """Run the command line."""
        request = self.request(holder, holds=holds)
        given = [part for name, value in request.params.items() for part in (f"--{name}", value)]
        named = ["--incident", str(request.incident)] if request.incident else []
        where = ["--environment", self.environment, "--config", str(self.world.config), "--yes", "--json"]
        done = self.world.ops(self.runbook, *given, *named, *more, *where, **{**request.environ, **environ})
        self.world.sandbox.clock.advance(2)  # a key of KV takes one write a second
        return done

    def run_suggested(self, command: str, person: str) -> Outcome:
        config = () if "--config" in command else ("--config", str(self.world.config))
        typed = (*shlex.split(command)[1:], *config, "--yes", "--json")
        done = self.world.ops(*typed, **{**self.environ, "USER": person})
        self.world.sandbox.clock.advance(2)
        return done

    @property
    def holders(self) -> set[Holder]:
        """Return the stored owners."""
        return {*self.read_owners()}


def stored_windows(world: World) -> list[dict[str, Any]]:
    """Return the windows as the live version of ops-maintenance stores them; they may be edited."""
    versions, live = world.sandbox.account.workers[MAINTENANCE_WORKER].versions, world.sandbox.live(MAINTENANCE_WORKER)
    bindings = versions[next(iter(live))].upload.bindings
    return [each["json"] for each in bindings if str(each["name"]).startswith("BLOCK_")]


def _owners_of_windows(world: World, environment: str, environ: Mapping[str, Any]) -> list[Holder]:
    """Return the owners that `ops status` names: it also knows those whose version was overwritten."""
    where = ("--environment", environment, "--config", str(world.config), "--json")
    shown = world.ops("status", *where, **environ).result["maintenance"]
    names = [name.split()[0] for window in shown for name in window["held_by"]]
    return [int(name[1:]) if name.startswith("#") else name for name in names]


def _owners_of_switch(place: switches.SwitchWorld, name: str, normal: str) -> list[Holder]:
    value = place.value(name) or {"state": normal}
    owners = [] if value["state"] == normal else value.get("owners", [{**value, "by": value["owner"]}])
    return [each["incident"] or each["by"] for each in owners]


def _maintenance(service: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    return {"service": service, "state": "on"}, {"service": service, "state": "off"}


@contextmanager
def routes(world: World) -> Iterator[HeldState]:
    with offline.prepared(world) as place:
        yield HeldState(
            world,
            "maintenance",
            *_maintenance("api"),
            lambda: place.serves(f"{HOST}/") == "off",
            partial(_owners_of_windows, world, "production", SECURITY),
            SECURITY,
        )


@contextmanager
def site(world: World) -> Iterator[HeldState]:
    shop, sandbox = open_shop(world), world.sandbox
    sandbox.switches.propagation_seconds = 0
    sandbox.switches.route_precedes_pages_domain = True
    sandbox.pages.add_deployment(SITE, files={"index.html": b"docs"}, at=sandbox.clock.now())
    sandbox.clock.advance(60)
    sandbox.zones.add("shop.example")
    sandbox.add_token("closing", [*PERMISSIONS, "Pages Read"])
    where = ["--environment", "live", "--config", str(world.config), "--yes"]
    assert world.ops("maintenance", "prepare", *where, **shop.environ(SHOP_TOKEN="closing")).code == 0
    yield HeldState(
        world,
        "maintenance",
        *_maintenance("docs"),
        lambda: httpx.get(sandbox.edge_url, headers={"host": SITE_HOST}, verify=False).status_code == 503,
        partial(_owners_of_windows, world, "live", {**shop.environ(), **CLOSING}),
        CLOSING,
        "live",
    )


@contextmanager
def switch(world: World) -> Iterator[HeldState]:
    place = switches.prepared(world)
    switches.deploy(world, paths={"/": {"status": 200}})
    place.put("maintenance", state="off", incident=None)
    world.edit_config("        worker: fortunet-api", "        maintenance: switch\n        worker: fortunet-api")
    world.sandbox.switches.kv_api_staleness_seconds = 0
    world.sandbox.clock.advance(60)
    yield HeldState(
        world,
        "maintenance",
        *_maintenance("api"),
        lambda: place.get("/").status_code == 503,
        partial(_owners_of_switch, place, "maintenance", "off"),
        {"CLOUDFLARE_API_TOKEN": "switching"},
    )


@contextmanager
def feature(world: World) -> Iterator[HeldState]:
    """Another team's application with its own switch."""
    place = switches.prepared(world)
    world.edit_config("session-do:", "basket:")
    switches.deploy(world, SHOP_SWITCHES)
    for name, state in (("basket", "on"), ("ai", "auto")):
        place.put(name, state=state, incident=None)
    world.sandbox.switches.kv_api_staleness_seconds = 0
    world.sandbox.clock.advance(60)
    yield HeldState(
        world,
        "feature",
        {"name": "basket", "state": "off"},
        {"name": "basket", "state": "on"},
        lambda: bool(place.shown["switches"]["basket"]["state"] == "off"),
        partial(_owners_of_switch, place, "basket", "on"),
        {"CLOUDFLARE_API_TOKEN": "switching"},
    )


@contextmanager
def restored(world: World, way: str) -> Iterator[tuple[HeldState, RequestedRun]]:
    """Yield a service that its database's restore closes too, by routes (`edge`) or by its `switch`, and the restore."""
    library = databases.prepared_at_edge(world) if way == "edge" else databases.prepared(world)
    if way == "switch":
        databases.with_switched_maintenance(library)
        world.sandbox.switches.kv_api_staleness_seconds = 0
    token = {"CLOUDFLARE_API_TOKEN": library.token}

    def is_held() -> bool:
        if way == "switch":
            return databases.maintenance_of(world) == "on"
        return WORKER not in databases.ingress(world)[0].values()

    asked = {"database": "lib", "to": "before-migration:0002_b.sql", "one_person": True}
    restore = RequestedRun(
        "restore-database", asked, lambda: library.migrations == ["0001_first.sql"], environ={**token, "USER": "rita"}
    )
    owners = partial(_owners_in_status, world, token)
    yield HeldState(world, "maintenance", *_maintenance("api"), is_held, owners, token), restore


def _owners_in_status(world: World, environ: Mapping[str, str]) -> list[Holder]:
    where = ("--environment", "production", "--config", str(world.config), "--json")
    held = world.ops("status", *where, **environ).result["held"]
    names = [name.split()[0] for each in held for name in each["held_by"]]
    return [int(name[1:]) if name.startswith("#") else name for name in names]


KINDS = {"routes": routes, "site": site, "switch": switch, "feature": feature}
