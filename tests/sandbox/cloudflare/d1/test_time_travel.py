"""Time Travel of D1: bookmarks, restores and their limits."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import strategies as st

from sandbox import Switches
from sandbox.clock import FakeClock, timestamp
from sandbox.cloudflare.d1.sqlite import D1Sqlite, SqlError
from sandbox.cloudflare.d1.state import DatabaseStore
from tests.sandbox.cloudflare.d1.conftest import Database
from tests.support.properties import holds_for


@pytest.fixture
def baked(database: Database) -> list[str]:
    """Bake a loaf a minute, and return the bookmark after each."""
    bookmarks = []
    for flour in ("rye", "spelt", "oat"):
        database.api.sandbox.clock.advance(60)
        database.bake(flour)
        bookmarks.append(database.bookmark())
    database.api.sandbox.clock.advance(60)
    return bookmarks


def test_each_write_has_a_later_bookmark(database: Database, baked: list[str]) -> None:
    assert sorted(set(baked)) == baked
    assert [len(part) for part in baked[0].split("-")] == [8, 8, 8, 32]
    database.rows()
    database.query("DELETE FROM loaves WHERE id = 99")
    assert database.bookmark() == baked[-1]


def test_timestamp_finds_latest_bookmark_before_it(database: Database, baked: list[str]) -> None:
    now = database.api.sandbox.clock.now()
    at = [timestamp(now - timedelta(seconds=seconds)) for seconds in (180, 179, 121, 120, 0)]
    assert [database.bookmark(timestamp=each) for each in at] == [baked[each] for each in (0, 0, 0, 1, 2)]
    zoned = f"{now - timedelta(hours=5, seconds=121):%Y-%m-%dT%H:%M:%S.%f}-05:00"
    assert database.bookmark(timestamp=zoned) == baked[0]


@pytest.mark.parametrize("shown", [False, True])
def test_restore_is_undone_with_previous_bookmark(database: Database, baked: list[str], shown: bool) -> None:
    database.api.sandbox.switches.d1_bookmark_shows_restore = shown
    restored = database.restore(bookmark=baked[0]).result

    assert database.rows() == [["rye"]]
    assert baked[2] < restored["previous_bookmark"] < restored["bookmark"]
    assert database.bookmark() == (restored["bookmark"] if shown else baked[2])
    assert database.restore(bookmark=restored["previous_bookmark"]).status == 200
    assert database.rows() == [["rye"], ["spelt"], ["oat"]]
    database.bake("corn")
    assert database.bookmark() > restored["bookmark"]


def test_restore_by_timestamp_brings_back_schema(database: Database, baked: list[str]) -> None:
    before = timestamp(database.api.sandbox.clock.now() - timedelta(seconds=90))
    database.query("ALTER TABLE loaves ADD COLUMN price; CREATE TABLE orders (id)")
    assert database.restore(timestamp=before).status == 200
    assert database.rows() == [["rye"], ["spelt"]]
    assert database.query("SELECT price FROM loaves").error == (400, 7500)
    assert database.query("SELECT * FROM orders").error == (400, 7500)


@pytest.mark.parametrize("kept", [False, True])
def test_later_bookmark_after_restore_by_switch(database: Database, baked: list[str], kept: bool) -> None:
    database.api.sandbox.switches.d1_later_bookmarks_kept = kept
    assert database.restore(bookmark=baked[0]).status == 200
    assert database.restore(bookmark=baked[1]).status == (200 if kept else 400)
    assert database.restore(bookmark=baked[2]).status == 200
    assert database.rows() == [["rye"], ["spelt"], ["oat"]]


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({}, "either a bookmark or a timestamp"),
        ({"bookmark": "0" * 8}, "is invalid"),
        ({"bookmark": "x", "timestamp": "2026-11-01T00:00:00Z"}, "either a bookmark or a timestamp"),
        ({"timestamp": "yesterday"}, "ISO 8601"),
        ({"timestamp": "2026-11-01T00:00:00"}, "time zone"),
        ({"timestamp": "2999-01-01T00:00:00Z"}, "future"),
        ({"timestamp": "2001-01-01T00:00:00Z"}, "older than 7 days"),
    ],
)
def test_invalid_target_is_refused(database: Database, baked: list[str], params: dict[str, str], says: str) -> None:
    refused = database.restore(**params)
    assert refused.error == (400, 7400)
    assert says in refused.message
    assert database.bookmark() == baked[-1]


@pytest.mark.parametrize("days", [7, 30])
def test_states_replaced_before_retention_are_gone(database: Database, baked: list[str], days: int) -> None:
    database.api.sandbox.switches.d1_time_travel_days = days
    database.api.sandbox.clock.advance(days * 86400)
    database.bake("corn")
    assert [database.restore(bookmark=each).status for each in baked] == [400, 400, 200]
    assert database.rows() == [["rye"], ["spelt"], ["oat"]]


def test_time_before_database_is_refused(database: Database, baked: list[str]) -> None:
    before = timestamp(database.api.sandbox.clock.now() - timedelta(hours=1))
    assert "did not exist" in database.restore(timestamp=before).message


def test_eleventh_restore_in_ten_minutes_is_refused(database: Database, baked: list[str]) -> None:
    database.api.sandbox.switches.d1_later_bookmarks_kept = True
    statuses = [database.restore(bookmark=baked[number % 2]).status for number in range(11)]
    assert statuses == [200] * 10 + [400]
    assert database.rows() == [["rye"], ["spelt"]]
    database.api.sandbox.clock.advance(600)
    assert database.restore(bookmark=baked[0]).status == 200


COUNT_FOR_LONG = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 5000000) SELECT max(i) FROM n"
"""A query of a second."""


def test_running_query_is_canceled_by_restore(database: Database, baked: list[str]) -> None:
    """The endless query runs without the account's lock, so that the restore reaches its database."""
    endless = "INSERT INTO loaves (flour) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT i FROM n"
    answers: list[Any] = []
    running = threading.Event()
    database.api.sandbox.fault(path="**/query", before=running.set)
    thread = threading.Thread(target=lambda: answers.append(database.query(endless)))
    thread.start()
    running.wait(5)
    while not answers:
        database.api.sandbox.clock.advance(60)
        assert database.restore(bookmark=baked[0]).status == 200
        thread.join(0.01)
    thread.join()
    assert answers[0].error == (400, 7500)
    assert "caused object to be reset" in answers[0].message
    assert database.rows() == [["rye"]]


