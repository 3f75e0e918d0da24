"""Run migrations on a local copy of a D1 database: its schema, empty or with made-up rows.

Its SQLite refuses what D1 refuses. D1 is built on workerd, whose rules these are. An acceptance test compares both.
Sources:

- allowed PRAGMAs: developers.cloudflare.com/d1/sql-api/sql-statements
- transactions, ATTACH, temporary objects, some functions, names that begin with `_cf_`: `isAuthorized` in
  github.com/cloudflare/workerd, src/workerd/util/sqlite.c++
- limits: developers.cloudflare.com/d1/platform/limits, and `setupSecurity` in the same file
- the split of a text into statements: github.com/cloudflare/workers-sdk/issues/15314
"""

import contextlib
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from ops.cloudflare.types.d1 import quote_identifier
from ops.core.names import quote_name
from ops.core.sql import ANY_COMMENT, QUOTED, fold_name
from ops.database import applies, migration_holds
from ops.database.loss_tracker import ROW_ACTIONS, LossTracker, action_codes
from ops.database.losses import SHOWN, RowLoss
from ops.database.schema_tables import fill_schema_tables, loses_rows, read_sample_rows

SchemaObject = tuple[object, ...]
"""Type, name and SQL of a table, index, view or trigger."""

MAX_SQL_BYTES = 100_000
_TOO_LONG = f"longer than {MAX_SQL_BYTES} bytes"
TIME_LIMIT = 30.0
"""Seconds that D1 gives a query, and that a transaction on the copy may take."""
MAX_PAGES = 25_000
"""Pages of 4 kB: the copy must not fill the memory of a job."""
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
_PRAGMAS_WITH_ARGUMENT = {
    *("table_info", "table_xinfo", "index_list", "index_info", "index_xinfo", "foreign_key_list"),
}
_PRAGMAS_OFF_AFTERWARDS = {
    *("ignore_check_constraints", "legacy_alter_table", "recursive_triggers"),
    *("reverse_unordered_selects", "case_sensitive_like"),
}
"""Allowed PRAGMAs that are off again after the transaction."""
_PRAGMAS = {
    *("table_list", "foreign_key_check", "quick_check", "optimize", "data_version", "page_size"),
    *("foreign_keys", "defer_foreign_keys", *_PRAGMAS_OFF_AFTERWARDS),
}


_KINDS = ("TABLE", "INDEX", "TRIGGER", "VIEW")
_TRANSACTIONS = action_codes("TRANSACTION", "SAVEPOINT")
_REFUSED_ACTIONS = action_codes(
    "ATTACH", "DETACH", *(f"{verb}_TEMP_{kind}" for verb in ("CREATE", "DROP") for kind in _KINDS)
)
_NAMED_ACTIONS = action_codes(
    *("READ", "INSERT", "UPDATE", "DELETE", "ALTER_TABLE", "ANALYZE", "REINDEX"),
    *(f"{verb}_{kind}" for verb in ("CREATE", "DROP") for kind in (*_KINDS, "VTABLE")),
)
_CHANGES = _NAMED_ACTIONS - action_codes("READ", "ANALYZE", "REINDEX")
_REVEALING = re.compile(r"sqlite_(version|source_id|offset|compileoption_get|compileoption_used)")
_TRIGGER = re.compile(
    r"\A(?:\s|--[^\n]*\n|/\*.*?\*/)*+CREATE\s+(?:TEMP\w*\s+)?TRIGGER\b[^;]*;", re.IGNORECASE | re.DOTALL
)
"""Start of a trigger, up to its first semicolon."""
_COMMENT = re.compile(ANY_COMMENT, re.DOTALL)
_NO_SEMICOLON = rf"""[^;'"`\[/-]++|{QUOTED}|{ANY_COMMENT}|[/-]"""
_TO_SEMICOLON = re.compile(f"(?:{_NO_SEMICOLON})*+;?", re.DOTALL)
"""Text up to the first semicolon outside of quotes and comments."""
_BLANK = rf"(?:[ \t\n\f\r]|{ANY_COMMENT})*+"
_END = f";{_BLANK}END{_BLANK};"
_TO_END = re.compile(f"(?:{_NO_SEMICOLON}|(?!{_END});)*+(?:{_END})?", re.IGNORECASE | re.DOTALL)
"""Text up to the end of a trigger."""
_RESERVED = "names that begin with _cf_ belong to D1"
_OWN_TABLES = (migration_holds.TABLE, applies.TABLE)
_OWN = f"the tables {' and '.join(_OWN_TABLES)} belong to Backout, which lifts holds with lift-hold"
_ORPHANS = 'SELECT DISTINCT "table" FROM pragma_foreign_key_check'
MAX_CLEANINGS = 10
"""Times that a table without such rows may leave others that refer to it."""
_CREATION_ORDER = ("table", "index", "view", "trigger")


