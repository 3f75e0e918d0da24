"""GraphQL analytics: limits of a data set, and its rows grouped by dimensions.

Errors also have HTTP status 200. developers.cloudflare.com/analytics/graphql-api
"""

import operator
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox.cloudflare.analytics.state import (
    ACCOUNT_SETS,
    COUNTED_SETS,
    DIMENSIONS,
    QUANTILES,
    SUMS,
    TIMES,
    ZONE_SETS,
    AnalyticsRow,
)
from sandbox.cloudflare.call import CloudflareCall, Routes, fields, json_body
from sandbox.graphql import Field, SyntaxProblem, parse
from sandbox.permissions import read_permissions
from sandbox.server import HttpResponse, json_response

ROUTES = Routes()
PATH = "/graphql"
_OPTIONAL = {"variables": dict, "operationName": str}
_MAX_ROWS = 10_000
_LIMITS = {"enabled", "maxDuration", "maxPageSize", "notOlderThan"}
_ARGUMENTS = {"limit", "filter", "orderBy"}
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "": operator.eq,
    "neq": operator.ne,
    "gt": operator.gt,
    "geq": operator.ge,
    "lt": operator.lt,
    "leq": operator.le,
    "in": lambda found, values: found in values,
    "notin": lambda found, values: found not in values,
}
"""Suffix of a filter → its comparison (developers.cloudflare.com/analytics/graphql-api/features/filtering)."""


class QueryRefusal(Exception):
    """A refused query: an entry of `errors`."""

    def __init__(self, message: str, code: str = "error") -> None:
        super().__init__(message)
        self.code = code


@ROUTES.add("POST", PATH)
def query(call: CloudflareCall) -> HttpResponse:
    body = fields(json_body(call.request), required={"query": str}, optional=_OPTIONAL)
    try:
        data = {each.alias: _viewer(call, each) for each in parse(body["query"], body.get("variables", {}))}
        answer: dict[str, Any] = {"data": data, "errors": None}
    except (SyntaxProblem, QueryRefusal) as error:
        code = error.code if isinstance(error, QueryRefusal) else "parser"
        stamp = {"code": code, "timestamp": call.account.clock.now().isoformat()}
        answer = {"data": None, "errors": [{"message": str(error), "path": None, "extensions": stamp}]}
    return json_response(200, answer)


def _viewer(call: CloudflareCall, viewer: Field) -> dict[str, Any]:
    """Return one account or zone per field. A scope that the token may not read is an error, not an empty list."""
    if call.account.switches.analytics_down:
        raise QueryRefusal("Internal server error", "internal")
    _check_known(viewer.name, {"viewer"})
    shown = {}
    for field in viewer.fields:
        tag = {"zones": "zoneTag", "accounts": "accountTag"}.get(field.name)
        scope = (field.arguments.get("filter") or {}).get(tag)
        if tag is None or not isinstance(scope, str):
            raise QueryRefusal(f'unknown field "{field.name}", or it lacks its filter')
        is_zone = field.name == "zones"
        known = scope in call.account.zones.all if is_zone else scope == call.account.id
        if not known or not call.token.may(read_permissions()["graphql"][field.name]):
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
    if dataset == "workersInvocationsAdaptive":
        return switches.worker_analytics_longest_seconds, switches.worker_analytics_kept_seconds
    return 31 * 86400, 31 * 86400


def _rows(call: CloudflareCall, field: Field, scope: str) -> list[dict[str, Any]]:
    for name in field.arguments:
        _check_known(name, _ARGUMENTS)
    limit = field.arguments.get("limit", 0)
    if not isinstance(limit, int) or not 1 <= limit <= _MAX_ROWS:
        raise QueryRefusal(f"limit must be 1 to {_MAX_ROWS}")
    wanted = [_parse_condition(field.name, *each) for each in _conditions(field.arguments.get("filter") or {})]
    since = _check_times(call, field.name, wanted)
    names = [each for part in field.fields if part.name == "dimensions" for each in part.fields]
    _check_fields(field, names)
    samples = call.account.analytics.rows(
        field.name, scope, _matcher(wanted), since=since, now=call.account.clock.now()
    )
    groups: dict[tuple[Any, ...], list[AnalyticsRow]] = {}
    for sample in () if call.account.switches.analytics_empty else samples:
        key = tuple(sample.dimension(each.name) for each in names)
        groups.setdefault(key, []).append(sample)
    rows = [(key, _row(field, names, key, group)) for key, group in groups.items()]
    return [row for _, row in _ordered(field, names, rows)][:limit]


def _check_fields(field: Field, names: list[Field]) -> None:
    """Check the requested fields, also if there are no rows."""
    known = {
        "sum": SUMS[field.name],
        "avg": SUMS[field.name] | {"sampleInterval"},
        "quantiles": QUANTILES.get(field.name, {}).keys(),
        "dimensions": TIMES.keys() | DIMENSIONS[field.name].keys(),
        **({"count": set()} if field.name in COUNTED_SETS else {}),
    }
    if not field.fields:
        raise QueryRefusal(f'field "{field.name}" must have a selection of subfields')
    for part in field.fields:
        _check_known(part.name, known)
        if bool(part.fields) == (part.name == "count"):
            raise QueryRefusal(f'field "{part.name}" must {"not " if part.fields else ""}have a selection of subfields')
        for each in part.fields:
            _check_known(each.name, known[part.name])
    list(_ordered(field, names, []))


