"""Read Cloudflare's records of a period: audit log, analytics, Workers Observability.

developers.cloudflare.com/fundamentals/account/account-security/audit-logs (version 2)
developers.cloudflare.com/analytics/graphql-api
developers.cloudflare.com/api/resources/workers/subresources/observability/subresources/telemetry/methods/query

Counts may be estimates from samples. The retention of a data set depends on the plan and is read from Cloudflare.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple

from ops.cloudflare.client import CloudflareClient, next_cursor, paginate_by_cursor, paginate_by_total, reads
from ops.cloudflare.response import (
    CloudflareResponse,
    answer_text_or_empty,
    parse_result,
    unexpected_shape,
)
from ops.cloudflare.types.records import (
    AuditLogEntry,
    DatabaseUsage,
    DatasetLimits,
    HostMinute,
    HostRequests,
    HostTraffic,
    LoggedError,
    VersionRequests,
    WorkerRequests,
    WorkerTraffic,
)
from ops.core.clock import Period, format_rfc3339, parse_utc
from ops.core.errors import ProviderError, Reason

MAX_AUDIT_ENTRIES = 5000
"""Most entries to read for one period."""
AUDIT_PAGE_SIZE = 100
"""Entries of one page."""
ACCOUNT_ANALYTICS_READ = "Account Analytics Read"
MAX_ROWS = 1000
"""Rows of one query; a data set may allow fewer."""
MAX_MINUTE_ROWS = 10_000
"""Rows of one query of minutes, for a day: Cloudflare's most
(developers.cloudflare.com/analytics/graphql-api/limits)."""
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
_OTHERS = 'clientRequestHTTPHost: $h, requestSource: "eyeball", userAgent_neq: $u'
"""Requests of clients to a host, without those that have our user agent."""
_MINUTES = f"""{_REQUESTS}(limit: %d, orderBy: [datetimeMinute_ASC], filter: {{datetime_geq: $from,
          datetime_lt: $to, {_OTHERS}}}) {{
      count avg {{ sampleInterval }} dimensions {{ datetimeMinute edgeResponseStatus }} }}"""
_HOST_MINUTES = f"""query ($z: string!, $h: string!, $u: string!, $from: Time!, $to: Time!) {{
  viewer {{ scope: zones(filter: {{zoneTag: $z}}) {{
    rows: {_MINUTES % MAX_ROWS} }} }} }}"""
_HOST_TRAFFIC = f"""query ($z: string!, $h: string!, $u: string!, $since: Time!, $until: Time!, $from: Time!,
    $to: Time!) {{
  viewer {{ scope: zones(filter: {{zoneTag: $z}}) {{
    minutes: {_MINUTES % MAX_MINUTE_ROWS}
    statuses: {_REQUESTS}(limit: {MAX_ROWS}, orderBy: [count_DESC], filter: {{datetime_geq: $since,
          datetime_lt: $until, {_OTHERS}}}) {{
      count avg {{ sampleInterval }} dimensions {{ edgeResponseStatus }} }}
    clients: {_REQUESTS}(limit: {MAX_ROWS}, orderBy: [count_DESC], filter: {{datetime_geq: $since,
          datetime_lt: $until, {_OTHERS}, edgeResponseStatus_geq: 500}}) {{ count dimensions {{ clientIP }} }}
    own: {_REQUESTS}(limit: 1, filter: {{datetime_geq: $since, datetime_lt: $until, clientRequestHTTPHost: $h,
          requestSource: "eyeball", userAgent: $u}}) {{ count }} }} }} }}"""
_BY_VERSION = f"""query ($a: string!, $w: string!, $old: Time!, $from: Time!, $to: Time!) {{
  viewer {{ scope: accounts(filter: {{accountTag: $a}}) {{
    minutes: workersInvocationsAdaptive(limit: {MAX_ROWS}, orderBy: [datetimeMinute_ASC],
          filter: {{scriptName: $w, datetime_geq: $from, datetime_lt: $to}}) {{
      sum {{ requests errors }} avg {{ sampleInterval }} dimensions {{ datetimeMinute scriptVersion }} }}
    days: workersInvocationsAdaptive(limit: {MAX_ROWS}, orderBy: [date_ASC],
          filter: {{scriptName: $w, datetime_geq: $old, datetime_lt: $to}}) {{
      sum {{ requests errors }} avg {{ sampleInterval }} dimensions {{ date scriptVersion }} }} }} }} }}"""
_BY_DATABASE = f"""query ($a: string!, $from: Time!, $to: Time!) {{
  viewer {{ scope: accounts(filter: {{accountTag: $a}}) {{
    rows: {_D1}(limit: %d, orderBy: [datetimeHour_DESC],
          filter: {{datetimeHour_geq: $from, datetimeHour_lt: $to}}) {{
      sum {{ readQueries writeQueries rowsRead rowsWritten }} dimensions {{ datetimeHour databaseId }} }} }} }} }}"""
MAX_OBSERVABILITY_ROWS = 1000
"""Most rows of one query."""
TRIGGER, STATUS, SERVICE, REQUEST, ERROR = (
    f"$metadata.{name}" for name in ("trigger", "statusCode", "service", "requestId", "error")
)


class AuditLog(NamedTuple):
    """Entries of the audit log, newest first."""

    entries: tuple[AuditLogEntry, ...]
    may_be_incomplete: bool
    """Whether older entries may be missing: the last page was full and named no next page."""


@reads("GET /accounts/{account}/logs/audit")
def read_audit_log(
    client: CloudflareClient, account_id: str, period: Period, *, most: int = MAX_AUDIT_ENTRIES
) -> AuditLog:
    """Read the newest `most` entries of a period. Cloudflare lists an entry a minute or more after its event."""
    cut = False
    between = {"since": format_rfc3339(period.since), "before": format_rfc3339(period.until)}

    def read_audit_page(page: Mapping[str, str]) -> CloudflareResponse:
        answer = client.read(f"/accounts/{account_id}/logs/audit", params={**between, **page})
        if not isinstance(answer.result, list):
            raise unexpected_shape(answer, "the audit log")
        nonlocal cut
        cut = len(answer.result) >= AUDIT_PAGE_SIZE and not next_cursor(answer)
        return CloudflareResponse(
            parse_result(answer, "the audit log", lambda: list(_parse_audit_entries(answer.result))), answer.result_info
        )

    entries = tuple(islice(paginate_by_cursor(read_audit_page, per_page=AUDIT_PAGE_SIZE, size_parameter="limit"), most))
    return AuditLog(entries, may_be_incomplete=cut)


def _parse_audit_entries(rows: list[Any]) -> Iterator[AuditLogEntry]:
    for row in rows:
        action, actor, raw = row["action"], row.get("actor") or {}, row.get("raw") or {}
        yield AuditLogEntry(
            at=parse_utc(action["time"]),
            action=answer_text_or_empty(action.get("type")),
            result=answer_text_or_empty(action.get("result")),
            actor=answer_text_or_empty(actor.get("email")) or answer_text_or_empty(actor.get("type")),
            context=answer_text_or_empty(actor.get("context")),
            token_id=answer_text_or_empty(actor.get("token_id")),
            token_name=answer_text_or_empty(actor.get("token_name")),
            address=answer_text_or_empty(actor.get("ip_address")),
            method=answer_text_or_empty(raw.get("method")),
            uri=answer_text_or_empty(raw.get("uri")).partition("?")[0],
            status=str(raw.get("status_code") or ""),
            user_agent=answer_text_or_empty(raw.get("user_agent")),
            ray_id=answer_text_or_empty(raw.get("cf_ray_id")),
        )


@reads("GET /zones")
def find_zone(client: CloudflareClient, account_id: str, host: str) -> str:
    """Return the ID of the host's zone. Raises ProviderError, also if the token sees none, as for workers.dev."""
    read = client.list_reader("/zones", "the zones", _parse_zone_name, params={"account.id": account_id})
    holding = [(name, zone) for name, zone in paginate_by_total(read) if host == name or host.endswith(f".{name}")]
    if not holding:
        raise ProviderError(f"the token can read no zone of {host}", reason=Reason.PROVIDER_REFUSED)
    zone: str = max(holding, key=lambda found: len(found[0]))[1]
    return zone