class SqlRejectedError(Exception):
    """D1 would refuse a statement, or SQLite did; the copy is unchanged."""


class LocalCopy:
    """A SQLite database in memory with the schema of a D1 database. A context manager; not safe for threads.

    It has the tables of holds and applies too, and refuses statements that change them. With `has_rows`, each table has
    made-up rows: a transaction then also loses those, and fails if they refer to missing ones.

    Raises:
        SqlRejectedError: SQLite on this machine cannot create an object of the schema.
    """

    def __init__(
        self, schema: Iterable[SchemaObject], *, time_limit: float = TIME_LIMIT, has_rows: bool = False
    ) -> None:
        # Without cached statements, the authorizer sees each statement each time.
        self._connection = sqlite3.connect(":memory:", isolation_level=None, cached_statements=0)
        for limit, value in _LIMITS.items():
            self._connection.setlimit(limit, value)
        self._connection.execute("PRAGMA foreign_keys = on")
        self._connection.execute(f"PRAGMA max_page_count = {MAX_PAGES}")
        self._time_limit, self._refusal, self._pragmas = time_limit, "", set[str]()
        self._sets_foreign_keys, self._written = False, set[str]()
        self._hidden, self._has_rows = 0, has_rows
        self._losses: LossTracker | None = None  # while the schema is not complete
        for own in (migration_holds.CREATE_TABLE, applies.CREATE_TABLE):
            self._connection.execute(own.sql)
        try:
            self._create_schema(schema)
        except SqlRejectedError:
            self._connection.close()
            raise
        self._hidden, self._losses = self._count_hidden(), LossTracker(self._connection)
        self._connection.set_trace_callback(self._losses.note_start)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()

    def run(self, statements: Sequence[str]) -> None:
        """Run the statements as one transaction, as D1 runs a batch.

        Raises:
            SqlRejectedError: the text names the statement, counted from 1, and the reason.
        """
        self._sets_foreign_keys, self._written = False, set()
        if self._losses:
            self._losses.begin()
        deadline = time.monotonic() + self._time_limit
        self._connection.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
        self._connection.execute("BEGIN")
        self._connection.execute("PRAGMA defer_foreign_keys = on")
        self._connection.set_authorizer(self._authorize_statement)
        try:
            for number, sql in enumerate(statements, start=1):
                self._run_statement(number, sql)
            self._connection.set_authorizer(None)
            self._commit_copy()
        finally:
            self._connection.set_authorizer(None)
            self._connection.set_progress_handler(None, 0)
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
                if self._losses:
                    self._losses.roll_back()
            while self._pragmas:
                self._connection.execute(f"PRAGMA {self._pragmas.pop()} = off")

    @property
    def losses(self) -> tuple[RowLoss, ...]:
        """Return what the latest transaction may lose of the rows from before it."""
        return self._losses.losses if self._losses else ()

    def find_lost_rows(self, statements: Sequence[str]) -> tuple[RowLoss, ...]:
        """Run the statements as one transaction, and return the losses of made-up rows that `losses` does not have.

        Raises:
            SqlRejectedError: the statements fail with these rows.
        """
        before = read_sample_rows(self._connection)
        self.run(statements)
        if self._losses is None:
            return ()
        after, known = read_sample_rows(self._connection), {fold_name(each.table) for each in self.losses}
        now = {fold_name(name): key for key, name in self._losses.names.items()}
        gone = (rows.name for key, rows in before.items() if loses_rows(rows, after.get(now.get(key, key))))
        return tuple(self._losses.make_unseen(name) for name in gone if fold_name(name) not in known)

    @property
    def sets_foreign_keys(self) -> bool:
        """Whether the latest transaction sets PRAGMA foreign_keys, which has no effect within a transaction.

        sqlite.org/pragma.html#pragma_foreign_keys
        """
        return self._sets_foreign_keys

    def writes_to(self, table: str) -> bool:
        """Return whether the latest transaction inserts, updates or deletes rows of a table, also in a trigger."""
        return table.lower() in self._written

    def can_read(self, sql: str) -> bool:
        """Return whether a statement that only reads fits the schema."""
        try:
            self._connection.execute(f"EXPLAIN {sql}").fetchall()
        except (sqlite3.Error, sqlite3.Warning):
            return False
        return True

    def read_schema(self) -> frozenset[SchemaObject]:
        """Return the objects that people made, in the form in which the schema was given."""
        rows = self._connection.execute(
            "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite!_%' ESCAPE '!' "
            "AND name NOT IN (?, ?)",
            _OWN_TABLES,
        )
        return frozenset(rows)

    def read_names(self, table: str) -> tuple[str, ...]:
        """Return the names in a table of migrations, oldest first. Raises SqlRejectedError if it has none."""
        try:
            rows = self._connection.execute(f"SELECT name FROM {quote_identifier(table)} ORDER BY id")  # noqa: S608
            return tuple(name for (name,) in rows)
        except sqlite3.Error as error:
            raise SqlRejectedError(f"the table {quote_name(table)} cannot be read: {error}") from None

    def _create_schema(self, schema: Iterable[SchemaObject]) -> None:
        """Create the objects: virtual tables before the shadow tables that they make themselves, triggers last."""
        objects = [(str(kind), str(name), str(sql)) for kind, name, sql in schema]
        shadows = set[object](name for _, name, _ in objects if name.lower() in _OWN_TABLES)
        is_filled = not self._has_rows
        for kind, name, sql in sorted(objects, key=lambda each: (*_creation_order(each), each[1])):
            if kind == "trigger" and not is_filled:
                is_filled = True
                fill_schema_tables(self._connection, _OWN_TABLES)
            if name in shadows:
                continue
            try:
                self.run([sql])
            except SqlRejectedError as error:
                text = f"SQLite {sqlite3.sqlite_version} of this machine cannot create {quote_name(name)}: {error}"
                raise SqlRejectedError(text) from None
            if is_virtual(sql):
                shadows |= {known for _, known, _ in self.read_schema()}
        if not is_filled:
            fill_schema_tables(self._connection, _OWN_TABLES)

    def _run_statement(self, number: int, sql: str) -> None:
        if len(sql.encode(errors="replace")) > MAX_SQL_BYTES:
            raise _rejected_statement(number, sql, _TOO_LONG)
        self._refusal = ""
        if self._losses:
            self._losses.begin_statement(number, sql)
        try:
            for _ in self._connection.execute(sql):
                pass
            renamed = self._connection.execute(
                "SELECT 1 FROM sqlite_schema WHERE name LIKE '!_cf!_%' ESCAPE '!'"
            ).fetchone()
            if self._losses:
                self._connection.set_authorizer(None)
                self._losses.end_statement()
                self._connection.set_authorizer(self._authorize_statement)
        except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
            late = f"it takes longer than {self._time_limit:.0f} s" if str(error) == "interrupted" else ""
            raise _rejected_statement(number, sql, late or self._refusal or str(error)) from None
        if renamed:
            raise _rejected_statement(number, sql, _RESERVED)
        if self._losses and self._count_hidden() > self._hidden:
            raise _rejected_statement(number, sql, _OWN)

    def _count_hidden(self) -> int:
        """Return the number of triggers that name a table of Backout: the authorizer sees them when they run."""
        named = " OR ".join(f"instr(lower(sql), '{table}')" for table in _OWN_TABLES)
        (count,) = self._connection.execute(
            f"SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND ({named})"  # noqa: S608
        ).fetchone()
        return int(count)

    def _commit_copy(self) -> None:
        """Commit, without rows that refer to missing ones: the database may have those, so only D1 can judge."""
        try:
            for _ in range(0 if self._has_rows else MAX_CLEANINGS):
                with contextlib.suppress(sqlite3.IntegrityError):
                    self._connection.execute("COMMIT")
                    return
                for (table,) in self._connection.execute(_ORPHANS).fetchall():
                    self._connection.execute(f"DELETE FROM {quote_identifier(table)}")  # noqa: S608
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise SqlRejectedError(f"at the end of the transaction: {error}") from None

    def _authorize_statement(
        self, action: int, first: str | None, second: str | None, database: str | None, trigger: str | None
    ) -> int:
        if self._losses:
            self._losses.note_action(action, first or "", second or "", trigger or "")
        refusal = self._find_refusal(action, first or "", second, database)
        self._refusal = self._refusal or refusal
        return sqlite3.SQLITE_DENY if refusal else sqlite3.SQLITE_OK

    def _find_refusal(self, action: int, first: str, second: str | None, database: str | None) -> str:
        """Return why D1 refuses an action; empty if it does not."""
        if action in ROW_ACTIONS:
            self._written.add(first.lower())
        if action in _TRANSACTIONS:
            return "D1 runs a query as one transaction, and refuses BEGIN, COMMIT, ROLLBACK and SAVEPOINT"
        if action in _REFUSED_ACTIONS or (database == "temp" and not _is_part_of_alter_table(action, first)):
            return "D1 refuses ATTACH, DETACH and temporary objects"
        if action == sqlite3.SQLITE_PRAGMA:
            return self._refuse_pragma(first.lower(), second)
        if action == sqlite3.SQLITE_FUNCTION and _REVEALING.fullmatch((second or "").lower()):
            return f"D1 refuses {second}()"
        if action in _NAMED_ACTIONS and any((name or "").lower().startswith("_cf_") for name in (first, second)):
            return _RESERVED
        is_own = any((name or "").lower() in _OWN_TABLES for name in (first, second))
        if is_own and self._losses and action in _CHANGES:
            return _OWN
        return ""

    def _refuse_pragma(self, name: str, argument: str | None) -> str:
        self._sets_foreign_keys |= name == "foreign_keys" and argument is not None
        if name in _PRAGMAS_OFF_AFTERWARDS:
            self._pragmas.add(name)
        allowed = name in _PRAGMAS or (name in _PRAGMAS_WITH_ARGUMENT and argument is not None)
        return "" if allowed else f"D1 refuses PRAGMA {quote_name(name)}"


