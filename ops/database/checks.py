"""Check a database after a restore: integrity, number of rows, and the team's own queries."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from ops.cloudflare.types.d1 import SqlResult, SqlStatement
from ops.core.clock import Clock, format_duration
from ops.core.errors import ProviderError
from ops.core.names import count_of, quote_name
from ops.core.sql import cut_semicolon
from ops.core.threads import start_call
from ops.core.verdict import Verdict, worst_verdict

if TYPE_CHECKING:
    from ops.cloudflare.d1 import D1Api
    from ops.config.sections import RowBounds
    from ops.config.types import JsonValue

TIME_LIMIT = 30.0
"""Seconds for all checks together; a check that does not fit is inconclusive."""
GRACE = 0.5
"""Seconds that the client gets to report its own timeout."""
SHOWN = 3
"""Findings of one check that its text shows."""

Judge = Callable[[SqlResult], str]
"""Returns the problem that a result shows; empty if there is none."""


class Query(Protocol):
    """A query whose first value must be the expected one."""

    @property
    def name(self) -> str: ...
    @property
    def sql(self) -> str: ...
    @property
    def expect(self) -> "JsonValue": ...


class CheckedDatabase(Protocol):
    """A database with its checks, such as one of ops.yml."""

    @property
    def id(self) -> str: ...
    @property
    def rows(self) -> "Mapping[str, RowBounds]": ...
    @property
    def queries(self) -> Sequence[Query]: ...


@dataclass(frozen=True)
class DatabaseCheckResult:
    name: str
    verdict: Verdict
    text: str = ""
    """Problem, or why there is no answer; empty for a healthy check."""

    def __str__(self) -> str:
        return f"{self.name}: {self.verdict.value}" + (f" ({self.text})" if self.text else "")


@dataclass(frozen=True)
class DatabaseChecks:
    results: tuple[DatabaseCheckResult, ...]

    @property
    def verdict(self) -> Verdict:
        return worst_verdict(each.verdict for each in self.results)

    def __str__(self) -> str:
        return "; ".join(map(str, self.results))


def run_checks(d1: "D1Api", database: CheckedDatabase, clock: Clock, *, limit: float = TIME_LIMIT) -> DatabaseChecks:
    """Run the checks one after the other, as the database does. D1 that refuses one gives no verdict."""
    end = clock.monotonic() + limit
    return DatabaseChecks(
        tuple(
            _run_check(d1, database, name, statement, judge, left=end - clock.monotonic())
            for name, statement, judge in _check_statements(database)
        )
    )


def check_names(database: CheckedDatabase) -> tuple[str, ...]:
    return tuple(name for name, _, _ in _check_statements(database))


def _check_statements(database: CheckedDatabase) -> Iterator[tuple[str, SqlStatement, Judge]]:
    yield "foreign keys", SqlStatement("PRAGMA foreign_key_check"), _judge_foreign_keys
    yield "integrity", SqlStatement("PRAGMA quick_check"), _judge_integrity
    for table, bounds in database.rows.items():
        if bounds.keep and bounds.at_least == 0 and bounds.at_most is None:
            continue
        statement = SqlStatement(f'SELECT count(*) FROM "{table}"')  # noqa: S608  ops.yml allows plain names only
        yield f"rows of {table}", statement, partial(_judge_row_count, bounds)
    for query in database.queries:
        yield query.name, SqlStatement(_select_first_row(query.sql)), partial(_judge_query, query)


def _select_first_row(sql: str) -> str:
    """Return the query for its first row only, so that no answer is huge."""
    is_select = sql.lstrip()[:6].upper() in {"SELECT", "VALUES"} or sql.lstrip()[:4].upper() == "WITH"
    return f"SELECT * FROM (\n{cut_semicolon(sql)}\n) LIMIT 1" if is_select else sql  # noqa: S608  only reads


def _run_check(
    d1: "D1Api", database: CheckedDatabase, name: str, statement: SqlStatement, judge: Judge, *, left: float
) -> DatabaseCheckResult:
    if left <= 0:
        limit = format_duration(TIME_LIMIT)
        return DatabaseCheckResult(name, Verdict.INCONCLUSIVE, f"not started: the checks may take {limit}")
    try:
        # The client limits the time between two bytes, and this the whole answer.
        answer = start_call(lambda: d1.query(database.id, [statement], timeout=left))
        (result,) = answer.result(timeout=left + GRACE)
    except TimeoutError:
        return DatabaseCheckResult(name, Verdict.INCONCLUSIVE, f"no complete answer in {format_duration(left)}")
    except ProviderError as error:
        return DatabaseCheckResult(name, Verdict.INCONCLUSIVE, error.message)
    problem = judge(result)
    return DatabaseCheckResult(name, Verdict.UNHEALTHY if problem else Verdict.HEALTHY, problem)


def _judge_foreign_keys(result: SqlResult) -> str:
    violations = [f"{row.get('table')} row {row.get('rowid')} → {row.get('parent')}" for row in result.rows]
    return f"{len(violations)} rows without their parent: {_shorten_lines(violations)}" if violations else ""


def _judge_integrity(result: SqlResult) -> str:
    said = [str(value) for row in result.rows for value in row.values()]
    return "" if said == ["ok"] else _shorten_lines(said) or "no answer"


def _judge_row_count(bounds: "RowBounds", result: SqlResult) -> str:
    count = _first_check_value(result.rows)
    if not isinstance(count, int | float):
        return "no number"
    if count < bounds.at_least:
        return f"{count} rows, and at least {bounds.at_least} are expected"
    if bounds.at_most is not None and count > bounds.at_most:
        return f"{count} rows, and at most {bounds.at_most} are expected"
    return ""


def _judge_query(query: Query, result: SqlResult) -> str:
    return judge_rows(query, result.rows)


def judge_rows(query: Query, rows: Sequence[Mapping[str, object]]) -> str:
    """Return why the rows of a query do not have the expected first value; empty if they do."""
    value = _first_check_value(rows)
    expected = int(query.expect) if isinstance(query.expect, bool) else query.expect
    if value == expected:
        return ""
    found = _describe_check_value(value) if rows else "no row"
    return f"{found}, and {_describe_check_value(expected)} is expected"


def _describe_check_value(value: object) -> str:
    """Return a value with what tells it from others, such as a text "2" from the number 2."""
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return f'text "{quote_name(value)}"'
    return f"a BLOB of {count_of(len(value), 'byte')}" if isinstance(value, list) else str(value)


def _first_check_value(rows: Sequence[Mapping[str, object]]) -> object:
    return next((value for row in rows[:1] for value in row.values()), None)


def _shorten_lines(lines: list[str]) -> str:
    more = [f"{len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return ", ".join([*map(quote_name, lines[:SHOWN]), *more])
