"""Restore a D1 database: plan, order, undo, checks and refusals."""

import sqlite3
import time
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from ops.database.applies import RESTORE as RESTORE_ROW
from ops.database.applies import RecordedApply, record_apply
from ops.database.plan_text import POINT_SECTION, ROWS_SECTION, TAKEN_BACK_SECTION
from tests.conftest import ACCOUNT, WORKER, Outcome, World
from tests.support import databases, switches
from tests.support.commands import ended, texts
from tests.support.databases import ID, RESTORE, Library
from tests.support.in_process import answered_in_process, limits_kept

BEFORE_LAST = "before-migration:0002_b.sql"
QUERY = {"method": "POST", "path": "/accounts/*/d1/database/*/query"}


@pytest.fixture
def library(world: World) -> Library:
    return databases.prepared(world)


@pytest.fixture
def closable(library: Library) -> Library:
    """The API turns maintenance on by its switch."""
    return databases.with_switched_maintenance(library)


def maintenance(library: Library) -> str:
    return databases.maintenance_of(library.world)


@pytest.mark.parametrize(
    ("undated", "said"),
    [
        (["NULL"], "3 to 4 of 5 rows deleted, 1 without a readable time"),
        (["''", "'soon'", "x'00ff'"], "3 to 6 of 7 rows deleted, 3 without a readable time"),
        (["all"], "an unknown number of 4 rows deleted, 4 without a readable time"),
        ([], "3 of 4 rows deleted, newest "),
    ],
)
def test_rows_without_a_time_are_unknown_at_the_target(library: Library, undated: list[str], said: str) -> None:
    if undated == ["all"]:
        library.write("UPDATE loans SET lent_at = NULL")
    for value in undated if undated != ["all"] else ():
        library.write(f"INSERT INTO loans (book, lent_at) VALUES (1, {value})")

    done = library.restore(BEFORE_LAST, "--dry-run")

    assert done.code == 0, done.err
    (loans,) = [each for each in done.result["plan"]["sections"][ROWS_SECTION] if each.startswith("loans: ")]
    assert loans.startswith(f"loans: {said}")


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ("unixepoch()", "1 of 1 row deleted, newest "),
        ("1000 * unixepoch()", "1 of 1 row deleted, newest "),
        ("julianday()", "an unknown number of 1 row deleted, 1 without a readable time"),
        ("strftime('%Y%m%d')", "an unknown number of 1 row deleted, 1 without a readable time"),
        ("unixepoch() / 60", "an unknown number of 1 row deleted, 1 without a readable time"),
        ("1000000 * unixepoch()", "an unknown number of 1 row deleted, 1 without a readable time"),
    ],
)
def test_number_that_is_no_unix_time_never_makes_a_row_old(library: Library, now: str, said: str) -> None:
    """As Unix seconds, a Julian day is in January 1970: the plan would lose the row without a word."""
    library.world.edit_config("          loans: lent_at\n", "          loans: lent_at\n          visits: at\n")
    library.world.edit_config("          books:\n", "          visits: {keep: true}\n          books:\n")
    library.write("CREATE TABLE visits (id INTEGER PRIMARY KEY, at NUMERIC)")
    library.write(f"INSERT INTO visits (at) VALUES ({now})", minutes=30)

    done = library.restore("-5m", "--dry-run")

    assert done.code == 0, done.err
    sections = done.result["plan"]["sections"]
    (visits,) = [each for each in sections[ROWS_SECTION] if each.startswith("visits: ")]
    assert visits.startswith(f"visits: {said}")
    (kept,) = sections["Rows kept"]
    assert kept.startswith("visits: 1 row, ")


def test_database_of_two_environments_is_a_warning_of_the_plan(library: Library) -> None:
    """The second environment is a copy of the first one, whose id nobody changed."""
    preview = f"""\
  preview:
    account_id: {ACCOUNT}
    token: PREVIEW_TOKEN
    services: {{api: {{worker: preview-api, url: https://preview.example}}}}
    databases: {{books: {{id: {ID}, services: [api]}}}}
"""
    assert not [each for each in plan_warnings(library) if "preview" in each]
    library.world.edit_config("  production:\n", f"{preview}  production:\n")

    (warning,) = [each for each in plan_warnings(library) if "preview" in each]

    assert "preview has the same database, as books: api stays open" in warning


