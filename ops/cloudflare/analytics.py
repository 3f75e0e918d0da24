"""Cloudflare's GraphQL analytics: requests to a host or Worker, and usage of D1.

developers.cloudflare.com/analytics/graphql-api

Counts may be estimates from samples. The retention of a data set depends on the plan and is read from Cloudflare.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from ops.cloudflare.client import CloudflareClient, paginate_by_total, reads
from ops.cloudflare.response import CloudflareResponse, parse_result, text_or_empty
from ops.cloudflare.types.records import (
    DatabaseUsage,
    DatasetLimits,
    HostFailures,
    HostRequests,
    VersionRequests,
    WorkerTraffic,
)
from ops.core.clock import Period, format_rfc3339, parse_utc

ZONE_READ = "Zone Read"
ANALYTICS_READ = "Analytics Read"
ACCOUNT_ANALYTICS_READ = "Account Analytics Read"
MAX_ROWS = 1000
"""Rows of one query; a data set may allow fewer."""

COMPLETE_AFTER = timedelta(minutes=5)
"""Age at which a minute counts as complete. Cloudflare promises none; its numbers come minutes late."""
LONGEST_HISTORY = timedelta(days=28)
"""Cloudflare allows one month per query, for Workers
(developers.cloudflare.com/analytics/graphql-api/tutorials/querying-workers-metrics)."""

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
_FAILURES = f"""query ($z: string!, $h: string!, $from: Time!, $to: Time!) {{
  viewer {{ scope: zones(filter: {{zoneTag: $z}}) {{
    limited: {_REQUESTS}(limit: 1, filter: {{datetime_geq: $from, datetime_lt: $to,
          clientRequestHTTPHost: $h, requestSource: "eyeball", edgeResponseStatus: 429}}) {{ count }}
    clients: {_REQUESTS}(limit: {MAX_ROWS}, orderBy: [count_DESC], filter: {{datetime_geq: $from, datetime_lt: $to,
          clientRequestHTTPHost: $h, requestSource: "eyeball", edgeResponseStatus_geq: 500}}) {{
      count dimensions {{ clientIP }} }}
    failed: {_REQUESTS}(limit: 1, filter: {{datetime_geq: $from, datetime_lt: $to,
          clientRequestHTTPHost: $h, requestSource: "eyeball", edgeResponseStatus_geq: 500}}) {{ count }} }} }} }}"""
_BY_VERSION = f"""query ($a: string!, $w: string!, $old: Time!, $from: Time!, $to: Time!) {{
  viewer {{ scope: accounts(filter: {{accountTag: $a}}) {{
    minutes: workersInvocationsAdaptive(limit: {MAX_ROWS}, orderBy: [datetimeMinute_ASC],
          filter: {{scriptName: $w, datetime_geq: $from, datetime_lt: $to}}) {{
      sum {{ requests errors }} avg {{ sampleInterval }} dimensions {{ datetimeMinute scriptVersion }} }}
    days: workersInvocationsAdaptive(limit: {MAX_ROWS}, orderBy: [date_ASC],
          filter: {{scriptName: $w, datetime_geq: $old, datetime_lt: $to}}) {{
      sum {{ requests errors }} dimensions {{ date scriptVersion }} }} }} }} }}"""
_BY_DATABASE = f"""query ($a: string!, $from: Time!, $to: Time!) {{
  viewer {{ scope: accounts(filter: {{accountTag: $a}}) {{
    rows: {_D1}(limit: %d, orderBy: [datetimeHour_DESC],
          filter: {{datetimeHour_geq: $from, datetimeHour_lt: $to}}) {{
      sum {{ readQueries writeQueries rowsRead rowsWritten }} dimensions {{ datetimeHour databaseId }} }} }} }} }}"""


@reads("GET /zones")
def find_zone(client: CloudflareClient, account_id: str, host: str) -> str | None:
    """Return the ID of the host's zone; None if the token can read none, as for workers.dev and pages.dev."""
    read = client.list_reader("/zones", "the zones", _named, permission=ZONE_READ, params={"account.id": account_id})
    holding = [(name, zone) for name, zone in paginate_by_total(read) if host == name or host.endswith(f".{name}")]
    return max(holding, key=lambda found: len(found[0]))[1] if holding else None


def _named(row: Mapping[str, Any]) -> tuple[str, str]:
    return str(row["name"]), str(row["id"])


@reads("POST /graphql")
def read_zone_limits(client: CloudflareClient, zone: str) -> DatasetLimits:
    return _limits(client.query_graphql(_ZONE_LIMITS, permission=ANALYTICS_READ, variables={"z": zone}))


@reads("POST /graphql")
def read_account_limits(client: CloudflareClient, account_id: str) -> DatasetLimits:
    return _limits(
        client.query_graphql(_ACCOUNT_LIMITS, permission=ACCOUNT_ANALYTICS_READ, variables={"a": account_id})
    )


