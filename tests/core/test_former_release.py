"""What versions 0.1.0 and 0.1.1 left behind is finished by this version: a ferry company, as `former_stories` tells."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.database.migration_holds import HOLDS_SECTION
from sandbox import Sandbox
from sandbox.github import GitHub
from tests.conftest import Outcome, World
from tests.support import former_stories as stories
from tests.support.commands import ended
from tests.support.former_release import repeat
from tests.support.former_stories import ACCOUNT, DATABASE, HOST, MIGRATION, RESTORE, TOKEN, WORKER, Ferry
from tests.support.second_person import Desk

VERSION, NEXT = "0.1.0", "0.1.1"


@dataclass(frozen=True)
class Left:
    """The company after the former release, and this version on alice's laptop."""

    world: World
    ferry: Ferry

    @property
    def hub(self) -> GitHub:
        return self.world.sandbox.github

    @property
    def environ(self) -> dict[str, str | None]:
        person = {**self.hub.environ(), "GITHUB_TOKEN": "ghp_alice"}
        return {**person, "FERRY_TOKEN": TOKEN, "CLOUDFLARE_API_TOKEN": None}

    def ops(self, *arguments: str, **environ: str | None) -> Outcome:
        given = [*arguments, "--config", str(self.world.config)]
        return self.world.ops(*given, **{**self.environ, **environ})

    def run(self, *arguments: str, incident: bool = True, **environ: Any) -> Outcome:
        """Run a runbook in the only environment."""
        of = ("--incident", str(self.ferry.incident)) if incident else ()
        return self.ops(*arguments, *of, "--environment", "live", "--yes", "--json", **environ)

    def press(self, outcome: Outcome) -> Outcome:
        """Run the next step that a run printed."""
        words = outcome.result["press"].split()
        assert words[0].endswith("ops"), outcome.err
        return self.world.ops(*words[1:], "--yes", "--json", **self.environ)

    @property
    def status(self) -> dict[str, Any]:
        """Return what `ops status` shows of the environment."""
        return self.ops("status", "--json").result

    def serves(self, path: str = "/health") -> int:
        return httpx.get(f"{self.world.sandbox.edge_url}{path}", headers={"host": HOST}, verify=False).status_code

    @property
    def comments(self) -> list[str]:
        return [comment.body for comment in self.hub.issue(self.ferry.incident).comments]

    @property
    def migrations(self) -> list[str]:
        rows = self.world.sandbox.d1.query(DATABASE, "SELECT name FROM d1_migrations ORDER BY id")
        return [row["name"] for row in rows]

    @property
    def holds(self) -> list[str]:
        return [
            row["migration"] for row in self.world.sandbox.d1.query(DATABASE, "SELECT migration FROM backout_holds")
        ]


@contextmanager
def left(story: Callable[[Ferry], None], folder: Path, version: str = VERSION) -> Iterator[Left]:
    with Sandbox(account_id=ACCOUNT, virtual_clock=True) as sandbox:
        yield Left(World(sandbox, folder), repeat(version, story.__name__, sandbox, folder))


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Left]:
    story, version = request.param
    with left(story, tmp_path, version) as found:
        yield found


def after(*found: Callable[[Ferry], None], version: str = VERSION) -> pytest.MarkDecorator:
    """Run the test after each of the stories."""
    cases = [(story, version) for story in found]
    return pytest.mark.parametrize("place", cases, indirect=True, ids=lambda case: case[0].__name__)


EDGE, PATH, SWITCH = stories.closed_at_edge, stories.closed_path, stories.closed_by_switch


def off(place: Left, *more: str) -> Outcome:
    return place.run("maintenance", "--state", "off", "--service", "booking", *more)


def closed_windows(place: Left) -> list[Any]:
    return [*place.status["maintenance"], *place.status["switches"]]


@pytest.mark.slow
@after(EDGE, SWITCH)
def test_closed_service_is_shown_and_opened(place: Left) -> None:
    assert place.serves("/book") == 503
    assert len(closed_windows(place)) == 1

    opened = off(place)

    assert opened.code == 0, opened.err
    assert place.serves() == 200
    place.ferry.wait(minutes=2)
    assert closed_windows(place) == []
    assert ended(off(place))[:2] == (0, "nothing_to_do")


@pytest.mark.slow
@after(PATH)
def test_closed_path_is_opened(place: Left) -> None:
    assert (place.serves(), place.serves("/pay")) == (200, 503)

    assert off(place, "--path", "/pay").code == 0

    assert place.serves("/pay") != 503
    assert closed_windows(place) == []


