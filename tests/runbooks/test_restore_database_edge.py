"""A restore that takes its service offline at the edge, and reopens it."""

import re
import signal
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import hypothesis.strategies as st
import pytest

from ops.database.plan_text import TAKEN_BACK_SECTION
from ops.maintenance.plan_text import CALLS_SECTION
from tests.conftest import Outcome, World
from tests.support import databases, shopdesk
from tests.support.claims import case_world
from tests.support.commands import Command, ended, texts
from tests.support.databases import RESTORE, Library, ingress
from tests.support.interleavings import fresh_world
from tests.support.kill_points import ANY_REQUEST, kill_points
from tests.support.offline import ALSO, HOST, MAINTENANCE_WORKER
from tests.support.properties import holds_for
from tests.support.shopdesk import Shopdesk

BEFORE_LAST = "before-migration:0002_b.sql"
OPEN = ({f"{HOST}/*": "fortunet-api"}, {"enabled": True, "previews_enabled": True})
CLOSED = (
    {f"{HOST}/*": MAINTENANCE_WORKER, f"{ALSO}/*": MAINTENANCE_WORKER},
    {"enabled": False, "previews_enabled": False},
)
REOPENS = "api stays in maintenance until you run `ops maintenance"


@pytest.fixture
def library(world: World) -> Library:
    return databases.prepared_at_edge(world)


def maintenance(library: Library, state: str, *more: str) -> None:
    """Turn maintenance on or off as another run."""
    asked = ["maintenance", "--service", "api", "--state", state, *more, "--environment", "production"]
    where = ["--config", str(library.world.config), "--yes", "--json"]
    assert library.world.ops(*asked, *where, CLOUDFLARE_API_TOKEN="library").code == 0


def at_restore(library: Library, call: Callable[[], object]) -> None:
    """Make a call right before the restore takes effect."""
    library.world.sandbox.fault(**RESTORE, before=call)


def test_service_is_closed_during_the_restore_and_reopened(library: Library) -> None:
    seen = list[Any]()
    at_restore(library, lambda: seen.append(ingress(library.world)))

    done = library.restore(BEFORE_LAST)

    assert done.code == 0, done.err
    assert seen == [CLOSED]
    assert ingress(library.world) == OPEN
    assert any("loans: 4 → 1 rows, 3 rows removed" in text for text in texts(done, "read_back"))
    targets = [change["target"] for change in done.result["plan"]["changes"]]
    closing = targets[: targets.index("D1 database lib")]
    assert sorted(targets[-len(closing) :]) == sorted(f"{target}, at the end" for target in closing)
    assert any(
        text.startswith("before D1 database lib, 1 of 1 in a row: maintenance") for text in texts(done, "probed")
    )
    _, reserved = done.result["plan"]["sections"][CALLS_SECTION]
    assert int(reserved.split()[0]) > len(closing)


def add_routes(library: Library, count: int) -> None:
    zone = next(iter(library.world.sandbox.zones.all.values()))
    for number in range(count):
        library.world.sandbox.zones.add_route(zone, f"{HOST}/shelves/{number}/*", "fortunet-api")


@pytest.mark.slow
def test_calls_that_reopen_are_reserved_before_the_service_closes(library: Library) -> None:
    """450 routes close and reopen: the run waits while it closes them, and not with the database restored."""
    add_routes(library, 450)
    before = ingress(library.world)

    done = library.restore(BEFORE_LAST)

    assert done.code == 0, done.err
    assert ingress(library.world) == before
    assert any("wait about" in line for line in done.result["plan"]["warnings"])
    told = [event["text"] for event in done.result["timeline"] if event["kind"] in {"warning", "writing"}]
    restored = next(number for number, text in enumerate(told) if text.startswith("D1 database lib"))
    waits = [number for number, text in enumerate(told) if text.startswith("waiting until")]
    assert waits
    assert max(waits) < restored


@pytest.mark.slow
def test_many_routes_share_their_reads_during_a_restore(library: Library) -> None:
    sandbox = library.world.sandbox
    add_routes(library, 18)
    before = ingress(library.world)
    sandbox.requests.clear()

    assert library.restore(BEFORE_LAST).code == 0

    assert ingress(library.world) == before
    listed = [each for each in sandbox.requests if each.method == "GET" and each.path.endswith("/workers/routes")]
    assert len(listed) <= 12


