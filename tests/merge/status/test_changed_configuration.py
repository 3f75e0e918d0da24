"""Each held state is ended as `ops status` says, also after its service, method or section left ops.yml.

A person closes something, then merges another ops.yml. The command that `ops status` prints ends it, or the status
names the step by hand.
"""

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import yaml

from tests.conftest import WORKER, World
from tests.support import switches
from tests.support.commands import ended
from tests.support.held_states import KINDS, HeldState
from tests.support.offline import HOST, MAINTENANCE_WORKER, PERMISSIONS

Environment = dict[str, Any]
"""One environment in ops.yml, as data."""
EVERYTHING = [*PERMISSIONS, *switches.PERMISSIONS]
OTHER_NAMESPACE = "badbadbadbadbadbadbadbadbadbadba"


@contextmanager
def ai(world: World) -> Iterator[HeldState]:
    place = switches.prepared(world)
    place.put("ai", state="auto", incident=None)
    world.sandbox.switches.kv_api_staleness_seconds = 0
    world.sandbox.clock.advance(60)
    yield HeldState(
        world,
        "ai-failover",
        {"to": "groq"},
        {"to": "restore"},
        lambda: bool(place.shown["switches"]["ai"]["state"] == "groq"),
        list,
        {"CLOUDFLARE_API_TOKEN": "switching"},
    )


def service_of(place: HeldState) -> str:
    return str(place.hold.get("service", "api"))


def switch_of(place: HeldState) -> str:
    return "ai" if place.runbook == "ai-failover" else str(place.hold.get("name", "maintenance"))


def rename_service(place: HeldState, environment: Environment) -> Environment:
    """Rename it everywhere: as a key, and where another section names it."""
    old = service_of(place)

    def rename(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {
                ("renamed" if name == old else name): each if name == "probes" else rename(each)
                for name, each in value.items()
            }
        if isinstance(value, list):
            return [rename(each) for each in value]
        return "renamed" if value == old else value

    return {name: each if name == "account_id" else rename(each) for name, each in environment.items()}


def remove_service(place: HeldState, environment: Environment) -> Environment:
    """Remove it with all sections that name it; another service stays."""
    services = {"spare": {"worker": "spare", "url": "https://spare.example.com"}, **environment["services"]}
    del services[service_of(place)]
    return {"account_id": environment["account_id"], "token": environment["token"], "services": services}


def change_method(place: HeldState, environment: Environment) -> Environment:
    service = environment["services"][service_of(place)]
    if service.get("maintenance") != "switch":
        place.world.sandbox.kv.add(switches.NAMESPACE)
        switches.deploy(place.world, paths={"/": {"status": 200}})
    now = "edge" if service.get("maintenance") == "switch" else "switch"
    return {**environment, "services": {**environment["services"], service_of(place): {**service, "maintenance": now}}}


def forget_method(place: HeldState, environment: Environment) -> Environment:
    environment["services"][service_of(place)].pop("maintenance", None)
    return environment


def rename_environment(place: HeldState, environment: Environment) -> Environment:
    return environment


def remove_switch(place: HeldState, environment: Environment) -> Environment:
    environment = forget_method(place, environment)
    environment["runtime"]["switches"].pop(
        place.hold.get("name", "ai" if place.runbook == "ai-failover" else "maintenance")
    )
    environment["runtime"].pop("ai", None)
    return environment


def remove_runtime(place: HeldState, environment: Environment) -> Environment:
    environment = forget_method(place, environment)
    del environment["runtime"]
    return environment


def remove_order(place: HeldState, environment: Environment) -> Environment:
    """Remove the order of the AI providers, and keep their switch."""
    del environment["runtime"]["ai"]
    return environment


def change_namespace(place: HeldState, environment: Environment) -> Environment:
    place.world.sandbox.kv.add(OTHER_NAMESPACE)
    environment["runtime"]["namespace"] = OTHER_NAMESPACE
    return environment


Change = Callable[[HeldState, Environment], Environment]
ALL = {**KINDS, "ai": ai}
NAMED: Mapping[Change, Callable[[HeldState], str]] = {
    remove_service: lambda place: "the site docs" if place.hold["service"] == "docs" else f"the Worker {WORKER}",
    remove_switch: lambda _: "`runtime.switches`",
    remove_runtime: lambda _: "`runtime.switches`",
    remove_order: lambda _: "`runtime.ai.order`",
    change_namespace: lambda _: f"`runtime.namespace` to {switches.NAMESPACE}",
}
"""Change after which no command can end the state → what the step by hand names."""
OF_ALL: tuple[Change, ...] = (rename_service, rename_environment)
OF_SWITCHES: tuple[Change, ...] = (*OF_ALL, remove_switch, remove_runtime, change_namespace)
CHANGES: Mapping[str, tuple[Change, ...]] = {
    "routes": (change_method, remove_service, *OF_ALL),
    "site": (remove_service, *OF_ALL),
    "switch": (change_method, forget_method, *OF_SWITCHES),
    "feature": OF_SWITCHES,
    "ai": (*OF_SWITCHES, remove_order),
}


def merge(place: HeldState, change: Change) -> HeldState:
    """Write the changed ops.yml, and return the state with a token that may do everything."""
    config = yaml.safe_load(place.world.config.read_text())
    name = "renamed" if change is rename_environment else place.environment
    changed = change(place, copy.deepcopy(config["environments"][place.environment]))
    place.world.config.write_text(yaml.safe_dump({"environments": {name: changed}}))
    place.world.sandbox.add_token("everything", EVERYTHING)
    return replace(place, environment=name, environ=dict.fromkeys(place.environ, "everything"))


def held_in(place: HeldState) -> dict[str, Any]:
    """Return the only held state in the status, or the source that it could not read."""
    where = ("--environment", place.environment, "--config", str(place.world.config))
    lines = place.world.ops("status", *where, **place.environ).out
    found = place.world.ops("status", *where, "--json", **place.environ).result
    (held,) = found["held"] or [{"release": "", "step": each} for each in found["unread"][-1:]]
    assert (held["release"] or held["step"]) in lines
    return dict(held)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("kind", "change"),
    [(kind, each) for kind, changes in CHANGES.items() for each in changes],
    ids=lambda each: each if isinstance(each, str) else each.__name__,
)
def test_status_names_the_way_out_after_a_change_of_ops_yml(world: World, kind: str, change: Change) -> None:
    with ALL[kind](world) as place:
        assert place.press("dana", holds=True).code == 0
        world.sandbox.clock.advance(120)
        before = world.config.read_text()
        now = merge(place, change)

        held = held_in(now)

        if not held["release"]:
            assert NAMED[change](place) in held["step"]
            world.config.write_text(before)  # the step by hand
            now = replace(now, environment=place.environment)
            held = held_in(now)
        for _ in range(2):
            assert now.run_suggested(held["release"], "dana").code == 0
            assert not place.is_held()


