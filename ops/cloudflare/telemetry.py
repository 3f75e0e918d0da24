"""What Workers Observability recorded of the requests to a Worker.

developers.cloudflare.com/api/resources/workers/subresources/observability/subresources/telemetry/methods/query
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ops.cloudflare.client import Client
from ops.cloudflare.wire import Answer, shaped, text
from ops.model.exhibit import Period
from ops.model.recorded import Handled

READ = "Workers Observability Read"
MOST = 1000
"""Rows that are asked for."""
TRIGGER, STATUS, SERVICE, REQUEST = (f"$metadata.{name}" for name in ("trigger", "statusCode", "service", "requestId"))


def handled(client: Client, account_id: str, worker: str, period: Period) -> tuple[Handled, ...]:
    """By method, path and status, the most frequent first; MOST rows: there may be more.

    It has nothing of a Worker whose observability is off, and a part of the requests where they are sampled.
    """
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
            # A request leaves several events: what the Worker logs, and itself.
            "calculations": [{"operator": "uniq", "key": REQUEST, "keyType": "string"}],
            "groupBys": [{"type": "string", "value": TRIGGER}, {"type": "number", "value": STATUS}],
        },
    }
    path = f"/accounts/{account_id}/workers/observability/telemetry/query"
    answer = client.ask(path, question, permission=READ)
    found = shaped(answer, "the requests to a Worker", lambda: list(_handled(answer)))
    return tuple(sorted(found, key=lambda each: -each.count))


def _handled(answer: Answer) -> Iterator[Handled]:
    """A group leaves out what an event has not: a log line has no status."""
    (calculation,) = answer.result["calculations"]
    for row in calculation["aggregates"]:
        groups: Mapping[str, Any] = {each["key"]: each["value"] for each in row.get("groups") or []}
        status = groups.get(STATUS)
        yield Handled(text(groups.get(TRIGGER)), "" if status in {None, ""} else str(int(status)), int(row["value"]))


def _milliseconds(period: Period, end: str) -> int:
    return int(getattr(period, end).timestamp() * 1000)
