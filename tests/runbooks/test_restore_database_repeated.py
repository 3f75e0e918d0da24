"""A restore that is pressed again: after a kill, a signal, a lost answer or a success, by the same or printed command.

No press may bring back what the first one took away, nor lose rows that were written since, without their name.
"""

import shlex
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.conftest import Outcome, World
from tests.support import databases, shopdesk
from tests.support.commands import Command, ended
from tests.support.databases import ID, RESTORE, Library

QUERY = {"method": "POST", "path": "/accounts/*/d1/database/*/query"}
ROW = {**QUERY, "sends": "INSERT OR REPLACE INTO backout_applies"}


def content(library: Library) -> dict[str, list[dict[str, Any]]]:
    """Return every row of every table of the application."""
    return {name: library.rows(f"SELECT * FROM {name} ORDER BY id") for name in ("books", "loans", "d1_migrations")}


@pytest.fixture
def library(world: World) -> Library:
    return databases.prepared(world)


def test_relative_time_is_never_read_again_from_now(library: Library) -> None:
    library.world.sandbox.switches.d1_later_bookmarks_kept = True
    assert library.restore("-5m").code == 0
    restored = content(library)
    library.world.sandbox.clock.advance(120)

    again = library.restore("-5m")

    assert content(library) == restored
    assert ended(again) == (3, "refused", "no_target")


@dataclass
class Presses:
    """A library whose restore to five minutes ago is pressed several times, with or without an incident."""

    library: Library
    more: tuple[str, ...] = ()
    environ: dict[str, str] = field(default_factory=dict)

    def press(self, to: str, *more: str) -> Outcome:
        return self.library.restore(to, *self.more, *more, **self.environ)

    def press_printed(self, command: str) -> Outcome:
        """Run a printed command as it stands, with --yes."""
        program, *arguments = shlex.split(command)
        assert program == "ops"
        if "--config" not in arguments:  # printed by a process in the folder of ops.yml
            arguments += ["--config", str(self.library.world.config)]
        tokens = {"CLOUDFLARE_API_TOKEN": "library", "OPS_SOURCE": "app", **self.environ}
        return self.library.world.ops(*arguments, "--yes", "--json", **tokens)

    def plain(self) -> Outcome:
        return self.press("-5m")

    def lost(self) -> Outcome:
        self.library.world.sandbox.fault(**RESTORE, lost="after")
        return self.press("-5m")

    def signaled(self, number: int) -> Outcome:
        given = ("--database", "lib", "--to", "-5m", "--one-person", *self.more)
        environ = {"CLOUDFLARE_API_TOKEN": "library", **self.environ}
        command = Command(self.library.world, "restore-database", service="", more=given, environ=environ)
        self.library.world.sandbox.fault(**RESTORE, after=command.send(number))
        return command.run()


def presses(library: Library, *, incident: bool) -> Presses:
    library.world.sandbox.switches.d1_later_bookmarks_kept = True
    if not incident:
        return Presses(library)
    hub = library.world.sandbox.github
    hub.add_user("alice")
    number = hub.open_issue("Loans are gone", labels=["incident"], author="alice")
    return Presses(library, ("--incident", str(number)), {**hub.environ(), "GITHUB_RUN_ID": "", "GITHUB_ACTIONS": ""})


WAYS: dict[str, Callable[[Presses], Outcome]] = {
    "plain": Presses.plain,
    "lost answer": Presses.lost,
    "SIGTERM": lambda asked: asked.signaled(signal.SIGTERM),
    "SIGKILL": lambda asked: asked.signaled(signal.SIGKILL),
}


