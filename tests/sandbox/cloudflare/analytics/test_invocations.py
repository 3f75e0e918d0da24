"""Invocations of Workers in the analytics: numbers of the edge's traffic, sampled and late."""

from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from sandbox import Sandbox
from tests.sandbox.conftest import Api

WORKER = "shop"
BY_VERSION = """query ($a: string!, $s: string!, $from: Time!, $to: Time!) {
  viewer { accounts(filter: {accountTag: $a}) {
    rows: workersInvocationsAdaptive(limit: 5000, orderBy: [datetimeMinute_ASC],
          filter: {scriptName: $s, datetime_geq: $from, datetime_lt: $to}) {
      sum { requests errors subrequests } avg { sampleInterval }
      quantiles { cpuTimeP50 cpuTimeP99 wallTimeP50 wallTimeP99 }
      dimensions { datetimeMinute scriptVersion status } } } } }"""
DOCUMENTED = """query GetWorkersAnalytics($accountTag: string, $datetimeStart: string, $datetimeEnd: string,
    $scriptName: string) {
  viewer { accounts(filter: {accountTag: $accountTag}) {
    workersInvocationsAdaptive(limit: 100, filter: {
        scriptName: $scriptName, datetime_geq: $datetimeStart, datetime_leq: $datetimeEnd }) {
      sum { subrequests requests errors } quantiles { cpuTimeP50 cpuTimeP99 }
      dimensions { datetime scriptName status } } } } }"""
"""developers.cloudflare.com/analytics/graphql-api/tutorials/querying-workers-metrics"""

Ask = Callable[..., Any]


@pytest.fixture
def ask(api: Api) -> Ask:
    sandbox = api.sandbox
    reader = sandbox.add_token("watcher", ["Account Analytics Read"])

    def send(query: str = BY_VERSION, *, ago: float = 3600, token: str = reader) -> Any:
        now = sandbox.clock.now()
        given = {"a": sandbox.account_id, "s": WORKER, "to": now.isoformat()}
        given["from"] = (now - timedelta(seconds=ago)).isoformat()
        return api("POST", "/graphql", token=token, json={"query": query, "variables": given}).response.json()

    return send


def rows(answer: Any) -> Any:
    assert answer["errors"] is None, answer
    return answer["data"]["viewer"]["accounts"][0]["rows"]


def total(found: Any, name: str, **dimensions: str) -> int:
    return sum(row["sum"][name] for row in found if dimensions.items() <= row["dimensions"].items())


def send_requests(sandbox: Sandbox, number: int, *, during: float = 120.0) -> None:
    """Send them on one connection of the standard library: httpx takes five times as long for each."""
    with closing(HTTPConnection(urlsplit(sandbox.edge_url).netloc, timeout=30)) as edge:
        for _ in range(number):
            edge.request("GET", "/health")
            edge.getresponse().read()
            sandbox.clock.advance(during / number)


@pytest.fixture
def split(sandbox: Sandbox) -> tuple[str, str]:
    """Deploy two versions at 50 % each; the second fails for 30 % of its requests."""
    sandbox.switches.propagation_seconds = 0
    good = sandbox.upload(WORKER, code="good")
    bad = sandbox.upload(WORKER, code="bad", behaviour={"throws": "TypeError: no basket", "share": 0.3})
    sandbox.deploy(WORKER, {good: 50, bad: 50})
    return good, bad


def test_numbers_are_exact_without_sampling(sandbox: Sandbox, split: tuple[str, str], ask: Ask) -> None:
    sandbox.switches.analytics_sample_interval = 1
    sandbox.switches.analytics_delay_seconds = 0
    send_requests(sandbox, 1000)

    found = rows(ask())

    assert total(found, "requests") == 1000
    for version in split:
        assert total(found, "requests", scriptVersion=version) == sandbox.edge_counts[version]
    failed = int(sandbox.edge_counts[split[1]] * 0.3)
    assert total(found, "errors") == total(found, "requests", status="scriptThrewException") == failed
    assert {row["avg"]["sampleInterval"] for row in found} == {1}
    minutes = [row["dimensions"]["datetimeMinute"] for row in found]
    assert minutes == sorted(minutes)
    assert len(set(minutes)) in {2, 3}