def plan_warnings(library: Library) -> list[str]:
    done = library.restore(BEFORE_LAST, "--dry-run")
    assert done.code == 0, done.err
    warnings: list[str] = done.result["plan"]["warnings"]
    return warnings


@pytest.mark.slow
def test_migration_is_taken_back_and_undone(library: Library) -> None:
    done = library.restore(BEFORE_LAST, "--incident", "42")

    assert done.code == 0, done.err
    assert ended(done)[1:] == ("healthy_as_before", "verified") or ended(done)[1] == "recovered"
    assert library.migrations == ["0001_first.sql"]
    assert library.count("loans") == 1
    plan = done.result["plan"]
    assert plan["sections"][TAKEN_BACK_SECTION][0].startswith("0002_b.sql, applied 20")
    assert plan["sections"][ROWS_SECTION] == [
        "books: an unknown number of 2 rows deleted",
        f"loans: 3 of 4 rows deleted, newest {plan['sections'][ROWS_SECTION][1].rpartition('newest ')[2]}",
    ]
    assert "writes lost: 5 min" in plan["sections"][POINT_SECTION]
    assert any("loans: 4 → 1 rows, at least 3 rows removed" in text for text in texts(done, "read_back"))
    (undo,) = done.result["undo"]
    bookmark = undo.partition("--to ")[2].split()[0]
    assert "--one-person" in undo

    library.world.sandbox.clock.advance(60)
    undone = library.restore(bookmark)

    assert undone.code == 0, undone.err
    assert library.migrations == ["0001_first.sql", "0002_b.sql"]
    assert library.count("loans") == 4


@pytest.mark.slow
def test_undo_is_the_state_right_before_the_restore(library: Library) -> None:
    """A write arrives between the last read and the restore: only the answer's bookmark has it."""
    library.world.sandbox.fault(**RESTORE, before=library.lend)

    done = library.restore(BEFORE_LAST)

    (undo,) = done.result["undo"]
    library.world.sandbox.clock.advance(60)
    library.restore(undo.partition("--to ")[2].split()[0])
    assert library.count("loans") == 5


@pytest.mark.slow
def test_restore_in_maintenance_is_counted_exactly(closable: Library) -> None:
    done = closable.restore(BEFORE_LAST, "--incident", "42")

    assert done.code == 0, done.err
    assert [change["target"] for change in done.result["plan"]["changes"]] == [
        "Switch maintenance",
        "D1 database lib",
        "Holds of D1 database lib",
        "Switch maintenance, at the end",
    ]
    assert any("loans: 4 → 1 rows, 3 rows removed" in text for text in texts(done, "read_back"))
    assert any("checks of lib: foreign keys: healthy; integrity: healthy" in text for text in texts(done, "compared"))
    assert maintenance(closable) == "off"
    events = [event for event in done.events if event["kind"] in {"written", "prepared", "compared"}]
    order = [event["text"] for event in events]
    assert order.index(next(t for t in order if t.startswith("undo of the restore"))) < order.index(
        next(t for t in order if t.startswith("Cloudflare restored"))
    )


def test_hint_of_an_unread_closure_promises_no_second_write(closable: Library) -> None:
    unread = {"method": "POST", "path": "/accounts/*/storage/kv/namespaces/*/bulk/get", "status": 503, "times": None}
    closable.world.sandbox.fault(**switches.PUT, lost="after", after=lambda: closable.world.sandbox.fault(**unread))

    lost = closable.restore(BEFORE_LAST)

    assert ended(lost) == (5, "unknown_outcome", "unclear"), lost.err
    assert "repeats nothing" in lost.result["hint"]
    closable.world.sandbox.faults.clear()
    closable.world.sandbox.clock.advance(60)  # until KV shows it
    again = closable.restore(BEFORE_LAST)
    assert again.code == 0, again.err
    assert maintenance(closable) == "off"
    puts = [each for each in closable.world.sandbox.requests if each.method == "PUT" and "/values/" in each.path]
    assert len(puts) == 2  # closed once, and opened


def test_unhealthy_checks_keep_maintenance_on(closable: Library) -> None:
    closable.world.edit_config("            at_least: 1", "            at_least: 3")

    done = closable.restore(BEFORE_LAST)

    assert ended(done) == (6, "still_unhealthy", "still_unhealthy")
    assert "rows of books: unhealthy (2 rows, and at least 3 are expected)" in done.result["message"]
    assert maintenance(closable) == "on"
    assert done.result["outcome"]["not_changed"] == ["Switch maintenance, at the end"]
    assert "--to " in done.result["press"]


