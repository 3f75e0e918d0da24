"""Rows that cannot be kept end the run before its restore, until a person accepts that by name."""

import pytest

from ops.database.keep_steps import KEPT_SECTION
from ops.database.kept_rows import parse_batches
from tests.conftest import World
from tests.support import marks
from tests.support.commands import ended
from tests.support.databases import ID, Library
from tests.support.kept_rows import (
    BEFORE_LAST,
    PERSON,
    QUERY,
    SINCE,
    conflicts,
    keeping_library,
    keeping_shop,
    kept_files,
    put_back,
)
from tests.support.shopdesk import Shopdesk


@pytest.fixture
def library(world: World) -> Library:
    return keeping_library(world)


@pytest.fixture
def shop(world: World) -> Shopdesk:
    return keeping_shop(world)


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
    (section, _) = accepted.result["plan"]["sections"][KEPT_SECTION]
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


def test_job_without_a_place_refuses(library: Library) -> None:
    refused = library.restore(SINCE, GITHUB_ACTIONS="true")

    assert ended(refused) == (2, "refused", "rows_not_kept"), refused.err
    assert library.restores == []
    assert kept_files(library.world) == []
    assert conflicts(library, library.world.config, GITHUB_ACTIONS="true").code == 3
