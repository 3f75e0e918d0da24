"""Rows that a restore loses are kept, and put back by the kept file."""

import re
import signal
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ops.database.keep_steps import KEPT_SECTION
from ops.database.kept_rows import parse_batches
from sandbox.cloudflare.d1.sqlite import split_statements
from tests.conftest import World
from tests.support import databases, marks
from tests.support.commands import Command, texts
from tests.support.databases import ID, RESTORE, Library
from tests.support.kept_rows import (
    BEFORE_LAST,
    PERSON,
    QUERY,
    SINCE,
    conflicts,
    conflicts_of,
    content,
    keeping_library,
    keeping_shop,
    kept_files,
    put_back,
)
from tests.support.shopdesk import DATABASE, Shopdesk

VALUES = (
    *(None, 0, -1, 2**53 + 1, 2**63 - 1, -(2**63), 0.1, 1e300, 5e-324),
    *("", "it's", '"', "a\nb\r\n", "nul\0behind", "\x7f", "漢字😀\u202e", "x; -- y", "\\n", "BEGIN TRANSACTION;"),
    *(b"", b"\x00\xff'", bytes(range(256))),
)


@pytest.fixture
def library(world: World) -> Library:
    return keeping_library(world)


@pytest.fixture
def shop(world: World) -> Shopdesk:
    return keeping_shop(world)


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


def test_git_does_not_see_the_rows(library: Library) -> None:
    """A team may run Backout in a repository whose .gitignore does not name its folder."""
    folder = library.world.folder
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    assert library.restore(SINCE).code == 0

    done = subprocess.run(["git", "add", "-A", "-n"], cwd=folder, check=True, capture_output=True, text=True)

    assert kept_files(library.world)
    assert "ops.yml" in done.stdout
    assert "kept-rows" not in done.stdout


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


@pytest.mark.parametrize("key", ["c0", "C1"])
def test_pages_of_a_table_skip_no_row_with_any_name_of_its_key(shop: Shopdesk, key: str) -> None:
    """The key has the name of a column that Backout's own queries return."""
    shop.write(f"CREATE TABLE seats (label TEXT, {key} INTEGER PRIMARY KEY) WITHOUT ROWID")
    shop.world.edit_config("orders: {keep: true}}", "seats: {keep: true}}")
    shop.world.sandbox.clock.advance(60)
    many = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT 2500)"
    shop.write(f"INSERT INTO seats ({key}, label) {many} SELECT i, 9999 - i FROM n")
    before = content(shop.world, DATABASE, "seats")

    done = shop.restore("-90s")

    assert done.code == 0, done.err
    (file,) = kept_files(shop.world)
    put_back(shop.world, DATABASE, file)
    assert content(shop.world, DATABASE, "seats") == before
    assert texts(done, "warning") == [done.result["message"].rpartition("; ")[2]]


@pytest.mark.parametrize("key", ["plan TEXT PRIMARY KEY", "plan TEXT, PRIMARY KEY (id, plan)"])
def test_rows_with_an_empty_key_are_put_back_once(shop: Shopdesk, key: str) -> None:
    """SQLite keeps NULL in a key that is no number, also several times, and ON CONFLICT does not see it."""
    shop.write(f"CREATE TABLE seats (id INTEGER, name TEXT COLLATE NOCASE, {key})")
    shop.world.edit_config("orders: {keep: true}}", "seats: {keep: true}}")
    shop.world.sandbox.clock.advance(60)
    shop.write(
        "INSERT INTO seats VALUES (1, 'Ana', NULL), (1, 'ana', NULL), (1, 'Bo', NULL), (1, 'Bo', 'a'), (2, '', 'b')"
    )
    before = content(shop.world, DATABASE, "seats")
    assert shop.restore("-90s").code == 0
    (file,) = kept_files(shop.world)
    assert compared(shop, file)[-1] == "5 missing, 0 with other values"

    for _ in range(2):
        put_back(shop.world, DATABASE, file)

        assert content(shop.world, DATABASE, "seats") == before
        assert compared(shop, file)[-1] == "0 missing, 0 with other values"
    shop.write("UPDATE seats SET name = 'BO' WHERE plan IS NULL AND name = 'bo'")
    assert compared(shop, file)[-1] == "1 missing, 0 with other values"


def test_only_rows_since_the_target_are_read(shop: Shopdesk) -> None:
    """Orders have a time: those of long ago cannot be lost. One without a readable time may be."""
    shop.world.sandbox.clock.advance(3600)
    shop.order()
    shop.write("INSERT INTO orders (customer, total, placed_at) VALUES (2, 9, 'soon')")

    done = shop.restore("-90s")

    assert done.code == 0, done.err
    (section,) = [line for line in done.result["plan"]["sections"][KEPT_SECTION] if line.startswith("orders")]
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
    assert KEPT_SECTION not in done.result["plan"]["sections"]
    assert kept_files(world) == []
    assert not any("quote(" in str(each.body) for each in world.sandbox.requests)


def test_dry_run_names_the_tables_and_stores_nothing(library: Library) -> None:
    done = library.restore(SINCE, "--dry-run")

    assert done.code == 0, done.err
    assert [line.partition(":")[0] for line in done.result["plan"]["sections"][KEPT_SECTION]] == ["books", "loans"]
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
    assert re.findall(r"^-- (\w+) does not exist", text, re.MULTILINE) == ["tags"]
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


def test_restore_that_fails_names_what_was_only_copied(library: Library) -> None:
    """Nothing of D1 changed, and a person on a phone sees that at once."""
    library.world.sandbox.fault(**RESTORE, status=400, code=7400, message="no")

    failed = library.restore(SINCE)

    assert failed.code == 4, failed.err
    message = failed.result["message"]
    assert message.startswith("nothing was changed")
    assert re.search("stored: copy of rows of .* lib; not changed: D1 database lib", message)
    assert f"{kept_files(library.world)[0]} has rows" in message
    assert failed.result["undo"] == []
    assert library.restore(SINCE).code == 0


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