@pytest.mark.slow
def test_maintenance_of_others_stays_on(closable: Library) -> None:
    switches.SwitchWorld(closable.world).put("maintenance", state="on")
    closable.world.sandbox.clock.advance(60)

    done = closable.restore(BEFORE_LAST)

    assert ended(done) == (8, "no_evidence", "no_evidence")
    assert maintenance(closable) == "on"
    assert closable.migrations == ["0001_first.sql"]


@pytest.mark.slow
def test_probe_of_the_database_proves_the_recovery(library: Library) -> None:
    """The migration renames a column that the Worker reads."""
    probe = "        probes: [{name: titles, http: {path: /health/titles}}]\n"
    library.world.edit_config("        created:\n          loans", f"{probe}        created:\n          loans")
    titles = {"paths": {"/health/titles": {"sql": "SELECT title FROM books"}}}
    version = library.world.sandbox.upload(WORKER, behaviour=titles, bindings=[{"type": "d1", "name": "DB", "id": ID}])
    library.world.sandbox.deploy(WORKER, version)
    library.migrate("0003_names.sql", "ALTER TABLE books RENAME COLUMN title TO name")
    library.world.sandbox.clock.advance(60)

    done = library.restore("before-migration:0003_names.sql")

    assert ended(done)[1] == "recovered"
    assert any("titles unhealthy: status 500" in text for text in texts(done, "probed"))


@pytest.mark.parametrize(
    ("query", "verdict", "code"),
    [("SELECT missing FROM loans", "inconclusive", 8), ("SELECT count(*) + 1 FROM loans WHERE 0", "unhealthy", 6)],
)
def test_check_that_fails_or_is_refused(library: Library, query: str, verdict: str, code: int) -> None:
    library.world.edit_config("SELECT count(*) FROM loans WHERE book NOT IN (SELECT id FROM books)", query)

    done = library.restore(BEFORE_LAST)

    assert done.code == code
    assert f"loans-of-books: {verdict}" in done.result["message"]


@pytest.mark.parametrize(
    ("query", "expect", "says"),
    [
        ("SELECT title FROM books WHERE 0", "0", "no row, and 0 is expected"),
        ("SELECT NULL", "0", "NULL, and 0 is expected"),
        ("SELECT '2'", "2", 'text "2", and 2 is expected'),
        ("SELECT 2", "'2'", '2, and text "2" is expected'),
        ("SELECT x'00ff'", "0", "a BLOB of 2 bytes, and 0 is expected"),
    ],
)
def test_value_of_another_kind_is_named_with_its_kind(library: Library, query: str, expect: str, says: str) -> None:
    library.world.edit_config("SELECT count(*) FROM loans WHERE book NOT IN (SELECT id FROM books)", query)
    library.world.edit_config("            expect: 0", f"            expect: {expect}")

    done = library.restore(BEFORE_LAST)

    assert done.code == 6
    assert f"loans-of-books: unhealthy ({says})" in done.result["message"]


def test_row_without_parent_is_unhealthy(library: Library) -> None:
    store = library.world.sandbox.d1.store(ID)
    with closing(sqlite3.connect(":memory:")) as damaged:
        damaged.deserialize(store.inspect(lambda live: live.content()))
        damaged.execute("INSERT INTO loans (book) VALUES (99)")  # sqlite3 does not enforce foreign keys by itself
        damaged.commit()
        content = damaged.serialize()
    store.inspect(lambda live: live.replace(content))
    library.write("INSERT INTO books (title) VALUES ('Persuasion')")
    library.world.sandbox.clock.advance(120)

    done = library.restore("-1m")

    assert ended(done) == (6, "still_unhealthy", "still_unhealthy")
    assert "foreign keys: unhealthy (1 rows without their parent: loans row 5 → books)" in done.result["message"]


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("to", "reason", "says"),
    [
        ("-0m", "no_target", ""),
        ("2099-01-01T00:00:00Z", "no_target", "2099-01-01"),
        ("2026-11-20T10:00:00", "config_invalid", "2026-11-20T10:00:00"),
        ("yesterday", "config_invalid", '"yesterday"'),
        ("-15", "config_invalid", '"-15"'),
        ("-20000h", "no_target", "D1 "),
        ("before-migration:0002_x.sql", "unknown_name", '"0002_b.sql"'),
        ("before-migration:2_b.sql", "unknown_name", '"0002_b.sql"'),
        ("before-migration:db/migrations/0002_b.sql", "unknown_name", '"0002_b.sql"'),
    ],
)
def test_point_that_does_not_exist_is_refused(library: Library, to: str, reason: str, says: str) -> None:
    if to == "-0m":
        library.migrate("0003_now.sql", "SELECT 1")

    done = library.restore(to)

    assert done.result["decision"] == "refused", done.err
    assert done.result["reason"] == reason
    assert says in done.result["message"]
    assert done.result["hint"]
    assert library.restores == []


