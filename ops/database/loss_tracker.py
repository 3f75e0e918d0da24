"""Find what a transaction loses of the rows that a database had before it.

SQLite's authorizer reports each write of a statement, also those of triggers and foreign keys, before it runs
(sqlite.org/c3ref/set_authorizer.html). Dropped tables and columns show in the schema afterwards. A loss by a statement
that is not understood has no known number of rows.
"""

import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from ops.cloudflare.types.d1 import quote_identifier
from ops.core.names import quote_name
from ops.core.sql import fold_name, mask_quoted_sql
from ops.database.losses import Affected, Effect, RowLoss, shorten_statement
from ops.database.schema_tables import Reference, Table, find_virtual, is_shadow, read_tables
from ops.database.statement_forms import Fill, RowStatement, map_fill, parse_statement

MAX_STEPS = 500
"""Foreign keys that are followed; a schema with more paths has losses of unknown size."""

Rows = Mapping[tuple[str, Effect], Affected | None]
"""Folded table and effect → rows; None if nobody can tell which."""


def find_affected(
    tables: Mapping[str, Table], live: Mapping[str, str], effect: Effect, rows: Affected, columns: Iterable[str] = ()
) -> Rows:
    """Return the rows that are lost with some rows of a table, also by foreign keys.

    `live` has for each folded table, whose rows are those of the database, its name there; `columns` are those that an
    UPDATE sets.
    """
    search, key = _LossSearch(tables, live), fold_name(rows.table)
    search.follow(key, effect, rows, frozenset(map(fold_name, columns)), ())
    return search.found if search.steps <= MAX_STEPS else {(key, effect): rows}


@dataclass
class _LossSearch:
    tables: Mapping[str, Table]
    live: Mapping[str, str]
    found: dict[tuple[str, Effect], Affected | None] = field(default_factory=dict)
    steps: int = 0

    def follow(
        self, key: str, effect: Effect, rows: Affected | None, columns: frozenset[str], path: tuple[str, ...]
    ) -> None:
        """Add the rows, and those that refer to them.

        A foreign key compares texts by the collation of the parent's column (sqlite.org/foreignkeys.html), and IN by
        that of the child's, so that a table with one has an unknown number of rows.
        """
        self._add_affected_rows(key, effect, rows, is_again=key in path)
        if key in path:
            return
        parent = self.tables[key]
        for child_key, child in self.tables.items():
            for reference in child.references if child_key in self.live else ():
                then = _find_effect(reference, effect, columns, parent) if reference.parent == key else None
                self.steps += 1 if then else 0
                if then and self.steps <= MAX_STEPS:
                    its = None if parent.has_collation or child.has_collation else rows
                    its = its and _refer_to(self.live[child_key], reference, parent, its)
                    its = its and replace(its, is_bound=its.is_bound or effect == Effect.CHANGED)
                    self.follow(child_key, then, its, frozenset(map(fold_name, reference.columns)), (*path, key))

    def _add_affected_rows(self, key: str, effect: Effect, rows: Affected | None, *, is_again: bool) -> None:
        """Add rows. A circle of foreign keys goes on for as many steps as the rows have; all rows are all rows."""
        known = self.found.get((key, effect), rows)
        is_all = known is not None and not known.where and not known.is_bound
        if is_all and (key, effect) in self.found:
            return
        if is_again or known is None or rows is None:
            self.found[key, effect] = None
        elif known == rows:
            self.found[key, effect] = rows
        else:
            where = f"({known.where}) OR ({rows.where})" if known.where and rows.where else ""
            is_bound = known.is_bound or rows.is_bound
            is_same = known.alias == rows.alias
            self.found[key, effect] = Affected(rows.table, where, rows.alias, is_bound) if is_same else None


def _find_effect(reference: Reference, effect: Effect, columns: frozenset[str], parent: Table) -> Effect | None:
    """Return what a foreign key does to the rows that refer to such rows; None if it does nothing to them."""
    if effect == Effect.DELETED:
        actions = {"CASCADE": Effect.DELETED, "SET NULL": Effect.CHANGED, "SET DEFAULT": Effect.CHANGED}
        return actions.get(reference.on_delete)
    referred = {fold_name(each) for each in _parent_columns(reference, parent)}
    acts = reference.on_update in {"CASCADE", "SET NULL", "SET DEFAULT"}
    return Effect.CHANGED if acts and referred & columns else None


