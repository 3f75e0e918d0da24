"""Rows that are added between the plan and the write: none above the accepted number is lost."""

from collections.abc import Callable

import pytest

from ops.database.terms import LOSS_SECTION
from tests.conftest import World
from tests.support import databases, second_person
from tests.support.commands import ended
from tests.support.databases import ID, Library, ingress
from tests.support.reverts import DOWN, NAME, Desk, open_desk
from tests.support.second_person import DATABASE
from tests.support.shop import open_shop

COUNT = {"sends": "AS highest"}
"""The query that counts the rows of a down file."""
COUNT_AT = {"sends": "AS undated"}
"""The query that counts the rows of a table since the target of a restore."""
MANY = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "


@pytest.fixture
def desk(world: World) -> Desk:
    found = open_desk(open_shop(world))
    found.commit({f"db/down/{NAME}": f"-- backout: accepts orders\nDELETE FROM orders WHERE sum > 15;\n{DOWN}"})
    return found


def adds_orders(desk: Desk, number: int) -> Callable[[], object]:
    return lambda: desk.query(f"{MANY}INSERT INTO orders (customer, sum) SELECT 1, 50 FROM n", number)


def adds_loans(library: Library, number: int) -> Callable[[], object]:
    """Lend books now, which is after each target."""
    at = f"{library.world.sandbox.clock.now():%Y-%m-%dT%H:%M:%SZ}"
    sql = f"{MANY}INSERT INTO loans (book, lent_at) SELECT 1, ? FROM n"
    return lambda: library.world.sandbox.d1.query(ID, sql, number, at)


@pytest.mark.parametrize("more", [102, 103])
def test_revert_loses_at_most_the_accepted_rows(desk: Desk, more: int) -> None:
    """Two of three orders are lost at the plan, so it accepts 104 for a live table."""
    before = desk.state
    planned = desk.revert(NAME, "--dry-run")
    desk.shop.world.sandbox.fault(**COUNT, after=adds_orders(desk, more))

    done = desk.revert()

    assert "at most 104 rows of orders" in planned.result["plan"]["sections"][LOSS_SECTION][0]
    if more == 102:
        assert (done.code, desk.batches) == (0, 1), done.err
        return
    assert ended(done) == (3, "refused", "loss_grew"), done.err
    assert "105 rows of orders" in done.result["message"]
    assert "104" in done.result["message"]
    assert (desk.state, desk.batches) == (before, 0)
    again = desk.revert()
    assert (again.code, desk.batches, desk.revert().result["decision"]) == (0, 1, "nothing_to_do"), again.err


def test_revert_stops_if_the_rows_cannot_be_counted_again(desk: Desk) -> None:
    before = desk.state
    desk.shop.world.sandbox.fault(sends="SELECT count(*) AS n", status=500, skip=4, times=None)

    refused = desk.revert()

    assert ended(refused) == (3, "refused", "loss_grew"), refused.err
    assert "an unknown number of rows of orders" in refused.result["message"]
    assert (desk.state, desk.batches) == (before, 0)


def test_restore_stops_before_it_closes_a_service(world: World) -> None:
    library = databases.prepared_at_edge(world)
    open_before = ingress(world)
    world.sandbox.fault(**COUNT_AT, after=adds_loans(library, 500))

    refused = library.restore("before-migration:0002_b.sql")

    assert ended(refused) == (3, "refused", "loss_grew"), refused.err
    assert "503 rows of loans" in refused.result["message"]
    assert (library.restores, ingress(world)) == ([], open_before)
    assert library.restore("before-migration:0002_b.sql").code == 0
    assert (library.count("loans"), len(library.restores)) == (1, 1)


@pytest.mark.parametrize("minutes", [34, 60])
def test_restore_loses_at_most_the_accepted_time(world: World, minutes: int) -> None:
    """A person read the plan for long, and writes of tables without `created` went on meanwhile."""
    library = databases.prepared_at_edge(world)
    world.sandbox.fault(**COUNT_AT, after=lambda: world.sandbox.clock.advance(minutes * 60))

    done = library.restore("before-migration:0002_b.sql")

    if minutes == 34:
        assert (done.code, len(library.restores)) == (0, 1), done.err
        return
    assert ended(done) == (3, "refused", "loss_grew"), done.err
    assert "of writes now" in done.result["message"]
    assert library.restores == []


def test_restore_compares_again_after_it_closed_the_service(world: World) -> None:
    """A writer that maintenance does not stop adds rows meanwhile."""
    library = databases.prepared_at_edge(world)
    open_before = ingress(world)
    world.sandbox.fault(method="PUT", path="/zones/*/workers/routes/*", before=adds_loans(library, 500))

    refused = library.restore("before-migration:0002_b.sql")

    assert (refused.code, refused.result["reason"]) == (4, "loss_grew"), refused.err
    assert "503 rows of loans" in refused.result["message"]
    assert library.restores == []
    assert refused.result["undo"] == [], "nothing was restored, and a restore to the former state loses rows"
    assert "api stays in maintenance" in refused.result["message"]
    again = world.ops(*refused.result["press"].split()[1:], "--yes", "--json", CLOUDFLARE_API_TOKEN=library.token)
    assert (again.code, library.count("loans"), ingress(world)) == (0, 1, open_before), again.err


@pytest.mark.slow
def test_approved_number_counts_and_not_that_of_the_acting_plan(world: World) -> None:
    desk = second_person.open_desk(world)
    desk.source = desk.fetch(
        "DELETE FROM sales WHERE id > 0; -- backout: accepts sales\nALTER TABLE sales DROP COLUMN price"
    )
    desk.ask(label="recover:revert")
    assert "at most 110 rows of sales" in desk.comments[-1]
    desk.sell(95)
    before = desk.tables
    world.sandbox.fault(
        **COUNT,
        after=lambda: world.sandbox.d1.query(DATABASE, "INSERT INTO sales (item) SELECT item FROM sales LIMIT 20"),
    )

    refused = desk.approve()

    assert ended(refused) == (3, "refused", "loss_grew"), refused.err
    assert "120 rows of sales" in refused.result["message"]
    assert "110" in refused.result["message"]
    assert desk.tables == {**before, "sales": 120}
    world.sandbox.clock.advance(60)
    asked = desk.ask(label="recover:revert")
    assert ended(asked) == (0, "planned", "needs_two_people"), asked.err
    done = desk.approve()
    assert (done.code, desk.tables["sales"]) == (0, 0), done.err
