"""Find what a transaction loses of the rows that a database had before it.

SQLite's authorizer reports each write of a statement, also those of triggers and foreign keys, before it runs
(sqlite.org/c3ref/set_authorizer.html). Dropped tables and columns show in the schema afterwards.
"""

import re
import sqlite3
import string
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ops.core.names import quote_name

ANY_COMMENT = r"--[^\n]*|/\*.*?(?:\*/|\Z)"
QUOTED = r"""'[^']*'?|"[^"]*"?|`[^`]*`?|\[[^\]]*\]?"""
"""Quoted texts and names of SQLite; a doubled quote begins another one."""
SHOWN = 1000
"""Characters of a statement from which a message quotes the start."""
QUOTED_OR_COMMENT = re.compile(f"{QUOTED}|{ANY_COMMENT}", re.DOTALL)
_REPLACES = re.compile(r"\bREPLACE\s+INTO\b|\bOR\s+REPLACE\b(?!\s*\()|\bON\s+CONFLICT\s+REPLACE\b", re.IGNORECASE)
"""Words by which SQLite deletes a row for a new one (sqlite.org/lang_conflict.html): its authorizer does not see it."""
_CAPITALS = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def action_codes(*names: str) -> frozenset[int]:
    """Return action codes of SQLite's authorizer (sqlite.org/c3ref/c_alter_table.html)."""
    return frozenset(getattr(sqlite3, f"SQLITE_{name}") for name in names)


ROW_ACTIONS = action_codes("INSERT", "UPDATE", "DELETE")
_TABLE_ACTIONS = action_codes("ALTER_TABLE", "CREATE_TABLE", "CREATE_VTABLE", "DROP_TABLE", "DROP_VTABLE")


@dataclass(frozen=True)
class RowLoss:
    """An effect of a transaction on a table from before it: rows, values, a column or the table may be lost."""

    table: str
    """Name before the transaction."""
    origin: str
    """Name in the database of the copy; empty if an earlier transaction on the copy made the table."""
    statement: int
    """Number within the transaction, from 1."""
    effect: str
    """Such as `deletes rows of orders`."""
    sql: str
    """Start of the statement, on one line."""
    column: str = ""
    """Removed column; empty for another loss."""
    is_kept: bool = True
    """Whether the table, or another one of its name, exists after the transaction."""

    def __str__(self) -> str:
        return f"statement {self.statement} {self.effect}: {self.sql}"


@dataclass(frozen=True)
class _Table:
    name: str
    page: int
    """Root page, which a new name does not change; 0 for each virtual table."""
    sql: str
    columns: tuple[str, ...] = ()
    """Columns that hold values."""


@dataclass(frozen=True)
class _Event:
    """A write on the rows of a table."""

    action: int
    table: str
    """Without capitals."""
    column: str
    """Updated column, without capitals."""
    trigger: str


