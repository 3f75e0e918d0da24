"""Rows that a restore loses are kept, and put back by the kept file."""

import signal
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ops.database.kept_rows import parse_batches
from sandbox.cloudflare.d1.sqlite import split_statements
from tests.conftest import Outcome, World
from tests.support import databases, marks, shopdesk
from tests.support.commands import Command, ended, texts
from tests.support.databases import ID, RESTORE, Library
from tests.support.shopdesk import DATABASE, Shopdesk

BEFORE_LAST = "before-migration:0002_b.sql"
SINCE = "-150s"
"""After the migration, so that the tables have the same columns."""
QUERY = {"method": "POST", "path": "/accounts/*/d1/database/*/query"}
PERSON = marks.secret("person", signs="'\"\n\x00é😀")
VALUES = (
    *(None, 0, -1, 2**53 + 1, 2**63 - 1, -(2**63), 0.1, 1e300, 5e-324),
    *("", "it's", '"', "a\nb\r\n", "nul\0behind", "\x7f", "漢字😀\u202e", "x; -- y", "\\n", "BEGIN TRANSACTION;"),
    *(b"", b"\x00\xff'", bytes(range(256))),
)


@pytest.fixture
def library(world: World) -> Library:
    """Both tables are kept."""
    library = databases.prepared(world)
    keep(library, "          books:\n            at_least: 1\n            keep: true\n          loans: {keep: true}\n")
    return library


@pytest.fixture
def shop(world: World) -> Shopdesk:
    """Another application, which keeps its customers and orders."""
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


def keeps(done: Outcome) -> list[str]:
    return [text for text in texts(done, "written") if "kept-rows.sql" in text]


def test_lost_rows_are_put_back_and_conflicts_listed(library: Library) -> None:
    before = content(library.world, ID, "loans")
    library.write("INSERT INTO books (title) VALUES ('Persuasion')")
    library.lend(3)

    done = library.restore(SINCE)

    assert done.code == 0, done.err
    assert content(library.world, ID, "loans") == before
    (file,) = kept_files(library.world)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [(each.table, each.rows.count("\n")) for each in parse_batches(file.read_text())] == [
        ("books", 0),
        ("loans", 0),
    ]
    assert any("lost by the restore: books 1 row, loans 1 row" in text for text in texts(done, "written"))
    assert str(file.relative_to(library.world.folder)) in done.result["message"]
    first = conflicts(library, file)
    assert first.out.splitlines()[:2] == [
        "books: 1 in the file, 0 in the table, 1 missing, 0 with other values",
        "  id 3: missing",
    ]
    library.lend()  # takes the key of the lost loan
    taken = content(library.world, ID, "loans")

    put_back(library.world, ID, file)
    put_back(library.world, ID, file)

    assert content(library.world, ID, "loans") == taken
    assert [row["title"] for row in library.rows("SELECT title FROM books")] == ["Emma", "Ulysses", "Persuasion"]
    assert library.rows("PRAGMA foreign_key_check") == []
    listed = conflicts(library, file, "--json")
    tables = {each["table"]: each for each in listed.result["tables"]}
    assert (tables["books"]["missing"], tables["books"]["conflicts"]) == ([], [])
    assert tables["loans"]["conflicts"] == ["id 5"]


