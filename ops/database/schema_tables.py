"""Tables of a SQLite schema: columns, foreign keys, and made-up rows that a change may lose.

Foreign keys and conflicts act only where there are rows. The rows of the database stay at Cloudflare.
"""

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from ops.cloudflare.types.d1 import quote_identifier
from ops.core.sql import fold_name, tokenize

_AFFINITIES = (
    ("INT", "numeric"),
    *((word, "text") for word in ("CHAR", "CLOB", "TEXT")),
    ("BLOB", "blob"),
    *((word, "real") for word in ("REAL", "FLOA", "DOUB")),
)
"""Word in a declared type → affinity (sqlite.org/datatype3.html). INTEGER stores the same values as NUMERIC."""

_SHADOW_PARTS = frozenset(
    {
        *("config", "content", "data", "docsize", "idx", "segdir", "segments", "stat"),  # full text
        *("node", "parent", "rowid"),  # R*Tree
    }
)
"""Ends of the names of tables in which a virtual table keeps its rows (sqlite.org/vtab.html#xshadowname)."""


@dataclass(frozen=True)
class Column:
    name: str
    affinity: str
    is_generated: bool
    is_required: bool
    """NOT NULL."""
    key: int
    """Place in the primary key, from 1; 0 for none."""
    declared: str

    @property
    def folded(self) -> str:
        return fold_name(self.name)


@dataclass(frozen=True)
class Reference:
    """A foreign key of a table."""

    columns: tuple[str, ...]
    parent: str
    """Table, folded."""
    parent_columns: tuple[str | None, ...]
    """None for the primary key."""
    on_update: str
    on_delete: str


