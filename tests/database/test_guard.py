"""`ops hold migrate`: migrations are tested, applied and checked, with a way back."""

import json
import re
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from ops.cloudflare.client import CloudflareClient
from ops.cloudflare.d1 import D1Api
from ops.cloudflare.marks import parse_schema_marks
from ops.core.clock import SystemClock
from ops.core.migrations_folder import hash_migration
from ops.core.plan import LiveState
from ops.core.redaction import Secret
from ops.database.migration_holds import MigrationHold, replace_migration_holds
from ops.database.migrations import MigrationFile, create_table_sql, migration_sql
from ops.database.state import read_applied_migrations, read_objects
from ops.database.time_travel import last_apply, splits_an_apply
from tests.conftest import ACCOUNT, World
from tests.support.deployment import BINDING, FIRST, ID, QUERY, SECOND, TABLE, Deployment, jsonc, open_repository

BAD = "ALTER TABLE customers ADD COLUMN name TEXT;\nINSERT INTO nowhere VALUES (1);\n"
ORPHAN = "PRAGMA defer_foreign_keys = on;\nDELETE FROM customers;\n"


def bookmarks(out: str) -> list[str]:
    """Return the bookmarks that the guard printed before a write."""
    return re.findall(r"^bookmark .*: (\S+)$", out, re.MULTILINE)


@pytest.fixture
def shop(world: World, tmp_path: Path) -> Deployment:
    return open_repository(world, tmp_path / "application")


def test_migrations_are_tested_applied_and_checked(shop: Deployment, tmp_path: Path) -> None:
    shop.write("0002_orders.sql", SECOND)
    output, summary = tmp_path / "output", tmp_path / "summary"

    done = shop.guard("--message", "cart: tax\nmore", GITHUB_OUTPUT=str(output), GITHUB_STEP_SUMMARY=str(summary))

    assert done.code == 0, done.err
    assert shop.applied == ["0001_customers.sql", "0002_orders.sql"]
    bookmark = bookmarks(done.out)
    lines = [
        ("orders", " 2 ", "0001_customers.sql, 0002_orders.sql"),
        ("schema", "data"),
        ("before", "foreign keys: healthy", "integrity: healthy"),
        ("bookmark", bookmark[0]),
        ("applied", "0001_customers.sql"),
        ("applied", "0002_orders.sql"),
        ("rows", "customers new → 1", "orders new → 1"),
        ("after", "foreign keys: healthy", "integrity: healthy"),
    ]
    for line, facts in zip(done.out.splitlines(), lines, strict=True):
        assert [fact for fact in facts if fact not in line] == []
    text = output.read_text()
    first, mark = parse_schema_marks(text)
    assert (first.applied, first.bookmark) == ((), bookmark[0])  # written before the first write
    assert (mark.database, mark.last, mark.bookmark) == (ID, "0002_orders.sql", bookmark[0])
    assert mark.applied == ("0001_customers.sql", "0002_orders.sql")
    assert "\ncart: tax ops-schema1 db=" in text
    assert "time-travel restore orders --bookmark" in summary.read_text().replace("\\", "")

    again = shop.guard("--json")

    assert again.result["pending"] == []
    assert again.result["message"] == f"ops-schema1 db={ID} last=0002_orders.sql applied=- bookmark=-"
    assert len(shop.writes) == 3


@pytest.mark.slow
def test_dry_run_writes_nothing(shop: Deployment) -> None:
    done = shop.guard("--dry-run")

    assert done.code == 0, done.err
    assert "schema only" in done.out
    assert (shop.applied, shop.writes) == ([], [])


@pytest.mark.slow
def test_bad_migration_is_refused_by_the_local_copy(shop: Deployment) -> None:
    assert shop.guard().code == 0
    shop.write("0002_bad.sql", BAD)

    refused = shop.guard()

    assert refused.code == 3
    assert re.search(r"0002_bad\.sql .*statement 2: no such table: nowhere", refused.err)
    assert LiveState.UNCHANGED.words in refused.err.lower()
    assert shop.applied == ["0001_customers.sql"]


