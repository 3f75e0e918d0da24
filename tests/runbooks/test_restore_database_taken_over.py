"""Restore a database while a colleague turns maintenance on or off: it opens nothing that somebody else needs closed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ops.core.run import EndedRun
from ops.maintenance.plan_text import MESSAGE_SECTION
from tests.conftest import Outcome, World
from tests.runbooks.test_restore_database_edge import CLOSED
from tests.support import databases, shopdesk, switches
from tests.support.commands import ended
from tests.support.databases import RESTORE, Library, ingress
from tests.support.interleavings import Interleaving, RequestedRun, fresh_world, interleave

BEFORE_LAST = "before-migration:0002_b.sql"
DEFAULT_MESSAGE = "This service is off for maintenance. Please try again later."
WAYS = ["edge", "switch"]


@dataclass(frozen=True)
class Place:
    """A library whose service is closed at the edge or by its switch."""

    library: Library
    way: str

    @property
    def world(self) -> World:
        return self.library.world

    def is_closed(self) -> bool:
        if self.way == "edge":
            return bool(ingress(self.world) == CLOSED)
        return databases.maintenance_of(self.world) == "on"

    def turn(self, state: str, *more: str) -> Outcome:
        asked = ["maintenance", "--service", "api", "--state", state, *more, "--environment", "production"]
        config = ["--config", str(self.world.config), "--yes", "--json"]
        return self.world.ops(*asked, *config, CLOUDFLARE_API_TOKEN=self.library.token)

    def run(self, name: str, reached: Callable[[], bool], **params: Any) -> RequestedRun:
        return RequestedRun(name, params, reached, environ={"CLOUDFLARE_API_TOKEN": self.library.token})

    def turn_run(self, state: str) -> RequestedRun:
        return self.run("maintenance", self.is_closed, service="api", state=state)

    def restore_run(self) -> RequestedRun:
        reached = partial(self.library.migrations.__eq__, ["0001_first.sql"])
        return self.run("restore-database", reached, database="lib", to=BEFORE_LAST, one_person=True)

    @property
    def message(self) -> str:
        """Message that users see."""
        if self.way == "switch":
            value = switches.SwitchWorld(self.world).value("maintenance")
            return str(value["message"]) if value else ""
        answer = self.turn("on").result["plan"]["sections"]
        return " ".join(answer[MESSAGE_SECTION])


@pytest.fixture(params=WAYS)
def place(world: World, request: pytest.FixtureRequest) -> Place:
    return make_place(world, request.param)


def make_place(world: World, way: str) -> Place:
    if way == "edge":
        return Place(databases.prepared_at_edge(world), way)
    return Place(databases.with_switched_maintenance(databases.prepared(world)), way)


def at_restore(place: Place, hook: Callable[[], object]) -> None:
    place.world.sandbox.fault(**RESTORE, before=hook)


def test_colleague_takes_over_the_maintenance_of_a_restore(place: Place) -> None:
    seen = list[Outcome]()
    at_restore(place, lambda: seen.append(place.turn("on", "--reason", "leak")))

    done = place.library.restore(BEFORE_LAST)

    (taken,) = seen
    assert (taken.code, taken.result["wrote"]) == (0, True), taken.err
    assert any("Now only a person reopens it" in text for text in taken.result["plan"]["warnings"])
    assert ended(done) == (8, "no_evidence", "no_evidence"), done.err
    assert "api stays closed, because " in done.result["message"]
    assert "took " in done.result["message"]
    assert (
        "; open it with `ops maintenance --service api --environment production --state off" in done.result["message"]
    )
    assert "--state off" in done.result["press"]
    assert place.library.migrations == ["0001_first.sql"]
    assert not any("at the end" in name for name in done.result["outcome"]["changed"])
    assert place.is_closed()
    place.world.sandbox.clock.advance(60)  # until KV shows it
    assert place.message == DEFAULT_MESSAGE  # not that of the restore, which is over
    assert ended(place.turn("on")) == (0, "nothing_to_do", "already_off")
    assert place.turn("off").code == 0
    assert not place.is_closed()


@pytest.mark.slow
def test_end_that_a_colleague_sets_during_a_restore_stays(place: Place) -> None:
    at_restore(place, lambda: place.turn("on", "--until", "2h", "--message", "We look into it."))

    done = place.library.restore(BEFORE_LAST)

    assert "api stays closed, because " in done.result["message"], done.err
    assert place.is_closed()


@pytest.mark.slow
def test_closed_path_during_a_restore_by_switch_keeps_all_closed(world: World) -> None:
    """One value holds one list of paths, so the whole service stays closed."""
    place = make_place(world, "switch")
    at_restore(place, lambda: place.turn("on", "--path", "/api/ai"))

    done = place.library.restore(BEFORE_LAST)

    assert "api stays closed, because " in done.result["message"], done.err
    assert place.is_closed()


@pytest.mark.sampled
def test_maintenance_that_was_on_before_a_restore_stays(place: Place) -> None:
    assert place.turn("on").code == 0
    soon = place.library.restore(BEFORE_LAST)
    assert soon.code != 0  # by switch, KV does not show it yet
    assert place.is_closed()
    place.world.sandbox.clock.advance(60)

    done = place.library.restore(BEFORE_LAST)

    assert "api was in maintenance before this run and stays so" in done.result["message"], done.err
    assert place.is_closed()


@pytest.mark.slow
def test_maintenance_that_a_colleague_ends_during_a_restore_stays_off(place: Place) -> None:
    at_restore(place, lambda: place.turn("off"))

    done = place.library.restore(BEFORE_LAST)

    assert done.code == 0, done.err
    assert not place.is_closed()


@pytest.mark.slow
def test_colleague_takes_over_what_a_killed_restore_left(place: Place) -> None:
    """The database cannot be reached any more, so the run ends while the service is closed."""
    place.world.sandbox.fault(**RESTORE, status=403, code=10000, times=None)
    left = place.library.restore(BEFORE_LAST)
    assert left.code != 0
    assert place.is_closed()
    place.world.sandbox.faults.clear()

    taken = place.turn("on")

    assert (taken.code, taken.result["wrote"]) == (0, True), taken.err
    done = place.library.restore(BEFORE_LAST)
    assert "api was in maintenance before this run and stays so" in done.result["message"], done.err
    assert place.is_closed()


def test_shop_that_a_colleague_closed_during_a_restore_stays_closed(world: World) -> None:
    shop = shopdesk.prepared(world)
    take = partial(shop.ops, "maintenance", "--service", "web", "--state", "on")
    seen = list[Outcome]()
    world.sandbox.fault(**RESTORE, before=lambda: seen.append(take()))

    done = shop.restore("-2m")

    assert (seen[0].code, seen[0].result["wrote"]) == (0, True), seen[0].err
    assert "web stays closed, because run " in done.result["message"], done.err
    assert set(shop.routes.values()) == {"ops-maintenance"}


@pytest.mark.slow
def test_status_says_until_when_a_restore_keeps_a_service_closed(world: World) -> None:
    place, seen = make_place(world, "edge"), list[Outcome]()
    show = ("status", "--environment", "production", "--config", str(world.config))
    at_restore(place, lambda: seen.append(world.ops(*show, CLOUDFLARE_API_TOKEN=place.library.token)))

    done = place.library.restore(BEFORE_LAST)

    assert "the whole of api: offline at the edge, since " in seen[0].out
    assert f"until run {done.result['run']} ends it (if it was killed: the same command again)" in seen[0].out


def each_meeting(
    folder: Path, way: str, first: Callable[[Place], RequestedRun], second: Callable[[Place], RequestedRun]
) -> Iterator[tuple[Place, Interleaving]]:
    """Let the second run begin before each request of the first, each time in a new world; the same meeting once."""
    nth = 1
    while True:
        with fresh_world(folder) as world:
            place = make_place(world, way)
            meeting = interleave(world, first(place), second(place), nth)
            if meeting is None:
                return
            yield place, meeting
            nth += 1 + meeting.alike


@pytest.mark.slow
def test_meeting_that_is_left_out_ends_as_the_one_before(tmp_path: Path) -> None:
    """Both come among the reads of D1 that precede the restore, and the colleague changes a switch in KV."""

    def meet(nth: int) -> Interleaving:
        with fresh_world(tmp_path) as world:
            place = make_place(world, "switch")
            meeting = interleave(world, place.restore_run(), place.turn_run("on"), nth)
            assert meeting is not None
            return meeting

    met = next(meeting for nth in range(22, 60) if (meeting := meet(nth)).alike > 1)  # there are none before it
    last = meet(met.nth + met.alike)

    assert describe(met) == describe(last), (met.story, last.story)


def describe(meeting: Interleaving) -> list[Any]:
    """Return the end and the writes of both runs."""
    runs = (meeting.first, meeting.first_wrote), (meeting.second, meeting.second_wrote)
    return [(run.exit_code, run.reason, [(each.method, each.path) for each in wrote]) for run, wrote in runs]


def turns_on(place: Place) -> RequestedRun:
    return place.turn_run("on")


def turns_off(place: Place) -> RequestedRun:
    return place.turn_run("off")


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_service_that_a_colleague_closed_during_a_restore_is_closed(tmp_path: Path, way: str) -> None:
    for place, meeting in each_meeting(tmp_path, way, Place.restore_run, turns_on):
        if is_overwritten_unseen(place, meeting):
            continue
        if meeting.second.exit_code != 0:  # told that the restore came in between: the same command again closes it
            assert meeting.second.reason.value == "world_moved", meeting.story
            assert place.turn("on").code == 0, meeting.story
        if not place.is_closed():  # the colleague's run was over between a comparison and its write
            assert "maintenance --service api --environment production --state on" in meeting.first.message, (
                meeting.story
            )
            assert place.turn("on").code == 0, meeting.story
        assert place.is_closed(), meeting.story
        assert_tells_the_truth(meeting.first, meeting.story)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_restore_during_maintenance_on_opens_nothing(tmp_path: Path, way: str) -> None:
    for place, meeting in each_meeting(tmp_path, way, turns_on, Place.restore_run):
        if meeting.first.exit_code != 0:
            assert place.turn("on").code == 0, meeting.story
        assert place.is_closed(), meeting.story


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_maintenance_off_during_a_restore_leaves_the_service_open(tmp_path: Path, way: str) -> None:
    for place, meeting in each_meeting(tmp_path, way, Place.restore_run, turns_off):
        if meeting.first.exit_code != 0:
            place.world.sandbox.clock.advance(60)
            assert place.turn("off").code == 0, meeting.story
        assert not place.is_closed(), meeting.story


def is_overwritten_unseen(place: Place, meeting: Interleaving) -> bool:
    """Return whether the colleague's run was over before a write to KV that its comparison had just preceded.

    KV has no compare-and-set. A run takes seconds to prove its switch, so it sees a write of the next milliseconds.
    """
    return place.way == "switch" and meeting.awaited.startswith("PUT ")


def assert_tells_the_truth(restored: EndedRun, story: str) -> None:
    """A restore that ends well opened the service before the colleague closed it."""
    if restored.exit_code == 0:
        return
    said = restored.message
    assert (
        "api stays closed, because " in said
        or "api should be closed, and at least a part of it is open, because " in said
        or "was in maintenance before this run" in said
        or restored.reason.value in {"world_moved", "live_unknown"}
        or restored.decision.value == "still_unhealthy"  # closed between the reopening and its probes
        or (restored.reason.value == "no_evidence" and "D1 database lib " in said)  # nothing was restored
    ), story
