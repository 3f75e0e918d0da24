"""`ops hold migrate`: a migration that loses rows is refused unless its file accepts that by the table's name."""

import re
from pathlib import Path

import pytest

from ops.core.plan import LiveState
from tests.conftest import World
from tests.support.deployment import TABLE, Deployment, open_migrated

CHILD = "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER REFERENCES customers (id) ON DELETE CASCADE);\n"
ROWS = (
    "INSERT INTO customers (email) VALUES ('a@shop.example'), ('b@shop.example');\n"
    "INSERT INTO orders (customer) VALUES (1), (1), (2);\n"
)
REBUILD = """\
PRAGMA foreign_keys=OFF;--> statement-breakpoint
CREATE TABLE `__new_customers` (`id` integer PRIMARY KEY, `email` text NOT NULL, `name` text);
--> statement-breakpoint
INSERT INTO `__new_customers`("id", "email") SELECT "id", "email" FROM `customers`;--> statement-breakpoint
DROP TABLE `customers`;--> statement-breakpoint
ALTER TABLE `__new_customers` RENAME TO `customers`;--> statement-breakpoint
PRAGMA foreign_keys=ON;
"""
"""The form of a change that drizzle-kit generates."""
NAME = "0003_change.sql"


@pytest.fixture
def shop(world: World, tmp_path: Path) -> Deployment:
    """Deploy a shop with two customers and three orders."""
    return open_migrated(world, tmp_path / "application", "0002_orders.sql", CHILD + ROWS)


def rows(shop: Deployment) -> list[list[int]]:
    return shop.rows("SELECT (SELECT count(*) FROM customers), (SELECT count(*) FROM orders)")


@pytest.mark.slow
def test_rebuild_of_a_parent_table_is_refused_at_every_press(shop: Deployment, tmp_path: Path) -> None:
    shop.write(NAME, REBUILD)
    writes, summary = len(shop.writes), tmp_path / "summary"

    for _ in range(2):
        refused = shop.guard(GITHUB_STEP_SUMMARY=str(summary))

        assert refused.code == 3
        assert re.search(
            r"orders: 3 of 3 rows deleted by a foreign key \(new rows reuse ids\) \(statement 4: DROP TABLE `customers`\)",
            refused.err,
        )
        assert re.search(f"{NAME}: `-- backout: accepts orders`", refused.err)
        assert "PRAGMA foreign_keys" in refused.err
        assert LiveState.UNCHANGED.words in refused.err.lower()
    assert (rows(shop), len(shop.writes), shop.applied[2:]) == ([[2, 3]], writes, [])
    assert "orders 3, customers 2" in summary.read_text().replace("\\", "")


