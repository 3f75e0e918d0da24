"""SQLite as D1 runs it: one transaction per query, with D1's refusals and limits.

Refused statements and their texts are those of workerd, which D1 is built on; an acceptance test compares both.
Sources:

- allowed PRAGMAs: developers.cloudflare.com/d1/sql-api/sql-statements
- BEGIN, COMMIT, ROLLBACK, SAVEPOINT, ATTACH, temporary objects, `sqlite_version()` and names that begin with `_cf_`:
  `isAuthorized` in github.com/cloudflare/workerd, src/workerd/util/sqlite.c++
- limits: developers.cloudflare.com/d1/platform/limits, and `setupSecurity` in the same file
"""

import math
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Statement = tuple[str, Sequence[Any]]
"""SQL, and the values of its question marks."""

MAX_SQL_BYTES = 100_000
MAX_SECONDS = 30.0
"""Longest time of a query in real seconds, here of a transaction."""
STEPS_BETWEEN_LOOKS = 10_000
"""Instructions of SQLite after which it looks whether it must end: some milliseconds."""
_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 2_000_000,
    sqlite3.SQLITE_LIMIT_COLUMN: 100,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 5,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 32,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 50,
    sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER: 100,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 10,
}
_PRAGMA_NEEDS_ARGUMENT = {
    **dict.fromkeys(("table_info", "table_xinfo", "index_list", "index_info", "index_xinfo", "foreign_key_list"), True),
    **dict.fromkeys(("table_list", "foreign_key_check", "quick_check", "optimize", "data_version", "page_size"), False),
    **dict.fromkeys(("foreign_keys", "defer_foreign_keys"), False),
}
_OFF_AFTERWARDS = {"ignore_check_constraints", "legacy_alter_table", "recursive_triggers"} | {
    "reverse_unordered_selects",
    "case_sensitive_like",
}
"""Allowed PRAGMAs that are off again after the transaction."""


def _actions(*names: str) -> frozenset[int]:
    """Return action codes of SQLite's authorizer (sqlite.org/c3ref/c_alter_table.html)."""
    return frozenset(getattr(sqlite3, f"SQLITE_{name}") for name in names)


_TEMPORARY = (f"{verb}_TEMP_{kind}" for verb in ("CREATE", "DROP") for kind in ("TABLE", "INDEX", "TRIGGER", "VIEW"))
_REFUSED_ACTIONS = _actions("ATTACH", "DETACH", *_TEMPORARY)
_SCHEMA = (f"{verb}_{kind}" for verb in ("CREATE", "DROP") for kind in ("TABLE", "INDEX", "TRIGGER", "VIEW", "VTABLE"))
_SCHEMA_CHANGES = _actions("ALTER_TABLE", "ANALYZE", "REINDEX", *_SCHEMA)
_WRITES = _SCHEMA_CHANGES | _actions("INSERT", "UPDATE", "DELETE")
_REVEALING = re.compile(r"sqlite_(version|source_id|offset|compileoption_get|compileoption_used)")
_TRANSACTIONS = (
    "To execute a transaction, please use the state.storage.transaction() or state.storage.transactionSync() APIs "
    "instead of the SQL BEGIN TRANSACTION or SAVEPOINT statements."
)
_RENAMED = "SELECT 1 FROM sqlite_schema WHERE name LIKE '!_cf!_%' ESCAPE '!'"
"""The authorizer does not see the new name of ALTER TABLE … RENAME TO."""
_MAX_INTEGER = 2**53
"""Larger integers lose precision, as numbers of JavaScript do."""
_TRIGGER = re.compile(r"\s*CREATE\s+TRIGGER\b", re.IGNORECASE)
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_CLOCK_FUNCTIONS = {
    "current_timestamp": "datetime",
    "current_date": "date",
    "current_time": "time",
    **{name: name for name in ("datetime", "date", "time", "julianday", "unixepoch", "strftime")},
}
"""Function that may return the current time → SQLite's function that calculates it."""


class SqlError(Exception):
    """SQLite rejected the statements; nothing was changed."""


@dataclass(frozen=True, kw_only=True)
class StatementResult:
    columns: list[str]
    rows: list[list[Any]]
    changes: int
    last_row_id: int
    seconds: float
    changed: bool
    """Whether the statement changed rows or the schema."""

    def objects(self) -> list[dict[str, Any]]:
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


