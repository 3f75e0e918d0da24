"""`ops hold migrate`: lost rows are counted in D1 with one query that only reads."""

from pathlib import Path

import pytest

from tests.conftest import World
from tests.support.deployment import QUERY, Deployment, open_migrated

TABLES = """\
CREATE TABLE rooms (id INTEGER PRIMARY KEY, name TEXT, floor INTEGER);
CREATE TABLE guests (id INTEGER PRIMARY KEY AUTOINCREMENT, room INTEGER REFERENCES rooms (id) ON DELETE SET NULL);
CREATE TABLE keys (room INTEGER, number INTEGER, up INTEGER REFERENCES keys (number) ON DELETE CASCADE, UNIQUE (number),
  FOREIGN KEY (room) REFERENCES rooms (id) ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE floors (name TEXT PRIMARY KEY COLLATE NOCASE);
CREATE TABLE lamps (floor TEXT REFERENCES floors ON DELETE CASCADE);
INSERT INTO floors VALUES ('A'), ('B');
INSERT INTO lamps VALUES ('a'), ('A');
INSERT INTO rooms VALUES (1, 'attic', 3), (2, 'cellar', 0), (3, 'hall', 1);
INSERT INTO guests (room) VALUES (1), (3), (3), (NULL);
INSERT INTO keys VALUES (1, 11, NULL), (3, 31, 11), (NULL, 90, 31);
"""
NAME = "0003_change.sql"
UNKNOWN = "an unknown number of"
NEW = "CREATE TABLE new (id INTEGER PRIMARY KEY, room INTEGER);"
SWAP = "DROP TABLE guests; ALTER TABLE new RENAME TO guests;"


@pytest.fixture
def inn(world: World, tmp_path: Path) -> Deployment:
    return open_migrated(world, tmp_path / "application", "0002_inn.sql", TABLES)


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("DELETE FROM rooms WHERE floor > 2;", "rooms: 1 of 3 rows deleted, "),
        ("DELETE FROM rooms WHERE floor > 2;", "guests: 1 of 4 rows changed by a foreign key"),
        ("DELETE FROM rooms WHERE floor > 2;", f"keys: {UNKNOWN} 3 rows deleted by a foreign key"),
        ("DELETE FROM main.rooms AS r WHERE r.floor = 1 -- one\n;", "rooms: 1 of 3 rows deleted (new rows reuse ids)"),
        ("DELETE FROM rooms;", "rooms: 3 of 3 rows deleted (new rows reuse ids)"),
        ("DELETE FROM guests WHERE id = 4;", "guests: 1 of 4 rows deleted (statement 1"),
        ("DELETE FROM guests WHERE id = 4; UPDATE sqlite_sequence SET seq = 0 WHERE name = 'guests';", "guests: 1 of 4 rows deleted (new rows reuse ids)"),
        ('DELETE FROM "SQLITE_sequence"; DELETE FROM guests;', "guests: 4 of 4 rows deleted (new rows reuse ids)"),
        ("DELETE FROM guests WHERE id = 1; DELETE FROM sqlite_sequence;", "guests: 1 of 4 rows deleted (statement 1"),
        ("DELETE FROM guests WHERE room IN (SELECT id FROM rooms WHERE name LIKE 'h%');", "guests: 2 of 4 rows deleted (statement"),
        ("DELETE FROM guests WHERE EXISTS (SELECT 1 FROM rooms WHERE rooms.id = guests.room);", "guests: 3 of 4 rows deleted (statement"),
        ("DELETE FROM guests WHERE room = 99;", "guests: 0 of 4 rows deleted (statement"),
        ("UPDATE rooms SET id = id + 10 WHERE floor = 1;", "keys: at most 1 of 3 rows changed by a foreign key"),
        ("UPDATE rooms SET name = 'x', floor = (SELECT 1);", "rooms: at most 3 of 3 rows changed"),
        ("ALTER TABLE rooms DROP COLUMN floor;", "rooms: column floor removed, with the values of 3 of 3 rows"),
        ("DELETE FROM guests WHERE random() > 0;", f"guests: {UNKNOWN} 4 rows deleted"),
        ("DELETE FROM guests WHERE id IN (SELECT id FROM rooms ORDER BY 1 LIMIT 1);", "guests: 1 of 4 rows deleted"),
        ("WITH g AS (SELECT 1 AS id) DELETE FROM guests WHERE id IN g;", f"guests: {UNKNOWN} 4 rows deleted"),
        ("INSERT INTO rooms VALUES (9, 'z', 9); DELETE FROM rooms WHERE floor = 9;", f"rooms: {UNKNOWN} 3 rows deleted"),
        ("INSERT INTO rooms VALUES (9, 'z', 9); DELETE FROM guests WHERE room IN (SELECT id FROM rooms);", f"guests: {UNKNOWN} 4 rows"),
        ('ALTER TABLE rooms ADD COLUMN note; DELETE FROM rooms WHERE "note" IS NULL;', f"rooms: {UNKNOWN} 3 rows deleted"),
        ("ALTER TABLE guests RENAME TO people; DELETE FROM people WHERE id = 1;", f"guests: {UNKNOWN} 4 rows deleted"),
        ('DELETE FROM rooms WHERE name = "number";', f"rooms: {UNKNOWN} 3 rows deleted"),
        ("CREATE TRIGGER t BEFORE DELETE ON guests BEGIN INSERT INTO rooms VALUES (9, 'z', 9); END; DELETE FROM guests WHERE room IN (SELECT id FROM rooms);", f"guests: {UNKNOWN} 4 rows deleted"),
        ("UPDATE guests SET room = 1 FROM rooms WHERE rooms.id = room;", f"guests: {UNKNOWN} 4 rows changed"),
        ("INSERT INTO guests (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET room = 2;", f"guests: {UNKNOWN} 4 rows changed"),
        (
            "CREATE TABLE new (id INTEGER PRIMARY KEY, room INTEGER, host INTEGER REFERENCES rooms (id) ON DELETE CASCADE); INSERT INTO new (id, room, host) SELECT id, room, coalesce(room, 1) FROM guests; DROP TABLE guests; ALTER TABLE new RENAME TO guests; DELETE FROM rooms WHERE floor = 3;",
            f"guests: {UNKNOWN} 4 rows deleted by a foreign key",
        ),
        ("DELETE FROM floors WHERE name = 'A';", f"lamps: {UNKNOWN} 2 rows deleted by a foreign key"),
        ("PRAGMA case_sensitive_like = on; DELETE FROM rooms WHERE name NOT LIKE 'A%';", f"rooms: {UNKNOWN} 3 rows deleted"),
        (f"{NEW} INSERT INTO new SELECT * FROM guests; INSERT INTO new VALUES (9, 9); {SWAP} DELETE FROM rooms WHERE 9 IN (SELECT id FROM guests);", f"rooms: {UNKNOWN} 3 rows deleted"),
        (f"{NEW} INSERT INTO new SELECT id, coalesce(room, 0) FROM guests; UPDATE new SET room = 7; {SWAP}", f"guests: {UNKNOWN} 4 rows changed (statement 3"),
        (f"{NEW} INSERT INTO new SELECT id, coalesce(room, 0) FROM guests; UPDATE new SET room = 7; {SWAP}", "guests: 1 of 4 rows changed by the rebuild (statement 2"),
        (f"{NEW} INSERT INTO new SELECT * FROM guests WHERE id = 1; INSERT INTO new SELECT * FROM guests WHERE id > 1; {SWAP}", "guests: at most 1 of 4 rows deleted by the rebuild"),
        ("DELETE FROM guests WHERE id = 1; DELETE FROM guests WHERE id = 2;", f"guests: {UNKNOWN} 4 rows deleted (statement 2"),
    ],
)  # fmt: skip
def test_rows_are_counted_or_unknown(inn: Deployment, sql: str, says: str) -> None:
    inn.write(NAME, sql)
    inn.world.sandbox.requests.clear()

    refused = inn.guard()

    assert refused.code == 3, refused.out
    assert says in refused.err
    texts = [str(each.body) for each in inn.world.sandbox.requests if each.path == QUERY]
    assert len([text for text in texts if " AS highest" in text]) <= 1
    assert inn.writes == []


