"""Count the rows that a change would lose in the database: no row leaves Cloudflare."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from ops.cloudflare.types.d1 import SqlStatement, SqlValue, quote_identifier
from ops.core.errors import ProviderError
from ops.core.sql import is_read_only
from ops.database.affected_rows import from_sql
from ops.database.local_copy import MAX_SQL_BYTES, LocalCopy
from ops.database.losses import Affected, Effect, LossCounts, RowLoss

if TYPE_CHECKING:
    from ops.cloudflare.d1 import D1Api

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
    rows = _read(d1, database_id, counted) if counted else {}
    highest = frozenset(each for each, row in rows.items() if row["top"] is not None and row["top"] == row["highest"])
    return LossCounts(tables, _numbers(rows), highest)


def count_again(d1: "D1Api", database_id: str, counts: LossCounts, tables: Mapping[str, int | None]) -> LossCounts:
    """Return the present numbers of the rows that were counted, with one query. `tables` has the present totals."""
    rows = _read(d1, database_id, {each: _count_sql(each, "") for each in counts.affected}) if counts.affected else {}
    return LossCounts(tables, _numbers(rows), counts.highest)


def _numbers(rows: Mapping[Affected, Mapping[str, SqlValue]]) -> Mapping[Affected, int]:
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


def _read(d1: "D1Api", database_id: str, counted: Mapping[Affected, str]) -> Mapping[Affected, Mapping[str, SqlValue]]:
    """Return a row for each count; none if D1 does not answer in time, or rejects one of them."""
    try:
        results = d1.query(database_id, [SqlStatement(sql) for sql in counted.values()], timeout=COUNT_LIMIT)
    except ProviderError:
        return {}
    return {each: result.rows[0] for each, result in zip(counted, results, strict=True)}