def test_accepted_loss_is_shown_with_its_rows(shop: Deployment, tmp_path: Path) -> None:
    """D1 deletes the orders, although the file sets PRAGMA foreign_keys: its transaction ignores that."""
    shop.write(NAME, f"-- backout: accepts customers\n{REBUILD}-- backout: accepts orders\r\n")
    summary = tmp_path / "summary"

    planned = shop.guard("--dry-run")
    done = shop.guard("--json", GITHUB_STEP_SUMMARY=str(summary))
    again = shop.guard("--json")

    assert planned.code == 0, planned.err
    assert re.search(f"accepted .*{NAME}: orders: 3 of 3 rows deleted .*statement 4", planned.out)
    assert "orders 3, customers 2" in planned.out
    assert done.code == 0, done.err
    assert done.result["accepted"] == {NAME: ["orders"]}
    assert done.result["rows"] == {"customers": {"before": 2, "after": 2}, "orders": {"before": 3, "after": 0}}
    assert "customers 2, orders 3 → 0" in summary.read_text().replace("\\", "")
    assert rows(shop) == [[2, 0]]
    assert (again.code, again.result["pending"]) == (0, [])


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("DELETE FROM orders;", "orders"),
        ("/* orders */ dElEtE\n-- all\nFROM/**/main.[ORDERS] WHERE id = 7;", "orders"),
        ('WITH old AS (SELECT 1) DELETE FROM "orders" WHERE id IN old;', "orders"),
        ("UPDATE customers SET email = 'gone';", "customers"),
        ("UPDATE OR REPLACE customers SET id = 1 WHERE id = 2;", "customers, orders"),
        ("DROP TABLE IF EXISTS `orders`;", "orders"),
        ("ALTER TABLE customers DROP COLUMN email;", "customers"),
        ("REPLACE INTO customers (id, email) VALUES (1, 'x');", "customers, orders"),
        ("INSERT OR--\nREPLACE/**/INTO customers (id, email) VALUES (1, 'x');", "customers, orders"),
        ("INSERT INTO customers VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET email = 'x';", "customers"),
        ("ALTER TABLE orders RENAME TO old; DROP TABLE old;", "orders"),
        ("ALTER TABLE orders RENAME TO old; CREATE TABLE orders (id); DELETE FROM old;", "orders"),
        ("CREATE VIEW v AS SELECT * FROM orders; CREATE TRIGGER t INSTEAD OF DELETE ON v BEGIN DELETE FROM orders; END; DELETE FROM v;", "orders"),
        (f"CREATE TRIGGER t AFTER INSERT ON {TABLE} BEGIN DELETE FROM orders; END;", "orders"),
        ("CREATE TRIGGER t AFTER INSERT ON customers BEGIN INSERT OR REPLACE INTO orders VALUES (1, 1); END; INSERT INTO customers (email) VALUES ('c');", "orders"),
        ("CREATE TABLE a (x); CREATE TABLE b (x); CREATE TRIGGER t AFTER INSERT ON a BEGIN REPLACE INTO b VALUES (1); END; CREATE TRIGGER u AFTER INSERT ON b BEGIN INSERT INTO orders VALUES (1, 1); END; INSERT INTO a VALUES (1);", "orders"),
        ("ALTER TABLE customers ADD COLUMN name; ALTER TABLE customers RENAME COLUMN email TO name2; UPDATE customers SET name2 = 1;", "customers"),
        ("INSERT INTO customers (email) VALUES ('-- backout: accepts orders'); /* -- backout: accepts orders */ DELETE FROM orders;", "orders"),
    ],
)  # fmt: skip
def test_loss_is_refused_and_accepted_by_name(shop: Deployment, sql: str, tables: str) -> None:
    shop.write(NAME, sql)
    refused = shop.guard("--dry-run")
    shop.write(NAME, f"{sql}\n-- backout: accepts {tables}\n")
    accepted = shop.guard("--dry-run")

    assert refused.code == 3, refused.out
    assert f"{NAME} loses " in refused.err
    assert f"`-- backout: accepts {tables}`" in refused.err
    assert accepted.code == 0, accepted.err


@pytest.mark.slow
@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO customers (email) VALUES ('c@shop.example');",
        "INSERT INTO orders (customer) VALUES (2); INSERT INTO orders VALUES (9, 1);",
        "INSERT OR IGNORE INTO customers VALUES (1, 'x');",
        "INSERT INTO customers VALUES (1, 'x') ON CONFLICT (id) DO NOTHING;",
        "INSERT INTO customers (email) SELECT replace('OR REPLACE INTO', 'O', 'o');",
        "ALTER TABLE customers ADD COLUMN plan TEXT; UPDATE customers SET plan = 'free';",
        "ALTER TABLE customers RENAME TO people; ALTER TABLE people RENAME COLUMN email TO mail;",
        "CREATE TABLE notes (id); INSERT INTO notes VALUES (1); UPDATE notes SET id = 2; DELETE FROM notes; DROP TABLE notes;",
        "CREATE TABLE notes AS SELECT * FROM orders; CREATE INDEX i ON orders (customer); DROP INDEX i; ANALYZE;",
        "CREATE VIRTUAL TABLE words USING fts5 (text); INSERT INTO words VALUES ('a');",
    ],
)
def test_migration_that_loses_nothing_passes(shop: Deployment, sql: str) -> None:
    shop.write(NAME, sql)

    done = shop.guard("--json")

    assert done.code == 0, done.err
    assert done.result["accepted"] == {}
    assert shop.applied[2:] == [NAME]


