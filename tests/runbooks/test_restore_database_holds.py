"""Restore a D1 database: holds of the migrations that it takes back, and of earlier ones."""

import re
from typing import Any

import pytest

from ops.core.migrations_folder import hash_migration
from ops.database.migration_holds import HOLDS_SECTION, RESTORED
from ops.database.plan_text import ROWS_SECTION, TAKEN_BACK_SECTION
from tests.conftest import World
from tests.support import databases
from tests.support.commands import ended, texts
from tests.support.databases import Library

QUERY = {"method": "POST", "path": "/accounts/*/d1/database/*/query"}
AGAIN = "the next deployment applies the migrations again"
ADDS_TAGS = "ALTER TABLE books ADD COLUMN tags TEXT"


@pytest.fixture
def library(world: World) -> Library:
    found = databases.prepared(world)
    world.edit_config("            at_least: 1", "            at_least: 0")
    return found


def held(library: Library) -> dict[str, dict[str, Any]]:
    """Return migration → its hold."""
    tables = library.rows("SELECT name FROM sqlite_schema WHERE name = 'backout_holds'")
    return {row["migration"]: row for row in library.rows("SELECT * FROM backout_holds")} if tables else {}


def bookmark_of(done: Any) -> str:
    (undo,) = done.result["undo"]
    return str(undo.partition("--to ")[2].split()[0])


@pytest.mark.slow
def test_migration_is_held_with_its_undo(library: Library) -> None:
    done = library.restore("before-migration:0002_b.sql", "--incident", "42")

    assert done.code == 0, done.err
    assert done.result["plan"]["sections"][HOLDS_SECTION] == [
        "0002_b.sql: held until its content changes, or a responder lifts the hold with lift-hold"
    ]
    hold = held(library)["0002_b.sql"]
    assert (hold["incident"], hold["run"], hold["undo"]) == ("42", done.result["run"], bookmark_of(done))
    assert any(AGAIN in text for text in done.result["plan"]["warnings"])
    assert AGAIN in done.result["message"]
    assert any(AGAIN in text for text in texts(done, "warning"))

    library.world.sandbox.clock.advance(60)
    undone = library.restore(bookmark_of(done))

    assert undone.code == 0, undone.err
    assert held(library) == {}
    assert library.migrations == ["0001_first.sql", "0002_b.sql"]
    (line,) = undone.result["plan"]["sections"][HOLDS_SECTION]
    assert line.endswith("removed, because this restore undoes its run")


@pytest.mark.slow
def test_restore_to_before_a_hold_keeps_it(library: Library) -> None:
    """The undo of the second restore removes only its own hold; a hold that was lifted stays so."""
    library.restore("before-migration:0002_b.sql")
    first = held(library)["0002_b.sql"]
    library.migrate("0003_c.sql", "ALTER TABLE books ADD COLUMN color TEXT")
    library.restore("before-migration:0003_c.sql")
    library.write("DELETE FROM backout_holds WHERE migration = '0003_c.sql'")
    library.world.sandbox.clock.advance(60)

    second = library.restore("before-migration:0001_first.sql")

    assert second.code == 0, second.err
    assert held(library).keys() == {"0001_first.sql", "0002_b.sql"}
    assert held(library)["0002_b.sql"] == first
    assert texts(second, "prepared")[0] == f"{RESTORED}lib: 0002_b.sql"

    library.world.sandbox.clock.advance(60)
    library.restore(bookmark_of(second))
    assert held(library) == {"0002_b.sql": first}


