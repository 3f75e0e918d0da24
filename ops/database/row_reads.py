"""Read rows that a restore may lose, and compare the rows of a kept file with the database.

Rows are read in pages with SELECT, up to a limit of seconds and bytes. An export would block every query
(developers.cloudflare.com/d1/best-practices/import-export-data). Errors name no value: an answer of D1 may quote one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any

from ops.cloudflare.types.d1 import SqlResult, SqlStatement, SqlValue, quote_identifier
from ops.core.clock import Clock, format_duration
from ops.core.errors import ProviderError, Reason
from ops.core.json_fields import require_text
from ops.core.names import count_of, quote_name
from ops.core.sql import fold_name
from ops.database.applies import READ_RESTORE
from ops.database.kept_rows import (
    MAX_COLUMNS,
    MAX_ROW,
    PLACE,
    ForeignKey,
    KeptBatch,
    Row,
    TableShape,
    measure_sql,
    page_sql,
    parse_batches,
    rewrite_kept_rows,
)
from ops.database.state import COUNT_TIMEOUT, query_in_time, sql_seconds

if TYPE_CHECKING:
    from ops.cloudflare.d1 import D1Api
    from ops.config.sections import Database

MAX_BYTES = 25_000_000
"""Most bytes of all rows that a run keeps, as literals."""
MAX_SECONDS = 30.0
"""Seconds to read them; maintenance lasts that much longer. A run that is silent for a minute counts as killed."""
PAGE_BYTES = 2_000_000
MAX_PAGE = 1000
"""Most bytes and rows of one read."""
MARGIN = timedelta(minutes=10)
"""Rows that were added so long before the target are read too: the application's clock may differ from D1's."""
REPLACED = "\ufffd"
"""Sign in an answer that may stand for bytes that are no valid text."""
_ROWIDS = ("rowid", "_rowid_", "oid")


class NotKeptError(Exception):
    """Rows of a table cannot be kept. The text says why, and names no value."""

    def __init__(self, table: str, why: str) -> None:
        super().__init__(f"{quote_name(table)}: {why}")
        self.table, self.why = table, why


@dataclass(frozen=True)
class KeptTable:
    """A table whose rows a run keeps, as measured for its plan."""

    name: str
    shape: TableShape | None = None
    """None if nothing of it can be read."""
    rule: str = ""
    """SQL that is true for the rows that the restore may lose; empty: all rows."""
    rows: int = 0
    size: int = 0
    """Bytes of the rows that fit into a statement."""
    longest: int = 0
    large: int = 0
    """Rows that do not fit into a statement."""
    problem: str = ""
    """Why nothing of it is kept."""

    @property
    def loss(self) -> str:
        """Return what of it is not kept; empty if all its rows are."""
        return self.problem or (f"{count_of(self.large, 'row')} of over {MAX_ROW // 1000} kB" if self.large else "")


def measure_tables(
    d1: "D1Api", database: "Database", tables: Sequence[str], at: datetime | None, clock: Clock
) -> tuple[KeptTable, ...]:
    """Return the tables with the number and size of the rows that a restore to the state of `at` may lose."""
    shapes = read_shapes(d1, database.id, tables)
    end, left, measured = clock.monotonic() + MAX_SECONDS, MAX_BYTES, list[KeptTable]()
    for table in tables:
        shape = shapes[table]
        if isinstance(shape, str):
            measured.append(KeptTable(table, problem=shape))
            continue
        found = (
            _measure_kept_table(d1, database, shape, _kept_rows_rule(database, table, at))
            if clock.monotonic() < end
            else None
        )
        if found is None:
            measured.append(
                KeptTable(
                    table,
                    problem=f"D1 did not measure its rows within {format_duration(COUNT_TIMEOUT)}, or rejected that",
                )
            )
        elif found.size > left:
            problem = (
                f"{count_of(found.rows, 'row')} of {describe_size(found.size)}, and {describe_size(left)} are left"
            )
            measured.append(KeptTable(table, problem=problem))
        else:
            measured.append(found)
            left -= found.size
    return tuple(measured)


def describe_size(size: int) -> str:
    return f"{size} B" if size < 1000 else f"{size / 1000:.0f} kB" if size < 1_000_000 else f"{size / 1_000_000:.1f} MB"


def _kept_rows_rule(database: "Database", table: str, at: datetime | None) -> str:
    column = database.created.get(table)
    if at is None or column is None:
        return ""
    added = sql_seconds(table, column)
    return f"{added} IS NULL OR {added} >= {int((at - MARGIN).timestamp())}"


def _measure_kept_table(d1: "D1Api", database: "Database", shape: TableShape, rule: str) -> KeptTable | None:
    result = query_in_time(d1, database.id, measure_sql(shape, rule))
    if result is None:
        return None
    rows, large, size, longest = (int(_sql_number(result.rows[0][name])) for name in ("n", "large", "bytes", "longest"))
    return KeptTable(shape.name, shape, rule, rows, size, longest, large)


def _sql_number(value: SqlValue) -> float:
    return value if isinstance(value, int | float) else 0


def read_rows(
    d1: "D1Api", database_id: str, tables: Sequence[KeptTable], clock: Clock, *, restored_by: str = ""
) -> dict[TableShape, list[Row]]:
    """Return the rows of the tables, after the restore of a run if that is given.

    Raises NotKeptError at the limit, if D1 does not answer, or if a read may be older than that restore.
    """
    end, left, found = clock.monotonic() + MAX_SECONDS, MAX_BYTES, dict[TableShape, list[Row]]()
    for table in tables:
        if table.shape is None:
            continue
        rows = found[table.shape] = list[Row]()
        for page in _RowPageReader(d1, database_id, table, table.shape, restored_by).read_all():
            left -= sum(len(each) for row in page for each in row)
            rows.extend(page)
            if left < 0:
                raise NotKeptError(table.name, f"the limit is {describe_size(MAX_BYTES)}")
            if clock.monotonic() > end:
                raise NotKeptError(table.name, f"the limit is {format_duration(MAX_SECONDS)}")
    return found


@dataclass(frozen=True)
class _RowPageReader:
    """Reads a table page by page, in the order of its rowid or key."""

    d1: "D1Api"
    database_id: str
    table: KeptTable
    shape: TableShape
    restored_by: str
    """Run that left the row of the newest restore, in the state that is read; empty if that does not matter."""

    def read_all(self) -> Iterator[list[Row]]:
        size = max(1, min(MAX_PAGE, PAGE_BYTES // max(1, self.table.longest)))
        after: Row = ()
        while True:
            page = self._read_rows(after, size)
            rows = [row[: len(self.shape.columns)] for row in page]
            if any(sum(len(each.encode()) for each in row) > MAX_ROW for row in rows):
                raise NotKeptError(self.table.name, f"a row of over {MAX_ROW // 1000} kB was added since the plan")
            yield rows
            if len(page) < size:
                return
            after = page[-1][-1:] if self.shape.rowid else self.shape.key_of(page[-1])

    def _read_rows(self, after: Row, size: int) -> list[Row]:
        """Return the rows of a page, each with its place at the end. Doubtful texts are read again, in digits."""
        rows = self._query_rows(after, size, exact=False)
        return self._query_rows(after, size, exact=True) if any(map(_is_doubtful, rows)) else rows

    def _query_rows(self, after: Row, size: int, *, exact: bool) -> list[Row]:
        page = page_sql(self.shape, self.table.rule, after, size, skips_large=self.table.large > 0, exact=exact)
        names = [*(f"c{n}" for n in range(len(self.shape.columns))), *([PLACE] if self.shape.rowid else [])]
        try:
            result, *witness = self.d1.query(self.database_id, [page, *([READ_RESTORE] if self.restored_by else [])])
            if all([row["run"] for row in each.rows] == [self.restored_by] for each in witness):
                return [tuple(require_text(row[name]) for name in names) for row in result.rows]
            why = "the read may be older than the restore"
        except ProviderError as error:
            why = f"D1 did not return its rows ({error.reason.value})"
        except (LookupError, TypeError):
            why = "D1 returned it without its columns"
        raise NotKeptError(self.table.name, why)


def _is_doubtful(row: Row) -> bool:
    """Return whether a sign of the row may stand for bytes that are no valid text."""
    text = "".join(row)
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return True
    return REPLACED in text


def read_shapes(d1: "D1Api", database_id: str, tables: Sequence[str]) -> Mapping[str, TableShape | str]:
    """Return table → its shape, or why its rows cannot be kept. Raises ProviderError."""
    parts = ("table_list", "table_xinfo", "foreign_key_list")
    statements = [SqlStatement(f"PRAGMA {part}({quote_identifier(each)})") for each in tables for part in parts]
    results = d1.query(database_id, statements) if statements else ()
    found = {each: _table_shape(each, *results[3 * n : 3 * n + 3]) for n, each in enumerate(tables)}
    return _with_parent_keys(d1, database_id, found)


def _table_shape(table: str, listed: SqlResult, columns: SqlResult, foreign: SqlResult) -> TableShape | str:
    kinds = {(str(row["type"]), row["wr"] == 1) for row in listed.rows}
    if not kinds:
        return "there is no such table"
    ((kind, is_without_rowid), *_) = kinds
    if kind != "table":
        return f"it is a {kind}"
    stored = [str(row["name"]) for row in columns.rows if row["hidden"] == 0]
    of_key = [row for row in columns.rows if _sql_number(row["pk"]) > 0]
    ranked = sorted((int(_sql_number(row["pk"])), str(row["name"])) for row in of_key)
    names = {fold_name(str(row["name"])) for row in columns.rows}
    rowid = "" if is_without_rowid else next((each for each in _ROWIDS if each not in names), "")
    if not rowid and not is_without_rowid:
        return "no name is left for its rowid"
    key = tuple(name for _, name in ranked)
    stored = stored if key else [rowid, *stored]
    if len(stored) > MAX_COLUMNS:
        return f"it has over {MAX_COLUMNS} columns"
    is_number = [str(row["type"]).upper() for row in of_key] == ["INTEGER"]
    is_nullable = bool(rowid) and not is_number and any(row["notnull"] == 0 for row in of_key)
    return TableShape(table, tuple(stored), key or (rowid,), rowid, tuple(_foreign_keys(foreign)), is_nullable)


def _foreign_keys(result: SqlResult) -> Iterator[ForeignKey]:
    ids = dict.fromkeys(row["id"] for row in result.rows)
    for each in ids:
        rows = sorted((row for row in result.rows if row["id"] == each), key=lambda row: _sql_number(row["seq"]))
        targets = tuple(str(row["to"]) for row in rows if row["to"] is not None)
        columns = tuple(str(row["from"]) for row in rows)
        yield ForeignKey(str(rows[0]["table"]), columns, targets if len(targets) == len(columns) else ())


def _with_parent_keys(
    d1: "D1Api", database_id: str, shapes: Mapping[str, TableShape | str]
) -> Mapping[str, TableShape | str]:
    """Return the shapes with the columns of foreign keys that name only their table."""
    known = [each for each in shapes.values() if isinstance(each, TableShape)]
    unnamed = sorted({it.parent for each in known for it in each.parents if not it.parent_columns})
    if not unnamed:
        return shapes
    results = d1.query(database_id, [SqlStatement(f"PRAGMA table_xinfo({quote_identifier(it)})") for it in unnamed])
    keys = {}
    for parent, result in zip(unnamed, results, strict=True):
        ranked = sorted(
            (int(_sql_number(row["pk"])), str(row["name"])) for row in result.rows if _sql_number(row["pk"]) > 0
        )
        keys[parent] = tuple(name for _, name in ranked)
    return {name: _with_keys(each, keys) if isinstance(each, TableShape) else each for name, each in shapes.items()}


def _with_keys(shape: TableShape, keys: Mapping[str, tuple[str, ...]]) -> TableShape:
    parents = []
    for each in shape.parents:
        found = keys.get(each.parent, ()) if not each.parent_columns else each.parent_columns
        parents.append(ForeignKey(each.parent, each.columns, found if len(found) == len(each.columns) else ()))
    return replace(shape, parents=tuple(parents))


SHOWN_KEYS = 20
"""Rows of a table that the lines for people name."""


@dataclass(frozen=True)
class TableConflicts:
    """Rows of a table, each by its key as SQL literals."""

    table: str
    rows: int
    """Rows of the file."""
    missing: tuple[str, ...]
    """Rows that the table lacks."""
    conflicts: tuple[str, ...]
    """Rows whose key has other values in the table, or is another row by now."""
    problem: str = ""
    """Why it cannot be compared."""

    @property
    def lines(self) -> Iterator[str]:
        name = quote_name(self.table)
        if self.problem:
            yield f"{name}: {count_of(self.rows, 'row')} in the file; {self.problem}"
            return
        missing, other = len(self.missing), len(self.conflicts)
        same = self.rows - missing - other
        yield f"{name}: {self.rows} in the file, {same} in the table, {missing} missing, {other} with other values"
        for keys, state in ((self.missing, "missing"), (self.conflicts, "the table has other values")):
            yield from (f"  {each}: {state}" for each in keys[:SHOWN_KEYS])
            if len(keys) > SHOWN_KEYS:
                yield f"  {len(keys) - SHOWN_KEYS} more: {state}"

    def to_json(self) -> dict[str, Any]:
        named = {"missing": [*self.missing], "conflicts": [*self.conflicts], "problem": self.problem}
        return {"table": self.table, "rows": self.rows, **named}


def find_conflicts(d1: "D1Api", database_id: str, text: str) -> Iterator[TableConflicts]:
    """Yield the tables of a kept file, compared with the database.

    Raises:
        ConfigError: the text is no kept file.
        ProviderError: the database cannot be read. The error names no value.
    """
    batches = list(parse_batches(text))
    shapes = read_shapes(d1, database_id, sorted({each.table for each in batches}))
    for table, of_table in groupby(batches, lambda each: each.table):
        shape, own = shapes[table], list(of_table)
        number = sum(each.rows.count("\n") + 1 for each in own)
        if isinstance(shape, str) or not set(own[0].key) <= set(shape.columns):
            problem = shape if isinstance(shape, str) else "it has another key"
            yield TableConflicts(table, number, (), (), problem)
            continue
        found = [row for each in own for row in _compare_kept_rows(d1, database_id, each, shape.columns)]
        missing = tuple(_describe_row_key(each.key, row) for each, row in found if row["is_free"])
        conflicts = tuple(_describe_row_key(each.key, row) for each, row in found if not row["is_free"])
        yield TableConflicts(table, number, missing, conflicts)


def rewrite_file(d1: "D1Api", database_id: str, text: str) -> str:
    """Return the kept file for the present columns of its tables. Raises ConfigError and ProviderError."""
    shapes = read_shapes(d1, database_id, sorted({each.table for each in parse_batches(text)}))
    return rewrite_kept_rows(text, {name: each for name, each in shapes.items() if not isinstance(each, str)})


def _compare_kept_rows(
    d1: "D1Api", database_id: str, batch: KeptBatch, present: tuple[str, ...]
) -> Iterator[tuple[KeptBatch, Mapping[str, Any]]]:
    try:
        (result,) = d1.query(database_id, [batch.compare_sql(present)])
    except ProviderError as error:
        raise ProviderError(
            f"D1 did not compare the rows of {quote_name(batch.table)} ({error.reason.value})",
            reason=error.reason,
            hint="Compare again in a minute. If the file was changed by hand, use it as the run wrote it.",
        ) from None
    except ValueError:
        raise ProviderError(
            f"the rows of {quote_name(batch.table)} in the file are no literals of SQL",
            reason=Reason.CONFIG_INVALID,
            hint="Name the file of a run, as it was written: `ls .ops/runs/*/kept-rows.sql`.",
        ) from None
    return ((batch, row) for row in result.rows)


def _describe_row_key(key: tuple[str, ...], row: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {row[f'k{n}']}" for n, name in enumerate(key))
