"""Take back a migration of D1 with its down file: plan, batch, hold, refusals, lost answers."""

import re
from typing import Any

import pytest

from ops.core.migrations_folder import hash_migration
from ops.runbooks.revert_migration import MIGRATION_SECTION, SCHEMA_SECTION
from tests.conftest import ACCOUNT, Outcome
from tests.support import reverts
from tests.support.commands import ended, texts
from tests.support.orders import ID, TABLE
from tests.support.reverts import BATCH, DOWN, NAME, UP, Desk
from tests.support.shop import Shop
from tests.support.site_repository import SiteRepository

FIRST = "0001_orders.sql"
PLAIN = ("--database", "orders", "--name", NAME, "--one-person", "--environment", "live", "--dry-run")


@pytest.fixture
def desk(shop: Shop) -> Desk:
    return reverts.open_desk(shop)


def statements(outcome: Outcome) -> list[str]:
    """Return the section of the plan that numbers the statements of the down file."""
    (found,) = [lines for lines in outcome.result["plan"]["sections"].values() if lines[0].startswith("1: ")]
    return list(found)


def test_database_of_two_environments_is_a_warning_of_the_plan(desk: Desk) -> None:
    copy = f"  copy:\n    account_id: {ACCOUNT}\n    token: COPY_TOKEN\n    services: {{shop: {{worker: copy}}}}\n"
    copy += f"    databases: {{orders: {{id: {ID}, services: [shop]}}}}\n"
    desk.shop.world.edit_config("  live:\n", f"{copy}  live:\n")

    warnings = desk.shop.ops("revert-migration", *PLAIN, "--json", OPS_SOURCE="app").result["plan"]["warnings"]

    assert [each for each in warnings if "copy has the same database, as orders: shop stays open" in each]


@pytest.mark.slow
def test_migration_is_reverted_and_held(desk: Desk) -> None:
    desk.query("INSERT INTO orders (customer, sum) VALUES (1, 40)")

    done = desk.revert("last", "--incident", "42")

    assert ended(done) == (0, "recovered", "verified"), done.err
    names, schema = desk.state
    assert names == [FIRST]
    assert schema.keys() == {"customers", "orders", "schema_history"}
    assert desk.query("SELECT sum(total) AS n FROM orders") == [{"n": 100}]
    hold = desk.holds[NAME]
    assert (hold["hash"], hold["incident"], hold["run"]) == (hash_migration(UP), "42", done.result["run"])
    plan = done.result["plan"]
    removed, changed, _ = plan["sections"][SCHEMA_SECTION]
    assert (removed, changed) == ("removed: table notes, 1 row", "changed: table orders")
    assert statements(done) == [
        "1: ALTER TABLE orders RENAME COLUMN sum TO total",
        "2: DROP TABLE notes",
    ]
    migration, file, _ = plan["sections"][MIGRATION_SECTION]
    assert migration.startswith(f"{NAME}, applied 20")
    assert file.startswith(f"down file: db/down/{NAME}, 2 statements, commit ")
    assert "the next deployment applies the migrations again" in done.result["message"]
    assert any(text.startswith("the next deployment applies") for text in texts(done, "warning"))


@pytest.mark.slow
def test_undo_restores_the_state_before_and_removes_the_hold(desk: Desk) -> None:
    before = desk.state
    done = desk.revert()
    (undo,) = done.result["undo"]
    (prepared,) = texts(done, "prepared")
    assert desk.holds[NAME]["undo"] in prepared
    assert f"--to {desk.holds[NAME]['undo']}" in undo

    desk.shop.world.sandbox.clock.advance(60)
    options = ["--database", "orders", "--to", desk.holds[NAME]["undo"], "--one-person", "--environment", "live"]
    desk.shop.ops("restore-database", *options, "--yes", "--json")

    assert desk.state == before
    assert desk.holds == {}


@pytest.mark.slow
def test_repeated_revert_of_the_only_migration_runs_the_checks(desk: Desk) -> None:
    desk.query(f"DELETE FROM {TABLE} WHERE name = ?", FIRST)
    assert ended(desk.revert())[1] == "recovered"

    again = desk.revert()

    assert ended(again) == (0, "nothing_to_do", "already_live"), again.err
    assert desk.state[0] == []
    assert desk.batches == 1


