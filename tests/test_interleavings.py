"""Two runs of a runbook at once: however they meet, one more run reaches the goal, and no result is wrong.

`./run pytest -n0 -s -m "slow or not slow" tests/test_interleavings.py` prints the number of interleavings of each.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sandbox import Sandbox
from tests.conftest import ACCOUNT, REFERENCE, WORKER, World
from tests.support import limits, switches
from tests.support.claims import TOKEN, a_world
from tests.support.interleavings import Asked, assert_consistent, meet
from tests.support.offline import ALSO, HOST, OFFICE, prepared
from tests.support.scenarios import SECRETS, Case, Given, all_cases

MOST = 200
"""Requests of one run, by far."""


@dataclass(frozen=True)
class Scene:
    """What two runs meet in: the commands by name, and the one that leads out of whatever came of them."""

    world: World
    commands: dict[str, Asked]
    heal: str = ""


Build = Callable[[World, str], Iterator[Scene]]
"""Makes a scene for a run of the named command."""


def maintenance(world: World, first: str) -> Iterator[Scene]:
    with prepared(world) as place:
        before = place.ways
        off = {"enabled": False, "previews_enabled": False}

        def is_open() -> bool:
            return bool(place.ways == before) and place.serves(f"{HOST}/") == "home"

        def is_off() -> bool:
            routes = place.routes == {f"{HOST}/*": OFFICE, f"{ALSO}/*": OFFICE}
            return routes and world.sandbox.subdomain(WORKER) == off and place.serves(f"{HOST}/") == "off"

        token = {"CLOUDFLARE_API_TOKEN": "security"}
        asked = {"service": "api", "state": "on"}
        on = Asked("maintenance", asked, is_off, environ=token)
        opens = Asked("maintenance", asked | {"state": "off"}, is_open, environ=token)
        if first == "off":
            assert on.run(world).exit_code == 0
            world.sandbox.requests.clear()
        yield Scene(world, {"on": on, "off": opens}, heal="off")


KEY, LEAKED, FRESH = "GROQ_API_KEY", "gsk-leaked-0123456789", "gsk-fresh-9876543210"
OBJECT = {"type": "durable_object_namespace", "name": "LOCK", "class_name": "Lock", "namespace_id": "1"}


def workers(world: World, first: str) -> Iterator[Scene]:
    """A good release, and a bad one that serves with a leaked key; a Durable Object makes each secret a rebuild."""
    sandbox = world.sandbox
    sandbox.switches.propagation_seconds = 0
    for key in (LEAKED, FRESH):
        sandbox.providers["groq"].add_key(key)
    upstream = {"paths": {"/health/ai/groq": {"upstream": {"provider": "groq", "secret": KEY}}}}
    secrets = {KEY: LEAKED, "OTHER": "kept"}
    shared: dict[str, Any] = {"bindings": [OBJECT], "durable_objects": ["Lock"], "secrets": secrets}
    good = world.release(timedelta(hours=3), code="good", behaviour={**upstream, "objects": {"lock": {}}}, **shared)
    bad = world.release(timedelta(hours=1), code="bad", behaviour={**upstream, "objects": {"lock": {}}}, **shared)
    versions = sandbox._account.workers[WORKER].versions

    def code() -> str:
        (live,) = world.live
        return versions[live].upload.modules[0].content.decode()

    def value() -> str:
        (live,) = world.live
        return sandbox.deployments(WORKER)[0].secrets[live][KEY]

    held = {f"NEW_{KEY}": FRESH, f"OLD_{KEY}": LEAKED}
    back = {"service": "api", "to": good, "current_secrets": True}
    yield Scene(
        world,
        {
            "rotate": Asked(
                "rotate-secrets", {"service": "api", "only": (KEY,)}, lambda: value() == FRESH, 42, environ=held
            ),
            "rollback": Asked("rollback-worker", back, lambda: code() == "good", 42),
            "reset": Asked("reset-durable-object", {"service": "api"}, lambda: bad not in world.live, 42),
        },
    )


def proposals(world: World, first: str) -> Iterator[Scene]:
    place = limits.place(world)
    place.github.switches.actions_may_create_pull_requests = True
    number = place.github.open_issue("Users get 429", labels=["incident"], author="alice")

    def is_proposed() -> bool:
        pulls = [issue.pull for issue in place.github._repository.threads.values() if issue.pull]
        return any(b"temporary" in place.github.files(pull.head)["limits.yml"] for pull in pulls)

    asked = Asked("propose-limits", {}, is_proposed, number, environ=place.github.environ())
    yield Scene(world, {"propose": asked})


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
            "all-clear": Asked(
                "all-clear", {}, lambda: (state("session-do"), state("ai")) == ("on", "auto"), 42, environ=token
            ),
            "feature": Asked(
                "feature",
                {"name": "session-do", "state": "off"},
                lambda: state("session-do") == "off",
                42,
                environ=token,
            ),
        },
    )


SCENES: dict[str, Build] = {
    "maintenance": maintenance,
    "workers": workers,
    "limits": proposals,
    "switches": switched,
}
PAIRS = [
    ("maintenance", "off", "on"),
    ("maintenance", "on", "off"),
    ("maintenance", "off", "off"),
    ("maintenance", "on", "on"),
    ("workers", "rotate", "rotate"),
    ("workers", "rollback", "rotate"),
    ("workers", "rotate", "rollback"),
    ("workers", "reset", "reset"),
    ("workers", "rollback", "reset"),
    ("limits", "propose", "propose"),
    ("switches", "all-clear", "all-clear"),
    ("switches", "all-clear", "feature"),
]


@contextmanager
def fresh(folder: Path) -> Iterator[World]:
    config = (REFERENCE / "ops.yml").read_text().replace("deadline: 2m", "deadline: 10s")
    (folder / "ops.yml").write_text(config.replace("successes: 3", "successes: 1"))
    with Sandbox(account_id=ACCOUNT, virtual_clock=True) as sandbox:
        yield World(sandbox, folder)


@contextmanager
def scene(name: str, first: str, folder: Path) -> Iterator[Scene]:
    with fresh(folder) as world:
        yield from SCENES[name](world, first)


def count(name: str, first: str, second: str, folder: Path, *, only_writes: bool = False) -> int:
    """The number of interleavings, each of them looked at."""
    for nth in range(1, MOST):
        with scene(name, first, folder) as met:
            one, other = met.commands[first], met.commands[second]
            meeting = meet(met.world, one, other, nth, only_writes=only_writes)
            if meeting is None:
                return nth - 1
            assert_consistent(met.world, one, other, met.commands[met.heal or second], meeting)
    raise AssertionError(f"{name} {first} sends more than {MOST} requests")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "first", "second"), [pytest.param(*pair, id=" ".join(pair)) for pair in PAIRS])
def test_two_runs_at_once(
    tmp_path: Path, record_property: Callable[[str, object], None], name: str, first: str, second: str
) -> None:
    found = count(name, first, second, tmp_path)

    print(f"{name}: {first} stops, {second} runs: {found} interleavings")
    record_property("interleavings", found)
    assert found > 1


@pytest.mark.slow
def test_every_runbook_with_several_changes_meets_another_run(tmp_path: Path) -> None:
    """By the plans: one with several changes is in a scene, and each other plan has one change at most."""
    several = set()
    for name, first, _ in PAIRS:
        with scene(name, first, tmp_path) as met:
            for asked in met.commands.values():
                plan = asked.run(met.world, dry_run=True).plan
                if plan is not None and len((*plan.changes, *plan.finishing)) > 1:
                    several.add(asked.name)
    alone = [case for case in all_cases() if case.runbook.name not in several]
    for case in alone:
        with a_world(case) as world:
            plan = asked_for(case, world).run(world, dry_run=True).plan
            assert plan is not None, case
            assert len((*plan.changes, *plan.finishing)) <= 1, f"{case} has several changes and needs a scene above"


def asked_for(case: Case, world: World) -> Asked:
    """The run of a case; it builds from the repository beside ops.yml."""
    environ = {**SECRETS, "CLOUDFLARE_API_TOKEN": TOKEN, "OPS_SOURCE": str(world.folder / "app")}
    given = {each.name: getattr(case.params, each.name) for each in fields(case.params)}
    path = {"PATH": os.environ["PATH"]}
    return Asked(case.runbook.name, given, lambda: True, Given().incident, environ={**environ, **path})


def test_maintenance_on_runs_before_a_write_of_maintenance_off(tmp_path: Path) -> None:
    assert count("maintenance", "off", "on", tmp_path, only_writes=True) == 5
