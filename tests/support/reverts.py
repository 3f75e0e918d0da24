"""A shop whose database has a bad migration: its Worker reads a column that the migration renamed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.conftest import Outcome
from tests.support import orders as databases
from tests.support.orders import ID, TABLE, Orders
from tests.support.shop import WORKER, Shop
from tests.support.site_repository import SiteRepository

BATCH = {"method": "POST", "path": "/accounts/*/d1/database/*/query", "sends": "INSERT INTO backout_holds"}
"""The request that reverts a migration."""
SCHEMA = (
    "CREATE TABLE customers (id INTEGER PRIMARY KEY, mail TEXT)",
    "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER REFERENCES customers (id), total INTEGER)",
    "INSERT INTO customers (mail) VALUES ('a@example.com'), ('b@example.com')",
    "INSERT INTO orders (customer, total) VALUES (1, 10), (2, 20), (2, 30)",
)
NAME = "0002_sum.sql"
UP = "ALTER TABLE orders RENAME COLUMN total TO sum;\nCREATE TABLE notes (text);\nINSERT INTO notes VALUES ('moved');\n"
DOWN = "ALTER TABLE orders RENAME COLUMN sum TO total;\nDROP TABLE notes; -- and its rows\n"


@dataclass(frozen=True)
class Desk(Orders):
    """The shop's database, and the repository with its migrations."""

    def query(self, sql: str, *params: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.shop.world.sandbox.d1.query(ID, sql, *params)
        return found

    def apply(self, name: str, up: str, *, minutes: float = 5) -> None:
        """Apply a migration as wrangler does: its statements and its row together."""
        sandbox = self.shop.world.sandbox
        statements = [each for each in up.split(";\n") if each.strip()]
        row = (f"INSERT INTO {TABLE} (name) VALUES (?)", (name,))
        sandbox.d1.store(ID).run([*((sql, ()) for sql in statements), row])
        sandbox.clock.advance(minutes * 60)

    def commit(self, files: Mapping[str, str | bytes | None]) -> str:
        """Commit files to main of the repository of the migrations; None removes one."""
        found = SiteRepository(self.shop.folder / "app")
        for name, content in files.items():
            path = found.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return found.commit("migrations")

    def revert(self, name: str = NAME, *more: str, **environ: Any) -> Outcome:
        """Run `ops revert-migration` as one person, with --yes and --json."""
        options = ["--database", "orders", "--name", name, "--one-person", "--environment", "live", "--yes", "--json"]
        return self.shop.ops("revert-migration", *options, *more, **{"OPS_SOURCE": "app", **environ})

    @property
    def state(self) -> tuple[list[str], dict[str, str]]:
        """Return the applied migrations, and name → SQL of each object that is not Backout's."""
        names = [row["name"] for row in self.query(f"SELECT name FROM {TABLE} ORDER BY id")]
        rows = self.query("SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite%'")
        return names, {row["name"]: row["sql"] for row in rows if not row["name"].startswith("backout_") and row["sql"]}

    @property
    def holds(self) -> dict[str, dict[str, Any]]:
        """Return migration → its hold."""
        known = self.query("SELECT 1 FROM sqlite_schema WHERE name = 'backout_holds'")
        return {row["migration"]: row for row in self.query("SELECT * FROM backout_holds")} if known else {}

    @property
    def batches(self) -> int:
        """Return how many batches with a hold were sent."""
        return sum("INSERT INTO backout_holds" in str(each.body) for each in self.shop.world.sandbox.requests)


def open_desk(shop: Shop) -> Desk:
    """Apply two migrations; the second one breaks the Worker. Both have their files on main."""
    sandbox = shop.world.sandbox
    databases.open_database(shop)
    desk = Desk(shop)
    for sql in SCHEMA:
        desk.query(sql)
    sandbox.clock.advance(60)
    shop.world.edit_config(f"        id: {ID}\n", f"        id: {ID}\n        migrations: db/migrations\n")
    repository = SiteRepository(shop.folder / "app")
    repository.folder.mkdir()
    repository.git("init", "-q", "-b", "main")
    first = {"db/migrations/0001_orders.sql": ";\n".join(SCHEMA[:2])}
    desk.commit({**first, f"db/migrations/{NAME}": UP, f"db/down/{NAME}": DOWN})
    binding = {"type": "d1", "name": "DB", "id": ID}
    behaviour = {"paths": {"/cart": {"sql": "SELECT sum(total) FROM orders"}}}
    sandbox.deploy(WORKER, sandbox.upload(WORKER, code="reads total", bindings=[binding], behaviour=behaviour))
    sandbox.clock.advance(60)
    desk.apply(NAME, UP)
    return desk
