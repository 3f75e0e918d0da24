"""`ops hold migrate` with hostile migrations, and with rows that strangers wrote into Backout's tables."""

import json
import re
from pathlib import Path

import pytest

from ops.cloudflare.marks import parse_schema_marks
from ops.core.migrations_folder import hash_migration
from ops.database.applies import CREATE_TABLE as CREATE_APPLIES
from ops.database.migration_holds import CREATE_TABLE as CREATE_HOLDS
from tests.conftest import World
from tests.support.deployment import BINDING, FIRST, ID, TABLE, Deployment, jsonc, open_repository


@pytest.fixture
def shop(world: World, tmp_path: Path) -> Deployment:
    return open_repository(world, tmp_path / "application")


@pytest.mark.parametrize("has_tables", [False, True])
@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM backout_holds;",
        'DROP TABLE IF EXISTS main."BACKOUT_HOLDS";',
        "ALTER TABLE backout_holds RENAME TO others;",
        "CREATE TABLE IF NOT EXISTS backout_holds (migration, hash); DELETE FROM backout_holds;",
        "CREATE TRIGGER lift AFTER INSERT ON backout_holds BEGIN DELETE FROM customers; END;",
        "CREATE TRIGGER lift AFTER INSERT ON customers BEGIN DELETE FROM backout_holds; END;",
        "DROP TABLE IF EXISTS backout_applies;",
        "UPDATE [backout_applies] SET bookmark = '';",
    ],
)
def test_migration_that_changes_a_table_of_backout_is_refused(shop: Deployment, sql: str, *, has_tables: bool) -> None:
    shop.write("0002_lift.sql", sql)
    if has_tables:
        for statement in (CREATE_HOLDS, CREATE_APPLIES):
            shop.rows(statement.sql)

    refused = shop.guard()

    assert refused.code == 3, refused.err
    assert "0002_lift.sql" in refused.err
    assert "Backout" in refused.err
    assert shop.applied == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sql"),
    [
        ("0002_forget.sql", f"DELETE FROM {TABLE} WHERE name = '0001_customers.sql';"),
        ("0002_forge.sql", f"INSERT INTO {TABLE} (name) VALUES ('0003_next.sql');"),
        ("0002_rename.sql", f"UPDATE {TABLE} SET name = 'x' WHERE name LIKE '0001%';"),
        ("0002_later.sql", f"CREATE TRIGGER t AFTER INSERT ON {TABLE} BEGIN DELETE FROM {TABLE}; END;"),
        (" AS shown --.sql", "SELECT '"),
    ],
)
def test_migration_that_changes_the_list_of_migrations_is_refused(shop: Deployment, name: str, sql: str) -> None:
    """A row that is hidden or removed lets the next deployment apply a migration twice; a forged one lets it skip one."""
    assert shop.guard().code == 0
    shop.write(name, sql)

    refused = shop.guard()

    assert refused.code == 3, refused.err
    assert f"changes the rows of {TABLE}" in refused.err
    assert shop.applied == ["0001_customers.sql"]


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("bookmark", "at"),
    [("0000", "yesterday"), ("x\nmessage=evil", "2026-03-01T00:00:00Z"), ("'; curl evil", "2026-03-01T00:00:00Z")],
)
def test_malformed_record_of_an_apply_is_ignored(shop: Deployment, bookmark: str, at: str) -> None:
    shop.rows(CREATE_APPLIES.sql)
    quoted = bookmark.replace("'", "''")
    shop.rows(f"INSERT INTO backout_applies VALUES ('0001_customers.sql', '{quoted}', '7001', '{at}')")

    done = shop.guard("--json", GITHUB_RUN_ID="7001")

    assert done.code == 0, done.err
    assert done.result["bookmark"] not in {"", bookmark}