@pytest.mark.slow
@pytest.mark.parametrize("incident", [False, True], ids=["alone", "incident"])
@pytest.mark.parametrize("way", WAYS)
def test_each_further_press_keeps_restored_and_later_rows(library: Library, way: str, *, incident: bool) -> None:
    """The relative time is typed again, then the printed commands, which only check."""
    asked = presses(library, incident=incident)
    first = WAYS[way](asked)
    library.world.sandbox.faults.clear()
    assert (library.migrations, library.count("loans")) == (["0001_first.sql"], 1)
    library.world.sandbox.clock.advance(70)
    library.lend()
    kept = content(library)

    second = asked.press("-5m")
    third = asked.press_printed(second.result["press"])
    last = asked.press_printed((first if way == "SIGTERM" else second).result["press"])

    assert ended(second) == (3, "refused", "no_target")
    assert library.restores[0] in second.result["press"]
    assert recorded_undo(library) in second.result["message"]
    writes_holds = way.startswith("SIG")
    assert ended(third)[:2] == (0, "healthy_as_before" if writes_holds else "nothing_to_do")
    assert ended(last) == (0, "nothing_to_do", "already_live")
    assert content(library) == kept
    assert len(library.restores) == 1
    assert held(library) == {"0002_b.sql"}


def recorded_undo(library: Library) -> str:
    """Return the bookmark right before the restore, as D1 named it if a run got the answer."""
    (state,) = [each for each in library.history.states if "-ffffffff-" in each.bookmark]
    recorded = library.history.states[state.number - 1].bookmark
    rows = library.rows("SELECT name FROM sqlite_master WHERE name = 'backout_applies'")
    undo = library.rows("SELECT bookmark FROM backout_applies WHERE migration = 'restore-undo'") if rows else []
    return str(undo[0]["bookmark"]) if undo else recorded


def held(library: Library) -> set[str]:
    return {row["migration"] for row in library.rows("SELECT migration FROM backout_holds")}


def damage_rows(library: Library, sql: str = "INSERT INTO books (title) VALUES ('Persuasion')") -> None:
    """Damage data without a migration, three minutes before now."""
    library.world.sandbox.clock.advance(600)
    library.write(sql)
    library.world.sandbox.clock.advance(180)


@pytest.mark.slow
def test_acceptance_by_name_restores_once(library: Library) -> None:
    """The damage comes back after the restore, so a person wants the same state again."""
    asked = presses(library, incident=False)
    damage_rows(library)
    asked.press("-5m")
    library.write("INSERT INTO books (title) VALUES ('Persuasion again')")
    library.world.sandbox.clock.advance(60)

    checked = asked.press(library.restores[0])
    (printed,) = [text for text in checked.result["plan"]["warnings"] if "--accept-loss-since" in text]
    again = asked.press_printed(printed.partition("`")[2].partition("`")[0])
    library.lend()
    stale = asked.press_printed(printed.partition("`")[2].partition("`")[0])

    assert ended(checked) == (0, "nothing_to_do", "already_live")
    assert again.code == 0, again.err
    assert library.count("books") == 2
    assert ended(stale) == (0, "nothing_to_do", "already_live")
    assert (len(library.restores), library.count("loans")) == (2, 5)


@pytest.mark.parametrize("accepted", ["2026-11-24T00:00:00Z", "yesterday"])
def test_acceptance_of_another_time_restores_nothing(library: Library, accepted: str) -> None:
    library.restore("-5m")

    refused = library.restore("-20m", "--accept-loss-since", accepted)

    assert refused.result["decision"] == "refused"
    assert len(library.restores) == 1


@pytest.mark.slow
def test_unknown_restore_is_never_sent_again_without_its_name(library: Library) -> None:
    """Only a title changed, and no write followed, so nothing shows whether D1 made the restore."""
    asked = presses(library, incident=False)
    damage_rows(library, "UPDATE books SET title = 'Persuasion' WHERE id = 1")
    asked.lost()
    (target,), undo = library.restores, recorded_undo(library)
    library.world.sandbox.clock.advance(150)

    relative = asked.press("-5m")
    absolute = asked.press_printed(relative.result["press"])

    for refused in (relative, absolute):
        assert ended(refused) == (3, "refused", "live_unknown")
        assert undo in refused.result["message"]
        assert target in refused.result["message"]
    assert f"--to {target} " in relative.result["press"]
    assert library.restores == [target]
    named = absolute.result["hint"].partition("`")[2].partition("`")[0]
    assert asked.press_printed(named).code == 0
    assert library.restores == [target, target]


