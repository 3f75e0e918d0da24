"""Settings in which two runs can disturb each other, and the pairs of runs that meet there."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ops.core.errors import Reason
from ops.core.run import EndedRun
from sandbox.records import RequestRecord
from tests.conftest import WORKER, World
from tests.support import databases, limits, shopdesk, switches
from tests.support.claims import assert_statements_true
from tests.support.interleavings import Actor, RequestedRun, fresh_world, tell
from tests.support.migrated_database import Database
from tests.support.offline import ALSO, HOST, MAINTENANCE_WORKER, prepared
from tests.support.scenarios import refuse_bad_page, served_site
from tests.support.site_repository import BUILD, repository


@dataclass
class Colleague:
    """Somebody who changes something beside the runs, which must not get lost."""

    act: Callable[[], object] = lambda: None
    is_kept: Callable[[], bool] = lambda: True
    has_acted: bool = False

    @classmethod
    def with_route(cls, world: World) -> "Colleague":
        """Return one who adds a route of another Worker to the zone of the service."""
        (zone,) = world.sandbox.zones.all.values()
        route = ("docs.fortunet.example/*", "other")

        def add() -> None:
            world.sandbox.upload(route[1])
            world.sandbox.zones.add_route(zone, *route)

        return cls(add, lambda: route in {(each.pattern, each.script) for each in zone.routes.values()})

    @classmethod
    def with_key(cls, world: World) -> "Colleague":
        """Return one who writes another key to the namespace of the switches."""
        key = (switches.NAMESPACE, "ops/switch/other")
        return cls(lambda: world.sandbox.kv.put(*key, "{}"), lambda: world.sandbox.kv.get(*key) == "{}")


@dataclass(frozen=True)
class Scene:
    """The setting of two concurrent runs: commands by name, and the command that completes any result."""

    world: World
    commands: dict[str, RequestedRun]
    heal: str = ""
    is_open: Callable[[], bool] = lambda: True
    """Whether the service is open in each way."""
    states: Mapping[str, Callable[[], bool]] = field(default_factory=dict)
    """Pattern of a statement about the state now → whether it is true."""
    colleague: Colleague = field(default_factory=Colleague)

    def act_as_colleague(self) -> None:
        self.colleague.act()
        self.colleague.has_acted = True

    def keeps_others(self) -> bool:
        """Return whether the change of the colleague, if any, is still there."""
        return not self.colleague.has_acted or self.colleague.is_kept()

    def check(
        self,
        asked: RequestedRun,
        result: EndedRun,
        made: list[RequestRecord],
        *story: str,
        is_overtaken: bool = False,
    ) -> None:
        """Check a result against the world at the end of its run.

        `is_overtaken`: another run changed the world after the proof of this one, and before its end.
        """
        told = [*story, tell(result, made)]
        assert_statements_true(result.to_json(), made, *story, is_whole=not asked.writes_to_github)
        if is_overtaken:
            return
        assert result.exit_code != 0 or asked.reached(), told
        for pattern, is_true in self.states.items():
            is_unproved = "as requested" in pattern and result.exit_code != 0  # said of what probes did not confirm
            is_said = not is_unproved and re.search(pattern, f"{result.message} {result.hint}")
            assert is_true() or not is_said, [pattern, *told]

    def check_actor(self, actor: Actor, *, is_overtaken: bool = False) -> None:
        """Check the result of a run at its end."""
        assert actor.result is not None
        self.check(actor.asked, actor.result, actor.effects, is_overtaken=is_overtaken)

    def check_way_open(self, *results: EndedRun) -> None:
        """Check that a closed service names its way open: in the last result of one of its runs, or in `ops status`."""
        if self.is_open() or any(_names_way_open(each.to_json()) for each in results):
            return
        shown = self._status()
        way = "state off|until (its |a )?run|reopens it at its end|Run this again in a minute"
        assert re.search(way, shown), ["closed, without a way to open it", shown, *(each.message for each in results)]

    def _status(self) -> str:
        """Return what `ops status` shows."""
        tokens = {name: value for each in self.commands.values() for name, value in each.environ.items()}
        environment = next(iter(self.commands.values())).environment
        where = ["--environment", environment, "--config", str(self.world.config)]
        return self.world.ops("status", *where, **tokens).out


def _names_way_open(result: Mapping[str, Any]) -> bool:
    plan = result["plan"] or {}
    texts = [result["message"], result["hint"], result["press"], *result["undo"], plan.get("next_step") or ""]
    return any("state off" in text for text in texts)


def states_of(
    service: str, is_open: Callable[[], bool], is_closed: Callable[[], bool]
) -> dict[str, Callable[[], bool]]:
    """Return the statements about a service that is open or closed."""
    return {
        f"{service} is open, and may": is_open,
        f"the whole of {service} is open as requested": is_open,
        f"the whole of {service} is offline as requested": is_closed,
        f"{service} stays in maintenance|the whole of {service} stays offline": is_closed,
        f"{service} stays closed|{service} was in maintenance before this run and stays so": lambda: not is_open(),
    }


Build = Callable[[World, str], Iterator[Scene]]
"""Makes a scene for a run of the named command."""
Begin = Callable[[], AbstractContextManager[Scene]]


def maintenance(world: World, first: str) -> Iterator[Scene]:
    with prepared(world) as place:
        on_edge = {"enabled": True, "previews_enabled": True}
        off = {"enabled": False, "previews_enabled": False}

        def routes() -> dict[str, str | None]:
            return {pattern: script for pattern, script in place.routes.items() if not pattern.startswith("docs.")}

        def is_open() -> bool:
            is_whole = routes() == {f"{HOST}/*": WORKER} and world.sandbox.subdomain(WORKER) == on_edge
            return is_whole and place.serves(f"{HOST}/") == "home"

        def is_off() -> bool:
            is_closed = routes() == {f"{HOST}/*": MAINTENANCE_WORKER, f"{ALSO}/*": MAINTENANCE_WORKER}
            return is_closed and world.sandbox.subdomain(WORKER) == off and place.serves(f"{HOST}/") == "off"

        token = {"CLOUDFLARE_API_TOKEN": "security"}
        asked = {"service": "api", "state": "on"}
        on = RequestedRun("maintenance", asked, is_off, environ=token)
        opens = RequestedRun("maintenance", asked | {"state": "off"}, is_open, environ=token)
        if first == "off":
            assert on.run(world).exit_code == 0
        states = states_of("api", is_open, is_off)
        yield Scene(
            world,
            {"on": on, "off": opens},
            heal="off",
            is_open=is_open,
            states=states,
            colleague=Colleague.with_route(world),
        )


KEY, LEAKED, FRESH = "GROQ_API_KEY", "gsk-leaked-0123456789", "gsk-fresh-9876543210"
OBJECT = {"type": "durable_object_namespace", "name": "LOCK", "class_name": "Lock", "namespace_id": "1"}


def workers(world: World, first: str) -> Iterator[Scene]:
    """Release a good version and a bad live one with a leaked key; a Durable Object forces uploads for secrets."""
    sandbox = world.sandbox
    sandbox.switches.propagation_seconds = 0
    for key in (LEAKED, FRESH):
        sandbox.providers["groq"].add_key(key)
    upstream = {"paths": {"/health/ai/groq": {"upstream": {"provider": "groq", "secret": KEY}}}}
    secrets = {KEY: LEAKED, "OTHER": "kept"}
    shared: dict[str, Any] = {"bindings": [OBJECT], "durable_objects": ["Lock"], "secrets": secrets}
    good = world.release(timedelta(hours=3), code="good", behaviour={**upstream, "objects": {"lock": {}}}, **shared)
    bad = world.release(timedelta(hours=1), code="bad", behaviour={**upstream, "objects": {"lock": {}}}, **shared)
    versions = sandbox.account.workers[WORKER].versions

    def code() -> str:
        (live,) = world.live
        return versions[live].upload.modules[0].content.decode()

    def value() -> str:
        (live,) = world.live
        return sandbox.deployments(WORKER)[0].secrets[live][KEY]

    held = {f"NEW_{KEY}": FRESH, f"OLD_{KEY}": LEAKED}
    rotated = {"service": "api", "only": (KEY,)}
    by_name = frozenset({Reason.INHERIT_NOT_ACCEPTED})  # an upload that nobody deployed: a person decides
    reset = {"service": "api"}
    back = {"service": "api", "to": good, "current_secrets": True}
    yield Scene(
        world,
        {
            "rotate": RequestedRun(
                "rotate-secrets",
                rotated,
                lambda: value() == FRESH,
                42,
                environ=held,
                acts_each_time=True,
                stops_for=by_name,
            ),
            "rollback": RequestedRun("rollback-worker", back, lambda: code() == "good", 42, stops_for=by_name),
            "reset": RequestedRun(
                "reset-durable-object", reset, lambda: bad not in world.live, 42, acts_each_time=True, stops_for=by_name
            ),
        },
    )


def rehearsals(world: World, first: str) -> Iterator[Scene]:
    """Release two healthy versions and a bad live one."""
    world.edit_config("min_served: 10m # a", "rehearse: true\n        min_served: 10m # a")
    older = world.release(timedelta(hours=5), code="older")
    good = world.release(timedelta(hours=3), code="good")
    bad = world.release(timedelta(hours=1), code="bad", behaviour={"status": 500})

    def to(version: str) -> RequestedRun:
        asked = {"service": "api", "to": version}
        return RequestedRun("rollback-worker", asked, lambda: world.live == {version: 100}, 42)

    def is_stepped_back() -> bool:
        return bad not in world.live

    chosen = RequestedRun("rollback-worker", {"service": "api"}, is_stepped_back, 42, kept=lambda: world.live)
    yield Scene(world, {"good": to(good), "older": to(older), "chosen": chosen})


def merged_limits(world: World, first: str) -> Iterator[Scene]:
    """Keep a temporary limit in KV after its end."""
    place = limits.limits_world(world)
    place.github.switches.actions_may_create_pull_requests = True
    place.commit(limits.temporary(60, f"{world.sandbox.clock.now() + timedelta(hours=4):%Y-%m-%dT%H:%M:%SZ}"))
    assert place.apply().code == 0
    world.sandbox.clock.advance(4 * 3600 + 60)
    number = place.github.open_issue("Users get 429", labels=["incident"], author="alice")

    def is_stored() -> bool:
        return "temporary" not in place.stored["limits"]["calc"]

    def is_proposed() -> bool:
        return any(issue.pull for issue in place.github._repository.threads.values())

    job = {"GITHUB_ACTIONS": "true", "OPS_COMMIT": place.sha, "CLOUDFLARE_API_TOKEN": limits.TOKEN}
    environ = {**place.github.environ(), **job}
    yield Scene(
        world,
        {
            "apply": RequestedRun("limits apply", {}, is_stored, environ=environ),
            "reconcile": RequestedRun("limits reconcile", {}, is_stored, environ=environ),
            "propose": RequestedRun("propose-limits", {}, is_proposed, number, environ=place.github.environ()),
        },
    )


def switched(world: World, first: str) -> Iterator[Scene]:
    place = switches.prepared(world)
    place.put("session-do", state="off", incident=42)
    place.put("ai", state="groq", incident=42)
    world.sandbox.clock.advance(60)

    def state(name: str) -> str:
        value = place.value(name)
        return str(value["state"]) if value else ""

    token = {"CLOUDFLARE_API_TOKEN": "switching"}
    yield Scene(
        world,
        {
            "all-clear": RequestedRun(
                "all-clear", {}, lambda: (state("session-do"), state("ai")) == ("on", "auto"), 42, environ=token
            ),
            "feature": RequestedRun(
                "feature",
                {"name": "session-do", "state": "off"},
                lambda: state("session-do") == "off",
                42,
                environ=token,
            ),
        },
    )


def switched_maintenance(world: World, first: str) -> Iterator[Scene]:
    """Close a service by its switch, beside another switch of the same application."""
    place = switches.prepared(world)
    old = "        worker: fortunet-api"
    world.edit_config(old, f"        maintenance: switch\n{old}")
    for name, state in (("session-do", "on"), ("maintenance", "on" if first == "off" else "off")):
        place.put(name, state=state, incident=42)
    world.sandbox.clock.advance(60)

    def is_state(name: str, state: str) -> bool:
        value = place.value(name)
        return value is not None and value["state"] == state

    def turn(state: str) -> RequestedRun:
        asked, reached = {"service": "api", "state": state}, partial(is_state, "maintenance", state)
        return RequestedRun("maintenance", asked, reached, 42, environ=token)

    token = {"CLOUDFLARE_API_TOKEN": "switching"}
    asked = {"name": "session-do", "state": "off"}
    feature = RequestedRun("feature", asked, partial(is_state, "session-do", "off"), 42, environ=token)
    is_open, is_closed = (partial(is_state, "maintenance", state) for state in ("off", "on"))
    states = states_of("api", is_open, is_closed)
    yield Scene(
        world,
        {"on": turn("on"), "off": turn("off"), "feature": feature},
        is_open=is_open,
        states=states,
        colleague=Colleague.with_key(world),
    )


LIBRARY_FILES = {
    "db/migrations/0001_first.sql": "INSERT INTO books (title) VALUES ('Emma'), ('Ulysses');",
    "db/migrations/0002_b.sql": "ALTER TABLE books ADD COLUMN tags TEXT;",
    "db/down/0002_b.sql": "ALTER TABLE books DROP COLUMN tags;",
}
SHOP_FILES = {
    "db/migrations/0001_start.sql": "INSERT INTO customers (name) VALUES ('Ana'), ('Bo');",
    "db/migrations/0002_currency.sql": "ALTER TABLE orders ADD COLUMN currency TEXT;",
    "db/down/0002_currency.sql": "ALTER TABLE orders DROP COLUMN currency;",
}


def library_restores(world: World, first: str, *, way: str) -> Iterator[Scene]:
    """Prepare a database whose last migration is bad. Its service is closed by routes (`edge`) or by its `switch`."""
    library = databases.prepared_at_edge(world) if way == "edge" else databases.prepared(world)
    if way == "switch":
        databases.with_switched_maintenance(library)
    world.edit_config(
        f"        id: {databases.ID}\n", f"        id: {databases.ID}\n        migrations: db/migrations\n"
    )

    def routes() -> set[str | None]:
        return {script for pattern, script in databases.ingress(world)[0].items() if not pattern.startswith("docs.")}

    def is_open() -> bool:
        return databases.maintenance_of(world) == "off" if way == "switch" else routes() == {WORKER}

    def is_closed() -> bool:
        return databases.maintenance_of(world) == "on" if way == "switch" else routes() == {MAINTENANCE_WORKER}

    token = {"CLOUDFLARE_API_TOKEN": library.token}
    database = Database(world, "lib", databases.ID, "d1_migrations", LIBRARY_FILES, "production", token)
    asked = {"service": "api"}
    commands = database.commands("0002_b.sql") | {
        "on": RequestedRun("maintenance", {**asked, "state": "on"}, is_closed, environ=token),
        "off": RequestedRun("maintenance", {**asked, "state": "off"}, is_open, environ=token),
    }
    if first == "off":
        assert commands["on"].run(world).exit_code == 0
        world.sandbox.clock.advance(60)
    colleague = Colleague.with_route(world) if way == "edge" else Colleague.with_key(world)
    states = states_of("api", is_open, is_closed)
    yield Scene(world, commands, states=states, is_open=is_open, colleague=colleague)


def shop_restores(world: World, first: str) -> Iterator[Scene]:
    """Prepare a shop whose last migration is bad. Nothing can close its service."""
    shopdesk.prepared(world)
    del world.sandbox.account.workers[MAINTENANCE_WORKER]
    world.sandbox.clock.advance(30)  # 14 minutes ago is soon after another row
    world.edit_config("        migrations_table:", "        migrations: db/migrations\n        migrations_table:")
    token = {"SHOP_TOKEN": "shop"}
    database = Database(world, "orders", shopdesk.DATABASE, "schema_log", SHOP_FILES, "live", token)
    yield Scene(world, database.commands("0002_currency.sql"))


def sites(world: World, first: str) -> Iterator[Scene]:
    """Deploy a good site and a bad live one, built from two commits of its repository."""
    world.sandbox.switches.pages_propagation_seconds = 1.0
    refuse_bad_page(world)
    found = repository(world)
    good = found.commit("good", page_html="<h1>good</h1>", build_sh=BUILD)
    older = world.site(timedelta(hours=2), "good, older", commit="a" * 40)
    world.site(timedelta(minutes=10), "bad", commit=found.commit("bad", page_html="<h1>bad</h1>"))

    def is_good() -> bool:
        live = served_site(world)
        return live is not None and b"good" in live.files["/index.html"].content

    environ = {"OPS_SOURCE": "app", "PATH": os.environ["PATH"]}
    back = {"service": "frontend", "to": older}
    build = {"service": "frontend", "commit": good}
    yield Scene(
        world,
        {
            "rollback": RequestedRun("rollback-pages", back, is_good, environ=environ),
            "redeploy": RequestedRun("redeploy-pages", build, is_good, environ=environ),
        },
    )


@dataclass(frozen=True)
class Setting:
    """A kind of scene, and the pairs of its runs that meet: the first one pauses while the second one runs."""

    build: Build
    pairs: tuple[tuple[str, str], ...]
    every: int = 1
    """The merge set lets the pairs meet at each nth call, the weekly tests at each."""
    is_quick: bool = True
    """Whether no run of it starts programs that take seconds."""


def _each(*names: str) -> tuple[tuple[str, str], ...]:
    return tuple((first, second) for first in names for second in names)


def _with(name: str, *others: str) -> tuple[tuple[str, str], ...]:
    """Return the pairs of a run with itself and with each other one, in both orders."""
    return (name, name), *((name, other) for other in others), *((other, name) for other in others)


SETTINGS: dict[str, Setting] = {
    "maintenance": Setting(maintenance, _each("off", "on")),
    "workers": Setting(workers, _each("rotate", "rollback", "reset")),
    "rehearsals": Setting(rehearsals, _each("good", "older", "chosen")),
    "limits": Setting(merged_limits, _each("apply", "reconcile", "propose"), 4),
    "switches": Setting(switched, _each("all-clear", "feature")),
    "switched maintenance": Setting(switched_maintenance, _each("on", "off", "feature")),
    "restores": Setting(partial(library_restores, way="edge"), _with("restore", "on", "off", "guard", "revert"), 11),
    "switched restores": Setting(partial(library_restores, way="switch"), _with("restore", "on", "off"), 7),
    "shop restores": Setting(shop_restores, _with("restore to -14m", "restore", "guard", "revert"), 7),
    "sites": Setting(sites, _each("rollback"), 4),
    "built sites": Setting(sites, (("rollback", "redeploy"),), 20, is_quick=False),
}
"""Worlds in which different runs can disturb each other.

A runbook that is in none of them meets itself in its own scenario, so that a new one needs no line here.
"""
PAIRS = [(name, *pair) for name, setting in SETTINGS.items() for pair in setting.pairs]


@contextmanager
def scene(name: str, first: str) -> Iterator[Scene]:
    """Make a scene for a run of the command `first`, in a new world."""
    with TemporaryDirectory() as folder, fresh_world(Path(folder)) as world:
        yield from SETTINGS[name].build(world, first)
