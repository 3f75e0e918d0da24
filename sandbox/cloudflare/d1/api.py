"""D1 API: databases, SQL queries and Time Travel.

developers.cloudflare.com/api/resources/d1/subresources/database

The texts and codes of refused bookmarks, times and restores are not documented [unsure: error-codes].
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from sandbox.clock import timestamp
from sandbox.cloudflare.call import (
    CloudflareAnswer,
    CloudflareCall,
    CloudflareRefusal,
    Routes,
    fields,
    invalid,
    json_body,
)
from sandbox.cloudflare.d1.sqlite import D1Sqlite, SqlError, Statement, StatementResult, split_statements
from sandbox.cloudflare.d1.state import FakeDatabase, QueryAnswer
from sandbox.cloudflare.d1.time_travel import TimeTravelError

ROUTES = Routes()
DATABASES = "/accounts/{account}/d1/database"
DATABASE = f"{DATABASES}/{{database}}"
QUERY, RAW = f"{DATABASE}/query", f"{DATABASE}/raw"
RESTORE = f"{DATABASE}/time_travel/restore"
"""Together with the two before, the routes that do not hold the account's lock: a restore cancels running queries."""
_JURISDICTIONS = {"eu", "fedramp", "us"}
_REGIONS = {"wnam", "enam", "weur", "eeur", "apac", "oc"}
ResultsFormat = Literal["ARRAY_OF_OBJECTS", "ROWS_AND_COLUMNS"]


@ROUTES.add("GET", DATABASES)
def list_databases(call: CloudflareCall) -> CloudflareAnswer:
    query = call.request.query
    page, per_page = (_positive(query, name, default) for name, default in (("page", 1), ("per_page", 1000)))
    found = [each for each in call.account.d1.databases.values() if query.get("name", each.name) == each.name]
    shown = [_to_json(each) for each in found[(page - 1) * per_page : page * per_page]]
    info = {"page": page, "per_page": per_page, "count": len(shown), "total_count": len(found)}
    return CloudflareAnswer(shown, result_info=info)


@ROUTES.add("POST", DATABASES)
def create_database(call: CloudflareCall) -> CloudflareAnswer:
    known = {"primary_location_hint": str, "jurisdiction": str, "read_replication": dict}
    body = fields(json_body(call.request), required={"name": str}, optional=known)
    jurisdiction, region = body.get("jurisdiction"), body.get("primary_location_hint", "weur")
    if jurisdiction not in {None, *_JURISDICTIONS} or region not in _REGIONS:
        raise invalid("body", "has an unknown jurisdiction or location")
    if call.account.d1.find(body["name"]):
        raise CloudflareRefusal(7502, f"A database with the name {body['name']} already exists.")
    replicated = "read_replication" in body and _has_replicas(body)
    id_ = call.account.d1.add(body["name"], jurisdiction=jurisdiction, region=region.upper())
    database = call.account.d1.databases[id_]
    database.store.has_replicas = replicated
    return CloudflareAnswer({**_details(database), "created_in_region": region.upper()})


@ROUTES.add("GET", DATABASE)
def get_database(call: CloudflareCall) -> CloudflareAnswer:
    """Return a database by its ID; wrangler also uses its name. `fields` selects fields."""
    details, wanted = _details(database_of(call)), call.request.query.get("fields")
    names = details.keys() if wanted is None else set(wanted.split(","))
    return CloudflareAnswer({name: value for name, value in details.items() if name in names})


@ROUTES.add("PATCH", DATABASE)
@ROUTES.add("PUT", DATABASE)
def update_database(call: CloudflareCall) -> CloudflareAnswer:
    """Turn read replication on or off. It is the only thing that can be changed."""
    body = fields(json_body(call.request), required={"read_replication": dict}, optional={})
    database = database_of(call)
    database.store.has_replicas = _has_replicas(body)
    return CloudflareAnswer(_details(database))


@ROUTES.add("DELETE", DATABASE)
def delete_database(call: CloudflareCall) -> CloudflareAnswer:
    call.account.d1.delete(database_of(call))
    return CloudflareAnswer(None)


@ROUTES.add("POST", QUERY)
def query(call: CloudflareCall) -> CloudflareAnswer:
    """Run one text, which may hold several statements, or a batch, as one transaction. Returns a result per statement.

    developers.cloudflare.com/api/resources/d1/subresources/database/methods/query
    """
    return CloudflareAnswer(_run(call, "ARRAY_OF_OBJECTS"))


@ROUTES.add("POST", RAW)
def raw(call: CloudflareCall) -> CloudflareAnswer:
    """Run a query and return each result as columns and rows."""
    return CloudflareAnswer(_run(call, "ROWS_AND_COLUMNS"))


@ROUTES.add("GET", f"{DATABASE}/time_travel/bookmark")
def get_bookmark(call: CloudflareCall) -> CloudflareAnswer:
    """Return the current bookmark, or that of the latest state at or before a timestamp."""
    history = database_of(call).store.history
    instant = _instant(call.request.query)
    try:
        state = history.shown() if instant is None else history.at(instant)
    except TimeTravelError as error:
        raise CloudflareRefusal(7400, str(error)) from None
    return CloudflareAnswer({"bookmark": state.bookmark})