def _parse_zone_name(row: Mapping[str, Any]) -> tuple[str, str]:
    return str(row["name"]), str(row["id"])


@reads("POST /graphql")
def read_zone_limits(client: CloudflareClient, zone: str) -> DatasetLimits:
    return _parse_dataset_limits(client.query_graphql(_ZONE_LIMITS, variables={"z": zone}))


@reads("POST /graphql")
def read_account_limits(client: CloudflareClient, account_id: str) -> DatasetLimits:
    return _parse_dataset_limits(client.query_graphql(_ACCOUNT_LIMITS, variables={"a": account_id}))


def _parse_dataset_limits(answer: CloudflareResponse) -> DatasetLimits:
    def build() -> DatasetLimits:
        settings = answer.result["viewer"]["scope"][0]["settings"]["set"]
        old, wide, rows = (int(settings[name]) for name in ("notOlderThan", "maxDuration", "maxPageSize"))
        if min(old, wide, rows) < 1:
            raise ValueError(settings)
        return DatasetLimits(settings.get("enabled") is True, old, wide, min(rows, MAX_ROWS))

    return parse_result(answer, "the limits of a data set", build)


@reads("POST /graphql")
def count_host_requests(
    client: CloudflareClient, zone: str, host: str, period: Period, *, max_rows: int
) -> tuple[HostRequests, ...]:
    """Count requests from clients, not from Workers, most frequent first. With `max_rows` rows there may be more."""
    variables = {"z": zone, "h": host, **_analytics_period_filter(period)}
    answer = client.query_graphql(_BY_PATH % max_rows, variables=variables)
    return parse_result(answer, "the requests by path", lambda: tuple(_parse_host_requests(host, answer.result)))