@dataclass(frozen=True)
class Table:
    name: str
    page: int
    """Root page, which a new name does not change; 0 for each virtual table."""
    sql: str
    all_columns: tuple[Column, ...] = ()
    """Columns that `*` selects."""
    references: tuple[Reference, ...] = ()

    @property
    def is_virtual(self) -> bool:
        return self.page == 0

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of the columns that hold values."""
        return tuple(each.name for each in self.stored)

    @property
    def stored(self) -> tuple[Column, ...]:
        return tuple(each for each in self.all_columns if not each.is_generated)

    @property
    def primary_key(self) -> tuple[str, ...]:
        return tuple(each.name for each in sorted(self.all_columns, key=lambda each: each.key) if each.key)

    @property
    def reused_key(self) -> str:
        """Return the column whose numbers new rows get again if the highest one was deleted; empty if there is none.

        sqlite.org/autoinc.html
        """
        return "" if "AUTOINCREMENT" in self._sql_words else self.number_key

    @property
    def number_key(self) -> str:
        """Return the column that SQLite numbers by itself; empty if there is none."""
        return next((each.name for each in self.stored if self.is_rowid(each)), "")

    @property
    def has_collation(self) -> bool:
        """Return whether some texts that differ are equal in the table (sqlite.org/datatype3.html#collation)."""
        return "COLLATE" in self._sql_words

    @property
    def _sql_words(self) -> frozenset[str]:
        return frozenset(token.text for token in tokenize(self.sql) or () if token.kind == "word")

    def find_column(self, name: str) -> Column | None:
        return next((each for each in self.all_columns if each.folded == fold_name(name)), None)

    def is_rowid(self, column: Column) -> bool:
        """Return whether a column is the row's number, which SQLite chooses for an empty one."""
        return self.primary_key == (column.name,) and column.declared.upper() == "INTEGER"


def read_tables(connection: sqlite3.Connection) -> dict[str, Table]:
    """Return the tables by their folded names."""
    rows = connection.execute(
        'SELECT t.name, t.rootpage, t.sql, c.name, c.type, c.hidden, c."notnull", c.pk FROM sqlite_schema t '
        "LEFT JOIN pragma_table_xinfo(t.name) c "
        "WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite!_%' ESCAPE '!' AND c.hidden IS NOT 1"
    )
    tables = dict[str, Table]()
    for name, page, sql, column, declared, hidden, required, key in rows:
        table = tables.setdefault(fold_name(name), Table(name, page, sql))
        if column is not None:
            new = Column(column, _column_affinity(declared), hidden > 1, bool(required), key, declared)
            tables[fold_name(name)] = replace(table, all_columns=(*table.all_columns, new))
    for name, references in _read_references(connection).items():
        tables[name] = replace(tables[name], references=references)
    return tables


def is_shadow(name: str, virtual: Collection[str]) -> bool:
    """Return whether a table is a part of one of the virtual tables. All names are folded."""
    owner, _, part = name.rpartition("_")
    return part in _SHADOW_PARTS and owner in virtual


def find_virtual(tables: Mapping[str, Table]) -> frozenset[str]:
    """Return the folded names of the virtual tables."""
    return frozenset(key for key, table in tables.items() if table.is_virtual)


def _read_references(connection: sqlite3.Connection) -> Mapping[str, tuple[Reference, ...]]:
    rows = connection.execute(
        'SELECT t.name, f.id, f."table", f."from", f."to", f.on_update, f.on_delete FROM sqlite_schema t '
        "JOIN pragma_foreign_key_list(t.name) f "
        "WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY t.name, f.id, f.seq"
    )
    found = dict[str, dict[int, Reference]]()
    for table, number, parent, column, parent_column, on_update, on_delete in rows:
        keys = found.setdefault(fold_name(table), {})
        key = keys.get(number, Reference((), fold_name(parent), (), on_update, on_delete))
        keys[number] = replace(key, columns=(*key.columns, column), parent_columns=(*key.parent_columns, parent_column))
    return {table: tuple(keys.values()) for table, keys in found.items()}


def _column_affinity(declared: str) -> str:
    # ANY is NUMERIC, or keeps each value in a STRICT table (sqlite.org/stricttables.html).
    found = (affinity for word, affinity in _AFFINITIES if word in declared.upper())
    return next(found, "any" if declared.upper() == "ANY" else "numeric" if declared else "blob")


FIRST_VALUE, MADE_UP_ROWS = 7_000_000_001, 2
"""Value of each column of the first row, which no migration writes; the next row has the next number."""


@dataclass(frozen=True)
class SampleRows:
    """Made-up rows of a table."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]


Snapshot = Mapping[str, SampleRows]
"""Folded name → rows."""


def fill_schema_tables(connection: sqlite3.Connection, skipped: Sequence[str]) -> None:
    """Add rows to each table: equal numbers refer to each other. A table whose rules forbid them stays empty."""
    connection.execute("PRAGMA foreign_keys = off")
    connection.execute("PRAGMA ignore_check_constraints = on")
    tables = read_tables(connection)
    virtual = find_virtual(tables)
    for key, table in tables.items():
        if not table.is_virtual and key not in skipped and not is_shadow(key, virtual):
            for number in range(MADE_UP_ROWS):
                with contextlib.suppress(sqlite3.Error, sqlite3.Warning):
                    _insert_trial_row(connection, table, FIRST_VALUE + number)
    connection.execute("PRAGMA foreign_keys = on")


def _insert_trial_row(connection: sqlite3.Connection, table: Table, value: int) -> None:
    """Add a row. One that refers to its own table refers to the first."""
    own = {
        fold_name(column)
        for each in table.references
        if each.parent == fold_name(table.name)
        for column in each.columns
    }
    key = {fold_name(name) for name in table.primary_key}
    columns = ", ".join(quote_identifier(name) for name in table.columns)
    values = [FIRST_VALUE if each.folded in own - key else value for each in table.stored]
    marks = ", ".join("?" * len(values))
    connection.execute(
        f"INSERT INTO {quote_identifier(table.name)} ({columns}) VALUES ({marks})",  # noqa: S608
        values,
    )


def read_sample_rows(connection: sqlite3.Connection) -> Snapshot:
    """Return the rows of each table that is no virtual one, and no part of one."""
    found = dict[str, SampleRows]()
    tables = read_tables(connection)
    virtual = find_virtual(tables)
    for key, table in tables.items():
        if table.columns and not table.is_virtual and not is_shadow(key, virtual):
            names = ", ".join(quote_identifier(name) for name in table.columns)
            rows = connection.execute(f"SELECT {names} FROM {quote_identifier(table.name)}").fetchall()  # noqa: S608
            found[key] = SampleRows(table.name, table.columns, tuple(rows))
    return found


def loses_rows(before: SampleRows, after: SampleRows | None) -> bool:
    """Return whether rows or values are gone. A renamed column keeps its place; a removed one is seen in the schema."""
    if after is None:
        return bool(before.rows)
    places = {fold_name(name): place for place, name in enumerate(after.columns)}
    if len(after.columns) == len(before.columns):
        places |= {fold_name(name): place for place, name in enumerate(before.columns) if fold_name(name) not in places}
    both = [(place, places[fold_name(name)]) for place, name in enumerate(before.columns) if fold_name(name) in places]
    old = Counter(tuple(_value_with_type(row[place]) for place, _ in both) for row in before.rows)
    new = Counter(tuple(_value_with_type(row[place]) for _, place in both) for row in after.rows)
    return bool(old - new)


def _value_with_type(value: object) -> tuple[str, object]:
    return type(value).__name__, value