@pytest.mark.sampled(2)
@after(EDGE, SWITCH)
def test_closed_service_opens_at_its_end(place: Left) -> None:
    early = place.ops("maintenance", "due", "--yes")
    assert (early.code, early.out, place.serves("/book")) == (0, "nothing is due\n", 503)
    place.ferry.wait(hours=1)

    due = place.ops("maintenance", "due", "--yes")

    assert due.code == 0, due.err
    assert place.serves() == 200
    assert closed_windows(place) == []
    assert place.ops("maintenance", "due", "--yes").out == "nothing is due\n"


@pytest.mark.slow
@after(EDGE)
def test_renewed_maintenance_worker_keeps_a_service_closed(place: Left) -> None:
    """It is a step of an upgrade."""
    assert place.run("maintenance", "prepare", incident=False).code == 0

    assert place.serves() == 503
    assert off(place).code == 0
    assert place.serves() == 200


BEFORE = stories.restore_killed_before_at_edge, stories.restore_killed_before_by_switch
AFTER = stories.restore_killed_after_at_edge, stories.restore_killed_after_by_switch


def restores(place: Left) -> int:
    """Return the number of restores that this version sent."""
    return len([each for each in place.world.sandbox.requests if each.path.endswith("/time_travel/restore")])


@pytest.mark.slow
@after(*BEFORE, *AFTER)
def test_killed_restore_of_0_1_0_is_finished_by_the_same_command(place: Left) -> None:
    """0.1.0 did not store whether a person needs the service closed, so the run names the command that opens it."""
    was_made = place.migrations == ["0001_trips.sql"]
    assert len(closed_windows(place)) == 1

    again = place.run(*RESTORE)

    assert ended(again) == (8, "no_evidence", "no_evidence"), again.err
    assert "booking was in maintenance before this run and stays so" in again.result["message"]
    assert (place.migrations, place.holds) == (["0001_trips.sql"], [MIGRATION])
    assert restores(place) == (0 if was_made else 1)
    place.ferry.wait(minutes=2)
    third = place.run(*RESTORE)
    assert (ended(third), third.result["press"]) == (ended(again), again.result["press"]), third.err
    assert restores(place) == (0 if was_made else 1)
    assert "undoes its run" not in str(third.result["plan"]["sections"][HOLDS_SECTION])
    assert place.press(third).code == 0
    place.ferry.wait(minutes=2)
    assert (place.serves(), closed_windows(place)) == (200, [])
    assert ended(place.run(*RESTORE))[:2] == (0, "nothing_to_do")
    assert place.holds == [MIGRATION]


@pytest.mark.slow
@after(*BEFORE, *AFTER, version=NEXT)
def test_killed_restore_of_0_1_1_is_finished_and_reopened_by_the_same_command(place: Left) -> None:
    was_made = place.migrations == ["0001_trips.sql"]
    assert (len(closed_windows(place)), place.serves("/book")) == (1, 503)

    again = place.run(*RESTORE)

    assert again.code == 0, again.err
    assert (place.migrations, place.holds) == (["0001_trips.sql"], [MIGRATION])
    assert restores(place) == (0 if was_made else 1)
    place.ferry.wait(minutes=2)
    assert (place.serves(), closed_windows(place)) == (200, [])
    assert ended(place.run(*RESTORE))[:2] == (0, "nothing_to_do")


@pytest.mark.sampled(4)
@after(*BEFORE, *AFTER)
def test_killed_restore_is_shown_with_its_undo(place: Left) -> None:
    shown = place.ops("last", "--count", "2").out

    assert "NO RESULT YET  Writing: restore-database for booking" in shown
    assert "Undo: ops restore-database --environment live --incident 1 --database tickets --to 0000000" in shown


@pytest.mark.slow
@after(stories.restored)
def test_restore_is_not_repeated_and_its_hold_is_lifted(place: Left) -> None:
    again = place.run(*RESTORE)

    assert ended(again)[:2] == (0, "nothing_to_do"), again.err
    assert (restores(place), place.holds) == (0, [MIGRATION])

    lifted = place.run("lift-hold", "--database", "tickets", "--name", MIGRATION)

    assert lifted.code == 0, lifted.err
    assert place.holds == []


@pytest.mark.slow
@after(stories.restored)
def test_restore_is_undone_by_the_bookmark_in_its_comment(place: Left) -> None:
    undo = place.comments[0].partition("**Undo:**")[2].partition("to `")[2].partition("`")[0]
    place.ferry.wait(minutes=2)

    undone = place.run("restore-database", "--database", "tickets", "--to", undo, "--one-person")

    assert undone.code == 0, undone.err
    assert place.migrations == ["0001_trips.sql", MIGRATION]


