"""The guard leaves the same database as the real `wrangler d1 migrations apply`, and sends the same SQL."""

import json
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from ops.cloudflare.marks import parse_schema_marks
from sandbox.cloudflare.d1.sqlite import D1Sqlite
from tests.conftest import ACCOUNT, World
from tests.support.wrangler import run_wrangler

BY_WRANGLER, BY_GUARD = "5c0ffee0-0000-4000-8000-00000000000a", "5c0ffee0-0000-4000-8000-00000000000b"
FILES = {
    "0002_orders.sql": "CREATE TABLE orders (id INTEGER PRIMARY KEY);\r\n-- it's the end\r\n",
    "0010_rows.sql": "INSERT INTO orders VALUES (1);\r\n/* don't\r\n */ CREATE TABLE texts (t DEFAULT 'a\r\nb''c');\r\n",
    "0001_it's a start.sql": "CREATE TABLE customers (id INTEGER PRIMARY KEY, [a\r\nb] TEXT);",
    "9_trigger.sql": "CREATE TRIGGER t AFTER INSERT ON orders BEGIN SELECT 1; END;\n",
    "last.sql": "CREATE VIEW v AS SELECT * FROM orders;",
    "Upper.sql": "CREATE INDEX i ON customers (id);",
    "0003_nested/migration.sql": "CREATE TABLE nested (id);",
    "0003_nested/.hidden.sql": "no",
    "down/0002_orders.txt": "no",
    "notes.md": "no",
}


@pytest.mark.parametrize(
    ("pattern", "table"), [(None, None), ("db/changes/**/*.sql", 'a "table"'), ("db/changes/{0001,0002}*.sql", "done")]
)
def test_guard_does_what_wrangler_does(world: World, tmp_path: Path, pattern: str | None, table: str | None) -> None:
    sandbox = world.sandbox
    more: dict[str, Any] = {"migrations_dir": "./db//changes"}
    more |= {"migrations_pattern": pattern} if pattern else {}
    more |= {"migrations_table": table} if table else {}
    folder = tmp_path / "application"
    for name, text in FILES.items():
        path = folder / "db/changes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    for name, database in (("one", BY_WRANGLER), ("two", BY_GUARD)):
        sandbox.d1.add(name, database)
        binding = {"binding": "DB", "database_name": name, "database_id": database, **more}
        (folder / f"{name}.json").write_text(json.dumps({"name": "shop", "d1_databases": [binding]}))
    sandbox.clock.advance(60)

    run_wrangler(sandbox, folder, "d1", "migrations", "apply", "one", "--remote", "-c", "one.json", home=tmp_path)
    given = {"CLOUDFLARE_API_TOKEN": sandbox.token, "CLOUDFLARE_ACCOUNT_ID": ACCOUNT}
    with chdir(folder):
        done = world.ops("database", "guard", "--wrangler", "two.json", **given)

    assert done.code == 0, done.err
    assert sent(world, BY_GUARD) == sent(world, BY_WRANGLER)
    sandbox.d1.query(BY_GUARD, "DROP TABLE backout_applies")
    assert everything(world, BY_GUARD) == everything(world, BY_WRANGLER)
    listed = run_wrangler(
        sandbox, folder, "d1", "migrations", "list", "two", "--remote", "-c", "two.json", home=tmp_path
    )
    assert "No migrations to apply" in listed
    assert sandbox.unknown_requests == []


@pytest.mark.parametrize(("environment", "database"), [("", "shop-main-db"), ("live", "shop-live-main-db")])
def test_guard_finds_the_database_that_wrangler_provisioned(
    world: World, tmp_path: Path, environment: str, database: str
) -> None:
    """Another database has a similar name. Neither file nor binding names an id."""
    world.sandbox.d1.add("main-db", BY_WRANGLER)
    world.sandbox.d1.add(database, BY_GUARD)
    world.sandbox.clock.advance(60)
    folder, bindings = tmp_path / "application", [{"binding": "MAIN_DB"}]
    (folder / "migrations").mkdir(parents=True)
    (folder / "migrations/0001.sql").write_text("CREATE TABLE customers (id INTEGER PRIMARY KEY);")
    settings = {"name": "shop", "d1_databases": bindings, "env": {"live": {"d1_databases": bindings}}}
    (folder / "wrangler.json").write_text(json.dumps(settings))
    given = {"CLOUDFLARE_API_TOKEN": world.sandbox.token, "CLOUDFLARE_ACCOUNT_ID": ACCOUNT}

    with chdir(folder):
        done = world.ops("database", "guard", "--env", environment, **given)

    assert done.code == 0, done.err
    assert sent(world, BY_GUARD)
    chosen = ("--env", environment) if environment else ()
    listed = run_wrangler(
        world.sandbox, folder, "d1", "migrations", "list", "MAIN_DB", "--remote", *chosen, home=tmp_path
    )
    assert "No migrations to apply" in listed


def everything(world: World, database: str) -> dict[str, Any]:
    """Return each object with its SQL and rows."""

    def read(sqlite: D1Sqlite) -> dict[str, Any]:
        objects = sqlite.read_objects()
        rows = {name: list(sqlite.read_literals(name)) for kind, name, _ in objects if kind == "table"}
        return {"objects": objects, "rows": rows}

    return world.sandbox.d1.store(database).inspect(read)


def sent(world: World, database: str) -> list[str]:
    """Return the SQL of the writes to a database, in order; wrangler reads the table with such a text too."""
    path = f"/client/v4/accounts/{ACCOUNT}/d1/database/{database}/query"
    texts = [each.body["sql"] for each in world.sandbox.requests if each.path == path and "sql" in each.body]
    return [text for text in texts if not text.startswith("SELECT")]


def test_message_of_the_guard_reaches_the_version(world: World, tmp_path: Path) -> None:
    sandbox = world.sandbox
    sandbox.d1.add("two", BY_GUARD)
    folder = tmp_path / "application"
    (folder / "migrations").mkdir(parents=True)
    (folder / "migrations/0001_a start.sql").write_text("CREATE TABLE customers (id);")
    (folder / "index.js").write_text("export default { fetch: () => new Response('hello') }")
    binding = {"binding": "DB", "database_name": "two", "database_id": BY_GUARD}
    config = {"name": "shopdesk", "main": "index.js", "compatibility_date": "2026-09-01", "d1_databases": [binding]}
    (folder / "wrangler.json").write_text(json.dumps(config))
    given = {"CLOUDFLARE_API_TOKEN": sandbox.token, "CLOUDFLARE_ACCOUNT_ID": ACCOUNT}
    with chdir(folder):
        guarded = world.ops("database", "guard", "--json", "--message", "desk: begin", **given)

    run_wrangler(sandbox, folder, "deploy", "--message", guarded.result["message"], home=tmp_path)

    listed = json.loads(run_wrangler(sandbox, folder, "versions", "list", "--json", home=tmp_path))
    (mark,) = parse_schema_marks(listed[0]["annotations"]["workers/message"])
    assert (mark.last, mark.bookmark) == ("0001_a start.sql", guarded.result["bookmark"])
