"""Maintenance of a Pages site: closed at one host if a route precedes it, else taken back and not closed."""

import json
from typing import Any

import httpx
import pytest

from ops.app import registry
from ops.app.scope import fitting_services
from tests.conftest import Outcome, World
from tests.support.bakery import parse
from tests.support.commands import ended, texts
from tests.support.offline import MAINTENANCE_WORKER, PERMISSIONS
from tests.support.shop import SITE, Shop, open_shop

HOST = "docs.shop.example"
OPEN_ONES = "its address on pages.dev, previews and other domains stay reachable"


@pytest.fixture
def shop(world: World) -> Shop:
    """A shop whose site has its own zone; ops-maintenance is ready."""
    found = open_shop(world)
    world.sandbox.switches.propagation_seconds = 0
    world.sandbox.zones.add("shop.example")
    world.sandbox.add_token("closing", [*PERMISSIONS, "Pages Read"])
    where = ["--environment", "live", "--config", str(world.config), "--yes", "--json"]
    assert world.ops("maintenance", "prepare", *where, **found.environ(SHOP_TOKEN="closing")).code == 0
    world.sandbox.requests.clear()
    return found


def turn(shop: Shop, state: str, *arguments: str) -> Outcome:
    where = ["--environment", "live", "--config", str(shop.world.config), "--yes", "--json"]
    asked = ["maintenance", "--service", "docs", "--state", state, *arguments, *where]
    return shop.world.ops(*asked, **shop.environ(SHOP_TOKEN="closing"))


def routes(shop: Shop) -> dict[str, str | None]:
    zones = shop.world.sandbox.zones.all.values()
    return {route.pattern: route.script for zone in zones for route in zone.routes.values()}


def answer(shop: Shop, host: str = HOST) -> int:
    return httpx.get(shop.world.sandbox.edge_url, headers={"host": host}, verify=False).status_code


def status(shop: Shop) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shop.ops("status", "--environment", "live", "--json", SHOP_TOKEN="closing").out)
    return found


def windows(shop: Shop) -> list[str]:
    return [each["service"] for each in status(shop)["maintenance"]]


def test_route_without_effect_is_taken_back_and_never_called_closed(shop: Shop) -> None:
    for _press in range(3):
        closed = turn(shop, "on")

        assert ended(closed) == (4, "failed", "no_way_in")
        message = closed.result["message"]
        assert message.startswith(f"not closed: {HOST} ")
        assert "offline as requested" not in json.dumps(closed.result["message"])
        assert (routes(shop), windows(shop), answer(shop)) == ({}, [], 200)
        assert closed.result["outcome"]["changed"] == []
        assert texts(closed, "ended") == ["failed"]


@pytest.mark.slow
def test_site_is_closed_at_its_host_only(shop: Shop) -> None:
    shop.world.sandbox.switches.route_precedes_pages_domain = True

    closed = turn(shop, "on")

    assert ended(closed) == (0, "recovered", "verified")
    assert closed.result["message"] == f"closed at {HOST} only: 3 addresses answer 503; {OPEN_ONES}, seen from FRA"
    plan = closed.result["plan"]
    assert plan["summary"].endswith(f"; closed at {HOST} only")
    assert plan["warnings"][0] == f"closed at {HOST} only: {OPEN_ONES}"
    assert routes(shop) == {f"{HOST}/*": MAINTENANCE_WORKER}
    assert (answer(shop), answer(shop, shop.world.sandbox.pages.projects[SITE].subdomain)) == (503, 200)
    assert (windows(shop), status(shop)["open_although_closed"]) == (["docs"], [])

    again = turn(shop, "on")
    assert ended(again) == (0, "nothing_to_do", "already_off")

    opened = turn(shop, "off")
    assert opened.result["decision"] in {"recovered", "still_unhealthy"}  # the shop's live site is the bad one
    assert (routes(shop), windows(shop), answer(shop)) == ({}, [], 200)
    assert ended(turn(shop, "off"))[2] == "not_off" or opened.code == 6


def test_site_that_is_closed_in_part_stays_closed(shop: Shop) -> None:
    """Without normalization an encoded path stays open, which is no reason to open the others."""
    switches = shop.world.sandbox.switches
    switches.route_precedes_pages_domain, switches.urls_normalized = True, False

    closed = turn(shop, "on", "--path", "/admin")

    assert ended(closed) == (6, "still_unhealthy", "still_unhealthy")
    assert "not taken back: " in texts(closed, "compared")[-1]
    assert (routes(shop), windows(shop)) == ({f"{HOST}/admin*": MAINTENANCE_WORKER}, ["docs"])