def test_raised_limit_in_another_namespace_is_no_unknown_one(world: World) -> None:
    with KINDS["feature"](world) as place:
        calm = {"limit": 30, "period": 60, "key": "ip"}
        switches.deploy(world, {**switches.DECLARED, "limits": {"calc": {**calm, "probe": False}}})
        until = f"{world.sandbox.clock.now() + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
        raised = {"calc": {**calm, "temporary": {"limit": 60, "until": until}}}
        world.sandbox.kv.put(
            switches.NAMESPACE,
            "ops/limits",
            json.dumps({"version": 1, "revision": "3f9c2ab41d07-9c0ffee1", "limits": raised}),
        )
        assert held_in(place)["step"] == "remove its `temporary` from limits.yml"

        now = merge(place, change_namespace)

        assert f"`runtime.namespace` to {switches.NAMESPACE}" in held_in(now)["step"]


@pytest.fixture
def both(world: World) -> Iterator[HeldState]:
    """Return a service that its switch closes, and routes too since ops.yml says `edge`."""
    with KINDS["switch"](world) as place:
        zone = world.sandbox.zones.all[world.sandbox.zones.add("fortunet.example")]
        world.sandbox.zones.add_route(zone, f"{HOST}/*", WORKER)
        assert place.press("dana", holds=True).code == 0
        now = merge(place, forget_method)
        world.edit_config("interval: 1s", "interval: 500ms")
        where = ("--environment", "production", "--config", str(world.config), "--yes", "--json")
        assert world.ops("maintenance", "prepare", *where, **now.environ).code == 0
        assert now.press("dana", holds=True).code == 0
        yield now


def test_service_closed_by_both_methods_is_opened_by_two_presses(both: HeldState) -> None:
    first = both.press("dana", holds=False)

    assert both.is_held()  # by the switch alone
    assert "open as requested" not in first.result["message"]
    assert "--state off" in first.result["plan"]["next_step"]
    assert both.run_suggested(first.result["plan"]["next_step"], "dana").code == 0
    assert not both.is_held()
    assert ended(both.press("dana", holds=False))[:2] == (0, "nothing_to_do")


def test_token_of_the_edge_alone_still_opens_routes(both: HeldState) -> None:
    both.world.sandbox.add_token("edge-only", PERMISSIONS)
    edge = replace(both, environ={"CLOUDFLARE_API_TOKEN": "edge-only"})

    assert edge.press("dana", holds=False).code == 6  # the application still answers 503
    assert switches.SwitchWorld(both.world).get("/").headers[MAINTENANCE_WORKER] == "switch"


@pytest.mark.parametrize("change", [rename_service, change_method], ids=lambda each: each.__name__)
def test_due_window_reopens_after_a_change_of_ops_yml(world: World, change: Change) -> None:
    with KINDS["routes"](world) as place:
        assert place.press("dana", holds=True, more=("--until", "10m", "--reopen-at-end")).code == 0
        now = merge(place, change)
        world.sandbox.clock.advance(700)
        where = ("--environment", "production", "--config", str(world.config), "--yes", "--json")

        for _ in range(2):
            assert world.ops("maintenance", "due", *where, **now.environ).code == 0

        assert not place.is_held()
