"""Maintenance mode through the application's own switch."""

import re
from datetime import timedelta

import pytest

from ops.core.clock import parse_utc
from ops.core.verdict import add_place
from ops.maintenance.plan_text import OPEN_SECTION
from tests.conftest import Outcome, World
from tests.support import switches
from tests.support.commands import ended, texts
from tests.support.switches import SwitchWorld


@pytest.fixture
def place(world: World) -> SwitchWorld:
    found = switches.prepared(world)
    switches.deploy(world, paths={"/": {"status": 200}, "/api/ai": {"status": 200}})
    found.put("maintenance", state="off", incident=None)
    world.edit_config("        worker: fortunet-api", "        maintenance: switch\n        worker: fortunet-api")
    staging = "    runtime:\n      service: api # reads the values and shows them at /__ops/runtime"
    assert world.config.read_text().count(staging) == 2
    world.sandbox.clock.advance(60)  # a key takes one write a second
    return found


def set_maintenance(place: SwitchWorld, state: str, *arguments: str) -> Outcome:
    outcome = place.ops("maintenance", "--state", state, "--service", "api", *arguments)
    place.world.sandbox.clock.advance(2)
    return outcome


def open_paths(place: SwitchWorld) -> dict[str, bool]:
    return {path: place.get(path).status_code != 503 for path in ("/", "/api/ai", "/api/charts/calculate", "/health")}


def test_switch_closes_service_except_health_and_reopens(place: SwitchWorld) -> None:
    closed = set_maintenance(place, "on", "--message", "back <soon>", "--until", "2h", "--incident", "42")

    assert ended(closed) == (0, "recovered", "verified")
    assert closed.result["message"].startswith(add_place(closed.result["plan"]["proved"], "seen from FRA"))
    assert re.search(r"\bapi\b.*\b503\b", closed.result["plan"]["proved"])
    assert open_paths(place) == {"/": False, "/api/ai": False, "/api/charts/calculate": False, "/health": True}
    assert "back <soon>" in place.get("/").text
    value, now = place.value("maintenance"), place.world.sandbox.clock.now()
    assert value
    assert (value["until"], value["paths"], value["incident"]) == (None, [], 42)
    assert timedelta(minutes=119) < parse_utc(value["review_at"]) - now <= timedelta(hours=2)
    assert place.shown["switches"]["maintenance"]["state"] == "on"
    assert [request.path for request in place.world.writes() if "scripts" in request.path] == []

    opened = set_maintenance(place, "off", "--incident", "42")

    assert ended(opened) == (0, "recovered", "verified")
    assert all(open_paths(place).values())


def test_other_runbooks_see_maintenance_not_failure(place: SwitchWorld) -> None:
    set_maintenance(place, "on", "--path", "/api/charts")

    outcome = place.ops("feature", "--name", "session-do", "--state", "off", "--dry-run")

    (before,) = texts(outcome, "probed")
    assert "calculate inconclusive: maintenance in maintenance mode: its switch answers with status 503" in before


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/health", "/health/auth", "/__ops/objects"])
def test_path_that_stays_open_is_refused(place: SwitchWorld, path: str) -> None:
    before = place.value("maintenance")

    outcome = set_maintenance(place, "on", "--path", path)

    assert ended(outcome) == (3, "refused", "no_way_in")
    assert "maintenance: edge" in outcome.result["hint"]
    assert place.value("maintenance") == before


def test_plan_lists_open_paths(place: SwitchWorld) -> None:
    stays = set_maintenance(place, "on", "--dry-run").result["plan"]["sections"][OPEN_SECTION]

    assert re.findall(r"/[\w/]+", stays[0]) == ["/health", "/health/", "/__ops/"]


@pytest.mark.slow
def test_switch_does_not_reopen_automatically(place: SwitchWorld) -> None:
    set_maintenance(place, "on", "--until", "2h")

    place.world.sandbox.clock.advance(3 * 3600)

    assert not open_paths(place)["/"]


@pytest.mark.slow
def test_reopen_at_end_uses_the_application_clock(place: SwitchWorld) -> None:
    closed = set_maintenance(place, "on", "--until", "2h", "--reopen-at-end")
    assert closed.code == 0
    assert closed.result["plan"]["follows"][0].startswith("it reopens automatically at ")
    assert not open_paths(place)["/"]

    place.world.sandbox.clock.advance(2 * 3600)

    assert open_paths(place)["/"]
    too_long = set_maintenance(place, "on", "--until", "25h", "--reopen-at-end")
    assert "maintenance may be on for at most 1 d" in too_long.result["message"]


@pytest.mark.slow
def test_switch_closes_and_reopens_paths_independently(place: SwitchWorld) -> None:
    first = set_maintenance(place, "on", "--path", "/api/ai")
    place.world.sandbox.clock.advance(30)
    second = set_maintenance(place, "on", "--path", "/api/charts")

    assert (first.code, second.code) == (0, 0)
    assert open_paths(place) == {"/": True, "/api/ai": False, "/api/charts/calculate": False, "/health": True}
    assert second.result["plan"]["warnings"][0] == "/api/ai, /api/charts share one message and one end"

    place.world.sandbox.clock.advance(30)
    third = set_maintenance(place, "off", "--path", "/api/ai")

    assert ended(third)[0] == 0
    assert open_paths(place) == {"/": True, "/api/ai": True, "/api/charts/calculate": False, "/health": True}
    assert ended(set_maintenance(place, "off")) == (0, "recovered", "verified")
    assert all(open_paths(place).values())


@pytest.mark.slow
def test_repeated_on_and_off_change_nothing(place: SwitchWorld) -> None:
    assert ended(set_maintenance(place, "off")) == (0, "nothing_to_do", "not_off")
    set_maintenance(place, "on")
    value = place.value("maintenance")
    place.world.sandbox.clock.advance(30)

    assert ended(set_maintenance(place, "on")) == (0, "nothing_to_do", "already_off")
    assert ended(set_maintenance(place, "on", "--path", "/api/ai")) == (0, "nothing_to_do", "already_off")
    stays = set_maintenance(place, "off", "--path", "/api/ai")

    assert ended(stays) == (0, "nothing_to_do", "not_off")
    assert "api /api/ai stays offline, because the whole of api is" in stays.result["message"]
    assert place.value("maintenance") == value


@pytest.mark.slow
def test_new_message_or_reminder_is_a_change(place: SwitchWorld) -> None:
    set_maintenance(place, "on", "--message", "first", "--incident", "42")
    place.world.sandbox.clock.advance(30)

    set_maintenance(place, "on", "--until", "2h")
    value = place.value("maintenance")

    assert value
    assert (value["message"], value["incident"], value["review_at"] is None) == ("first", 42, False)
    place.world.sandbox.clock.advance(60)
    assert set_maintenance(place, "on", "--message", "second").result["decision"] == "healthy_as_before"
    assert "second" in place.get("/").text


def test_maintenance_switch_must_be_in_ops_yml(place: SwitchWorld) -> None:
    place.world.edit_config("        maintenance:\n          states", "        closing:\n          states")

    outcome = place.world.ops("config", "check", "--config", str(place.world.config))

    assert outcome.code == 2
    assert "needs a runtime whose service is api, with a switch maintenance" in outcome.out + outcome.err
