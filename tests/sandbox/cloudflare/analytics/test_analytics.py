"""Analytics over GraphQL: rows by dimension, data set limits, and errors with HTTP 200."""

from datetime import timedelta
from typing import Any

import pytest

from sandbox import Sandbox
from tests.sandbox.conftest import Api

ROWS = """query ($z: string!, $from: Time!, $to: Time!) {
  viewer { zones(filter: {zoneTag: $z}) {
    rows: httpRequestsAdaptiveGroups(limit: 10, orderBy: [count_DESC],
          filter: {datetime_geq: $from, datetime_lt: $to, requestSource: "eyeball"}) {
      count dimensions { clientRequestPath clientIP } } } } }"""


@pytest.fixture
def ask(api: Api) -> Any:
    sandbox = api.sandbox
    zone = sandbox.zones.add("fortunet.example")
    reader = sandbox.add_token("watcher", ["Analytics Read", "Account Analytics Read"])

    def send(query: str, ago: float = 3600, *, token: str = reader, **variables: Any) -> Any:
        now = sandbox.clock.now()
        given = {"from": (now - timedelta(seconds=ago)).isoformat(), "to": now.isoformat(), "z": zone} | variables
        return api("POST", "/graphql", token=token, json={"query": query, "variables": given}).response.json()

    send.zone = zone  # type: ignore[attr-defined]
    return send


def test_requests_are_grouped_by_dimensions(ask: Any, sandbox: Sandbox) -> None:
    at = sandbox.clock.now() - timedelta(minutes=5)
    for address, count in (("203.0.113.7", 2), ("203.0.113.7", 3), ("198.51.100.1", 1)):
        sandbox.analytics.add_requests(ask.zone, "api.fortunet.example", "/v1", address, at=at, count=count)
    sandbox.analytics.add_requests(ask.zone, "api.fortunet.example", "/v1", "192.0.2.1", at=at, source="edgeWorker")

    answer = ask(ROWS)

    rows = answer["data"]["viewer"]["zones"][0]["rows"]
    assert [(row["count"], row["dimensions"]["clientIP"]) for row in rows] == [(5, "203.0.113.7"), (1, "198.51.100.1")]
    assert answer["errors"] is None
    assert sandbox.audit == []


@pytest.mark.parametrize(
    ("query", "ago", "said"),
    [
        (ROWS, 4 * 86400, "older than"),
        (ROWS, 2 * 86400, "too large"),
        (ROWS.replace("clientIP", "shoeSize"), 60, "unknown field"),
        (ROWS.replace("limit: 10,", ""), 60, "limit"),
        (ROWS.replace("$z: string!, ", ""), 60, "not declared"),
        (ROWS.replace("$z: string!, ", "$z: string!, $n: Int, "), 60, "variable $n is declared but not used"),
        (ROWS.replace("zones", "accounts"), 60, "lacks its filter"),
        ("mutation { viewer { x } }", 60, "only queries"),
        (ROWS[:-3], 60, "ends too early"),
    ],
)
def test_query_errors_return_200_with_message(ask: Any, query: str, ago: float, said: str) -> None:
    answer = ask(query, ago)

    assert answer["data"] is None
    assert said in answer["errors"][0]["message"]


def test_undeclared_variable_is_refused(ask: Any) -> None:
    assert ask(ROWS, most=10)["errors"][0]["message"] == "variable $most is given but not declared"


def test_zone_requires_analytics_permission(ask: Any, api: Api) -> None:
    assert ask(ROWS, token=api.sandbox.token)["errors"][0]["extensions"]["code"] == "authz"
    assert ask(ROWS, z="0" * 32)["errors"][0]["extensions"]["code"] == "authz"