@pytest.mark.slow
def test_migration_that_only_the_data_breaks_names_the_way_back(shop: Deployment, tmp_path: Path) -> None:
    """The local copy has no rows, so it cannot find this one. The migration before it was applied."""
    shop.write("0002_orders.sql", SECOND + "INSERT INTO customers (email) VALUES ('a@shop.example');\n")
    assert shop.guard().code == 0
    shop.write("0003_notes.sql", "CREATE TABLE notes (id);")
    shop.write("0004_unique.sql", "CREATE UNIQUE INDEX emails ON customers (email);")
    summary = tmp_path / "summary"

    failed = shop.guard("--known-as", "lib", GITHUB_STEP_SUMMARY=str(summary))

    assert failed.code == 4
    assert re.search(r"0004_unique\.sql.*UNIQUE constraint failed: customers\.email", failed.err)
    assert re.search(r"; applied[^;]* 0003_notes\.sql", failed.err)
    (bookmark,) = re.findall(r"ops restore-database --database lib --to ([0-9a-f-]+)`", failed.err)
    assert f"`npx wrangler d1 time-travel restore orders --bookmark {bookmark}`" in failed.err
    assert bookmark in summary.read_text().replace("\\", "")
    assert shop.applied == ["0001_customers.sql", "0002_orders.sql", "0003_notes.sql"]

    state = next(each for each in shop.world.sandbox.d1.store(ID).history.states if each.bookmark == bookmark)
    shop.world.sandbox.d1.store(ID).restore(state)
    assert shop.applied == ["0001_customers.sql", "0002_orders.sql"]


def test_data_that_a_migration_breaks_fails_the_checks(shop: Deployment) -> None:
    shop.write("0002_orders.sql", SECOND)
    assert shop.guard().code == 0
    shop.write("0003_clean.sql", "UPDATE orders SET customer = NULL; -- backout: accepts orders\n")
    no_orphans = "SELECT count(*) FROM orders WHERE customer IS NULL"

    failed = shop.guard("--checks", f"\n{no_orphans}\nSELECT 0\n")

    assert failed.code == 6
    assert re.search(r"0003_clean\.sql: check 1: unhealthy \(1\b", failed.err)
    assert "time-travel restore orders --bookmark" in failed.err

    shop.write("0004_more.sql", "CREATE TABLE more (id);")
    known = shop.guard("--checks", no_orphans)

    assert known.code == 0, known.err
    assert re.search("warning: .*check 1: unhealthy", known.out)


@pytest.mark.parametrize(
    ("sends", "state"),
    [("CREATE TABLE notes", -1), ("PRAGMA quick_check", 0)],
    ids=["before the last migration", "to an empty database"],
)
def test_restore_during_the_guard_is_no_success(shop: Deployment, sends: str, state: int) -> None:
    """The deployment that follows would run on a schema without migrations that it needs."""
    store = shop.world.sandbox.d1.store(ID)
    assert shop.guard().code == 0
    before = store.history.states[state]
    shop.write("0002_orders.sql", SECOND)
    assert shop.guard().code == 0
    shop.write("0003_notes.sql", "CREATE TABLE notes (id);")
    skip = {"skip": 1} if sends.startswith("PRAGMA") else {}  # the first time it runs before the migration
    shop.world.sandbox.fault(path=QUERY, sends=sends, **skip, before=lambda: store.restore(before))

    moved = shop.guard()

    assert moved.code == 4, moved.err
    assert "0002_orders.sql" in moved.err
    again = shop.guard()
    assert again.code == 0, again.err
    assert {*shop.applied} == {"0001_customers.sql", "0002_orders.sql", "0003_notes.sql"}


def test_guard_that_cannot_read_the_migrations_at_its_end_is_no_success(shop: Deployment) -> None:
    assert shop.guard().code == 0
    shop.write("0002_orders.sql", SECOND)
    refusal = {"status": 400, "code": 7500, "message": "no such column: name: SQLITE_ERROR"}
    shop.world.sandbox.fault(path=QUERY, sends="SELECT name, applied_at", skip=3, times=None, **refusal)

    unread = shop.guard()

    assert unread.code == 8, unread.err
    assert "after 0002_orders.sql" in unread.err


@pytest.mark.parametrize(
    ("check", "text"),
    [("DELETE FROM customers", "DELETE FROM customers"), ("SELECT x FROM gone", "no such table: gone")],
)
def test_wrong_check_is_refused_before_a_write(shop: Deployment, check: str, text: str) -> None:
    refused = shop.guard("--checks", check)

    assert refused.code in {2, 3}
    assert text in refused.err
    assert shop.writes == []