def test_maintenance_that_does_not_take_effect_prevents_the_restore(library: Library) -> None:
    library.world.edit_config("deadline: 10s", "deadline: 2s")
    library.world.sandbox.switches.propagation_seconds = 100_000

    done = library.restore(BEFORE_LAST)

    assert ended(done) == (4, "failed", "no_evidence")
    assert re.match(r"partly changed: D1 database lib .*\bunhealthy\b", done.result["message"])
    assert REOPENS.replace("stays", "may stay") in done.result["message"]  # its addresses did not show it
    assert library.restores == []

    library.world.sandbox.switches.propagation_seconds = 0
    assert "minute" in done.result["hint"]
    bookmark = done.result["press"].partition("--to ")[2].split()[0]
    again, third = library.restore(bookmark), library.restore(bookmark)

    assert library.migrations == ["0001_first.sql"]
    assert [ended(each)[:2] for each in (again, third)] == [(0, "recovered"), (0, "nothing_to_do")]
    assert library.restores == [bookmark]
    assert ingress(library.world) == OPEN  # the second run reopened what the first one closed


@pytest.mark.slow
def test_restore_that_d1_refuses_says_that_the_service_stays_closed(library: Library) -> None:
    library.world.sandbox.fault(**RESTORE, code=7400, message="no")

    done = library.restore(BEFORE_LAST)

    assert ended(done)[1] == "failed"
    assert f"{REOPENS} --service api --environment production --state off" in done.result["message"]
    assert ingress(library.world) == CLOSED


def test_unhealthy_checks_keep_the_service_closed(library: Library) -> None:
    library.world.edit_config("            at_least: 1", "            at_least: 3")

    done = library.restore(BEFORE_LAST)

    assert ended(done) == (6, "still_unhealthy", "still_unhealthy")
    assert REOPENS in done.result["message"]
    assert ingress(library.world) == CLOSED


def test_maintenance_of_another_run_stays(library: Library) -> None:
    maintenance(library, "on", "--until", "5m", "--reopen-at-end")

    done = library.restore(BEFORE_LAST)

    assert ended(done) == (8, "no_evidence", "no_evidence")
    assert ingress(library.world) == CLOSED
    assert done.result["plan"]["changes"][0]["target"] == "D1 database lib"
    assert "api is in maintenance already, and this run does not reopen it" in done.result["plan"]["warnings"]
    assert any("that maintenance of api ends at " in text for text in done.result["plan"]["warnings"])


@pytest.mark.slow
def test_closed_path_of_another_run_stays_closed(library: Library) -> None:
    maintenance(library, "on", "--path", "/api/ai")
    before = ingress(library.world)

    done = library.restore(BEFORE_LAST)

    assert done.code == 0, done.err
    assert before[0][f"{HOST}/api/ai*"] == MAINTENANCE_WORKER
    assert ingress(library.world) == before


@pytest.mark.slow
def test_probe_of_a_path_that_stays_closed_is_left_out(library: Library) -> None:
    maintenance(library, "on", "--path", "/api/charts")

    done = library.restore(BEFORE_LAST)

    assert done.code == 0, done.err
    assert [each["name"] for each in done.result["probes_after"]["probes"]] == ["api: health", "maintenance"]


@pytest.mark.slow
def test_maintenance_that_another_run_prolongs_is_not_turned_off(library: Library) -> None:
    at_restore(library, lambda: maintenance(library, "on", "--until", "2h"))

    done = library.restore(BEFORE_LAST)

    assert ended(done) == (8, "no_evidence", "no_evidence")
    assert "api stays closed, because run " in done.result["message"]
    assert library.migrations == ["0001_first.sql"]
    assert ingress(library.world) == CLOSED


@pytest.mark.slow
def test_maintenance_that_another_run_ends_makes_counts_a_minimum(library: Library) -> None:
    at_restore(library, lambda: maintenance(library, "off"))

    done = library.restore(BEFORE_LAST)

    assert done.code == 0, done.err
    assert any(re.match(r"maintenance of api \w", text) for text in texts(done, "warning"))
    assert any("loans: 4 → 1 rows, at least 3 rows removed" in text for text in texts(done, "read_back"))
    assert ingress(library.world) == OPEN


def test_deployment_that_opens_a_route_makes_counts_a_minimum(library: Library) -> None:
    """`wrangler deploy` points the routes of its configuration to the Worker again."""
    (zone,) = library.world.sandbox.zones.all.values()

    def deploy() -> None:
        zone.routes.update({key: replace(each, script="fortunet-api") for key, each in zone.routes.items()})

    at_restore(library, deploy)

    done = library.restore(BEFORE_LAST)

    assert done.code == 0, done.err
    assert any(re.match(r"maintenance of api \w", text) for text in texts(done, "warning"))
    assert any("loans: 4 → 1 rows, at least 3 rows removed" in text for text in texts(done, "read_back"))
    assert ingress(library.world)[0][f"{HOST}/*"] == "fortunet-api"


