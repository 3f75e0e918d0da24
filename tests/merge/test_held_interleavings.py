"""Two runs on one held state, which meet at any request: nobody loses a hold that a run confirmed.

The books are kept apart from the program: a successful run adds its owner, and each release ends its own hold.
"""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.held_states import KINDS, ON_CALL, HeldState, Holder, restored
from tests.support.interleavings import Interleaving, fresh_world, interleave

HOLDERS: tuple[Holder, ...] = (7, "dana", "erik")
MOST = 18
"""Most requests of a run before which the other one acts; a few runs have fewer."""
Press = tuple[Holder, bool]
"""An owner, and whether it holds the state or releases it."""
presses = st.tuples(st.sampled_from(HOLDERS), st.booleans())


@given(st.sampled_from(list(KINDS)), st.sets(st.sampled_from(HOLDERS)), presses, presses, st.integers(1, MOST))
@settings(max_examples=40)
def test_no_hold_is_lost_to_a_run_that_acts_meanwhile(
    kind: str, holders: set[Holder], first: Press, second: Press, nth: int
) -> None:
    meet(kind, holders, first, second, nth)


@pytest.mark.parametrize(
    ("holders", "first", "second"),
    [
        (set(), ("dana", True), ("erik", True)),
        ({"dana"}, ("dana", False), (7, True)),
        ({7, "dana"}, (7, False), ("erik", False)),
        ({7, "dana"}, (7, False), ("dana", False)),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", KINDS)
def test_no_hold_is_lost_at_any_request(kind: str, holders: set[Holder], first: Press, second: Press) -> None:
    met = 0
    for nth in range(1, MOST + 1):
        met += meet(kind, holders, first, second, nth)
        if nth - met > 1:  # parallel requests may be one fewer
            break
    assert met > 2


def meet(kind: str, holders: set[Holder], first: Press, second: Press, nth: int) -> bool:
    """Check one meeting. Return whether the first run had so many requests."""
    with TemporaryDirectory() as folder, fresh_world(Path(folder)) as world, KINDS[kind](world) as place:
        for each in sorted(holders, key=str):
            assert place.press(each, holds=True).code == 0
        world.sandbox.requests.clear()
        one, other = (place.request(holder, holds=holds) for holder, holds in (first, second))
        meeting = interleave(world, one, other, nth)
        if meeting is not None and not is_overwritten_unseen(kind, meeting):
            check(place, holders, (first, second), meeting)
        return meeting is not None


RESTORE_CALLS = {"edge": 111, "switch": 60}
"""Most calls of a restore before which the other run acts."""


@given(st.data(), st.sampled_from(list(RESTORE_CALLS)), st.sets(st.sampled_from(HOLDERS)), presses, st.booleans())
@settings(max_examples=30)
def test_no_hold_is_lost_to_a_restore(
    data: st.DataObject, way: str, holders: set[Holder], press: Press, restores_first: bool
) -> None:
    nth = data.draw(st.integers(1, RESTORE_CALLS[way] if restores_first else MOST))
    with TemporaryDirectory() as folder, fresh_world(Path(folder)) as world, restored(world, way) as (place, restore):
        for each in sorted(holders, key=str):
            assert place.press(each, holds=True).code == 0
        world.sandbox.clock.advance(60)
        asked = place.request(press[0], holds=press[1])
        meeting = interleave(world, *((restore, asked) if restores_first else (asked, restore)), nth)
        if meeting is None or (way == "switch" and meeting.awaited.startswith("PUT ")):
            return
        done = meeting.second if restores_first else meeting.first
        books = holders - {press[0]} if not press[1] else holders | {press[0]} if done.exit_code == 0 else holders
        assert place.holders >= books, meeting.story
        assert not books or place.is_held() or closes_again(place, meeting), meeting.story
        world.sandbox.clock.advance(120)
        again = restore.run(world)
        assert place.holders >= books, (again.message, meeting.story)


def is_overwritten_unseen(kind: str, meeting: Interleaving) -> bool:
    """Return whether the second run was over between a comparison and the write to KV right after it.

    KV has no compare-and-set and no history, so no run can see that.
    """
    return kind in {"switch", "feature"} and meeting.awaited.startswith("PUT ")


def was_seen_open(meeting: Interleaving) -> bool:
    """Return whether the second run came after the first one's probes: a page probe reads the site's deployments last."""
    return meeting.was_proved or meeting.was_done or (meeting.had_reached and "/pages/projects/" in meeting.awaited)


def check(place: HeldState, books: set[Holder], pressed: tuple[Press, Press], meeting: Interleaving) -> None:
    gone = set[Holder]()
    for (holder, holds), done in zip(reversed(pressed), (meeting.second, meeting.first), strict=True):
        if not holds:
            books = books - {holder}
            gone |= {holder} if done.exit_code == 0 else set()
        elif done.exit_code == 0:
            books = books | {holder}
    holders = place.holders
    assert holders >= books, meeting.story
    assert not holders & (gone - {holder for holder, holds in pressed if holds}), meeting.story
    was_open = not place.is_held() or was_seen_open(meeting)
    for done, is_true in ((meeting.first, was_open), (meeting.second, meeting.second_reached)):
        assert done.exit_code != 0 or " open as requested" not in done.message or is_true, meeting.story
    if books and not place.is_held():
        check_way_back(place, books, meeting)


def check_way_back(place: HeldState, books: set[Holder], meeting: Interleaving) -> None:
    """Check that a run names the way back that opened a route right after its comparison, while the other one held it.

    A route has no compare-and-set. The run sees it before its next write, and stops.
    """
    assert closes_again(place, meeting), meeting.story
    assert place.holders >= books, meeting.story


def closes_again(place: HeldState, meeting: Interleaving) -> bool:
    """Return whether the first run failed, and the command that it names closes what it opened."""
    closes = re.search("`ops (maintenance [^`]*--state on[^`]*)`", meeting.first.message)
    if meeting.first.exit_code == 0 or not closes:
        return False
    return place.run_suggested(f"ops {closes[1]}", ON_CALL).code == 0 and place.is_held()
