"""`ops status`: live versions, active settings and unreadable sources."""

import json
from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import Outcome, World
from tests.support import switches
from tests.support.switches import NAMESPACE, READ, SwitchWorld, off_at_the_edge


@pytest.fixture
def place(world: World) -> SwitchWorld:
    found = switches.prepared(world)
    world.site(timedelta(hours=3), "good")
    return found


def status(place: SwitchWorld, *arguments: str, token: str = "switching") -> Outcome:
    where = ["--environment", "production", "--config", str(place.world.config)]
    return place.world.ops("status", *where, *arguments, CLOUDFLARE_API_TOKEN=token)


def status_json(place: SwitchWorld) -> dict[str, Any]:
    outcome = status(place, "--json")
    assert outcome.code == 0
    found: dict[str, Any] = json.loads(outcome.out)
    return found


def limits(place: SwitchWorld, **values: Any) -> None:
    text = json.dumps({"version": 1, "revision": "3f9c2ab41d07-9c0ffee1", "limits": values})
    place.world.sandbox.kv.put(NAMESPACE, "ops/limits", text)


def test_status_lists_live_versions_and_active_settings(place: SwitchWorld) -> None:
    now = place.world.sandbox.clock.now()
    until = f"{now + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
    place.put("session-do", state="off", until=until, incident=42)
    place.put("ai", state="auto")
    place.put("maintenance", state="on", until=f"{now - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}")
    calm = {"limit": 30, "period": 60, "key": "ip"}
    over = {"limit": 90, "until": f"{now - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"}
    limits(place, calc=calm | {"temporary": {"limit": 60, "until": until}}, ai=calm | {"temporary": over})
    off_at_the_edge(place.world)

    found = status_json(place)
    lines = status(place).out

    (version,) = place.world.live
    api, frontend = found["services"]
    assert (api["split"], api["by"]) == ([{"id": version, "percent": 100}], "ci@example.com")
    assert frontend["split"][0]["id"] == place.world.served
    (switch,) = found["switches"]
    assert (switch["name"], switch["owner"], switch["incident"]) == ("session-do", "bob", 42)
    assert switch["until"] == until
    assert found["limits"] == [{"name": "calc", "limit": 60, "period": 60, "until": until}]
    assert [block["path"] for block in found["maintenance"]] == ["/api/ai"]
    assert found["unread"] == []
    assert f"api: {version[:8]}, since" in lines
    assert "session-do: off, by bob 5 min ago, for incident #42, until" in lines
    assert "calc: 60 in 60 s, until" in lines
    assert "api /api/ai, since 2026-11-24 05:00:00 UTC for incident #42" in lines
    assert {request.method for request in place.world.sandbox.requests} == {"GET", "POST"}
    assert all(r.path.endswith("/bulk/get") for r in place.world.sandbox.requests if r.method == "POST")


def test_status_names_orphaned_routes(place: SwitchWorld) -> None:
    sandbox = place.world.sandbox
    off_at_the_edge(place.world)
    zone = sandbox.zones.all[sandbox.zones.add("fortunet.example")]
    sandbox.zones.add_route(zone, "api.fortunet.example/*", "ops-maintenance")
    sandbox.zones.add_route(zone, "shop.fortunet.example/*", "bookshop")

    assert status_json(place)["orphaned_routes"] == [{"pattern": "api.fortunet.example/*", "service": "api"}]
    lines = status(place).out
    assert "    route api.fortunet.example/* leads to ops-maintenance, which does not store it" in lines
    assert "--state off --service api --environment production" in lines


def test_status_without_active_settings(place: SwitchWorld) -> None:
    lines = status(place).out

    assert lines.count("    none") == 3


UNREAD = [
    (READ, "switches and limits in KV"),
    ({"method": "GET", "path": "/accounts/*/workers/scripts/fortunet-api/deployments"}, "live version of api"),
    ({"method": "GET", "path": "/accounts/*/pages/**"}, "live version of frontend"),
    ({"method": "GET", "path": "/accounts/*/workers/scripts/ops-maintenance/deployments"}, "maintenance at the edge"),
    ({"method": "GET", "path": "/zones"}, "routes to ops-maintenance"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "what"), UNREAD, ids=[what for _, what in UNREAD])
def test_status_reports_unreadable_sources(place: SwitchWorld, rule: dict[str, Any], what: str) -> None:
    off_at_the_edge(place.world)
    place.world.sandbox.fault(**rule, times=None, status=403, code=10000)

    outcome = status(place)

    assert outcome.code == 0
    assert outcome.out.count("    ! ") == 1
    assert f"    ! {what}: " in outcome.out
    assert what in status_json(place)["unread"][0]


@pytest.mark.parametrize("key", ["ops/switch/ai", "ops/limits"])
def test_status_reports_malformed_values(place: SwitchWorld, key: str) -> None:
    place.world.sandbox.kv.put(NAMESPACE, key, '{"version": 2}')

    (line,) = status_json(place)["unread"]

    assert "version 2" in line


def test_status_shortens_untrusted_values(place: SwitchWorld) -> None:
    place.put("session-do", state="off", owner="\u202eevil\n::error::x", incident=42)
    place.world.sandbox.deploy(
        "fortunet-api", place.world.sandbox.upload("fortunet-api"), message="a\n::error::b\u202e"
    )

    lines = status(place).out.splitlines()

    assert not any(line.startswith("::") for line in lines)
    assert "\u202e" not in "".join(lines)
