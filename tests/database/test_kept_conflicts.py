"""`ops database conflicts` compares a kept file with the database, and writes nothing there."""

import pytest

from tests.conftest import World
from tests.support import marks
from tests.support.databases import ID, Library
from tests.support.kept_rows import (
    PERSON,
    QUERY,
    SINCE,
    conflicts,
    conflicts_of,
    keeping_library,
    keeping_shop,
    kept_files,
)
from tests.support.shopdesk import DATABASE, Shopdesk


@pytest.fixture
def library(world: World) -> Library:
    return keeping_library(world)


@pytest.fixture
def shop(world: World) -> Shopdesk:
    return keeping_shop(world)


def test_file_of_something_else_is_refused(library: Library) -> None:
    file = library.world.folder / "other.sql"
    for text in ("", "SELECT 1;", "-- backout rows: {}\n", '-- backout rows: {"table": "x", "columns": [], "key": []}'):
        file.write_text(text)
        assert conflicts(library, file).code == 2, text
    file.write_text('-- backout rows: {"table": "books", "columns": ["id"], "key": ["id"]}\n(1); DELETE FROM books\n)')
    assert conflicts(library, file).code != 0
    assert library.count("books") == 2


def test_file_of_another_database_is_compared_with_a_warning(library: Library) -> None:
    """Staging and production have the same tables; and a database may have been made again."""
    assert library.restore(SINCE).code == 0
    (file,) = kept_files(library.world)
    assert conflicts(library, file).err == ""
    file.write_text(file.read_text().replace(ID, "0" * len(ID)))

    for more in ((), ("--json",)):
        listed = conflicts(library, file, *more)
        assert listed.code == 0
        assert f"does not name the database lib ({ID})" in listed.err


def test_cut_file_is_refused(library: Library) -> None:
    """Also between two statements, where the rest is good SQL. The names of the lines are not read from our code."""
    library.write("INSERT INTO books (title) VALUES ('Middlemarch')")
    assert library.restore(SINCE).code == 0
    (file,) = kept_files(library.world)
    whole = file.read_text()
    lines = whole.splitlines(keepends=True)
    statements = [n for n, line in enumerate(lines, 1) if line.startswith("ON CONFLICT")]
    assert len(statements) == 2
    assert conflicts(library, file).out.count("in the file") == 2

    pragma = next(n for n, line in enumerate(lines, 1) if line.startswith("PRAGMA"))
    for cut in (pragma, statements[0], statements[1]):
        file.write_text("".join(lines[:cut]))
        refused = conflicts(library, file), conflicts(library, file, "--into", str(file) + ".new")
        assert [each.code for each in refused] == [2, 2], cut
        assert "cut" in refused[0].err
        assert ("its head says 2" in refused[0].err) == (cut != statements[1]), "the last cut leaves both rows"

    file.write_text("".join(line for line in lines if "number of rows" not in line))  # as earlier versions wrote it
    assert conflicts(library, file).code == 0
    rewritten = library.world.folder / "new.sql"
    file.write_text(whole)
    assert conflicts(library, file, "--into", str(rewritten)).code == 0
    assert conflicts(library, rewritten).out == conflicts(library, file).out


def test_file_without_rows_says_what_it_does_not_show(library: Library) -> None:
    library.restore("-1s")
    assert kept_files(library.world)
    for file in kept_files(library.world):
        assert "or the restore lost none" in conflicts(library, file).out
        lines = [line for line in file.read_text().splitlines(keepends=True) if "number of rows" not in line]
        file.write_text("".join(lines))
        assert "does not show whether it was cut" in conflicts(library, file).out


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
