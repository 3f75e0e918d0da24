"""SQL that a plan may send: it provably changes nothing."""

import sqlite3
from contextlib import closing, suppress

import pytest
from hypothesis import strategies as st

from ops.core.sql import is_read_only
from tests.support.properties import holds_for


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        " select * FROM loaves -- all; of them\n;;",
        "/* BEGIN; */ SELECT 'a;b', \"DELETE\", [update], `x` FROM loaves",
        "WITH n AS (SELECT replace(flour, 'a', 'b') AS f FROM loaves) SELECT * FROM n",
        "VALUES (1)",
        "EXPLAIN QUERY PLAN SELECT * FROM loaves",
        "PRAGMA foreign_key_check",
        "PRAGMA quick_check(1)",
        "pragma Table_Info('loaves');",
    ],
)
def test_reading_sql_is_read_only(sql: str) -> None:
    assert is_read_only(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "",
        ";",
        "-- SELECT 1",
        "SELECT 1; DELETE FROM loaves",
        "SELECT 1 /* ; */ ; SELECT 2",
        "DELETE FROM loaves",
        "WITH n AS (SELECT 1) DELETE FROM loaves",
        "WITH n AS (SELECT 1) REPLACE INTO loaves VALUES (1)",
        "EXPLAIN PRAGMA foreign_keys = off",
        "PRAGMA foreign_keys",
        "PRAGMA optimize",
        "PRAGMA quick_check; DROP TABLE loaves",
        "PRAGMA table_info = loaves",
        "BEGIN",
        "SELECT 'open",
        "SELECT 1 \x00; DROP TABLE loaves",
        "selec 1",
    ],
)
def test_other_sql_may_write(sql: str) -> None:
    assert not is_read_only(sql)


STARTS = st.sampled_from(["SELECT 1", "WITH n AS (SELECT 1)", "PRAGMA", "EXPLAIN", "VALUES (1)", "/* x */", ";"])
PIECES = st.sampled_from(
    [
        *("SELECT", "WITH n AS (SELECT 1)", "1", "* FROM a", "DELETE FROM a", "INSERT INTO a VALUES (2)", "REPLACE"),
        *(
            "UPDATE a SET k = 3",
            "DROP TABLE a",
            "PRAGMA",
            "user_version = 5",
            "table_info(a)",
            "EXPLAIN",
            "RETURNING k",
        ),
        *(
            ";",
            "--",
            "/*",
            "*/",
            "'",
            '"',
            "`",
            "[",
            "]",
            "\n",
            "\\",
            "\u00a0",
            "(",
            ")",
            ",",
            "x'",
            "INTO a VALUES (4)",
        ),
    ]
)


@holds_for(40, 2000, start=STARTS, pieces=st.lists(PIECES, max_size=4))
def test_read_only_sql_changes_nothing_in_sqlite(start: str, pieces: list[str]) -> None:
    sql = " ".join([start, *pieces])
    if not is_read_only(sql):
        return
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript("CREATE TABLE a (k); INSERT INTO a VALUES (1)")
        before = connection.serialize()
        with suppress(sqlite3.Error, sqlite3.Warning, ValueError):
            connection.executescript(sql)
        assert connection.serialize() == before