def _row(field: Field, names: list[Field], key: tuple[Any, ...], group: list[AnalyticsRow]) -> dict[str, Any]:
    count = sum(sample.count * sample.sample_interval for sample in group)
    row: dict[str, Any] = {}
    for part in field.fields:
        if part.name == "count":
            row[part.alias] = count
        elif part.name == "dimensions":
            row[part.alias] = {each.alias: value for each, value in zip(names, key, strict=True)}
        elif part.name == "quantiles":
            row[part.alias] = {each.alias: _quantile(group, *QUANTILES[field.name][each.name]) for each in part.fields}
        else:
            row[part.alias] = {each.alias: _total(group, each.name, part.name, count) for each in part.fields}
    return row


def _total(group: list[AnalyticsRow], name: str, part: str, count: int) -> float:
    if name == "sampleInterval":
        return sum(sample.sample_interval for sample in group) / len(group)
    total = sum(sample.sums.get(name, 0) * sample.sample_interval for sample in group)
    return total if part == "sum" else total / count


def _quantile(group: list[AnalyticsRow], name: str, share: float) -> float:
    values = sorted(sample.sums[name] for sample in group)
    return values[min(len(values) - 1, int(share * len(values)))]


def _conditions(wanted: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """Yield name and value of each condition; `AND` holds a list of filters."""
    for name, value in wanted.items():
        if name != "AND":
            yield name, value
            continue
        for each in value:
            yield from _conditions(each)


def _parse_condition(dataset: str, name: str, value: Any) -> tuple[str, str, Any]:
    """Return the dimension, operator and value of a condition."""
    field, _, suffix = name.partition("_")
    dimensions = dict.fromkeys(TIMES, str) | DIMENSIONS[dataset]
    if field not in dimensions or suffix not in _OPERATORS:
        raise QueryRefusal(f'unknown filter "{name}"')
    values = value if suffix in {"in", "notin"} else [value]
    if not isinstance(values, list) or not all(type(each) is dimensions[field] for each in values):
        raise QueryRefusal(f'filter "{name}" has a value of the wrong type')
    if field in TIMES:
        parsed = [_parse_time(field, each) for each in values]
        return field, suffix, parsed if suffix in {"in", "notin"} else parsed[0]
    return field, suffix, value


def _parse_time(name: str, text: str) -> datetime:
    try:
        return _instant(text)
    except ValueError:
        raise QueryRefusal(f'"{text[:40]}" is not a {"date" if name == "date" else "time"}') from None


def _instant(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _ordered(field: Field, names: list[Field], rows: list[tuple[tuple[Any, ...], Any]]) -> Iterable[tuple[Any, Any]]:
    for order in reversed(field.arguments.get("orderBy") or []):
        name, _, way = str(order).rpartition("_")
        part, _, value = name.partition("_")
        if way not in {"ASC", "DESC"}:
            raise QueryRefusal(f"cannot order by {order}")
        at = next((number for number, each in enumerate(names) if each.name == name), None)
        if at is not None:
            rows.sort(key=lambda row: row[0][at], reverse=way == "DESC")
        elif name == "count" and field.name in COUNTED_SETS:
            rows.sort(key=lambda row: row[1]["count"], reverse=way == "DESC")
        elif part in {"sum", "avg"} and value in SUMS[field.name]:
            rows.sort(key=lambda row: row[1][part][value], reverse=way == "DESC")
        else:
            raise QueryRefusal(f"cannot order by {order}")
    return rows


def _check_times(call: CloudflareCall, dataset: str, wanted: Iterable[tuple[str, str, Any]]) -> datetime:
    """Check that the filter has both ends, in the allowed range and age; return its start.

    Raises:
        QueryRefusal: an end is missing, too old, or too far from the other one.
    """
    longest, oldest = _time_limits(call, dataset)
    ends = {suffix: value for name, suffix, value in wanted if name in TIMES}
    since: datetime | None = ends.get("geq") or ends.get("gt")
    until: datetime | None = ends.get("lt") or ends.get("leq")
    if since is None or until is None:
        raise QueryRefusal("the filter needs a time with _geq and a time with _lt")
    if since < call.account.clock.now() - timedelta(seconds=oldest):
        raise QueryRefusal(f"cannot request data older than {oldest}s")
    if until - since > timedelta(seconds=longest):
        raise QueryRefusal(f"query time range is too large: the maximum is {longest}s")
    return since


def _matcher(wanted: Iterable[tuple[str, str, Any]]) -> Callable[[AnalyticsRow], bool]:
    """Return the function that compares a row with each condition; a query calls it for each row."""
    conditions = [(name, _OPERATORS[suffix], value) for name, suffix, value in wanted]

    def matches(sample: AnalyticsRow) -> bool:
        for name, compare, value in conditions:  # noqa: SIM110
            if not compare(sample.value(name), value):
                return False
        return True

    return matches


def _check_known(name: str, known: Iterable[str]) -> str:
    if name not in known:
        raise QueryRefusal(f'unknown field "{name}"')
    return name