@dataclass(frozen=True)
class UnseenLosses:
    """Losses that only made-up rows show."""

    transactions: tuple[tuple[RowLoss, ...], ...]
    """Losses of each transaction that ran."""
    failure: str = ""
    """Why D1 refuses the next one if rows refer to each other; empty if it does not."""


def find_unseen(schema: Iterable[SchemaObject], transactions: Iterable[Sequence[str]]) -> UnseenLosses:
    """Return the losses of transactions that passed without rows.

    Made-up rows may break a rule that those of the database keep, so that only a failing foreign key counts.
    """
    found = list[tuple[RowLoss, ...]]()
    try:
        with LocalCopy(schema, has_rows=True) as copy:
            for statements in transactions:
                found.append(copy.find_lost_rows(statements))
    except SqlRejectedError as error:
        return UnseenLosses(tuple(found), str(error) if "FOREIGN KEY" in str(error) else "")
    return UnseenLosses(tuple(found))


def _is_part_of_alter_table(action: int, table: str) -> bool:
    """Return whether ALTER TABLE does this to the temporary schema, which a statement of its own cannot change."""
    return action == sqlite3.SQLITE_READ or (action == sqlite3.SQLITE_UPDATE and table == "sqlite_temp_master")


def _creation_order(object_row: tuple[str, str, str]) -> tuple[int, bool]:
    kind, _, sql = object_row
    return _CREATION_ORDER.index(kind), not is_virtual(sql)