def _parse_host_requests(host: str, data: Mapping[str, Any]) -> Iterator[HostRequests]:
    for row in data["viewer"]["scope"][0]["rows"]:
        by = row["dimensions"]
        yield HostRequests(
            hour=parse_utc(by["datetimeHour"]),
            host=host,
            path=answer_text_or_empty(by["clientRequestPath"]),
            address=answer_text_or_empty(by["clientIP"]),
            country=answer_text_or_empty(by["clientCountryName"]),
            status=str(by["edgeResponseStatus"]),
            count=int(row["count"]),
        )


@reads("POST /graphql")
def read_host_traffic(
    client: CloudflareClient,
    zone: str,
    host: str,
    period: Period,
    *,
    recent: Period,
    without_agent: str,
    now: datetime,
    timeout: float | None = None,
) -> HostTraffic:
    """Read the responses to clients: in `period` by status, from 500 on by client; in `recent` by minute.

    Requests with the user agent `without_agent` are left out, and counted apart.
    With a timeout in seconds the query is sent once.
    """
    variables = {"z": zone, "h": host, "u": without_agent, **_analytics_period_filter(recent)}
    variables |= {"since": format_rfc3339(period.since), "until": format_rfc3339(period.until)}
    answer = client.query_graphql(_HOST_TRAFFIC, variables=variables, timeout=timeout)

    def build() -> HostTraffic:
        zone = answer.result["viewer"]["scope"][0]
        minutes, clients = tuple(map(_parse_host_minute, zone["minutes"])), zone["clients"]
        counted = [(int(row["count"]), max(1.0, float(row["avg"]["sampleInterval"]))) for row in zone["statuses"]]
        samples = sum(count / interval for count, interval in counted)
        return HostTraffic(
            by_status={int(row["dimensions"]["edgeResponseStatus"]): int(row["count"]) for row in zone["statuses"]},
            minutes=minutes,
            clients=len({row["dimensions"]["clientIP"] for row in clients}),
            has_more_clients=len(clients) >= MAX_ROWS,
            own_requests=sum(int(row["count"]) for row in zone["own"]),
            sample_interval=sum(count for count, _ in counted) / samples if samples else 1.0,
            complete_until=_analytics_complete_until(recent, now),
            may_be_cut=len(minutes) >= MAX_MINUTE_ROWS,
        )

    return parse_result(answer, "the requests to a host", build)


