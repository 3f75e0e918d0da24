"""D1 in the sandbox's API."""

from typing import Any

import pytest

from tests.sandbox.conftest import Answer, Api


def _d1(api: Api, method: str, path: str = "", **options: Any) -> Answer:
    return api(method, f"/accounts/{api.sandbox.account_id}/d1/database{path}", **options)


@pytest.fixture
def database(api: Api) -> str:
    return api.sandbox.d1.add("fortunet")


def _query(api: Api, database: str, sql: str, *params: Any) -> Answer:
    return _d1(api, "POST", f"/{database}/query", json={"sql": sql, "params": list(params)})


def test_each_statement_of_a_query_has_a_result(api: Api, database: str) -> None:
    sql = """
    CREATE TABLE t (n INTEGER, s TEXT); -- a comment; with a semicolon
    CREATE TRIGGER twice AFTER INSERT ON t WHEN new.n = 1 BEGIN INSERT INTO t VALUES (2, ';'); END;
    INSERT INTO t VALUES (1, 'a;b');
    /* the end */
    """
    assert [each["meta"]["changes"] for each in _query(api, database, sql).result] == [0, 0, 2]
    (found,) = _query(api, database, "SELECT * FROM t WHERE n = ?", "1").result
    assert (found["results"], found["success"]) == ([{"n": 1, "s": "a;b"}], True)


def test_batch_is_atomic(api: Api, database: str) -> None:
    _query(api, database, "CREATE TABLE t (n INTEGER)")
    batch = [{"sql": "INSERT INTO t VALUES (?)", "params": [1]}, {"sql": "INSERT INTO missing VALUES (1)"}]
    refused = _d1(api, "POST", f"/{database}/query", json={"batch": batch})
    assert refused.error == (400, 7500)
    assert refused.message == "no such table: missing: SQLITE_ERROR"
    assert _query(api, database, "SELECT * FROM t").result[0]["results"] == []


@pytest.mark.parametrize("sql", ["", " ; ", "-- nothing", "BEGIN", "SELECT ?; SELECT ?"])
def test_unsupported_sql_is_refused(api: Api, database: str, sql: str) -> None:
    assert _query(api, database, sql, *(["1"] if "?" in sql else [])).status == 400


def test_databases_are_created_and_found_by_id_or_name(api: Api) -> None:
    made = _d1(api, "POST", json={"name": "one"}).result
    assert _d1(api, "GET").result == [made]
    assert [_d1(api, "GET", f"/{made[name]}").result for name in ("uuid", "name")] == [made, made]
    assert _d1(api, "GET", "/none").error == (404, 7404)
    assert _query(api, "none", "SELECT 1").error == (404, 7404)
