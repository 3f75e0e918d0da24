"""Recognize the rebuild of a table: a new one gets its rows, and takes its name.

Drizzle, Prisma and Knex generate it, because SQLite's ALTER TABLE changes no types and no constraints
(sqlite.org/lang_altertable.html#otheralter).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ops.cloudflare.types.d1 import quote_identifier
from ops.core.sql import fold_name
from ops.database.losses import Affected, Effect, bare_words
from ops.database.schema_tables import Column, Table
from ops.database.statement_forms import Fill, Item

_ON_CONFLICT = re.compile(r"\bON\s+CONFLICT\b", re.IGNORECASE)
"""A constraint with this clause may skip, replace or change rows (sqlite.org/lang_conflict.html)."""


@dataclass(frozen=True)
class RebuildLoss:
    """Rows or values of the old table that the new one does not have."""

    effect: Effect
    affected: Affected
    column: str = ""
    """Column that is left out."""


@dataclass(frozen=True)
class FillMapping:
    """Values of the old table in the new one."""

    kept: frozenset[str]
    """Folded columns that are copied by their own names, and keep their values."""
    changed: frozenset[str]
    """Folded columns that have other values."""
    losses: tuple[RebuildLoss, ...]


def map_fill(fill: Fill, old: Table, new: Table, columns: Sequence[str], origin: str) -> FillMapping | None:
    """Return where the values of some folded columns are after a fill; None if that is not clear.

    `origin` is the name of the old table in the database.
    """
    items = [*_expand(fill.items, old)]
    names = fill.columns or tuple(each.name for each in new.stored)
    sources = {fold_name(name): item for name, item in zip(names, items, strict=False)}
    is_unclear = not len(items) == len(names) == len(sources) or old.is_virtual or new.is_virtual
    if is_unclear or _ON_CONFLICT.search(bare_words(new.sql)):
        return None
    kept, losses, changed = set[str](), list[RebuildLoss](), list[Affected]()
    alias = fill.alias or (fill.source if fold_name(fill.source) != fold_name(origin) else "")
    if fill.where:
        losses.append(RebuildLoss(Effect.DELETED, Affected(origin, f"({fill.where}\n) IS NOT TRUE", alias)))
    for name in columns:
        before, after = old.find_column(name), new.find_column(name)
        if before is None:
            return None
        column = quote_identifier(before.name)
        item = sources.get(name)
        if after is None or after.is_generated:
            losses.append(RebuildLoss(Effect.REMOVED, Affected(origin, f"{column} IS NOT NULL", alias), before.name))
        elif item is not None and fold_name(item.column) == name and _keeps_values(old, before, new, after):
            kept.add(name)
        elif item is not None and not item.column and before.affinity == after.affinity:
            changed.append(Affected(origin, f"({column} COLLATE BINARY) IS NOT ({item.sql}\n)", alias))
        else:
            changed.append(Affected(origin, f"{column} IS NOT NULL" if item else "", alias, is_bound=True))
    if changed:
        where = "" if any(not each.where for each in changed) else " OR ".join(each.where for each in changed)
        losses.append(
            RebuildLoss(Effect.CHANGED, Affected(origin, where, alias, any(each.is_bound for each in changed)))
        )
    others = frozenset(name for name in columns if name not in kept and new.find_column(name))
    return FillMapping(frozenset(kept), others, tuple(losses))


def _expand(items: Sequence[Item], table: Table) -> Iterator[Item]:
    """Yield an item for each column of `*`. A name that the table does not have is a value."""
    for each in items:
        if each.is_star:
            yield from (Item(quote_identifier(column.name), column.name) for column in table.all_columns)
        else:
            yield each if table.find_column(each.column) else Item(each.sql)


def _keeps_values(old: Table, before: Column, new: Table, after: Column) -> bool:
    """Return whether a copied column has the same values: its type changes none, and no empty one gets a number."""
    is_numbered = new.is_rowid(after) and not old.is_rowid(before) and not before.is_required
    return after.affinity in {before.affinity, "blob"} - {"any"} and not is_numbered
