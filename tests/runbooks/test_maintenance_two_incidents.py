"""Two incidents on one closed service, at the edge and by its switch: none opens what the other needs closed."""

import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ops.maintenance.ownership import RELEASED
from tests.conftest import Outcome, World
from tests.support import offline, switches
from tests.support.commands import ended
from tests.support.offline import HOST, MaintenanceWorld
from tests.support.switches import SwitchWorld


@pytest.fixture
def place(world: World) -> Iterator[MaintenanceWorld]:
    with offline.prepared(world) as found:
        yield found


def turn(place: MaintenanceWorld, state: str, incident: int | None, *more: str, **environ: str) -> Outcome:
    named = ["--incident", str(incident)] if incident else []
    return place.ops("--state", state, "--service", "api", *named, *more, **environ)


def is_closed(place: MaintenanceWorld, path: str = "/") -> bool:
    return place.serves(f"{HOST}{path}") == "off"


@pytest.mark.slow
def test_release_leaves_the_closure_to_the_other_incident(place: MaintenanceWorld) -> None:
    before = place.ways
    turn(place, "on", 7, "--message", "First.")
    added = turn(place, "on", 9, "--message", "Second.")
    assert (added.code, added.result["wrote"]) == (0, True), added.err
    assert ended(turn(place, "on", 9)) == (0, "nothing_to_do", "already_off")
    assert "Second." in place.get(f"{HOST}/").text

    released = turn(place, "off", 9)

    assert released.code == 0, released.err
    assert is_closed(place)
    assert "the whole of api stays offline, held by #7 (" in released.result["message"]
    assert "healthy" not in released.result["message"]
    assert "First." in place.get(f"{HOST}/").text
    again = turn(place, "off", 9)
    assert ended(again) == (3, "refused", "held_by_others")
    assert "#7 (" in again.result["message"]
    assert turn(place, "off", 7).code == 0
    assert place.ways == before
    assert ended(turn(place, "off", 7)) == (0, "nothing_to_do", "not_off")


def test_incident_that_closed_several_paths_is_named_once(place: MaintenanceWorld) -> None:
    for path in ("/api/ai", "/api/charts"):
        assert turn(place, "on", 7, "--path", path).code == 0

    refused = turn(place, "off", 9)

    assert ended(refused) == (3, "refused", "held_by_others")
    assert "api /api/ai and api /api/charts are in maintenance" in refused.result["message"]
    assert refused.result["message"].count("#7") == 1
    assert "opens them anyway" in refused.result["hint"]


@pytest.mark.slow
@pytest.mark.parametrize("incident", [9, None])
def test_closure_of_another_incident_opens_by_its_name_only(place: MaintenanceWorld, incident: int | None) -> None:
    turn(place, "on", 7)

    refused = turn(place, "off", incident)

    assert ended(refused) == (3, "refused", "held_by_others")
    assert "accept_owners = 7" in refused.result["press_button"]
    assert is_closed(place)
    assert turn(place, "off", incident, "--accept-owners", "7").code == 0
    assert not is_closed(place)


@pytest.mark.slow
def test_end_of_one_incident_does_not_open_for_the_other(place: MaintenanceWorld) -> None:
    def due() -> Outcome:
        config = ["--config", str(place.world.config), "--environment", "production", "--yes"]
        return place.world.ops("maintenance", "due", *config, CLOUDFLARE_API_TOKEN="security")

    turn(place, "on", 7, "--until", "1h", "--reopen-at-end")
    turn(place, "on", 9, "--until", "2h", "--reopen-at-end")
    place.world.sandbox.clock.advance(3700)
    due()
    assert is_closed(place)
    place.world.sandbox.clock.advance(3600)
    due()
    assert not is_closed(place)


def test_window_of_the_first_release_gets_a_second_incident(world: World) -> None:
    with offline.prepared(world) as place:
        switches.off_at_the_edge(world, incident=7)
        assert turn(place, "on", 9, "--path", "/api/ai").code == 0
        assert turn(place, "off", 7, "--path", "/api/ai").code == 0
        assert is_closed(place, "/api/ai")
        assert turn(place, "off", 9, "--path", "/api/ai").code == 0
        assert not is_closed(place, "/api/ai")


Step = tuple[str, int]
STEPS: tuple[Step, ...] = (("on", 7), ("on", 9), ("off", 7), ("off", 9), ("off", 7), ("on", 9))
ORDERS = random.Random(7).sample(sorted(set(itertools.permutations(STEPS, 5))), 20)


