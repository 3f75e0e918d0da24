"""`ops evidence`: collect records, name unreadable sources, anonymize public output."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ops.core.run_record import read_record
from sandbox.cloudflare.audit.state import FakeAuditEntry
from tests.conftest import ACCOUNT, WORKER, Incident, Outcome
from tests.support.commands import JSON

READER = "sandbox-collecting"
ALL = (
    *("Workers Scripts Read", "Pages Read", "Account Settings Read"),
    *("Zone Read", "Analytics Read", "Account Analytics Read", "Workers Observability Write"),
)
ADDRESS, SIXTH, PERSON = "203.0.113.77", "2001:db8:12:34::9", "mallory@example.com"
PATH = f"/accounts/{ACCOUNT}/workers/scripts/{WORKER}/secrets"


def audit_entry(at: datetime, **changes: Any) -> FakeAuditEntry:
    plain = FakeAuditEntry(
        id="1",
        at=at,
        email=PERSON,
        token_id="f" * 32,
        token_name="ci",
        owner="user",
        method="PUT",
        uri=PATH,
        status=200,
        ray="8a1b2c3d4e5f6071-LHR",
        user_agent="curl/8.9",
        product="workers",
        type="secrets",
        resource_id=WORKER,
        zone="",
        address=ADDRESS,
    )
    return replace(plain, **changes)


@pytest.fixture
def recorded(incident: Incident) -> Incident:
    """Record the use of a token yesterday; the repository is public."""
    world, hub = incident.world, incident.github
    hub.switches.private = False
    now = world.sandbox.clock.now()
    world.release(timedelta(hours=3), code="good", author=PERSON, message="by mallory@example.com")
    world.sandbox.put_secret(WORKER, "IFLOW_API_KEY", "k4n4ry-value", author=PERSON, at=now - timedelta(hours=2))
    world.site(timedelta(hours=2), "good", commit="a" * 40)
    zone = world.sandbox.zones.add("fortunet.example")
    for address, count in ((ADDRESS, 40), ("203.0.113.78", 2), (SIXTH, 1)):
        world.sandbox.analytics.add_requests(
            zone, "api.fortunet.example", "/u/ana%40example.com", address, at=now - timedelta(hours=1), count=count
        )
    world.sandbox.analytics.add_queries(ACCOUNT, "d1-main", at=now - timedelta(hours=1), readQueries=9, rowsRead=900)
    for status, logged in ((200, 0), (200, 2), (401, 0)):
        at = now - timedelta(hours=1)
        world.sandbox.analytics.add_handled(WORKER, "GET /u/ana@example.com", status, at=at, logged=logged)
    world.sandbox.analytics.add_handled(WORKER, "GET /old", 200, at=now - timedelta(days=2))
    world.sandbox.analytics.add_handled("other", "GET /other", 200, at=now - timedelta(hours=1))
    world.sandbox.audit.append(audit_entry(now - timedelta(hours=1)))
    world.sandbox.audit.append(audit_entry(now - timedelta(minutes=50), address=SIXTH, status=403, method="DELETE"))
    hub.add_deployment("recovery", "alice", now - timedelta(hours=1), run_id=77)
    world.sandbox.add_token(READER, ALL)
    return incident


def collect(incident: Incident, *arguments: str, since: str = "24h", **environ: str | None) -> Outcome:
    config = ("--config", str(incident.world.config), "--environment", "production")
    token = {"CLOUDFLARE_API_TOKEN": READER, **environ}
    return incident.ops("evidence", "--since", since, *config, *arguments, **token)


def exhibits(incident: Incident, *arguments: str, **options: Any) -> dict[str, dict[str, Any]]:
    path = incident.world.folder / "evidence.json"
    outcome = collect(incident, "--json", str(path), *arguments, **options)
    assert outcome.code in {0, 4}, outcome.err
    return {each["title"]: each for each in json.loads(path.read_text())["exhibits"]}


def find_table(found: dict[str, dict[str, Any]], words: str) -> dict[str, Any]:
    (one,) = [each for title, each in found.items() if words in title]
    return one


def test_all_sources_are_collected(recorded: Incident) -> None:
    found = exhibits(recorded)

    assert {title: each["outcome"] for title, each in found.items()} == {
        "Audit log of the account": "found",
        "Use of each token, from the audit log": "found",
        "Token of this command": "found",
        "Deployments and secret changes of the Worker fortunet-api": "found",
        "Requests that the Worker fortunet-api handled, by path and status": "found",
        "Production deployments of the site fortunet-frontend": "found",
        "Requests to api.fortunet.example by path and network": "found",
        "Requests to fortunet.example by path and network": "none found",
        "Queries of D1 by database": "found",
        "Workflow runs that used an environment": "found",
    }
    denied, put = find_table(found, "Audit log")["rows"]
    assert (put["request"], put["result"], put["status"]) == (f"PUT {PATH}", "success", "200")
    assert (denied["result"], denied["status"]) == ("failure", "403")
    (used,) = find_table(found, "Use of each token")["rows"]
    assert (used["token"], used["requests"], used["failed"]) == ("ci (ffffffff)", 2, 1)
    assert "a secret was changed" in {row["what"] for row in find_table(found, "secret changes")["rows"]}
    assert find_table(found, "D1")["rows"][0]["rows read"] == 900
    (use,) = find_table(found, "environment")["rows"]
    assert (use["environment"], use["by"]) == ("recovery", "alice")
    assert "/actions/runs/77/" in use["log"]
    assert find_table(found, "Token of this command")["rows"][0]["status"] == "active"


@pytest.mark.sampled
@pytest.mark.parametrize("names_all", [False, True])
def test_worker_requests_are_counted_without_log_lines(recorded: Incident, names_all: bool) -> None:
    recorded.world.sandbox.switches.telemetry_names_what_is_missing = names_all
    recorded.github.switches.private = True

    rows = find_table(exhibits(recorded), "handled, by path and status")["rows"]

    what = "GET /u/ana@example.com"
    assert sorted((row["request"], row["status"], row["requests"]) for row in rows) == [
        (what, "", 1),
        (what, "200", 2),
        (what, "401", 1),
    ]


@pytest.mark.sampled(4)
@pytest.mark.parametrize("result", [{}, {"calculations": [{"aggregates": [{"value": "many"}]}]}, [], 7])
def test_malformed_telemetry_is_not_empty(recorded: Incident, result: Any) -> None:
    body = json.dumps({"success": True, "errors": [], "messages": [], "result": result})
    recorded.world.sandbox.fault(
        path="/accounts/*/workers/observability/**", body=body, content_type="application/json", times=None
    )

    assert find_table(exhibits(recorded), "handled, by path and status")["outcome"] == "could not ask"


@pytest.mark.slow
def test_only_reads_are_sent(recorded: Incident) -> None:
    collect(recorded)

    telemetry = f"/client/v4/accounts/{ACCOUNT}/workers/observability/telemetry/query"
    asked = {(r.method, r.path) for r in recorded.world.sandbox.requests if r.method != "GET"}
    assert recorded.world.writes() == []
    assert asked == {("POST", "/client/v4/graphql"), ("POST", telemetry)}
    assert all(r.body["dry"] for r in recorded.world.sandbox.requests if r.path == telemetry)


@pytest.mark.slow
def test_public_repository_gets_anonymized_evidence(recorded: Incident) -> None:
    path = recorded.world.folder / "evidence.json"
    page = recorded.world.folder / "summary.md"
    outcome = collect(recorded, "--json", str(path), "--incident", str(recorded.number), GITHUB_STEP_SUMMARY=str(page))

    (body,) = recorded.bodies
    shown = outcome.out + outcome.err + path.read_text() + body
    for whole in (ADDRESS, "203.0.113.78", SIXTH, "mallory", "ana@", "ana%40"):
        assert whole not in shown
    for short in ("203.0.113.0/24", "2001:db8:12::/48", "m…@example.com", "/u/a…@example.com"):
        assert short in body
    networks = {row["from"]: row["requests"] for row in find_table(exhibits(recorded), "api.fortunet")["rows"]}
    assert networks == {"203.0.113.0/24": 42, "2001:db8:12::/48": 1}
    assert page.read_text() == body
    assert "k4n4ry" not in shown


@pytest.mark.sampled(3)
@pytest.mark.parametrize("visibility", ["private", "public", "unknown"])
def test_only_private_repository_gets_full_addresses(recorded: Incident, visibility: str) -> None:
    recorded.github.switches.private = visibility == "private"
    if visibility == "unknown":
        recorded.github.switches.private = True
        recorded.github.fault(path="/repos/acme/operations", status=503, times=None)

    addresses = {row["from"] for row in find_table(exhibits(recorded), "Audit log")["rows"]}
    written = json.loads((recorded.world.folder / "evidence.json").read_text())

    assert (ADDRESS in addresses) == (visibility == "private")
    assert (written["schema"], written["shortened"]) == (1, visibility != "private")


@pytest.mark.slow
def test_later_collection_that_sees_less_leaves_the_earlier_one(recorded: Incident) -> None:
    recorded.world.sandbox.add_token("poor", ["Workers Scripts Read"])
    number = ("--incident", str(recorded.number))

    first = collect(recorded, *number)
    (rich,) = recorded.bodies
    others = [collect(recorded, *number, CLOUDFLARE_API_TOKEN="poor"), collect(recorded, *number, since="5m")]

    assert {first.code, *(each.code for each in others)} == {0}
    assert recorded.bodies[0] == rich
    records = [read_record(body) for body in recorded.bodies]
    assert {record.source for record in records if record} == {"evidence"}
    assert len({record.run for record in records if record}) == 3
    assert recorded.show().out.count("evidence of production collected") == 3


def test_unreadable_source_names_its_permission(recorded: Incident) -> None:
    recorded.world.sandbox.add_token("poor", ["Workers Scripts Read"])
    outcome = collect(recorded, "--incident", str(recorded.number), CLOUDFLARE_API_TOKEN="poor")

    assert outcome.code == 0
    for title, permission in (
        ("Audit log of the account", "Account Settings Read"),
        ("Queries of D1 by database", "Account Analytics Read"),
        ("Requests that the Worker fortunet-api handled, by path and status", "Workers Observability Write"),
        ("Production deployments of the site fortunet-frontend", "Pages Read"),
        ("Requests to fortunet.example by path and network", "Zone Read and, of the zone, Analytics Read"),
    ):
        assert f"{title}: could not ask" in outcome.out
        assert f"needs the permission {permission}" in outcome.out
    (body,) = recorded.bodies
    assert "7 of 10 sources could not be read" in body


def test_source_that_fails_is_not_called_forbidden(recorded: Incident) -> None:
    recorded.world.sandbox.fault(path="/accounts/*/logs/audit", status=503, times=None)
    outcome = collect(recorded, "--incident", str(recorded.number))

    lines = outcome.out.splitlines()
    why = lines[next(at for at, line in enumerate(lines) if line.startswith("Audit log of the account")) + 1]
    assert why.endswith("; collect it again later")
    assert "Account Settings Read" not in outcome.out
    (body,) = recorded.bodies
    assert "Collect it again later" in body


def test_github_is_read_without_cloudflare_token(recorded: Incident) -> None:
    found = exhibits(recorded, CLOUDFLARE_API_TOKEN=None)

    assert find_table(found, "environment")["outcome"] == "found"
    assert {each["outcome"] for title, each in found.items() if "environment" not in title} == {"could not ask"}


def test_no_readable_source_is_an_error(recorded: Incident) -> None:
    outcome = collect(recorded, CLOUDFLARE_API_TOKEN=None, GITHUB_TOKEN=None)

    assert outcome.code == 4
    assert (outcome.code, outcome.err.startswith("error: ")) == (4, True)


@pytest.mark.slow
def test_expired_records_are_not_reported_as_none(recorded: Incident) -> None:
    old = exhibits(recorded, "--until", "100h", since="200h")
    half = exhibits(recorded, since="100h")

    assert find_table(old, "api.fortunet")["outcome"] == "out of reach"
    assert find_table(old, "D1")["outcome"] == "none found"
    assert find_table(half, "api.fortunet")["outcome"] == "found"
    assert find_table(half, "api.fortunet")["reaches_to"]
    assert find_table(half, "D1")["reaches_to"] is None


@pytest.mark.slow
def test_days_are_a_period(recorded: Incident) -> None:
    assert collect(recorded, since="2d").out == collect(recorded, since="48h").out


@pytest.mark.parametrize(
    ("since", "said"),
    [
        ("yesterday", "error: --since"),
        ("0d", "error: --since"),
        ("2999-01-01", "--until"),
        ("0s", "--until"),
    ],
)
def test_invalid_period_is_refused(recorded: Incident, since: str, said: str) -> None:
    outcome = collect(recorded, since=since)

    assert outcome.code == 2
    assert said in outcome.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("switch", "rows", "is_noted"),
    [("audit_lag_seconds", 250, False), ("audit_cursor_after", 250, False), ("audit_names_next_page", 100, True)],
)
def test_audit_log_is_paginated_or_reported_as_cut(recorded: Incident, switch: str, rows: int, is_noted: bool) -> None:
    now = recorded.world.sandbox.clock.now()
    setattr(recorded.world.sandbox.switches, switch, False)
    recorded.world.sandbox.audit[:] = [audit_entry(now - timedelta(hours=2, seconds=n)) for n in range(250)]

    found = find_table(exhibits(recorded, "--incident", str(recorded.number)), "Audit log")

    assert len(found["rows"]) == rows
    assert any("listed 100 entries without a next page" in note for note in found["notes"]) is is_noted


@pytest.mark.slow
def test_many_rows_fit_one_comment_and_json_has_all(recorded: Incident, tmp_path: Path) -> None:
    now = recorded.world.sandbox.clock.now()
    hostile = "| </details> @alice `x` <!-- backout:v1 {} -->\n# x"
    recorded.world.sandbox.audit[:] = [
        audit_entry(now - timedelta(hours=2, seconds=n), user_agent=hostile, uri=f"/{n}/@bob") for n in range(900)
    ]

    found = exhibits(recorded, "--incident", str(recorded.number))

    (body,) = recorded.bodies
    assert len(body) < 65_536
    assert "of 900 rows" in body
    assert len(find_table(found, "Audit log")["rows"]) == 900
    assert body.count("<details>") == body.count("</details>\n") == 10
    assert "` @alice" not in body
    assert len([line for line in body.splitlines() if line.startswith("- at 2")]) > 100


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ({"data": None, "errors": [{"message": "rate limiter budget depleted, try again"}]}, "found"),
        ({"data": None, "errors": [{"message": "zones x is not authorized"}]}, "could not ask"),
        ({"data": {"viewer": {"scope": []}}, "errors": None}, "could not ask"),
        ({"data": 7}, "found"),
        ({"success": False, "errors": [{"code": 10000, "message": "Authentication error"}]}, "could not ask"),
    ],
)
def test_graphql_error_with_status_200_is_detected(recorded: Incident, body: Any, outcome: str) -> None:
    """A spent budget and an unreadable answer cause one more request."""
    recorded.world.edit_config("    url: https://fortunet.example", "    url: https://api.fortunet.example")
    times = 2 if outcome == "found" else None
    recorded.world.sandbox.fault(path="/graphql", body=json.dumps(body), content_type="application/json", times=times)

    found = exhibits(recorded)

    assert {find_table(found, "Requests to")["outcome"], find_table(found, "D1")["outcome"]} == {outcome}


def test_long_period_is_queried_in_parts(recorded: Incident) -> None:
    now = recorded.world.sandbox.clock.now()
    zone = next(iter(recorded.world.sandbox.zones.all))
    recorded.world.sandbox.analytics.add_requests(zone, "fortunet.example", "/", ADDRESS, at=now - timedelta(hours=60))

    assert find_table(exhibits(recorded, since="61h"), "Requests to fortunet.example")["outcome"] == "found"


@pytest.mark.parametrize("place", ["summary", "json"])
def test_file_that_cannot_be_written_is_named(recorded: Incident, place: str) -> None:
    given = {"GITHUB_STEP_SUMMARY": "/dev/null/summary.md"} if place == "summary" else {}
    options = ("--json", "/dev/null/evidence.json") if place == "json" else ()

    done = collect(recorded, *options, **given)

    assert done.code == 2, done.out + done.err
    assert {"summary": "GITHUB_STEP_SUMMARY", "json": "evidence.json"}[place] in done.err


def test_host_without_a_readable_zone_could_not_be_asked(recorded: Incident) -> None:
    recorded.world.sandbox.zones.all.clear()

    found = exhibits(recorded)

    for host in ("api.fortunet.example", "fortunet.example"):
        assert find_table(found, f"Requests to {host}")["outcome"] == "could not ask"
    assert find_table(found, "D1")["outcome"] == "found"


def test_data_set_outside_the_plan_is_unavailable(recorded: Incident) -> None:
    limits = {"enabled": False, "maxDuration": 86400, "maxPageSize": 100, "notOlderThan": 86400}
    body = json.dumps({"data": {"viewer": {"scope": [{"settings": {"set": limits}}]}}, "errors": None})
    recorded.world.sandbox.fault(path="/graphql", sends="notOlderThan", times=None, body=body, **JSON)

    found = exhibits(recorded)

    assert find_table(found, "Queries of D1")["outcome"] == "could not ask"
    assert find_table(found, "Requests to fortunet.example")["outcome"] == "could not ask"
