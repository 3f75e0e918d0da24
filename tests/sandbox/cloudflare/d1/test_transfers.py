"""Imports and exports of D1, which a client polls."""

import hashlib
from typing import Any

import httpx
import pytest

from sandbox.cloudflare.d1.state import EXPORT_BLOCKS
from tests.sandbox.cloudflare.d1.conftest import Database


def _export(database: Database, **options: Any) -> str:
    """Return the exported text."""
    body = {"output_format": "polling", "dump_options": options}
    started = database("POST", "/export", json=body).result
    done = database("POST", "/export", json={**body, "current_bookmark": started["at_bookmark"]}).result
    assert (started["status"], done["status"]) == ("active", "complete")
    return database.api.http.get(done["result"]["signed_url"]).text


def _import(database: Database, sql: str) -> dict[str, Any]:
    """Import a text, and return the final answer."""
    etag = hashlib.md5(sql.encode()).hexdigest()
    announced = database("POST", "/import", json={"action": "init", "etag": etag}).result
    uploaded = database.api.http.put(announced["upload_url"], content=sql.encode())
    assert uploaded.headers["etag"] == f'"{etag}"'
    ingest = {"action": "ingest", "etag": etag, "filename": announced["filename"]}
    active = database("POST", "/import", json=ingest).result
    poll = {"action": "poll", "current_bookmark": active["at_bookmark"]}
    done: dict[str, Any] = database("POST", "/import", json=poll).result
    return done


def test_export_has_schema_and_rows(database: Database) -> None:
    database.query(
        "CREATE TABLE ovens (id); CREATE VIEW hot AS SELECT id FROM ovens; INSERT INTO ovens VALUES ('a''b')"
    )
    ovens = ["CREATE TABLE ovens (id);", "INSERT INTO \"ovens\" (\"id\") VALUES('a''b');"]
    start = "PRAGMA defer_foreign_keys=TRUE;"
    whole = _export(database).splitlines()
    assert (whole[0], whole[2:]) == (start, [*ovens, "CREATE VIEW hot AS SELECT id FROM ovens;"])
    assert _export(database, tables=["ovens"], no_data=True).splitlines() == [start, ovens[0]]
    assert _export(database, tables=["ovens"], no_schema=True).splitlines() == [start, ovens[1]]


def test_virtual_table_is_not_exported(database: Database) -> None:
    database.query("CREATE VIRTUAL TABLE words USING fts5 (word)")
    started = database("POST", "/export", json={"output_format": "polling"}).result
    body = {"output_format": "polling", "current_bookmark": started["at_bookmark"]}
    failed = database("POST", "/export", json=body).result
    assert failed["status"] == "error"
    assert "Virtual Tables" in failed["error"]


def test_running_export_blocks_queries_until_it_is_polled_or_left(database: Database) -> None:
    body = {"output_format": "polling"}
    started = database("POST", "/export", json=body).result
    blocked = database.query("SELECT 1")
    assert (blocked.error, "long-running export" in blocked.message) == ((400, 7500), True)
    database("POST", "/export", json={**body, "current_bookmark": started["at_bookmark"]})
    assert database.query("SELECT 1").status == 200
    database("POST", "/export", json=body)
    database.api.sandbox.clock.advance(EXPORT_BLOCKS.total_seconds())
    assert database.query("SELECT 1").status == 200


def test_import_has_result_and_bookmark(database: Database) -> None:
    done = _import(database, "INSERT INTO loaves (flour) VALUES ('rye');\nINSERT INTO loaves (flour) VALUES ('oat');")
    assert done["status"] == "complete"
    assert done["result"]["num_queries"] == done["result"]["meta"]["rows_written"] == 2
    assert done["result"]["final_bookmark"] == database.bookmark()
    assert database.rows() == [["rye"], ["oat"]]


def test_failed_import_changes_nothing(database: Database) -> None:
    done = _import(database, "INSERT INTO loaves (flour) VALUES ('rye'); INSERT INTO nowhere VALUES (1);")
    assert (done["status"], done["error"]) == ("error", "no such table: nowhere: SQLITE_ERROR")
    assert database.rows() == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/import", {"action": "ingest", "etag": "x", "filename": "missing"}),
        ("/import", {"action": "init"}),
        ("/import", {"action": "poll", "current_bookmark": "none"}),
        ("/export", {"output_format": "file"}),
        ("/export", {"output_format": "polling", "current_bookmark": "none"}),
        ("/export", {"output_format": "polling", "dump_options": {"more": True}}),
    ],
)
def test_invalid_transfer_is_refused(database: Database, path: str, body: dict[str, Any]) -> None:
    assert database("POST", path, json=body).error == (400, 7400)


def test_file_needs_its_signature(database: Database) -> None:
    url = f"{database.api.sandbox.api_url}/d1-files/other.sql"
    answer: httpx.Response = database.api.http.get(url, params={"signature": "none"})
    assert answer.status_code == 403
