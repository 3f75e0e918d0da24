"""A run is killed at a write, also while another one meets it: the same commands again finish what both began."""

import json

import hypothesis.strategies as st
import pytest

from tests.conftest import ROOT
from tests.support.interleavings import Moment
from tests.support.properties import holds_for, is_hunt
from tests.support.scenes import SETTINGS
from tests.support.schedules import MOST_WRITES, WHEN, Schedule, Tally, check, count_kills, numbered

pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"  # threads of a run die with it
)
QUICK = {name: setting for name, setting in SETTINGS.items() if setting.is_quick}
MEETINGS = [(name, first, second) for name, setting in QUICK.items() for first, second in setting.pairs]
MEETINGS += [(name, first, "") for name, setting in QUICK.items() for first in dict(setting.pairs)]
"""Scene, the run that is killed, and the run that it meets right before; none if that is empty."""
FIXED = [each for each in MEETINGS if is_hunt() or SETTINGS[each[0]].every == 1 or not each[2]]
SEED, COUNT = "merge", 45
"""About every third schedule meets."""


def check_presses(meeting: tuple[str, str, str], dies: Moment) -> None:
    """Kill the first run at this write, right after the second one ran. A later write is none of the schedule's."""
    check(Schedule(*meeting, meeting=dies, kills={"first": dies}))


@pytest.mark.slow
@holds_for(
    fast=6,
    slow=60,
    meeting=st.sampled_from(MEETINGS),
    nth=st.integers(1, MOST_WRITES),
    when=st.sampled_from(WHEN),
)
def test_same_commands_finish_what_a_kill_left(meeting: tuple[str, str, str], nth: int, when: str) -> None:
    check_presses(meeting, Moment(nth, when, is_write=True))


@pytest.mark.hypothesis
@pytest.mark.sampled(6)
@pytest.mark.parametrize("meeting", FIXED, ids=lambda meeting: " ".join(filter(None, meeting)))
def test_each_meeting_is_finished_after_a_kill_at_its_first_write(meeting: tuple[str, str, str]) -> None:
    """With --hypothesis-profile=hunt at each write of each pair."""
    if is_hunt():
        name, first, second = meeting
        found = count_kills(*meeting)["kills"]
        recorded = json.loads((ROOT / "tests" / "meetings.json").read_text()).get(f"{name}: {first}, {second}")
        assert found >= 2
        assert not recorded or abs(found - recorded["kills"]) <= 2, "the page is old: ./run benchmarks.meetings"
        return
    for when in WHEN:
        check_presses(meeting, Moment(1, when, is_write=True))


def test_restore_killed_after_it_closed_and_restored_is_finished() -> None:
    check_presses(("restores", "restore", ""), Moment(6, "after", is_write=True))


def test_random_schedules_of_two_actors_end_well() -> None:
    """`./run benchmarks.schedules` tries more of them."""
    tally = Tally()
    for number in range(COUNT):
        tally.add(check(numbered(SEED, number)))

    assert tally.met > COUNT // 5, tally
    assert tally.shared * 3 >= tally.met, tally