@pytest.mark.slow
def test_migration_that_is_not_applied_leaves_nothing_to_do(library: Library) -> None:
    library.restore(BEFORE_LAST)

    again = library.restore(BEFORE_LAST)

    assert ended(again) == (0, "nothing_to_do", "already_live")
    assert len(library.restores) == 1
    assert any(text.startswith("checks of lib: foreign keys: healthy") for text in texts(again, "compared"))


@pytest.mark.parametrize(("state", "decision"), [("off", "nothing_to_do"), ("on", "no_evidence")])
def test_repeated_restore_leaves_maintenance_as_it_is(closable: Library, state: str, decision: str) -> None:
    closable.restore(BEFORE_LAST)
    closable.world.sandbox.clock.advance(60)
    switches.SwitchWorld(closable.world).put("maintenance", state=state)
    closable.world.sandbox.clock.advance(60)

    again = closable.restore(BEFORE_LAST)

    assert again.result["decision"] == decision
    assert maintenance(closable) == state


@pytest.mark.slow
def test_restore_is_refused_while_some_paths_are_in_maintenance(closable: Library) -> None:
    switches.SwitchWorld(closable.world).put("maintenance", state="on", paths=["/api/ai"])
    closable.world.sandbox.clock.advance(60)

    refused = closable.restore(BEFORE_LAST)

    assert ended(refused) == (3, "refused", "already_off")
    assert closable.restores == []


@pytest.mark.slow
def test_migrations_of_the_same_second_cannot_be_separated(library: Library) -> None:
    library.migrate("0003_a.sql", "SELECT 1")
    library.migrate("0004_b.sql", "SELECT 1", minutes=0)

    one = library.restore("before-migration:0004_b.sql")
    both = library.restore("before-migration:0003_a.sql", "--dry-run")
    last = library.restore("before-last-migration")

    assert ended(one) == (3, "refused", "no_target")
    assert "before-migration:0003_a.sql" in one.result["hint"]
    taken = both.result["plan"]["sections"][TAKEN_BACK_SECTION]
    assert [line.partition(",")[0] for line in taken] == ["0003_a.sql", "0004_b.sql"]
    assert "before-last-migration takes back 0003_a.sql, 0004_b.sql" in last.result["message"]


def test_second_person_is_needed(library: Library) -> None:
    where = ["--environment", "production", "--config", str(library.world.config), "--yes", "--json"]
    asked = ["restore-database", "--database", "lib", "--to", BEFORE_LAST, *where]

    alone = library.world.ops(*asked, CLOUDFLARE_API_TOKEN="library")
    job = library.restore(BEFORE_LAST, GITHUB_ACTIONS="true", GITHUB_RUN_ID="7", GITHUB_RUN_ATTEMPT="1")

    for outcome in (alone, job):
        assert ended(outcome) == (3, "refused", "needs_two_people")
    assert library.restores == []


def test_last_migration_is_taken_back_once_for_an_incident(library: Library) -> None:
    """The same words would take back the first migration, too."""
    hub = library.world.sandbox.github
    hub.add_user("alice")
    number = hub.open_issue("Prices are gone", labels=["incident"], author="alice")
    incident = {**hub.environ(), "GITHUB_RUN_ID": "", "GITHUB_ACTIONS": ""}

    first = library.restore("before-last-migration", "--incident", str(number), **incident)
    again = library.restore("before-last-migration", "--incident", str(number), **incident)

    assert first.code == 0, first.err
    assert any("loans: 4 → 1 rows" in text for text in texts(first, "read_back"))
    assert ended(again) == (3, "refused", "no_target")
    assert "before-migration:NAME" in again.result["hint"]
    assert library.migrations == ["0001_first.sql"]


