"""Input that a restore refuses before any write, naming input that works."""

import re
from datetime import timedelta

import pytest

from ops.core.run_record import RecordRow, RunRecord, embed_record
from ops.database.plan_text import POINT_SECTION
from ops.database.restore import UNDO_PREFIX
from tests.conftest import World
from tests.support import shopdesk
from tests.support.commands import ended
from tests.support.shop import WORKER
from tests.support.shopdesk import Shopdesk


@pytest.fixture
def shop(world: World) -> Shopdesk:
    return shopdesk.prepared(world)


@pytest.mark.slow
def test_shop_is_restored_and_its_worker_reopened(shop: Shopdesk) -> None:
    done = shop.restore("before-migration:0002_currency.sql")

    assert done.code == 0, done.err
    assert [len(rows) for rows in shop.content().values()] == [1, 2, 1]
    assert "Route web.shop.example/*, at the end" in done.result["outcome"]["changed"]
    assert shop.routes == {"web.shop.example/*": WORKER}


@pytest.mark.parametrize(
    ("to", "reason", "says", "helps"),
    [
        ("2099-01-01T00:00:00Z", "no_target", "2099-01-01 00:00:00 UTC", " 20"),
        ("2026-11-20T10:00:00", "config_invalid", "2026-11-20T10:00:00", "2026-11-20T10:00:00Z"),
        ("-800h", "no_target", " 7 days", r" 7 .* 30 "),
        ("0000zzzz", "config_invalid", '"0000zzzz"', "before-last-migration"),
        ("before-migration:0002_curency.sql", "unknown_name", '"0002_currency.sql"', "0002_currency.sql"),
    ],
)
def test_point_is_refused_before_any_write(shop: Shopdesk, to: str, reason: str, says: str, helps: str) -> None:
    shop.world.sandbox.clock.advance(9 * 24 * 3600)

    refused = shop.restore(to)

    assert ended(refused)[1:] == ("refused", reason)
    assert says in refused.result["message"]
    assert re.search(helps, refused.result["hint"])
    assert shop.writes == []


@pytest.mark.slow
def test_database_that_ops_yml_lacks_is_refused(shop: Shopdesk) -> None:
    refused = shop.ops("restore-database", "--database", "order", "--to", "-15m", "--one-person")

    assert ended(refused) == (2, "refused", "unknown_name")
    assert 'did you mean "orders"' in refused.result["message"] + refused.result["hint"]
    assert shop.writes == []


def test_migration_of_the_same_second_is_refused_with_the_earliest_point(shop: Shopdesk) -> None:
    shop.migrate("0003_a.sql")
    shop.migrate("0004_b.sql", minutes=0)

    refused = shop.restore("before-migration:0004_b.sql")

    assert ended(refused) == (3, "refused", "no_target")
    assert "before-migration:0003_a.sql" in refused.result["hint"]
    assert shop.writes == []


@pytest.mark.slow
def test_foreign_table_of_holds_is_refused(shop: Shopdesk) -> None:
    shop.write("CREATE TABLE backout_holds (note TEXT)")

    refused = shop.restore("-1m")

    assert ended(refused) == (3, "refused", "unknown_value")
    assert "ALTER TABLE backout_holds " in refused.result["hint"]
    assert shop.writes == []


def test_holds_that_cloudflare_refuses_to_read_are_no_foreign_table(shop: Shopdesk) -> None:
    query = {"method": "POST", "path": "/accounts/*/d1/database/*/query", "sends": "ORDER BY held_at"}
    shop.world.sandbox.fault(**query, code=7500, message="not authorized: SQLITE_AUTH", times=None)

    stopped = shop.restore("-1m")

    assert ended(stopped) == (4, "failed", "provider_refused")
    assert "not authorized" in stopped.result["message"]
    assert "RENAME" not in stopped.result["hint"]
    assert shop.writes == []


def altered(bookmark: str, part: int, text: str) -> str:
    parts = bookmark.split("-")
    parts[part] = text
    return "-".join(parts)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("back", "part", "text", "why"),
    [
        (0, 3, "0" * 32, "the database has another one at"),
        (3, 3, "f" * 32, "the database has another one at"),
        (1, 1, "0000ffff", "it is later than the current state"),
        (1, 2, "0000ffff", "it is later than the current state"),
        (1, 0, "00000000", "it is older than every state that Time Travel keeps"),
    ],
)
def test_unknown_bookmark_is_refused(shop: Shopdesk, back: int, part: int, text: str, why: str) -> None:
    bookmark = altered(shop.history.states[-1 - back].bookmark, part, text)

    refused = shop.restore(bookmark)

    assert ended(refused) == (3, "refused", "no_target")
    assert why in refused.result["message"]
    assert "use a UTC time" in refused.result["hint"]
    assert shop.writes == []