def test_held_migration_is_refused_until_its_content_changes(shop: Deployment) -> None:
    hold = MigrationHold("0001_customers.sql", hash_migration(FIRST), "42", "1.1-00aa", "2026-11-26T03:00:00Z")
    for statement in replace_migration_holds([hold]):
        shop.world.sandbox.d1.query(ID, statement.sql, *statement.params)

    refused = shop.guard()
    shop.write("0001_customers.sql", FIRST.replace("\n", "\r\n"))
    same = shop.guard()
    (shop.files / "0001_customers.sql").rename(shop.files / "0002_customers.sql")
    renamed = shop.guard()

    for each in (refused, same, renamed):
        assert each.code == 3
        assert re.search(r"0001_customers\.sql, .* 2026-11-26T03:00:00Z \(.*#42\)", each.err)
        assert "DELETE FROM backout_holds WHERE migration = " in each.err
    assert re.search(r"0002_customers\.sql .* 0001_customers\.sql", renamed.err)
    assert shop.writes == []

    shop.write("0002_customers.sql", FIRST + "-- corrected")
    assert shop.guard().code == 0
    assert shop.applied == ["0002_customers.sql"]


def test_hold_without_a_hash_is_lifted_by_the_printed_command(shop: Deployment) -> None:
    hold = MigrationHold("0001_customers.sql", "", "", "run-1", "2026-11-26T03:00:00Z")
    for statement in replace_migration_holds([hold]):
        shop.world.sandbox.d1.query(ID, statement.sql, *statement.params)
    refused = shop.guard()
    (sql,) = re.findall(r"--command '(.*)'`", refused.err)

    shop.world.sandbox.d1.query(ID, sql.replace("'\"'\"'", "'"))

    assert shop.guard().code == 0


@pytest.mark.parametrize("lost", ["before", "after"])
def test_lost_answer_is_decided_by_the_table(shop: Deployment, lost: str) -> None:
    shop.write("0002_orders.sql", SECOND)
    shop.world.sandbox.fault(path=QUERY, sends="CREATE TABLE customers", lost=lost)

    done = shop.guard()

    if lost == "after":
        assert done.code == 0, done.err
        assert re.search("no answer .*0001_customers.sql", done.out)
        assert shop.applied == ["0001_customers.sql", "0002_orders.sql"]
    else:
        assert done.code == 4
        assert re.search("0001_customers.sql .*not applied", done.err)
        assert shop.applied == []
        assert shop.guard().code == 0
        assert shop.applied == ["0001_customers.sql", "0002_orders.sql"]


def test_answer_that_nobody_can_settle_is_unknown(shop: Deployment) -> None:
    down = {"path": QUERY, "status": 503, "times": None}
    shop.world.sandbox.fault(
        path=QUERY, sends="CREATE TABLE customers", lost="after", after=lambda: shop.world.sandbox.fault(**down)
    )

    done = shop.guard()

    assert done.code == 5
    assert re.search("unknown .*0001_customers.sql", done.err)
    assert "time-travel restore orders --bookmark" in done.err


def test_slow_migration_is_waited_for(shop: Deployment) -> None:
    """D1 ends it after 30 seconds; here the answer is lost, and the row appears 20 seconds later."""
    sandbox = shop.world.sandbox
    slept = sandbox.clock.now()

    def finish() -> None:
        if sandbox.clock.now() - slept > timedelta(seconds=20) and not shop.applied:
            sandbox.d1.query(ID, f"INSERT INTO {TABLE} (name) VALUES ('0001_customers.sql')")

    sandbox.fault(path=QUERY, sends="CREATE TABLE customers", lost="before")
    sandbox.fault(path=QUERY, sends="SELECT name, applied_at", times=None, before=finish)

    done = shop.guard()

    assert done.code == 0, done.err
    assert shop.applied == ["0001_customers.sql"]