def _limits(answer: CloudflareResponse) -> DatasetLimits:
    def build() -> DatasetLimits:
        found = answer.result["viewer"]["scope"][0]["settings"]["set"]
        old, wide, rows = (int(found[name]) for name in ("notOlderThan", "maxDuration", "maxPageSize"))
        if min(old, wide, rows) < 1:
            raise ValueError(found)
        return DatasetLimits(found.get("enabled") is True, old, wide, min(rows, MAX_ROWS))

    return parse_result(answer, "the limits of a data set", build)


@reads("POST /graphql")
def count_host_requests(
    client: CloudflareClient, zone: str, host: str, period: Period, *, max_rows: int
) -> tuple[HostRequests, ...]:
    """Count requests from clients, not from Workers, most frequent first. With `max_rows` rows there may be more."""
    variables = {"z": zone, "h": host, **_between(period)}
    answer = client.query_graphql(_BY_PATH % max_rows, permission=ANALYTICS_READ, variables=variables)
    return parse_result(answer, "the requests by path", lambda: tuple(_requests(host, answer.result)))


def _requests(host: str, data: Mapping[str, Any]) -> Iterator[HostRequests]:
    for row in data["viewer"]["scope"][0]["rows"]:
        by = row["dimensions"]
        yield HostRequests(
            hour=parse_utc(by["datetimeHour"]),
            host=host,
            path=text_or_empty(by["clientRequestPath"]),
            address=text_or_empty(by["clientIP"]),
            country=text_or_empty(by["clientCountryName"]),
            status=str(by["edgeResponseStatus"]),
            count=int(row["count"]),
        )


@reads("POST /graphql")
def count_host_failures(client: CloudflareClient, zone: str, host: str, period: Period) -> HostFailures:
    """Count responses to clients with 429 or a server error, and the clients that got one."""
    variables = {"z": zone, "h": host, **_between(period)}
    answer = client.query_graphql(_FAILURES, permission=ANALYTICS_READ, variables=variables)

    def build() -> HostFailures:
        found = answer.result["viewer"]["scope"][0]
        failed, limited = (sum(int(row["count"]) for row in found[name]) for name in ("failed", "limited"))
        clients = {row["dimensions"]["clientIP"] for row in found["clients"]}
        return HostFailures(failed, limited, len(clients), len(found["clients"]) >= MAX_ROWS)

    return parse_result(answer, "the failed requests to a host", build)


@reads("POST /graphql")
def read_worker_traffic(
    client: CloudflareClient,
    account_id: str,
    worker: str,
    recent: Period,
    *,
    now: datetime,
    history: timedelta = LONGEST_HISTORY,
    timeout: float | None = None,
) -> WorkerTraffic:
    """Read the requests and errors of a Worker by version: by minute in `recent`, by day in `history` before its end.

    Numbers are estimates if `sample_interval` is above 1. With a timeout in seconds the query is sent once.
    """
    old = min(recent.since, recent.until - history)
    variables = {"a": account_id, "w": worker, "old": format_rfc3339(old), **_between(recent)}
    answer = client.query_graphql(_BY_VERSION, permission=ACCOUNT_ANALYTICS_READ, variables=variables, timeout=timeout)

    def build() -> WorkerTraffic:
        found = answer.result["viewer"]["scope"][0]
        minutes = tuple(_version_requests(row, "datetimeMinute") for row in found["minutes"])
        days = tuple(_version_requests(row, "date") for row in found["days"])
        samples = sum(int(row["sum"]["requests"]) / max(1.0, row["avg"]["sampleInterval"]) for row in found["minutes"])
        total = sum(row.requests for row in minutes)
        complete_until = min(recent.until, now - COMPLETE_AFTER).replace(second=0, microsecond=0)
        may_be_cut = max(len(minutes), len(days)) >= MAX_ROWS
        return WorkerTraffic(recent, minutes, days, total / samples if samples else 1.0, complete_until, may_be_cut)

    return parse_result(answer, "the requests of a Worker", build)


def _version_requests(row: Mapping[str, Any], start: str) -> VersionRequests:
    """Return the row; `start` is the dimension of its time."""
    by, total = row["dimensions"], row["sum"]
    return VersionRequests(
        parse_utc(by[start]), text_or_empty(by["scriptVersion"]), int(total["requests"]), int(total["errors"])
    )


@reads("POST /graphql")
def read_database_usage(
    client: CloudflareClient, account_id: str, period: Period, *, max_rows: int
) -> tuple[DatabaseUsage, ...]:
    """Read usage by database and hour, newest first. The period starts at a full hour."""
    variables = {"a": account_id, **_between(period)}
    answer = client.query_graphql(_BY_DATABASE % max_rows, permission=ACCOUNT_ANALYTICS_READ, variables=variables)
    return parse_result(answer, "the use of D1", lambda: tuple(_database_use(answer.result)))


def _database_use(data: Mapping[str, Any]) -> Iterator[DatabaseUsage]:
    for row in data["viewer"]["scope"][0]["rows"]:
        total = (int(row["sum"][name]) for name in ("readQueries", "writeQueries", "rowsRead", "rowsWritten"))
        yield DatabaseUsage(parse_utc(row["dimensions"]["datetimeHour"]), str(row["dimensions"]["databaseId"]), *total)


def _between(period: Period) -> dict[str, str]:
    return {"from": format_rfc3339(period.since), "to": format_rfc3339(period.until)}