def test_every_value_survives(shop: Shopdesk) -> None:
    """Of tables without a key, with a key of texts, with texts that are not valid, and with keys beyond JavaScript's."""
    for sql in (
        'CREATE TABLE odd (value, "GROUP" AS (value) STORED, other TEXT COLLATE NOCASE)',
        "CREATE TABLE pairs (a TEXT, b BLOB, n INTEGER, PRIMARY KEY (a, b)) WITHOUT ROWID",
        "CREATE TABLE broken (text)",
        "CREATE TABLE big (rowid TEXT, oid INTEGER PRIMARY KEY, note)",
    ):
        shop.write(sql)
    tables = ("odd", "pairs", "broken", "big")
    shop.world.edit_config("orders: {keep: true}}", f"{', '.join(f'{each}: {{keep: true}}' for each in tables)}}}")
    shop.world.sandbox.clock.advance(120)
    keys = [each for each in VALUES if isinstance(each, str) and "\0" not in each]
    shop.world.sandbox.d1.store(DATABASE).run(
        [
            *(("INSERT INTO odd (value, other) VALUES (?, 'Ab')", (_bound(each),)) for each in VALUES),
            ("INSERT INTO odd (value) VALUES (9e999), (-9e999)", ()),
            *(("INSERT INTO pairs VALUES (?, ?, 7)", (each, _bound(each.encode()))) for each in keys),
            ("INSERT INTO broken VALUES (CAST(x'ff00fe' AS TEXT)), (CAST(x'eda080' AS TEXT)), (?)", ("\ufffd",)),
            ("INSERT INTO big VALUES ('x', -9223372036854775808, 'low'), ('y', 9223372036854775807, 'high')", ()),
        ]
    )
    lost = {table: content(shop.world, DATABASE, table) for table in tables}
    shop.world.sandbox.clock.advance(60)

    done = shop.restore("-90s")

    assert done.code == 0, done.err
    assert [content(shop.world, DATABASE, table) for table in tables] == [[]] * 4
    (file,) = kept_files(shop.world)
    for _ in range(2):
        put_back(shop.world, DATABASE, file)
        assert {table: content(shop.world, DATABASE, table) for table in tables} == lost
    assert compared(shop, file) == ["0 missing, 0 with other values"] * 4
    shop.write("UPDATE odd SET other = 'aB' WHERE value = 0.1")  # equal in the order of the column
    assert "0 missing, 1 with other values" in compared(shop, file)


def compared(shop: Shopdesk, file: Path) -> list[str]:
    """Return the numbers of missing and other rows of each table."""
    return [line.partition("table, ")[2] for line in conflicts_of(shop, file).splitlines() if "table, " in line]


def conflicts_of(shop: Shopdesk, file: Path) -> str:
    where = ["--database", "orders", "--environment", "live", "--config", str(shop.world.config)]
    listed = shop.world.ops("database", "conflicts", str(file), *where, SHOP_TOKEN="shop", CLOUDFLARE_API_TOKEN=None)
    assert listed.code == 0, listed.err
    return listed.out


def test_unique_value_that_is_taken_leaves_the_row_and_its_children_out(shop: Shopdesk) -> None:
    """The table of the children stands first in ops.yml."""
    shop.world.edit_config(
        "customers: {at_least: 1, keep: true}, orders: {keep: true}", "orders: {keep: true}, customers: {keep: true}"
    )
    shop.write("CREATE UNIQUE INDEX names ON customers (name)")
    shop.world.sandbox.clock.advance(60)
    shop.write("INSERT INTO customers (name) VALUES ('Cy'), ('Di')")
    shop.order(3)
    shop.order(4)
    done = shop.restore("-190s")
    assert done.code == 0, done.err
    shop.write("INSERT INTO customers (id, name) VALUES (9, 'Cy')")
    (file,) = kept_files(shop.world)

    put_back(shop.world, DATABASE, file)

    assert [row["name"] for row in shop.content()["customers"]] == ["Ana", "Bo", "Di", "Cy"]
    assert [row["customer"] for row in shop.content()["orders"]][-1] == 4
    assert shop.world.sandbox.d1.query(DATABASE, "PRAGMA foreign_key_check") == []
    assert compared(shop, file) == ["1 missing, 0 with other values"] * 2


def _bound(value: Any) -> Any:
    return list(value) if isinstance(value, bytes) else value


def test_pages_and_statements_hold_many_rows(shop: Shopdesk) -> None:
    """More rows than a page has, of which each statement of the file takes a part."""
    shop.world.sandbox.clock.advance(60)
    many = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT 3000)"
    shop.write(f"INSERT INTO customers (name) {many} SELECT 'customer ' || hex(zeroblob(40)) || i FROM n")
    before = content(shop.world, DATABASE, "customers")

    done = shop.restore("-90s")

    assert done.code == 0, done.err
    assert len(content(shop.world, DATABASE, "customers")) == 2
    (file,) = kept_files(shop.world)
    statements = list(split_statements(file.read_text()))
    assert 3 < len(statements) < 20
    assert max(len(each.encode()) for each in statements) < 100_000
    put_back(shop.world, DATABASE, file)
    assert content(shop.world, DATABASE, "customers") == before


def test_only_rows_since_the_target_are_read(shop: Shopdesk) -> None:
    """Orders have a time: those of long ago cannot be lost. One without a readable time may be."""
    shop.world.sandbox.clock.advance(3600)
    shop.order()
    shop.write("INSERT INTO orders (customer, total, placed_at) VALUES (2, 9, 'soon')")

    done = shop.restore("-90s")

    assert done.code == 0, done.err
    (section,) = [line for line in done.result["plan"]["sections"]["Rows kept"] if line.startswith("orders")]
    assert section.startswith("orders: 2 rows, ")
    (file,) = kept_files(shop.world)
    assert "soon" in file.read_text()