@pytest.mark.slow
def test_repeated_revert_takes_back_nothing_else(desk: Desk) -> None:
    desk.revert()
    again, last = desk.revert(), desk.revert("last")

    assert ended(again) == (0, "nothing_to_do", "already_live")
    assert ended(last) == (3, "refused", "no_target")
    assert NAME in last.result["message"]
    assert desk.state[0] == [FIRST]
    assert desk.batches == 1


@pytest.mark.slow
def test_dry_run_changes_nothing(desk: Desk) -> None:
    before = desk.state
    assert desk.revert("last", "--dry-run").result["decision"] == "planned"
    assert (desk.state, desk.holds, desk.batches) == (before, {}, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("down", "says"),
    [
        (None, "db/down/0002_sum.sql"),
        ("-- TODO\n;", "has no statement"),
        (b"DROP TABLE \xff", "is not UTF-8"),
        ("DROP TABEL notes", 'statement 1: near "TABEL": syntax error'),
        (f"{DOWN}DROP TABLE ovens;", "statement 3: no such table: ovens"),
        ("BEGIN;\nDROP TABLE notes;\nCOMMIT;", "refuses BEGIN, COMMIT, ROLLBACK and SAVEPOINT"),
        ("DROP TABLE notes; VACUUM", "statement 2: cannot VACUUM"),
        ("PRAGMA foreign_keys = off; DROP TABLE notes", "PRAGMA foreign_keys has no effect"),
        ("create trigger x after insert on orders begin select 1; end", "BEGIN in capital letters"),
        ("CREATE TEMP TABLE x AS SELECT * FROM orders", "temporary objects"),
        ("DROP TABLE notes -- '\n; DROP TABLE 'x", "unrecognized token"),
        ("DROP TABLE schema_history", "schema_history"),
        ("DROP TABLE notes; DELETE FROM Schema_History", "schema_history"),
        (
            "CREATE TRIGGER t AFTER DELETE ON notes BEGIN DELETE FROM schema_history; END; DELETE FROM notes",
            "writes to",
        ),
        ("DROP TABLE notes; DROP TABLE IF EXISTS backout_holds", "belong to Backout"),
        ("DROP TABLE notes\0; DROP TABLE orders", "null character"),
    ],
)
def test_down_file_that_d1_cannot_run_is_refused(desk: Desk, down: str | bytes | None, says: str) -> None:
    before = desk.state
    desk.commit({f"db/down/{NAME}": down})

    refused = desk.revert()

    assert ended(refused) == (3, "refused", "no_target"), refused.err
    assert says in refused.result["message"]
    assert "--to before-migration:0002_sum.sql" in refused.result["press"]
    assert "It loses 6 min of writes." in refused.result["hint"]
    assert (desk.state, desk.batches) == (before, 0)


@pytest.mark.slow
def test_later_commit_cannot_add_statements_by_an_attribute(desk: Desk) -> None:
    """`git archive` would replace the comment by the body of the commit, which its author chooses."""
    desk.commit({".gitattributes": "*.sql export-subst\n", f"db/down/{NAME}": f"{DOWN}-- $Format:%b$\n"})
    SiteRepository(desk.shop.folder / "app").commit("typo\n\n\nDELETE FROM orders;", other="x")

    done = desk.revert()

    assert done.code == 0, done.err
    assert len(statements(done)) == 2
    assert desk.query("SELECT count(*) AS n FROM orders") == [{"n": 3}]


@pytest.mark.slow
def test_long_down_file_is_shown_by_its_start_and_its_page(desk: Desk) -> None:
    repository = SiteRepository(desk.shop.folder / "app")
    repository.git("remote", "add", "origin", "https://github.com/shop/web.git")
    hostile = "INSERT INTO customers (mail) VALUES ('<img src=x> @everyone \x1b[2J \u202e" + "x" * 400 + "');\n"
    commit = desk.commit({f"db/down/{NAME}": DOWN + hostile * 20})

    planned, shown = desk.revert(NAME, "--dry-run"), desk.shop.ops("revert-migration", *PLAIN, OPS_SOURCE="app")

    lines = statements(planned)
    assert len(lines) == 10
    assert lines[2].startswith("3: INSERT INTO customers (mail) VALUES ('<img src=x> @everyone ")
    assert lines[2].endswith("… (485 characters)")
    assert lines[9] == f"13 more statements: https://github.com/shop/web/blob/{commit}/db/down/{NAME}"
    assert "13 more statements" in shown.out
    assert not {"\x1b", "\u202e"} & set(shown.out + shown.err)