def test_migration_of_another_guard_stops_this_one(shop: Deployment) -> None:
    """Between the comparison and the write, another guard applies the same file."""
    bookmark = f"/client/v4/accounts/*/d1/database/{ID}/time_travel/bookmark"
    other = (create_table_sql(TABLE), *migration_sql(MigrationFile("0001_customers.sql", FIRST), TABLE).split("\n", 1))

    def apply() -> None:
        shop.world.sandbox.d1.store(ID).run([(sql, ()) for sql in other])

    shop.world.sandbox.fault(path=bookmark, before=apply)

    done = shop.guard()

    assert done.code == 4
    assert re.search("another run .*0001_customers.sql", done.err)
    assert shop.applied == ["0001_customers.sql"]
    assert shop.guard().code == 0


def test_change_while_the_migrations_are_tested_is_refused(shop: Deployment) -> None:
    shop.guard("--dry-run")
    reads = len([each for each in shop.world.sandbox.requests if each.path == QUERY])
    shop.world.sandbox.fault(
        path=QUERY, skip=reads - 1, before=lambda: shop.world.sandbox.d1.query(ID, "CREATE TABLE others (id)")
    )

    done = shop.guard()

    assert (done.code, "schema" in done.err) == (3, True)
    assert shop.writes == []
    assert shop.guard().code == 0


@pytest.mark.slow
def test_stale_reads_after_a_migration_are_read_again(shop: Deployment) -> None:
    shop.world.sandbox.switches.d1_stale_reads = 3

    done = shop.guard()

    assert done.code == 0, done.err
    assert shop.applied == ["0001_customers.sql"]


def test_rejected_write_is_sent_again(shop: Deployment) -> None:
    for text in ("backout_applies", "CREATE TABLE IF NOT EXISTS", "CREATE TABLE customers"):
        shop.world.sandbox.fault(path=QUERY, sends=text, times=2, status=429, headers={"retry-after": "2"})

    done = shop.guard()

    assert done.code == 0, done.err
    assert shop.applied == ["0001_customers.sql"]


@pytest.mark.parametrize(
    ("environ", "options", "text"),
    [
        ({"CLOUDFLARE_API_TOKEN": None}, (), "CLOUDFLARE_API_TOKEN"),
        ({"CLOUDFLARE_ACCOUNT_ID": None}, (), "CLOUDFLARE_ACCOUNT_ID"),
        ({}, ("--account-id", "1" * 32), "--account-id"),
        ({}, ("--wrangler", "gone.toml"), "gone.toml"),
        ({}, ("--database", "books"), "books"),
    ],
)
def test_missing_setting_is_refused(
    shop: Deployment, environ: dict[str, str | None], options: tuple[str, ...], text: str
) -> None:
    refused = shop.guard(*options, **environ)

    assert refused.code in {2, 3}
    assert text in refused.err
    assert shop.writes == []


@pytest.mark.slow
def test_token_without_d1_is_refused_without_ops_yml(shop: Deployment) -> None:
    token = shop.world.sandbox.add_token("deploys", ["Workers Scripts Write"])
    missing = {**BINDING, "database_id": ID.replace("5c", "6c")}

    refused = shop.guard(CLOUDFLARE_API_TOKEN=token)
    shop.configure(jsonc(missing))
    gone = shop.guard()

    assert (refused.code, gone.code) == (4, 4)
    assert 'have the permission "D1 Write"' in refused.err
    for each in (refused, gone):
        assert "account_id" in each.err
        assert " wrangler " in each.err
        assert "ops.yml" not in each.err
    assert shop.writes == []


def test_migrations_of_one_guard_are_one_apply(shop: Deployment) -> None:
    """The rule by time would separate them: they are two minutes apart. A second attempt of the job is the same one."""
    sandbox = shop.world.sandbox
    assert shop.guard(GITHUB_RUN_ID="7001").code == 0
    sandbox.clock.advance(600)
    shop.write("0002_orders.sql", SECOND)
    shop.write("0003_notes.sql", "CREATE TABLE notes (id);")
    sandbox.fault(path=QUERY, sends="CREATE TABLE notes", status=400, code=7500, message="no: SQLITE_ERROR")
    failed = shop.guard(GITHUB_RUN_ID="7002")
    sandbox.clock.advance(120)

    done = shop.guard(GITHUB_RUN_ID="7002")

    assert (failed.code, done.code) == (4, 0)
    way_back = bookmarks(failed.out + done.out)
    assert len(way_back) == 2
    assert len(set(way_back)) == 1
    client = CloudflareClient(sandbox.api_url, Secret(sandbox.token), token_name="T", clock=SystemClock())
    client.open()
    with closing(client):
        api = D1Api(client, ACCOUNT)
        migrations, _ = read_applied_migrations(api, ID, TABLE, read_objects(api, ID))
    assert [each.name for each in last_apply(migrations)] == ["0002_orders.sql", "0003_notes.sql"]
    assert splits_an_apply(migrations[:2], migrations[2:])
    assert not splits_an_apply(migrations[:1], migrations[1:])


