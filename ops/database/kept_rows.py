"""Rows that a restore may lose, as an SQL file that puts them back.

A row is one line of SQL literals, which D1 itself writes: no number loses digits, and no text can break its line.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ops.cloudflare.types.d1 import SqlStatement, quote_identifier
from ops.core.clock import format_utc
from ops.core.errors import ConfigError, Reason
from ops.core.names import count_of, quote_name
from ops.core.sql import fold_name

MAX_ROW = 80_000
"""Most bytes of a row as literals. D1 takes statements of 100 kB: developers.cloudflare.com/d1/platform/limits"""
MAX_COLUMNS = 99
"""D1 returns at most 100 columns, and one is the place of the row."""
MARK = "-- backout rows: "
"""Start of the line before the rows of a statement; its table, columns and key follow as JSON."""
COUNT = "-- backout number of rows, as in the last line: "
"""Start of the line of the head with the number of rows; files of earlier versions have none."""
END = "-- backout end of the file, number of rows: "
"""Start of the last line."""
GONE = "-- "
"""Start of each line of a table that does not exist after the restore."""
ROWS = "backout_kept_rows"
"""Name of the rows in a statement."""
MAX_STATEMENT = 80_000
"""Most bytes of the rows of a statement."""
_CONTROL_SIGNS = "'*[\x01-\x1f\x7f-\x9f]*'"
"""Pattern of a text with a line break, or another sign that could control a terminal."""
_TRANSACTION = "'BEGIN ' || 'TRANSACTION'"
"""Words that wrangler cuts out of SQL, also within a text: packages/workers-utils/src/d1-trimmer.ts"""
PLACE = "place"
"""Column of a page with the place of the row: its rowid."""

Row = tuple[str, ...]
"""SQL literals of the columns of a row."""


@dataclass(frozen=True)
class ForeignKey:
    parent: str
    columns: tuple[str, ...]
    parent_columns: tuple[str, ...]
    """Empty: its primary key."""


@dataclass(frozen=True)
class TableShape:
    """A table whose rows are kept."""

    name: str
    columns: tuple[str, ...]
    """Stored columns; without those that SQLite generates."""
    key: tuple[str, ...]
    """Primary key, or the rowid of a table without one."""
    rowid: str = ""
    """Name of the rowid, by which pages are read; empty for a table WITHOUT ROWID, which has its key."""
    parents: tuple[ForeignKey, ...] = ()
    has_nullable_key: bool = False
    """Whether several rows may have the same key, because NULL is in it (sqlite.org/quirks.html)."""

    @property
    def order(self) -> tuple[str, ...]:
        """Return the columns by which pages are read."""
        return (self.rowid,) if self.rowid else self.key

    def key_of(self, row: Row) -> Row:
        return tuple(row[self.columns.index(each)] for each in self.key)


@dataclass(frozen=True)
class KeptFile:
    """What the head of a file says."""

    database: str
    """Name in ops.yml."""
    database_id: str
    run: str
    point: str
    read_at: datetime
    delete_by: datetime


def literal_sql(column: str, *, exact: bool = False) -> str:
    """Return SQL for a column's value as one literal on one line, without a sign that a client may change.

    quote() ends a text at its first null character. `exact`: each text in hexadecimal digits, as one that is not
    valid UTF-8 needs.
    """
    name = quote_identifier(column)
    signs = f"instr(CAST({name} AS BLOB), x'00') OR instr({name}, {_TRANSACTION}) OR {name} GLOB {_CONTROL_SIGNS}"
    risky = "1" if exact else f"({signs})"
    return (
        f"CASE WHEN typeof({name}) = 'text' AND {risky} "
        f"THEN 'CAST(x''' || hex({name}) || ''' AS TEXT)' ELSE quote({name}) END"
    )


def size_sql(columns: Sequence[str]) -> str:
    """Return SQL for the bytes of a row as literals. A long value counts as hexadecimal digits: quote() may fail."""
    sizes = []
    for each in columns:
        length = f"length(CAST({quote_identifier(each)} AS BLOB))"
        exact = f"length(CAST({literal_sql(each)} AS BLOB))"
        sizes.append(f"CASE WHEN {length} > {MAX_ROW} THEN 2 * {length} ELSE {exact} END + 1")
    return _join_balanced(sizes, "+")


def measure_sql(shape: TableShape, rule: str) -> SqlStatement:
    """Return the count of the rows that must be read, of those too large, and the bytes of the others."""
    # Without the limit, SQLite would calculate each size once per use.
    rows = f"SELECT {size_sql(shape.columns)} AS size FROM {quote_identifier(shape.name)}{_where_clause(rule)} LIMIT -1"  # noqa: S608
    fits = f"size <= {MAX_ROW}"
    return SqlStatement(
        f"SELECT count(*) AS n, total(NOT {fits}) AS large, total(CASE WHEN {fits} THEN size END) AS bytes, "  # noqa: S608
        f"max(CASE WHEN {fits} THEN size END) AS longest FROM ({rows})"
    )


def page_sql(
    shape: TableShape, rule: str, after: Row, rows: int, *, skips_large: bool = False, exact: bool = False
) -> SqlStatement:
    """Return the next page of rows behind the place `after`, in the order of the shape; empty for the first page."""
    literals = [f"{literal_sql(each, exact=exact)} AS c{n}" for n, each in enumerate(shape.columns)]
    literals += [f"quote({quote_identifier(shape.rowid)}) AS {PLACE}"] if shape.rowid else []
    # Without its table, SQLite reads a name behind ORDER BY as that of a result first (sqlite.org/lang_select.html).
    order = ", ".join(f"{quote_identifier(shape.name)}.{quote_identifier(each)}" for each in shape.order)
    rules = [f"({order}) > ({', '.join(after)})"] if after else []
    rules += [rule] if rule else []
    rules += [f"{size_sql(shape.columns)} <= {MAX_ROW}"] if skips_large else []
    where = _where_clause(" AND ".join(f"({each})" for each in rules))
    return SqlStatement(
        f"SELECT {', '.join(literals)} FROM {quote_identifier(shape.name)}{where} ORDER BY {order} LIMIT {rows}"  # noqa: S608
    )


def render_kept_rows(
    head: KeptFile,
    rows: Mapping[TableShape, Sequence[Row]],
    now: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """Return the file. `now`: table → its present columns after the restore; None: they are those of the rows."""
    return "\n".join((*_head_lines(head, sum(map(len, rows.values()))), *_body_lines(rows, now)))


def _head_lines(head: KeptFile, number: int) -> Iterator[str]:
    yield f"-- Rows of D1 database {head.database}, read by run {head.run} at {format_utc(head.read_at)},"
    yield f"-- right before it restored {head.point}. They may be personal data: delete this file by"
    yield f"-- {format_utc(head.delete_by)}."
    yield f"{COUNT}{number}"
    yield "--"
    yield "-- Put them back. A row whose key is taken stays as it is, and so does one without its parent:"
    yield f"--   wrangler d1 execute {head.database_id} --remote --file FILE"
    yield "-- List the rows that the database still lacks, or has with other values:"
    yield f"--   ops database conflicts FILE --database {head.database} --environment ENVIRONMENT"
    yield "PRAGMA defer_foreign_keys = on;"


def _body_lines(rows: Mapping[TableShape, Sequence[Row]], now: Mapping[str, Sequence[str]] | None) -> Iterator[str]:
    shapes, before = _parents_first(tuple(rows)), set[str]()
    kept = {fold_name(each.name) for each in shapes}
    for shape in shapes:
        present = shape.columns if now is None else [each for each in shape.columns if each in now.get(shape.name, ())]
        is_gone = now is not None and shape.name not in now
        if is_gone and rows[shape]:
            yield f"-- {quote_name(shape.name)} does not exist after the restore: create it, and remove the dashes."
        checked = [each for each in shape.parents if fold_name(each.parent) in before or not _is_kept(each, kept)]
        for batch in _batch_rows(rows[shape]):
            lines = _statement_lines(shape, batch, present or shape.columns, checked)
            yield from (f"{GONE}{line}" if is_gone else line for line in lines)
        before.add(fold_name(shape.name))
    yield f"{END}{sum(map(len, rows.values()))}"
    yield ""


def _is_kept(foreign: ForeignKey, kept: set[str]) -> bool:
    return fold_name(foreign.parent) in kept


def _statement_lines(
    shape: TableShape, rows: Sequence[Row], present: Sequence[str], checked: Sequence[ForeignKey]
) -> Iterator[str]:
    table, columns = quote_identifier(shape.name), ", ".join(map(quote_identifier, present))
    yield MARK + json.dumps({"table": shape.name, "columns": shape.columns, "key": shape.key})
    yield f"INSERT INTO {table} ({columns})"
    yield from rows_sql(shape.columns, rows).split("\n")
    known = [each for each in checked if each.parent_columns and set(each.columns) <= set(present)]
    rules = [*map(_has_parent, known), *([_is_absent(table, shape.key, present)] if shape.has_nullable_key else [])]
    yield f"SELECT {columns} FROM {ROWS} WHERE {' AND '.join(rules) or '1'}"  # noqa: S608
    yield "ON CONFLICT DO NOTHING;"


def rows_sql(columns: Sequence[str], rows: Sequence[Row]) -> str:
    """Return the start of a statement with these rows; each row is one line."""
    lines = ",\n".join(f"({','.join(row)})" for row in rows)
    return f"WITH {ROWS} ({', '.join(map(quote_identifier, columns))}) AS (VALUES\n{lines}\n)"


def _has_parent(foreign: ForeignKey) -> str:
    """Return SQL that is true for a row whose parent exists, or that has none."""
    own = [f"{ROWS}.{quote_identifier(each)}" for each in foreign.columns]
    parent = quote_identifier(foreign.parent)
    pairs = zip(foreign.parent_columns, own, strict=True)
    equal = " AND ".join(f"{parent}.{quote_identifier(column)} = {value}" for column, value in pairs)
    absent = " OR ".join(f"{each} IS NULL" for each in own)
    return f"({absent} OR EXISTS (SELECT 1 FROM {parent} WHERE {equal}))"  # noqa: S608


def _is_absent(table: str, key: Sequence[str], columns: Iterable[str]) -> str:
    """Return SQL that is false for a row with NULL in its key if the table has a row with all of its values.

    No key tells such a row from others. `table` is quoted.
    """
    has_null = " OR ".join(f"{ROWS}.{quote_identifier(each)} IS NULL" for each in key)
    return f"NOT (({has_null}) AND EXISTS (SELECT 1 FROM {table} AS same WHERE {_has_same_values('same', columns)}))"  # noqa: S608


def _has_same_values(row: str, columns: Iterable[str]) -> str:
    """Return SQL that is true if a row has the values of the kept one, as they are stored."""
    names = map(quote_identifier, columns)
    return _join_balanced([f"{row}.{each} COLLATE BINARY IS {ROWS}.{each}" for each in names], "AND")


def _batch_rows(rows: Sequence[Row]) -> Iterator[list[Row]]:
    batch, size = list[Row](), 0
    for row in rows:
        length = sum(len(each.encode()) + 1 for each in row) + 3
        if batch and size + length > MAX_STATEMENT:
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += length
    if batch:
        yield batch


def _parents_first(shapes: Sequence[TableShape]) -> list[TableShape]:
    """Return the tables, each behind its parents. Of a circle one comes first: foreign keys are checked at the end."""
    left, ordered = list(shapes), list[TableShape]()
    while left:
        names = {fold_name(each.name) for each in left}
        free = (each for each in left if not names.intersection(_parent_names(each)))
        found = next(free, left[0])
        left.remove(found)
        ordered.append(found)
    return ordered


def _parent_names(shape: TableShape) -> set[str]:
    return {fold_name(each.parent) for each in shape.parents} - {fold_name(shape.name)}


def _join_balanced(parts: Sequence[str], sign: str) -> str:
    """Return the parts joined in pairs, because D1 limits the depth of an expression to 100."""
    if len(parts) == 1:
        return f"({parts[0]})"
    half = len(parts) // 2
    return f"({_join_balanced(parts[:half], sign)} {sign} {_join_balanced(parts[half:], sign)})"


def _where_clause(rule: str) -> str:
    return f" WHERE {rule}" if rule else ""


@dataclass(frozen=True)
class KeptBatch:
    """Rows of one statement of a file."""

    table: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    rows: str
    """Lines of literals."""

    def compare_sql(self, present: Sequence[str]) -> SqlStatement:
        """Return the rows that the table lacks or has with other values: their key, and whether the key is taken."""
        live, kept = "live", ROWS
        own = [quote_identifier(each) for each in self.key]
        on = " AND ".join(f"{live}.{each} = {kept}.{each}" for each in own)
        names = [each for each in self.columns if each in present]
        table = quote_identifier(self.table)
        shown = ", ".join(f"quote({kept}.{each}) AS k{n}" for n, each in enumerate(own))
        columns = ", ".join(map(quote_identifier, self.columns))
        is_free = f"{live}.{own[0]} IS NULL"
        return SqlStatement(
            f"WITH {kept} ({columns}) AS (VALUES\n{self.rows}\n) SELECT {shown}, {is_free} AS is_free FROM {kept} "  # noqa: S608
            f"LEFT JOIN {table} AS {live} ON {on} WHERE ({is_free} OR NOT {_has_same_values(live, names)}) "
            f"AND {_is_absent(table, self.key, names)}"
        )


def parse_batches(text: str) -> Iterator[KeptBatch]:
    """Yield the rows of a file, statement by statement. Raises ConfigError if it is none of these files.

    Only the lines of Backout begin with the mark: a row begins with a parenthesis and has no line break.
    """
    marked: dict[str, tuple[str, ...]] | None = None
    table, rows, count, total = "", list[str](), 0, 0
    for raw in text.split("\n"):
        line = raw.rstrip("\r").removeprefix(GONE) if raw.startswith((f"{GONE}{MARK}", f"{GONE}(", f"{GONE})")) else raw
        if line.startswith(MARK):
            table, marked = _parse_kept_rows_mark(line)
        elif marked and line.startswith("("):
            rows.append(line)
        elif marked and rows and line.startswith(")"):
            yield KeptBatch(table, marked["columns"], marked["key"], "\n".join(rows))
            marked, rows, count, total = None, [], count + 1, total + len(rows)
    if marked or not (count or "PRAGMA defer_foreign_keys" in text):
        raise _unreadable_kept_rows()
    _require_whole(text, total)


def _require_whole(text: str, rows: int) -> None:
    """Raise ConfigError unless the file has as many rows as its head and its last line say. Older files say nothing."""
    lines = [line.rstrip("\r") for line in text.partition(MARK)[0].split("\n")]
    said = next((line.removeprefix(COUNT) for line in lines if line.startswith(COUNT)), None)
    last = text.rstrip().rpartition("\n")[2]
    if said is not None and (said != str(rows) or last != f"{END}{rows}"):
        number = f"it has {count_of(rows, 'row')}, and its head says {quote_name(said)}"
        why = number if said != str(rows) else "its last line is missing"
        raise ConfigError(
            f"the file was cut or changed: {why}",
            reason=Reason.CONFIG_INVALID,
            hint="Copy it again from where the run wrote it. This one may lack rows.",
        )


def has_kept_rows_end(text: str) -> bool:
    """Return whether the file would show that it was cut; those of earlier versions would not."""
    return COUNT in text.partition(MARK)[0]


def names_kept_database(text: str, database_id: str) -> bool:
    """Return whether the head of a file names this database."""
    return database_id in text.partition(MARK)[0]


def rewrite_kept_rows(text: str, shapes: Mapping[str, TableShape]) -> str:
    """Return a file for the present columns of its tables, which a killed run did not read. Raises ConfigError.

    `shapes` are those of the tables that exist.
    """
    head = text.partition(MARK)[0].partition(END)[0].removesuffix(GONE)
    rows = dict[TableShape, list[Row]]()
    for batch in parse_batches(text):
        shape = TableShape(batch.table, batch.columns, batch.key)
        if batch.table in shapes:
            now = shapes[batch.table]
            shape = replace(shape, parents=now.parents, has_nullable_key=now.has_nullable_key)
        lines = (line.removesuffix(",")[1:-1] for line in batch.rows.split("\n"))
        rows.setdefault(shape, []).extend((line,) for line in lines)
    present = {name: each.columns for name, each in shapes.items()}
    return "\n".join((head.rstrip("\n"), *_body_lines(rows, present)))


def _parse_kept_rows_mark(line: str) -> tuple[str, dict[str, tuple[str, ...]]]:
    try:
        found = json.loads(line.removeprefix(MARK))
        lists = {name: tuple(map(str, found[name])) for name in ("columns", "key")}
        table = str(found["table"])
    except (ValueError, LookupError, TypeError):
        raise _unreadable_kept_rows() from None
    if not lists["key"] or not set(lists["key"]) <= set(lists["columns"]):
        raise _unreadable_kept_rows()
    return table, lists


def _unreadable_kept_rows() -> ConfigError:
    return ConfigError(
        "the file holds no rows that a restore kept, or was changed",
        reason=Reason.CONFIG_INVALID,
        hint="Name the file of a run, as it was written: `ls .ops/runs/*/kept-rows.sql`.",
    )