@pytest.mark.parametrize(
    ("name", "reason", "says"),
    [
        ("0002_sun.sql", "unknown_name", '"0002_sum.sql"'),
        (FIRST, "no_target", r"0002_sum\.sql .* 0001_orders\.sql"),
        ("'; DROP TABLE orders; --", "unknown_name", r"0002_sum\.sql"),
    ],
)
def test_other_migration_is_refused(desk: Desk, name: str, reason: str, says: str) -> None:
    refused = desk.revert(name)

    assert ended(refused) == (3, "refused", reason)
    assert re.search(says, f"{refused.result['message']} {refused.result['hint']}")
    assert desk.batches == 0


@pytest.mark.sampled
@pytest.mark.parametrize("name", ['it\'s "1" /* -- */; DROP TABLE orders.sql', "0003_ü 😀.sql", "0003_x/migration.sql"])
def test_name_with_signs_is_data(desk: Desk, name: str) -> None:
    desk.apply(name, "CREATE TABLE tags (a)")
    before = desk.state
    desk.commit({f"db/down/{name}": "DROP TABLE tags /* '; */; -- the end"})

    done = desk.revert(name)

    assert done.result["wrote"], done.err
    assert desk.state[0] == before[0][:-1]
    assert desk.state[1] == {key: sql for key, sql in before[1].items() if key != "tags"}
    assert desk.holds.keys() == {name}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["../0003.sql", "/etc/passwd", "a\\b.sql", ".."])
def test_name_that_leaves_the_folder_is_refused(desk: Desk, name: str) -> None:
    desk.apply(name, "CREATE TABLE tags (a)")

    refused = desk.revert("last")

    assert ended(refused) == (3, "refused", "unknown_name")
    assert name in refused.result["message"]


@pytest.mark.slow
def test_down_file_that_wrangler_would_apply_is_refused(desk: Desk) -> None:
    """Every pattern that ops.yml allows leaves the sample names out, but not each name."""
    desk.shop.world.edit_config(
        "        migrations: db/migrations\n", "        migrations: .\n        migrations_pattern: '*/*_sum.sql'\n"
    )
    desk.commit({f"down/{NAME}": DOWN})

    refused = desk.revert()

    assert ended(refused) == (3, "refused", "config_invalid")
    assert "matches the down file down/0002_sum.sql, which wrangler would apply" in refused.result["message"]


@pytest.mark.slow
def test_database_without_migrations_in_ops_yml_is_refused(desk: Desk) -> None:
    desk.shop.world.edit_config("        migrations: db/migrations\n", "")

    refused = desk.revert()

    assert ended(refused) == (2, "refused", "config_invalid")
    assert "Add `migrations: FOLDER` to orders" in refused.result["hint"]


@pytest.mark.slow
@pytest.mark.parametrize("answer", [{"lost": "after"}, {"status": 500, "applied": True}, {"body": "", "applied": True}])
@pytest.mark.parametrize("stale", [0, pytest.param(3, marks=pytest.mark.slow)])
def test_lost_answer_is_settled_by_hold_and_migrations(desk: Desk, answer: dict[str, Any], stale: int) -> None:
    desk.shop.world.sandbox.switches.d1_stale_reads = stale
    desk.shop.world.sandbox.fault(**BATCH, **answer)

    done = desk.revert()

    assert ended(done) == (0, "recovered", "verified"), done.err
    assert desk.batches == 1
    assert desk.holds.keys() == {NAME}


def test_lost_request_is_sent_once_more(desk: Desk) -> None:
    desk.shop.world.sandbox.fault(**BATCH, lost="before")

    done = desk.revert()

    assert ended(done) == (0, "recovered", "verified"), done.err
    assert desk.batches == 2
    assert desk.state[0] == [FIRST]


def test_batch_that_arrives_late_is_not_applied_twice(desk: Desk) -> None:
    """The first batch reaches D1 right before its copy, which D1 then rejects."""

    def arrive() -> None:
        (sent,) = [
            each.body["batch"] for each in desk.shop.world.sandbox.requests if "backout_holds (" in str(each.body)
        ][:1]
        desk.shop.world.sandbox.d1.store(ID).run([(each["sql"], each["params"]) for each in sent])

    desk.shop.world.sandbox.fault(**BATCH, lost="before")
    desk.shop.world.sandbox.fault(**BATCH, skip=1, before=arrive)

    done = desk.revert()

    assert ended(done) == (0, "recovered", "verified"), done.err
    assert desk.batches == 2
    assert desk.state[0] == [FIRST]


