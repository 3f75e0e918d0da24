"""Count the rows that a change would lose in the database: no row leaves Cloudflare."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ops.cloudflare.types.d1 import SqlStatement
from ops.core.errors import ProviderError
from ops.core.sql import is_read_only
from ops.database.affected_rows import from_sql
from ops.database.local_copy import MAX_SQL_BYTES, LocalCopy
from ops.database.losses import Affected, LossCounts, RowLoss

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
    wanted = dict.fromkeys(each.affected for each in losses if each.affected and each.affected.where)
    statements = {each: _count_sql(each) for each in wanted}
    counted = [each for each, sql in statements.items() if _is_countable(sql, copy)][:MAX_COUNTS]
    return LossCounts(tables, _read(d1, database_id, counted, statements) if counted else {})


def _count_sql(affected: Affected) -> str:
    return f"SELECT count(*) AS n FROM {from_sql(affected)}"  # noqa: S608  of statements that people reviewed


def _is_countable(sql: str, copy: LocalCopy) -> bool:
    return len(sql.encode(errors="replace")) <= MAX_SQL_BYTES and is_read_only(sql) and copy.can_read(sql)


def _read(
    d1: "D1Api", database_id: str, counted: Sequence[Affected], statements: Mapping[Affected, str]
) -> Mapping[Affected, int]:
    """Return the counts; none if D1 does not answer in time, or rejects one of them."""
    try:
        results = d1.query(database_id, [SqlStatement(statements[each]) for each in counted], timeout=COUNT_LIMIT)
    except ProviderError:
        return {}
    numbers = zip(counted, (result.rows[0]["n"] for result in results), strict=True)
    return {each: number for each, number in numbers if isinstance(number, int)}
