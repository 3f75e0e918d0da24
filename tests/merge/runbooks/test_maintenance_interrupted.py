"""Maintenance mode at the edge: unclear writes and concurrent changes."""

import os
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import ROOT, WORKER, Outcome
from tests.runbooks.test_maintenance import place
from tests.support.commands import ended
from tests.support.offline import HOST, MAINTENANCE_WORKER, MaintenanceWorld

__all__ = ["place"]

SCRIPTS = f"/accounts/*/workers/scripts/{MAINTENANCE_WORKER}"
STORED = [{"method": "POST", "path": f"{SCRIPTS}/versions"}, {"method": "POST", "path": f"{SCRIPTS}/deployments"}]
TURNED = {"method": "PUT", "path": "/zones/*/workers/routes/*"}
SWITCHED = {"method": "POST", "path": f"/accounts/*/workers/scripts/{WORKER}/subdomain"}
ON = [*STORED, TURNED, {"method": "POST", "path": "/zones/*/workers/routes"}, SWITCHED]
OFF = [TURNED, {"method": "DELETE", "path": "/zones/*/workers/routes/*"}, SWITCHED, *STORED]
"""The writes of closing and of reopening a whole service, in order."""
EACH_WRITE = pytest.mark.parametrize(
    "number", [pytest.param(number, marks=() if number == 2 else pytest.mark.slow) for number in range(5)]
)


@pytest.mark.parametrize("lost", ["before", pytest.param("after", marks=pytest.mark.slow)])
@EACH_WRITE
def test_unclear_write_is_resolved_by_read_back(place: MaintenanceWorld, number: int, lost: Any) -> None:
    before = place.ways
    place.world.sandbox.fault(**ON[number], lost=lost)
    assert place.on().code == 0
    assert len(place.world.sandbox.deployments(MAINTENANCE_WORKER)) == 2
    place.world.sandbox.fault(**OFF[number], lost=lost)
    assert place.off().code == 0
    assert place.ways == before


def test_refused_write_names_the_rest_and_next_run_continues(place: MaintenanceWorld) -> None:
    place.world.sandbox.fault(**TURNED, status=403, code=10000, times=None)

    assert ended(place.on()) == (4, "failed", "not_authorised")
    assert place.serves(f"{HOST}/") == "home"

    place.world.sandbox.faults.clear()
    assert place.on().code == 0
    assert len(place.world.sandbox.deployments(MAINTENANCE_WORKER)) == 3, (
        "a run that opens meanwhile would notice a new version"
    )


def test_route_changed_after_the_plan_stops_the_run(place: MaintenanceWorld) -> None:
    (mine,) = place.zone.routes.values()

    def change() -> None:
        place.world.sandbox.zones.add_route(place.zone, mine.pattern, "other", id=mine.id)

    place.world.sandbox.fault(**STORED[1], before=change)

    outcome = place.on()

    assert ended(outcome) == (4, "failed", "world_moved")
    assert "; changed: " in outcome.result["message"]
    assert f"; not changed: Route {HOST}" in outcome.result["message"]
    assert place.routes == {f"{HOST}/*": "other"}


@pytest.mark.parametrize("moment", [0, 1])
def test_concurrent_runs_keep_all_previous_values(place: MaintenanceWorld, moment: int) -> None:
    """A second run, for a path, completes before the upload or the deployment of the first."""
    before = place.ways
    others: list[Outcome] = []
    place.world.sandbox.fault(**STORED[moment], before=lambda: others.append(run_in_another_process(place)))

    first = place.on()

    assert others[0].code == 0
    assert ended(first)[1:] == ("failed", "world_moved")
    assert place.serves(f"{HOST}/api/ai") == "off"
    assert place.on().code == 0
    assert place.serves(f"{HOST}/") == place.serves(f"{HOST}/api/ai") == "off"
    assert place.off().code == 0
    assert place.ways == before


def run_in_another_process(place: MaintenanceWorld) -> Outcome:
    """Run in another process, because signals and output belong to the first run."""
    where = ["--service", "api", "--environment", "production", "--config", str(place.world.config), "--yes", "--json"]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **place.world.sandbox.environ()}
    done = subprocess.run(
        [sys.executable, "-m", "ops", "maintenance", "--state", "on", "--path", "/api/ai", *where],
        env=environ | {"CLOUDFLARE_API_TOKEN": "security"},
        capture_output=True,
        text=True,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)
