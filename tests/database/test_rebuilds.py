"""`ops hold migrate`: a rebuild of a table passes only if each row and each value is kept."""

from pathlib import Path

import pytest

from tests.conftest import World
from tests.support.deployment import Deployment, open_migrated

TABLES = """\
CREATE TABLE loaves (id INTEGER PRIMARY KEY, flour TEXT, price NUMERIC, parent INTEGER REFERENCES loaves (id));
CREATE TABLE ovens (code TEXT PRIMARY KEY, note TEXT);
"""
NAME = "0003_rebuild.sql"
NEW = "CREATE TABLE new (id INTEGER PRIMARY KEY, flour TEXT NOT NULL, price NUMERIC, parent INTEGER);"
FILL = "INSERT INTO new (id, flour, price, parent) SELECT id, flour, price, parent FROM loaves;"
SIZED = NEW.replace(" NOT NULL", "").replace("parent I", "size, parent I")
SWAP = "DROP TABLE loaves; ALTER TABLE new RENAME TO loaves;"
COLUMNS = "id, flour, price, parent"


@pytest.fixture
def bakery(world: World, tmp_path: Path) -> Deployment:
    return open_migrated(
        world,
        tmp_path / "application",
        "0002_bakery.sql",
        f"{TABLES}INSERT INTO loaves (flour) VALUES ('rye'), ('oat'), ('rye');",
    )


@pytest.mark.sampled(8)
@pytest.mark.parametrize(
    "sql",
    [
        f"{NEW}{FILL}{SWAP}",
        f"{NEW} INSERT INTO new SELECT * FROM main.loaves; {SWAP}",
        f"{NEW} INSERT INTO new SELECT l.* FROM loaves AS l; {SWAP}",
        f'{NEW} INSERT INTO [new] (parent, price, "flour", `id`) SELECT l.parent, l."price", FLOUR AS x, Id FROM loaves AS l; {SWAP}',
        f"{NEW} INSERT INTO new ({COLUMNS}) SELECT /* all */ {COLUMNS} FROM loaves -- of them\n; {SWAP}",
        f"{NEW} ALTER TABLE new ADD COLUMN size; INSERT INTO new ({COLUMNS}, size) SELECT {COLUMNS}, coalesce(price, 1) * 2 FROM loaves; UPDATE new SET size = 3; {SWAP}",
        f"{NEW}{FILL} INSERT INTO new (flour) VALUES ('corn'); {SWAP}",
        f"{NEW}{FILL}{SWAP} CREATE INDEX i ON loaves (flour); CREATE UNIQUE INDEX j ON loaves (id, flour);",
        f"ALTER TABLE loaves RENAME TO old; {NEW.replace('new', 'loaves')} INSERT INTO loaves SELECT * FROM old; DROP TABLE old;",
        f"{NEW.replace('NUMERIC', 'INTEGER').replace('flour TEXT', 'flour BLOB')}{FILL}{SWAP}",
        f"ALTER TABLE loaves ADD COLUMN size; {NEW.replace('parent I', 'size, parent I')} INSERT INTO new (size, {COLUMNS}) SELECT size, {COLUMNS} FROM loaves; {SWAP}",
    ],
)  # fmt: skip
def test_rebuild_that_keeps_everything_passes(bakery: Deployment, sql: str) -> None:
    bakery.write(NAME, sql)

    done = bakery.guard("--json")

    assert done.code == 0, done.err
    assert (done.result["accepted"], done.result["warnings"]) == ({}, [])
    assert bakery.rows("SELECT id, flour FROM loaves WHERE flour <> 'corn' ORDER BY id") == [
        [1, "rye"],
        [2, "oat"],
        [3, "rye"],
    ]