def test_path_of_a_site_is_closed(shop: Shop) -> None:
    shop.world.sandbox.switches.route_precedes_pages_domain = True

    closed = turn(shop, "on", "--path", "/admin")

    assert closed.code == 0, closed.err
    assert routes(shop) == {f"{HOST}/admin*": MAINTENANCE_WORKER}
    assert answer(shop) == 200


def test_run_killed_before_its_proof_is_open_although_closed(shop: Shop) -> None:
    """The route is there and has no effect: the next press says so, and `off` takes it back."""
    shop.world.sandbox.switches.route_precedes_pages_domain = True
    turn(shop, "on")
    shop.world.sandbox.switches.route_precedes_pages_domain = False

    (opening,) = status(shop)["open_although_closed"]
    again = turn(shop, "on")

    assert opening["text"] == f"{HOST} is not answered by ops-maintenance"
    assert ended(again) == (3, "refused", "no_way_in")
    assert HOST in again.result["message"]
    assert "--state off" in again.result["press"]
    turn(shop, "off")
    assert (routes(shop), windows(shop)) == ({}, [])


def test_deleted_route_of_a_closed_site_is_an_opening(shop: Shop) -> None:
    shop.world.sandbox.switches.route_precedes_pages_domain = True
    turn(shop, "on")
    (zone,) = shop.world.sandbox.zones.all.values()
    zone.routes.clear()

    (opening,) = status(shop)["open_although_closed"]

    assert opening["text"] == f"{HOST} leads to no Worker"
    shop.world.sandbox.switches.route_precedes_pages_domain = False
    assert ended(turn(shop, "on")) == (4, "failed", "no_way_in")
    assert (routes(shop), windows(shop)) == ({}, [])


def test_site_on_pages_dev_or_behind_a_worker_is_refused(shop: Shop) -> None:
    (zone,) = shop.world.sandbox.zones.all.values()
    shop.world.sandbox.zones.add_route(zone, f"{HOST}/*", "shop-web")
    behind = turn(shop, "on")
    shop.world.edit_config("url: https://docs.shop.example", "url: https://shop-docs.pages.dev")
    outside = turn(shop, "on")

    assert ended(behind) == ended(outside) == (3, "refused", "no_way_in")
    assert f"a route of {HOST} leads to a Worker already" in behind.result["message"]
    assert "Cloudflare's own zone" in outside.result["message"]
    assert routes(shop) == {f"{HOST}/*": "shop-web"}


BY_LABEL = """
labels:
  recover:docs-closed:
    runbook: maintenance
    environment: live
    params: {service: docs, state: "on"}
"""


def offered(shop: Shop) -> list[str]:
    """Return the services that the button offers."""
    (place,) = parse(shop.world.config.read_text()).environments.values()
    return list(fitting_services(place, registry.load_runbook("maintenance")))


def test_button_and_label_offer_a_site_only_if_ops_yml_asks_for_it(shop: Shop) -> None:
    before = offered(shop)
    shop.world.edit_config("        pages: shop-docs\n", "        pages: shop-docs\n        maintenance: edge\n")
    shop.world.config.write_text(shop.world.config.read_text() + BY_LABEL)

    assert (before, offered(shop)) == (["web"], ["web", "docs"])
    assert shop.ops("config", "check").code == 0

    shop.world.edit_config("maintenance: edge", "maintenance: switch")
    refused = shop.ops("config", "check")
    assert refused.code == 2
    assert "needs a runtime whose service is docs" in refused.err


def test_watch_of_a_closed_site_sees_that_it_answers(shop: Shop) -> None:
    shop.world.sandbox.switches.route_precedes_pages_domain = True
    turn(shop, "on")
    where = ["--service", "docs", "--environment", "live", "--for", "2m"]
    calm = shop.ops("watch", "--closed", *where, SHOP_TOKEN="closing")
    shop.world.sandbox.switches.route_precedes_pages_domain = False

    found = shop.ops("watch", "--closed", *where, SHOP_TOKEN="closing")

    assert (calm.code, found.code) == (0, 7)
    assert f"docs in live is OPEN although closed: {HOST} is not answered by ops-maintenance" in found.out
