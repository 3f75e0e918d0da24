"""Databases and queries of D1 in the sandbox's API."""

from typing import Any

import httpx
import pytest

from tests.sandbox.cloudflare.d1.conftest import Database
from tests.sandbox.conftest import Api


def _list(api: Api, **params: Any) -> Any:
    return api("GET", f"/accounts/{api.sandbox.account_id}/d1/database", params=params)


def test_each_statement_of_a_query_has_a_result(database: Database) -> None:
    sql = """
    CREATE TABLE t (n INTEGER, s TEXT); -- a comment; with a semicolon
    CREATE TRIGGER twice AFTER INSERT ON t WHEN new.n = 1 BEGIN INSERT INTO t VALUES (2, ';'); END;
    INSERT INTO t VALUES (1, 'a;b');
    /* the end */
    """
    assert [each["meta"]["changes"] for each in database.query(sql).result] == [0, 0, 2]
    (found,) = database.query("SELECT * FROM t WHERE n = ?", "1").result
    assert (found["results"], found["success"]) == ([{"n": 1, "s": "a;b"}], True)


def test_meta_describes_changes(database: Database) -> None:
    (inserted,) = database.query("INSERT INTO loaves (flour) VALUES ('rye'), ('spelt')").result
    (read,) = database.query("SELECT * FROM loaves").result

    meta = inserted["meta"]
    assert (meta["changes"], meta["rows_written"], meta["last_row_id"], meta["changed_db"]) == (2, 2, 2, True)
    assert (meta["served_by_region"], meta["served_by_primary"]) == ("WEUR", True)
    assert meta["duration"] == meta["timings"]["sql_duration_ms"] > 0
    assert meta["size_after"] == database.store.history.current.size
    assert (read["meta"]["rows_read"], read["meta"]["changes"], read["meta"]["changed_db"]) == (2, 0, False)


def test_raw_returns_columns_and_rows(database: Database) -> None:
    database.bake("rye")
    (found,) = database("POST", "/raw", json={"sql": "SELECT flour, x'0102' AS crumb FROM loaves"}).result
    assert found["results"] == {"columns": ["flour", "crumb"], "rows": [["rye", [1, 2]]]}


def test_batch_is_atomic(database: Database) -> None:
    batch = [
        {"sql": "INSERT INTO loaves (flour) VALUES (?)", "params": ["rye"]},
        {"sql": "INSERT INTO missing VALUES (1)"},
    ]
    refused = database("POST", "/query", json={"batch": batch})
    assert refused.error == (400, 7500)
    assert refused.message == "no such table: missing: SQLITE_ERROR"
    assert database.rows() == []


def test_foreign_keys_are_enforced_at_the_end_if_deferred(database: Database) -> None:
    database.query("CREATE TABLE orders (loaf INTEGER REFERENCES loaves (id))")
    at_once = database.query("INSERT INTO orders VALUES (1); INSERT INTO loaves (id) VALUES (1)")
    never = database.query("PRAGMA defer_foreign_keys = on; INSERT INTO orders VALUES (1)")
    deferred = database.query(
        "PRAGMA defer_foreign_keys = on; INSERT INTO orders VALUES (1); INSERT INTO loaves (id) VALUES (1)"
    )
    assert [at_once.status, never.status, deferred.status] == [400, 400, 200]
    assert "FOREIGN KEY constraint failed" in never.message
    assert database.rows("SELECT loaf FROM orders") == [[1]]


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("", "no statement"),
        (" ; ", "no statement"),
        ("-- nothing", "no statement"),
        ("BEGIN", "To execute a transaction"),
        ("SELECT 1; COMMIT", "To execute a transaction"),
        ("SAVEPOINT a", "To execute a transaction"),
        ("ATTACH ':memory:' AS b", "not authorized"),
        ("CREATE TEMP TABLE x (a)", "not authorized"),
        ("PRAGMA journal_mode", "not authorized"),
        ("PRAGMA integrity_check", "not authorized"),
        ("SELECT sqlite_version()", "not authorized"),
        ("CREATE TABLE _cf_x (a)", "not authorized"),
        (f"SELECT '{'a' * 100_000}'", "statement too long"),
        (f"SELECT {','.join('?' * 101)}", "too many SQL variables"),
        ("SELECT ?", "Wrong number of parameter bindings"),
        ("SELEC 1", "syntax error"),
        ("SELECT 1 \0", "null character"),
    ],
)
def test_refused_sql_changes_nothing(database: Database, sql: str, says: str) -> None:
    bookmark = database.bookmark()
    refused = database.query(sql)
    assert refused.status == 400
    assert says in refused.message
    assert database.bookmark() == bookmark


@pytest.mark.parametrize("value", [{"a": 1}, [256], ["x"], 2**70])
def test_value_of_another_type_is_refused(database: Database, value: Any) -> None:
    assert database.query("INSERT INTO loaves (flour) VALUES (?)", value).error == (400, 7500)