def assert_held(turn_it: Callable[[str, int], Outcome], closed: Callable[[], bool], order: tuple[Step, ...]) -> None:
    """Keep books apart from the program: who needs it closed."""
    books = set[int]()
    for state, incident in order:
        done = turn_it(state, incident)
        others = books - {incident}
        is_refused = state == "off" and bool(others) and incident not in books
        books = books | {incident} if state == "on" else others
        assert done.code == (3 if is_refused else 0), done.err
        assert state == "on" or all(f"#{each}" in done.out + done.err for each in others), done.out
        assert closed() == bool(books), (order, state, incident)


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_edge_opens_only_when_no_incident_needs_it_closed(place: MaintenanceWorld, order: tuple[Step, ...]) -> None:
    assert_held(lambda state, incident: turn(place, state, incident), lambda: is_closed(place), order)


@pytest.mark.sampled
@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_switch_opens_only_when_no_incident_needs_it_closed(world: World, order: tuple[Step, ...]) -> None:
    place = switched(world)

    def turn_it(state: str, incident: int) -> Outcome:
        return turn_switch(place, state, incident)

    assert_held(turn_it, lambda: place.get("/").status_code == 503, order)


def switched(world: World) -> SwitchWorld:
    place = switches.prepared(world)
    switches.deploy(world, paths={"/": {"status": 200}, "/api/ai": {"status": 200}})
    place.put("maintenance", state="off", incident=None)
    world.edit_config("        worker: fortunet-api", "        maintenance: switch\n        worker: fortunet-api")
    world.sandbox.switches.kv_api_staleness_seconds = 0
    world.sandbox.clock.advance(60)
    return place


def turn_switch(place: SwitchWorld, state: str, incident: int, *more: str) -> Outcome:
    done = place.ops("maintenance", "--state", state, "--service", "api", "--incident", str(incident), *more)
    place.world.sandbox.clock.advance(2)
    return done


def test_switch_closes_the_paths_of_each_incident(world: World) -> None:
    place = switched(world)

    def closed() -> dict[str, Any]:
        return {path: place.get(path).status_code == 503 for path in ("/", "/api/ai")}

    assert turn_switch(place, "on", 7, "--path", "/api/ai").code == 0
    assert turn_switch(place, "on", 9).code == 0
    assert closed() == {"/": True, "/api/ai": True}
    opened = turn_switch(place, "off", 9)
    assert opened.code == 0, opened.err
    assert closed() == {"/": False, "/api/ai": True}
    assert "except /api/ai, held by #7 (" in opened.result["message"]
    assert ended(turn_switch(place, "off", 9, "--path", "/api/ai")) == (3, "refused", "held_by_others")
    assert turn_switch(place, "off", 7, "--path", "/api/ai").code == 0
    assert closed() == {"/": False, "/api/ai": False}


def test_status_names_each_incident_that_holds_a_service(place: MaintenanceWorld) -> None:
    turn(place, "on", 7)
    turn(place, "on", 9, "--until", "2h", "--reopen-at-end")
    where = ("--environment", "production", "--config", str(place.world.config))

    shown = place.world.ops("status", *where, CLOUDFLARE_API_TOKEN="security").out
    found = place.world.ops("status", *where, "--json", CLOUDFLARE_API_TOKEN="security").result

    assert ", held by #7 (" in shown
    assert " and #9 (" in shown
    (window,) = found["maintenance"]
    assert [each.partition(" ")[0] for each in window["held_by"]] == ["#7", "#9"]


def test_owners_whom_an_acceptance_releases_are_named(place: MaintenanceWorld) -> None:
    turn(place, "on", 7)
    turn(place, "on", None, USER="dana")

    opened = turn(place, "off", 7, "--accept-owners", "dana")

    assert opened.code == 0, opened.err
    assert not is_closed(place)
    (released,) = opened.result["plan"]["sections"][RELEASED]
    assert "held by dana without an incident" in released
    assert released in opened.result["message"]


@pytest.mark.slow
def test_owners_whom_an_acceptance_releases_are_named_by_switch_too(world: World) -> None:
    place = switched(world)
    turn_switch(place, "on", 7)
    assert place.ops("maintenance", "--state", "on", "--service", "api", USER="dana").code == 0
    world.sandbox.clock.advance(2)

    opened = turn_switch(place, "off", 7, "--accept-owners", "dana")

    assert opened.code == 0, opened.err
    assert place.get("/").status_code == 200
    (released,) = opened.result["plan"]["sections"][RELEASED]
    assert "held by dana without an incident" in released
    assert released in opened.result["message"]


def test_status_names_the_incidents_of_a_service_whose_ends_have_all_passed(place: MaintenanceWorld) -> None:
    """No schedule has reopened it yet."""
    for incident in (7, 9):
        turn(place, "on", incident, "--until", "1h", "--reopen-at-end")
    place.world.sandbox.clock.advance(7200)
    where = ("--environment", "production", "--config", str(place.world.config))

    shown = place.world.ops("status", *where, CLOUDFLARE_API_TOKEN="security").out

    (line,) = [line for line in shown.splitlines() if "the whole of api" in line]
    assert "#7 (" in line
    assert "#9 (" in line
    assert ", ended " in line