@pytest.mark.slow
def test_undo_of_a_restore_that_was_perhaps_not_made_needs_the_name_of_its_loss(library: Library) -> None:
    """The request never reached D1, so that the undo would take back only what users wrote since."""
    asked = presses(library, incident=False)
    damage_rows(library, "UPDATE books SET title = 'Persuasion' WHERE id = 1")
    library.world.sandbox.fault(**RESTORE, lost="before")
    undo = library.history.current.bookmark
    assert asked.press("-5m").result["decision"] == "unknown_outcome"
    library.lend()
    library.world.sandbox.clock.advance(90)

    refused, third = asked.press(undo), asked.press(undo)

    for each in (refused, third):
        assert ended(each) == (3, "refused", "live_unknown")
        assert "nothing shows whether D1 made it" in each.result["message"]
        assert f"--to {undo} --accept-loss-since" in each.result["hint"]
    assert (library.count("loans"), len(library.restores)) == (5, 1)
    named = refused.result["hint"].partition("`")[2].partition("`")[0]
    assert asked.press_printed(named).code == 0
    assert library.count("loans") == 4


@pytest.mark.slow
def test_restore_that_was_not_made_is_made_by_the_printed_command(library: Library) -> None:
    """The run is killed before its request reaches D1, and the newer rows show that."""
    asked = presses(library, incident=False)
    damage_rows(library)
    library.lend()
    given = ("--database", "lib", "--to", "-8m", "--one-person")
    command = Command(
        library.world, "restore-database", service="", more=given, environ={"CLOUDFLARE_API_TOKEN": "library"}
    )
    library.world.sandbox.fault(**RESTORE, before=command.send(signal.SIGKILL), lost="before")
    command.run()
    library.world.sandbox.faults.clear()
    library.world.sandbox.clock.advance(300)

    second = asked.press("-8m")
    third = asked.press_printed(second.result["press"])

    assert ended(second) == (3, "refused", "live_unknown")
    assert third.code == 0, third.err
    assert (library.count("books"), library.count("loans")) == (2, 4)


def test_machine_without_records_reads_the_session_of_the_bookmark(library: Library) -> None:
    """The row is missing, and somebody wrote since."""
    library.world.sandbox.switches.d1_later_bookmarks_kept = True
    library.world.sandbox.fault(**ROW, status=500)
    library.world.sandbox.fault(**ROW, status=500)
    library.restore("-5m")
    library.write("DROP TABLE IF EXISTS backout_applies", minutes=0)
    library.lend()
    kept, elsewhere = content(library), library.on_another_machine()

    second = elsewhere.restore("-5m")
    absolute = elsewhere.restore(library.restores[0])

    for refused in (second, absolute):
        assert ended(refused) == (3, "refused", "live_unknown")
        assert "no run recorded one" in refused.result["message"]
        assert recorded_undo(library) in refused.result["message"]
    assert content(library) == kept


@pytest.mark.slow
def test_new_session_without_a_restore_does_not_stop_the_first_press(library: Library) -> None:
    """D1 may begin a session for another reason. A migration to take back shows that no restore did that."""
    library.history.begin_session()
    library.lend()

    assert library.restore("-6m").code == 0


@pytest.mark.slow
def test_second_press_within_a_minute_of_a_kill_waits(library: Library) -> None:
    asked = presses(library, incident=False)
    asked.signaled(signal.SIGKILL)

    refused = asked.press("-5m")

    assert ended(refused) == (3, "refused", "world_moved")
    assert library.restores[0] in refused.result["press"]
    assert "start the command below at" in refused.result["hint"]
    library.world.sandbox.clock.advance(60)
    done, third = asked.press_printed(refused.result["press"]), asked.press_printed(refused.result["press"])
    assert (done.code, ended(third)[1]) == (0, "nothing_to_do")
    assert (len(library.restores), library.migrations) == (1, ["0001_first.sql"])


