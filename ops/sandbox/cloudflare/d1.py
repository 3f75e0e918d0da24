"""D1: databases, and SQL on them (developers.cloudflare.com/api/resources/d1/subresources/database)."""

from typing import Any

from ops.sandbox.clock import timestamp
from ops.sandbox.cloudflare.body import fields, invalid, json_body
from ops.sandbox.cloudflare.routes import Answer, ApiError, Call, Routes
from ops.sandbox.d1 import Database, SqlError, Statement, split
from ops.sandbox.tokens import D1_READ, D1_WRITE

ROUTES = Routes()
_DATABASES = "/accounts/{account}/d1/database"


@ROUTES.add("GET", _DATABASES, D1_READ)
def list_databases(call: Call) -> Answer:
    query = call.request.query
    page, per_page = int(query.get("page", "1")), int(query.get("per_page", "1000"))
    found = [each for each in call.account.d1.databases.values() if query.get("name", each.name) == each.name]
    shown = [_shown(each) for each in found[(page - 1) * per_page : page * per_page]]
    info = {"page": page, "per_page": per_page, "count": len(shown), "total_count": len(found)}
    return Answer(shown, result_info=info)


@ROUTES.add("POST", _DATABASES, D1_WRITE)
def create_database(call: Call) -> Answer:
    known = {"primary_location_hint": str, "jurisdiction": str}
    name = fields(json_body(call.request), required={"name": str}, optional=known)["name"]
    if call.account.d1.of(name):
        raise ApiError(7502, f"A database with the name {name} already exists.")
    return Answer(_shown(call.account.d1.databases[call.account.d1.add(name)]))


@ROUTES.add("GET", _DATABASES + "/{database}", D1_READ)
def get_database(call: Call) -> Answer:
    """By its id; wrangler also asks by its name."""
    return Answer(_shown(_database(call)))


@ROUTES.add("POST", _DATABASES + "/{database}/query", D1_WRITE)
def query(call: Call) -> Answer:
    """One text, which may hold several statements, or a batch. All of it or nothing; a result for each statement.

    developers.cloudflare.com/api/resources/d1/subresources/database/methods/query
    """
    database, body = _database(call), json_body(call.request)
    if isinstance(body, dict) and "batch" in body:
        batch = fields(body, required={"batch": list}, optional={})["batch"]
        texts = [_text(each, f"body.batch[{index}]") for index, each in enumerate(batch)]
    else:
        texts = [_text(body, "body")]
    statements = [statement for text in texts for statement in _statements(text)]
    if not statements:
        raise invalid("body", "holds no statement")
    try:
        return Answer(call.account.d1.query(database.id, statements))
    except SqlError as error:
        raise ApiError(7500, str(error)) from None


def _text(value: Any, at: str) -> dict[str, Any]:
    return fields(value, required={"sql": str}, optional={"params": list}, at=at)


def _statements(text: dict[str, Any]) -> list[Statement]:
    statements, params = list(split(text["sql"])), text.get("params", [])
    if params and len(statements) > 1:
        raise ApiError(7500, "params are for one statement, and this text holds several")
    return [(statement, params) for statement in statements]


def _database(call: Call) -> Database:
    database = call.account.d1.of(call.parameters["database"])
    if database is None:
        raise ApiError(7404, f"The database {call.parameters['database']} could not be found", status=404)
    return database


def _shown(database: Database) -> dict[str, Any]:
    return {
        "uuid": database.id,
        "name": database.name,
        "version": "production",
        "created_at": timestamp(database.created_on),
    }
