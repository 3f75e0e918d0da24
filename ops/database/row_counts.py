"""Count the rows of tables, and those that a change would lose; compare two counts.

Counts run in the database: no row leaves Cloudflare.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from ops.cloudflare.types.d1 import SqlStatement, SqlValue, quote_identifier
from ops.core.errors import ProviderError
from ops.core.names import count_of, quote_name
from ops.core.sql import is_read_only
from ops.core.threads import run_parallel
from ops.database.local_copy import MAX_SQL_BYTES, LocalCopy
from ops.database.loss_tracker import from_sql
from ops.database.losses import Affected, Effect, LossCounts, RowLoss
from ops.database.restore import NOT_COUNTED
from ops.database.state import MAX_TABLES, query_in_time

if TYPE_CHECKING:
    from ops.cloudflare.d1 import D1Api

RowCounts = Mapping[str, int | None]
"""Table → number of its rows; None if it was not counted."""


def count_tables(d1: "D1Api", database_id: str, tables: Collection[str], first: Collection[str] = ()) -> RowCounts:
    """Return the number of rows of the tables; of many, those in `first` and then in alphabetical order."""
    ordered = sorted(tables, key=lambda table: (table not in first, table))
    counted = ordered[:MAX_TABLES]
    counts = run_parallel([partial(_count_table, d1, database_id, table) for table in counted]) if counted else []
    return {**dict.fromkeys(ordered), **dict(zip(counted, counts, strict=True))}


def _count_table(d1: "D1Api", database_id: str, table: str) -> int | None:
    statement = SqlStatement(f"SELECT count(*) AS n FROM {quote_identifier(table)}")  # noqa: S608
    result = query_in_time(d1, database_id, statement)
    number = result.rows[0]["n"] if result else None
    return number if isinstance(number, int) else None


def describe_row_count(rows: int | None) -> str:
    return f"rows {NOT_COUNTED}" if rows is None else count_of(rows, "row")


def describe_counts(rows: RowCounts) -> str:
    """Return the counts on one line, such as `customers 2, orders 3`."""
    known = [f"{quote_name(table)} {count}" for table, count in rows.items() if count is not None]
    left = len(rows) - len(known)
    return ", ".join([*known, *([f"{count_of(left, 'table')} {NOT_COUNTED}"] if left else [])])


def describe_changes(before: RowCounts, after: RowCounts) -> str:
    """Return the counts after a change, with those before it where they differ."""
    texts = []
    for table in sorted(before.keys() | after.keys()):
        old, new = before.get(table), after.get(table)
        shown = ["new" if table not in before else NOT_COUNTED if old is None else str(old)]
        shown += ["removed" if table not in after else NOT_COUNTED if new is None else str(new)]
        texts.append(f"{quote_name(table)} {' → '.join(dict.fromkeys(shown))}")
    return ", ".join(texts)


def describe_unexpected(counts: LossCounts, losses: Sequence[RowLoss], after: RowCounts) -> Iterator[str]:
    """Yield a text for each table whose number of rows differs from the prediction.

    More rows than before are new ones of the application or of a migration; a loss of unknown size predicts nothing.
    """
    for table, old in counts.tables.items():
        new, deleted = after.get(table), counts.find_deleted(losses, table)
        if old is None or new is None or deleted is None:
            continue
        if new < old - deleted or (deleted and new > old - deleted):
            text = f"{quote_name(table)} has {count_of(new, 'row')} now, {old - deleted} expected, and {old} before"
            yield f"{text}: other writes, or a loss that the prediction missed" if new < old - deleted else text


COUNT_LIMIT = 10.0
"""Seconds for all counts together, which are one query: D1 runs nothing else meanwhile."""
MAX_COUNTS = 50
"""Conditions that are counted; other losses have an unknown size."""


def count_losses(
    d1: "D1Api", database_id: str, losses: Sequence[RowLoss], copy: LocalCopy, tables: Mapping[str, int | None]
) -> LossCounts:
    """Return the numbers of rows that losses affect, counted with one query.

    `copy` has the schema of the database. A condition that it cannot read, or that could write, is not counted.
    """
    keys = {each.affected: each.key if each.effect == Effect.DELETED else "" for each in losses if each.affected}
    statements = {each: _count_sql(each, key) for each, key in keys.items() if each.where}
    counted = {each: sql for each, sql in statements.items() if _is_countable(sql, copy)}
    counted = dict(islice(counted.items(), MAX_COUNTS))
    rows = _query_counts(d1, database_id, counted) if counted else {}
    highest = frozenset(each for each, row in rows.items() if row["top"] is not None and row["top"] == row["highest"])
    return LossCounts(tables, _counted_numbers(rows), highest)


def count_again(d1: "D1Api", database_id: str, counts: LossCounts, tables: Mapping[str, int | None]) -> LossCounts:
    """Return the present numbers of the rows that were counted, with one query. `tables` has the present totals."""
    rows = (
        _query_counts(d1, database_id, {each: _count_sql(each, "") for each in counts.affected})
        if counts.affected
        else {}
    )
    return LossCounts(tables, _counted_numbers(rows), counts.highest)


def _counted_numbers(rows: Mapping[Affected, Mapping[str, SqlValue]]) -> Mapping[Affected, int]:
    return {each: int(n) for each, row in rows.items() if isinstance(n := row["n"], int)}


def _count_sql(affected: Affected, key: str) -> str:
    """Return SQL for the number of rows, and the highest number among them and in their table."""
    top, highest = "NULL", "NULL"
    if key:
        top = f"max({quote_identifier(key)})"
        highest = f"(SELECT {top} FROM {quote_identifier(affected.table)})"  # noqa: S608
    return f"SELECT count(*) AS n, {top} AS top, {highest} AS highest FROM {from_sql(affected)}"  # noqa: S608


def _is_countable(sql: str, copy: LocalCopy) -> bool:
    return len(sql.encode(errors="replace")) <= MAX_SQL_BYTES and is_read_only(sql) and copy.can_read(sql)


def _query_counts(
    d1: "D1Api", database_id: str, counted: Mapping[Affected, str]
) -> Mapping[Affected, Mapping[str, SqlValue]]:
    """Return a row for each count; none if D1 does not answer in time, or rejects one of them."""
    try:
        results = d1.query(database_id, [SqlStatement(sql) for sql in counted.values()], timeout=COUNT_LIMIT)
    except ProviderError:
        return {}
    return {each: result.rows[0] for each, result in zip(counted, results, strict=True)}