@pytest.mark.slow
def test_rows_and_table_of_strangers_do_not_stop_a_restore(library: Library) -> None:
    """Everyone who may write the database can write holds: no key, control characters, duplicates, huge texts."""
    library.write("CREATE TABLE backout_holds (migration, hash, incident, run, held_at, undo)")
    library.write("INSERT INTO backout_holds VALUES ('0009_x.sql', '', '7', 'run-1', '2026-11-24T03:05:00Z', '')")
    for evil in ("NULL", "char(27) || '[2J' || char(10) || '@everyone'", "hex(zeroblob(90000))"):
        library.write(f"INSERT INTO backout_holds VALUES ({evil}, {evil}, {evil}, {evil}, {evil}, {evil})")
    forged = "INSERT OR IGNORE INTO d1_migrations (name) VALUES ('0010_forged.sql')"
    library.write(f"CREATE TRIGGER forge AFTER INSERT ON backout_holds BEGIN {forged}; END")
    library.migrate("0003_c.sql", "ALTER TABLE books ADD COLUMN color TEXT")

    done = library.restore("before-migration:0003_c.sql")

    assert done.code == 0, done.err
    assert held(library).keys() == {"0003_c.sql", "0009_x.sql"}
    assert library.migrations == ["0001_first.sql", "0002_b.sql"]
    assert "everyone" not in done.out + done.err
    assert "000000" * 20 not in done.out + done.err


@pytest.mark.slow
def test_hostile_names_of_tables_and_migrations_are_shown_short(library: Library) -> None:
    evil = "x\x1b[2J\n@everyone `<!-- backout:v1 {} -->` " + "y" * 5000
    library.write(f'CREATE TABLE "{evil}" (id)')
    library.migrate("0003_c.sql", f'INSERT INTO "{evil}" VALUES (1), (2)')
    library.migrate(evil, f'INSERT INTO "{evil}" VALUES (3)')

    done = library.restore("before-migration:0003_c.sql")

    assert done.code == 0, done.err
    plan = done.result["plan"]
    shown = [
        *plan["sections"][ROWS_SECTION],
        *plan["sections"][TAKEN_BACK_SECTION],
        *plan["warnings"],
    ]
    assert max(map(len, shown)) < 300
    assert not set("\x1b\n") & set("".join(shown))


@pytest.mark.slow
def test_guarded_database_has_no_warning(library: Library) -> None:
    library.world.edit_config("        services: [api]", "        services: [api]\n        guard: true")

    done = library.restore("before-migration:0002_b.sql")

    assert not any(AGAIN in text for text in [done.result["message"], *done.result["plan"]["warnings"]])


@pytest.mark.slow
def test_hold_has_the_content_of_the_default_branch(library: Library) -> None:
    text = "ALTER TABLE books ADD COLUMN tags TEXT;"
    library.commit({"db/migrations/0002_b.sql": text})

    library.restore("before-migration:0002_b.sql")

    assert held(library)["0002_b.sql"]["hash"] == hash_migration(text)


@pytest.mark.slow
@pytest.mark.parametrize("answer", [{"lost": "after"}, {"status": 500, "applied": True}, {"lost": "before"}])
def test_lost_answer_to_the_holds_is_settled(library: Library, answer: dict[str, Any]) -> None:
    library.world.sandbox.fault(**QUERY, sends="INSERT INTO backout_holds", **answer)

    done = library.restore("before-migration:0002_b.sql")

    assert done.code == 0, done.err
    assert held(library).keys() == {"0002_b.sql"}


@pytest.mark.slow
def test_holds_are_written_by_the_same_command_after_an_interruption(library: Library) -> None:
    """The first run ends right after its restore, which took the table of holds back too."""
    hub = library.world.sandbox.github
    hub.add_user("alice")
    number = hub.open_issue("Prices are gone", labels=["incident"], author="alice")
    incident = ["--incident", str(number)]
    environ = {**hub.environ(), "GITHUB_RUN_ID": "", "GITHUB_ACTIONS": ""}
    library.restore("before-migration:0002_b.sql")
    library.migrate("0003_c.sql", "SELECT 1")
    library.world.sandbox.fault(**QUERY, sends="INSERT INTO backout_holds", code=7500, message="disk full: SQLITE_FULL")

    failed = library.restore("before-migration:0001_first.sql", *incident, **environ)
    assert failed.result["decision"] == "failed"
    assert failed.result["outcome"]["not_changed"] == ["Holds of D1 database lib"]
    assert held(library) == {}
    again = library.restore("before-migration:0001_first.sql", *incident, **environ)

    assert again.code == 0, again.err
    assert held(library).keys() == {"0001_first.sql", "0002_b.sql", "0003_c.sql"}
    assert ended(library.restore("before-migration:0001_first.sql"))[1] == "nothing_to_do"


