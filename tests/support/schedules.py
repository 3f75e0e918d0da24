"""Schedules of two actors: where they meet, which of them is killed, and in which order both are pressed again."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from random import Random

from ops.core.run import EndedRun
from tests.support.interleavings import (
    NO_PROOF,
    VISIBLE_AFTER,
    Actor,
    Moment,
    Pause,
    RequestedRun,
    describe_meeting,
    effects_since,
    must_last,
    tell,
)
from tests.support.scenes import PAIRS, SETTINGS, Scene, scene

MOST_REQUESTS = 40
MOST_WRITES = 8
WRITES = (1, 1, 1, 1, 2, 2, 3, 4, 5, 6, MOST_WRITES)
"""Numbers of writes to draw from: most runs have few."""
WHEN = ("before", "after")
RUN_TAKES = 3.0
"""Seconds around the second run: D1 tells the times of migrations in whole seconds."""
LAST_PRESSES = (3, 2)
"""Presses of the first and of the second one at the end."""
SOON = 5.0
"""Seconds until the next press."""


@dataclass(frozen=True)
class Schedule:
    """What two actors do in a scene: `second` runs completely at the `meeting`, unless it is killed."""

    scene: str
    first: str
    second: str = ""
    """Empty: the first one is alone."""
    meeting: Moment = field(default_factory=lambda: Moment(1))
    """In the first run. At the write that kills it, the second one runs right before the kill."""
    kills: Mapping[str, Moment] = field(default_factory=dict)
    """`first` or `second` → where it dies."""
    colleague: Moment | None = None
    """When somebody changes something else, in the first run."""
    presses: tuple[str, ...] = ()
    """`first` or `second`, in order, before each is pressed until it is done."""
    last: tuple[str, ...] = ("first", "second")

    def __str__(self) -> str:
        kills = [f"{who} is killed {moment}" for who, moment in self.kills.items()]
        parts = [f"{self.second or 'nobody'} runs {self.meeting} of {self.first}", *kills]
        parts += [f"a colleague acts {self.colleague}"] if self.colleague else []
        return f"{self.scene}: {'; '.join(parts)}; pressed: {' '.join((*self.presses, *self.last))}"


def draw(random: Random, pairs: list[tuple[str, str, str]] = PAIRS) -> Schedule:
    """Return a random schedule. Most meet at a write, where both can write the same."""

    def moment(*, is_write: bool) -> Moment:
        nth = random.choice(WRITES) if is_write else random.randint(1, MOST_REQUESTS)
        return Moment(nth, random.choice(WHEN), is_write)

    name, first, second = random.choice([pair for pair in pairs if SETTINGS[pair[0]].is_quick])
    dies = [who for who, share in (("first", 0.5), ("second", 0.25)) if random.random() < share]
    presses = [random.choice(["first", "second"]) for _ in range(random.randint(0, 3))]
    last = random.choice([("first", "second"), ("second", "first")])
    meeting = moment(is_write=random.random() < 0.8)
    kills = {who: moment(is_write=True) for who in dies}
    colleague = moment(is_write=False) if random.random() < 0.3 else None
    return Schedule(name, first, second, meeting, kills, colleague, tuple(presses), last)


@dataclass(frozen=True)
class Meeting:
    """What happened before the presses."""

    is_shared: bool
    """Whether both runs wrote the same resource."""
    is_killed: bool


def check(schedule: Schedule) -> Meeting | None:
    """Run a schedule, and check each result. Return None if the two runs never met, or nobody was killed alone."""
    with scene(schedule.scene, schedule.first) as met:
        meeting = _meet(met, schedule)
        if meeting is None:
            return None
        one, other, lasts = meeting
        story = [str(schedule), tell(one.result, one.effects), tell(other.result, other.effects)]
        assert not lasts or other.asked.reached(), ["a change is lost, and nobody says so", *story]
        met.world.sandbox.clock.advance(SOON)
        runs = {"first": one, "second": other} if schedule.second else {"first": one}
        for who in schedule.presses:
            press(met, runs[who].asked, story)
        for who, times in zip(schedule.last, LAST_PRESSES, strict=True):
            if who in runs:
                press_until_done(met, runs[who].asked, times, story)
        assert met.keeps_others(), story
        assert met.is_open() or "on" in {schedule.first, schedule.second}, ["nobody wants it closed", *story]
        shared = {_resource(each.path) for each in one.effects} & {_resource(each.path) for each in other.effects}
        return Meeting(bool(shared), one.is_dead or other.is_dead)


def count_presses(schedule: Schedule) -> int:
    """Return the presses after the meeting of two runs."""
    return len(schedule.presses) + sum(LAST_PRESSES)


def _meet(met: Scene, schedule: Schedule) -> tuple[Actor, Actor, bool] | None:
    """Return both runs, and whether the change of the second one must last; None if they never met."""
    other = Actor(met.world, met.commands[schedule.second or schedule.first], met.check_actor)
    one = Actor(
        met.world, met.commands[schedule.first], lambda actor: met.check_actor(actor, is_overtaken=pause.was_proved)
    )
    pause = Pause(met.world, one, other)

    def run_second(is_edge: bool) -> None:
        met.world.sandbox.clock.advance(RUN_TAKES)
        pause(is_edge)
        met.world.sandbox.clock.advance(RUN_TAKES)

    with ExitStack() as ending:
        dies = schedule.kills.get("first")
        if schedule.colleague:
            ending.enter_context(one.at(schedule.colleague, lambda _: met.act_as_colleague()))
        if dies and dies == schedule.meeting:
            ending.enter_context(one.killed(dies, first=run_second if schedule.second else lambda _: None))
        else:
            ending.enter_context(one.at(schedule.meeting, run_second))
            if dies:
                ending.enter_context(one.killed(dies))
        if "second" in schedule.kills:
            ending.enter_context(other.killed(schedule.kills["second"]))
        one.run()
        if not (pause.wait() or (not schedule.second and one.is_dead)):
            return None
    if one.result is None or other.result is None or not schedule.second:
        return one, other, False
    return one, other, must_last(describe_meeting(met.world, one, other, pause, schedule.meeting.nth), other.asked)


def count_kills(name: str, first: str, second: str) -> dict[str, int]:
    """Kill the first run before and after each of its writes, right after the second one ran. Count the kills.

    Then both are pressed until they are done: the presses count too. Without a second one the first is alone.
    """
    counts = {"kills": 0, "presses": 0}
    for nth in count(1):
        moments = [Moment(nth, when, is_write=True) for when in WHEN]
        schedules = [Schedule(name, first, second, meeting=dies, kills={"first": dies}) for dies in moments]
        met = [schedule for schedule in schedules if check(schedule)]
        if not met:
            return counts
        counts["kills"] += len(met)
        counts["presses"] += sum(map(count_presses, met))
    raise AssertionError


def press(met: Scene, asked: RequestedRun, story: list[str]) -> EndedRun:
    """Start the command, and check what it says against the world at that moment."""
    before, had_reached, kept = len(met.world.sandbox.requests), asked.reached(), asked.kept()
    result, wrote = asked.run(met.world), effects_since(met.world, before)
    story.append(tell(result, wrote))
    assert not had_reached or asked.kept() == kept, ["a press after the end changed it", *story]
    met.check(asked, result, wrote, *story)
    met.check_way_open(result)
    return result


def press_until_done(met: Scene, asked: RequestedRun, times: int, story: list[str]) -> None:
    """Start the command this often, at least twice. The last one meets a finished change, and writes only if it acts each time."""
    for _ in range(times - 2):
        press(met, asked, story)
    met.world.sandbox.clock.advance(VISIBLE_AFTER)  # a restore that was killed may act for a minute, and refuses others
    press(met, asked, story)
    met.world.sandbox.clock.advance(VISIBLE_AFTER)
    before = len(met.world.sandbox.requests)
    last = press(met, asked, story)

    if last.reason in asked.stops_for:
        return
    assert last.exit_code in {0, NO_PROOF}, story
    assert asked.reached(), story
    assert bool(effects_since(met.world, before)) == asked.acts_each_time, story


def _resource(path: str) -> str:
    """Return what a write changes, such as a Worker, a database, a key, a site or the routes of a zone."""
    _, _, rest = path.partition("/client/v4/")
    parts = rest.split("/")
    return rest if "values" in parts else "/".join(parts[: 3 if parts[0] == "zones" else 5])


@dataclass
class Tally:
    """Counts of schedules that were checked."""

    met: int = 0
    shared: int = 0
    killed: int = 0
    missed: int = 0
    """Schedules whose runs never met, which do not count."""

    def add(self, meeting: Meeting | None) -> None:
        if meeting is None:
            self.missed += 1
            return
        self.met += 1
        self.shared += meeting.is_shared
        self.killed += meeting.is_killed

    def __str__(self) -> str:
        share = f"{100 * self.shared // max(1, self.met)} %"
        return f"{self.met} schedules: in {share} both runs wrote the same, in {self.killed} one was killed"


def numbered(seed: str, number: int, scene: str = "") -> Schedule:
    """Return the schedule with this number of a seed, of one scene or of any."""
    return draw(Random(f"{seed}/{number}"), [pair for pair in PAIRS if scene in {"", pair[0]}])
