"""Read the state of a D1 database: schema, applied migrations and number of rows."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from ops.cloudflare.types.d1 import Migration, SqlResult, SqlStatement, SqlValue, quote_identifier
from ops.core.errors import ProviderError, Reason
from ops.core.threads import run_parallel, run_parallel_mixed
from ops.database import applies, migration_holds

if TYPE_CHECKING:
    from ops.cloudflare.d1 import D1Api
    from ops.config.sections import Database

COUNT_TIMEOUT = 5.0
"""Seconds to wait for the number of rows of a table. A database runs one query after the other."""
AGREEING_READS = 4
"""Reads until two that follow each other must agree."""
MAX_TABLES = 20
"""Tables that are counted: those of `created` and `rows` in ops.yml, then others in alphabetical order."""
_SCHEMA = SqlStatement(
    "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite!_%' ESCAPE '!' "  # noqa: S608
    f"AND name NOT LIKE '!_cf!_%' ESCAPE '!' AND name <> '{migration_holds.TABLE}' ORDER BY type, name"
)
"""The objects that people made; `_cf_` belongs to D1, and the holds to Backout."""


@dataclass(frozen=True)
class TableRows:
    """Rows of a table. Each value is None if it was not counted in time, or if no column tells it."""

    count: int | None = None
    newest: datetime | None = None
    """Time of the newest row."""


@dataclass(frozen=True)
class DatabaseState:
    schema: frozenset[tuple[SqlValue, ...]]
    """Type, name and SQL of each table, index, view and trigger."""
    migrations: tuple[Migration, ...]
    """Applied migrations, oldest first."""
    rows: Mapping[str, TableRows] = field(default_factory=dict)
    """Table → its rows; without the table of migrations."""
    restored: applies.RecordedApply | None = None
    """Newest restore that a run recorded. Each restore takes the row of an earlier one away, or brings it back."""
    restore_undo: str = ""
    """Bookmark that undoes it; empty if it left none."""

    @property
    def structure(self) -> tuple[object, ...]:
        """Return everything but the rows."""
        return self.schema, self.migrations

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of rows of the counted tables."""
        return {name: each.count for name, each in self.rows.items() if each.count is not None}


def read_state(d1: "D1Api", database: "Database", uncounted: Collection[str] = ()) -> DatabaseState:
    """Read schema, migrations and rows in two rounds. A table that cannot be counted in time has no count.

    `uncounted` tables are not counted again: D1 may still run the count that took too long, and runs nothing else.

    Raises:
        ProviderError: the schema or the migrations cannot be read.
    """
    objects = read_objects(d1, database.id)
    schema = without_applies(objects)
    tables = sorted(str(name) for kind, name, _ in schema if kind == "table")
    table = database.migrations_table.lower()  # SQLite's names ignore capitals
    others = [name for name in tables if name.lower() != table]
    (migrations, recorded), rows = run_parallel_mixed(
        [
            lambda: read_applied_migrations(d1, database.id, database.migrations_table, objects),
            lambda: _count_rows_of_tables(d1, database, others, uncounted),
        ]
    )
    restored, undo = recorded.get(applies.RESTORE), recorded.get(applies.RESTORE_UNDO)
    belongs = restored is not None and undo is not None and restored.run == undo.run
    return DatabaseState(schema, migrations, rows, restored, undo.bookmark if undo and belongs else "")


def read_objects(d1: "D1Api", database_id: str) -> frozenset[tuple[SqlValue, ...]]:
    """Return type, name and SQL of the objects that people or guards made. Raises ProviderError."""
    (result,) = d1.query(database_id, [_SCHEMA])
    return frozenset((row["type"], row["name"], row["sql"]) for row in result.rows)


def without_applies(objects: frozenset[tuple[SqlValue, ...]]) -> frozenset[tuple[SqlValue, ...]]:
    """Return the schema: the objects without the table of applies, which belongs to Backout."""
    return frozenset(each for each in objects if each[1] != applies.TABLE)


def has_table(objects: frozenset[tuple[SqlValue, ...]], table: str) -> bool:
    """Return whether there is a table of this name. SQLite's names ignore capitals."""
    return any(kind == "table" and str(name).lower() == table.lower() for kind, name, _ in objects)


def read_database_clock(d1: "D1Api", database_id: str) -> datetime:
    """Return the time of D1's clock, which the times of migrations and bookmarks have. Raises ProviderError."""
    (result,) = d1.query(database_id, [SqlStatement("SELECT unixepoch() AS now")])
    return datetime.fromtimestamp(int(str(result.rows[0]["now"])), UTC)


def read_applied_migrations(
    d1: "D1Api", database_id: str, table: str, objects: frozenset[tuple[SqlValue, ...]]
) -> tuple[tuple[Migration, ...], Mapping[str, applies.RecordedApply]]:
    """Return the applied migrations, oldest first, with the applies that guards recorded, and the rows of all applies.

    Raises ProviderError.
    """
    found, recorded = run_parallel_mixed(
        [
            lambda: d1.list_migrations(database_id, table) if has_table(objects, table) else (),
            lambda: applies.read_applies(d1, database_id) if has_table(objects, applies.TABLE) else {},
        ]
    )
    migrations = (replace(each, apply=recorded[each.name].bookmark if each.name in recorded else "") for each in found)
    return tuple(migrations), recorded


