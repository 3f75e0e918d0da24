"""D1 API: databases and SQL queries.

developers.cloudflare.com/api/resources/d1/subresources/database
"""

import hashlib
from typing import Any

from sandbox.clock import timestamp
from sandbox.cloudflare.account import FakeAccount
from sandbox.cloudflare.call import (
    BASE,
    CloudflareAnswer,
    CloudflareCall,
    CloudflareRefusal,
    Routes,
    fields,
    invalid,
    json_body,
)
from sandbox.cloudflare.d1.state import FakeDatabase, SqlError, Statement, split_statements
from sandbox.cloudflare.tokens.state import D1_READ, D1_WRITE, FakeCloudflareToken, sign_claims, signed_claims
from sandbox.server import HttpRequest, HttpResponse

ROUTES = Routes()
_METAS = ("duration", "changes", "rows_read", "rows_written")
SIGNED = "a signed address"
"""Permission of an upload URL, which takes no token."""
_DATABASES = "/accounts/{account}/d1/database"


@ROUTES.add("GET", _DATABASES, D1_READ)
def list_databases(call: CloudflareCall) -> CloudflareAnswer:
    query = call.request.query
    page, per_page = int(query.get("page", "1")), int(query.get("per_page", "1000"))
    found = [each for each in call.account.d1.databases.values() if query.get("name", each.name) == each.name]
    shown = [_to_json(each) for each in found[(page - 1) * per_page : page * per_page]]
    info = {"page": page, "per_page": per_page, "count": len(shown), "total_count": len(found)}
    return CloudflareAnswer(shown, result_info=info)


@ROUTES.add("POST", _DATABASES, D1_WRITE)
def create_database(call: CloudflareCall) -> CloudflareAnswer:
    known = {"primary_location_hint": str, "jurisdiction": str}
    name = fields(json_body(call.request), required={"name": str}, optional=known)["name"]
    if call.account.d1.find(name):
        raise CloudflareRefusal(7502, f"A database with the name {name} already exists.")
    return CloudflareAnswer(_to_json(call.account.d1.databases[call.account.d1.add(name)]))


@ROUTES.add("GET", _DATABASES + "/{database}", D1_READ)
def get_database(call: CloudflareCall) -> CloudflareAnswer:
    """Return a database by its ID; wrangler also uses its name."""
    return CloudflareAnswer(_to_json(_database(call)))


@ROUTES.add("POST", _DATABASES + "/{database}/query", D1_WRITE)
def query(call: CloudflareCall) -> CloudflareAnswer:
    """Run one text, which may hold several statements, or a batch, as one transaction. Returns a result per statement.

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
        raise invalid("body", "has no statement")
    try:
        return CloudflareAnswer(call.account.d1.query(database.id, statements))
    except SqlError as error:
        raise CloudflareRefusal(7500, str(error)) from None


@ROUTES.add("POST", _DATABASES + "/{database}/import", D1_WRITE)
def import_file(call: CloudflareCall) -> CloudflareAnswer:
    """Import a file as `wrangler d1 execute --file` does: announce its MD5, upload it, run it, and poll the progress.

    developers.cloudflare.com/api/resources/d1/subresources/database/methods/import
    """
    database = _database(call)
    known = {"etag": str, "filename": str, "current_bookmark": str}
    body = fields(json_body(call.request), required={"action": str}, optional=known)
    match body["action"]:
        case "init" if "etag" in body:
            return CloudflareAnswer(_announce_upload(call, database, body["etag"]))
        case "ingest" if "etag" in body and "filename" in body:
            return CloudflareAnswer(_ingest(call, database, body["filename"], body["etag"]))
        case "poll" if body.get("current_bookmark") in database.imports:
            return CloudflareAnswer(database.imports[body["current_bookmark"]])
    raise invalid("body", "must be init with an etag, ingest with a filename and an etag, or poll with a bookmark")


@ROUTES.add("PUT", "/d1-uploads/{filename}", SIGNED)
def put_file(call: CloudflareCall) -> HttpResponse:
    """Accept a file at `upload_url`, which at Cloudflare leads to R2."""
    call.account.d1.files[call.parameters["filename"]] = call.request.body
    return HttpResponse(headers=[("etag", f'"{_md5(call.request.body)}"')])


def authorize(account: FakeAccount, request: HttpRequest) -> FakeCloudflareToken:
    """Check the signature in an upload URL.

    Raises:
        CloudflareRefusal: the signature is invalid, or for another file.
    """
    claims = signed_claims(account.clock, request.query.get("signature", ""))
    if claims is None or claims.get("filename") != request.path.rpartition("/")[2]:
        raise CloudflareRefusal(10000, "Authentication error", status=403)
    return FakeCloudflareToken(secret="", permissions=frozenset({SIGNED}))


def _announce_upload(call: CloudflareCall, database: FakeDatabase, etag: str) -> dict[str, Any]:
    filename = f"{database.id}-{etag}.sql"
    if call.account.d1.files.get(filename) is not None:
        return _ingest(call, database, filename, etag)
    signature = sign_claims(call.account.clock, {"filename": filename})
    host = call.request.headers.get("host", "")
    return {"filename": filename, "upload_url": f"http://{host}{BASE}/d1-uploads/{filename}?signature={signature}"}


def _ingest(call: CloudflareCall, database: FakeDatabase, filename: str, etag: str) -> dict[str, Any]:
    """Run the file as one transaction. The first answer is `active`; a poll returns the result."""
    content = call.account.d1.files.get(filename)
    if content is None or _md5(content) != etag:
        raise CloudflareRefusal(7400, "The file was not uploaded, or its etag differs.")
    bookmark = f"{len(database.imports):08x}-{call.account.new_id().hex}"
    active = {"success": True, "type": "import", "messages": [], "at_bookmark": bookmark}
    try:
        results = call.account.d1.query(database.id, [(sql, []) for sql in split_statements(content.decode())])
    except SqlError as error:
        database.imports[bookmark] = {**active, "success": False, "status": "error", "error": str(error)}
    else:
        metas = [each["meta"] for each in results]
        meta = {name: sum(each[name] for each in metas) for name in _METAS}
        done = {"num_queries": len(results), "final_bookmark": bookmark, "meta": {**meta, "size_after": 0}}
        database.imports[bookmark] = {**active, "status": "complete", "result": done}
    return {**active, "status": "active", "messages": [f"Processed {filename}"]}


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _text(value: Any, at: str) -> dict[str, Any]:
    return fields(value, required={"sql": str}, optional={"params": list}, at=at)


def _statements(text: dict[str, Any]) -> list[Statement]:
    statements, params = list(split_statements(text["sql"])), text.get("params", [])
    if params and len(statements) > 1:
        raise CloudflareRefusal(7500, "params need a single statement; this text has several")
    return [(statement, params) for statement in statements]


def _database(call: CloudflareCall) -> FakeDatabase:
    database = call.account.d1.find(call.parameters["database"])
    if database is None:
        raise CloudflareRefusal(7404, f"The database {call.parameters['database']} could not be found", status=404)
    return database


def _to_json(database: FakeDatabase) -> dict[str, Any]:
    return {
        "uuid": database.id,
        "name": database.name,
        "version": "production",
        "created_at": timestamp(database.created_on),
    }
