"""The real wrangler on D1: databases, SQL, migrations, Time Travel, import and export."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sandbox import Sandbox
from sandbox.clock import timestamp
from tests.database.test_migrations import FILES, PATTERNS
from tests.support.wrangler import run_wrangler

Run = Callable[..., str]


@pytest.fixture
def database(sandbox: Sandbox) -> str:
    sandbox.clock.advance(-60)
    return sandbox.d1.add("bakery")


@pytest.fixture
def run(sandbox: Sandbox, database: str, tmp_path: Path) -> Run:
    """Return wrangler in a folder with a Worker that is bound to the database."""
    binding = {"binding": "DB", "database_name": "bakery", "database_id": database}
    config = {"name": "bakery", "compatibility_date": "2026-09-01", "d1_databases": [binding]}
    (tmp_path / "wrangler.json").write_text(json.dumps(config))
    (tmp_path / "migrations" / "down").mkdir(parents=True)
    (tmp_path / "migrations" / "0001_loaves.sql").write_text("CREATE TABLE loaves (id INTEGER PRIMARY KEY, flour);")
    (tmp_path / "migrations" / "0002_ovens.sql").write_text("CREATE TABLE ovens (id);\n-- the end\n")
    (tmp_path / "migrations" / "down" / "0002_ovens.sql").write_text("DROP TABLE ovens;")
    (tmp_path / "down").mkdir()
    (tmp_path / "down" / "0002_ovens.sql").write_text("DROP TABLE ovens;")
    return partial(run_wrangler, sandbox, tmp_path, "d1", home=tmp_path)


def _rows(sandbox: Sandbox, database: str, sql: str) -> list[Any]:
    return [list(row.values()) for row in sandbox.d1.query(database, sql)]


def test_migrations_are_applied_taken_back_and_listed(sandbox: Sandbox, database: str, run: Run) -> None:
    """A folder `down`, beside or in that of the migrations, is not applied. A restore takes back the row of the table."""
    bookmark = json.loads(run("time-travel", "info", "bakery", "--json"))["bookmark"]
    sandbox.clock.advance(60)
    applied = run("migrations", "apply", "bakery", "--remote")
    assert [name for name in ("0001_loaves.sql", "0002_ovens.sql", "down") if name in applied] == [
        "0001_loaves.sql",
        "0002_ovens.sql",
    ]
    now = f"{sandbox.clock.now():%Y-%m-%d %H:%M:%S}"
    migrations = "SELECT name, applied_at FROM d1_migrations ORDER BY id"
    assert _rows(sandbox, database, migrations) == [["0001_loaves.sql", now], ["0002_ovens.sql", now]]
    assert "No migrations to apply" in run("migrations", "list", "bakery", "--remote")

    restored = run("time-travel", "restore", "bakery", "--bookmark", bookmark)
    previous = re.search(r"previous bookmark: (\S+)", restored)
    assert previous is not None
    listed = run("migrations", "list", "bakery", "--remote")
    assert "0001_loaves.sql" in listed
    run("time-travel", "restore", "bakery", "--bookmark", previous[1], "--json")
    assert _rows(sandbox, database, migrations)[1][0] == "0002_ovens.sql"


def test_patterns_match_the_migrations_that_our_rules_expect(run: Run, tmp_path: Path) -> None:
    for file in tmp_path.glob("migrations/*.sql"):
        file.unlink()
    for name in FILES:
        file = tmp_path / "migrations" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("SELECT 1;")
    (tmp_path / "migrations" / "down" / "0002_ovens.sql").unlink()
    config = json.loads((tmp_path / "wrangler.json").read_text())
    for pattern, expected in PATTERNS.items():
        config["d1_databases"][0] |= {"migrations_dir": "./migrations", "migrations_pattern": pattern}
        (tmp_path / "wrangler.json").write_text(json.dumps(config))
        listed = run("migrations", "list", "bakery", "--remote").split()
        assert " ".join(word for word in listed if word in FILES) == expected, pattern


def test_failed_migration_is_not_recorded(sandbox: Sandbox, database: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "migrations" / "0002_ovens.sql").write_text("CREATE TABLE ovens (id); INSERT INTO nowhere VALUES (1);")
    failed = run("migrations", "apply", "bakery", "--remote", code=1)
    assert "no such table: nowhere" in failed
    assert _rows(sandbox, database, "SELECT name FROM d1_migrations") == [["0001_loaves.sql"]]


def test_export_is_imported_into_another_database(sandbox: Sandbox, database: str, run: Run, tmp_path: Path) -> None:
    run("create", "copy")
    sql = "CREATE TABLE loaves (id INTEGER PRIMARY KEY, flour, crumb BLOB); CREATE INDEX flours ON loaves (flour);"
    rows = "INSERT INTO loaves VALUES (1, 'r''ye\n', x'00ff'), (2, NULL, 0.5)"
    assert '"success": true' in run("execute", "bakery", "--remote", "--command", f"{sql} {rows}")

    run("export", "bakery", "--remote", "--output", "all.sql", "-y")
    imported = run("execute", "copy", "--remote", "--file", "all.sql", "-y")

    assert "Executed 5 queries" in imported
    copy = sandbox.d1.find("copy")
    assert copy is not None
    everything = "SELECT * FROM loaves"
    assert _rows(sandbox, copy.id, everything) == _rows(sandbox, database, everything)
    assert _rows(sandbox, copy.id, "SELECT name FROM sqlite_schema WHERE type = 'index'") == [["flours"]]
    assert sandbox.unknown_requests == []


def test_databases_are_described_and_deleted(sandbox: Sandbox, database: str, run: Run) -> None:
    sandbox.token = sandbox.add_token("full", ["D1 Write", "Account Analytics Read"])
    sandbox.d1.query(database, "CREATE TABLE loaves (flour)")
    sandbox.d1.query(database, "INSERT INTO loaves VALUES ('rye')")
    assert [each["name"] for each in json.loads(run("list", "--json"))] == ["bakery"]
    info = json.loads(run("info", "bakery", "--json"))
    assert (info["num_tables"], info["write_queries_24h"], info["rows_written_24h"]) == (1, 2, 1)
    insights = json.loads(run("insights", "bakery", "--sort-by", "writes", "--json"))
    assert (insights[0]["query"], insights[0]["totalRowsWritten"]) == ("INSERT INTO loaves VALUES ('rye')", 1)
    past = timestamp(sandbox.clock.now() - timedelta(seconds=1))
    assert "did not exist" in run("time-travel", "info", "bakery", "--timestamp", past, code=1)
    run("delete", "bakery", "-y")
    assert sandbox.d1.databases == {}
    assert sandbox.unknown_requests == []
