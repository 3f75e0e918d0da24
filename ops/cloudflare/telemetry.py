"""What Workers Observability recorded of the requests to a Worker.

developers.cloudflare.com/api/resources/workers/subresources/observability/subresources/telemetry/methods/query
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ops.cloudflare.client import Client
from ops.cloudflare.reads import reads
from ops.cloudflare.response import Answer, shaped, text
from ops.cloudflare.types.records import Handled, Logged, Period

READ = "Workers Observability Read"
MOST = 1000
"""Rows that are asked for."""
TRIGGER, STATUS, SERVICE, REQUEST, ERROR = (
    f"$metadata.{name}" for name in ("trigger", "statusCode", "service", "requestId", "error")
)


def handled(client: Client, account_id: str, worker: str, period: Period) -> tuple[Handled, ...]:
    """By method, path and status, the most frequent first; MOST rows: there may be more.

    It has nothing of a Worker whose observability is off, and a part of the requests where they are sampled.
    """
    answer = _counted(client, account_id, worker, period, {TRIGGER: "string", STATUS: "number"})
    found = shaped(answer, "the requests to a Worker", lambda: list(_handled(answer)))
    return tuple(sorted(found, key=lambda each: -each.count))


def errors(client: Client, account_id: str, worker: str, period: Period) -> tuple[Logged, ...]:
    """What it and its Durable Objects logged as errors, the most frequent first.

    Asked for as a count, and never by a tail, which may restart the objects that one wants to look at
    (developers.cloudflare.com/durable-objects/platform/known-issues).
    """
    answer = _counted(client, account_id, worker, period, {ERROR: "string"})
    found = shaped(answer, "the errors of a Worker", lambda: list(_errors(answer)))
    return tuple(sorted(found, key=lambda each: -each.count))


@reads("POST /accounts/{account}/workers/observability/telemetry/query")
def _counted(client: Client, account_id: str, worker: str, period: Period, groups: Mapping[str, str]) -> Answer:
    """How many requests there are of each group; a request leaves several events: what is logged, and itself."""
    question = {
        "queryId": "ops-evidence",
        "dry": True,
        "view": "calculations",
        "ignoreSeries": True,
        "limit": MOST,
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
    return client.ask(path, question, permission=READ)


def _errors(answer: Answer) -> Iterator[Logged]:
    for groups, count in _rows(answer):
        if message := text(groups.get(ERROR)):
            yield Logged(message, count)


def _handled(answer: Answer) -> Iterator[Handled]:
    """A group leaves out what an event has not: a log line has no status."""
    for groups, count in _rows(answer):
        status = groups.get(STATUS)
        yield Handled(text(groups.get(TRIGGER)), "" if status in {None, ""} else str(int(status)), count)


def _rows(answer: Answer) -> Iterator[tuple[Mapping[str, Any], int]]:
    (calculation,) = answer.result["calculations"]
    for row in calculation["aggregates"]:
        yield {each["key"]: each["value"] for each in row.get("groups") or []}, int(row["value"])


def _milliseconds(period: Period, end: str) -> int:
    return int(getattr(period, end).timestamp() * 1000)