@pytest.mark.sampled(8)
@pytest.mark.parametrize(
    "sql",
    [
        f"{SIZED} INSERT INTO new (size, {COLUMNS}) SELECT DISTINCT 1, {COLUMNS} FROM loaves; {SWAP}",
        f"{NEW}{FILL.replace(';', ' LIMIT 1;')}{SWAP}",
        f"{NEW}{FILL.replace(';', ' GROUP BY flour;')}{SWAP}",
        f"{NEW}{FILL.replace(';', ' WHERE price > 1;')}{SWAP}",
        f"{NEW}{FILL.replace(';', ' JOIN ovens ON note = flour;')}{SWAP}",
        f"{NEW}{FILL.replace(';', ', ovens;')}{SWAP}",
        f"{SIZED} INSERT INTO new (size, {COLUMNS}) SELECT max(price), {COLUMNS} FROM loaves; {SWAP}",
        f'{SIZED} INSERT INTO new (size, {COLUMNS}) SELECT "max"(price), {COLUMNS} FROM loaves; {SWAP}',
        f"{SIZED} INSERT INTO new (size, {COLUMNS}) SELECT 1 + count(*), {COLUMNS} FROM loaves; {SWAP}",
        f"{NEW}{FILL.replace('INSERT', 'INSERT OR IGNORE')}{SWAP}",
        f"{NEW.replace('NOT NULL', 'UNIQUE ON CONFLICT IGNORE')}{FILL}{SWAP}",
        f"{NEW.replace('NOT NULL', 'UNIQUE ON/**/CONFLICT IGNORE')}{FILL}{SWAP}",
        NEW.replace("NOT NULL", "UNIQUE ON -- one\n CONFLICT REPLACE") + FILL + SWAP,
        f"{NEW} INSERT INTO new ({COLUMNS}) SELECT id, flour, parent, price FROM loaves; {SWAP}",
        f"{NEW} INSERT INTO new (id, flour, price) SELECT id, flour, price FROM loaves; {SWAP}",
        f"{NEW.replace('TEXT NOT NULL', 'INTEGER')}{FILL}{SWAP}",
        f'{NEW} INSERT INTO new ({COLUMNS}) SELECT id, "flower", price, parent FROM loaves; {SWAP}',
        f"{NEW} INSERT INTO new ({COLUMNS}) SELECT id, lower(flour), price, parent FROM loaves; {SWAP}",
        f"{NEW}{FILL} DELETE FROM new WHERE id = 2; {SWAP}",
        f"{NEW}{FILL} UPDATE new SET flour = 'x'; {SWAP}",
        f"{NEW}{FILL} REPLACE INTO new (id, flour) VALUES (1, 'x'); {SWAP}",
        f"{NEW}{FILL} ALTER TABLE new DROP COLUMN price; {SWAP}",
        f"{NEW}{FILL} ALTER TABLE new RENAME COLUMN price TO cost; {SWAP}",
        f"{NEW}{FILL} DROP TABLE new; {NEW}{SWAP}",
        f"{NEW}{FILL} DROP TABLE loaves;",
        f"{NEW}{FILL}{SWAP} DELETE FROM loaves WHERE id = 2;",
        f"{NEW}{FILL}{SWAP} DROP TABLE loaves;",
        f"{NEW}{FILL}{SWAP} ALTER TABLE loaves DROP COLUMN price;",
        f"{NEW} CREATE TRIGGER t BEFORE INSERT ON new WHEN new.id = 1 BEGIN SELECT raise(ignore); END; {FILL} DROP TRIGGER t; {SWAP}",
        f"{NEW} INSERT INTO new (flour, {COLUMNS}) SELECT 'x', {COLUMNS} FROM loaves; {SWAP}",
        f"{NEW}{SWAP}",
        f"{NEW}{FILL.replace('loaves', '(SELECT * FROM loaves WHERE id > 1)')}{SWAP}",
        f"CREATE TABLE new (id INTEGER, flour TEXT, price NUMERIC, parent INTEGER REFERENCES loaves (id) ON DELETE CASCADE);{FILL}{SWAP}",
        f"{NEW} CREATE TRIGGER t AFTER INSERT ON new BEGIN DELETE FROM new WHERE id = 1; END; {FILL} DROP TRIGGER t; {SWAP}",
        f"{NEW} INSERT INTO new (flour) SELECT note FROM ovens WHERE note > ''; {SWAP}",
        f"CREATE VIEW v AS SELECT * FROM loaves WHERE id = 1; {NEW}{FILL.replace('loaves', 'v')} DROP VIEW v; {SWAP}",
        f"{NEW} WITH l AS (SELECT * FROM loaves WHERE id = 1) {FILL.replace('loaves', 'l')}{SWAP}",
        f"{NEW} INSERT INTO new VALUES (1, 'a', 2, 3); {SWAP}",
        f"CREATE TABLE new AS SELECT * FROM loaves WHERE id = 1; {SWAP}",
    ],
)  # fmt: skip
def test_rebuild_that_loses_something_is_refused(bakery: Deployment, sql: str) -> None:
    bakery.write(NAME, sql)
    before = bakery.rows("SELECT * FROM loaves")

    refused = bakery.guard()

    assert refused.code == 3, refused.out
    assert f"{NAME}: `-- backout: accepts loaves`" in refused.err
    assert "made-up rows" not in refused.err  # the statements show it already
    assert bakery.rows("SELECT * FROM loaves") == before


@pytest.mark.slow
def test_empty_key_that_would_get_a_number_is_a_loss(bakery: Deployment) -> None:
    bakery.rows("CREATE TABLE racks (id INT PRIMARY KEY, name TEXT)")
    new = "CREATE TABLE new (id INTEGER PRIMARY KEY, name TEXT);"
    bakery.write(NAME, f"{new} INSERT INTO new SELECT * FROM racks; DROP TABLE racks; ALTER TABLE new RENAME TO racks;")

    assert "accepts racks`" in bakery.guard().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("CREATE TABLE racks (id INTEGER PRIMARY KEY, x ANY) STRICT", "CREATE TABLE new (id INTEGER PRIMARY KEY, x ANY)"),
        ("CREATE VIRTUAL TABLE racks USING fts5 (x)", "CREATE VIRTUAL TABLE new USING fts5 (x)"),
    ],
)  # fmt: skip
def test_tables_whose_values_may_change_in_a_copy_are_a_loss(bakery: Deployment, old: str, new: str) -> None:
    """A full-text table is found by its row numbers, and ANY converts a text only in a table that is not STRICT."""
    bakery.rows(old)
    bakery.write(
        NAME, f"{new}; INSERT INTO new SELECT * FROM racks; DROP TABLE racks; ALTER TABLE new RENAME TO racks;"
    )

    assert "accepts racks`" in bakery.guard().err


def test_loss_in_a_table_that_an_earlier_file_rebuilt_is_refused(bakery: Deployment) -> None:
    bakery.write(NAME, f"{NEW}{FILL}{SWAP}")
    bakery.write("0004_less.sql", "DELETE FROM loaves;")

    refused = [bakery.guard(), bakery.guard()]

    for each in refused:
        assert each.code == 3
        assert "loaves: at most 3 of 3 rows deleted" in each.err
        assert "0004_less.sql: `-- backout: accepts loaves`" in each.err
    assert bakery.rows("SELECT count(*) FROM loaves") == [[3]]