def test_rows_that_were_not_kept_are_counted(library: Library) -> None:
    """A row that is added later with an older time is not read: the file lacks it, and the run says so."""
    library.write("INSERT INTO loans (book, lent_at) VALUES (1, '2001-01-01'), (2, '2001-01-01')")
    library.lend()

    done = library.restore(SINCE)

    assert done.code == 0, done.err
    (warning,) = [text for text in texts(done, "warning") if "lacks" in text]
    assert "loans" in warning
    assert "2 of 3 rows" in warning


def test_without_keep_nothing_is_stored_or_read(world: World) -> None:
    library = databases.prepared(world)

    done = library.restore(BEFORE_LAST)

    assert done.code == 0, done.err
    assert "Rows kept" not in done.result["plan"]["sections"]
    assert kept_files(world) == []
    assert not any("quote(" in str(each.body) for each in world.sandbox.requests)


def test_dry_run_names_the_tables_and_stores_nothing(library: Library) -> None:
    done = library.restore(SINCE, "--dry-run")

    assert done.code == 0, done.err
    assert [line.partition(":")[0] for line in done.result["plan"]["sections"]["Rows kept"]] == ["books", "loans"]
    assert kept_files(library.world) == []


def test_rows_of_a_dropped_column_and_table_stay_in_the_file(library: Library) -> None:
    """The migration that is taken back added a column, and another one a table."""
    library.migrate("0003_c.sql", "CREATE TABLE tags (id INTEGER PRIMARY KEY, book INTEGER REFERENCES books, tag TEXT)")
    library.world.edit_config("loans: {keep: true}", "tags: {keep: true}")
    library.write("UPDATE books SET tags = 'novel'")
    library.write("INSERT INTO tags (book, tag) VALUES (1, 'classic')")
    library.write("INSERT INTO books (title) VALUES ('Persuasion')")

    done = library.restore(BEFORE_LAST)

    assert done.code == 0, done.err
    (file,) = kept_files(library.world)
    text = file.read_text()
    put_back(library.world, ID, file)
    assert [row["title"] for row in library.rows("SELECT * FROM books")] == ["Emma", "Ulysses", "Persuasion"]
    assert "'novel'" in text
    assert "\n-- (1,1,'classic')\n" in text
    listed = conflicts(library, file)
    assert "tags: 1 row in the file; there is no such table" in listed.out


def test_child_without_its_parent_is_left_out(shop: Shopdesk) -> None:
    """Only orders are kept. A customer that the restore loses takes its order along, and nothing fails."""
    shop.world.edit_config("customers: {at_least: 1, keep: true}", "customers: {at_least: 1}")
    shop.write("INSERT INTO customers (name) VALUES ('Cy')")
    shop.order(3)
    shop.order(1)

    done = shop.restore("-200s")

    assert done.code == 0, done.err
    (file,) = kept_files(shop.world)
    put_back(shop.world, DATABASE, file)
    assert [row["customer"] for row in shop.content()["orders"]] == [1, 1, 2, 1]
    assert shop.world.sandbox.d1.query(DATABASE, "PRAGMA foreign_key_check") == []


def test_children_refer_to_rows_of_their_own_table(shop: Shopdesk) -> None:
    """A tree whose parents have greater keys, and two tables that refer to each other."""
    shop.write("CREATE TABLE tree (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES tree)")
    shop.write("CREATE TABLE a (id INTEGER PRIMARY KEY, b INTEGER REFERENCES b (id))")
    shop.write("CREATE TABLE b (id INTEGER PRIMARY KEY, a INTEGER REFERENCES a (id), tree INTEGER REFERENCES tree)")
    shop.world.edit_config("orders: {keep: true}}", "b: {keep: true}, a: {keep: true}, tree: {keep: true}}")
    shop.world.sandbox.clock.advance(60)
    shop.world.sandbox.d1.store(DATABASE).run(
        [
            ("PRAGMA defer_foreign_keys = on", ()),
            ("INSERT INTO tree VALUES (1, 3), (2, 1), (3, NULL)", ()),
            ("INSERT INTO a VALUES (1, 7)", ()),
            ("INSERT INTO b VALUES (7, 1, 2)", ()),
        ]
    )
    lost = {table: content(shop.world, DATABASE, table) for table in ("tree", "a", "b")}
    shop.world.sandbox.clock.advance(60)

    done = shop.restore("-90s")

    assert done.code == 0, done.err
    put_back(shop.world, DATABASE, kept_files(shop.world)[0])
    assert {table: content(shop.world, DATABASE, table) for table in lost} == lost
    assert shop.world.sandbox.d1.query(DATABASE, "PRAGMA foreign_key_check") == []


