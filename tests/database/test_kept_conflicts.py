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