@pytest.mark.parametrize("damage", ["short", "long"])
def test_damaged_bookmark_of_a_record_is_in_no_command(library: Library, damage: str) -> None:
    asked = presses(library, incident=False)
    asked.signaled(signal.SIGKILL)
    (path,) = (library.world.folder / ".ops" / "runs").glob("*/timeline.jsonl")
    bookmark = library.restores[0]
    damaged = bookmark[:-1] if damage == "short" else f"{bookmark}0"
    assert bookmark in path.read_text()
    path.write_text(path.read_text().replace(bookmark, damaged))

    refused = asked.press("-5m")

    assert ended(refused) == (3, "refused", "world_moved")
    assert damaged not in refused.out + refused.err
    library.world.sandbox.clock.advance(60)
    asked.press("-5m")
    assert len(library.restores) == 1


@pytest.mark.slow
def test_dry_run_prints_the_absolute_target(library: Library) -> None:
    planned = library.restore("-5m", "--dry-run")

    assert "--to 0000" in planned.result["press"]


@pytest.mark.parametrize("way", ["status", "lost"])
def test_shop_is_not_stepped_back_by_its_second_press(world: World, way: str) -> None:
    """An application with its own table of migrations, at the edge."""
    world.sandbox.switches.d1_later_bookmarks_kept = True
    shop = shopdesk.prepared(world)
    if way == "lost":
        world.sandbox.fault(**RESTORE, lost="after")
    assert shop.restore("-4m").code == 0
    world.sandbox.clock.advance(60)
    shop.order()
    kept = shop.content()

    second = shop.restore("-4m")
    (program, *arguments) = shlex.split(second.result["press"])
    third = world.ops(*arguments, "--yes", "--json", SHOP_TOKEN="shop")

    assert ended(second) == (3, "refused", "no_target")
    assert program == "ops"
    assert ended(third) == (0, "nothing_to_do", "already_live")
    assert shop.content() == kept


@pytest.mark.slow
def test_new_session_does_not_prove_a_restore_of_migrations(library: Library) -> None:
    """The restore never reached D1, and D1 began another session: the migration is still applied."""
    fail = library.world.sandbox.fault
    fail(**RESTORE, lost="before", before=lambda: fail(**QUERY, status=500, times=None))
    first = library.restore("-5m")
    library.world.sandbox.faults.clear()
    library.history.begin_session()
    library.lend()
    library.world.sandbox.clock.advance(60)

    done = library.restore(first.result["press"].partition("--to ")[2].split()[0])

    assert first.result["decision"] == "unknown_outcome"
    assert done.code == 0, done.err
    assert library.migrations == ["0001_first.sql"]


@pytest.mark.parametrize(
    ("written", "elsewhere"),
    [('"environment": "production"', '"environment": "staging"'), ("http://127.0.0.1:", "http://127.0.0.2:")],
    ids=["of another environment", "of another sandbox"],
)
def test_record_of_another_place_stops_nothing(library: Library, written: str, elsewhere: str) -> None:
    """A restore of the same name in staging, or in a drill, is another database."""
    library.world.sandbox.fault(**RESTORE, lost="after")
    damage_rows(library, "UPDATE books SET title = 'Persuasion' WHERE id = 1")
    library.restore("-5m")
    library.world.sandbox.clock.advance(150)
    (path,) = (library.world.folder / ".ops" / "runs").glob("*/timeline.jsonl")
    assert written in path.read_text()
    path.write_text(path.read_text().replace(written, elsewhere))

    assert library.restore("-5m").code == 0