def test_rejected_batch_changed_nothing(desk: Desk) -> None:
    """The data does not fit, which a local copy without rows cannot show."""
    desk.commit({f"db/down/{NAME}": f"{DOWN}CREATE UNIQUE INDEX one ON orders (customer);"})
    before = desk.state

    failed = desk.revert()

    assert ended(failed) == (4, "failed", "provider_refused"), failed.err
    assert "UNIQUE constraint failed: orders.customer" in failed.result["message"]
    assert "--to before-migration:0002_sum.sql" in failed.result["press"]
    assert (desk.state, desk.holds) == (before, {})


@pytest.mark.slow
def test_answer_that_nothing_settles_is_unknown(desk: Desk) -> None:
    def change() -> None:
        desk.query("CREATE TABLE other (a)")

    desk.shop.world.sandbox.fault(**BATCH, lost="before", times=None, before=change)

    failed = desk.revert()

    assert ended(failed)[:2] == (5, "unknown_outcome")
    assert desk.batches == 1


def test_migration_that_is_applied_before_the_batch_is_never_taken_back(desk: Desk) -> None:
    """It arrives between the last read and the batch, which then fails as a whole."""
    apply = {"before": lambda: desk.apply("0003_late.sql", "CREATE TABLE late (a)", minutes=0)}
    desk.shop.world.sandbox.fault(**BATCH, **apply)

    failed = desk.revert()

    assert ended(failed) == (4, "failed", "provider_refused"), failed.err
    assert "it is not the last migration any more" in failed.result["message"]
    assert desk.state[0] == [FIRST, NAME, "0003_late.sql"]
    assert "notes" in desk.state[1]


@pytest.mark.slow
def test_two_reverts_at_once_take_back_one_migration(desk: Desk) -> None:
    second: list[Any] = []
    desk.shop.world.sandbox.fault(**BATCH, before=lambda: second.append(desk.revert()))

    first = desk.revert()

    assert ended(second[0])[1] == "recovered"
    assert ended(first)[1] in {"refused", "failed", "nothing_to_do", "recovered"}
    assert desk.state[0] == [FIRST]
    assert desk.holds[NAME]["run"] == second[0].result["run"]


@pytest.mark.slow
def test_schema_that_moves_after_the_plan_ends_the_run(desk: Desk) -> None:
    schema = {**BATCH, "sends": "FROM sqlite_master"}
    desk.shop.world.sandbox.fault(**schema, skip=1, before=lambda: desk.query("CREATE TABLE other (a)"))

    failed = desk.revert()

    assert ended(failed)[1:] == ("refused", "world_moved")
    assert desk.batches == 0


def test_unhealthy_checks_name_the_restore_and_its_loss(desk: Desk) -> None:
    desk.shop.world.edit_config(
        "        migrations: db/migrations\n",
        "        migrations: db/migrations\n        rows: {orders: {at_least: 9}}\n",
    )

    done = desk.revert()

    assert ended(done) == (6, "still_unhealthy", "still_unhealthy")
    assert "a restore to the state before loses all writes since 20" in done.result["message"]
    assert f"--to {desk.holds[NAME]['undo']}" in done.result["press"]
    assert desk.state[0] == [FIRST]
    again = desk.revert()
    assert ended(again) == (6, "still_unhealthy", "still_unhealthy")
    assert "at least 9" in again.result["message"]
    assert desk.state[0] == [FIRST]


@pytest.mark.slow
def test_hostile_names_of_later_migrations_are_data(desk: Desk) -> None:
    """The hint is a part of a command that people copy."""
    for number in range(30):
        desk.query(f"INSERT INTO schema_history (name) VALUES ('{number}' || char(10) || '; touch x #{'y' * 5000}')")

    refused = desk.revert(NAME)

    assert ended(refused) == (3, "refused", "no_target")
    assert "--name '29 ; touch x" in refused.result["hint"].replace("�", " ")
    assert len(refused.result["message"]) < 2000
    assert "\n" not in refused.result["message"] + refused.result["hint"]


def test_database_without_an_applied_migration_has_nothing_to_revert(desk: Desk) -> None:
    desk.query("DELETE FROM schema_history")

    refused = desk.revert("last")

    assert ended(refused) == (3, "refused", "no_target")
    assert desk.holds == {}