def read_applied_names(d1: "D1Api", database_id: str, table: str) -> frozenset[str]:
    """Return the names of the applied migrations. Without their table, which a stale read may miss, there are none.

    Raises ProviderError.
    """
    try:
        return frozenset(each.name for each in d1.list_migrations(database_id, table))
    except ProviderError as error:
        if error.reason == Reason.PROVIDER_REFUSED and f"no such table: {table}" in error.message:
            return frozenset()
        raise


def read_agreeing_state(d1: "D1Api", database: "Database", uncounted: Collection[str]) -> tuple[DatabaseState, bool]:
    """Read the state until two reads agree, and return the last one with whether it agrees with the one before.

    Two reads differ while something writes, and a read may lag behind the latest change.

    Raises:
        ProviderError: the schema or the migrations cannot be read.
    """
    previous = read_state(d1, database, uncounted)
    for _ in range(AGREEING_READS - 1):
        now = read_state(d1, database, uncounted)
        if now == previous:
            return now, True
        previous = now
    return previous, False


def _count_rows_of_tables(
    d1: "D1Api", database: "Database", tables: Sequence[str], uncounted: Collection[str]
) -> dict[str, TableRows]:
    first = sorted(tables, key=lambda table: table not in {*database.created, *database.rows})
    counted = [table for table in first[:MAX_TABLES] if table not in uncounted]
    counts = run_parallel([partial(_count_table_rows, d1, database, table) for table in counted]) if counted else []
    return {**dict.fromkeys(tables, TableRows()), **dict(zip(counted, counts, strict=True))}


@dataclass(frozen=True)
class RowsAt:
    """Present rows that were there at an earlier time, by their `created` column."""

    total: int
    """All present rows."""
    certain: int
    undated: int = 0
    """Rows whose column is empty or no time: nobody knows whether they were there."""

    @property
    def added(self) -> int:
        """Return the greatest number of rows that were added since."""
        return self.total - self.certain


def count_rows_at(d1: "D1Api", database: "Database", state: DatabaseState, at: datetime) -> dict[str, RowsAt]:
    """Return table → present rows that were added until `at`, for tables with a `created` column."""
    known = [name for name in state.counts if name in database.created]

    def count_table_rows(table: str) -> RowsAt | None:
        added = sql_seconds(table, database.created[table])
        until = f"total({added} <= CAST(? AS INTEGER)) AS n, total({added} IS NULL) AS undated"
        sql = f"SELECT count(*) AS total, {until} FROM {quote_identifier(table)}"  # noqa: S608
        result = query_in_time(d1, database.id, SqlStatement(sql, (str(int(at.timestamp())),)))
        row = result.rows[0] if result else {}
        total, n, undated = (_whole_number(row.get(name)) for name in ("total", "n", "undated"))
        return None if total is None or n is None or undated is None else RowsAt(total, n, undated)

    counts = run_parallel([partial(count_table_rows, name) for name in known]) if known else []
    return {name: found for name, found in zip(known, counts, strict=True) if found is not None}


def _count_table_rows(d1: "D1Api", database: "Database", table: str) -> TableRows:
    column = database.created.get(table)
    newest = f", max({sql_seconds(table, column)}) AS newest" if column else ""
    counts = SqlStatement(f"SELECT count(*) AS n{newest} FROM {quote_identifier(table)}")  # noqa: S608
    result = query_in_time(d1, database.id, counts)
    if result is None:
        return TableRows()
    row = result.rows[0]
    return TableRows(_whole_number(row["n"]), _parse_unix_time(row.get("newest")))


def query_in_time(d1: "D1Api", database_id: str, statement: SqlStatement) -> SqlResult | None:
    """Return the result; None if D1 does not answer in time, or rejects the query."""
    try:
        (result,) = d1.query(database_id, [statement], timeout=COUNT_TIMEOUT)
    except ProviderError:
        return None
    return result


def sql_seconds(table: str, column: str) -> str:
    """Return SQL for a time in seconds: the column holds a text, or seconds or milliseconds since 1970.

    NULL for another number, such as a Julian day or 20261124: as seconds, it would be long ago, and its row safe.

    Without its table, SQLite reads the quoted name of a missing column as a text (sqlite.org/quirks.html).
    """
    name = f"{quote_identifier(table)}.{quote_identifier(column)}"
    return (
        f"CASE typeof({name}) WHEN 'text' THEN unixepoch({name}) WHEN 'blob' THEN NULL "
        f"ELSE CASE WHEN {name} BETWEEN 1e8 AND 1e11 THEN {name} WHEN {name} BETWEEN 1e11 AND 1e14 THEN {name} / 1000 "
        "END END"
    )


def _whole_number(value: SqlValue) -> int | None:
    return int(value) if isinstance(value, int | float) else None


def _parse_unix_time(value: SqlValue) -> datetime | None:
    try:
        return datetime.fromtimestamp(value, UTC) if isinstance(value, int | float) else None
    except (OverflowError, ValueError, OSError):
        return None
