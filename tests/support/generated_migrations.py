"""Migrations that Drizzle, Prisma, Knex and Kysely generated, and the losses of each: written by hand.

`tests/database/generated/README.md` says how each was generated.
"""

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "database" / "generated"

_PARENT = "orders: 4 of 4 deleted; order_items: 5 of 5 deleted; notes: 2 of 3 changed"
_LOSSES = {
    "drizzle/01-column-becomes-required": "",
    "drizzle/02-child-gets-other-foreign-key": "",
    "drizzle/03-column-and-index-are-added": "",
    "drizzle/04-check-is-added": "",
    "drizzle/05-column-is-added-by-a-rebuild": "",
    "drizzle/06-parent-is-rebuilt": _PARENT,
    "drizzle/07-column-is-dropped": "customers: 2 of 3 removed",
    "drizzle/08-table-is-dropped": "tags: 3 of 3 deleted",
    "drizzle/09-tree-is-rebuilt": "categories: 2 of 3 changed",
    "drizzle/10-type-changes": "settings: at most 3 of 3 changed",
    "prisma/01-column-becomes-required": "",
    "prisma/02-default-is-added": "",
    "prisma/03-column-and-index-are-added": "",
    "prisma/04-child-gets-other-foreign-key": "",
    "prisma/05-column-is-added-by-a-rebuild": "",
    "prisma/06-required-column-of-a-parent": _PARENT,
    "prisma/07-empty-values-get-a-default": "settings: 2 of 3 changed",
    "prisma/08-table-is-dropped": "tags: 3 of 3 deleted",
    "prisma/09-tree-is-rebuilt": "categories: 2 of 3 changed",
    "prisma/10-column-is-dropped": "tags: 2 of 3 removed",
    "knex/01-column-becomes-required": "",
    "knex/02-column-gets-longer": "",
    "knex/03-foreign-key-is-added": "",
    "knex/04-column-is-renamed": "",
    "knex/05-column-is-added-and-filled": "",
    "knex/06-parent-is-altered": "order_items: 5 of 5 deleted",
    "knex/07-column-is-dropped": "notes: 3 of 3 removed",
    "knex/08-table-is-dropped": "order_items: 5 of 5 deleted",
    "knex/09-type-changes": "settings: at most 3 of 3 changed",
    "knex/10-rows-are-deleted": (
        "customers: 1 of 3 deleted; orders: 2 of 4 deleted; order_items: 3 of 5 deleted; notes: 1 of 3 changed; "
        "tags: at most 1 of 3 changed"
    ),
    "kysely/01-table-is-rebuilt": "",
    "kysely/02-old-table-is-renamed-first": "",
    "kysely/03-rows-go-there-and-back": "",
    "kysely/04-column-is-added-and-filled": "",
    "kysely/05-rows-are-added": "",
    "kysely/06-rebuild-leaves-rows-out": "tags: 1 of 3 deleted",
    "kysely/07-rebuild-leaves-a-column-out": "settings: 1 of 3 removed",
    "kysely/08-rows-are-updated": "customers: at most 1 of 3 changed",
    "kysely/09-rows-are-deleted": "orders: 2 of 4 deleted; order_items: 3 of 5 deleted",
    "kysely/10-rows-are-replaced": "settings: unknown of 3 replaced; tags: unknown of 3 changed",
}
"""File → losses: of each table how many of how many rows. `removed`: the values of a column."""


@dataclass(frozen=True)
class GeneratedMigration:
    name: str
    """Tool and file."""
    losses: dict[str, str]
    """Table → how many rows of how many, and what happens to them."""

    def __str__(self) -> str:
        return self.name

    @property
    def start(self) -> list[str]:
        """Return the statements that make the tables and their rows."""
        return _split((FOLDER / self.name).with_name("start.sql").read_text() + (FOLDER / "rows.sql").read_text())

    @property
    def statements(self) -> list[str]:
        return _split(self.text)

    @property
    def text(self) -> str:
        return (FOLDER / f"{self.name}.sql").read_text()

    def pattern(self, table: str) -> str:
        """Return a regular expression for the words of the guard."""
        words = self.losses[table]
        if words.startswith("unknown of "):
            total, verb = words.removeprefix("unknown of ").split()
            return rf"\b{table}: an unknown number of {total} rows {verb}"
        share, _, verb = words.rpartition(" ")
        if verb == "removed":
            return rf"\b{table}: column \w+ removed\b[^;]*? with the values of {share} rows"
        return rf"\b{table}: {share} rows {verb}"


def _split(text: str) -> list[str]:
    """Return the statements, each of which ends with its line."""
    return [each for each in re.split(r";(?:--> statement-breakpoint)?\n(?:--> statement-breakpoint\n)?", text) if each]


def _parse(text: str) -> dict[str, str]:
    pairs = (each.partition(": ") for each in text.split("; ") if each)
    return {table: share for table, _, share in pairs}


GENERATED = tuple(GeneratedMigration(name, _parse(text)) for name, text in _LOSSES.items())