class D1Sqlite:
    """A SQLite database in memory. Not safe for threads, apart from `cancel`."""

    def __init__(self, now: Callable[[], datetime], content: bytes = b"", *, longest: float = MAX_SECONDS) -> None:
        self._now, self._longest = now, longest
        # Without cached statements, the authorizer sees each statement each time.
        self._connection = sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False, cached_statements=0
        )
        self._connection.text_factory = lambda text: text.decode(errors="replace")
        for limit, value in _LIMITS.items():
            self._connection.setlimit(limit, value)
        for name, calculates in _CLOCK_FUNCTIONS.items():
            self._connection.create_function(name, -1, self._clock_function(calculates), deterministic=True)
        self._refusal = ""
        self._cancelled = False
        self._ends = math.inf
        """End of the running transaction, in seconds of `time.monotonic`."""
        self.wrote = False
        """Whether a statement of the latest transaction could write."""
        self._pragmas = self._schema_changed = False
        if content:
            self.replace(content)
        else:
            self._connection.execute("PRAGMA foreign_keys = on")

    def run(self, statements: Sequence[Statement]) -> list[StatementResult]:
        """Run the statements as one transaction.

        Raises:
            SqlError: a statement was refused or failed, or `cancel` was called; nothing was changed.
        """
        self._refusal, self.wrote, self._pragmas = "", False, False
        self._ends = time.monotonic() + self._longest
        self._connection.execute("BEGIN")
        self._connection.set_authorizer(self._authorize)
        # `interrupt` ends no statement that begins after it.
        self._connection.set_progress_handler(self._must_end, STEPS_BETWEEN_LOOKS)
        try:
            results = [self._run_statement(sql, params) for sql, params in statements]
            self._connection.set_authorizer(None)
            self._connection.execute("COMMIT")
        except (sqlite3.Error, sqlite3.Warning, OverflowError, ValueError) as error:
            raise SqlError(self._describe(error)) from None
        finally:
            self._connection.set_authorizer(None)
            self._connection.set_progress_handler(None, 0)
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if self._pragmas:
                for name in _OFF_AFTERWARDS:
                    self._connection.execute(f"PRAGMA {name} = off")
        return results

    def cancel(self) -> None:
        """End the running transaction with an error, and each later one until `allow`."""
        self._cancelled = True
        self._connection.interrupt()

    def allow(self) -> None:
        """Forget an earlier `cancel`."""
        self._cancelled = False

    def _must_end(self) -> bool:
        return self._cancelled or time.monotonic() > self._ends

    def content(self) -> bytes:
        return self._connection.serialize()

    def replace(self, content: bytes) -> None:
        """Replace all tables by those of `content`."""
        self._connection.deserialize(content)
        self._connection.execute("PRAGMA foreign_keys = on")

    def read_objects(self) -> list[tuple[str, str, str]]:
        """Return type, name and SQL of each table, index, trigger and view."""
        found = self._connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE sql NOT NULL ORDER BY rowid")
        return list(found)

    def read_literals(self, table: str) -> Iterator[tuple[list[str], list[str]]]:
        """Yield column names and values as SQL, quoted, of each row of a table."""
        quoted = quote_name(table)
        columns = [quote_name(row[1]) for row in self._connection.execute(f"PRAGMA table_info({quoted})")]
        values = ", ".join(f"quote({name})" for name in columns)
        for row in self._connection.execute(f"SELECT {values} FROM {quoted}"):  # noqa: S608
            yield columns, list(row)

    def close(self) -> None:
        self._connection.close()

    def _run_statement(self, sql: str, params: Sequence[Any]) -> StatementResult:
        # developers.cloudflare.com/d1/worker-api/return-object
        if len(sql.encode(errors="replace")) > MAX_SQL_BYTES:
            raise SqlError("statement too long: SQLITE_TOOBIG")
        if self._cancelled:
            raise sqlite3.OperationalError("interrupted")
        before, started, self._schema_changed = self._connection.total_changes, time.perf_counter(), False
        cursor = self._connection.execute(sql, [_from_json(value) for value in params])
        columns = [column[0] for column in cursor.description or ()]
        rows = [[_to_json(value) for value in row] for row in cursor]
        if self._schema_changed and self._connection.execute(_RENAMED).fetchone():
            raise SqlError("not authorized: SQLITE_AUTH")
        changes = self._connection.total_changes - before
        return StatementResult(
            columns=columns,
            rows=rows,
            changes=changes,
            last_row_id=cursor.lastrowid or 0,
            seconds=time.perf_counter() - started,
            changed=changes > 0 or self._schema_changed,
        )

    def _authorize(self, action: int, first: str | None, second: str | None, database: str | None, _: object) -> int:
        if action in {sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SAVEPOINT}:
            self._refusal = _TRANSACTIONS
            return sqlite3.SQLITE_DENY
        self.wrote |= action in _WRITES
        self._schema_changed |= action in _SCHEMA_CHANGES
        allowed = action not in _REFUSED_ACTIONS
        if action == sqlite3.SQLITE_PRAGMA:
            allowed = self._may_use_pragma((first or "").lower(), second)
        elif action == sqlite3.SQLITE_FUNCTION:
            allowed = not _REVEALING.fullmatch((second or "").lower())
        elif database == "temp":  # a statement cannot update that table; SQLite does so to rename a table or column
            allowed = action == sqlite3.SQLITE_READ or (action, first) == (sqlite3.SQLITE_UPDATE, "sqlite_temp_master")
        elif action in _WRITES | {sqlite3.SQLITE_READ}:
            allowed = not any((name or "").lower().startswith("_cf_") for name in (first, second))
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY

    def _may_use_pragma(self, name: str, argument: str | None) -> bool:
        self._pragmas |= name in _OFF_AFTERWARDS
        self.wrote |= name == "optimize"
        if name in _OFF_AFTERWARDS:
            return True
        return name in _PRAGMA_NEEDS_ARGUMENT and (argument is not None or not _PRAGMA_NEEDS_ARGUMENT[name])

    def _describe(self, error: Exception) -> str:
        """Return the text of D1: that of SQLite and the names of its codes."""
        if self._cancelled:
            return "Internal error in D1 DB storage caused object to be reset."
        if time.monotonic() > self._ends:  # developers.cloudflare.com/d1/observability/debug-d1
            return "D1 DB storage operation exceeded timeout which caused object to be reset."
        if self._refusal:
            return self._refusal
        if isinstance(error, sqlite3.ProgrammingError):
            return "Wrong number of parameter bindings for SQL query."
        name = str(getattr(error, "sqlite_errorname", "SQLITE_ERROR"))
        basic = "_".join(name.split("_")[:2])
        return f"{error}: {basic}" + (f" (extended: {name})" if name != basic else "")

    def _clock_function(self, calculates: str) -> Callable[..., Any]:
        """Return a date function whose `now` is the sandbox's clock."""
        leading = 1 if calculates == "strftime" else 0

        def function(*arguments: Any) -> Any:
            given = list(arguments) if len(arguments) > leading else [*arguments, "now"]
            if isinstance(given[leading], str) and given[leading].lower() == "now":
                given[leading] = f"{self._now():%Y-%m-%d %H:%M:%S.%f}"[:-3]
            marks = ", ".join("?" * len(given))
            with closing(sqlite3.connect(":memory:")) as plain:
                return plain.execute(f"SELECT {calculates}({marks})", given).fetchone()[0]

        return function


