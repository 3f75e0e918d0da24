"""Routes to `ops-maintenance` that its live version does not store."""

import threading
from typing import Any

import pytest

from tests.conftest import WORKER
from tests.runbooks.test_maintenance import place
from tests.support.commands import ended
from tests.support.offline import ALSO, HOST, MAINTENANCE_WORKER, MaintenanceWorld, account

__all__ = ["place"]


def orphan(place: MaintenanceWorld) -> None:
    """Leave orphaned routes: closed at the edge, but not stored in the live version."""
    assert place.on("--message", "stored").code == 0
    upload = place.world.sandbox.upload(MAINTENANCE_WORKER, vars={"RUN": "other", "BASE": ""})
    place.world.sandbox.deploy(MAINTENANCE_WORKER, upload)
    place.world.sandbox.requests.clear()


def test_off_reopens_orphaned_routes_from_an_older_version(place: MaintenanceWorld) -> None:
    before = place.ways
    orphan(place)

    opened = place.off()

    assert ended(opened) == (0, "recovered", "verified"), opened.err
    assert place.ways == before
    *routes, dev = opened.result["plan"]["warnings"]
    assert [HOST in routes[0], ALSO in routes[1]] == [True, True]
    assert "This run uses the previous target" in routes[0]
    assert dev.startswith(f"workers.dev of {WORKER} was switched off")


def test_on_stores_orphaned_routes(place: MaintenanceWorld) -> None:
    before = place.ways
    orphan(place)

    closed = place.on("--message", "again")

    assert ended(closed)[:2] == (0, "healthy_as_before"), closed.err
    assert place.get(f"{HOST}/x").json()["message"] == "again"
    assert place.off().code == 0
    assert place.ways == before


def test_off_of_another_service_skips_orphaned_routes(place: MaintenanceWorld) -> None:
    """`shop` of another team has routes of its own in the same zone."""
    sandbox, shop = place.world.sandbox, "shop.fortunet.example"
    sandbox.deploy("bookshop", sandbox.upload("bookshop", behaviour={"body": "books", "status": 200}))
    text = place.world.config.read_text().replace(
        "      frontend:\n", f"      shop: {{worker: bookshop, url: 'https://{shop}'}}\n      frontend:\n", 1
    )
    place.world.config.write_text(text)
    place.route(f"{shop}/*", "bookshop")
    orphan(place)
    assert place.ops("--state", "on", "--service", "shop").code == 0

    opened = place.ops("--state", "off", "--service", "shop")

    assert place.serves(f"{shop}/") == "books"
    assert place.routes[f"{HOST}/*"] == MAINTENANCE_WORKER
    assert f"no version of {MAINTENANCE_WORKER} stores it for bookshop" in opened.result["plan"]["warnings"][0]
    assert place.off().code == 0
    assert place.serves(f"{HOST}/") == "home"


@pytest.mark.slow
def test_unknown_orphaned_route_is_named_with_dashboard_page(place: MaintenanceWorld) -> None:
    place.zone.routes.clear()
    place.route(f"{HOST}/*", MAINTENANCE_WORKER)

    outcome = place.off()

    assert ended(outcome) == (6, "still_unhealthy", "still_unhealthy")
    (warning,) = outcome.result["plan"]["warnings"]
    assert "To change it: dashboard → fortunet.example → Workers Routes" in warning
    assert place.routes == {f"{HOST}/*": MAINTENANCE_WORKER}
    assert place.world.writes() == []


@pytest.mark.slow
def test_other_routes_and_workers_are_not_restored(place: MaintenanceWorld) -> None:
    """Another person recreated the first route; the second was stored for a Worker missing in ops.yml."""
    block: dict[str, Any] = {"service": "api", "path": "", "message": "m", "until": "", "run": "r"}
    block |= {"since": "2026-11-24T05:00:00Z", "incident": None, "subdomain": None}
    blocks = [
        block | {"worker": WORKER, "closed": [[place.zone.id, f"{HOST}/*", "0" * 32, WORKER]]},
        block | {"worker": "former", "closed": [[place.zone.id, f"{ALSO}/*", "", ""]]},
    ]
    sandbox = place.world.sandbox
    bindings = [{"type": "json", "name": f"BLOCK_0{n}", "json": each} for n, each in enumerate(blocks)]
    sandbox.deploy(
        MAINTENANCE_WORKER, sandbox.upload(MAINTENANCE_WORKER, vars={"RUN": "r", "BASE": ""}, bindings=bindings)
    )
    sandbox.deploy(MAINTENANCE_WORKER, sandbox.upload(MAINTENANCE_WORKER, vars={"RUN": "other", "BASE": ""}))
    place.zone.routes.clear()
    for host in (HOST, ALSO):
        place.route(f"{host}/*", MAINTENANCE_WORKER)

    outcome = place.off()

    assert ended(outcome)[0] == 6
    assert place.routes == {f"{HOST}/*": MAINTENANCE_WORKER, f"{ALSO}/*": MAINTENANCE_WORKER}
    assert len(outcome.result["plan"]["warnings"]) == 2


@pytest.mark.slow
def test_route_that_another_person_deleted_is_not_called_ours(place: MaintenanceWorld) -> None:
    """Another person deletes the added route just before this run does."""
    before = place.routes
    place.on()

    def delete() -> None:
        place.zone.routes = {id_: r for id_, r in place.zone.routes.items() if r.pattern != f"{ALSO}/*"}

    place.world.sandbox.fault(method="DELETE", path="/zones/**", before=delete)

    outcome = place.off()

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert place.routes == before
    assert outcome.result["outcome"]["done_by_others"] == [f"Route {ALSO}/*"]
    assert f"Route {ALSO}/*" not in outcome.result["outcome"]["changed"]


@pytest.mark.slow
def test_lagging_deployment_list_is_not_another_run(place: MaintenanceWorld) -> None:
    """Each ingress path gets one stale deployment list after the new one was seen."""
    before = place.ways
    worker = account(place).workers[MAINTENANCE_WORKER]

    def hide() -> None:
        worker.hidden_reads[worker.history[-1].id] = 1

    for method in ("PUT", "POST"):
        place.world.sandbox.fault(method=method, path="/zones/**", times=None, before=hide)

    closed = place.on()

    assert ended(closed)[:2] == (0, "recovered"), closed.err
    assert place.off().code == 0
    assert place.ways == before


def test_irrelevant_zones_are_skipped_if_there_are_many(place: MaintenanceWorld) -> None:
    for number in range(60):
        place.world.sandbox.zones.add(f"customer-{number}.example")

    closed = place.on()

    assert closed.code == 0, closed.err
    read = {r.path.split("/")[4] for r in place.world.sandbox.requests if r.path.endswith("/workers/routes")}
    assert read == {place.zone.id}
    warning = closed.result["plan"]["warnings"][0]
    assert "customer-0.example" in warning
    assert "and 55 more were not read" in warning


@pytest.mark.slow
def test_zones_are_read_in_batches(place: MaintenanceWorld) -> None:
    for number in range(30):
        place.world.sandbox.zones.add(f"customer-{number}.example")
    under_way, most, together = set[object](), list[int](), threading.Barrier(8, timeout=30)

    def begin() -> None:
        under_way.add(object())
        most.append(len(under_way))

    read = {"method": "GET", "path": "/zones/*/workers/routes"}
    place.world.sandbox.fault(**read, times=None, before=begin, delay=0.02, after=under_way.pop)
    place.world.sandbox.fault(**read, times=8, before=together.wait)

    assert place.ops("--state", "on", "--service", "api", "--dry-run").code == 0
    assert (max(most), together.broken) == (8, False)