def test_row_that_was_changed_is_listed_and_not_overwritten(library: Library) -> None:
    library.write("UPDATE books SET title = 'EMMA' WHERE id = 1")

    done = library.restore("-50s")

    assert done.code == 0, done.err
    (file,) = kept_files(library.world)
    put_back(library.world, ID, file)
    assert library.rows("SELECT title FROM books WHERE id = 1") == [{"title": "Emma"}]
    assert "books: 1 in the file, 0 in the table, 0 missing, 1 with other values" in conflicts(library, file).out
    assert "'EMMA'" in file.read_text()


def test_row_too_large_is_refused_until_a_person_accepts_its_table(library: Library) -> None:
    library.write("INSERT INTO books (title) VALUES (?)", "x" * 90_000)
    library.write("INSERT INTO books (title) VALUES ('Persuasion')")

    refused = library.restore(SINCE)

    assert ended(refused) == (3, "refused", "rows_not_kept"), refused.err
    assert library.restores == []
    assert "books: 1 row of over 80 kB" in refused.result["message"]
    assert "--accept-not-kept books" in refused.result["press"]
    assert library.restore(SINCE).code == 3
    accepted = library.restore(SINCE, "--accept-not-kept", "books")
    assert accepted.code == 0, accepted.err
    (file,) = kept_files(library.world)
    put_back(library.world, ID, file)
    assert [row["title"] for row in library.rows("SELECT title FROM books")] == ["Emma", "Ulysses", "Persuasion"]


@pytest.mark.slow
def test_more_bytes_than_a_run_keeps_are_refused(library: Library) -> None:
    """The first table of ops.yml fits, and the second one does not beside it."""
    for table, column in (("books", "title"), ("loans", "lent_at")):
        many = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT 200)"
        library.write(f"INSERT INTO {table} ({column}) {many} SELECT 'x' || hex(zeroblob(35000)) FROM n")

    refused = library.restore("-70s")

    assert ended(refused) == (3, "refused", "rows_not_kept"), refused.err
    assert "loans: 203 rows of 14.0 MB, and 11.0 MB are left" in refused.result["message"]
    assert "books: " not in refused.result["message"]
    accepted = library.restore("-70s", "--accept-not-kept", "loans")
    assert accepted.code == 0, accepted.err
    (section, _) = accepted.result["plan"]["sections"]["Rows kept"]
    assert section.startswith("books: 202 rows, 14.0 MB")
    (file,) = kept_files(library.world)
    assert {each.table for each in parse_batches(file.read_text())} == {"books"}


def test_slow_read_ends_the_run_before_the_restore(library: Library) -> None:
    slow = {"status": 429, "headers": {"retry-after": "18"}}
    for table in ("books", "loans"):
        library.world.sandbox.fault(**QUERY, sends=f'AS place FROM \\"{table}', **slow)

    refused = library.restore(BEFORE_LAST)

    assert refused.result["reason"] == "rows_not_kept", refused.err
    assert "the limit is 30" in refused.result["message"]
    assert library.restores == []
    assert kept_files(library.world) == []
    again = library.restore(BEFORE_LAST)
    assert again.code == 0, again.err


def test_file_that_cannot_be_written_ends_the_run_before_the_restore(library: Library) -> None:
    """A folder takes the name of the file while the run reads the rows."""

    def take_name() -> None:
        (folder,) = library.world.folder.glob(".ops/runs/*/")
        (folder / "kept-rows.sql").mkdir()

    library.world.sandbox.fault(**QUERY, sends=" AS c0", before=take_name)

    refused = library.restore(SINCE)

    assert ended(refused) == (3, "refused", "rows_not_kept"), refused.err
    assert "kept-rows.sql: Is a directory" in refused.result["message"]
    assert library.restores == []
    assert [each.name for each in library.world.folder.glob(".ops/runs/*/kept*")] == ["kept-rows.sql"]


