"""Restores of databases that were made to break them: names, sizes, endless checks, clocks and rivals."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from ops.cloudflare.client import CloudflareClient
from ops.cloudflare.d1 import D1Api
from ops.config.sections import Database
from ops.core.clock import SystemClock
from ops.core.redaction import Secret
from ops.database.checks import run_checks
from ops.database.plan_text import POINT_SECTION, ROWS_SECTION
from tests.conftest import Outcome, World
from tests.support import shopdesk
from tests.support.commands import ended, texts
from tests.support.databases import RESTORE
from tests.support.shopdesk import DATABASE, Shopdesk

LAST = "before-migration:0002_currency.sql"
SCHEMA = {"method": "POST", "path": "/accounts/*/d1/database/*/query", "sends": "sqlite_master"}
"""The read that a plan, and each comparison with it, starts from."""


@pytest.fixture
def shop(world: World) -> Shopdesk:
    return shopdesk.prepared(world)


NAMES = (
    'a"; DROP TABLE orders; --',
    "x\n::set-output name=a::b",
    "<!-- backout:v1 {} -->",
    "@everyone #12",
    "\u202e\u200b",
    "ä" * 900,
)


@pytest.mark.slow
def test_names_of_tables_are_only_text(shop: Shopdesk) -> None:
    tables = ['"' + name.replace('"', '""') + '"' for name in NAMES]
    for quoted in tables:
        shop.write(f"CREATE TABLE {quoted} (id INTEGER PRIMARY KEY, {quoted} TEXT)")
        shop.write(f"INSERT INTO {quoted} VALUES (1, 'x')")
    shop.migrate("0003_name.sql", *(f"DELETE FROM {quoted}" for quoted in tables))
    shop.world.sandbox.clock.advance(60)

    done = shop.restore("before-migration:0003_name.sql")

    assert done.code == 0, done.err
    for quoted in tables:
        assert shop.world.sandbox.d1.query(DATABASE, f"SELECT count(*) AS n FROM {quoted}") == [{"n": 1}]
    assert len(shop.content()["orders"]) == 3
    (read,) = [text for text in texts(done, "read_back") if "shows the restored state" in text]
    assert read.count(": 0 → 1 rows, 1 rows added") == len(tables)
    assert not any(line.startswith("::set-output") for line in (done.out + done.err).splitlines())


@pytest.mark.slow
def test_thousands_of_tables_are_named_in_a_few_lines(shop: Shopdesk) -> None:
    shop.world.sandbox.d1.store(DATABASE).run([(f"CREATE TABLE t{n:05} (id INTEGER)", ()) for n in range(300)])
    shop.world.sandbox.clock.advance(120)

    done = shop.restore("-1m")

    assert done.code == 0, done.err
    rows = done.result["plan"]["sections"][ROWS_SECTION]
    assert len(rows) == 21
    assert rows[-1] == "282 more tables, such as t00018: not counted (limit: 20 tables, 5.0 s each)"
    assert all(len(text) < 1000 for text in texts(done, "read_back"))


@pytest.mark.slow
def test_query_with_a_huge_result_sends_one_row(shop: Shopdesk) -> None:
    shop.write(
        "INSERT INTO customers (name) WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT 50000) SELECT 'c' FROM n"
    )
    query = "{name: all, sql: 'SELECT id, name FROM customers ORDER BY id -- all of them', expect: 1}"
    shop.world.edit_config("        rows:", f"        queries: [{query}]\n        rows:")
    shop.world.sandbox.clock.advance(120)

    done = shop.restore("-1m")

    assert done.code == 0, done.err
    assert any("all: healthy" in text for text in texts(done, "compared"))
    (sent,) = {sql for sql in statements(shop) if "all of them" in sql}
    assert sent.endswith("LIMIT 1")


QUERIES = {
    "two": "SELECT 2; -- it's one",
    "values": "VALUES (2) /* ; */ ;",
    "with": "WITH n AS (SELECT 2 AS i) SELECT i FROM n",
    "text": "SELECT length(';-')",
}


@pytest.mark.slow
def test_query_keeps_its_meaning(shop: Shopdesk) -> None:
    queries = json.dumps([{"name": name, "sql": sql, "expect": 2} for name, sql in QUERIES.items()])
    shop.world.edit_config("        rows:", f"        queries: {queries}\n        rows:")

    done = shop.restore(LAST)

    (checked,) = [text for text in texts(done, "compared") if text.startswith("checks of orders")]
    for name in QUERIES:
        assert f"; {name}: healthy" in checked


def statements(shop: Shopdesk) -> list[str]:
    """Return the SQL that was sent to the database."""
    sent = [each for each in shop.world.sandbox.requests if each.path.endswith("/query")]
    return [statement["sql"] for each in sent for statement in each.body["batch"]]


class Endless(httpx.SyncByteStream):
    """An answer that sends a byte from time to time."""

    def __iter__(self) -> Iterator[bytes]:
        clock = SystemClock()
        for _ in range(2400):
            clock.sleep(0.05)
            yield b" "


def test_answer_that_never_ends_is_inconclusive() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Endless()))
    client = CloudflareClient(
        "https://api.example/client/v4", Secret("t"), token_name="T", clock=SystemClock(), transport=transport
    )
    client.open()
    database = Database(id=DATABASE, services=("web",))
    began = SystemClock().monotonic()

    found = run_checks(D1Api(client, "a" * 32), database, SystemClock(), limit=0.2)

    assert SystemClock().monotonic() - began < 60  # the answer takes 120 s
    assert [each.verdict.value for each in found.results] == ["inconclusive", "inconclusive"]


@pytest.mark.slow
def test_undo_after_a_rival_restore_names_the_state_before_it(shop: Shopdesk) -> None:
    """Another run restores between the last read and our restore, so our answer names the state that it left."""
    shop.world.sandbox.switches.d1_later_bookmarks_kept = True
    before = shop.content()
    rival = shop.world.sandbox.d1.store(DATABASE)
    shop.world.sandbox.fault(**RESTORE, before=lambda: rival.restore(shop.history.states[5]))

    done = shop.restore(LAST)

    (warning,) = [text for text in texts(done, "warning") if "another restore" in text]
    bookmark = warning.rpartition("bookmark ")[2]
    shop.world.sandbox.clock.advance(60)
    shop.write("UPDATE customers SET name = 'Cy' WHERE id = 1")
    shop.world.sandbox.clock.advance(60)
    shop.restore(bookmark)
    assert shop.content() == before


@pytest.mark.slow
def test_restore_after_the_plan_of_another_run_is_noticed(shop: Shopdesk, tmp_path: Path) -> None:
    """A colleague's run restores other data while this one turns maintenance on. No migration tells them apart."""
    rivals, (one, two) = list[Outcome](), (f"{shop.now - timedelta(seconds=each):%FT%TZ}" for each in (90, 150))
    laptop = tmp_path / "colleague"
    laptop.mkdir()
    colleague = Shopdesk(World(shop.world.sandbox, laptop))
    colleague.world.config.write_text(shop.world.config.read_text())
    shop.world.sandbox.fault(**SCHEMA, skip=1, before=lambda: rivals.append(colleague.restore(one)))

    done = shop.restore(two)

    (rival,) = rivals
    assert rival.result["decision"] == "no_evidence", rival.err
    assert ended(done) == (4, "failed", "world_moved")
    assert f"another run restored orders: {rival.result['run']}" in done.result["message"]
    assert len(shop.content()["orders"]) == 2
    assert len([each for each in shop.writes if each.endswith("/restore")]) == 1