class LossTracker:
    """Finds the losses of the transactions on a connection. It must get each statement and each authorizer event."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._tables = self._read_tables()
        self._origins = {key: each.name for key, each in self._tables.items()}
        """Present name → name in the database of the copy."""
        self._before = (self._tables, self._origins)
        self._names = dict[str, str]()
        """Present name → name before the transaction."""
        self._added = set[tuple[str, str]]()
        """Present table and column for each column that the transaction added."""
        self._losses = list[RowLoss]()
        self._sql, self._number = "", 0
        self._events, self._changes_tables, self._is_running = list[_Event](), False, False

    @property
    def losses(self) -> tuple[RowLoss, ...]:
        """Return the losses of the latest transaction.

        New rows, and values of a column that the same transaction added, are none.
        """
        kept = self._tables.keys() | {fold_name(name) for name in self._names.values()}
        return tuple(replace(each, is_kept=fold_name(each.table) in kept) for each in dict.fromkeys(self._losses))

    def begin(self) -> None:
        self._before = (self._tables, self._origins)
        self._names = {key: each.name for key, each in self._tables.items()}
        self._added, self._losses = set(), []

    def roll_back(self) -> None:
        (self._tables, self._origins), self._losses = self._before, []

    def begin_statement(self, number: int, sql: str) -> None:
        self._sql, self._number = sql, number
        self._events, self._changes_tables, self._is_running = [], False, False

    def note_action(self, action: int, first: str, second: str, trigger: str) -> None:
        """Note an event of the authorizer. A virtual table writes its own tables while the statement runs."""
        self._changes_tables |= action in _TABLE_ACTIONS
        if action in ROW_ACTIONS and not self._is_running:
            self._events.append(_Event(action, fold_name(first), fold_name(second), trigger))

    def note_start(self, sql: str) -> None:
        """Note, as the connection's trace callback, that a statement begins to run."""
        self._is_running |= bool(sql) and self._sql.startswith(sql)

    def end_statement(self) -> None:
        """Note the losses of a statement that ran, and the names that it changed."""
        before = self._tables
        if self._changes_tables:
            self._tables = self._read_tables()
        gone = {key for key, table in before.items() if self._find_again(key, table, before) is None}
        for event in self._events:
            does = self._describe(event, before) if event.table in self._names else ""
            if does and (event.table not in gone or _is_shadow(event.table, before)):
                by = f" by the trigger {quote_name(event.trigger)}" if event.trigger else ""
                by = by or (" by a foreign key" if event.table != self._events[0].table else "")
                self._add_loss(event.table, f"{does} of", by)
        if self._changes_tables:
            self._note_tables(before)

    def _note_tables(self, before: Mapping[str, _Table]) -> None:
        """Note removed tables and columns, and new names."""
        names, origins, added = dict[str, str](), dict[str, str](), set[tuple[str, str]]()
        for key, table in before.items():
            now = self._find_again(key, table, before)
            if now is None:
                if not _is_shadow(key, before):
                    self._add_loss(key, "removes the table")
                continue
            old, new = table.columns, self._tables[now].columns
            lost = [each for each in old if each not in new and (key, fold_name(each)) not in self._added]
            if len(new) < len(old) and lost:
                self._add_loss(key, f"removes the column {quote_name(lost[0])} of", column=lost[0])
            if key == now and new[: len(old)] == old:
                added |= {each for each in self._added if each[0] == key}
                added |= {(key, fold_name(each)) for each in new[len(old) :]}
            names |= {now: self._names[key]} if key in self._names else {}
            origins |= {now: self._origins[key]} if key in self._origins else {}
        self._names, self._origins, self._added = names, origins, added

    def _find_again(self, key: str, table: _Table, before: Mapping[str, _Table]) -> str | None:
        """Return the present name of a table; None if the statement dropped it."""
        if key in self._tables:
            return key
        new = (now for now, each in self._tables.items() if now not in before and each.page == table.page)
        return next(new, None)

    def _describe(self, event: _Event, before: Mapping[str, _Table]) -> str:
        """Return what a write does to the rows of its table; empty if it only adds rows or fills an added column.

        A trigger hands its words for a conflict on to the next one (sqlite.org/lang_createtrigger.html).
        """
        if event.action == sqlite3.SQLITE_DELETE:
            return "deletes rows"
        table = before.get(event.table)
        triggers = dict.fromkeys(each.trigger for each in self._events if each.trigger and event.trigger)
        texts = (self._sql, *map(self._read_trigger, triggers), table.sql if table else "")
        if any(_REPLACES.search(QUOTED_OR_COMMENT.sub(_blank, text)) for text in texts):
            return "replaces rows"
        is_update = event.action == sqlite3.SQLITE_UPDATE and (event.table, event.column) not in self._added
        return "changes rows" if is_update else ""

    def _add_loss(self, key: str, does: str, by: str = "", *, column: str = "") -> None:
        """Add a loss, unless the transaction itself made the table."""
        if key in self._names:
            name, start = self._names[key], quote_name(shorten_statement(self._sql))
            effect = f"{does} {quote_name(name)}{by}"
            self._losses.append(RowLoss(name, self._origins.get(key, ""), self._number, effect, start, column))

    def _read_trigger(self, name: str) -> str:
        rows = self._connection.execute("SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND name = ?", (name,))
        return "".join(sql for (sql,) in rows)

    def _read_tables(self) -> dict[str, _Table]:
        """Return the tables by their names without capitals."""
        rows = self._connection.execute(
            "SELECT t.name, t.rootpage, t.sql, c.name FROM sqlite_schema t LEFT JOIN pragma_table_info(t.name) c "
            "WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite!_%' ESCAPE '!'"
        )
        tables = dict[str, _Table]()
        for name, page, sql, column in rows:
            table = tables.setdefault(fold_name(name), _Table(name, page, sql))
            tables[fold_name(name)] = replace(table, columns=(*table.columns, column))
        return tables


def fold_name(name: str) -> str:
    """Return a name as SQLite compares it: without the capitals A to Z."""
    return name.translate(_CAPITALS)


def shorten_statement(sql: str) -> str:
    """Return a statement on one line, without comments and its semicolon; at most the start of a long one."""
    return " ".join(without_comments(sql).split())[:SHOWN].rstrip("; ")


def without_comments(sql: str) -> str:
    """Return a text with a space for each comment."""
    return QUOTED_OR_COMMENT.sub(lambda found: " " if found[0][0] in "-/" else found[0], sql)


def _is_shadow(key: str, tables: Mapping[str, _Table]) -> bool:
    """Return whether a table may be part of a virtual one (sqlite.org/vtab.html#xshadowname)."""
    return any(each.page == 0 and key.startswith(f"{name}_") for name, each in tables.items())


def _blank(match: re.Match[str]) -> str:
    """Return a space for a comment, and another sign for a quoted text."""
    return " " if match[0][0] in "-/" else "?"
