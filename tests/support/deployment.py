"""A shop's application repository with migrations of D1, and the guard of its deployment."""

import json
from collections.abc import Mapping
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import ACCOUNT, Outcome, World

ID = "5c0ffee0-0000-4000-8000-0000000000db"
TABLE = "schema_history"
FIRST = "CREATE TABLE customers (id INTEGER PRIMARY KEY, email TEXT NOT NULL);\n"
SECOND = (
    "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER REFERENCES customers (id));\n"
    "INSERT INTO customers (email) VALUES ('a@shop.example');\nINSERT INTO orders (customer) VALUES (1);\n"
)
QUERY = f"/client/v4/accounts/{ACCOUNT}/d1/database/{ID}/query"


def jsonc(binding: Mapping[str, Any], **more: Any) -> str:
    text = json.dumps({"name": "shopdesk", "d1_databases": [binding], **more}, indent=2)
    return "// The shop's desk\n" + text.replace('"d1_databases"', '/* its data */ "d1_databases"')


BINDING = {
    "binding": "DB",
    "database_name": "orders",
    "database_id": ID,
    "migrations_dir": "db/changes",
    "migrations_table": TABLE,
}


@dataclass
class Deployment:
    """The folder of a commit, and the database that it is deployed with."""

    world: World
    folder: Path
    files: Path = field(init=False)

    def __post_init__(self) -> None:
        self.files = self.folder / "db/changes"
        self.files.mkdir(parents=True)
        self.configure(jsonc(BINDING))
        self.write("0001_customers.sql", FIRST)

    def configure(self, text: str, name: str = "wrangler.jsonc") -> None:
        for old in self.folder.glob("wrangler.*"):
            old.unlink()
        (self.folder / name).write_text(text)

    def write(self, name: str, text: str) -> None:
        path = self.files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())

    def guard(self, *more: str, **environ: str | None) -> Outcome:
        given = {"CLOUDFLARE_API_TOKEN": self.world.sandbox.token, "CLOUDFLARE_ACCOUNT_ID": ACCOUNT, **environ}
        with chdir(self.folder):
            return self.world.ops("hold", "migrate", *more, **given)

    def rows(self, sql: str) -> list[list[Any]]:
        return [list(row.values()) for row in self.world.sandbox.d1.query(ID, sql)]

    @property
    def applied(self) -> list[str]:
        """Applied migrations, in order."""
        tables = [name for (name,) in self.rows("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return [name for (name,) in self.rows(f"SELECT name FROM {TABLE} ORDER BY id")] if TABLE in tables else []

    @property
    def writes(self) -> list[str]:
        """SQL of the writes that were sent."""
        sent = [each for each in self.world.sandbox.requests if each.path == QUERY and "sql" in (each.body or {})]
        return [each.body["sql"] for each in sent]


def open_repository(world: World, folder: Path) -> Deployment:
    world.sandbox.clock.advance(-3600)
    world.sandbox.d1.add("orders", ID)
    world.sandbox.clock.advance(3600)
    return Deployment(world, folder)


def open_migrated(world: World, folder: Path, name: str, text: str) -> Deployment:
    """Return a repository whose first migration and this second one are applied."""
    made = open_repository(world, folder)
    made.write(name, text)
    assert made.guard().code == 0
    return made