def test_numbers_are_within_five_percent_by_default(sandbox: Sandbox, split: tuple[str, str], ask: Ask) -> None:
    send_requests(sandbox, 1000)
    sandbox.clock.advance(sandbox.switches.analytics_delay_seconds)

    found = rows(ask())

    assert total(found, "requests") == pytest.approx(1000, rel=0.05)
    for version in split:
        assert total(found, "requests", scriptVersion=version) == pytest.approx(sandbox.edge_counts[version], rel=0.05)
    assert total(found, "errors") == pytest.approx(sandbox.edge_counts[split[1]] * 0.3, rel=0.05)
    assert max(row["avg"]["sampleInterval"] for row in found) > 1


def test_last_minutes_are_incomplete(sandbox: Sandbox, split: tuple[str, str], ask: Ask) -> None:
    send_requests(sandbox, 60)
    seen = [total(rows(ask()), "requests")]
    for _ in range(4):
        sandbox.clock.advance(60)
        seen.append(total(rows(ask()), "requests"))

    assert seen == sorted(seen)
    assert seen[0] < 30
    assert seen[1] < 60
    assert seen[-1] == 60


def test_caught_error_counts_as_success(sandbox: Sandbox, edge: httpx.Client, ask: Ask) -> None:
    sandbox.switches.analytics_delay_seconds = 0
    sandbox.deploy(WORKER, sandbox.upload(WORKER, behaviour={"status": 500}))

    assert edge.get("/health").status_code == 500
    sandbox.clock.advance(1)

    assert [(row["sum"]["errors"], row["dimensions"]["status"]) for row in rows(ask())] == [(0, "success")]


def test_uncaught_error_is_page_1101(sandbox: Sandbox, edge: httpx.Client) -> None:
    sandbox.deploy(WORKER, sandbox.upload(WORKER, behaviour={"throws": "TypeError: no basket"}))

    response = edge.get("/health")

    assert response.status_code == 500
    assert response.text.startswith("error code: 1101")


def test_documented_query_is_answered(api: Api, sandbox: Sandbox, edge: httpx.Client) -> None:
    sandbox.switches.analytics_delay_seconds = 0
    sandbox.deploy(WORKER, sandbox.upload(WORKER))
    edge.get("/health")
    now = sandbox.clock.now()
    given = {"accountTag": sandbox.account_id, "scriptName": WORKER}
    given |= {"datetimeStart": (now - timedelta(hours=1)).isoformat(), "datetimeEnd": now.isoformat()}
    reader = sandbox.add_token("watcher", ["Account Analytics Read"])

    answer = api("POST", "/graphql", token=reader, json={"query": DOCUMENTED, "variables": given}).response.json()

    (row,) = answer["data"]["viewer"]["accounts"][0]["workersInvocationsAdaptive"]
    assert row["sum"] == {"subrequests": 0, "requests": 1, "errors": 0}
    assert row["dimensions"]["scriptName"] == WORKER
    assert row["quantiles"].keys() == {"cpuTimeP50", "cpuTimeP99"}


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("limit: 5000, ", "", "limit must be 1 to 10000"),
        ("limit: 5000", "limit: 10001", "limit must be 1 to 10000"),
        ("limit: 5000", 'limit: "many"', "limit must be 1 to 10000"),
        ("limit: 5000", "first: 5000", 'unknown field "first"'),
        ("scriptName: $s", "scriptname: $s", 'unknown filter "scriptname"'),
        ("scriptName: $s", "scriptName_is: $s", 'unknown filter "scriptName_is"'),
        ("scriptName: $s", "scriptName: 7, status: $s", 'filter "scriptName" has a value of the wrong type'),
        ("scriptName: $s", "scriptName_in: $s", 'filter "scriptName_in" has a value of the wrong type'),
        ("scriptName: $s", "clientRequestPath: $s", 'unknown filter "clientRequestPath"'),
        ("datetime_geq: $from", 'datetime_geq: "yesterday", date: $from', '"yesterday" is not a time'),
        ("datetime_lt: $to", "datetime_neq: $to", "needs a time with _geq and a time with _lt"),
        ("datetimeMinute_ASC", "datetimeMinute", "cannot order by"),
        ("datetimeMinute_ASC", "datetimeHour_ASC", "cannot order by"),
        ("datetimeMinute_ASC", "count_DESC", "cannot order by"),
        ("sum { requests errors subrequests }", "sum { requests failures }", 'unknown field "failures"'),
        ("sum { requests errors subrequests }", "sum", 'field "sum" must have a selection of subfields'),
        ("sum { requests errors subrequests }", "count", 'unknown field "count"'),
        ("avg { sampleInterval }", "min { sampleInterval }", 'unknown field "min"'),
        ("cpuTimeP50", "cpuTimeP42", 'unknown field "cpuTimeP42"'),
        ("scriptVersion", "clientRequestPath", 'unknown field "clientRequestPath"'),
        ("workersInvocationsAdaptive", "workerInvocations", 'unknown field "workerInvocations"'),
    ],
)
def test_invalid_query_is_refused_also_without_rows(ask: Ask, before: str, after: str, said: str) -> None:
    assert before in BY_VERSION

    answer = ask(BY_VERSION.replace(before, after))

    assert answer["data"] is None
    assert said in answer["errors"][0]["message"]


