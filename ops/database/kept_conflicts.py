"""Compare the rows of a kept file with the database, and rewrite it for other columns."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from ops.core.errors import ProviderError, Reason
from ops.core.names import count_of, quote_name
from ops.database.kept_rows import KeptBatch, parse_batches, rewrite
from ops.database.row_reads import read_shapes

if TYPE_CHECKING:
    from ops.cloudflare.d1 import D1Api

SHOWN = 20
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
            yield from (f"  {each}: {state}" for each in keys[:SHOWN])
            if len(keys) > SHOWN:
                yield f"  {len(keys) - SHOWN} more: {state}"

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
        found = [row for each in own for row in _compare(d1, database_id, each, shape.columns)]
        missing = tuple(_describe_key(each.key, row) for each, row in found if row["is_free"])
        conflicts = tuple(_describe_key(each.key, row) for each, row in found if not row["is_free"])
        yield TableConflicts(table, number, missing, conflicts)


def rewrite_file(d1: "D1Api", database_id: str, text: str) -> str:
    """Return the kept file for the present columns of its tables. Raises ConfigError and ProviderError."""
    shapes = read_shapes(d1, database_id, sorted({each.table for each in parse_batches(text)}))
    return rewrite(text, {name: each for name, each in shapes.items() if not isinstance(each, str)})


def _compare(
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


def _describe_key(key: tuple[str, ...], row: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {row[f'k{n}']}" for n, name in enumerate(key))
