"""Two concurrent runs: every interleaving gives true results and can be finished.

`./run pytest -n0 -s -m "slow or not slow" tests/merge/test_interleavings.py` prints the number of interleavings of each.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields
from datetime import timedelta
from functools import cache, partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from ops.app import registry
from ops.engine.runbook import Runbook
from tests.conftest import WORKER, World
from tests.support import limits, switches
from tests.support.claims import TOKEN, case_world
from tests.support.interleavings import RequestedRun, assert_consistent, fresh_world, interleave
from tests.support.offline import ALSO, HOST, MAINTENANCE_WORKER, prepared
from tests.support.scenarios import SECRETS, Case, Given, all_cases

MOST = 200
"""Upper limit of the requests of one run."""


@dataclass(frozen=True)
class Scene:
    """The setting of two concurrent runs: commands by name, and the command that completes any result."""

    world: World
    commands: dict[str, RequestedRun]
    heal: str = ""


Build = Callable[[World, str], Iterator[Scene]]
"""Makes a scene for a run of the named command."""
Begin = Callable[[], AbstractContextManager[Scene]]


def maintenance(world: World, first: str) -> Iterator[Scene]:
    with prepared(world) as place:
        before = place.ways
        off = {"enabled": False, "previews_enabled": False}

        def is_open() -> bool:
            return bool(place.ways == before) and place.serves(f"{HOST}/") == "home"

        def is_off() -> bool:
            routes = place.routes == {f"{HOST}/*": MAINTENANCE_WORKER, f"{ALSO}/*": MAINTENANCE_WORKER}
            return routes and world.sandbox.subdomain(WORKER) == off and place.serves(f"{HOST}/") == "off"

        token = {"CLOUDFLARE_API_TOKEN": "security"}
        asked = {"service": "api", "state": "on"}
        on = RequestedRun("maintenance", asked, is_off, environ=token)
        opens = RequestedRun("maintenance", asked | {"state": "off"}, is_open, environ=token)
        if first == "off":
            assert on.run(world).exit_code == 0
            world.sandbox.requests.clear()
        yield Scene(world, {"on": on, "off": opens}, heal="off")


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
    reset = {"service": "api"}
    back = {"service": "api", "to": good, "current_secrets": True}
    yield Scene(
        world,
        {
            "rotate": RequestedRun(
                "rotate-secrets", rotated, lambda: value() == FRESH, 42, environ=held, acts_each_time=True
            ),
            "rollback": RequestedRun("rollback-worker", back, lambda: code() == "good", 42),
            "reset": RequestedRun(
                "reset-durable-object", reset, lambda: bad not in world.live, 42, acts_each_time=True
            ),
        },
    )


def rehearsals(world: World, first: str) -> Iterator[Scene]:
    """Release two healthy versions and a bad live one."""
    world.edit_config("min_served: 10m # a", "rehearse: true\n        min_served: 10m # a")
    older = world.release(timedelta(hours=5), code="older")
    good = world.release(timedelta(hours=3), code="good")
    world.release(timedelta(hours=1), code="bad", behaviour={"status": 500})

    def to(version: str) -> RequestedRun:
        asked = {"service": "api", "to": version}
        return RequestedRun("rollback-worker", asked, lambda: world.live == {version: 100}, 42)

    yield Scene(world, {"good": to(good), "older": to(older)})


def proposals(world: World, first: str) -> Iterator[Scene]:
    place = limits.limits_world(world)
    place.github.switches.actions_may_create_pull_requests = True
    number = place.github.open_issue("Users get 429", labels=["incident"], author="alice")

    def is_proposed() -> bool:
        pulls = [issue.pull for issue in place.github._repository.threads.values() if issue.pull]
        return any(b"temporary" in place.github.files(pull.head)["limits.yml"] for pull in pulls)

    asked = RequestedRun("propose-limits", {}, is_proposed, number, environ=place.github.environ())
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


SCENES: dict[str, tuple[Build, tuple[str, ...]]] = {
    "maintenance": (maintenance, ("off", "on")),
    "workers": (workers, ("rotate", "rollback", "reset")),
    "rehearsals": (rehearsals, ("good", "older")),
    "limits": (proposals, ("propose",)),
    "switches": (switched, ("all-clear", "feature")),
}
"""Worlds in which different runs can disturb each other, with their runs: each of them meets each, and itself.

