"""A table that no loss names keeps each row and value: local copies compared with plain SQLite that has rows."""

import sqlite3
from typing import Any

import hypothesis.strategies as st
from hypothesis import assume

from ops.database.local_copy import LocalCopy, SqlRejectedError
from tests.database.test_local_copy import schema_of
from tests.support.properties import holds_for

TABLES = (
    "CREATE TABLE p (id INTEGER PRIMARY KEY, a TEXT, b NUMERIC UNIQUE)",
    "CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER REFERENCES p (id) ON DELETE CASCADE, a TEXT)",
    "CREATE TABLE n (id INTEGER PRIMARY KEY, up INTEGER REFERENCES n (id) ON DELETE SET NULL, p REFERENCES p (id) ON DELETE SET NULL)",
)
ROWS = (
    "INSERT INTO p VALUES (1, 'x', 10), (2, NULL, 20), (3, '012', 30)",
    "INSERT INTO c VALUES (1, 1, 'u'), (2, 1, 'v'), (3, 3, NULL)",
    "INSERT INTO n VALUES (1, NULL, 1), (2, 1, 2), (3, 2, NULL)",
)
NEW = {
    "p": ("id INTEGER PRIMARY KEY, a TEXT, b NUMERIC UNIQUE", "id INTEGER PRIMARY KEY, a INTEGER, b NUMERIC, x TEXT"),
    "c": ("id INTEGER PRIMARY KEY, p INTEGER, a TEXT", "id INTEGER PRIMARY KEY, p REFERENCES p (id), a TEXT UNIQUE ON CONFLICT IGNORE"),
    "n": ("id INTEGER PRIMARY KEY, up INTEGER, p", "id INTEGER PRIMARY KEY, up INTEGER REFERENCES n (id) ON DELETE CASCADE, p"),
}  # fmt: skip
FILLS = (
    "INSERT INTO new ({0}) SELECT {0} FROM {1}",
    "INSERT INTO new SELECT * FROM {1}",
    "INSERT INTO new ({0}) SELECT {0} FROM {1} WHERE id > 1",
)
COLUMNS = {"p": "id, a, b", "c": "id, p, a", "n": "id, up, p"}
STEPS = (
    "DROP TABLE {0}",
    "ALTER TABLE new RENAME TO {0}",
    "DROP TABLE new",
    "ALTER TABLE {0} RENAME TO old",
    "DROP TABLE old",
)
MORE = (
    *("DELETE FROM {0} WHERE id = 2", "UPDATE {0} SET id = id", "ALTER TABLE {0} ADD COLUMN z", "UPDATE {0} SET z = 1"),
    *("DELETE FROM new", "UPDATE new SET id = id + 10", "ALTER TABLE {0} DROP COLUMN p", "REPLACE INTO {0} (id) VALUES (1)"),
    *("INSERT INTO {0} (id) VALUES (9)", "CREATE TRIGGER t BEFORE INSERT ON new BEGIN SELECT raise(ignore) WHERE new.id = 1; END"),
)  # fmt: skip


@st.composite
def changes(draw: st.DrawFn) -> list[str]:
    """Draw the steps of a rebuild with other statements between them, some in another order."""
    table = draw(st.sampled_from("pcn"))
    new = draw(st.sampled_from(NEW[table]))
    steps = [f"CREATE TABLE new ({new})", draw(st.sampled_from(FILLS)), *STEPS[:2]]
    for more in draw(st.lists(st.sampled_from([*MORE, *STEPS, FILLS[0]]), max_size=3)):
        steps.insert(draw(st.integers(0, len(steps))), more)
    return [each.format(draw(st.sampled_from([table] * 4 + ["p"])), table) if "({0})" not in each else each.format(COLUMNS[table], table) for each in steps]  # fmt: skip


@holds_for(8, 400, statements=changes())
def test_table_without_a_loss_keeps_its_rows(statements: list[str]) -> None:
    plain = sqlite3.connect(":memory:", isolation_level=None)
    for sql in (*TABLES, *ROWS, "PRAGMA foreign_keys = on", "BEGIN", "PRAGMA defer_foreign_keys = on"):
        plain.execute(sql)
    before = {table: read(plain, table) for table in "pcn"}
    try:
        with LocalCopy(schema_of(*TABLES)) as copy:
            copy.run(statements)
            lossy = {each.table for each in copy.losses}
        for sql in (*statements, "COMMIT"):
            plain.execute(sql)
    except (SqlRejectedError, sqlite3.Error):
        plain.close()
        assume(False)

    after = {table: read(plain, table) for table in ("p", "c", "n", "old")}
    plain.close()
    for table in before.keys() - lossy:
        kept = [*after[table], *after["old"]]
        for row in before[table]:
            assert any(row.items() <= other.items() for other in kept), (table, statements)


def read(plain: sqlite3.Connection, table: str) -> list[dict[str, Any]]:
    """Return the rows with the type of each value; none without the table."""
    try:
        cursor = plain.execute(f"SELECT * FROM {table}")
    except sqlite3.Error:
        return []
    names = [each[0] for each in cursor.description]
    return [{name: (type(value), value) for name, value in zip(names, row, strict=True)} for row in cursor]