@pytest.mark.slow
def test_insert_that_refers_to_no_row_is_rejected_by_d1(shop: Deployment) -> None:
    """The copy has no rows, so that it cannot tell this one from a row that refers to a customer."""
    shop.write(NAME, "INSERT INTO orders (customer) VALUES (99);")

    rejected = [shop.guard(), shop.guard()]

    for each in rejected:
        assert each.code == 4
        assert re.search(r"0003_change\.sql.*FOREIGN KEY constraint failed", each.err)
    assert (rows(shop), shop.applied[2:]) == ([[2, 3]], [])


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("comment", "says"),
    [
        ("-- backout: accepts order", 'did you mean "orders"?'),
        ("-- backout: accepts ORDERS", "0003_change.sql: `-- backout: accepts orders`"),
        ("-- backout: accepts orders, custmers", "custmers"),
        ("-- backout: accepts *", "loss of *"),
        ("-- backout: accepts", "not understood: -- backout: accepts"),
        ("-- Backout : accepts orders,", "not understood: -- Backout : accepts orders,"),
        ("-- backout: accept orders", "not understood: -- backout: accept orders"),
        ("-- backout accepts orders", "0003_change.sql loses "),
    ],
)  # fmt: skip
def test_wrong_comment_is_refused(shop: Deployment, comment: str, says: str) -> None:
    shop.write(NAME, f"{comment}\nDELETE FROM orders;\n")

    refused = shop.guard()

    assert refused.code == 3, refused.out
    assert says in refused.err
    assert "?." not in refused.err
    assert rows(shop) == [[2, 3]]


@pytest.mark.slow
def test_migration_for_another_database_may_accept_a_table_that_is_missing_here(shop: Deployment) -> None:
    shop.write(NAME, "-- backout: accepts legacy\nDROP TABLE IF EXISTS legacy;\n")

    assert shop.guard().code == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("a, {b}", '"a, {b}"'),
        ('say "hi"', 'say "hi"'),
        ('"hi", he', '"""hi"", he"'),
        ('"', '""""'),
        ("\u00e9t\u00e9 *", "\u00e9t\u00e9 *"),
    ],
)
def test_odd_name_of_a_table_is_accepted_as_the_refusal_writes_it(shop: Deployment, name: str, line: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    shop.rows(f"CREATE TABLE {quoted} (id)")
    shop.write(NAME, f"DELETE FROM {quoted};\n")
    refused = shop.guard()
    shop.write(NAME, f"DELETE FROM {quoted}; -- backout: accepts {line}\n")

    assert f"`-- backout: accepts {line}`" in refused.err
    assert shop.guard().code == 0


@pytest.mark.slow
def test_rows_that_users_delete_meanwhile_are_a_warning(shop: Deployment) -> None:
    """The application deletes its own rows at any time, so that a difference alone fails no deployment."""
    shop.write(NAME, "CREATE TABLE notes (id);")
    sandbox = shop.world.sandbox
    sandbox.fault(sends="CREATE TABLE notes", before=lambda: shop.rows("DELETE FROM orders WHERE id = 1"))

    done = shop.guard("--json")

    assert done.code == 0, done.err
    assert done.result["rows"]["orders"] == {"before": 3, "after": 2}
    (warning,) = done.result["warnings"]
    assert re.search("orders .*2 .*3 ", warning)


def test_tables_that_cannot_be_counted_are_judged_by_their_statements(shop: Deployment) -> None:
    shop.world.sandbox.fault(sends="count(*)", status=500, times=None)
    shop.write(NAME, "DELETE FROM orders;")

    refused = shop.guard()

    assert refused.code == 3
    assert "orders: an unknown number of rows deleted (statement 1: DELETE FROM orders)" in refused.err


@pytest.mark.slow
def test_losses_of_all_pending_files_are_refused_at_once(shop: Deployment) -> None:
    """A table that the first file makes has no rows of users; a second press after an interruption may find some."""
    shop.write(NAME, "CREATE TABLE notes (id); UPDATE customers SET email = 'x';")
    shop.write("0004_more.sql", "DELETE FROM notes; ALTER TABLE orders RENAME TO purchases;")
    shop.write("0005_last.sql", "DELETE FROM purchases;")

    refused = shop.guard()

    assert refused.code == 3
    assert f"{NAME}: `-- backout: accepts customers`" in refused.err
    assert "0004_more.sql" not in refused.err
    assert "0005_last.sql: `-- backout: accepts purchases`" in refused.err
    assert "purchases: at most 3 of 3 rows deleted" in refused.err
