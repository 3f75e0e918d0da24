"""Cloudflare's analytics by GraphQL: requests to a host, and the use of D1.

developers.cloudflare.com/analytics/graphql-api

Every count may be an estimate from a sample. How far back a data set reaches depends on the plan, and is asked for.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ops.cloudflare.client import Client, by_total
from ops.cloudflare.reads import reads
from ops.cloudflare.response import Answer, shaped, text
from ops.cloudflare.types.records import DatabaseUse, Limits, Period, Requests
from ops.core.clock import parse_utc, rfc3339

ZONE_READ = "Zone Read"
ANALYTICS_READ = "Analytics Read"
ACCOUNT_ANALYTICS_READ = "Account Analytics Read"
MOST_ROWS = 1000
"""Asked for at once; a data set may allow fewer."""

_LIMITS = "{ enabled maxDuration maxPageSize notOlderThan }"
_REQUESTS = "httpRequestsAdaptiveGroups"
_D1 = "d1AnalyticsAdaptiveGroups"
_ZONE_LIMITS = f"""query ($z: string!) {{
  viewer {{ scope: zones(filter: {{zoneTag: $z}}) {{ settings {{ set: {_REQUESTS} {_LIMITS} }} }} }} }}"""
_ACCOUNT_LIMITS = f"""query ($a: string!) {{
  viewer {{ scope: accounts(filter: {{accountTag: $a}}) {{ settings {{ set: {_D1} {_LIMITS} }} }} }} }}"""
_BY_PATH = f"""query ($z: string!, $h: string!, $from: Time!, $to: Time!) {{
  viewer {{ scope: zones(filter: {{zoneTag: $z}}) {{
    rows: {_REQUESTS}(limit: %d, orderBy: [count_DESC], filter: {{datetime_geq: $from, datetime_lt: $to,
          clientRequestHTTPHost: $h, requestSource: "eyeball"}}) {{
      count dimensions {{ datetimeHour clientRequestPath clientIP clientCountryName edgeResponseStatus }} }} }} }} }}"""
_BY_DATABASE = f"""query ($a: string!, $from: Time!, $to: Time!) {{
  viewer {{ scope: accounts(filter: {{accountTag: $a}}) {{
    rows: {_D1}(limit: %d, orderBy: [datetimeHour_DESC],
          filter: {{datetimeHour_geq: $from, datetimeHour_lt: $to}}) {{
      sum {{ readQueries writeQueries rowsRead rowsWritten }} dimensions {{ datetimeHour databaseId }} }} }} }} }}"""


@reads("GET /zones")
def zone_of(client: Client, account_id: str, host: str) -> str | None:
    """The id of the zone that the host is in; None where this token sees none, as for workers.dev and pages.dev."""

    def read(page: Mapping[str, str]) -> Answer:
        answer = client.read("/zones", permission=ZONE_READ, params={"account.id": account_id, **page})
        return Answer(shaped(answer, "the zones", lambda: [_named(row) for row in answer.result]), answer.info)

    holding = [(name, zone) for name, zone in by_total(read) if host == name or host.endswith(f".{name}")]
    return max(holding, key=lambda found: len(found[0]))[1] if holding else None


def _named(row: Mapping[str, Any]) -> tuple[str, str]:
    return str(row["name"]), str(row["id"])


@reads("POST /graphql")
def zone_limits(client: Client, zone: str) -> Limits:
    return _limits(client.query(_ZONE_LIMITS, permission=ANALYTICS_READ, variables={"z": zone}))


@reads("POST /graphql")
def account_limits(client: Client, account_id: str) -> Limits:
    return _limits(client.query(_ACCOUNT_LIMITS, permission=ACCOUNT_ANALYTICS_READ, variables={"a": account_id}))


def _limits(answer: Answer) -> Limits:
    def build() -> Limits:
        found = answer.result["viewer"]["scope"][0]["settings"]["set"]
        old, wide, rows = (int(found[name]) for name in ("notOlderThan", "maxDuration", "maxPageSize"))
        if min(old, wide, rows) < 1:
            raise ValueError(found)
        return Limits(found.get("enabled") is True, old, wide, min(rows, MOST_ROWS))

    return shaped(answer, "the limits of a data set", build)


@reads("POST /graphql")
def requests(client: Client, zone: str, host: str, period: Period, *, most: int) -> tuple[Requests, ...]:
    """Of clients, not of Workers: the most frequent first. `most` rows: there may be more."""
    variables = {"z": zone, "h": host, **_between(period)}
    answer = client.query(_BY_PATH % most, permission=ANALYTICS_READ, variables=variables)
    return shaped(answer, "the requests by path", lambda: tuple(_requests(host, answer.result)))


def _requests(host: str, data: Mapping[str, Any]) -> Iterator[Requests]:
    for row in data["viewer"]["scope"][0]["rows"]:
        by = row["dimensions"]
        yield Requests(
            hour=parse_utc(by["datetimeHour"]),
            host=host,
            path=text(by["clientRequestPath"]),
            address=text(by["clientIP"]),
            country=text(by["clientCountryName"]),
            status=str(by["edgeResponseStatus"]),
            count=int(row["count"]),
        )


@reads("POST /graphql")
def database_use(client: Client, account_id: str, period: Period, *, most: int) -> tuple[DatabaseUse, ...]:
    """By database and hour, the newest first; the period begins with an hour. `most`: as above."""
    variables = {"a": account_id, **_between(period)}
    answer = client.query(_BY_DATABASE % most, permission=ACCOUNT_ANALYTICS_READ, variables=variables)
    return shaped(answer, "the use of D1", lambda: tuple(_database_use(answer.result)))


def _database_use(data: Mapping[str, Any]) -> Iterator[DatabaseUse]:
    for row in data["viewer"]["scope"][0]["rows"]:
        total = (int(row["sum"][name]) for name in ("readQueries", "writeQueries", "rowsRead", "rowsWritten"))
        yield DatabaseUse(parse_utc(row["dimensions"]["datetimeHour"]), str(row["dimensions"]["databaseId"]), *total)


def _between(period: Period) -> dict[str, str]:
    return {"from": rfc3339(period.since), "to": rfc3339(period.until)}