@ROUTES.add("POST", RESTORE)
def restore(call: CloudflareCall) -> CloudflareAnswer:
    """Restore a bookmark or a timestamp, which is in the query string. The body is empty."""
    store, given = database_of(call).store, call.request.query
    instant = _instant(given)
    if ("bookmark" in given) == (instant is not None):
        raise invalid("query", "needs either a bookmark or a timestamp")
    try:
        target = store.history.find(given["bookmark"] if instant is None else store.history.at(instant).bookmark)
        done = store.restore(target)
    except TimeTravelError as error:
        raise CloudflareRefusal(7400, str(error)) from None
    message = f"Database {call.parameters['database']} restored to bookmark {target.bookmark}"
    return CloudflareAnswer(
        {"bookmark": done.bookmark, "previous_bookmark": done.previous_bookmark, "message": message}
    )


def database_of(call: CloudflareCall) -> FakeDatabase:
    database = call.account.d1.find(call.parameters["database"])
    if database is None:
        raise CloudflareRefusal(7404, f"The database {call.parameters['database']} could not be found", status=404)
    return database


def results_to_json(
    answer: QueryAnswer, results_format: ResultsFormat, *, region: str = "WEUR"
) -> list[dict[str, Any]]:
    """Return each result as API and binding do (developers.cloudflare.com/d1/worker-api/return-object)."""
    return [
        {
            "results": each.objects() if results_format == "ARRAY_OF_OBJECTS" else _columns_and_rows(each),
            "success": True,
            "meta": meta([each], answer, region=region),
        }
        for each in answer.results
    ]


def meta(results: Sequence[StatementResult], answer: QueryAnswer, *, region: str) -> dict[str, Any]:
    """Return `meta` of some results. Only the returned rows count as read, and no index as written."""
    milliseconds = sum(each.seconds for each in results) * 1000
    changes = sum(each.changes for each in results)
    return {
        "served_by_region": region,
        "served_by_primary": answer.by_primary,
        "timings": {"sql_duration_ms": milliseconds},
        "duration": milliseconds,
        "changes": changes,
        "last_row_id": results[-1].last_row_id if results else 0,
        "changed_db": any(each.changed for each in results),
        "size_after": answer.bytes_after,
        "rows_read": sum(len(each.rows) for each in results),
        "rows_written": changes,
    }


def _run(call: CloudflareCall, results_format: ResultsFormat) -> list[dict[str, Any]]:
    database = database_of(call)
    try:
        answer = _answer(call, database, _statements(call))
    except SqlError as error:
        raise CloudflareRefusal(7500, str(error)) from None
    return results_to_json(answer, results_format, region=database.region)


def _answer(call: CloudflareCall, database: FakeDatabase, statements: Sequence[Statement]) -> QueryAnswer:
    if call.token.may("D1 Write"):
        return database.store.run_through_api(statements)
    read = database.store.read(statements)
    if read is None:
        raise CloudflareRefusal(10000, "Authentication error", status=call.account.switches.auth_error_status)
    return read


def _statements(call: CloudflareCall) -> list[Statement]:
    body = json_body(call.request)
    if isinstance(body, dict) and "batch" in body:
        batch = fields(body, required={"batch": list}, optional={})["batch"]
        texts = [_text(each, f"body.batch[{index}]") for index, each in enumerate(batch)]
    else:
        texts = [_text(body, "body")]
    statements = [statement for text in texts for statement in _split(text)]
    if not statements:
        raise invalid("body", "has no statement")
    return statements


def _text(value: Any, at: str) -> dict[str, Any]:
    return fields(value, required={"sql": str}, optional={"params": list}, at=at)


def _split(text: Mapping[str, Any]) -> list[Statement]:
    statements, params = list(split_statements(text["sql"], knows_lower_case=False)), text.get("params", [])
    if params and len(statements) > 1:
        raise CloudflareRefusal(7500, "params need a single statement; this text has several")
    return [(statement, params) for statement in statements]


def _columns_and_rows(result: StatementResult) -> dict[str, Any]:
    return {"columns": result.columns, "rows": result.rows}


def _has_replicas(body: Mapping[str, Any]) -> bool:
    mode = fields(body["read_replication"], required={"mode": str}, optional={}, at="body.read_replication")["mode"]
    if mode not in {"auto", "disabled"}:
        raise invalid("body.read_replication.mode", "must be auto or disabled")
    return bool(mode == "auto")


def _positive(query: Mapping[str, str], name: str, default: int) -> int:
    value = query.get(name, str(default))
    if not re.fullmatch("[1-9][0-9]{0,6}", value):
        raise invalid(f"query.{name}", "must be a positive number")
    return int(value)


def _instant(query: Mapping[str, str]) -> datetime | None:
    """Return the timestamp of a query, which has a time zone; None if it has no timestamp."""
    if "timestamp" not in query:
        return None
    try:
        instant = datetime.fromisoformat(query["timestamp"])
    except ValueError:
        raise invalid("query.timestamp", "must be an ISO 8601 time") from None
    if instant.tzinfo is None:
        raise invalid("query.timestamp", "must have a time zone")
    return instant.astimezone(UTC)


def _to_json(database: FakeDatabase) -> dict[str, Any]:
    shown = {
        "uuid": database.id,
        "name": database.name,
        "version": "production",
        "created_at": timestamp(database.created_on),
    }
    return shown if database.jurisdiction is None else {**shown, "jurisdiction": database.jurisdiction}


def _details(database: FakeDatabase) -> dict[str, Any]:
    tables = [name for kind, name, _ in database.store.inspect(D1Sqlite.read_objects) if kind == "table"]
    return {
        **_to_json(database),
        "num_tables": len(tables),
        "file_size": database.store.history.current.size,
        "running_in_region": database.region,
        "read_replication": {"mode": "auto" if database.store.has_replicas else "disabled"},
    }
