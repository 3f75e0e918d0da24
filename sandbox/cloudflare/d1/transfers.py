"""D1 imports and exports, which a client starts and then polls.

developers.cloudflare.com/d1/best-practices/import-export-data
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

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
from sandbox.cloudflare.d1.api import DATABASE, database_of, meta
from sandbox.cloudflare.d1.sqlite import D1Sqlite, SqlError, quote_name, split_statements
from sandbox.cloudflare.d1.state import FakeDatabase
from sandbox.cloudflare.tokens.state import FakeCloudflareToken, sign_claims, signed_claims
from sandbox.permissions import CallPermission
from sandbox.server import HttpRequest, HttpResponse

ROUTES = Routes()
SIGNED = CallPermission(needs="a signed address")
"""Permission of an upload or download URL, which takes no token."""
_FILE = "/d1-files/{filename}"


@ROUTES.add("POST", f"{DATABASE}/import")
def import_file(call: CloudflareCall) -> CloudflareAnswer:
    """Import a file as `wrangler d1 execute --file` does: announce its MD5, upload it, run it, and poll the progress.

    developers.cloudflare.com/api/resources/d1/subresources/database/methods/import
    """
    database = database_of(call)
    known = {"etag": str, "filename": str, "current_bookmark": str}
    body = fields(json_body(call.request), required={"action": str}, optional=known)
    match body["action"]:
        case "init" if "etag" in body:
            return CloudflareAnswer(_announce_upload(call, database, body["etag"]))
        case "ingest" if "etag" in body and "filename" in body:
            return CloudflareAnswer(_ingest(call, database, body["filename"], body["etag"]))
        case "poll" if body.get("current_bookmark") in database.transfers:
            return CloudflareAnswer(database.transfers[body["current_bookmark"]])
    raise invalid("body", "must be init with an etag, ingest with a filename and an etag, or poll with a bookmark")


@ROUTES.add("POST", f"{DATABASE}/export")
def export(call: CloudflareCall) -> CloudflareAnswer:
    """Export a database. The first answer is `active`, and the database serves no query until the next one.

    developers.cloudflare.com/api/resources/d1/subresources/database/methods/export
    """
    database = database_of(call)
    known = {"current_bookmark": str, "dump_options": dict}
    body = fields(json_body(call.request), required={"output_format": str}, optional=known)
    if body["output_format"] != "polling":
        raise invalid("body.output_format", "must be polling")
    bookmark = body.get("current_bookmark")
    if bookmark is None:
        return CloudflareAnswer(_start_export(call, database, body.get("dump_options", {})))
    if bookmark not in database.transfers:
        raise invalid("body.current_bookmark", "is of no export")
    database.store.exporting_since = None
    return CloudflareAnswer(database.transfers[bookmark])


@ROUTES.add("PUT", _FILE, SIGNED)
def put_file(call: CloudflareCall) -> HttpResponse:
    """Accept a file at `upload_url`, which at Cloudflare leads to R2."""
    call.account.d1.files[call.parameters["filename"]] = call.request.body
    return HttpResponse(headers=[("etag", f'"{_md5(call.request.body)}"')])


@ROUTES.add("GET", _FILE, SIGNED)
def get_file(call: CloudflareCall) -> HttpResponse:
    """Return the file at `signed_url`."""
    content = call.account.d1.files.get(call.parameters["filename"])
    return HttpResponse(status=404) if content is None else HttpResponse(body=content)


def authorize(account: FakeAccount, request: HttpRequest) -> FakeCloudflareToken:
    """Check the signature in the URL of a file.

    Raises:
        CloudflareRefusal: the signature is invalid, or for another file.
    """
    claims = signed_claims(account.clock, request.query.get("signature", ""))
    if claims is None or claims.get("filename") != request.path.rpartition("/")[2]:
        raise CloudflareRefusal(10000, "Authentication error", status=403)
    return FakeCloudflareToken(secret="", permissions=frozenset({SIGNED.needs}))


def _sign_url(call: CloudflareCall, filename: str) -> str:
    signature = sign_claims(call.account.clock, {"filename": filename})
    host = call.request.headers.get("host", "")
    return f"http://{host}{BASE}/d1-files/{filename}?signature={signature}"


def _announce_upload(call: CloudflareCall, database: FakeDatabase, etag: str) -> dict[str, Any]:
    filename = f"{database.id}-{etag}.sql"
    if call.account.d1.files.get(filename) is not None:
        return _ingest(call, database, filename, etag)
    return {"filename": filename, "upload_url": _sign_url(call, filename)}


def _ingest(call: CloudflareCall, database: FakeDatabase, filename: str, etag: str) -> dict[str, Any]:
    """Run the file as one transaction. The first answer is `active`; a poll returns the result."""
    content = call.account.d1.files.get(filename)
    if content is None or _md5(content) != etag:
        raise CloudflareRefusal(7400, "The file was not uploaded, or its etag differs.")
    bookmark = database.store.history.current.bookmark
    active = {"success": True, "type": "import", "messages": [], "at_bookmark": bookmark}
    try:
        answer = database.store.run([(sql, []) for sql in split_statements(content.decode())])
    except SqlError as error:
        database.transfers[bookmark] = {**active, "success": False, "status": "error", "error": str(error)}
    else:
        done = {
            "num_queries": len(answer.results),
            "final_bookmark": database.store.history.current.bookmark,
            "meta": meta(answer.results, answer, region=database.region),
        }
        database.transfers[bookmark] = {**active, "status": "complete", "result": done}
    return {**active, "status": "active", "messages": [f"Processed {filename}"]}


def _start_export(call: CloudflareCall, database: FakeDatabase, options: Mapping[str, Any]) -> dict[str, Any]:
    known = {"no_schema": bool, "no_data": bool, "tables": list}
    fields(options, required={}, optional=known, at="body.dump_options")
    bookmark = database.store.history.current.bookmark
    active = {"success": True, "type": "export", "messages": [], "at_bookmark": bookmark}
    try:
        text = database.store.inspect(lambda sqlite: "\n".join(_dump(sqlite, options)))
    except SqlError as error:
        database.transfers[bookmark] = {**active, "status": "error", "error": str(error)}
    else:
        filename = f"{database.id}-{bookmark}.sql"
        call.account.d1.files[filename] = text.encode()
        done = {"filename": filename, "signed_url": _sign_url(call, filename)}
        database.transfers[bookmark] = {**active, "status": "complete", "result": done}
    database.store.exporting_since = call.account.clock.now()
    return {**active, "status": "active", "messages": ["Generating export"]}


def _dump(sqlite: D1Sqlite, options: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of an export: tables with their rows, then indexes, triggers and views.

    Raises:
        SqlError: the database has a virtual table, which D1 cannot export.
    """
    has_schema, has_data = not options.get("no_schema"), not options.get("no_data")
    wanted = set(options.get("tables") or ())
    yield "PRAGMA defer_foreign_keys=TRUE;"
    others = []
    for kind, name, sql in sqlite.read_objects():
        if sql.upper().startswith("CREATE VIRTUAL TABLE"):
            raise SqlError("D1 Export error: cannot export databases with Virtual Tables (fts5)")
        if (wanted and name not in wanted) or name.startswith(("_cf_", "sqlite_stat")):
            continue
        if kind != "table":
            others.append((kind, f"{sql};"))
            continue
        if has_schema:
            yield "DELETE FROM sqlite_sequence;" if name == "sqlite_sequence" else f"{sql};"
        for columns, values in sqlite.read_literals(name) if has_data else ():
            yield f"INSERT INTO {quote_name(name)} ({','.join(columns)}) VALUES({','.join(values)});"
    if has_schema:
        yield from (sql for _, sql in sorted(others))


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
