"""Find the rows that a statement affects, also by foreign keys, as conditions in SQL."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ops.cloudflare.types.d1 import quote_identifier
from ops.core.sql import fold_name
from ops.database.losses import Affected, Effect
from ops.database.schema_tables import Reference, Table

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
    search, key = _Search(tables, live), fold_name(rows.table)
    search.follow(key, effect, rows, frozenset(map(fold_name, columns)), ())
    return search.found if search.steps <= MAX_STEPS else {(key, effect): rows}


@dataclass
class _Search:
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
        self._add(key, effect, rows, is_again=key in path)
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

    def _add(self, key: str, effect: Effect, rows: Affected | None, *, is_again: bool) -> None:
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
