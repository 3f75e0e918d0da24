"""`ops hold migrate` with full-text tables: SQLite writes their parts itself (sqlite.org/fts5.html)."""

from pathlib import Path

import pytest

from tests.conftest import World
from tests.support.deployment import Deployment, open_migrated

TABLES = """\
CREATE TABLE recipes (id INTEGER PRIMARY KEY, text TEXT);
CREATE VIRTUAL TABLE found USING fts5 (text, content='recipes', content_rowid='id');
CREATE TRIGGER added AFTER INSERT ON recipes BEGIN INSERT INTO found (rowid, text) VALUES (new.id, new.text); END;
CREATE TRIGGER changed AFTER UPDATE ON recipes BEGIN
  INSERT INTO found (found, rowid, text) VALUES ('delete', old.id, old.text);
  INSERT INTO found (rowid, text) VALUES (new.id, new.text);
END;
CREATE VIRTUAL TABLE bare USING fts5 (text, content='');
CREATE VIRTUAL TABLE notes USING fts5 (text);
INSERT INTO recipes (text) VALUES ('rye'), ('oat');
INSERT INTO bare (rowid, text) VALUES (1, 'rye');
INSERT INTO notes (text) VALUES ('oven');
"""
NAME = "0003_change.sql"


@pytest.fixture
def bakery(world: World, tmp_path: Path) -> Deployment:
    return open_migrated(world, tmp_path / "application", "0002_bakery.sql", TABLES)


@pytest.mark.sampled
@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO recipes (text) VALUES ('corn');",
        "INSERT INTO notes (text) VALUES ('delete this');",
        "INSERT INTO found (found) VALUES ('rebuild');",
        "INSERT INTO notes (notes, rank) VALUES ('merge', 8);",
        "ALTER TABLE recipes ADD COLUMN size; UPDATE recipes SET size = 1;",
    ],
)
def test_change_that_keeps_each_row_passes(bakery: Deployment, sql: str) -> None:
    bakery.write(NAME, sql)

    done = bakery.guard("--json")

    assert done.code == 0, done.err
    assert done.result["warnings"] == []
    assert set(done.result["rows"]) == {"bare", "customers", "found", "notes", "recipes"}


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("sql", "says", "accepts"),
    [
        ("INSERT INTO bare (bare) VALUES ('delete-all');", "bare: an unknown number of 1 row deleted (", "bare"),
        ("DELETE FROM notes;", "notes: 1 of 1 row deleted (", "notes"),
        ("REPLACE INTO notes (rowid, text) VALUES (1, 'x');", "notes: an unknown number of 1 row replaced", "notes"),
        ("DROP TABLE notes;", "notes: 1 of 1 row deleted with the table (", "notes"),
        ("DROP TABLE notes_content;", "notes_content: an unknown number of rows deleted (", "notes_content"),
    ],
)
def test_loss_names_the_table_that_people_made(bakery: Deployment, sql: str, says: str, accepts: str) -> None:
    bakery.write(NAME, sql)

    refused = bakery.guard()

    assert refused.code == 3, refused.out
    assert says in refused.err
    assert f"`-- backout: accepts {accepts}`" in refused.err