def test_table_that_cannot_be_measured_is_refused(shop: Shopdesk) -> None:
    for name, problem in (("nothing", "there is no such table"), ("shown", "it is a view")):
        shop.world.edit_config("orders: {keep: true}", f"{name}: {{keep: true}}, orders: {{keep: true}}")
        shop.write("CREATE VIEW IF NOT EXISTS shown AS SELECT 1 AS id")
        refused = shop.restore("-90s")
        assert ended(refused) == (3, "refused", "rows_not_kept"), refused.err
        assert f"{name}: {problem}" in refused.result["message"]
        shop.world.edit_config(f"{name}: {{keep: true}}, ", "")


def test_restore_that_fails_names_what_was_only_copied(library: Library) -> None:
    """Nothing of D1 changed, and a person on a phone sees that at once."""
    library.world.sandbox.fault(**RESTORE, status=400, code=7400, message="no")

    failed = library.restore(SINCE)

    assert failed.code == 4, failed.err
    assert "changed: copy of rows of D1 database lib; not changed: D1 database lib" in failed.result["message"]


def test_unknown_table_is_no_acceptance(library: Library) -> None:
    refused = library.restore(SINCE, "--accept-not-kept", "book")

    assert ended(refused) == (2, "refused", "unknown_name"), refused.err
    assert "book" in refused.result["message"]
    assert library.restores == []


def test_page_that_d1_rejects_ends_the_run_before_the_restore(library: Library) -> None:
    """The text of D1, which quotes a value, is not shown."""
    library.write("INSERT INTO books (title) VALUES (?)", PERSON)
    library.world.sandbox.fault(**QUERY, sends=" AS c0", status=400, code=7500, message=f"near {PERSON}", times=None)

    failed = library.restore(SINCE)

    assert failed.code == 3, failed.err
    assert failed.result["reason"] == "rows_not_kept"
    assert library.restores == []
    assert marks.leaks({"out": failed.out, "err": failed.err}) == []


@pytest.mark.parametrize(
    "ending", ["success", "restore fails", "compare fails", pytest.param("killed", marks=pytest.mark.slow)]
)
def test_rows_appear_in_nothing_but_their_file(library: Library, ending: str) -> None:
    library.write("INSERT INTO books (title) VALUES (?)", PERSON)
    sandbox = library.world.sandbox
    if ending == "restore fails":
        sandbox.fault(**RESTORE, status=400, code=7400, message="no")
    if ending == "compare fails":
        sandbox.fault(**RESTORE, after=lambda: sandbox.fault(**QUERY, sends=" AS c0", status=500, times=None))
    if ending == "killed":
        given = ("--database", "lib", "--to", SINCE, "--one-person")
        run = Command(
            library.world, "restore-database", service="", more=given, environ={"CLOUDFLARE_API_TOKEN": "library"}
        )
        sandbox.fault(**RESTORE, after=run.send(signal.SIGKILL))
        done = run.run()
    else:
        done = library.restore(SINCE)

    (file,) = kept_files(library.world)
    assert marks.leaks({"file": file.read_text()}) != []
    texts_ = {"out": done.out, "err": done.err, **marks.on_disk(library.world.folder, but=frozenset({file.name}))}
    assert marks.leaks(texts_) == []
    assert [each.name for each in file.parent.iterdir() if "kept" in each.name] == [file.name]
    put_back(library.world, ID, file)
    assert library.count("books") == 3


@pytest.mark.parametrize("stale_reads", [0, 40])
def test_read_that_may_be_older_than_the_restore_drops_no_row(library: Library, stale_reads: int) -> None:
    """D1 shows that a read is newer by the row that the run leaves after its restore. Here it could not leave one."""
    library.write("INSERT INTO books (title) VALUES ('Persuasion')")
    sandbox = library.world.sandbox
    sandbox.fault(**QUERY, sends="INSERT OR REPLACE INTO backout_applies", status=500, times=None)
    sandbox.switches.d1_stale_reads = stale_reads

    done = library.restore(SINCE)

    assert done.code in {0, 8}, done.err
    (file,) = kept_files(library.world)
    assert "'Persuasion'" in file.read_text()
    assert "'Emma'" in file.read_text()
    assert any("lost or not" in text for text in texts(done, "warning"))