@pytest.mark.slow
def test_restore_waits_for_a_slow_record_of_the_incident(library: Library) -> None:
    """Without the record, these words are refused. It takes longer than the 2 s that other runbooks wait."""
    hub = library.world.sandbox.github
    hub.add_user("alice")
    number = hub.open_issue("Prices are gone", labels=["incident"], author="alice")
    comments = {"method": "GET", "path": "/repos/*/*/issues/*/comments"}
    hub.fault(**comments, before=lambda: time.sleep(3), is_prompt=True)  # a socket would have a timeout of its own

    with answered_in_process(), limits_kept():
        done = library.restore("before-last-migration", "--incident", str(number), **hub.environ(), GITHUB_ACTIONS="")

    assert done.code == 0, done.err
    assert library.migrations == ["0001_first.sql"]


@pytest.mark.slow
def test_writer_that_maintenance_cannot_stop_makes_counts_a_minimum(closable: Library) -> None:
    closable.world.sandbox.account.workers[WORKER].schedules = [{"cron": "*/5 * * * *"}]

    done = closable.restore(BEFORE_LAST)

    assert "writes go on: cron triggers of api: */5 * * * *" in done.result["plan"]["warnings"]
    assert any("loans: 4 → 1 rows, at least 3 rows removed" in text for text in texts(done, "read_back"))


@pytest.mark.slow
def test_plan_names_newer_versions_retention_and_open_services(library: Library) -> None:
    library.world.release(timedelta(0), code="needs tags")

    plan = library.restore(BEFORE_LAST, "--dry-run").result["plan"]

    assert ["api: 1 version uploaded since"] in plan["sections"].values()
    assert "api may run code that needs them: roll it back, too" in plan["warnings"]
    assert any(text.startswith("api is not taken offline, and its writes go on: ") for text in plan["warnings"])
    assert any(text.startswith("to take api offline, first run `ops maintenance ") for text in plan["warnings"])
    assert any(text.startswith("Time Travel keeps 7 or 30 days") for text in plan["follows"])


@pytest.mark.slow
@pytest.mark.parametrize("days", [7, 30])
def test_plan_names_the_retention(library: Library, days: int) -> None:
    library.world.sandbox.switches.d1_time_travel_days = days
    library.world.sandbox.clock.advance(9 * 24 * 3600)

    plan = library.restore("-15m", "--dry-run").result["plan"]

    assert f"Time Travel keeps {days} days, and the undo works as long" in plan["follows"]


NOT_COUNTED = "not counted (limit: 20 tables, 5.0 s each)"


@pytest.mark.slow
def test_tables_beyond_the_limit_are_not_counted(library: Library) -> None:
    for number in range(20):
        library.write(f"CREATE TABLE z{number:02} (id INTEGER)", minutes=0)

    rows = library.restore(BEFORE_LAST, "--dry-run").result["plan"]["sections"][ROWS_SECTION]

    assert [line for line in rows if NOT_COUNTED in line] == [f"z18: {NOT_COUNTED}", f"z19: {NOT_COUNTED}"]


@pytest.mark.slow
def test_slow_tables_are_not_counted(library: Library) -> None:
    library.world.sandbox.fault(**QUERY, sends="count(*) AS n", times=None, delay=60)

    rows = library.restore(BEFORE_LAST, "--dry-run").result["plan"]["sections"][ROWS_SECTION]

    assert rows == [f"books: {NOT_COUNTED}", f"loans: {NOT_COUNTED}"]


@pytest.mark.slow
def test_schema_that_moves_before_the_restore_ends_the_run(closable: Library) -> None:
    put = {"method": "PUT", "path": "/accounts/*/storage/kv/namespaces/*/values/*"}
    closable.world.sandbox.fault(**put, after=lambda: closable.migrate("0003_hot.sql", "SELECT 1", minutes=0))

    done = closable.restore(BEFORE_LAST)

    assert ended(done)[1:] == ("failed", "world_moved")
    assert closable.restores == []


