"""Properties of a restore: every row at a random point, its undo, and an end at any step."""

import signal
from pathlib import Path
from random import Random
from typing import Any

import hypothesis.strategies as st
import pytest

from ops.database.restore import UNDO_PREFIX
from tests.conftest import World
from tests.support import databases
from tests.support.claims import case_world
from tests.support.commands import Command
from tests.support.databases import RESTORE, Library
from tests.support.interleavings import fresh_world
from tests.support.kill_points import ANY_REQUEST, kill_points
from tests.support.properties import holds_for

TABLES = ("books", "loans", "d1_migrations")


def content(library: Library) -> dict[str, list[dict[str, Any]]]:
    """Return every row of every table."""
    return {table: library.rows(f"SELECT * FROM {table} ORDER BY id") for table in TABLES}


def write_randomly(library: Library, random: Random) -> None:
    match random.choice(["lend", "return", "rename", "migrate"]):
        case "lend":
            library.lend(random.randint(1, 2))
        case "return":
            library.write("DELETE FROM loans WHERE id = (SELECT max(id) FROM loans)")
        case "rename":
            library.write("UPDATE books SET title = ? WHERE id = 1", str(random.random()))
        case _:
            library.migrate(f"{len(library.history.states):04}_random.sql", minutes=random.randint(2, 5))


def undo_of(result: dict[str, Any]) -> str:
    (undo,) = result["undo"]
    return str(undo.partition("--to ")[2].split()[0])


@holds_for(4, 60, seed=st.integers(0, 10**9))
def test_restore_and_undo_bring_back_every_row(seed: int) -> None:
    """Write, restore a random bookmark, compare, undo, compare; under random values of each switch."""
    random = Random(seed)
    with case_world(None) as world:
        library = databases.prepared(world)
        databases.vary_bookmarks(world, random)
        states = []
        for _ in range(random.randint(3, 8)):
            write_randomly(library, random)
            states.append((library.history.current.bookmark, content(library)))
        world.sandbox.clock.advance(60)
        bookmark, rows = random.choice(states)

        done = library.restore(bookmark)

        assert done.code == 0, done.err
        assert content(library) == rows
        world.sandbox.clock.advance(60)
        undone = library.restore(undo_of(done.result))
        assert undone.code == 0, undone.err
        assert content(library) == states[-1][1]


def command_of(world: World) -> Command:
    more = ("--database", "lib", "--to", "before-migration:0002_b.sql", "--one-person")
    return Command(world, "restore-database", service="", more=more, environ={"CLOUDFLARE_API_TOKEN": "library"})


def interrupt(world: World, fault: dict[str, Any], moment: str) -> None:
    """Kill a run at a request, and check that at most the planned state is live, and that the record has its undo."""
    library = databases.prepared(world)
    before = content(library)
    command = command_of(world)
    lost = {"lost": "before"} if moment == "before" else {}
    world.sandbox.fault(**fault, **{moment: command.send(signal.SIGKILL)}, **lost)

    command.run()

    world.sandbox.faults.clear()
    if library.migrations == ["0001_first.sql"]:
        text = next((world.folder / ".ops" / "runs").glob("*/timeline.jsonl")).read_text()
        bookmark = text.partition(f"{UNDO_PREFIX}lib: bookmark ")[2].partition('"')[0]
        world.sandbox.clock.advance(60)
        assert library.restore(bookmark).code == 0
    assert content(library) == before


@pytest.mark.parametrize("moment", ["before", "after"])
def test_run_killed_at_the_restore_can_be_undone(world: World, moment: str) -> None:
    interrupt(world, RESTORE, moment)
    assert len(Library(world).restores) == (2 if moment == "after" else 1)


def test_run_killed_at_any_request_can_be_undone(tmp_path: Path) -> None:
    points = kill_points(tmp_path / "whole", lambda world: command_of(databases.prepared(world).world))
    assert len(points) > 5
    for nth in points:
        print("killed after request", nth)
        with fresh_world(tmp_path / str(nth)) as world:
            interrupt(world, {**ANY_REQUEST, "skip": nth}, "after")
