"""Requests and errors of a Worker, from Workers Observability.

developers.cloudflare.com/api/resources/workers/subresources/observability/subresources/telemetry/methods/query
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ops.cloudflare.client import CloudflareClient, reads
from ops.cloudflare.response import CloudflareResponse, parse_result, text_or_empty
from ops.cloudflare.types.records import LoggedError, WorkerRequests
from ops.core.clock import Period

READ_PERMISSION = "Workers Observability Read"
MAX_ROWS = 1000
"""Most rows of one query."""
TRIGGER, STATUS, SERVICE, REQUEST, ERROR = (
    f"$metadata.{name}" for name in ("trigger", "statusCode", "service", "requestId", "error")
)


def count_requests(
    client: CloudflareClient, account_id: str, worker: str, period: Period
) -> tuple[WorkerRequests, ...]:
    """Count requests by method, path and status, most frequent first, at most MAX_ROWS rows.

    The result is empty if observability is off, and partial if requests are sampled.
    """
    answer = _counted(client, account_id, worker, period, {TRIGGER: "string", STATUS: "number"})
    found = parse_result(answer, "the requests to a Worker", lambda: list(_handled(answer)))
    return tuple(sorted(found, key=lambda each: -each.count))


def count_errors(client: CloudflareClient, account_id: str, worker: str, period: Period) -> tuple[LoggedError, ...]:
    """Count the errors that a Worker and its Durable Objects logged, most frequent first.

    A tail is not used, since it may restart the objects
    (developers.cloudflare.com/durable-objects/platform/known-issues).
    """
    answer = _counted(client, account_id, worker, period, {ERROR: "string"})
    found = parse_result(answer, "the errors of a Worker", lambda: list(_errors(answer)))
    return tuple(sorted(found, key=lambda each: -each.count))


@reads("POST /accounts/{account}/workers/observability/telemetry/query")
def _counted(
    client: CloudflareClient, account_id: str, worker: str, period: Period, groups: Mapping[str, str]
) -> CloudflareResponse:
    """Query the number of distinct requests per group, since a request leaves several events."""
    question = {
        "queryId": "ops-evidence",
        "dry": True,
        "view": "calculations",
        "ignoreSeries": True,
        "limit": MAX_ROWS,
        "timeframe": {"from": _milliseconds(period, "since"), "to": _milliseconds(period, "until")},
        "parameters": {
            "datasets": ["cloudflare-workers"],
            "filterCombination": "and",
            "filters": [{"key": SERVICE, "operation": "eq", "type": "string", "value": worker}],
            "calculations": [{"operator": "uniq", "key": REQUEST, "keyType": "string"}],
            "groupBys": [{"type": kind, "value": key} for key, kind in groups.items()],
        },
    }
    path = f"/accounts/{account_id}/workers/observability/telemetry/query"
    return client.read_by_post(path, question, permission=READ_PERMISSION)


def _errors(answer: CloudflareResponse) -> Iterator[LoggedError]:
    for groups, count in _rows(answer):
        if message := text_or_empty(groups.get(ERROR)):
            yield LoggedError(message, count)


def _handled(answer: CloudflareResponse) -> Iterator[WorkerRequests]:
    """Yield the requests. A group omits missing fields: a log line has no status."""
    for groups, count in _rows(answer):
        status = groups.get(STATUS)
        yield WorkerRequests(
            text_or_empty(groups.get(TRIGGER)), "" if status in {None, ""} else str(int(status)), count
        )


def _rows(answer: CloudflareResponse) -> Iterator[tuple[Mapping[str, Any], int]]:
    (calculation,) = answer.result["calculations"]
    for row in calculation["aggregates"]:
        yield {each["key"]: each["value"] for each in row.get("groups") or []}, int(row["value"])


def _milliseconds(period: Period, end: str) -> int:
    return int(getattr(period, end).timestamp() * 1000)