@pytest.mark.slow
def test_maintenance_of_another_run_may_end_during_the_restore(library: Library) -> None:
    maintenance(library, "on")
    at_restore(library, lambda: maintenance(library, "off"))

    done = library.restore(BEFORE_LAST)

    assert done.code == 0, done.err
    assert "was in maintenance before this run and stays so" not in done.result["message"]
    assert ingress(library.world) == OPEN


@pytest.mark.slow
def test_two_restores_at_once_leave_one_state_and_an_open_service(library: Library) -> None:
    """The second run starts while the first one has closed the service, and restores before it."""
    rivals = list[Outcome]()
    at_restore(library, lambda: rivals.append(library.on_another_machine().restore(BEFORE_LAST)))

    done = library.restore(BEFORE_LAST)

    (rival,) = rivals
    assert ended(rival) == (8, "no_evidence", "no_evidence")
    assert "api is in maintenance already, and this run does not reopen it" in rival.result["plan"]["warnings"]
    assert done.code == 0, done.err
    assert any("had another restore since its last read" in text for text in texts(done, "warning"))
    assert library.migrations == ["0001_first.sql"]
    assert library.count("loans") == 1
    assert ingress(library.world) == OPEN
    assert len(library.restores) == 2


@pytest.mark.slow
def test_service_without_a_route_stays_open_and_the_plan_says_so(library: Library) -> None:
    (zone,) = library.world.sandbox.zones.all.values()
    zone.routes.clear()
    library.world.sandbox.zones.domains.clear()

    plan = library.restore(BEFORE_LAST, "--dry-run").result["plan"]

    assert plan["changes"][0]["target"] == "D1 database lib"
    assert any("api is not taken offline, and its writes go on: no route" in text for text in plan["warnings"])


@pytest.mark.slow
def test_two_services_are_closed_and_reopened(library: Library) -> None:
    sandbox = library.world.sandbox
    (zone,) = sandbox.zones.all.values()
    sandbox.deploy("loans-admin", sandbox.upload("loans-admin", behaviour={"body": "admin", "status": 200}))
    sandbox.zones.add_route(zone, "admin.fortunet.example/*", "loans-admin")
    library.world.edit_config("services: [api]", "services: [api, admin]")
    library.world.edit_config(
        "    services:\n      api:",
        "    services:\n      admin:\n        worker: loans-admin\n        url: https://admin.fortunet.example\n"
        "        probes:\n          - name: home\n            http:\n              path: /\n              status: 200\n"
        "      api:",
    )
    before, seen = ingress(library.world), list[Any]()
    at_restore(library, lambda: seen.append(ingress(library.world)[0]))

    done = library.restore(BEFORE_LAST)

    assert done.code == 0, done.err
    assert seen == [{**CLOSED[0], "admin.fortunet.example/*": MAINTENANCE_WORKER}]
    assert ingress(library.world) == before
    assert any("loans: 4 → 1 rows, 3 rows removed" in text for text in texts(done, "read_back"))


@pytest.mark.slow
def test_site_of_pages_stays_open_and_the_plan_says_so(library: Library) -> None:
    library.world.edit_config("services: [api]", "services: [api, frontend]")

    plan = library.restore(BEFORE_LAST, "--dry-run").result["plan"]

    text = "frontend is not taken offline, and its writes go on: a restore takes only Workers offline"
    assert text in plan["warnings"]


@pytest.mark.slow
def test_two_services_of_one_worker_are_closed_once(library: Library) -> None:
    library.world.edit_config("services: [api]", "services: [api, again]")
    library.world.edit_config(
        "    services:\n      api:",
        "    services:\n      again:\n        worker: fortunet-api\n        url: https://app.fortunet.example\n"
        "        probes:\n          - name: home\n            http:\n              path: /health\n              status: 200\n"
        "      api:",
    )
    seen = list[Any]()
    at_restore(library, lambda: seen.append(ingress(library.world)))

    done = library.restore(BEFORE_LAST)

    assert done.code == 0, done.err
    assert seen == [CLOSED]
    assert ingress(library.world) == OPEN


