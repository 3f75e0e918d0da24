"""Restores with maintenance by the switch that are killed, lost, repeated, or run at the same time as another one."""

import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ops.database.restore import UNDO_PREFIX
from tests.conftest import Outcome, World
from tests.support import databases, switches
from tests.support.commands import Command, ended, texts
from tests.support.databases import RESTORE, Library
from tests.support.interleavings import fresh_world
from tests.support.kill_points import ANY_REQUEST, kill_points

BEFORE_LAST = "before-migration:0002_b.sql"
OPENS = {"method": "PUT", "path": "/accounts/*/storage/kv/namespaces/*/values/*", "sends": '"off"'}
CLOSES = {**OPENS, "sends": '"on"'}


@pytest.fixture
def library(world: World) -> Library:
    return prepared(world)


def prepared(world: World) -> Library:
    return databases.with_switched_maintenance(databases.prepared(world))


def content(library: Library) -> dict[str, list[dict[str, Any]]]:
    """Return every row of every table of the application."""
    return {name: library.rows(f"SELECT * FROM {name} ORDER BY id") for name in ("books", "loans", "d1_migrations")}


def maintenance(library: Library) -> str:
    library.world.sandbox.clock.advance(90)
    value = switches.SwitchWorld(library.world).value("maintenance")
    assert value
    return str(value["state"])


def command(library: Library, *more: str, **environ: str) -> Command:
    given = ("--database", "lib", "--to", BEFORE_LAST, "--one-person", *more)
    variables = {"CLOUDFLARE_API_TOKEN": "library", **environ}
    return Command(library.world, "restore-database", service="", more=given, environ=variables)


def recorded_undos(library: Library) -> list[str]:
    """Return the bookmarks that all runs recorded right before a restore, oldest first."""
    texts = [path.read_text() for path in sorted((library.world.folder / ".ops" / "runs").glob("*/timeline.jsonl"))]
    parts = [part for text in texts for part in text.split(f"{UNDO_PREFIX}lib: bookmark ")[1:]]
    return [part.partition('"')[0] for part in parts]


def kill_and_repeat(library: Library, fault: Mapping[str, Any], moment: str) -> None:
    """Kill a run, check that every row can come back, and that the same command ends the recovery."""
    before, run = content(library), command(library)
    lost = {"lost": "before"} if moment == "before" else {}
    library.world.sandbox.fault(**fault, **{moment: run.send(signal.SIGKILL)}, **lost)
    run.run()
    library.world.sandbox.faults.clear()
    is_restored = library.migrations == ["0001_first.sql"]
    assert is_restored or content(library) == before
    library.world.sandbox.clock.advance(90)

    again = library.restore(BEFORE_LAST)

    assert again.code == 0, again.err
    assert (library.migrations, library.count("loans")) == (["0001_first.sql"], 1)
    assert maintenance(library) == "off"
    library.restore(recorded_undos(library)[-1])
    assert content(library) == before


@pytest.mark.slow
@pytest.mark.parametrize("fault", [CLOSES, RESTORE, OPENS], ids=["closes", "restores", "opens"])
def test_run_killed_before_a_write_is_finished_by_the_same_command(library: Library, fault: dict[str, Any]) -> None:
    kill_and_repeat(library, fault, "before")


@pytest.mark.slow
def test_run_killed_at_any_request_is_finished_by_the_same_command(tmp_path: Path) -> None:
    points = kill_points(tmp_path / "whole", lambda world: command(prepared(world)))
    assert len(points) > 5
    for nth in points:
        print("killed after request", nth)
        with fresh_world(tmp_path / str(nth)) as world:
            kill_and_repeat(prepared(world), {**ANY_REQUEST, "skip": nth}, "after")


def test_lost_answer_in_maintenance_is_settled_by_exact_counts(library: Library) -> None:
    """No migration is taken back, and the counts of a closed database tell."""
    library.world.sandbox.clock.advance(600)
    library.write("INSERT INTO books (title) VALUES ('Persuasion')")
    library.world.sandbox.clock.advance(60)
    library.world.sandbox.fault(**RESTORE, lost="after")

    done = library.restore("-5m")

    assert done.code == 0, done.err
    assert len(library.restores) == 1
    assert any("books: 3 → 2 rows, 1 rows removed" in text for text in texts(done, "read_back"))
    assert maintenance(library) == "off"