def split_statements(sql: str, *, knows_lower_case: bool = True) -> Iterator[str]:
    """Yield the statements of a text, except those with only a comment.

    D1's endpoint for queries does not know a lower-case `begin` of a trigger, and splits the trigger in its middle:
    github.com/cloudflare/workers-sdk/issues/15314

    Raises:
        SqlError: the text has a null character.
    """
    if "\0" in sql:
        raise SqlError("the query contains a null character")
    statement = ""
    for part in sql.split(";"):
        statement += f"{part};"
        is_split_trigger = not knows_lower_case and _TRIGGER.match(statement) and "BEGIN" not in statement
        if is_split_trigger or sqlite3.complete_statement(statement):
            if _COMMENT.sub("", statement).strip(" \n\r\t;"):
                yield statement.strip()
            statement = ""
    if _COMMENT.sub("", statement).strip(" \n\r\t;"):
        yield statement.strip()


def quote_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _from_json(value: Any) -> Any:
    """Return the value to bind. A list holds the bytes of a BLOB.

    Raises:
        SqlError: D1 takes no value of this type.
    """
    if isinstance(value, list) and all(isinstance(each, int) and 0 <= each < 256 for each in value):
        return bytes(value)
    if value is not None and not isinstance(value, str | int | float):
        raise SqlError(f"Type '{type(value).__name__}' not supported for value '{value}'")
    return value


def _to_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return list(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return float(value) if isinstance(value, int) and abs(value) > _MAX_INTEGER else value