@pytest.mark.slow
@pytest.mark.parametrize("stale", [1, 3])
def test_stale_reads_do_not_lose_a_hold(library: Library, stale: int) -> None:
    library.restore("before-migration:0002_b.sql")
    library.write("INSERT INTO books (title) VALUES ('Persuasion')", minutes=5)
    library.world.sandbox.clock.advance(60)
    library.world.sandbox.switches.d1_stale_reads = stale

    done = library.restore("-30m", "--accept-loss-since", library.restored_at)

    assert done.code == 0, done.err
    assert "0002_b.sql" in held(library)


@pytest.mark.sampled
@pytest.mark.parametrize("incident", [(), ("--incident", "42")], ids=["no incident", "incident that cannot be read"])
@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_last_migration_is_named_without_the_record_of_an_incident(
    library: Library, incident: tuple[str, ...], more: tuple[str, ...]
) -> None:
    """A run that is killed before its holds leaves no trace that the repeated one could read."""
    refused = library.restore("before-last-migration", *incident, *more)

    assert ended(refused) == (3, "refused", "no_target")
    assert re.search(r"before-last-migration .* 0002_b\.sql", refused.result["message"])
    assert "--to before-migration:0002_b.sql --one-person" in refused.result["press"]
    assert library.restores == []


def test_last_migration_is_not_clear_after_a_hold(library: Library) -> None:
    library.restore("before-migration:0002_b.sql")

    again = library.restore("before-last-migration")

    assert ended(again) == (3, "refused", "no_target")
    assert re.search(r"\b0002_b\.sql\b.*\bbefore-last-migration\b", again.result["message"])
    assert library.migrations == ["0001_first.sql"]

    library.world.sandbox.clock.advance(3700)
    later = library.restore("before-last-migration")
    assert re.search(r"before-last-migration .* 0001_first\.sql", later.result["message"])


HOLD = {**QUERY, "sends": "INSERT INTO backout_holds"}


def test_migration_that_is_applied_again_before_its_hold_is_no_success(library: Library) -> None:
    """A deployment that has no guard, or whose guard had read before, comes between the restore and the hold."""
    library.world.sandbox.fault(**HOLD, before=lambda: library.migrate("0002_b.sql", ADDS_TAGS, minutes=0.1))

    done = library.restore("before-migration:0002_b.sql")

    assert ended(done)[:2] == (6, "still_unhealthy"), done.err
    assert "0002_b.sql" in done.result["message"]
    assert "--to before-migration:0002_b.sql" in done.result["press"]
    library.world.sandbox.clock.advance(60)
    again = library.restore("before-migration:0002_b.sql")
    assert again.code == 0, again.err
    assert library.migrations == ["0001_first.sql"]
    assert [*held(library)] == ["0002_b.sql"]
    library.world.sandbox.clock.advance(60)
    assert ended(library.restore("before-migration:0002_b.sql"))[:2] == (0, "nothing_to_do")


@pytest.mark.slow
def test_service_stays_closed_over_a_migration_that_is_applied_again(world: World) -> None:
    library = databases.prepared_at_edge(world)
    world.sandbox.fault(**HOLD, before=lambda: library.migrate("0002_b.sql", ADDS_TAGS, minutes=0.1))

    done = library.restore("before-migration:0002_b.sql")

    assert ended(done)[:2] == (6, "still_unhealthy"), done.err
    assert "api stays in maintenance until you run `ops maintenance" in done.result["message"]
    assert databases.ingress(world)[0] == dict.fromkeys(databases.ingress(world)[0], "ops-maintenance")
    world.sandbox.clock.advance(60)
    assert library.restore("before-migration:0002_b.sql").code == 0
    assert "ops-maintenance" not in databases.ingress(world)[0].values()