def test_lost_answer_that_nothing_settles_keeps_maintenance_on(library: Library) -> None:
    library.world.sandbox.clock.advance(600)
    library.write("UPDATE books SET title = 'Persuasion' WHERE id = 1")
    library.world.sandbox.clock.advance(60)
    library.world.sandbox.fault(**RESTORE, lost="after")

    done = library.restore("-5m")

    assert ended(done)[:2] == (5, "unknown_outcome")
    assert "api stays in maintenance until you run" in done.result["message"]
    assert len(library.restores) == 1
    assert maintenance(library) == "on"


@pytest.mark.slow
def test_point_out_of_retention_turns_no_maintenance_on(library: Library) -> None:
    library.world.sandbox.clock.advance(9 * 86400)

    done = library.restore(BEFORE_LAST)

    assert ended(done) == (3, "refused", "no_target")
    assert "Time Travel keeps 7 days on Free" in done.result["hint"]
    assert (library.restores, maintenance(library)) == ([], "off")


@pytest.mark.slow
def test_second_restore_of_the_same_point_is_undone_to_the_first(library: Library) -> None:
    """Each undo leads to the state right before its own restore."""
    before = content(library)
    first = library.restore("-3m")
    restored = content(library)
    library.world.sandbox.clock.advance(60)
    library.lend()
    between = content(library)
    library.world.sandbox.clock.advance(60)

    second = library.restore(first.result["undo"][0].partition("--to ")[2].split()[0])

    assert content(library) == before
    (undo,) = second.result["undo"]
    library.world.sandbox.clock.advance(60)
    library.restore(undo.partition("--to ")[2].split()[0])
    assert content(library) == between != restored


def run_two(
    library: Library, *more: str, begin: Callable[[], None] = lambda: None, **environ: str
) -> tuple[Outcome, Outcome]:
    """Make a whole second run, after `begin`, when the first one has sent its restore, and before D1 makes it."""
    second: list[Outcome] = []
    rival = command(library.on_another_machine(), *more, **environ)

    def run_rival() -> None:
        begin()
        second.append(rival.run())

    library.world.sandbox.fault(**RESTORE, before=run_rival)
    first = command(library, *more, **environ).run()
    return first, second[0]


@pytest.mark.slow
def test_two_runs_at_once_restore_the_same_state(library: Library) -> None:
    """Without an incident, a run learns of the other one from D1's answer, which is too late to stop."""
    library.world.sandbox.switches.d1_later_bookmarks_kept = True
    before = content(library)

    first, second = run_two(library)

    assert {first.result["decision"], second.result["decision"]} <= {"recovered", "healthy_as_before", "no_evidence"}
    assert (library.migrations, library.count("loans")) == (["0001_first.sql"], 1)
    assert len(set(library.restores)) == 1
    (warning,) = [text for text in texts(first, "warning") if "another restore" in text]
    library.world.sandbox.clock.advance(60)
    library.restore(warning.rpartition("bookmark ")[2])
    assert content(library) == before


@pytest.mark.slow
def test_second_run_on_an_incident_is_refused_while_the_first_restores(library: Library) -> None:
    hub = library.world.sandbox.github
    hub.add_user("alice")
    number = hub.open_issue("Loans are gone", labels=["incident"], author="alice")
    token = hub.add_token("of-alice", "alice")
    environ = {**hub.environ(), "GITHUB_TOKEN": token, "GITHUB_RUN_ID": "", "GITHUB_ACTIONS": ""}

    def wait_for_the_comment() -> None:
        end = time.monotonic() + 60
        while not any("undo of the restore" in each.body for each in hub.issue(number).comments):
            assert time.monotonic() < end
            time.sleep(0.05)
        hub.catch_up()  # people start commands seconds apart

    first, second = run_two(library, "--incident", str(number), begin=wait_for_the_comment, **environ)

    assert first.code == 0, first.err
    assert ended(second) == (3, "refused", "world_moved"), second.err
    assert second.result["message"].startswith("nothing was changed: another run restores lib since ")
    assert len(library.restores) == 1
