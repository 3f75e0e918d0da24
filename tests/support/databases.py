"""Helpers for tests of restores: a library's database on D1, and the Worker that uses it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any

from tests.conftest import WORKER, Outcome, World
from tests.support import offline, switches
from tests.support.site_repository import SiteRepository

FORTUNET = "c0ffee00-c0ff-4e00-80ff-ee00c0ffee00"
"""Database of the reference application in production."""
ID = "1b0a0da8-0000-4000-8000-00000000b00c"
PERMISSIONS = ("D1 Write", "Workers KV Storage Write", "Workers Scripts Read")
RESTORE = {"method": "POST", "path": "/accounts/*/d1/database/*/time_travel/restore"}
CONFIG = f"""\
    databases:
      lib:
        id: {ID}
        services: [api]
        created:
          loans: lent_at
        rows:
          books:
            at_least: 1
        queries:
          - name: loans-of-books
            sql: SELECT count(*) FROM loans WHERE book NOT IN (SELECT id FROM books)
            expect: 0
"""
BLOCK = re.compile(r"    databases:\n(?:      .*\n)+")
"""The databases of an environment in ops.yml."""
TABLES = (
    "CREATE TABLE books (id INTEGER PRIMARY KEY, title TEXT)",
    "CREATE TABLE loans (id INTEGER PRIMARY KEY, book INTEGER REFERENCES books (id), lent_at TEXT)",
)
MIGRATIONS_TABLE = (
    "CREATE TABLE d1_migrations (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, "
    "applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL)"
)


@dataclass
class Library:
    """A database with books and loans; each write takes a minute of the sandbox's clock."""

    world: World
    token: str = "library"

    @property
    def history(self) -> Any:
        return self.world.sandbox.d1.store(ID).history

    def write(self, sql: str, *params: Any, minutes: float = 1) -> None:
        self.world.sandbox.clock.advance(minutes * 60)
        self.world.sandbox.d1.query(ID, sql, *params)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.world.sandbox.d1.query(ID, sql)
        return found

    def migrate(self, name: str, *statements: str, minutes: float = 10) -> None:
        """Apply a migration as wrangler does: its statements and its row together."""
        self.world.sandbox.clock.advance(minutes * 60)
        self.world.sandbox.d1.store(ID).run(
            [*((sql, ()) for sql in statements), ("INSERT INTO d1_migrations (name) VALUES (?)", (name,))]
        )

    def lend(self, book: int = 1) -> None:
        at = f"{self.world.sandbox.clock.now() + timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}"
        self.write("INSERT INTO loans (book, lent_at) VALUES (?, ?)", book, at)

    @property
    def migrations(self) -> list[str]:
        return [row["name"] for row in self.rows("SELECT name FROM d1_migrations ORDER BY id")]

    def count(self, table: str) -> int:
        (row,) = self.rows(f"SELECT count(*) AS n FROM {table}")
        return int(row["n"])

    def commit(self, files: Mapping[str, str]) -> str:
        """Commit files to main of the repository with the migrations, which is `app` beside ops.yml."""
        found = SiteRepository(self.world.folder / "app")
        if not found.folder.exists():
            found.folder.mkdir()
            found.git("init", "-q", "-b", "main")
            at = f"        id: {ID}\n"
            self.world.edit_config(at, f"{at}        migrations: db/migrations\n")
        for name, text in files.items():
            path = found.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return found.commit("migrations")

    def restore(self, to: str, *more: str, **environ: str) -> Outcome:
        """Run `ops restore-database` as one person, with --yes and --json."""
        where = ["--environment", "production", "--config", str(self.world.config), "--yes", "--json"]
        given = {"CLOUDFLARE_API_TOKEN": self.token, "OPS_SOURCE": "app", **environ}
        options = ["--database", "lib", "--to", to, "--one-person"]
        return self.world.ops("restore-database", *options, *where, *more, **given)

    @property
    def restored_at(self) -> str:
        """Return the time in the row of the newest restore."""
        (row,) = self.rows("SELECT at FROM backout_applies WHERE migration = 'restore'")
        return str(row["at"])

    def on_another_machine(self) -> "Library":
        """Return the same database, seen from a machine without the records of this one's runs."""
        folder = self.world.folder / "elsewhere"
        folder.mkdir(exist_ok=True)
        (folder / "ops.yml").write_text(self.world.config.read_text())
        return Library(World(self.world.sandbox, folder), self.token)

    @property
    def restores(self) -> list[str]:
        """Bookmarks of the restores that were sent, in order."""
        sent = [each for each in self.world.sandbox.requests if each.path.endswith("/time_travel/restore")]
        return [each.query["bookmark"] for each in sent]


