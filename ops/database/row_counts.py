"""Count the rows of tables, and compare two counts."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ops.cloudflare.types.d1 import SqlStatement, quote_identifier
from ops.core.names import count_of, quote_name
from ops.core.threads import run_parallel
from ops.database.losses import LossCounts, RowLoss
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
    counts = run_parallel([partial(_count, d1, database_id, table) for table in counted]) if counted else []
    return {**dict.fromkeys(ordered), **dict(zip(counted, counts, strict=True))}


def _count(d1: "D1Api", database_id: str, table: str) -> int | None:
    statement = SqlStatement(f"SELECT count(*) AS n FROM {quote_identifier(table)}")  # noqa: S608
    result = query_in_time(d1, database_id, statement)
    number = result.rows[0]["n"] if result else None
    return number if isinstance(number, int) else None


def describe_count(rows: int | None) -> str:
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
