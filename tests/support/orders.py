"""The shop's database on D1: other names, tables and settings than those of the reference application."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ops.cloudflare.marks import SchemaMark
from ops.workers.schema_age import SCHEMA_SECTION
from tests.conftest import ACCOUNT
from tests.support.shop import WORKER, Shop

ID = "5c0ffee0-0000-4000-8000-0000000000db"
TABLE = "schema_history"
QUERIES = f"/accounts/{ACCOUNT}/d1/database/{ID}/query"
CONFIG = f"""\
    databases:
      orders:
        id: {ID}
        services: [web]
        migrations_table: {TABLE}
        breaking: [0003_split_names.sql]
"""


@dataclass(frozen=True)
class Orders:
    shop: Shop

    def migrate(self, name: str, *, hours: float) -> None:
        """Apply a migration that many hours ago."""
        sandbox = self.shop.world.sandbox
        at = sandbox.clock.now() - timedelta(hours=hours)
        sandbox.d1.query(ID, f"INSERT INTO {TABLE} (name) VALUES (?)", name, at=at)

    def release(self, *, hours: float, mark: SchemaMark | None = None, **upload: Any) -> str:
        """Upload a version and give it all traffic, that many hours ago."""
        sandbox = self.shop.world.sandbox
        at = sandbox.clock.now() - timedelta(hours=hours)
        message = f"cart: release {mark}" if mark else "cart: release"
        version = sandbox.upload(WORKER, message=message, at=at, **upload)
        sandbox.deploy(WORKER, version, at=at)
        return version

    def rollback(self, *more: str, **environ: Any) -> Any:
        return self.shop.ops("rollback-worker", "--service", "web", "--yes", "--json", *more, **environ)

    def section(self, *more: str) -> list[str]:
        """Return the section of a dry run's plan."""
        outcome = self.rollback("--dry-run", *more)
        sections: Mapping[str, list[str]] = outcome.result["plan"]["sections"]
        return sections.get(SCHEMA_SECTION, [])


def mark(last: str, *applied: str) -> SchemaMark:
    return SchemaMark(ID, last, applied, "0000001a-00000002-00004ef1-0123456789abcdef0123456789abcdef")


def open_database(shop: Shop) -> Orders:
    """Name the database in ops.yml. `0001_orders.sql` was applied before the first release of the shop."""
    world = shop.world
    world.edit_config("    services:\n      web:", f"{CONFIG}    services:\n      web:")
    long_ago = world.sandbox.clock.now() - timedelta(hours=100)
    world.sandbox.clock.advance(-100 * 3600)
    world.sandbox.d1.add("orders", ID)
    world.sandbox.clock.advance(100 * 3600)
    world.sandbox.d1.query(
        ID,
        f"CREATE TABLE {TABLE} (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, "
        "applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL)",
        at=long_ago,
    )
    orders = Orders(shop)
    orders.migrate("0001_orders.sql", hours=99)
    return orders
