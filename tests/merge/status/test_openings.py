"""`ops status` and `ops incident close` compare a closed service with its live routes, workers.dev and preview URLs."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ops.core.run_record import RunRecord, embed_record
from ops.maintenance.plan_text import END_SECTION
from tests.conftest import ACCOUNT, WORKER, Incident, Outcome, World
from tests.support.commands import ended
from tests.support.offline import ALSO, HOST, MAINTENANCE_WORKER, MaintenanceWorld, prepared
from tests.support.switches import DECLARED, NAMESPACE, SwitchWorld
from tests.support.switches import prepared as prepared_switches

READS = [
    *("Workers KV Storage Read", "Workers Scripts Read", "Pages Read", "Zone Read", "Workers Routes Read"),
]
"""Permissions of the token in the GitHub environment `report`, without those of metrics and databases."""
AGAIN = "Close it again: `ops maintenance --state on --service api"


@pytest.fixture
def place(world: World) -> Iterator[MaintenanceWorld]:
    with prepared(world) as found:
        world.sandbox.kv.add(NAMESPACE)
        world.sandbox.add_token("reading", READS)
        world.site(timedelta(hours=3), "good")
        yield found


@pytest.fixture
def switched(world: World) -> SwitchWorld:
    world.sandbox.add_token("reading", READS)
    world.site(timedelta(hours=3), "good")
    return prepared_switches(world)


def status(world: World, *arguments: str) -> Outcome:
    where = ["--environment", "production", "--config", str(world.config)]
    return world.ops("status", *where, *arguments, CLOUDFLARE_API_TOKEN="reading")


def openings(world: World) -> list[str]:
    found = json.loads(status(world, "--json").out)
    return [each["text"] for each in found["open_although_closed"]]


def repoint(place: MaintenanceWorld, pattern: str, script: str | None) -> None:
    """Set a route as a deployment of CI does; None deletes it."""
    routes = place.zone.routes
    (former,) = (each for each in routes.values() if each.pattern == pattern)
    if script is None:
        del routes[former.id]
    else:
        routes[former.id] = replace(former, script=script)


def subdomain(place: MaintenanceWorld, *, enabled: bool, previews: bool) -> None:
    place.world.sandbox.set_subdomain(WORKER, enabled=enabled, previews_enabled=previews)


def test_command_for_an_orphaned_route_reopens_it(place: MaintenanceWorld) -> None:
    """Two runs at once left the route: an older version of ops-maintenance stores it, with its incident."""
    number = place.world.sandbox.github.open_issue("API down", labels=["incident"])
    before = place.ways
    assert place.on("--incident", str(number), **place.world.sandbox.github.environ()).code == 0
    upload = place.world.sandbox.upload(MAINTENANCE_WORKER, vars={"RUN": "other", "BASE": ""})
    place.world.sandbox.deploy(MAINTENANCE_WORKER, upload)

    line = next(each for each in status(place.world).out.splitlines() if f"route {HOST}/*" in each)
    _, command, rest = line.split("`", 2)
    assert "--incident NUMBER" in rest

    program, *words = command.split()
    assert program == "ops"
    where = ["--config", str(place.world.config), "--yes", "--json"]
    tokens = {**place.world.sandbox.github.environ(), "CLOUDFLARE_API_TOKEN": "security"}
    assert ended(place.world.ops(*words, *where, **tokens)) == (3, "refused", "held_by_others")
    assert place.world.ops(*words, "--incident", str(number), *where, **tokens).code == 0
    assert place.ways == before


OPENED: dict[str, tuple[Any, list[str]]] = {
    "nothing": (lambda _: None, []),
    "one of two routes": (lambda place: repoint(place, f"{HOST}/*", WORKER), [f"{HOST} leads to {WORKER}"]),
    "the added route of a custom domain": (
        lambda place: repoint(place, f"{ALSO}/*", None),
        [f"{ALSO} leads to {WORKER}"],
    ),
    "a route without a domain behind it": (
        lambda place: repoint(place, f"{HOST}/*", None),
        [f"{HOST} leads to no Worker"],
    ),
    "a more specific route": (
        lambda place: place.route(f"{HOST}/pay/*", WORKER),
        [f"{HOST}/pay leads to {WORKER}"],
    ),
    "another Worker": (lambda place: repoint(place, f"{HOST}/*", "other"), [f"{HOST} leads to other"]),
    "a route of another service": (lambda place: place.route(f"{HOST}/docs/*", "other"), []),
    "a new custom domain": (
        lambda place: place.world.sandbox.zones.add_domain(place.zone, "new.fortunet.example", WORKER),
        [f"new.fortunet.example leads to {WORKER}"],
    ),
    "workers.dev": (
        lambda place: subdomain(place, enabled=True, previews=False),
        [f"workers.dev of {WORKER} leads to {WORKER}"],
    ),
    "preview URLs": (
        lambda place: subdomain(place, enabled=False, previews=True),
        [f"preview URLs of {WORKER} lead to {WORKER}"],
    ),
}


@pytest.mark.parametrize(("opens", "expected"), OPENED.values(), ids=OPENED)
def test_opened_way_is_named(place: MaintenanceWorld, opens: Any, expected: list[str]) -> None:
    place.on()
    opens(place)

    assert openings(place.world) == expected


def test_opened_route_is_shown_with_the_command_that_closes_it(place: MaintenanceWorld) -> None:
    place.on("--until", "2h", "--reopen-at-end", "--incident", "42")
    repoint(place, f"{HOST}/*", WORKER)

    shown = status(place.world)

    assert shown.code == 0, shown.err
    (line,) = (line for line in shown.out.splitlines() if "OPEN" in line)
    assert line.startswith(f"    ! OPEN although closed: {HOST} leads to {WORKER}. {AGAIN}")
    command = line.partition("`")[2].partition("`")[0].split()
    assert command[:2] == ["ops", "maintenance"]

    closed = place.ops(*command[2 : command.index("--environment")], "--incident", "42")
    assert ended(closed) == (0, "recovered", "verified")
    assert openings(place.world) == []
    assert closed.result["plan"]["summary"].count("planned end") == 1
    assert any("automatically" in line for line in closed.result["plan"]["sections"][END_SECTION])
    assert ended(place.on("--until", "2h", "--reopen-at-end"))[0] == 0


def test_closed_path_leaves_the_rest_open(place: MaintenanceWorld) -> None:
    place.on("--path", "/api/ai")

    assert openings(place.world) == []
    repoint(place, f"{HOST}/api/ai*", None)
    assert openings(place.world) == [f"{HOST}/api/ai* leads to {WORKER}"]
    assert "--path /api/ai" in status(place.world).out


def test_reads_are_bounded_and_only_for_closed_services(place: MaintenanceWorld) -> None:
    requests = place.world.sandbox.requests
    requests.clear()
    status(place.world)
    before = sorted(request.path for request in requests)
    place.on()
    requests.clear()
    status(place.world)
    after = sorted(request.path for request in requests)

    more = [path.partition(ACCOUNT)[2] for path in after if path not in before and "/versions/" not in path]
    assert more == ["/workers/domains", f"/workers/scripts/{WORKER}/subdomain"]
    assert len(after) == len(before) + len(more)


@pytest.mark.parametrize(
    ("path", "unknown"),
    [
        ("/accounts/*/workers/scripts/*/subdomain", "workers.dev and custom domains of closed services"),
        ("/accounts/*/workers/domains", "workers.dev and custom domains of closed services"),
    ],
)
def test_unread_way_is_unknown_and_routes_are_still_compared(place: MaintenanceWorld, path: str, unknown: str) -> None:
    place.on()
    repoint(place, f"{HOST}/*", WORKER)
    place.world.sandbox.fault(method="GET", path=path, times=None, status=403, code=10000)

    shown = status(place.world)

    assert shown.code == 4
    assert f"! unknown, {unknown}: " in shown.out
    assert f"OPEN although closed: {HOST} leads to {WORKER}" in shown.out


def test_route_in_a_zone_that_the_token_cannot_read_is_unknown(place: MaintenanceWorld) -> None:
    place.on()
    body = {"success": True, "errors": [], "result": [], "result_info": {"total_count": 0}}
    place.world.sandbox.fault(
        method="GET", path="/zones", body=json.dumps(body), content_type="application/json", times=None
    )

    shown = status(place.world)

    assert re.search(rf"! unknown, .*: .* {re.escape(f'{HOST}/*, {ALSO}/*')}", shown.out)


def test_close_names_the_opening_of_its_incident(place: MaintenanceWorld) -> None:
    world = place.world
    world.sandbox.github.add_user("alice")
    incident = Incident(world, world.sandbox.github.open_issue("A key has leaked", "", ["incident"], "alice"))
    record = RunRecord("run-1", runbook="maintenance", environment="production", decision="recovered")
    incident.github.comment(incident.number, embed_record("x", record), "alice")
    place.on("--incident", "42")
    place.on("--incident", str(incident.number))  # two incidents need it closed
    repoint(place, f"{HOST}/*", WORKER)

    done = incident.ops(
        "incident", "close", str(incident.number), "--config", str(world.config), CLOUDFLARE_API_TOKEN="security"
    )
    other = incident.ops(
        "incident", "close", str(incident.number), "--json", "--config", str(world.config), CLOUDFLARE_API_TOKEN="x"
    )

    assert done.code == 0, done.err
    assert f"OPEN although closed: {HOST} leads to {WORKER}. {AGAIN}" in done.out
    assert "--incident 42 " in done.out
    assert other.result["was_open"] is False


def test_ignored_switch_is_open_although_closed(switched: SwitchWorld) -> None:
    """A deployment bound another namespace: the application answers as before."""
    world = switched.world
    switched.put("maintenance", state="on", incident=42)
    assert openings(world) == []  # the application follows within `settle`

    world.sandbox.clock.advance(timedelta(minutes=5).total_seconds())
    assert openings(world) == []
    other = [{"type": "kv_namespace", "name": "OPS_RUNTIME", "namespace_id": "0" * 32}]
    world.release(timedelta(), code="rebound", bindings=other, behaviour={"runtime": DECLARED})
    world.sandbox.clock.advance(timedelta(minutes=5).total_seconds())

    (text,) = openings(world)
    assert text == "api shows maintenance = off, and KV on"
    assert "Check that the deployed Worker reads this KV namespace" in status(world).out


def test_switch_that_was_just_opened_is_unknown_and_not_an_opening(switched: SwitchWorld) -> None:
    """The API of KV still returns the value from before, and the application shows the new one."""
    on = switched.put("maintenance", state="on", incident=42)
    switched.world.sandbox.clock.advance(timedelta(minutes=5).total_seconds())
    off = json.dumps({**on, "state": "off", "revision": "aaaaaaaaaaaa"})
    switched.world.sandbox.kv.put(NAMESPACE, "ops/switch/maintenance", off, by_api=True)

    shown = status(switched.world)

    assert openings(switched.world) == []
    assert re.search(r"! unknown, .*: .*\bmaintenance = on\b.* off: ", shown.out)


def test_switch_of_an_application_that_does_not_answer_is_unknown(switched: SwitchWorld) -> None:
    switched.put("maintenance", state="on", incident=42)
    switched.world.sandbox.edge_fault(path="/__ops/runtime", status=500, times=None)

    shown = status(switched.world)

    assert (shown.code, shown.err) == (0, "")
    assert "! unknown, whether the switch maintenance is in effect: " in shown.out
    assert MAINTENANCE_WORKER not in shown.out
