"""Workers Observability queries that count distinct values in groups.

developers.cloudflare.com/api/resources/workers/subresources/observability/subresources/telemetry/methods/query
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sandbox.clock import timestamp
from sandbox.cloudflare.analytics.state import TelemetryEvent
from sandbox.cloudflare.call import NUMBER, CloudflareAnswer, CloudflareCall, Routes, fields, invalid, json_body

ROUTES = Routes()
PATH = "/accounts/{account}/workers/observability/telemetry/query"


@ROUTES.add("POST", PATH)
def query(call: CloudflareCall) -> CloudflareAnswer:
    body = fields(
        json_body(call.request),
        required={"queryId": str, "timeframe": dict, "parameters": dict, "view": str},
        optional={"dry": bool, "limit": NUMBER, "ignoreSeries": bool},
    )
    parameters, between = body["parameters"], fields(body["timeframe"], required={"from": int, "to": int}, optional={})
    if body["view"] != "calculations" or between["from"] >= between["to"]:
        raise invalid("body.view", "is not supported by the sandbox, or the timeframe is empty")
    since, until = (datetime.fromtimestamp(between[end] / 1000, UTC) for end in ("from", "to"))
    passing = [
        event
        for event in call.account.analytics.telemetry
        if since <= event.at < until and all(_matches(event, each) for each in parameters["filters"])
    ]
    (counted,) = parameters["calculations"]
    if counted["operator"] != "uniq":
        raise invalid("body.parameters.calculations", "is not supported by the sandbox")
    names = [each["value"] for each in parameters["groupBys"]]
    groups: dict[tuple[Any, ...], list[TelemetryEvent]] = {}
    for event in passing:
        groups.setdefault(tuple(event.keys.get(name) for name in names), []).append(event)
    rows = [_row(call, names, key, len({e.keys[counted["key"]] for e in found})) for key, found in groups.items()]
    rows.sort(key=lambda row: -row["value"])
    shown = [{"calculation": "uniq", "aggregates": rows[: int(body.get("limit", 10))], "series": []}]
    statistics = {"bytes_read": 0, "elapsed": 0.01, "rows_read": len(passing)}
    return CloudflareAnswer({"run": _run(call, body), "calculations": shown, "statistics": statistics})


def _run(call: CloudflareCall, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of the run, with every field that Cloudflare's SDKs require."""
    now = timestamp(call.account.clock.now())
    query = {
        "id": body["queryId"],
        "adhoc": True,
        "created": now,
        "updated": now,
        "createdBy": call.token.email,
        "updatedBy": call.token.email,
        "description": None,
        "name": body["queryId"],
        "parameters": body["parameters"],
    }
    return {
        "id": body["queryId"],
        "accountId": call.account.id,
        "dry": body.get("dry", False),
        "granularity": 0,
        "query": query,
        "status": "COMPLETED",
        "timeframe": body["timeframe"],
        "userId": call.token.id,
    }


def _matches(event: TelemetryEvent, rule: Mapping[str, Any]) -> bool:
    if rule["operation"] != "eq":
        raise invalid("body.parameters.filters", "has an operation that the sandbox does not support")
    return bool(event.keys.get(rule["key"]) == rule["value"])


def _row(call: CloudflareCall, names: list[str], key: tuple[Any, ...], count: int) -> dict[str, Any]:
    names_all = call.account.switches.telemetry_names_what_is_missing
    pairs = [(name, value) for name, value in zip(names, key, strict=True) if names_all or value is not None]
    groups = [{"key": name, "value": "" if value is None else value} for name, value in pairs]
    return {"groups": groups, "value": count, "count": count, "interval": 1, "sampleInterval": 1}
