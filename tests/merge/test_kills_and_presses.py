"""A run is killed at a write, also while another one meets it: the same commands again finish what both began."""

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis.strategies as st
import pytest

from ops.core.errors import EXIT_CODES, Decision
from ops.core.run import EndedRun
from sandbox.faults import Fault
from tests.merge.test_interleavings import SCENES, Scene, scene
from tests.support.interleavings import WRITES, RequestedRun, successful_writes
from tests.support.properties import holds_for

pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"  # threads of a run die with it
)
MEETINGS = [(name, first, second) for name, (_, runs) in SCENES.items() for first in runs for second in ("", *runs)]
"""Scene, the run that is killed, and the run that it meets right before; none if that is empty."""
MOST_WRITES = 8
FURTHER = 3
"""Further presses of the killed command."""
VISIBLE_AFTER = 120.0
"""Seconds after which every read shows the last write."""
NO_PROOF = EXIT_CODES[Decision.NO_EVIDENCE]
"""A scene whose application has no admin token proves no reset."""


class Killed(BaseException):
    """The machine of the run is gone: it sends nothing more, also not at its end."""


class Death:
    """Kills the first run at a write, `before` or `after` it took effect. The second run comes right before that."""

    def __init__(self, met: Scene, second: RequestedRun | None, nth: int) -> None:
        self._met, self._second, self._left = met, second, nth
        self._is_busy = False
        self.is_dead = False
        self.result: EndedRun | None = None
        self.reached = False
        """Whether the world had the second run's goal at its end."""

    def at_write(self) -> None:
        self.at_request()
        if self._is_busy:
            return
        self._left -= 1
        if self._left == 0:
            if self._second is not None:
                self._is_busy = True
                self.result = self._second.run(self._met.world)
                self.reached = self._second.reached()
                self._is_busy = False
            self.is_dead = True
            raise Killed

    def at_request(self) -> None:
        if self.is_dead and not self._is_busy:
            raise Killed


def kill(met: Scene, first: RequestedRun, second: RequestedRun | None, nth: int, moment: str) -> Death:
    sandbox, death = met.world.sandbox, Death(met, second, nth)

    before, after = (death.at_write, None) if moment == "before" else (None, death.at_write)
    with ExitStack() as ending:
        for method in WRITES:
            write = partial(Fault, method=method, times=None, is_prompt=True, before=before, after=after)
            ending.callback(sandbox.github.faults.add(write(path="**")).remove)
            for path in ("/accounts/**", "/zones/**"):  # not /graphql, which only reads
                ending.callback(sandbox.faults.add(write(path=path)).remove)
        for faults in (sandbox.github.faults, sandbox.faults, sandbox.edge_faults):
            gone = Fault(method="*", path="**", times=None, is_prompt=True, before=death.at_request)
            ending.callback(faults.add(gone).remove)
        try:
            first.run(met.world)
        except BaseException:
            if not death.is_dead:
                raise
    return death


def press(met: Scene, asked: RequestedRun, story: list[str]) -> EndedRun:
    """Start the command, and check what it says against the world at that moment."""
    before = len(met.world.sandbox.requests)
    result = asked.run(met.world)
    wrote, reached = successful_writes(met.world, before, None), asked.reached()
    story.append(f"{result.runbook}: {result.exit_code} {result.decision} {result.reason}, {wrote}: {result.message}")
    assert reached or result.exit_code != 0, story
    assert result.wrote or not result.has_written or not wrote, story
    assert not wrote or "nothing was changed" not in result.message.lower(), story
    plan = result.plan
    ways_on = (result.hint, result.suggested_command, *((plan.next_step, *plan.undo) if plan else ()))
    assert result.exit_code == 0 or any(ways_on), story
    return result


def press_until_done(met: Scene, asked: RequestedRun, times: int, story: list[str]) -> None:
    """Start the command this often. The last one meets a finished change, and writes only if it acts each time."""
    for _ in range(times - 1):
        press(met, asked, story)
    met.world.sandbox.clock.advance(VISIBLE_AFTER)
    before = len(met.world.sandbox.requests)
    last = press(met, asked, story)

    assert last.exit_code in {0, NO_PROOF}, story
    assert asked.reached(), story
    assert bool(successful_writes(met.world, before, None)) == asked.acts_each_time, story


def check_presses(name: str, first: str, second: str, nth: int, moment: str) -> None:
    with TemporaryDirectory() as folder, scene(name, first, Path(folder)) as met:
        one, other = met.commands[first], met.commands.get(second)
        death = kill(met, one, other, nth, moment)
        if not death.is_dead:
            return
        met.world.sandbox.clock.advance(5)
        story = [f"{name}: {first} is killed {moment} its write {nth}; {second or 'nobody'} ran before"]
        if death.result is not None:
            assert death.result.exit_code != 0 or death.reached, [*story, death.result.message]
        press_until_done(met, one, FURTHER, story)
        if other is not None:
            press_until_done(met, other, 2, story)


@pytest.mark.slow
@holds_for(
    fast=6,
    slow=60,
    meeting=st.sampled_from(MEETINGS),
    nth=st.integers(1, MOST_WRITES),
    moment=st.sampled_from(["before", "after"]),
)
def test_same_commands_finish_what_a_kill_left(meeting: tuple[str, str, str], nth: int, moment: str) -> None:
    check_presses(*meeting, nth, moment)


@pytest.mark.sampled(6)
@pytest.mark.parametrize("meeting", MEETINGS, ids=lambda meeting: " ".join(filter(None, meeting)))
def test_each_meeting_is_finished_after_a_kill_at_its_first_write(meeting: tuple[str, str, str]) -> None:
    for moment in ("before", "after"):
        check_presses(*meeting, 1, moment)
