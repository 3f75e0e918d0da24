"""The database of the shop: orders, with its own names and table of migrations."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tests.conftest import Outcome, World
from tests.support.shop import WEB_YML, WORKER, answering

DATABASE = "5d0b0da8-0000-4000-8000-0000000000d1"
PERMISSIONS = ("D1 Write", "Workers Scripts Write", "Workers Routes Write", "Zone Read")
OPS_YML = f"""{WEB_YML}\
    databases:
      orders:
        id: {DATABASE}
        services: [web]
        migrations_table: schema_log
        created: {{orders: placed_at}}
        rows: {{customers: {{at_least: 1}}}}
"""
TABLES = (
    """CREATE TABLE schema_log (
        id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL
    )""",
    "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL)",
    """CREATE TABLE orders (
        id INTEGER PRIMARY KEY, customer INTEGER NOT NULL REFERENCES customers (id), total INTEGER NOT NULL,
        placed_at TEXT NOT NULL
    )""",
)


@dataclass
class Shopdesk:
    """A shop whose database holds two customers and three orders."""

    world: World

    @property
    def now(self) -> datetime:
        return self.world.sandbox.clock.now()

    @property
    def history(self) -> Any:
        return self.world.sandbox.d1.store(DATABASE).history

    def write(self, sql: str, *params: Any, minutes: float = 1) -> None:
        self.world.sandbox.clock.advance(minutes * 60)
        self.world.sandbox.d1.query(DATABASE, sql, *params)

    def migrate(self, name: str, *statements: str, minutes: float = 10) -> None:
        self.world.sandbox.clock.advance(minutes * 60)
        row = ("INSERT INTO schema_log (name) VALUES (?)", (name,))
        self.world.sandbox.d1.store(DATABASE).run([*((sql, ()) for sql in statements), row])

    def order(self, customer: int = 1, *, minutes: float = 1) -> None:
        at = f"{self.now + timedelta(minutes=minutes):%Y-%m-%d %H:%M:%S}"
        self.write("INSERT INTO orders (customer, total, placed_at) VALUES (?, 5, ?)", customer, at, minutes=minutes)

    def content(self) -> dict[str, list[dict[str, Any]]]:
        """Return every row of every table."""
        tables = ("schema_log", "customers", "orders")
        return {each: self.world.sandbox.d1.query(DATABASE, f"SELECT * FROM {each} ORDER BY id") for each in tables}

    def ops(self, *arguments: str, **environ: Any) -> Outcome:
        where = ["--environment", "live", "--config", str(self.world.config), "--yes", "--json"]
        tokens = {"SHOP_TOKEN": "shop", "CLOUDFLARE_API_TOKEN": None}
        return self.world.ops(*arguments, *where, **{**tokens, **environ})

    def restore(self, to: str, *more: str, **environ: Any) -> Outcome:
        return self.ops("restore-database", "--database", "orders", "--to", to, "--one-person", *more, **environ)

    @property
    def routes(self) -> dict[str, str | None]:
        """Return the Worker of each route."""
        (zone,) = self.world.sandbox.zones.all.values()
        return {each.pattern: each.script for each in zone.routes.values()}

    @property
    def writes(self) -> list[str]:
        """Return the paths of the requests that could change something."""
        return [each.path for each in self.world.writes()]


def prepared(world: World) -> Shopdesk:
    """Prepare the Worker behind a route, and the database with two migrations."""
    world.config.write_text(OPS_YML)
    sandbox, shop = world.sandbox, Shopdesk(world)
    sandbox.switches.propagation_seconds = 0
    sandbox.add_token("shop", PERMISSIONS)
    at = shop.now - timedelta(hours=1)
    sandbox.deploy(WORKER, sandbox.upload(WORKER, code="web", behaviour=answering(), at=at), at=at)
    zone = sandbox.zones.all[sandbox.zones.add("shop.example")]
    sandbox.zones.add_route(zone, "web.shop.example/*", WORKER)
    sandbox.deploy("ops-maintenance", sandbox.upload("ops-maintenance", vars={"RUN": "prepared"}))
    sandbox.d1.add("orders", DATABASE)
    for table in TABLES:
        shop.write(table)
    shop.migrate("0001_start.sql", "INSERT INTO customers (name) VALUES ('Ana'), ('Bo')")
    shop.order()
    shop.migrate("0002_currency.sql", "ALTER TABLE orders ADD COLUMN currency TEXT")
    for customer in (1, 2):
        shop.order(customer)
    sandbox.clock.advance(60)
    return shop