A runbook that is in none of them meets itself in its own scenario, so that a new one needs no line here.
"""
PAIRS = [(name, *pair) for name, (_, runs) in SCENES.items() for pair in product(runs, repeat=2)]


@contextmanager
def scene(name: str, first: str, folder: Path) -> Iterator[Scene]:
    with fresh_world(folder) as world:
        yield from SCENES[name][0](world, first)


def check_interleavings(begin: Begin, first: str, second: str, *, only_writes: bool = False) -> int:
    """Check each interleaving, and return their number."""
    for nth in range(1, MOST):
        with begin() as met:
            one, other = met.commands[first], met.commands[second]
            meeting = interleave(met.world, one, other, nth, only_writes=only_writes)
            if meeting is None:
                return nth - 1
            assert_consistent(met.world, one, other, met.commands[met.heal or second], meeting)
    raise AssertionError(f"{first} sends more than {MOST} requests")


@pytest.mark.parametrize(("name", "first", "second"), [pytest.param(*pair, id=" ".join(pair)) for pair in PAIRS])
def test_two_concurrent_runs_give_true_results(
    tmp_path: Path, record_property: Callable[[str, object], None], name: str, first: str, second: str
) -> None:
    found = check_interleavings(partial(scene, name, first, tmp_path), first, second)

    print(f"{name}: {first} stops, {second} runs: {found} interleavings")
    record_property("interleavings", found)
    assert found > 1


@cache
def runbooks_in_scenes() -> tuple[type[Runbook[Any]], ...]:
    """Return the runbooks that plan several changes in a scene."""
    found = set()
    for name, (_, runs) in SCENES.items():
        for first in runs:
            with TemporaryDirectory() as folder, scene(name, first, Path(folder)) as met:
                found |= {asked.name for asked in met.commands.values() if count_changes(asked, met.world) > 1}
    return tuple(type(registry.load_runbook(name)) for name in found)


def count_changes(asked: RequestedRun, world: World) -> int:
    """Return the number of changes in its plan."""
    plan = asked.run(world, dry_run=True).plan
    assert plan is not None, asked
    return len((*plan.changes, *plan.final_changes))


@contextmanager
def single_case_scene(case: Case) -> Iterator[Scene]:
    with case_world(case) as world:
        yield Scene(world, {"": command_of_case(case, world)})


@pytest.mark.parametrize("case", list(all_cases()), ids=str)
def test_run_with_several_changes_interleaves_with_itself(case: Case) -> None:
    """A subclass of a runbook in a scene is covered by that scene."""
    with single_case_scene(case) as met:
        several = count_changes(met.commands[""], met.world) > 1
    if several and not isinstance(case.runbook, runbooks_in_scenes()):
        found = check_interleavings(partial(single_case_scene, case), "", "")
        print(f"{case} stops, the same runs: {found} interleavings")
        assert found > 1


def command_of_case(case: Case, world: World) -> RequestedRun:
    """Return the run of a case; it builds from the repository next to ops.yml."""
    environ = {**SECRETS, "CLOUDFLARE_API_TOKEN": TOKEN, "OPS_SOURCE": str(world.folder / "app")}
    environ |= case.scenario.environ(world)
    environ |= world.sandbox.github.environ() if case.runbook.permissions.github else {}
    given = {each.name: getattr(case.params, each.name) for each in fields(case.params)}
    path = {"PATH": os.environ["PATH"]}
    reached = partial(case.scenario.reached, world)
    return RequestedRun(case.runbook.name, given, reached, Given().incident, environ={**environ, **path})


def test_maintenance_on_runs_before_each_write_of_off(tmp_path: Path) -> None:
    assert check_interleavings(partial(scene, "maintenance", "off", tmp_path), "off", "on", only_writes=True) == 5