@pytest.mark.slow
def test_killed_runs_and_the_last_press_have_a_file_each(library: Library) -> None:
    """One run is killed right before its restore, and one right after it; the third only checks."""
    library.write("INSERT INTO books (title) VALUES ('Persuasion')")
    given = ("--database", "lib", "--to", BEFORE_LAST, "--one-person")
    for fault in ({"before": None, "lost": "before"}, {"after": None}):
        variables = {"CLOUDFLARE_API_TOKEN": "library"}
        run = Command(library.world, "restore-database", service="", more=given, environ=variables)
        kill = {name: run.send(signal.SIGKILL) if value is None else value for name, value in fault.items()}
        library.world.sandbox.fault(**RESTORE, **kill)
        run.run()
        library.world.sandbox.faults.clear()
        library.world.sandbox.clock.advance(90)
    texts_ = [file.read_text() for file in kept_files(library.world)]

    done = library.restore(BEFORE_LAST)

    assert done.code == 0, done.err
    files = kept_files(library.world)
    assert [file.read_text() for file in files] == texts_
    assert len(texts_) == 2
    assert all("Persuasion" in text for text in texts_)
    warnings = [each for each in done.result["plan"]["warnings"] if files[1].parent.name in each]
    assert any(f"{files[1].parent.name}/kept-rows.sql" in each for each in warnings), done.result["plan"]["warnings"]
    for number, file in enumerate(files):
        new = library.world.folder / f"{number}.sql"
        written = conflicts(library, file, "--into", str(new))
        assert written.code == 0, written.err
        assert conflicts(library, file, "--into", str(new)).code == 2
        assert stat.S_IMODE(new.stat().st_mode) == 0o600
        put_back(library.world, ID, new)
    assert [row["title"] for row in library.rows("SELECT title FROM books")] == ["Emma", "Ulysses", "Persuasion"]


def test_job_without_a_place_refuses(library: Library) -> None:
    refused = library.restore(SINCE, GITHUB_ACTIONS="true")

    assert ended(refused) == (2, "refused", "rows_not_kept"), refused.err
    assert library.restores == []
    assert kept_files(library.world) == []
    assert conflicts(library, library.world.config, GITHUB_ACTIONS="true").code == 3


def test_file_of_something_else_is_refused(library: Library) -> None:
    file = library.world.folder / "other.sql"
    for text in ("", "SELECT 1;", "-- backout rows: {}\n", '-- backout rows: {"table": "x", "columns": [], "key": []}'):
        file.write_text(text)
        assert conflicts(library, file).code == 2, text
    file.write_text('-- backout rows: {"table": "books", "columns": ["id"], "key": ["id"]}\n(1); DELETE FROM books\n)')
    assert conflicts(library, file).code != 0
    assert library.count("books") == 2


def test_missing_file_is_refused(library: Library) -> None:
    refused = conflicts(library, library.world.folder / "missing.sql")

    assert refused.code == 2
    assert "missing.sql" in refused.err
    assert "FileNotFoundError" in refused.err


def test_file_in_a_missing_folder_is_not_written(library: Library) -> None:
    assert library.restore(SINCE).code == 0
    (file,) = kept_files(library.world)

    refused = conflicts(library, file, "--into", str(library.world.folder / "missing" / "new.sql"))

    assert refused.code == 2, refused.err
    assert "missing/new.sql cannot be written: No such file or directory" in refused.err


def test_key_of_several_lines_is_listed_on_one(shop: Shopdesk) -> None:
    """A user who chooses the key cannot add a line that looks like ours."""
    shop.write("CREATE TABLE names (name TEXT PRIMARY KEY)")
    shop.world.edit_config("orders: {keep: true}}", "names: {keep: true}}")
    shop.world.sandbox.clock.advance(60)
    shop.world.sandbox.d1.query(DATABASE, "INSERT INTO names VALUES (?)", "Cy\norders: 9 in the file")
    shop.world.sandbox.clock.advance(60)
    assert shop.restore("-90s").code == 0
    (file,) = kept_files(shop.world)

    assert conflicts_of(shop, file).splitlines()[1:] == ["  name 'Cy orders: 9 in the file': missing"]


def test_outage_of_d1_during_the_comparison_shows_no_value(library: Library) -> None:
    library.write("INSERT INTO books (title) VALUES (?)", PERSON)
    assert library.restore(SINCE).code == 0
    (file,) = kept_files(library.world)
    library.world.sandbox.fault(**QUERY, sends="is_free", status=400, code=7500, message=f"near {PERSON}", times=None)

    failed = conflicts(library, file)

    assert failed.code == 4, failed.err
    assert "rows of books" in failed.err
    assert marks.leaks({"out": failed.out, "err": failed.err}) == []