def test_query_that_is_canceled_right_before_its_first_step_ends() -> None:
    """An interrupt of SQLite ends no statement that begins after it."""
    sqlite = D1Sqlite(lambda: datetime.now(UTC))

    class Values(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            sqlite.cancel()
            return super().__iter__()

    with pytest.raises(SqlError, match="caused object to be reset"):
        sqlite.run([(COUNT_FOR_LONG, Values())])

    sqlite.allow()
    assert sqlite.run([("SELECT 1", [])])[0].rows == [[1]]


def test_query_ends_after_the_longest_time() -> None:
    sqlite = D1Sqlite(lambda: datetime.now(UTC), longest=0.01)
    with pytest.raises(SqlError, match="exceeded timeout"):
        sqlite.run([(COUNT_FOR_LONG, [])])
    assert sqlite.run([("SELECT 1", [])])[0].rows == [[1]]


def test_backdated_write_has_its_own_time(database: Database) -> None:
    sandbox = database.api.sandbox
    now = sandbox.clock.now()
    for minutes, flour in ((120, "rye"), (10, "spelt")):
        sandbox.d1.query(
            database.id, "INSERT INTO loaves (flour) VALUES (?)", flour, at=now - timedelta(minutes=minutes)
        )
    bake_time = f"{now - timedelta(minutes=10):%Y-%m-%d %H:%M:%S}"
    assert database.rows("SELECT baked FROM loaves WHERE flour = 'spelt'") == [[bake_time]]
    assert database.restore(timestamp=timestamp(now - timedelta(minutes=11))).status == 200
    assert database.rows() == [["rye"]]


def test_replica_lags_in_sessions_only(database: Database, baked: list[str]) -> None:
    store, clock = database.store, database.api.sandbox.clock
    database("PATCH", json={"read_replication": {"mode": "auto"}})
    database.bake("corn")
    count: list[tuple[str, list[Any]]] = [("SELECT count(*) FROM loaves", [])]

    any_replica = store.run_in_session(count, "")
    after_own_write = store.run_in_session(count, store.history.current.bookmark)
    clock.advance(5)

    assert (any_replica.results[0].rows, any_replica.by_primary) == ([[3]], False)
    assert (after_own_write.results[0].rows, after_own_write.by_primary) == ([[4]], True)
    assert store.run_in_session(count, "").results[0].rows == [[4]]
    assert store.run_in_session([("INSERT INTO loaves DEFAULT VALUES", [])], "").by_primary


VALUES = st.none() | st.integers(-(2**40), 2**40) | st.text(max_size=5) | st.binary(max_size=5) | st.just(0.5)
KEYS = st.integers(1, 8)
WRITES = st.one_of(
    st.tuples(st.just("INSERT OR REPLACE INTO a VALUES (?, ?)"), st.tuples(KEYS, VALUES)),
    st.tuples(st.just("UPDATE a SET v = ? WHERE k >= ?"), st.tuples(VALUES, KEYS)),
    st.tuples(st.just("DELETE FROM a WHERE k = ?"), st.tuples(KEYS)),
    st.tuples(st.just("INSERT INTO b SELECT v, v FROM a WHERE k <= ?"), st.tuples(KEYS)),
    st.sampled_from(["CREATE INDEX IF NOT EXISTS i ON b (x)", "ALTER TABLE b ADD COLUMN z", "DROP TABLE b"]).map(
        lambda sql: (sql, ())
    ),
    st.just(("CREATE TABLE b (x, y)", ())),
)


def _dump(store: DatabaseStore) -> list[str]:
    """Return schema and rows of the database that answers queries."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(store.inspect(D1Sqlite.content))
        return list(connection.iterdump())


@holds_for(5, 300, data=st.data(), writes=st.lists(WRITES, min_size=1, max_size=12))
def test_restore_and_undo_bring_back_every_row(data: st.DataObject, writes: list[tuple[str, tuple[Any, ...]]]) -> None:
    store = DatabaseStore("d", FakeClock(virtual=True), Switches())
    store.run([("CREATE TABLE a (k INTEGER PRIMARY KEY, v)", []), ("CREATE TABLE b (x, y)", [])])
    dumps = {store.history.current.bookmark: _dump(store)}
    for sql, params in writes:
        try:
            store.run([(sql, params)])
        except SqlError:
            continue  # such as a column that exists
        dumps[store.history.current.bookmark] = _dump(store)
    now = _dump(store)

    bookmark = data.draw(st.sampled_from(sorted(dumps)))
    restored = store.restore(store.history.find(bookmark))
    assert _dump(store) == dumps[bookmark]

    store.restore(store.history.find(restored.previous_bookmark))
    assert _dump(store) == now