@reads("POST /graphql")
def read_host_minutes(
    client: CloudflareClient,
    zone: str,
    host: str,
    period: Period,
    *,
    without_agent: str,
    timeout: float | None = None,
) -> tuple[HostMinute, ...]:
    """Return the responses to clients by minute and status, oldest first; without a minute that may lack rows.

    Requests with the user agent `without_agent` are left out. With a timeout in seconds the query is sent once.
    """
    variables = {"z": zone, "h": host, "u": without_agent, **_analytics_period_filter(period)}
    answer = client.query_graphql(_HOST_MINUTES, variables=variables, timeout=timeout)

    def build() -> tuple[HostMinute, ...]:
        rows = tuple(map(_parse_host_minute, answer.result["viewer"]["scope"][0]["rows"]))
        if len(rows) < MAX_ROWS:
            return rows
        return tuple(row for row in rows if row.start < max(each.start for each in rows))

    return parse_result(answer, "the requests to a host by minute", build)


def _parse_host_minute(row: Mapping[str, Any]) -> HostMinute:
    by, interval = row["dimensions"], max(1.0, float(row["avg"]["sampleInterval"]))
    return HostMinute(parse_utc(by["datetimeMinute"]), int(by["edgeResponseStatus"]), int(row["count"]), interval)


def _analytics_complete_until(period: Period, now: datetime) -> datetime:
    return min(period.until, now - COMPLETE_AFTER).replace(second=0, microsecond=0)


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
    variables = {"a": account_id, "w": worker, "old": format_rfc3339(old), **_analytics_period_filter(recent)}
    answer = client.query_graphql(_BY_VERSION, variables=variables, timeout=timeout)

    def build() -> WorkerTraffic:
        account = answer.result["viewer"]["scope"][0]
        minutes = tuple(_parse_version_requests(row, "datetimeMinute") for row in account["minutes"])
        days = tuple(_parse_version_requests(row, "date") for row in account["days"])
        samples = sum(row.samples for row in minutes)
        total = sum(row.requests for row in minutes)
        complete_until = _analytics_complete_until(recent, now)
        may_be_cut = max(len(minutes), len(days)) >= MAX_ROWS
        return WorkerTraffic(recent, minutes, days, total / samples if samples else 1.0, complete_until, may_be_cut)

    return parse_result(answer, "the requests of a Worker", build)


def _parse_version_requests(row: Mapping[str, Any], start: str) -> VersionRequests:
    """Return the row; `start` is the dimension of its time."""
    by, total = row["dimensions"], row["sum"]
    return VersionRequests(
        parse_utc(by[start]),
        answer_text_or_empty(by["scriptVersion"]),
        int(total["requests"]),
        int(total["errors"]),
        max(1.0, float(row["avg"]["sampleInterval"])),
    )


@reads("POST /graphql")
def read_database_usage(
    client: CloudflareClient, account_id: str, period: Period, *, max_rows: int
) -> tuple[DatabaseUsage, ...]:
    """Read usage by database and hour, newest first. The period starts at a full hour."""
    variables = {"a": account_id, **_analytics_period_filter(period)}
    answer = client.query_graphql(_BY_DATABASE % max_rows, variables=variables)
    return parse_result(answer, "the use of D1", lambda: tuple(_parse_database_use(answer.result)))


