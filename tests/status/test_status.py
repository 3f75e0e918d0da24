"""`ops status`: live versions, active settings and unreadable sources."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import Outcome, World
from tests.support import switches
from tests.support.commands import JSON
from tests.support.shop import Shop
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
    found: dict[str, Any] = json.loads(outcome.out)
    assert outcome.code == found["exit_code"]
    assert bool(found["exit_code"]) == bool(outcome.err)
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
    since = f"since {now - timedelta(minutes=5):%Y-%m-%d %H:%M:%S} UTC"
    assert re.search(rf"session-do: off, held by #42 \(bob, until .*\), {since}, until .*--name session-do", lines)
    assert "calc: 60 in 60 s, until" in lines
    (closed,) = (line for line in lines.splitlines() if "api /api/ai: offline at the edge" in line)
    assert "held by #42 (run r), since 2026-11-24 05:00:00 UTC" in closed
    assert "`ops maintenance --state off --service api --environment production --path /api/ai --incident 42`" in closed
    assert [(each["kind"], each["what"]) for each in found["held"]] == [
        ("maintenance", "api /api/ai"),
        ("switches", "session-do"),
        ("limits", "calc"),
    ]
    assert {request.method for request in place.world.sandbox.requests} == {"GET", "POST"}
    assert all(r.path.endswith("/bulk/get") for r in place.world.sandbox.requests if r.method == "POST")


def test_status_says_how_long_a_planned_end_has_passed(place: SwitchWorld) -> None:
    now = place.world.sandbox.clock.now()
    end = f"{now + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
    place.put("maintenance", state="on", review_at=end)
    off_at_the_edge(place.world, until=end)
    assert "passed" not in status(place).out

    place.world.sandbox.clock.advance(2 * 3600)
    lines = status(place).out.splitlines()

    late = f"planned end {now + timedelta(hours=1):%Y-%m-%d %H:%M:%S} UTC, passed 1 h"
    for name in ("maintenance: on", "api /api/ai"):
        assert [late in line for line in lines if name in line] == [True]


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


@pytest.mark.parametrize(
    ("raised", "owners"),
    [("", ["#42 (pull request)"]), ("2026-11-24T04:00:00Z", []), ("soon", [])],
    ids=["same", "other end", "edited"],
)
def test_incident_of_a_temporary_limit_is_that_of_the_same_raise(
    place: SwitchWorld, raised: str, owners: list[str]
) -> None:
    until = f"{place.world.sandbox.clock.now() + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
    limits(place, calc={"limit": 30, "period": 60, "key": "ip", "temporary": {"limit": 60, "until": until}})
    entry = f'{{limit: 60, until: "{raised or until}", reason: sale, incident: 42}}'
    (place.world.folder / "limits.yml").write_text(f"calc: {{limit: 30, period: 60, key: ip, temporary: {entry}}}\n")

    (held,) = status_json(place)["held"]

    assert (held["kind"], held["held_by"], held["until"]) == ("limits", owners, until)


@pytest.mark.slow
def test_status_without_active_settings(place: SwitchWorld) -> None:
    lines = status(place).out

    assert lines.count("    none") == 1


WORKERS = "/accounts/*/workers/scripts"
OPEN = ["open_although_closed", "orphaned_routes"]
HELD = "held: closed services, switches, temporary limits, commits and migrations"
UNREAD = [
    (READ, "switches and limits in KV", {HELD}, ["limits", "switches"]),
    ({"path": f"{WORKERS}/fortunet-api/deployments"}, "live version of api", {"live", HELD}, ["held", "services"]),
    ({"path": "/accounts/*/pages/**"}, "live version of frontend", {"live"}, ["services"]),
    (
        {"path": f"{WORKERS}/ops-maintenance/deployments"},
        "maintenance at the edge",
        {HELD},
        ["maintenance", *OPEN],
    ),
    ({"path": "/zones"}, "routes to ops-maintenance", {HELD}, OPEN),
]


def sections(outcome: Outcome) -> dict[str, list[str]]:
    """Return the title of each section with its lines."""
    title, found = "", dict[str, list[str]]()
    for line in outcome.out.splitlines()[1:]:
        if line.startswith("  Read from"):
            break
        if not line.startswith("    "):
            title = line.strip()
        found.setdefault(title, []).extend([line.strip()] if line.startswith("    ") else [])
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "what", "titles", "keys"), UNREAD, ids=[what for _, what, _, _ in UNREAD])
def test_unread_source_is_unknown_and_not_none(
    place: SwitchWorld, rule: dict[str, Any], what: str, titles: set[str], keys: list[str]
) -> None:
    """The others are read, so their sections still say what is on."""
    off_at_the_edge(place.world)
    place.world.sandbox.fault(**{"method": "GET", **rule}, times=None, status=403, code=10000)

    outcome = status(place)
    found = status_json(place)

    shown = sections(outcome)
    unknown = {title for title, lines in shown.items() if any(f"! unknown, {what}: " in line for line in lines)}
    assert (outcome.code, unknown) == (4, titles)
    assert {title for title, lines in shown.items() if lines == ["none"]}.isdisjoint(titles)
    assert "API tokens" in outcome.out  # the hint of the reason
    assert outcome.err.startswith(f"error: not read: {what}\n")
    assert (found["unknown"], [what in line for line in found["unread"]], found["exit_code"]) == (keys, [True], 4)


@pytest.mark.parametrize(
    ("token", "code", "why"),
    [
        (None, 2, "CLOUDFLARE_API_TOKEN is not set"),
        ("expired", 4, "Cloudflare does not accept the token CLOUDFLARE_API_TOKEN"),
        ("switching ", 2, "U+0020"),
        ('"switching"', 2, "U+0022"),
        ("of-another-team", 4, "the token CLOUDFLARE_API_TOKEN is active, but may not read account 0f0f"),
    ],
)
def test_status_that_read_nothing_knows_of_nothing(place: SwitchWorld, token: Any, code: int, why: str) -> None:
    place.world.sandbox.add_token("expired", ["Workers Scripts Write"], expired=True)
    place.world.sandbox.add_token("of-another-team", ["Zone Read"])
    outcome = status(place, token=token)
    result = status(place, "--json", token=token)

    shown, found = sections(outcome), json.loads(result.out)
    assert (outcome.code, result.code, found["exit_code"]) == (code, code, code)
    assert {title: {line.startswith("! unknown, ") for line in lines} for title, lines in shown.items()} == {
        "live": {True},
        HELD: {True},
        "open incidents": {True},
    }
    error, hint, _ = outcome.err.splitlines()
    assert error.startswith("error: nothing was read: ")
    assert why in error
    assert hint.startswith(" hint: ")
    assert "token" in hint
    assert hint.removeprefix(" hint: ") not in outcome.out  # said once
    assert found["unknown"] == ["held", "limits", "maintenance", *OPEN, "services", "switches"]


def test_disabled_token_is_to_be_enabled(place: SwitchWorld) -> None:
    """A disabled token needs no new end: developers.cloudflare.com/api/resources/user/subresources/tokens."""
    place.world.sandbox.add_token("paused", ["Zone Read"])
    answer = '{"success": true, "errors": [], "result": {"id": "%s", "status": "disabled"}}' % ("a" * 32)
    place.world.sandbox.fault(path="/user/tokens/verify", body=answer, times=None, **JSON)

    outcome = status(place, token="paused")

    assert (outcome.code, "the token CLOUDFLARE_API_TOKEN is disabled" in outcome.err) == (4, True)
    assert " hint: Enable it, or create a new one" in outcome.err


@pytest.mark.parametrize("key", ["ops/switch/ai", "ops/limits"])
def test_status_reports_malformed_values(place: SwitchWorld, key: str) -> None:
    place.world.sandbox.kv.put(NAMESPACE, key, '{"version": 2}')

    found = status_json(place)

    (line,) = found["unread"]
    assert "version 2" in line
    assert (found["unknown"], found["exit_code"]) == (["switches" if "switch" in key else "limits"], 4)


def test_many_malformed_values_are_not_taken_for_nothing_read(place: SwitchWorld) -> None:
    for name in ("ai", "maintenance", "session-do", "ordering", "calc"):
        place.world.sandbox.kv.put(NAMESPACE, f"ops/switch/{name}", "{")
    place.world.sandbox.fault(method="GET", path="/zones", times=None, status=403, code=10000)

    outcome = status(place)

    assert outcome.code == 4
    assert outcome.err.startswith("error: not read: switch ")
    assert "api: " in outcome.out


@pytest.mark.slow
def test_status_shortens_untrusted_values(place: SwitchWorld) -> None:
    place.put("session-do", state="off", owner="\u202eevil\n::error::x", incident=42)
    place.world.sandbox.deploy(
        "fortunet-api", place.world.sandbox.upload("fortunet-api"), message="a\n::error::b\u202e"
    )

    lines = status(place).out.splitlines()

    assert not any(line.startswith("::") for line in lines)
    assert "\u202e" not in "".join(lines)


def test_application_without_switches_needs_none_to_be_read(shop: Shop) -> None:
    unread, read = (shop.ops("status", SHOP_TOKEN=token) for token in (None, shop.world.sandbox.token))

    (unknown,) = sections(unread)[HELD]
    assert unknown.startswith("! unknown, ")
    assert (unread.code, read.code) == (2, 0)
    assert sections(read)[HELD] == ["none"]
