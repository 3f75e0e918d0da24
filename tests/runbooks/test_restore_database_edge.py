"""A restore that takes its service offline at the edge, and reopens it."""

import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import World
from tests.support import databases
from tests.support.commands import Command, ended, texts
from tests.support.databases import RESTORE, Library, ingress
from tests.support.offline import ALSO, HOST, MAINTENANCE_WORKER

BEFORE_LAST = "before-migration:0002_b.sql"
OPEN = ({f"{HOST}/*": "fortunet-api"}, {"enabled": True, "previews_enabled": True})
CLOSED = (
    {f"{HOST}/*": MAINTENANCE_WORKER, f"{ALSO}/*": MAINTENANCE_WORKER},
    {"enabled": False, "previews_enabled": False},
)
REOPENS = "api stays in maintenance until you run ops maintenance"


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


def test_maintenance_that_does_not_take_effect_prevents_the_restore(library: Library) -> None:
    library.world.sandbox.switches.propagation_seconds = 100_000

    done = library.restore(BEFORE_LAST)

    assert ended(done) == (4, "failed", "no_evidence")
    assert done.result["message"].startswith("D1 database lib is unchanged, because the probes before it are unhealthy")
    assert REOPENS in done.result["message"]
    assert library.restores == []


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


def test_closed_path_of_another_run_stays_closed(library: Library) -> None:
    maintenance(library, "on", "--path", "/api/ai")
    before = ingress(library.world)

    done = library.restore(BEFORE_LAST)

    assert done.code == 0, done.err
    assert before[0][f"{HOST}/api/ai*"] == MAINTENANCE_WORKER
    assert ingress(library.world) == before


def test_maintenance_that_another_run_prolongs_is_not_turned_off(library: Library) -> None:
    at_restore(library, lambda: maintenance(library, "on", "--until", "2h"))

    done = library.restore(BEFORE_LAST)

    assert ended(done) == (4, "failed", "world_moved")
    assert "another run or person changed the maintenance of the whole of api" in done.result["message"]
    assert REOPENS in done.result["message"]
    assert library.migrations == ["0001_first.sql"]
    assert ingress(library.world) == CLOSED


def test_maintenance_that_another_run_ends_makes_counts_a_minimum(library: Library) -> None:
    at_restore(library, lambda: maintenance(library, "off"))

    done = library.restore(BEFORE_LAST)

    assert done.code == 0, done.err
    assert "maintenance of api ended during the restore: writes went on" in texts(done, "warning")
    assert any("loans: 4 → 1 rows, at least 3 rows removed" in text for text in texts(done, "read_back"))
    assert ingress(library.world) == OPEN


def test_service_without_a_route_stays_open_and_the_plan_says_so(library: Library) -> None:
    (zone,) = library.world.sandbox.zones.all.values()
    zone.routes.clear()
    library.world.sandbox.zones.domains.clear()

    plan = library.restore(BEFORE_LAST, "--dry-run").result["plan"]

    assert plan["changes"][0]["target"] == "D1 database lib"
    assert any("api is not taken offline, and its writes go on: no route" in text for text in plan["warnings"])


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


def kill(library: Library, fault: dict[str, Any]) -> None:
    """Kill a run right after a request took effect."""
    more = ("--database", "lib", "--to", BEFORE_LAST, "--one-person")
    command = Command(
        library.world, "restore-database", service="", more=more, environ={"CLOUDFLARE_API_TOKEN": "library"}
    )
    library.world.sandbox.fault(**fault, after=command.send(signal.SIGKILL))
    command.run()
    library.world.sandbox.faults.clear()


def finish(library: Library) -> None:
    """Start the killed command again, and check that the service is open, or that the result says that it is not."""
    done = library.restore(BEFORE_LAST)

    assert done.result["decision"] in {"recovered", "healthy_as_before", "nothing_to_do", "no_evidence"}, done.err
    assert library.migrations == ["0001_first.sql"]
    if ingress(library.world) != OPEN:
        assert done.result["decision"] == "no_evidence"
        assert "api was in maintenance before this run and stays so" in done.result["message"]
        assert "--state off" in done.result["press"]
        maintenance(library, "off")
    assert ingress(library.world) == OPEN


@pytest.mark.parametrize(
    "fault",
    [
        {"method": "PUT", "path": "/zones/*/workers/routes/*"},
        RESTORE,
        {"method": "PUT", "path": "/zones/*/workers/routes/*", "skip": 1},
    ],
)
def test_killed_run_can_be_started_again(library: Library, fault: dict[str, Any]) -> None:
    kill(library, fault)
    finish(library)


@pytest.mark.slow
@pytest.mark.parametrize("nth", range(0, 120, 2))
def test_run_killed_at_any_request_can_be_started_again(library: Library, nth: int) -> None:
    kill(library, {"path": "/client/v4/**", "skip": nth})
    finish(library)