def test_comment_and_last_run_show_the_undo_of_the_answer(world: World) -> None:
    """Only the answer of D1 names the bookmark right before the write. Its restore also removes the hold of the run."""
    shop = shopdesk.prepared(world)
    hub = world.sandbox.github
    number = hub.open_issue("Orders are gone", labels=["incident"])
    done = shop.restore("before-last-migration", "--incident", str(number), **hub.environ())
    (undo,) = done.result["undo"]
    bookmark = undo.partition("--to ")[2].split()[0]

    comment = hub.issue(number).comments[-1].body.replace("\\\n", "").replace("'", "")

    assert comment.count(f"to `{bookmark}`") == 1
    assert f"--to {bookmark}" in world.ops("last", "--config", str(world.config)).out


def test_migration_that_was_applied_again_is_no_restored_state(library: Library) -> None:
    """A deployment without a guard applies it again, and the command of the first run is pressed once more."""
    asked = presses(library, incident=False)
    asked.press("-5m")
    library.migrate("0002_b.sql", "ALTER TABLE books ADD COLUMN tags TEXT")
    library.lend()
    kept = content(library)

    again = asked.press(library.restores[0])

    assert ended(again) == (3, "refused", "no_target")
    assert "0002_b.sql is applied, which that state does not have" in again.result["message"]
    assert "--accept-loss-since" in again.result["hint"]
    assert (content(library), len(library.restores)) == (kept, 1)
    back, third = asked.press_printed(again.result["press"]), asked.press_printed(again.result["press"])
    assert (back.code, ended(third)[1]) == (0, "nothing_to_do")
    assert library.migrations == ["0001_first.sql"]


@pytest.mark.slow
def test_restore_that_the_dashboard_undid_is_not_live(library: Library) -> None:
    """Only the record of the first run knows it: its row went with the state that the dashboard took back."""
    asked = presses(library, incident=False)
    damage_rows(library)
    asked.press("-5m")
    library.world.sandbox.clock.advance(120)
    library.world.sandbox.d1.store(ID).restore(library.history.find(recorded_undo(library)))
    library.lend()

    again, third = asked.press(library.restores[0]), asked.press(library.restores[0])

    for refused in (again, third):
        assert ended(refused) == (3, "refused", "no_target")
        assert "something else probably restored lib since" in refused.result["message"]
    assert (library.count("books"), library.count("loans"), len(library.restores)) == (3, 5, 1)
    named = again.result["hint"].partition("`")[2].partition("`")[0]
    assert asked.press_printed(named).code == 0
    assert library.count("books") == 2


@pytest.mark.slow
def test_loss_is_accepted_by_the_time_as_the_refusal_shows_it(library: Library) -> None:
    library.restore("-5m")
    library.world.sandbox.clock.advance(60)
    shown = library.restore("-5m").result["message"].partition(" at ")[2].partition(" (")[0]

    again = library.restore("-5m", "--accept-loss-since", shown)

    assert (shown.endswith(" UTC"), again.code, len(library.restores)) == (True, 0, 2), again.err


FORGED = (
    "CREATE TABLE backout_applies (migration TEXT PRIMARY KEY, bookmark TEXT NOT NULL, run TEXT NOT NULL, "
    "at TEXT NOT NULL)"
)


@pytest.mark.slow
@pytest.mark.parametrize(("at", "code"), [("0001-01-01T00:00:00+14:00", 0), ("9999-12-31T23:59:59Z", 3)])
def test_row_that_no_run_wrote_cannot_stop_a_person(library: Library, at: str, code: int) -> None:
    """Who can write the database can write such a row: no crash, and no command that cannot work."""
    library.write(FORGED)
    library.write(
        "INSERT INTO backout_applies VALUES ('restore', 'abc', 'x', ?), ('restore-undo', 'abc', 'x', ?)", at, at
    )
    asked = presses(library, incident=False)

    first = asked.press("-9m")

    assert (first.code, first.result["press"] is None or "abc" not in first.result["press"]) == (code, True), first.err
    if code:
        named = first.result["hint"].partition("`")[2].partition("`")[0]
        assert asked.press_printed(named).code == 0
    assert len(library.restores) == 1