def test_many_paths_of_foreign_keys_end_in_time(inn: Deployment) -> None:
    """Thirty tables have millions of paths from the first to the last one."""
    for number in range(30):
        parents = [
            f"r{each} INTEGER REFERENCES t{each} (id) ON DELETE CASCADE" for each in range(max(0, number - 3), number)
        ]
        inn.rows(f"CREATE TABLE t{number} ({', '.join(['id INTEGER PRIMARY KEY', *parents])})")
    inn.rows("INSERT INTO t0 VALUES (1), (2)")
    inn.write(NAME, "DELETE FROM t0 WHERE id = 1;")

    refused = inn.guard()

    assert refused.code == 3
    assert "t0: 1 of 2 rows deleted" in refused.err
    assert f"t9: {UNKNOWN} " in refused.err


def test_counts_that_d1_refuses_are_unknown(inn: Deployment) -> None:
    """Such as a query that takes longer than D1 allows."""
    inn.world.sandbox.fault(sends=" AS highest", status=400, times=None)
    inn.write(NAME, "DELETE FROM guests WHERE room = 1;")

    refused = [inn.guard(), inn.guard()]

    for each in refused:
        assert (each.code, f"guests: {UNKNOWN} 4 rows deleted" in each.err) == (3, True)


def test_difference_from_the_prediction_is_a_warning(inn: Deployment) -> None:
    inn.write(NAME, "DELETE FROM guests WHERE room = 3; -- backout: accepts guests")
    inn.world.sandbox.fault(
        sends="DELETE FROM guests WHERE room = 3;", before=lambda: inn.rows("UPDATE guests SET room = 3 WHERE id = 1")
    )

    done = inn.guard("--json")

    assert done.code == 0, done.err
    assert done.result["rows"]["guests"] == {"before": 4, "after": 1}
    assert "guests has 1 row now, 2 expected, and 4 before: other writes" in done.result["warnings"][0]