@pytest.mark.sampled
@pytest.mark.parametrize("applied_before", [0, 1])
def test_job_that_runs_again_a_day_later_goes_back_to_that_day(shop: Deployment, applied_before: int) -> None:
    """The application ran for a day with the state that the first attempt left: its bookmark would lose that day."""
    sandbox = shop.world.sandbox
    shop.write("0002_orders.sql", SECOND)
    broken = ("CREATE TABLE customers", "CREATE TABLE orders")[applied_before]
    sandbox.fault(path=QUERY, sends=broken, status=400, code=7500, message="no: SQLITE_ERROR")
    failed = shop.guard(GITHUB_RUN_ID="7002")
    sandbox.clock.advance(86_400)
    sandbox.d1.query(ID, "CREATE TABLE notes (id)")

    done = shop.guard(GITHUB_RUN_ID="7002")

    assert (failed.code, done.code) == (4, 0)
    first, second = bookmarks(failed.out + done.out)
    states = sandbox.d1.store(ID).history.states
    assert first != second
    assert next(each for each in states if each.bookmark == second).at == sandbox.clock.now()


def test_apply_that_cannot_be_recorded_is_a_warning(shop: Deployment) -> None:
    fault = {"status": 400, "code": 7500, "message": "no: SQLITE_ERROR"}
    shop.world.sandbox.fault(path=QUERY, sends="backout_applies (migration TEXT", times=None, **fault)

    done = shop.guard("--json")

    assert done.code == 0, done.err
    assert "no: SQLITE_ERROR" in done.result["warnings"][0]
    assert shop.applied == ["0001_customers.sql"]


@pytest.mark.slow
def test_json_has_the_whole_result(shop: Deployment) -> None:
    result = shop.guard("--json").result

    assert json.loads(json.dumps(result)) == result
    known = ["schema", "database", "pending", "applied", "last", "bookmark", "message", "warnings"]
    assert list(result) == [*known, "accepted", "rows"]


def test_migration_whose_comment_hides_its_row_is_refused(shop: Deployment) -> None:
    """wrangler appends the row to the text: inside an open comment it is lost, so that each deployment applies it."""
    shop.write("0003_open.sql", "CREATE TABLE notes (id INTEGER); /* for later")

    refused = shop.guard()

    assert refused.code == 3, refused.err
    assert re.search(r"0003_open\.sql .*comment", refused.err)
    assert shop.applied == []


def test_checks_without_an_answer_after_the_write_are_no_evidence(shop: Deployment) -> None:
    query = {"path": QUERY, "sends": "foreign_key_check", "status": 503, "times": None}
    shop.world.sandbox.fault(
        path=QUERY, sends="CREATE TABLE customers", after=lambda: shop.world.sandbox.fault(**query)
    )

    done = shop.guard()

    assert done.code == 8, done.err
    assert shop.applied == ["0001_customers.sql"]
    assert bookmarks(done.out)[0] in done.err


def test_migration_with_a_malformed_time_is_no_way_back(shop: Deployment) -> None:
    assert shop.guard().code == 0
    shop.rows(f"UPDATE {TABLE} SET applied_at = 'yesterday'")
    writes = len(shop.writes)
    shop.write("0002_orders.sql", SECOND)

    done = shop.guard()

    assert done.code == 4
    assert "0001_customers.sql" in done.err
    assert len(shop.writes) == writes


def test_row_that_never_appears_is_unknown(shop: Deployment) -> None:
    shop.world.sandbox.switches.d1_stale_reads = 1000

    done = shop.guard()

    assert done.code == 5, done.err
    assert "0001_customers.sql" in done.err
    assert bookmarks(done.out)[0] in done.err