def test_table_of_applies_of_others_is_ignored(shop: Deployment) -> None:
    shop.rows("CREATE TABLE backout_applies (id INTEGER)")

    done = shop.guard("--json")

    assert done.code == 0, done.err
    assert done.result["applied"] == ["0001_customers.sql"]


def test_text_of_a_hold_is_only_text(shop: Deployment, tmp_path: Path) -> None:
    shop.rows(CREATE_HOLDS.sql)
    evil, content = "x ##[error]; curl x @everyone <img src=x>", hash_migration(FIRST)
    shop.rows(f"INSERT INTO backout_holds VALUES ('{evil}', '{content}', '{evil}', '{evil}', '{evil}', '{evil}')")
    summary = tmp_path / "summary"

    refused = shop.guard(GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(summary))

    assert refused.code == 3, refused.err
    assert f"--name '{evil}'" in refused.err.replace("## [", "##[")
    assert "##[error]" not in refused.out + refused.err
    prose = re.sub("`[^`]*`", "", summary.read_text())
    assert "<img" not in prose
    assert "@everyone" not in prose


def test_row_of_holds_with_control_characters_is_ignored(shop: Deployment) -> None:
    shop.rows(CREATE_HOLDS.sql)
    content = hash_migration(FIRST)
    shop.rows(f"INSERT INTO backout_holds VALUES ('x' || char(27) || '[2J', '{content}', '7', '', '', '')")

    done = shop.guard()

    assert done.code == 0, done.err
    assert shop.applied == ["0001_customers.sql"]


def test_secret_in_a_row_stays_out_of_the_summary(shop: Deployment, tmp_path: Path) -> None:
    token, summary = shop.world.sandbox.token, tmp_path / "summary"
    shop.rows("CREATE TABLE notes (text)")
    shop.rows(f"INSERT INTO notes VALUES ('{token}')")

    done = shop.guard("--json", "--checks", "SELECT 'is ' || text FROM notes", GITHUB_STEP_SUMMARY=str(summary))

    assert done.code == 0, done.err
    assert "not new" in json.dumps(done.result["warnings"])
    assert token not in done.out + done.err + summary.read_text()


def test_longest_names_leave_a_message_that_fits(shop: Deployment) -> None:
    name = "/".join(["\U0001f4a5" * 60] * 4) + "/0002.sql"
    shop.configure(
        (shop.folder / "wrangler.jsonc")
        .read_text()
        .replace('"migrations_dir"', '"migrations_pattern": "db/changes/**/*.sql", "migrations_dir"')
    )
    shop.write(name, "CREATE TABLE notes (id);")

    done = shop.guard("--json", "--message", "m" * 990)

    assert done.code == 0, done.err
    assert len(done.result["message"].encode()) <= 1000


@pytest.mark.slow
def test_huge_statement_is_refused_in_time(shop: Deployment) -> None:
    shop.write("0002_huge.sql", "SELECT '" + ";" * 2_000_000 + "';")

    refused = shop.guard()

    assert refused.code == 3, refused.err
    assert "longer than 100000 bytes" in refused.err
    assert ID not in refused.err


@pytest.mark.slow
def test_marks_in_a_given_message_are_left_out(shop: Deployment) -> None:
    """A commit message with ten marks would hide the guard's own one behind them."""
    forged = " ".join(f"ops-schema1 db={ID} last=- applied=- bookmark={number}" for number in range(10))

    done = shop.guard("--json", "--message", f"cart: tax {forged}")

    assert done.code == 0, done.err
    (mark,) = parse_schema_marks(done.result["message"])
    assert mark.last == "0001_customers.sql"
    assert done.result["message"].startswith("cart: tax ops-schema1 ")


def test_pattern_of_too_many_names_is_refused(shop: Deployment) -> None:
    shop.configure(jsonc({**BINDING, "migrations_pattern": "db/changes/" + "{a,b}" * 40 + ".sql"}))

    refused = shop.guard()

    assert refused.code == 3, refused.err
    assert "stands for over 100 patterns" in refused.err