def _parent_columns(reference: Reference, parent: Table) -> tuple[str, ...]:
    named = tuple(each for each in reference.parent_columns if each is not None)
    return named or parent.primary_key


def _refer_to(child: str, reference: Reference, parent: Table, rows: Affected) -> Affected:
    """Return the rows of a table that refer to some rows of another."""
    own = ", ".join(map(quote_identifier, reference.columns))
    own = f"({own})" if len(reference.columns) > 1 else own
    theirs = ", ".join(map(quote_identifier, _parent_columns(reference, parent)))
    where = f"{own} IN (SELECT {theirs} FROM {from_sql(rows)})"  # noqa: S608
    return Affected(child, where, is_bound=rows.is_bound)


def from_sql(rows: Affected) -> str:
    """Return the rows as SQL behind FROM. A comment at the end of the condition ends with its line."""
    alias = f" AS {quote_identifier(rows.alias)}" if rows.alias else ""
    return f"{quote_identifier(rows.table)}{alias}" + (f" WHERE ({rows.where}\n)" if rows.where else "")


_REPLACES = re.compile(r"\bREPLACE\s+INTO\b|\bOR\s+REPLACE\b(?!\s*\()|\bON\s+CONFLICT\s+REPLACE\b", re.IGNORECASE)
"""Words by which SQLite deletes a row for a new one (sqlite.org/lang_conflict.html): its authorizer does not see it."""
_REMOVES_TEXT = re.compile(r"'delete(?:-all)?'", re.IGNORECASE)
"""Commands by which an INSERT removes rows of a full-text table (sqlite.org/fts5.html#special_insert_commands)."""
_SEQUENCE = "sqlite_sequence"
"""Table with the highest number of each table with AUTOINCREMENT; SQL may change it (sqlite.org/autoinc.html)."""
WITH_TABLE, UNSEEN = "with the table", "in a test with made-up rows"


def action_codes(*names: str) -> frozenset[int]:
    """Return action codes of SQLite's authorizer (sqlite.org/c3ref/c_alter_table.html)."""
    return frozenset(getattr(sqlite3, f"SQLITE_{name}") for name in names)


ROW_ACTIONS = action_codes("INSERT", "UPDATE", "DELETE")
_TABLE_ACTIONS = action_codes("ALTER_TABLE", "CREATE_TABLE", "CREATE_VTABLE", "DROP_TABLE", "DROP_VTABLE")


@dataclass(frozen=True)
class _Event:
    """A write on the rows of a table."""

    action: int
    table: str
    """Folded."""
    column: str
    """Updated column, folded."""
    trigger: str


@dataclass(frozen=True)
class _Copy:
    """A table that the transaction made and filled with the rows of one from before it."""

    name: str
    """Name of that table before the transaction."""
    origin: str
    kept: frozenset[str]
    """Folded columns with the values of that table."""
    changed: frozenset[str]
    """Folded columns of that table that have other values."""
    losses: tuple[RowLoss, ...]
    """Losses if it takes the place of that table."""
    is_clean: bool
    """Whether its rows are still those of the database."""


