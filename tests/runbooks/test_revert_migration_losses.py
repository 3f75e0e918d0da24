"""revert-migration: a down file that loses rows of a remaining table needs a comment with the name of the table."""

import pytest

from ops.runbooks.revert_migration import SCHEMA_SECTION
from tests.conftest import World
from tests.support.commands import ended, texts
from tests.support.orders import TABLE
from tests.support.reverts import DOWN, NAME, Desk, open_desk
from tests.support.shop import open_shop

DELETE = "DELETE FROM customers;\n"


@pytest.fixture
def desk(world: World) -> Desk:
    found = open_desk(open_shop(world))
    found.query("CREATE TABLE lines (o INTEGER REFERENCES orders (id) ON DELETE CASCADE)")
    found.query("INSERT INTO lines VALUES (1), (2)")
    return found


def count(desk: Desk, table: str) -> int:
    return int(desk.query(f"SELECT count(*) AS n FROM {table}")[0]["n"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sql", "says", "tables"),
    [
        ("DELETE FROM lines;", "lines: 2 of 2 rows deleted (statement 3: DELETE FROM lines)", "lines"),
        ("UPDATE customers SET mail = NULL;", "customers: at most 2 of 2 rows changed (statement 3: UPDATE customers", "customers"),
        ("DROP TABLE orders;", "lines: an unknown number of 2 rows deleted by a foreign key (statement 3: DROP TABLE orders)", "lines"),
        ("INSERT OR REPLACE INTO customers (id) VALUES (1);", "customers: an unknown number of 2 rows replaced (statement 3: INSERT OR REPLACE", "customers"),
        (
            "CREATE TABLE x (o); DROP TABLE lines; ALTER TABLE x RENAME TO lines;",
            "lines: at most 2 of 2 rows deleted with the table (statement 4: DROP TABLE lines)",
            "lines",
        ),
        (
            f"CREATE TRIGGER t AFTER DELETE ON {TABLE} BEGIN DELETE FROM lines; END;",
            f'lines: an unknown number of 2 rows deleted by the trigger t (statement 1: DELETE FROM "{TABLE}")',
            "lines",
        ),
    ],
)  # fmt: skip
def test_down_file_that_loses_rows_is_refused_until_it_accepts(desk: Desk, sql: str, says: str, tables: str) -> None:
    before = desk.state
    desk.commit({f"db/down/{NAME}": DOWN + sql})
    refused, again = desk.revert(), desk.revert()
    desk.commit({f"db/down/{NAME}": f"{DOWN}{sql}\n-- backout: accepts {tables}\n"})
    planned = desk.revert(NAME, "--dry-run")

    for each in (refused, again):
        assert ended(each) == (3, "refused", "migration_loses"), each.err
        assert says in each.result["message"]
        assert f"add this line to db/down/{NAME}: `-- backout: accepts {tables}`" in each.result["hint"]
        assert "--to before-migration:0002_sum.sql" in each.result["press"]
    assert (desk.state, desk.batches) == (before, 0)
    accepted = [each for each in planned.result["plan"]["warnings"] if each.startswith("accepted by the down file: ")]
    assert [each for each in accepted if says in each], planned.err


def test_accepted_loss_is_reverted_once(desk: Desk) -> None:
    desk.commit({f"db/down/{NAME}": f"-- backout: accepts lines\n{DOWN}DELETE FROM lines;\n"})

    done, again = desk.revert(), desk.revert()

    assert (done.code, again.code) == (0, 0), done.err
    assert again.result["decision"] == "nothing_to_do"
    assert (count(desk, "lines"), count(desk, "customers"), desk.batches) == (0, 2, 1)


def test_difference_from_the_prediction_is_said(desk: Desk) -> None:
    """The application deletes a row while the batch is on its way."""
    desk.commit({f"db/down/{NAME}": f"-- backout: accepts lines\n{DOWN}DELETE FROM lines WHERE o = 1;\n"})
    sandbox = desk.shop.world.sandbox
    sandbox.fault(sends="DELETE FROM lines", before=lambda: desk.query("DELETE FROM lines WHERE o = 2"))

    planned, done = desk.revert(NAME, "--dry-run"), desk.revert()

    sections = planned.result["plan"]["sections"].values()
    (lost,) = (line for lines in sections for line in lines if "(statement 3: DELETE FROM lines WHERE o = 1)" in line)
    assert lost.startswith("lines: 1 of 2 rows "), lost
    (most,) = planned.result["plan"]["sections"]["Greatest loss"]
    assert "102 rows of lines" in most, "twice the counted row, and 100 for writes until then"
    assert done.code == 0, done.err
    said = "lines has 0 rows now, 1 expected, and 2 before: other writes, or a loss that the prediction missed"
    assert said in texts(done, "warning")


@pytest.mark.slow
def test_removed_tables_and_columns_need_no_comment(desk: Desk) -> None:
    desk.query("ALTER TABLE customers ADD COLUMN phone")
    more = "DELETE FROM lines; DROP TABLE lines; ALTER TABLE customers DROP COLUMN phone; INSERT INTO customers (id) VALUES (9);"
    desk.commit({f"db/down/{NAME}": DOWN + more})

    planned, done = desk.revert(NAME, "--dry-run"), desk.revert()

    assert "removed: table lines, 2 rows" in planned.result["plan"]["sections"][SCHEMA_SECTION]
    assert done.code == 0, done.err
    assert count(desk, "customers") == 3


@pytest.mark.slow
def test_wrong_name_in_a_down_file_is_refused(desk: Desk) -> None:
    desk.commit({f"db/down/{NAME}": f"{DOWN}DELETE FROM lines; -- backout: accepts line"})

    refused = desk.revert()

    assert ended(refused) == (3, "refused", "migration_loses")
    assert (
        'accepts a loss of line, and no statement names that table; did you mean "lines"?' in refused.result["message"]
    )
