"""Made-up rows in each table of a local copy, and which of them a change loses.

Foreign keys and conflicts act only where there are rows. The rows of the database stay at Cloudflare.
"""

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ops.cloudflare.types.d1 import quote_identifier
from ops.core.sql import fold_name
from ops.database.schema_tables import Table, find_virtual, is_shadow, read_tables

FIRST, ROWS = 7_000_000_001, 2
"""Value of each column of the first row, which no migration writes; the next row has the next number."""


@dataclass(frozen=True)
class TableRows:
    """Made-up rows of a table."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]


Snapshot = Mapping[str, TableRows]
"""Folded name → rows."""


def fill_tables(connection: sqlite3.Connection, skipped: Sequence[str]) -> None:
    """Add rows to each table: equal numbers refer to each other. A table whose rules forbid them stays empty."""
    connection.execute("PRAGMA foreign_keys = off")
    connection.execute("PRAGMA ignore_check_constraints = on")
    tables = read_tables(connection)
    virtual = find_virtual(tables)
    for key, table in tables.items():
        if not table.is_virtual and key not in skipped and not is_shadow(key, virtual):
            for number in range(ROWS):
                with contextlib.suppress(sqlite3.Error, sqlite3.Warning):
                    _add_row(connection, table, FIRST + number)
    connection.execute("PRAGMA foreign_keys = on")


def _add_row(connection: sqlite3.Connection, table: Table, value: int) -> None:
    """Add a row. One that refers to its own table refers to the first."""
    own = {
        fold_name(column)
        for each in table.references
        if each.parent == fold_name(table.name)
        for column in each.columns
    }
    key = {fold_name(name) for name in table.primary_key}
    columns = ", ".join(quote_identifier(name) for name in table.columns)
    values = [FIRST if each.folded in own - key else value for each in table.stored]
    marks = ", ".join("?" * len(values))
    connection.execute(
        f"INSERT INTO {quote_identifier(table.name)} ({columns}) VALUES ({marks})",  # noqa: S608
        values,
    )


def read_snapshot(connection: sqlite3.Connection) -> Snapshot:
    """Return the rows of each table that is no virtual one, and no part of one."""
    found = dict[str, TableRows]()
    tables = read_tables(connection)
    virtual = find_virtual(tables)
    for key, table in tables.items():
        if table.columns and not table.is_virtual and not is_shadow(key, virtual):
            names = ", ".join(quote_identifier(name) for name in table.columns)
            rows = connection.execute(f"SELECT {names} FROM {quote_identifier(table.name)}").fetchall()  # noqa: S608
            found[key] = TableRows(table.name, table.columns, tuple(rows))
    return found


def loses_rows(before: TableRows, after: TableRows | None) -> bool:
    """Return whether rows or values are gone. A renamed column keeps its place; a removed one is seen in the schema."""
    if after is None:
        return bool(before.rows)
    places = {fold_name(name): place for place, name in enumerate(after.columns)}
    if len(after.columns) == len(before.columns):
        places |= {fold_name(name): place for place, name in enumerate(before.columns) if fold_name(name) not in places}
    both = [(place, places[fold_name(name)]) for place, name in enumerate(before.columns) if fold_name(name) in places]
    old = Counter(tuple(_typed(row[place]) for place, _ in both) for row in before.rows)
    new = Counter(tuple(_typed(row[place]) for _, place in both) for row in after.rows)
    return bool(old - new)


def _typed(value: object) -> tuple[str, object]:
    return type(value).__name__, value
