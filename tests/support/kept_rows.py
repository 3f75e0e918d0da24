"""Applications that keep rows which a restore loses, and the files of these rows."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from sandbox.cloudflare.d1.sqlite import split_statements
from tests.conftest import Outcome, World
from tests.support import databases, marks, shopdesk
from tests.support.databases import Library
from tests.support.shopdesk import Shopdesk

BEFORE_LAST = "before-migration:0002_b.sql"
SINCE = "-150s"
"""After the migration, so that the tables have the same columns."""
QUERY = {"method": "POST", "path": "/accounts/*/d1/database/*/query"}
PERSON = marks.secret("person", signs="'\"\n\x00é😀")


def keeping_library(world: World) -> Library:
    """Return the library, both of whose tables are kept."""
    library = databases.prepared(world)
    keep(library, "          books:\n            at_least: 1\n            keep: true\n          loans: {keep: true}\n")
    return library


def keeping_shop(world: World) -> Shopdesk:
    """Return another application, which keeps its customers and orders."""
    shop = shopdesk.prepared(world)
    world.edit_config(
        "rows: {customers: {at_least: 1}}", "rows: {customers: {at_least: 1, keep: true}, orders: {keep: true}}"
    )
    return shop


def keep(library: Library, rows: str) -> None:
    library.world.edit_config("          books:\n            at_least: 1\n", rows)


def kept_files(world: World) -> list[Path]:
    return sorted(world.folder.glob(".ops/runs/*/kept-rows.sql"))


def put_back(world: World, database: str, file: Path) -> None:
    """Run the file as `wrangler d1 execute --file` does: all its statements as one transaction of D1."""
    world.sandbox.d1.store(database).run([(sql, ()) for sql in split_statements(file.read_text())])


def content(world: World, database: str, table: str) -> list[tuple[Any, ...]]:
    """Return the rows of a table with their exact values."""
    with closing(sqlite3.connect(":memory:")) as copy:
        copy.text_factory = bytes
        copy.deserialize(world.sandbox.d1.store(database).inspect(lambda live: live.content()))
        return sorted(copy.execute(f'SELECT * FROM "{table}"').fetchall(), key=repr)


def conflicts(library: Library, file: Path, *more: str, **environ: str) -> Outcome:
    where = ["--database", "lib", "--environment", "production", "--config", str(library.world.config)]
    given = {"CLOUDFLARE_API_TOKEN": library.token, **environ}
    return library.world.ops("database", "conflicts", str(file), *where, *more, **given)


def conflicts_of(shop: Shopdesk, file: Path) -> str:
    where = ["--database", "orders", "--environment", "live", "--config", str(shop.world.config)]
    listed = shop.world.ops("database", "conflicts", str(file), *where, SHOP_TOKEN="shop", CLOUDFLARE_API_TOKEN=None)
    assert listed.code == 0, listed.err
    return listed.out