def test_values_that_json_does_not_know_are_read(database: Database) -> None:
    assert database.rows("SELECT 9e999, CAST(x'72ff' AS TEXT), 1 = 1") == [[None, "r\ufffd", 1]]


def test_trigger_needs_begin_in_capitals(database: Database) -> None:
    trigger = "create trigger t after insert on loaves {} delete from loaves where id > 9; end"
    assert database.query(trigger.format("begin")).message == "incomplete input: SQLITE_ERROR"
    assert database.query(trigger.format("BEGIN")).status == 200


def test_params_need_a_single_statement(database: Database) -> None:
    assert database.query("SELECT ?; SELECT ?", "1").error == (400, 7500)


def test_allowed_pragma_ends_with_its_transaction(database: Database) -> None:
    assert database.rows("PRAGMA quick_check") == [["ok"]]
    assert database.rows("PRAGMA foreign_key_check") == []
    database.query("PRAGMA case_sensitive_like = on")
    assert database.rows("SELECT 'a' LIKE 'A'") == [[1]]


def test_time_in_sql_is_the_sandbox_clock(database: Database) -> None:
    database.api.sandbox.clock.advance(3600)
    database.bake("rye")
    now = f"{database.api.sandbox.clock.now():%Y-%m-%d %H:%M:%S}"
    assert database.rows("SELECT baked, datetime('now'), CURRENT_TIMESTAMP FROM loaves") == [[now] * 3]
    assert database.rows("SELECT date('2026-01-31', '+1 day')") == [["2026-02-01"]]


def test_databases_are_created_listed_changed_and_deleted(api: Api, database: Database) -> None:
    path = f"/accounts/{api.sandbox.account_id}/d1/database"
    made = api("POST", path, json={"name": "orders", "primary_location_hint": "apac"}).result
    assert [each["name"] for each in _list(api).result] == ["bakery", "orders"]
    assert [each["uuid"] for each in _list(api, name="orders").result] == [made["uuid"]]
    assert [each["name"] for each in _list(api, page=2, per_page=1).result] == ["orders"]
    shown = [database("GET", id=made[name]).result for name in ("uuid", "name")]
    assert shown == [{name: value for name, value in made.items() if name != "created_in_region"}] * 2
    assert database("GET", params={"fields": "uuid,name"}).result == {"uuid": database.id, "name": "bakery"}
    changed = database("PATCH", json={"read_replication": {"mode": "auto"}}).result
    assert (changed["read_replication"], changed["num_tables"]) == ({"mode": "auto"}, 1)
    assert api("POST", path, json={"name": "orders"}).error == (400, 7502)

    assert database("DELETE", id="orders").result is None
    assert database("GET", id="orders").error == (404, 7404)
    assert database.query("SELECT 1", id=made["uuid"]).error == (404, 7404)


@pytest.mark.parametrize("params", [{"page": "0"}, {"per_page": "x"}])
def test_invalid_page_is_refused(api: Api, params: dict[str, str]) -> None:
    assert _list(api, **params).error == (400, 7400)


@pytest.mark.parametrize("enough", [False, True])
def test_read_token_may_query_by_switch(database: Database, enough: bool) -> None:
    database.api.sandbox.switches.d1_read_is_enough = enough
    token = database.api.sandbox.add_token("reading", ["D1 Read"])
    expected = 200 if enough else 403
    assert database.query("SELECT * FROM loaves", token=token).status == expected
    assert database("GET", "/time_travel/bookmark", token=token).status == expected
    assert database("GET", token=token).status == 200
    assert database.query("DELETE FROM loaves", token=token).error == (403, 10000)
    assert database("POST", "/time_travel/restore", token=token).error == (403, 10000)


def test_stale_read_ends_after_switched_number(database: Database) -> None:
    database.api.sandbox.switches.d1_stale_reads = 2
    database.bake("rye")
    assert [database.rows(), database.rows(), database.rows()] == [[], [], [["rye"]]]
    database.bake("spelt")
    database.bake("oat")
    assert [database.rows() for _ in range(3)][::2] == [[["rye"], ["spelt"]], [["rye"], ["spelt"], ["oat"]]]


def test_embedded_worker_runs_sql_of_its_behaviour(database: Database, edge: httpx.Client) -> None:
    sandbox = database.api.sandbox
    paths = {"/bake": {"sql": "INSERT INTO loaves (flour) VALUES ('rye')"}, "/loaves": {"sql": "SELECT * FROM loaves"}}
    bound = [{"type": "d1", "name": "DB", "id": database.id}]
    sandbox.deploy("bakery", sandbox.upload("bakery", behaviour={"paths": paths}, bindings=bound))
    empty = database.bookmark()

    assert edge.get("/bake").json() == {"rows": []}
    assert [row["flour"] for row in edge.get("/loaves").json()["rows"]] == ["rye"]
    database.restore(bookmark=empty)
    assert edge.get("/loaves").json() == {"rows": []}
    database.query("DROP TABLE loaves")
    assert (edge.get("/loaves").status_code, edge.get("/health").status_code) == (500, 200)
