"""Made-up rows show what foreign keys do, on a local copy and in the guard."""

import re
import sqlite3
from pathlib import Path

import pytest

from ops.database.local_copy import LocalCopy, SqlRejectedError, find_unseen
from ops.database.schema_tables import FIRST_VALUE, fill_schema_tables, loses_rows, read_sample_rows
from tests.conftest import World
from tests.database.test_local_copy import schema_of
from tests.support.deployment import SECOND, open_migrated

REBUILD = (
    "CREATE TABLE new (id INTEGER PRIMARY KEY, name TEXT)",
    "INSERT INTO new SELECT * FROM p",
    "DROP TABLE p",
    "ALTER TABLE new RENAME TO p",
)
PARENT = "CREATE TABLE p (id INTEGER PRIMARY KEY, name TEXT)"


@pytest.mark.parametrize(
    ("action", "fails"), [("CASCADE", False), ("SET NULL", False), ("NO ACTION", True), ("RESTRICT", True)]
)
def test_each_action_of_a_foreign_key_shows(action: str, fails: bool) -> None:
    child = f"CREATE TABLE c (id INTEGER PRIMARY KEY, p TEXT REFERENCES p (id) ON DELETE {action})"
    schema = schema_of(PARENT, child, "CREATE TRIGGER t AFTER INSERT ON c BEGIN SELECT raise(abort, 'no'); END")
    with LocalCopy(schema, has_rows=True) as copy:
        if fails:
            with pytest.raises(SqlRejectedError, match="FOREIGN KEY constraint failed"):
                copy.find_lost_rows(REBUILD)
        else:
            assert copy.find_lost_rows(REBUILD) == ()
            assert [each.table for each in copy.losses] == ["c"]

    unseen = find_unseen(schema, [["CREATE TABLE other (a)"], REBUILD])
    assert (len(unseen.transactions), bool(unseen.failure)) == ((1, True) if fails else (2, False))


@pytest.mark.parametrize(
    "table",
    [
        "CREATE TABLE p (a CHECK (a = 1), b TEXT CHECK (b IN ('x')) NOT NULL, c AS (a) STORED, d REAL UNIQUE)",
        "CREATE TABLE p (a INT, b INT, up REFERENCES p (a), PRIMARY KEY (a)) WITHOUT ROWID",
        "CREATE TABLE p (a TEXT, b INT, c INTEGER PRIMARY KEY AUTOINCREMENT) STRICT",
        "CREATE TABLE p (a INTEGER PRIMARY KEY, up INTEGER REFERENCES p (a) ON DELETE NO ACTION)",
    ],
)
def test_lost_rows_are_seen_in_each_kind_of_table(table: str) -> None:
    plain = sqlite3.connect(":memory:", isolation_level=None)
    plain.execute(table)
    fill_schema_tables(plain, ())
    (before,) = read_sample_rows(plain).values()
    assert len(before.rows) == 2

    plain.execute("PRAGMA foreign_keys = off")
    for sql, lost in (
        ("ALTER TABLE p ADD COLUMN more TEXT", False),
        ("UPDATE p SET more = 1", False),
        (f"UPDATE p SET a = 8 WHERE a = {FIRST_VALUE}", True),
        (f"DELETE FROM p WHERE a = {FIRST_VALUE + 1}", True),
    ):
        plain.execute(sql)
        after = read_sample_rows(plain)["p"]
        assert loses_rows(before, after) == lost, sql
        before = after if lost else before
    plain.execute("ALTER TABLE p RENAME COLUMN a TO z")
    assert not loses_rows(before, read_sample_rows(plain)["p"])
    plain.close()


def test_migration_that_d1_will_refuse_is_a_warning_before_the_write(world: World, tmp_path: Path) -> None:
    shop = open_migrated(world, tmp_path / "application", "0002_orders.sql", SECOND)
    new = "CREATE TABLE new (id INTEGER PRIMARY KEY, email TEXT);"
    rebuild = (
        f"{new} INSERT INTO new SELECT * FROM customers; DROP TABLE customers; ALTER TABLE new RENAME TO customers;"
    )
    shop.write("0003_rebuild.sql", rebuild)

    planned, refused = shop.guard("--dry-run"), [shop.guard(), shop.guard()]

    assert planned.code == 0, planned.err
    assert re.search(r"warning: D1 refuses 0003_rebuild\.sql if rows refer to others: .*FOREIGN KEY", planned.out)
    for each in refused:
        assert (each.code, "FOREIGN KEY constraint failed" in each.err) == (4, True)
    assert shop.rows("SELECT count(*) FROM orders") == [[1]]

    shop.rows("DELETE FROM orders")
    planned, done = shop.guard("--dry-run"), shop.guard("--json")

    assert "D1 refuses 0003_rebuild.sql if rows refer to others: " in planned.out
    assert (done.code, done.result["warnings"]) == (0, []), done.err