class LossTracker:
    """Finds the losses of the transactions on a connection. It must get each statement and each authorizer event."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._tables = read_tables(connection)
        self._origins = {key: each.name for key, each in self._tables.items()}
        """Present table → name in the database of the copy."""
        self._written = set[str]()
        """Names in the database of the copy of tables that differ from it, in rows or columns."""
        self._before = (self._tables, self._origins, frozenset[str]())
        self._names = dict[str, str]()
        """Present table → name before the transaction."""
        self._keys = dict[str, str]()
        """Folded name before the transaction → column whose numbers new rows may get again."""
        self._number_keys = dict[str, str]()
        """Folded name before the transaction → column that SQLite numbers, also with AUTOINCREMENT."""
        self._resets_numbers = False
        """Whether the transaction changes the numbers of AUTOINCREMENT by hand."""
        self._added = set[tuple[str, str]]()
        """Present table and column for each column that the transaction added."""
        self._losses = list[RowLoss]()
        self._removed = dict[str, RowLoss]()
        """Folded name before the transaction → loss of a table that a statement removed."""
        self._copies = dict[str, _Copy]()
        self._sql, self._number = "", 0
        self._events, self._reads = list[_Event](), set[str]()
        self._changes_tables, self._is_running = False, False
        self._compares_otherwise = False
        """Whether LIKE of the transaction is another one than that of a count."""

    @property
    def losses(self) -> tuple[RowLoss, ...]:
        """Return the losses of the latest transaction.

        New rows, and values of a column that the same transaction added, are none.
        """
        rebuilt = self._find_rebuilt()
        found = [
            *self._losses,
            *(self._bound_row_loss(key, loss) for key, loss in self._removed.items() if key not in rebuilt),
        ]
        found += [loss for key in self._removed if key in rebuilt for loss in rebuilt[key].losses]
        ordered = sorted(dict.fromkeys(found), key=lambda each: each.statement)
        kept = self._tables.keys() | {fold_name(name) for name in self._names.values()}
        numbered = self._number_keys if self._resets_numbers else self._keys
        return tuple(
            replace(each, is_kept=(key := fold_name(each.table)) in kept, key=numbered.get(key, "")) for each in ordered
        )

    def _bound_row_loss(self, key: str, loss: RowLoss) -> RowLoss:
        """Return the loss of a removed table; another one of its name may have some of its rows."""
        if key not in self._tables or loss.affected is None:
            return loss
        return replace(loss, affected=replace(loss.affected, is_bound=True))

    @property
    def names(self) -> Mapping[str, str]:
        """Return present table → name before the latest transaction, of the tables from before it."""
        return self._names

    def make_unseen(self, name: str) -> RowLoss:
        """Return a loss of rows of a table by no known statement of the latest transaction."""
        origin = self._origins.get(fold_name(name), name)
        return RowLoss(name, origin, self._number, Effect.CHANGED, "", UNSEEN)

    def _find_rebuilt(self) -> Mapping[str, _Copy]:
        """Return the copies that took the names of their originals."""
        return {key: each for key, each in self._copies.items() if key == fold_name(each.name)}

    def begin(self) -> None:
        self._origins |= {key: each.origin for key, each in self._find_rebuilt().items() if each.origin}
        self._before = (self._tables, dict(self._origins), frozenset(self._written))
        self._names = {key: each.name for key, each in self._tables.items()}
        self._keys = {key: each.reused_key for key, each in self._tables.items()}
        self._number_keys, self._resets_numbers = {key: each.number_key for key, each in self._tables.items()}, False
        self._added, self._losses, self._removed = set(), [], {}
        self._copies, self._compares_otherwise = {}, False

    def roll_back(self) -> None:
        self._tables, self._origins, written = self._before
        self._written, self._losses, self._removed, self._copies = set(written), [], {}, {}

    def begin_statement(self, number: int, sql: str) -> None:
        self._sql, self._number = sql, number
        self._events, self._reads, self._changes_tables, self._is_running = [], set(), False, False

    def note_action(self, action: int, first: str, second: str, trigger: str) -> None:
        """Note an event of the authorizer. A virtual table writes its own tables while the statement runs."""
        self._compares_otherwise |= action == sqlite3.SQLITE_PRAGMA and first.lower() == "case_sensitive_like"
        self._changes_tables |= action in _TABLE_ACTIONS
        if self._is_running:
            return
        self._resets_numbers |= action in ROW_ACTIONS and first.lower() == _SEQUENCE and _SEQUENCE in self._sql.lower()
        if action in ROW_ACTIONS:
            self._events.append(_Event(action, fold_name(first), fold_name(second), trigger))
        elif action == sqlite3.SQLITE_READ:
            self._reads.add(fold_name(first))

    def note_start(self, sql: str) -> None:
        """Note, as the connection's trace callback, that a statement begins to run."""
        self._is_running |= bool(sql) and self._sql.startswith(sql)

    def end_statement(self) -> None:
        """Note the losses of a statement that ran, and the names that it changed."""
        before = self._tables
        if self._changes_tables:
            self._tables = read_tables(self._connection)
        gone = {key for key, table in before.items() if self._find_again(key, table, before) is None}
        form = parse_statement(self._sql) if self._events else None
        live = self._find_live(before)
        rows = self._find_rows(form, before, gone, live)
        copy = self._read_copy(form, before, live) if isinstance(form, Fill) else None
        self._note_events(before, gone, rows)
        if copy and isinstance(form, Fill):
            self._copies[fold_name(form.table)] = copy
        if self._changes_tables:
            self._note_tables(before, rows, live)

    def _find_live(self, before: Mapping[str, Table]) -> dict[str, str]:
        """Return name in the database of each table whose rows and columns are those of the database."""
        if self._compares_otherwise:
            return {}
        live = {
            key: self._origins[key]
            for key in before
            if key in self._names and key in self._origins and self._origins[key] not in self._written
        }
        same = (key for key, each in self._copies.items() if {one.folded for one in before[key].stored} == each.kept)
        copies = {key: self._copies[key] for key in same}
        return live | {key: each.origin for key, each in copies.items() if each.is_clean and each.origin}

    def _find_rows(
        self, form: Fill | RowStatement | None, before: Mapping[str, Table], gone: set[str], live: Mapping[str, str]
    ) -> Rows:
        """Return the rows that the statement affects, as far as its form tells."""
        if any(event.trigger for event in self._events):
            return {}
        found = dict[tuple[str, Effect], Affected | None]()
        whole = set(gone)
        if isinstance(form, RowStatement) and (key := fold_name(form.table)) in self._names:
            whole |= set() if form.where or form.columns else {key}
            if key in live and self._is_readable(form, before[key], live):
                rows = Affected(live[key], form.where, form.alias, is_bound=bool(form.columns))
                effect = Effect.CHANGED if form.columns else Effect.DELETED
                found |= find_affected(before, live, effect, rows, form.columns)
        for key in whole & self._names.keys() & self._origins.keys():
            if key in live:
                found |= find_affected(before, live, Effect.DELETED, Affected(live[key]))
            else:
                found[key, Effect.DELETED] = Affected(self._origins[key], is_bound=True)
        return found

    def _is_readable(self, form: RowStatement, table: Table, live: Mapping[str, str]) -> bool:
        """Return whether the database has the tables and columns of a WHERE as the statement reads them."""
        read = self._reads if form.reads_others else set[str]()
        known = {form.alias, form.table, *(each.name for each in table.all_columns)}
        return read <= live.keys() and {*map(fold_name, form.quoted)} <= {*map(fold_name, known)}

    def _note_events(self, before: Mapping[str, Table], gone: set[str], rows: Rows) -> None:
        first = self._events[0].table if self._events else ""
        virtual = find_virtual(before)
        for event in self._events:
            copy = self._copies.get(event.table)
            effect = self._find_effect(event, before, copy) if copy or event.table in self._names else None
            if effect and (event.table not in gone or is_shadow(event.table, virtual)):
                by = f"by the trigger {quote_name(event.trigger)}" if event.trigger else ""
                by = by or ("by a foreign key" if event.table not in {first, *gone} else "")
                loss = self._make_loss(event.table, effect, by, affected=rows.get((event.table, effect)))
                if copy is None:
                    self._losses.append(loss)
                elif loss not in copy.losses:
                    self._copies[event.table] = replace(copy, losses=(*copy.losses, loss), is_clean=False)
            elif copy and event.action == sqlite3.SQLITE_INSERT:
                self._copies[event.table] = replace(copy, is_clean=False)
        self._written |= {self._origins[event.table] for event in self._events if event.table in self._origins}

    def _read_copy(self, form: Fill, before: Mapping[str, Table], live: Mapping[str, str]) -> _Copy | None:
        """Return the copy that a fill makes; None unless it fills a new table with the rows of one from before."""
        source, target = fold_name(form.source), fold_name(form.table)
        is_new = target in before and target not in self._names
        writes = {(event.action, event.table) for event in self._events}
        is_plain = writes == {(sqlite3.SQLITE_INSERT, target)} and not self._has_trigger(target)
        earlier = self._copies.get(source)
        if not (is_new and is_plain) or (earlier is None and source not in self._names):
            return None
        name = earlier.name if earlier else self._names[source]
        origin = earlier.origin if earlier else self._origins.get(source, "")
        kept = earlier.kept if earlier else (each.folded for each in before[source].stored)
        mapped = map_fill(form, before[source], before[target], sorted(kept), origin)
        if mapped is None:
            return None
        is_live = earlier is None and source in live and self._reads <= live.keys()
        is_again = target in self._copies  # an earlier fill may have the rows
        losses = tuple(
            self._make_loss(
                source,
                each.effect,
                "by the rebuild",
                column=each.column,
                affected=replace(each.affected, is_bound=each.affected.is_bound or is_again) if is_live else None,
            )
            for each in mapped.losses
        )
        before_it = earlier.losses if earlier else ()
        is_clean = is_live and not any(each.effect == Effect.DELETED for each in mapped.losses)
        changed = mapped.changed | (earlier.changed if earlier else frozenset())
        return _Copy(name, origin, mapped.kept, changed, (*before_it, *losses), is_clean)

    def _note_tables(self, before: Mapping[str, Table], rows: Rows, live: Mapping[str, str]) -> None:
        """Note removed tables and columns, and new names."""
        names, origins, added = dict[str, str](), dict[str, str](), set[tuple[str, str]]()
        copies, virtual = dict[str, _Copy](), find_virtual(before)
        for key, table in before.items():
            now = self._find_again(key, table, before)
            if key in self._origins and (now != key or self._tables[now].all_columns != table.all_columns):
                self._written.add(self._origins[key])
            if now is None:
                if key in self._names and not is_shadow(key, virtual):
                    affected = rows.get((key, Effect.DELETED))
                    loss = self._make_loss(key, Effect.DELETED, WITH_TABLE, affected=affected)
                    self._removed[fold_name(loss.table)] = loss
                continue
            old, new = table.columns, self._tables[now].columns
            if key in self._names:
                self._losses += self._find_removed_columns(key, old, new, live)
            if key == now and new[: len(old)] == old:
                added |= {each for each in self._added if each[0] == key}
                added |= {(key, fold_name(each)) for each in new[len(old) :]}
            names |= {now: self._names[key]} if key in self._names else {}
            origins |= {now: self._origins[key]} if key in self._origins else {}
            copies |= {now: self._copies[key]} if key in self._copies and new[: len(old)] == old else {}
        self._names, self._origins, self._added, self._copies = names, origins, added, copies

    def _find_removed_columns(
        self, key: str, old: tuple[str, ...], new: tuple[str, ...], live: Mapping[str, str]
    ) -> Iterator[RowLoss]:
        lost = [each for each in old if each not in new and (key, fold_name(each)) not in self._added]
        if len(new) < len(old) and lost:
            rows = Affected(live[key], f"{quote_identifier(lost[0])} IS NOT NULL") if key in live else None
            yield self._make_loss(key, Effect.REMOVED, column=lost[0], affected=rows)

    def _find_again(self, key: str, table: Table, before: Mapping[str, Table]) -> str | None:
        """Return the present name of a table; None if the statement dropped it."""
        if key in self._tables:
            return key
        new = (now for now, each in self._tables.items() if now not in before and each.page == table.page)
        return next(new, None)

    def _find_effect(self, event: _Event, before: Mapping[str, Table], copy: _Copy | None) -> Effect | None:
        """Return what a write does to the rows of its table; None if it only adds rows or fills an added column.

        A trigger hands its words for a conflict on to the next one (sqlite.org/lang_createtrigger.html).
        """
        if event.action == sqlite3.SQLITE_DELETE:
            return Effect.DELETED
        table = before.get(event.table)
        if table and table.is_virtual and not event.trigger and _REMOVES_TEXT.search(self._sql):
            return Effect.DELETED
        triggers = dict.fromkeys(each.trigger for each in self._events if each.trigger and event.trigger)
        texts = (self._sql, *map(self._read_trigger, triggers), table.sql if table else "")
        if any(_REPLACES.search(mask_quoted_sql(text)) for text in texts):
            return Effect.REPLACED
        is_added = (event.table, event.column) in self._added
        is_added |= copy is not None and event.column not in copy.kept | copy.changed
        return Effect.CHANGED if event.action == sqlite3.SQLITE_UPDATE and not is_added else None

    def _make_loss(
        self, key: str, effect: Effect, by: str = "", *, column: str = "", affected: Affected | None = None
    ) -> RowLoss:
        """Return a loss of a table from before the transaction, or of its copy."""
        copy = self._copies.get(key)
        name = copy.name if copy else self._names[key]
        origin = copy.origin if copy else self._origins.get(key, "")
        start = quote_name(shorten_statement(self._sql))
        return RowLoss(name, origin, self._number, effect, start, by, column, affected, self._keys[fold_name(name)])

    def _has_trigger(self, key: str) -> bool:
        """Return whether a table has a trigger: one without a write may still ignore rows."""
        tables = self._connection.execute("SELECT tbl_name FROM sqlite_schema WHERE type = 'trigger'")
        return any(fold_name(table) == key for (table,) in tables)

    def _read_trigger(self, name: str) -> str:
        rows = self._connection.execute("SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND name = ?", (name,))
        return "".join(sql for (sql,) in rows)