def is_virtual(sql: str) -> bool:
    return sql.upper().startswith("CREATE VIRTUAL")


def split_statements(sql: str) -> Iterator[str]:
    """Yield the statements of a text as D1 splits them, without those that are only a comment.

    Raises:
        SqlRejectedError: the text has a null character, or a trigger whose `begin` D1 does not find.
    """
    if "\0" in sql:
        raise SqlRejectedError("the text has a null character")
    start, number = 0, 1
    while start < len(sql):
        end = _find_statement_end(sql, start)
        statement, start = sql[start:end], end
        if (head := _TRIGGER.match(statement)) and "BEGIN" not in head[0]:
            raise _rejected_statement(number, head[0], "D1 knows a trigger only by BEGIN in capital letters")
        if len(statement) > MAX_SQL_BYTES:
            raise _rejected_statement(number, statement, _TOO_LONG)
        if _COMMENT.sub("", statement).strip(" \t\n\f\r;"):
            yield statement.strip()
            number += 1


def _find_statement_end(sql: str, start: int) -> int:
    """Return the place behind a statement, by the rules of SQLite (sqlite.org/c3ref/complete.html)."""
    match = _TO_SEMICOLON.match(sql, start)
    if match and match.end() < len(sql) and not sqlite3.complete_statement(match[0]):
        match = _TO_END.match(sql, match.end() - 1)  # only a trigger has semicolons within it
    return match.end() if match else len(sql)


def _rejected_statement(number: int, sql: str, why: str) -> SqlRejectedError:
    return SqlRejectedError(f"statement {number}: {why}: {quote_name(' '.join(sql[:SHOWN].split()))}")