def test_switches_make_analytics_fail_and_empty(sandbox: Sandbox, split: tuple[str, str], ask: Ask) -> None:
    sandbox.switches.analytics_delay_seconds = 0
    send_requests(sandbox, 3)

    sandbox.switches.analytics_empty = True
    assert rows(ask()) == []

    sandbox.switches.analytics_down = True
    assert ask()["errors"][0]["message"] == "Internal server error"


def test_plan_limits_and_permission_are_checked(api: Api, sandbox: Sandbox, ask: Ask) -> None:
    assert "too large" in ask(ago=32 * 86400)["errors"][0]["message"]
    assert "older than" in ask(ago=92 * 86400)["errors"][0]["message"]
    sandbox.switches.worker_analytics_longest_seconds = 3600
    assert "too large" in ask(ago=3601)["errors"][0]["message"]
    zone_reader = sandbox.add_token("zone-reader", ["Analytics Read"])
    assert ask(token=zone_reader)["errors"][0]["extensions"]["code"] == "authz"


def test_zone_counts_requests_of_the_edge(api: Api, sandbox: Sandbox, edge: httpx.Client) -> None:
    zone = sandbox.zones.add("shop.example")
    sandbox.zones.add_route(sandbox.zones.all[zone], "shop.example/*", WORKER)
    sandbox.switches.analytics_delay_seconds = 0
    sandbox.deploy(WORKER, sandbox.upload(WORKER, behaviour={"paths": {"/basket": {"status": 429}}}))
    for address in ("203.0.113.1", "203.0.113.2"):
        edge.get("/basket", headers={"host": "shop.example", "sandbox-client-address": address})
    edge.get("/health", headers={"host": "shop.example"})
    sandbox.clock.advance(1)
    query = """query ($z: string!, $from: Time!, $to: Time!) { viewer { zones(filter: {zoneTag: $z}) {
      rows: httpRequestsAdaptiveGroups(limit: 10, orderBy: [count_DESC], filter: {datetime_geq: $from,
        datetime_lt: $to, edgeResponseStatus: 429, requestSource: "eyeball"}) {
        count avg { sampleInterval } dimensions { clientRequestPath clientIP } } } } }"""
    now, reader = sandbox.clock.now(), sandbox.add_token("watcher", ["Analytics Read"])
    given = {"z": zone, "from": (now - timedelta(hours=1)).isoformat(), "to": now.isoformat()}

    answer = api("POST", "/graphql", token=reader, json={"query": query, "variables": given}).response.json()

    found = answer["data"]["viewer"]["zones"][0]["rows"]
    assert sorted(row["dimensions"]["clientIP"] for row in found) == ["203.0.113.1", "203.0.113.2"]
    assert {(row["count"], row["dimensions"]["clientRequestPath"]) for row in found} == {(1, "/basket")}


def test_telemetry_needs_observability(sandbox: Sandbox, edge: httpx.Client) -> None:
    version = sandbox.upload(WORKER, behaviour={"throws": "TypeError: no basket"})
    sandbox.deploy(WORKER, version)
    edge.get("/basket")
    assert sandbox.analytics.telemetry == []

    sandbox.account.workers[WORKER].script_settings["observability"] = {"enabled": True}
    edge.get("/basket")

    (event,) = sandbox.analytics.telemetry
    assert event.keys["$metadata.trigger"] == "GET /basket"
    assert event.keys["$workers.scriptVersion.id"] == version
    assert (event.keys["$workers.outcome"], event.keys["$metadata.statusCode"]) == ("exception", 500)
