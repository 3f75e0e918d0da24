"""GraphQL analytics: limits of a data set, and its rows grouped by dimensions.

Errors also have HTTP status 200. developers.cloudflare.com/analytics/graphql-api
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sandbox.cloudflare.analytics.graphql import Field, SyntaxProblem, parse
from sandbox.cloudflare.analytics.state import ACCOUNT_SETS, DIMENSIONS, SUMS, ZONE_SETS, AnalyticsRow
from sandbox.cloudflare.call import CloudflareCall, Routes, fields, json_body
from sandbox.cloudflare.tokens.state import ACCOUNT_ANALYTICS_READ, ANALYTICS_READ
from sandbox.server import HttpResponse

ROUTES = Routes()
PATH = "/graphql"
_OPTIONAL = {"variables": dict, "operationName": str}
_MAX_ROWS = 10_000
_LIMITS = {"enabled", "maxDuration", "maxPageSize", "notOlderThan"}
_TIMES = {"datetime", "datetimeMinute", "datetimeHour", "date"}


class QueryRefusal(Exception):
    """A refused query: an entry of `errors`."""

    def __init__(self, message: str, code: str = "error") -> None:
        super().__init__(message)
        self.code = code


@ROUTES.add("POST", PATH, None)
def query(call: CloudflareCall) -> HttpResponse:
    body = fields(json_body(call.request), required={"query": str}, optional=_OPTIONAL)
    try:
        data = {each.alias: _viewer(call, each) for each in parse(body["query"], body.get("variables", {}))}
        answer: dict[str, Any] = {"data": data, "errors": None}
    except (SyntaxProblem, QueryRefusal) as error:
        code = error.code if isinstance(error, QueryRefusal) else "parser"
        stamp = {"code": code, "timestamp": call.account.clock.now().isoformat()}
        answer = {"data": None, "errors": [{"message": str(error), "path": None, "extensions": stamp}]}
    return HttpResponse(headers=[("content-type", "application/json")], body=json.dumps(answer).encode())


def _viewer(call: CloudflareCall, viewer: Field) -> dict[str, Any]:
    """Return one account or zone per field. A scope that the token may not read is an error, not an empty list."""
    _check_known(viewer.name, {"viewer"})
    shown = {}
    for field in viewer.fields:
        tag = {"zones": "zoneTag", "accounts": "accountTag"}.get(field.name)
        scope = (field.arguments.get("filter") or {}).get(tag)
        if tag is None or not isinstance(scope, str):
            raise QueryRefusal(f'unknown field "{field.name}", or it lacks its filter')
        is_zone = field.name == "zones"
        needed = ANALYTICS_READ if is_zone else ACCOUNT_ANALYTICS_READ
        known = scope in call.account.zones.all if is_zone else scope == call.account.id
        if not known or not call.token.may(needed):
            raise QueryRefusal(f"{field.name} {scope} is not authorized", "authz")
        sets = ZONE_SETS if is_zone else ACCOUNT_SETS
        shown[field.alias] = [{each.alias: _read_part(call, each, scope, sets) for each in field.fields}]
    return shown


def _read_part(call: CloudflareCall, field: Field, scope: str, sets: Iterable[str]) -> Any:
    if field.name == "settings":
        return {each.alias: _limits(call, each, sets) for each in field.fields}
    _check_known(field.name, sets)
    return _rows(call, field, scope)


def _limits(call: CloudflareCall, field: Field, sets: Iterable[str]) -> dict[str, Any]:
    _check_known(field.name, sets)
    longest, oldest = _time_limits(call, field.name)
    values = {"enabled": True, "maxDuration": longest, "maxPageSize": _MAX_ROWS, "notOlderThan": oldest}
    return {each.alias: values[_check_known(each.name, _LIMITS)] for each in field.fields}


def _time_limits(call: CloudflareCall, dataset: str) -> tuple[int, int]:
    """Return the maximum time range and the maximum age of a query, both in seconds."""
    switches = call.account.switches
    if dataset in ZONE_SETS:
        return switches.zone_analytics_longest_seconds, switches.zone_analytics_kept_seconds
    return 31 * 86400, 31 * 86400


def _rows(call: CloudflareCall, field: Field, scope: str) -> list[dict[str, Any]]:
    limit = field.arguments.get("limit", 0)
    if not isinstance(limit, int) or not 1 <= limit <= _MAX_ROWS:
        raise QueryRefusal(f"limit must be 1 to {_MAX_ROWS}")
    wanted = list(_conditions(field.arguments.get("filter") or {}))
    _check_times(call, field.name, wanted)
    samples = call.account.analytics.rows(field.name, scope, lambda sample: _matches(sample, wanted))
    names = [each for part in field.fields if part.name == "dimensions" for each in part.fields]
    for each in names:
        _check_known(each.name, _TIMES | DIMENSIONS[field.name].keys())
    groups: dict[tuple[Any, ...], list[AnalyticsRow]] = {}
    for sample in samples:
        key = tuple(sample.dimension(each.name) for each in names)
        groups.setdefault(key, []).append(sample)
    rows = [(key, _row(field, names, key, group)) for key, group in groups.items()]
    return [row for _, row in _ordered(field, names, rows)][:limit]


def _row(field: Field, names: list[Field], key: tuple[Any, ...], group: list[AnalyticsRow]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for part in field.fields:
        if part.name == "count":
            row[part.alias] = sum(sample.count for sample in group)
        elif part.name == "dimensions":
            row[part.alias] = {each.alias: value for each, value in zip(names, key, strict=True)}
        elif part.name in {"sum", "avg"}:
            known = {each.alias: _check_known(each.name, SUMS[field.name]) for each in part.fields}
            sums = {alias: sum(sample.sums.get(name, 0) for sample in group) for alias, name in known.items()}
            count = sum(sample.count for sample in group)
            row[part.alias] = sums if part.name == "sum" else {alias: total / count for alias, total in sums.items()}
        else:
            raise QueryRefusal(f'unknown field "{part.name}"')
    return row


def _conditions(wanted: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """Yield name and value of each condition; `AND` holds a list of filters."""
    for name, value in wanted.items():
        if name != "AND":
            yield name, value
            continue
        for each in value:
            yield from _conditions(each)


def _ordered(field: Field, names: list[Field], rows: list[tuple[tuple[Any, ...], Any]]) -> Iterable[tuple[Any, Any]]:
    for order in reversed(field.arguments.get("orderBy") or []):
        name, _, way = str(order).rpartition("_")
        part, _, value = name.partition("_")
        at = next((number for number, each in enumerate(names) if each.name == name), None)
        if at is not None:
            rows.sort(key=lambda row: row[0][at], reverse=way == "DESC")
        elif name == "count":
            rows.sort(key=lambda row: row[1]["count"], reverse=way == "DESC")
        elif part in {"sum", "avg"} and value in SUMS[field.name]:
            rows.sort(key=lambda row: row[1][part][value], reverse=way == "DESC")
        else:
            raise QueryRefusal(f"cannot order by {order}")
    return rows


def _check_times(call: CloudflareCall, dataset: str, wanted: Iterable[tuple[str, Any]]) -> None:
    """Check that the filter has both ends, in the allowed range and age.

    Raises:
        _Refused: an end is missing, too old, or too far from the other one.
    """
    longest, oldest = _time_limits(call, dataset)
    ends = {name.rpartition("_")[2]: value for name, value in wanted if name.partition("_")[0] in _TIMES}
    try:
        since, until = (datetime.fromisoformat(ends[end]) for end in ("geq", "lt" if "lt" in ends else "leq"))
    except (KeyError, TypeError, ValueError):
        raise QueryRefusal("the filter needs a time with _geq and a time with _lt") from None
    if since < call.account.clock.now() - timedelta(seconds=oldest):
        raise QueryRefusal(f"cannot request data older than {oldest}s")
    if until - since > timedelta(seconds=longest):
        raise QueryRefusal(f"query time range is too large: the maximum is {longest}s")


def _matches(sample: AnalyticsRow, wanted: Iterable[tuple[str, Any]]) -> bool:
    for name, value in wanted:
        field, _, operator = name.partition("_")
        _check_known(field, _TIMES | DIMENSIONS[sample.dataset].keys())
        found = sample.dimension(field)
        holds = {"": found == value, "geq": found >= value, "lt": found < value, "leq": found <= value}
        holds["neq"] = found != value
        if operator not in holds:
            raise QueryRefusal(f"unknown filter {name}")
        if not holds[operator]:
            return False
    return True


def _check_known(name: str, known: Iterable[str]) -> str:
    if name not in known:
        raise QueryRefusal(f'unknown field "{name}"')
    return name