@after(stories.request_waits)
def test_waiting_request_is_answered_and_made_again(place: Left) -> None:
    desk = Desk(place.world, place.ferry.incident, source={"FERRY_TOKEN": TOKEN})
    shown = place.comments[-1].partition("digest `")[2].partition("`")[0]
    assert (len(shown), "adds the label `approve:restore`" in place.comments[-1]) == (8, True)

    for refused in (desk.add_label(), desk.press_approve(digest=shown)):
        assert refused.code == 3, refused.err
        assert "make the request again" in place.comments[-1]
    assert (place.migrations, restores(place)) == (["0001_trips.sql", MIGRATION], 0)

    assert ended(desk.ask(label="recover:tickets")) == (0, "planned", "needs_two_people")
    approved = desk.approve()
    assert approved.code == 0, approved.err
    assert (place.migrations, restores(place)) == (["0001_trips.sql"], 1)


def switches(place: Left) -> dict[str, str]:
    return {each["name"]: each["state"] for each in place.status["switches"]}


@pytest.mark.slow
@after(stories.switches_set)
def test_switches_are_shown_and_cleared(place: Left) -> None:
    assert switches(place) == {"seat-map": "off", "ai": "cerebras"}

    cleared = place.run("all-clear")

    assert cleared.code == 0, cleared.err
    place.ferry.wait(minutes=2)
    assert switches(place) == {}
    assert ended(place.run("all-clear"))[:2] == (0, "nothing_to_do")


@after(stories.switches_set)
def test_switches_end_by_their_own_time(place: Left) -> None:
    place.ferry.wait(hours=2)
    assert switches(place) == {"ai": "cerebras"}
    place.world.sandbox.set_outcomes(WORKER, {"groq": {"ok": 9, "failed": 0}})

    back = place.ops("ai-failback", "--yes")

    assert back.code == 0, back.err
    place.ferry.wait(minutes=2)
    assert switches(place) == {}


@pytest.mark.slow
@after(stories.watched)
@pytest.mark.parametrize(
    "how", [("--stopped",), ("--service", "booking", "--incident", "1")], ids=["stopped", "incident"]
)
def test_watch_is_continued_to_its_end(place: Left, how: tuple[str, ...]) -> None:
    assert "watching until 09:57 UTC" in place.comments[-1]
    place.ferry.wait(minutes=6)

    watched = place.ops("watch", *how)

    assert watched.code == 0, watched.err
    assert "booking in live is mitigated" in place.comments[-1]
    assert "48 healthy, 12 not probed" in place.comments[-1]
    assert len(place.comments) == 2
    assert "MITIGATED" not in place.ops("watch", "--stopped").out


@after(stories.watched)
def test_relapse_is_found_by_the_continued_watch(place: Left) -> None:
    place.ferry.wait(minutes=3)
    place.world.sandbox.edge_fault(path="/health", status=500, times=None)

    assert place.ops("watch", "--stopped").code == 0, "its runner may still run"
    place.ferry.wait(minutes=3)
    assert place.ops("watch", "--stopped").code == 7
    assert "relapsed" in place.comments[-2]


@pytest.mark.slow
@after(stories.rolled_back)
def test_rollback_is_known_by_its_mark(place: Left) -> None:
    again = place.run("rollback-worker", "--service", "booking")

    assert ended(again) == (0, "nothing_to_do", "already_stepped_back"), again.err
    assert len(place.world.sandbox.deployments(WORKER)) == 5, "nothing more was deployed"
    report = place.ops("incident", "report", "1")
    assert report.code == 0, report.err
    text = place.hub.issues[-1].body or ""
    assert "rollback-worker recovered booking at" in text
    assert "edited later" not in text


@pytest.mark.slow
@after(stories.rehearsed)
def test_rehearsal_is_finished_by_the_same_command(place: Left) -> None:
    bad, good = (
        place.ferry.versions["bad"],
        next(name for name, share in place.world.sandbox.live(WORKER).items() if not share),
    )
    assert place.world.sandbox.live(WORKER) == {bad: 100, good: 0}
    assert "an unfinished rehearsal left" in place.ops("versions", "booking").out

    again = place.run("rollback-worker", "--service", "booking")

    assert ended(again)[:2] == (0, "recovered"), again.err
    assert place.world.sandbox.live(WORKER) == {good: 100}
    assert ended(place.run("rollback-worker", "--service", "booking"))[:2] == (0, "nothing_to_do")