@pytest.mark.slow
def test_undo_after_days_without_a_write_is_accepted(shop: Shopdesk) -> None:
    """D1 still names the bookmark of the last write, and the undo is of today."""
    before = shop.content()
    at = f"{shop.history.states[-2].at + timedelta(seconds=9):%Y-%m-%dT%H:%M:%SZ}"
    shop.world.sandbox.clock.advance(3 * 24 * 3600)
    done = shop.restore(at)
    assert shop.content() != before

    undone = shop.restore(done.result["undo"][0].partition("--to ")[2].split()[0])

    assert undone.code == 0, undone.err
    assert shop.content() == before


@pytest.mark.slow
def test_bookmark_beyond_retention_is_refused(shop: Shopdesk) -> None:
    bookmark = shop.history.states[3].bookmark
    shop.world.sandbox.clock.advance(6 * 24 * 3600)
    shop.order()
    shop.world.sandbox.clock.advance(2 * 24 * 3600)

    refused = shop.restore(bookmark)

    assert "it is older than every state that Time Travel keeps" in refused.result["message"]
    assert shop.writes == []


@pytest.mark.slow
def test_bookmark_that_the_plan_finds_has_a_time(shop: Shopdesk) -> None:
    state = shop.history.states[-1]
    shop.world.sandbox.clock.advance(600)

    plan = shop.restore(state.bookmark, "--dry-run").result["plan"]

    assert f"target: bookmark {state.bookmark}, {state.at:%Y-%m-%d %H:%M:%S} UTC" in plan["sections"][POINT_SECTION]
    assert "writes lost: 11 min" in plan["sections"][POINT_SECTION]
    assert not any("only D1 knows" in text for text in plan["warnings"])


def test_bookmark_between_the_writes_of_a_second_is_left_to_d1(shop: Shopdesk) -> None:
    for _ in range(3):
        shop.order(minutes=0)
    known = shop.history.states[-2].bookmark
    unknown = altered(known, 3, "0" * 32)
    shop.world.sandbox.clock.advance(60)

    refused, done = shop.restore(unknown), shop.restore(known)

    assert ended(refused) == (4, "failed", "provider_refused")
    assert (
        "only D1 knows whether this bookmark exists: if it refuses the restore, nothing was changed"
        in (refused.result["plan"]["warnings"])
    )
    assert "web stays in maintenance until you run `ops maintenance" in refused.result["message"]
    assert done.result["decision"] == "recovered", done.err  # it also reopens what the refused run closed
    assert len(shop.content()["orders"]) == 5


@pytest.mark.slow
@pytest.mark.parametrize("skew", [-50, 50])
def test_clock_that_differs_from_cloudflare_refuses_no_bookmark(shop: Shopdesk, skew: int) -> None:
    bookmark = shop.history.current.bookmark
    shop.world.sandbox.clock.advance(90)
    real = shop.world.sandbox.d1.store(shopdesk.DATABASE).history
    real._now = lambda: shop.now + timedelta(seconds=skew)

    plan = shop.restore(bookmark, "--dry-run").result["plan"]

    assert plan["changes"]


@pytest.mark.parametrize(
    ("database", "after", "ends"),
    [("orders", 20, "refused"), ("orders", 70, "unknown"), ("stock", 20, "healthy_as_before")],
)
def test_restore_is_refused_while_another_run_restores(shop: Shopdesk, database: str, after: int, ends: str) -> None:
    """The first run is killed at the restore, so its comment has no end."""
    hub = shop.world.sandbox.github
    hub.add_user("alice")
    number = hub.open_issue("Orders are gone", labels=["incident"], author="alice")
    environ = {**hub.environ(), "GITHUB_RUN_ID": "", "GITHUB_ACTIONS": ""}
    row = RecordRow(shop.now, "prepared", f"{UNDO_PREFIX}{database}: bookmark 1")
    record = RunRecord("20261126T100000-abcd", source="laptop", runbook="restore-database", rows=(row,))
    hub.comment(number, embed_record("A restore runs.", record), by="alice")
    shop.world.sandbox.clock.advance(after)

    done = shop.restore("-2m", "--incident", str(number), **environ)

    if ends == "unknown":
        assert ended(done) == (3, "refused", "live_unknown")
        assert "D1" in done.result["message"]
        return
    assert done.result["decision"] == ends, done.err
    if ends == "refused":
        assert re.search(r"\borders since 20\d\d-", done.result["message"])
        assert shop.writes == []
