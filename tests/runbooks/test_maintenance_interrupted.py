"""`maintenance --state off` that is killed or interrupted at each write: the same command finishes it."""

import signal
from itertools import product
from typing import Any

import pytest

from tests.conftest import Outcome, World
from tests.runbooks.test_maintenance_two_incidents import switched
from tests.runbooks.test_restore_database_resumed import MOMENTS, WRITES
from tests.support import offline
from tests.support.commands import Command, ended, endings
from tests.support.offline import HOST, MaintenanceWorld

ROUTE_WRITES = [fault for name, fault in WRITES.items() if name != "restore"]
SWITCH_WRITE = {"method": "PUT", "path": "/accounts/*/storage/kv/namespaces/*/values/*"}


def interrupt(world: World, state: str, fault: dict[str, Any], moment: str, number: int, token: str) -> Outcome:
    """Interrupt a run at its write: `before` it reaches Cloudflare, or `after` it took effect."""
    environ = {"CLOUDFLARE_API_TOKEN": token}
    run = Command(world, "maintenance", service="api", more=("--state", state), environ=environ)
    lost = {"lost": "before"} if moment == "before" and number == signal.SIGKILL else {}
    world.sandbox.fault(**fault, **{moment: run.send(number)}, **lost)
    done = run.run()
    world.sandbox.faults.clear()
    return done


def stored(world: World, token: str) -> list[Any]:
    where = ("--environment", "production", "--config", str(world.config), "--json")
    found: list[Any] = world.ops("status", *where, CLOUDFLARE_API_TOKEN=token).result["maintenance"]
    return found


def finish(place: MaintenanceWorld, state: str) -> None:
    """Press the same command twice more."""
    again, third = (place.ops("--service", "api", "--state", state) for _ in range(2))
    assert again.code == 0, again.err
    assert ended(third)[:2] == (0, "nothing_to_do"), third.err


@pytest.mark.sampled(13)
@pytest.mark.parametrize(("number", "end"), endings(product(ROUTE_WRITES, MOMENTS)), ids=str)
def test_off_ended_at_any_write_is_finished_by_the_same_command(
    world: World, number: int, end: tuple[dict[str, Any], str]
) -> None:
    with offline.prepared(world) as place:
        before = place.ways
        assert place.on().code == 0

        interrupt(world, "off", *end, number, "security")

        finish(place, "off")
        assert place.ways == before
        assert place.serves(f"{HOST}/") != "off"
        assert stored(world, "security") == []


@pytest.mark.slow
@pytest.mark.parametrize(("number", "end"), endings(product(ROUTE_WRITES, MOMENTS)), ids=str)
def test_on_ended_at_any_write_is_finished_and_undone(
    world: World, number: int, end: tuple[dict[str, Any], str]
) -> None:
    with offline.prepared(world) as place:
        before = place.ways
        interrupt(world, "on", *end, number, "security")

        finish(place, "on")
        assert place.serves(f"{HOST}/") == "off"
        finish(place, "off")
        assert place.ways == before


@pytest.mark.slow
@pytest.mark.parametrize(("number", "end"), endings(product(["on", "off"], MOMENTS)), ids=str)
def test_switch_ended_at_its_write_is_finished_by_the_same_command(
    world: World, number: int, end: tuple[str, str]
) -> None:
    state, moment = end
    place = switched(world)
    if state == "off":
        assert place.ops("maintenance", "--service", "api", "--state", "on").code == 0
        world.sandbox.clock.advance(2)
    interrupt(world, state, SWITCH_WRITE, moment, number, "switching")
    world.sandbox.clock.advance(2)

    again, third = (place.ops("maintenance", "--service", "api", "--state", state) for _ in range(2))

    assert again.code == 0, again.err
    assert ended(third)[:2] == (0, "nothing_to_do"), third.err
    assert (place.get("/").status_code == 503) == (state == "on")