def job(place: Left) -> Mapping[str, Any]:
    commit = place.hub.resolve("main") or ""
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_REF": "refs/heads/main",
        "OPS_COMMIT": commit,
        "GITHUB_TOKEN": place.hub.token,
    }


@after(stories.limits_raised)
def test_raised_limit_is_known_and_ends(place: Left) -> None:
    (raised,) = place.status["limits"]
    assert (raised["name"], raised["limit"]) == ("search", 60)
    for command in ("apply", "reconcile"):
        done = place.run("limits", command, incident=False, **job(place))
        assert ended(done)[:2] == (0, "nothing_to_do"), done.err

    place.ferry.wait(hours=5)

    done = place.run("limits", "reconcile", incident=False, **job(place))
    assert ended(done)[:2] == (0, "recovered"), done.err
    place.ferry.wait(minutes=2)
    assert place.status["limits"] == []
    assert ended(place.run("limits", "reconcile", incident=False, **job(place)))[:2] == (0, "nothing_to_do")


@after(stories.secret_rotated)
def test_rotation_is_seen_by_a_rollback_and_finished(place: Left) -> None:
    held: dict[str, Any] = {"NEW_CHAT_KEY": stories.FRESH, "OLD_CHAT_KEY": stories.LEAKED}
    confirm = ("rotate-secrets", "--service", "booking", "--confirm-revoked", "CHAT_KEY")
    assert ended(place.run(*confirm, **held))[:2] == (3, "refused")
    place.world.sandbox.providers["groq"].revoke(stories.LEAKED)

    done = place.run(*confirm, **held)

    assert done.code == 0, done.err
    assert "proved revoked: CHAT_KEY" in done.result["message"]
    planned = place.run("rollback-worker", "--service", "booking", "--dry-run")
    assert any("previous values of CHAT_KEY were revoked" in text for text in planned.result["plan"]["warnings"])
    assert ended(place.run("rollback-worker", "--service", "booking"))[:2] == (3, "refused")


@pytest.mark.slow
@after(stories.secret_rotated)
def test_rotation_without_a_mark_gets_it_by_the_same_command(place: Left) -> None:
    """The former release left no mark where Cloudflare's edit was enough; the upgrade page names this step."""
    held: dict[str, Any] = {"NEW_CHAT_KEY": stories.FRESH, "OLD_CHAT_KEY": stories.LEAKED}

    again = place.run("rotate-secrets", "--service", "booking", "--only", "CHAT_KEY", **held)

    assert again.code == 0, again.err
    (leaked,) = place.world.sandbox.deployments(WORKER)[-3].percentages
    refused = place.run("rollback-worker", "--service", "booking", "--to", leaked)
    assert ended(refused) == (3, "refused", "secret_rotated"), refused.err


@after(stories.secret_rotated)
def test_rotation_without_a_mark_is_known_from_the_incident(place: Left) -> None:
    """No text names a version with the leaked key as a way, or how to accept its values."""
    leaked = [next(iter(each.percentages)) for each in place.world.sandbox.deployments(WORKER)[1:]]
    place.world.sandbox.clock.advance(3600)
    place.ferry.release("worse", ago=timedelta(minutes=5), status=500)
    rollback = ("rollback-worker", "--service", "booking")

    done = place.run(*rollback)
    refused = place.run(*rollback, "--to", leaked[0])

    assert done.code == 0, done.err
    assert ended(refused) == (3, "refused", "secrets_changed"), refused.err
    for outcome in (done, refused):
        plan = outcome.result["plan"]
        said = "\n".join([outcome.result["hint"], plan["next_step"], *outcome.result["undo"], *plan["warnings"]])
        assert "--accept-changed-secrets" not in said
        assert not any(f"--to {version[:8]}" in said for version in leaked)
    assert f"--to {leaked[0][:8]} --current-secrets" in refused.result["press"]


@after(stories.without_github)
def test_record_of_a_laptop_is_shown_and_imported(place: Left) -> None:
    assert "RECOVERED  Rolled back booking to" in place.ops("last").out
    (run,) = (place.world.folder / ".ops" / "runs").iterdir()

    imported = place.ops("incident", "import", str(run), "--incident", "1")

    assert imported.code == 0, imported.err
    assert "Rolled back booking to" in place.comments[-1]
    assert "issuecomment" in place.ops("last").out
    assert place.ops("incident", "report", "1").code == 0
    assert "recovered" in (place.hub.issues[-1].body or "")