@pytest.mark.slow
def test_times_count_from_the_clock_of_d1(shop: Shopdesk) -> None:
    """The clock of this machine is behind D1's, so that D1's present would be in its future."""
    shop.world.sandbox.clock.advance(3600)
    shop.order()
    shop.world.sandbox.clock.advance(120)
    at = f"{shop.now - timedelta(seconds=70):%Y-%m-%dT%H:%M:%SZ}"

    plan = shop.restore(at, "--dry-run", OPS_CLOCK_URL=None).result["plan"]
    ago = shop.restore("-15m", "--dry-run", OPS_CLOCK_URL=None).result["plan"]

    assert "writes lost: 2 min" in plan["sections"][POINT_SECTION]
    assert f"target: {shop.now - timedelta(minutes=15):%Y-%m-%d %H:%M}" in ago["sections"][POINT_SECTION][1]
    assert any(text.startswith("D1's clock shows ") for text in plan["warnings"])


@pytest.mark.slow
def test_table_of_migrations_is_found_in_other_capitals(shop: Shopdesk) -> None:
    shop.world.edit_config("migrations_table: schema_log", "migrations_table: Schema_Log")

    done = shop.restore(LAST)

    assert done.code == 0, done.err
    assert [row["name"] for row in shop.content()["schema_log"]] == ["0001_start.sql"]


def test_misspelled_column_of_times_counts_no_rows_at_the_target(shop: Shopdesk) -> None:
    shop.world.edit_config("placed_at", "place_at")

    done = shop.restore(LAST)

    rows = done.result["plan"]["sections"][ROWS_SECTION]
    assert all(": not counted " in line or ": an unknown number of " in line for line in rows)
    assert ended(done)[1] in {"healthy_as_before", "recovered"}
    assert json.dumps(rows)