def _parse_database_use(data: Mapping[str, Any]) -> Iterator[DatabaseUsage]:
    for row in data["viewer"]["scope"][0]["rows"]:
        total = (int(row["sum"][name]) for name in ("readQueries", "writeQueries", "rowsRead", "rowsWritten"))
        yield DatabaseUsage(parse_utc(row["dimensions"]["datetimeHour"]), str(row["dimensions"]["databaseId"]), *total)


def _analytics_period_filter(period: Period) -> dict[str, str]:
    return {"from": format_rfc3339(period.since), "to": format_rfc3339(period.until)}


def count_requests(
    client: CloudflareClient, account_id: str, worker: str, period: Period
) -> tuple[WorkerRequests, ...]:
    """Count requests by method, path and status, most frequent first, at most MAX_ROWS rows.

    The result is empty if observability is off, and partial if requests are sampled.
    """
    answer = count_groups(client, account_id, worker, period, {TRIGGER: "string", STATUS: "number"})
    rows = parse_result(answer, "the requests to a Worker", lambda: list(_worker_requests(answer)))
    return tuple(sorted(rows, key=lambda each: -each.count))


def count_errors(client: CloudflareClient, account_id: str, worker: str, period: Period) -> tuple[LoggedError, ...]:
    """Count the errors that a Worker and its Durable Objects logged, most frequent first.

    A tail is not used, since it may restart the objects
    (developers.cloudflare.com/durable-objects/platform/known-issues).
    """
    answer = count_groups(client, account_id, worker, period, {ERROR: "string"})
    errors = parse_result(answer, "the errors of a Worker", lambda: list(_logged_errors(answer)))
    return tuple(sorted(errors, key=lambda each: -each.count))


@reads("POST /accounts/{account}/workers/observability/telemetry/query")
def count_groups(
    client: CloudflareClient, account_id: str, worker: str, period: Period, groups: Mapping[str, str]
) -> CloudflareResponse:
    """Query the number of distinct requests per group, since a request leaves several events."""
    question = {
        "queryId": "ops-evidence",
        "dry": True,
        "view": "calculations",
        "ignoreSeries": True,
        "limit": MAX_OBSERVABILITY_ROWS,
        "timeframe": {"from": _telemetry_period(period, "since"), "to": _telemetry_period(period, "until")},
        "parameters": {
            "datasets": ["cloudflare-workers"],
            "filterCombination": "and",
            "filters": [{"key": SERVICE, "operation": "eq", "type": "string", "value": worker}],
            "calculations": [{"operator": "uniq", "key": REQUEST, "keyType": "string"}],
            "groupBys": [{"type": kind, "value": key} for key, kind in groups.items()],
        },
    }
    path = f"/accounts/{account_id}/workers/observability/telemetry/query"
    return client.read_by_post(path, question)


def _logged_errors(answer: CloudflareResponse) -> Iterator[LoggedError]:
    for groups, count in _group_rows(answer):
        if message := answer_text_or_empty(groups.get(ERROR)):
            yield LoggedError(message, count)


def _worker_requests(answer: CloudflareResponse) -> Iterator[WorkerRequests]:
    """Yield the requests. A group omits missing fields: a log line has no status."""
    for groups, count in _group_rows(answer):
        status = groups.get(STATUS)
        yield WorkerRequests(
            answer_text_or_empty(groups.get(TRIGGER)), "" if status in {None, ""} else str(int(status)), count
        )


def _group_rows(answer: CloudflareResponse) -> Iterator[tuple[Mapping[str, Any], int]]:
    (calculation,) = answer.result["calculations"]
    for row in calculation["aggregates"]:
        yield {each["key"]: each["value"] for each in row.get("groups") or []}, int(row["value"])


def _telemetry_period(period: Period, end: str) -> int:
    return int(getattr(period, end).timestamp() * 1000)