@pytest.mark.slow
def test_run_that_is_cancelled_says_that_the_service_stays_closed(library: Library) -> None:
    more = ("--database", "lib", "--to", BEFORE_LAST, "--one-person")
    command = Command(
        library.world, "restore-database", service="", more=more, environ={"CLOUDFLARE_API_TOKEN": "library"}
    )
    library.world.sandbox.fault(**RESTORE, before=command.send(signal.SIGTERM), lost="before")

    command.run()

    assert ingress(library.world) == CLOSED
    (timeline,) = (library.world.folder / ".ops" / "runs").glob("*/timeline.jsonl")
    assert REOPENS in timeline.read_text()


def restore_command(library: Library) -> Command:
    more = ("--database", "lib", "--to", BEFORE_LAST, "--one-person")
    environ = {"CLOUDFLARE_API_TOKEN": "library"}
    return Command(library.world, "restore-database", service="", more=more, environ=environ)


def kill(library: Library, fault: dict[str, Any]) -> None:
    """Kill a run right after a request took effect."""
    command = restore_command(library)
    library.world.sandbox.fault(**fault, after=command.send(signal.SIGKILL))
    command.run()
    library.world.sandbox.faults.clear()


def finish(library: Library) -> None:
    """Start the killed command again, and check that it opens the service."""
    library.world.sandbox.clock.advance(60)  # an unanswered restore may be under way
    done = library.restore(BEFORE_LAST)

    assert done.result["decision"] in {"recovered", "healthy_as_before", "nothing_to_do"}, done.err
    assert library.migrations == ["0001_first.sql"]
    assert ingress(library.world) == OPEN


@pytest.mark.slow
def test_run_killed_at_any_request_can_be_started_again(tmp_path: Path) -> None:
    points = kill_points(tmp_path / "whole", lambda world: restore_command(databases.prepared_at_edge(world)))
    assert len(points) > 20
    for nth in points:
        print("killed after request", nth)
        with fresh_world(tmp_path / str(nth)) as world:
            library = databases.prepared_at_edge(world)
            kill(library, {**ANY_REQUEST, "skip": nth})
            finish(library)


def write_randomly(shop: Shopdesk, random: Random) -> None:
    match random.choice(["order", "cancel", "rename", "migrate"]):
        case "order":
            shop.order(random.randint(1, 2), minutes=random.choice([0, 0.2, 3]))
        case "cancel":
            shop.write("DELETE FROM orders WHERE id = (SELECT max(id) FROM orders)")
        case "rename":
            shop.write("UPDATE customers SET name = ? WHERE id = 1", str(random.random()))
        case _:
            shop.migrate(f"{len(shop.history.states):04}_random.sql", minutes=random.choice([0.5, 2, 9]))


@pytest.mark.slow
@holds_for(1, 60, seed=st.integers(0, 10**9))
def test_any_restore_is_undone_row_by_row_and_leaves_the_service_as_it_was(seed: int) -> None:
    """Restore a random bookmark or time behind maintenance, and undo it by the printed command."""
    random = Random(seed)
    with case_world(None) as world:
        shop = shopdesk.prepared(world)
        databases.vary_bookmarks(world, random)
        world.sandbox.switches.d1_stale_reads = random.choice([0, 0, 2])
        states = {}
        for _ in range(random.randint(3, 8)):
            write_randomly(shop, random)
            states[shop.history.current.number] = shop.content()
        world.sandbox.clock.advance(60)
        before, routes = shop.content(), dict(shop.routes)
        number = random.choice(list(states))
        at = shop.history.states[number].at + timedelta(seconds=1)
        to = random.choice([shop.history.states[number].bookmark, f"{at:%Y-%m-%dT%H:%M:%SZ}"])

        done = shop.restore(to)

        if done.result["decision"] == "refused":  # a migration in the same second
            assert (shop.content(), shop.routes, shop.writes) == (before, routes, [])
            return
        assert done.code == 0, done.err
        target = shop.history.at(at) if to.endswith("Z") else shop.history.states[number]
        assert shop.content() == states[target.number]
        kept = [row["name"] for row in shop.content()["schema_log"]]
        taken = [line.partition(",")[0] for line in done.result["plan"]["sections"][TAKEN_BACK_SECTION]]
        assert taken == ([row["name"] for row in before["schema_log"] if row["name"] not in kept] or ["none"])
        assert shop.routes == routes
        (undo,) = done.result["undo"]
        world.sandbox.clock.advance(60)
        undone = shop.restore(undo.partition("--to ")[2].split()[0])
        assert undone.code == 0, undone.err
        assert (shop.content(), shop.routes) == (before, routes)