@pytest.mark.slow
def test_restore_by_another_run_since_the_plan_is_refused(library: Library) -> None:
    """Both take back rows only, and the other one ends while a person reads this plan."""
    rivals = list[Outcome]()
    library.world.sandbox.fault(
        **QUERY, sends="sqlite_master", skip=1, before=lambda: rivals.append(library.restore("-2m"))
    )

    refused = library.restore("-3m")

    (rival,) = rivals
    assert rival.code == 0, rival.err
    assert ended(refused) == (3, "refused", "world_moved")
    assert f"another run restored lib: {rival.result['run']}" in refused.result["message"]
    assert len(library.restores) == 1
    again = library.restore("-3m")
    assert ended(again) == (3, "refused", "no_target")
    assert rival.result["run"] in again.result["message"]
    assert library.restore("-3m", "--accept-loss-since", library.restored_at).code == 0
    assert len(library.restores) == 2


@pytest.mark.slow
def test_restore_that_another_run_replaces_is_no_recovery(library: Library) -> None:
    """The other one restores between this restore and its read back, to a state that shows no migration less."""
    rivals = list[Outcome]()

    def restore() -> None:
        library.world.sandbox.clock.advance(2)
        elsewhere = library.on_another_machine()
        rivals.append(elsewhere.restore("-3m", "--accept-loss-since", library.restored_at))

    library.world.sandbox.fault(**QUERY, sends="sqlite_master", skip=2, before=restore)

    done = library.restore("-2m")

    (rival,) = rivals
    assert rival.code == 0, rival.err
    assert ended(done) == (4, "failed", "world_moved")
    assert f"another run restored lib: {rival.result['run']}" in done.result["message"]


@pytest.mark.slow
def test_restore_with_wrangler_since_the_plan_is_refused(library: Library) -> None:
    """wrangler leaves no row, and takes that of our last restore away."""
    assert library.restore("-2m").code == 0
    store = library.world.sandbox.d1.store(ID)
    hook = lambda: store.restore(library.history.states[-4])  # noqa: E731
    library.world.sandbox.fault(**QUERY, sends="sqlite_master", skip=1, before=hook)

    refused = library.restore("-1s", "--accept-loss-since", library.restored_at)

    assert ended(refused) == (3, "refused", "world_moved")
    message = refused.result["message"]
    assert "lib was probably restored by something else: backout_applies no longer names the last restore" in message


@pytest.mark.slow
def test_row_of_a_restore_is_only_text(library: Library) -> None:
    """Everyone who may write to the database can write a row, which can only make a run start again."""
    run = "x\n::set-output name=a::b\n'; DROP TABLE loans; -- @everyone <!-- backout -->"

    def forge() -> None:
        for statement in record_apply([RESTORE_ROW], RecordedApply("0-0", run, "2026-11-26T12:00:00Z")):
            library.write(statement.sql, *statement.params)

    library.world.sandbox.fault(**QUERY, sends="sqlite_master", skip=1, before=forge)

    refused = library.restore("-1s")

    assert ended(refused) == (3, "refused", "world_moved")
    assert "another run restored lib: x" in refused.result["message"]
    assert not any(line.startswith("::set-output") for line in (refused.out + refused.err).splitlines())
    assert library.restore("-1s").code == 0


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("fault", "fact"),
    [
        ({"status": 500}, "HTTP 500"),
        ({"lost": "after"}, "RemoteProtocolError"),
        ({"code": 7500, "message": "D1 is full"}, "D1 is full"),
    ],
)
def test_restore_that_leaves_no_row_is_a_warning(library: Library, fault: dict[str, Any], fact: str) -> None:
    library.world.sandbox.fault(**QUERY, sends="INSERT OR REPLACE INTO backout_applies", **fault)

    done = library.restore("-2m")

    assert done.code == 0, done.err
    assert any(fact in text for text in texts(done, "warning"))


@pytest.mark.slow
def test_eleventh_restore_is_refused_by_d1(library: Library) -> None:
    store = library.world.sandbox.d1.store(ID)
    for _ in range(10):
        store.restore(library.history.states[-1])

    refused = library.restore("-1m", "--incident", "42")

    assert ended(refused) == (4, "failed", "provider_refused")
    assert "10 times per 10 minutes" in refused.result["message"]


def test_unused_service_is_a_problem_of_the_configuration(library: Library) -> None:
    library.world.edit_config("        services: [api]", "        services: [apo]")

    done = library.restore("-15m")

    assert done.code == 2
    assert 'no service "apo" in production; did you mean "api"?' in done.err + done.out