def add_database(world: World, name: str, database: str) -> None:
    """Add a database with one migration of a minute ago."""
    world.sandbox.d1.add(name, database)
    for sql in (MIGRATIONS_TABLE, "INSERT INTO d1_migrations (name) VALUES ('0001_first.sql')"):
        world.sandbox.clock.advance(60)
        world.sandbox.d1.query(database, sql)
    world.sandbox.clock.advance(60)


def prepared(world: World, permissions: Sequence[str] = PERMISSIONS) -> Library:
    """Prepare the database: two migrations ten minutes apart, then three loans. Only the API uses it."""
    world.config.write_text(BLOCK.sub(lambda _: CONFIG, world.config.read_text(), count=1))
    world.sandbox.add_token("library", permissions)
    switches.prepared(world)
    world.sandbox.d1.add("library", ID)
    library = Library(world)
    for table in (*TABLES, MIGRATIONS_TABLE):
        library.write(table)
    library.migrate("0001_first.sql", "INSERT INTO books (title) VALUES ('Emma'), ('Ulysses')")
    library.lend()
    library.migrate("0002_b.sql", "ALTER TABLE books ADD COLUMN tags TEXT")
    for _ in range(3):
        library.lend()
    world.sandbox.clock.advance(60)
    return library


def vary_bookmarks(world: World, random: Random) -> None:
    """Choose how D1 keeps and names bookmarks around a restore: Cloudflare does not say."""
    world.sandbox.switches.d1_later_bookmarks_kept = random.random() < 0.5
    world.sandbox.switches.d1_bookmark_shows_restore = random.random() < 0.5


def maintenance_of(world: World) -> str:
    """Return the state of the switch."""
    value = switches.SwitchWorld(world).value("maintenance")
    assert value
    return str(value["state"])


def prepared_at_edge(world: World) -> Library:
    """Prepare the database, with its Worker behind a route, a custom domain and workers.dev, and ops-maintenance."""
    library, sandbox = prepared(world, [*PERMISSIONS, *offline.PERMISSIONS]), world.sandbox
    zone = sandbox.zones.all[sandbox.zones.add("fortunet.example")]
    sandbox.zones.add_route(zone, f"{offline.HOST}/*", WORKER)
    sandbox.zones.add_domain(zone, offline.ALSO, WORKER)
    sandbox.set_subdomain(WORKER, enabled=True, previews_enabled=True)
    sandbox.deploy(offline.MAINTENANCE_WORKER, sandbox.upload(offline.MAINTENANCE_WORKER, vars={"RUN": "prepared"}))
    return library


def ingress(world: World) -> Any:
    """Return the routes, and the settings of workers.dev."""
    (zone,) = world.sandbox.zones.all.values()
    routes = {route.pattern: route.script for route in zone.routes.values()}
    return routes, world.sandbox.subdomain(WORKER)


def with_switched_maintenance(library: Library) -> Library:
    """Let the API turn maintenance on by its switch, which is off."""
    library.world.edit_config(
        "        worker: fortunet-api", "        maintenance: switch\n        worker: fortunet-api"
    )
    switches.SwitchWorld(library.world).put("maintenance", state="off", incident=None)
    library.world.sandbox.clock.advance(60)
    return library
