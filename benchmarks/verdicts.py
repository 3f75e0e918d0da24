"""Count how often a watch is wrong about worlds whose truth is known.

    ./run benchmarks.verdicts [--runs N] [--write] [WORD …]

WORD: only the worlds whose names have it. A world says how many requests a minute arrive, which share of them fails,
also before the bad deployment, and how often a round of probes fails. The watch lasts half an hour, and as long again
where its evidence is thin. Healthy worlds may end in a relapse in 1 % of the watches, and a relapse may be missed in
5 %, where a test with a fixed number of events would see it within 15 minutes. Elsewhere no evidence is right.
"""

import json
import math
import random
import sys
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import accumulate, product, repeat
from pathlib import Path

import click

from ops.cloudflare.types.records import VersionRequests, WorkerTraffic
from ops.core.clock import Period
from ops.core.verdict import Verdict
from ops.engine.rehearsal import FAILURES
from ops.watch.judgment import ErrorRates, LiveVersions, judge_watch
from ops.watch.state import WatchState

START = datetime(2026, 11, 24, 3, 40, tzinfo=UTC)
LAG, WITHIN = 5, 15
"""Minutes until the analytics are complete, and in which a relapse shall be found."""
LETTERS = {False: "h", True: "u"}
WORDS = ("relapse", "late", "mitigated", "no evidence")
"""Last words of a watch: relapse within the time, relapse later, and the two others."""
RATES, SHARES = (5, 30, 150, 1000, 5000), (0.005, 0.01, 0.02, 0.04, 0.06, 0.1, 0.2)
SAMPLED = (1, 10)
BEFORE = (None, 0.001, 0.01, 0.04)
PATH = Path(__file__).parent.parent / "tests" / "verdicts.json"


@dataclass(frozen=True)
class Course:
    """A value from a minute or round to another one; 0 before and after."""

    value: float = 0.0
    since: int = 0
    until: int = 10_000

    def at(self, place: int) -> float:
        return self.value if self.since <= place < self.until else 0.0


@dataclass(frozen=True)
class World:
    name: str
    truth: str
    """healthy, relapse, or either: what Backout calls neither good nor bad."""
    requests: Course = Course()
    """By the minute."""
    share: Course = Course()
    """Share of the requests that fails, by the minute."""
    probes: Course = Course()
    """Probability that a round fails, by the round."""
    before: float | None = None
    """Share that failed on the day before the bad deployment; None: the versions did not serve then."""
    sampled: int = 1
    """Requests that one sample stands for."""
    usual: float = 0.0
    """Share of the rounds that failed before, as ops.yml declares it."""

    @property
    def began(self) -> int:
        """Minute in which the trouble begins."""
        return max(self.share.since, self.probes.since // 2)

    @property
    def limit(self) -> float:
        """Return the share from which docs/explanation/watch.md calls requests bad."""
        return 0.1 if self.before is None else max(0.01, 2 * self.before)


BUSY = Course(150)


def list_worlds() -> Iterator[World]:
    yield World("no requests", "healthy")
    yield World("3 % of the rounds fail", "healthy", probes=Course(0.03))
    yield World("10 % of the rounds fail", "healthy", probes=Course(0.1))
    yield World("15 % of the rounds fail", "either", probes=Course(0.15))
    yield World("15 % of the rounds fail, as before", "healthy", probes=Course(0.15), usual=0.15)
    yield World("half of the rounds fail", "either", probes=Course(0.5))
    yield World("half of the rounds fail, before 15 %", "relapse", probes=Course(0.5), usual=0.15)
    yield World("each round fails, before 15 %", "relapse", probes=Course(1.0), usual=0.15)
    yield World("each round fails", "relapse", probes=Course(1.0))
    yield World("each round fails from minute 12 on", "relapse", probes=Course(1.0, 24))
    yield World("the first 3 rounds fail", "healthy", probes=Course(1.0, 0, 3))
    yield World("150/min: 40 % fail for 2 minutes, before 0.1 %", "healthy", BUSY, Course(0.4, 0, 2), before=0.001)
    yield World("150/min: 50 % fail in one minute, before 0.1 %", "healthy", BUSY, Course(0.5, 9, 10), before=0.001)
    for minute, before in product((12, 27), (None, 0.001)):
        name = f"150/min: 20 % fail from minute {minute} on, {_before(before)}"
        yield World(name, "relapse", BUSY, Course(0.2, minute), before=before)
    for rate, share, before, sampled in product(RATES, SHARES, BEFORE, SAMPLED):
        name, truth = name_cell(rate, share, before, sampled), _truth(share, before)
        yield World(name, truth, Course(rate), Course(share), before=before, sampled=sampled)


def _before(before: float | None) -> str:
    return "before unknown" if before is None else f"before {100 * before:g} %"


def name_cell(rate: int, share: float, before: float | None, sampled: int) -> str:
    one_of = "" if sampled == 1 else f", sampled 1:{sampled}"
    return f"{rate}/min{one_of}: {100 * share:g} % fail, {_before(before)}"


def _truth(share: float, before: float | None) -> str:
    """Return what the page calls such a share: a relapse, healthy, or something between."""
    bad = 0.1 if before is None else max(0.01, 2 * before)
    good = 0.05 if before is None else bad
    return "relapse" if share > 1.01 * bad else "healthy" if share < 0.99 * good else "either"


def is_visible(world: World) -> bool:
    """Return whether a test with a fixed number of events would see the relapse in the time.

    An exact binomial test (error 0.01 %, because a watch looks many times, and power 99 %), with the limit's own error.
    """
    at = world.began + 1
    if world.probes.at(2 * at) >= 1.0:
        return True
    share, events = world.share.at(at), int(world.requests.at(at) * (WITHIN - LAG - 1) / world.sampled)
    limit = world.limit
    if world.before:
        limit += 2 * 2.33 * math.sqrt(world.before * (1 - world.before) * world.sampled / (1440 * world.requests.value))
    if share <= limit or events < 1:
        return False
    if events * limit > 500:  # the normal approximation is close
        root = 3.72 * math.sqrt(limit * (1 - limit)) + 2.326 * math.sqrt(share * (1 - share))
        return events >= (root / (share - limit)) ** 2
    least = bisect_left(_cumulated(events, limit), 0.9999) + 1
    return least <= events and 1 - _cumulated(events, share)[least - 1] >= 0.99


class Draws:
    """Random counts of one watch."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def failures(self, total: int, share: float) -> int:
        """Return how many of so many events fail."""
        if not total or not 0 < share < 1:
            return total if share >= 1 else 0
        if total * share * (1 - share) > 200:
            return min(total, max(0, round(self._random.gauss(total * share, math.sqrt(total * share * (1 - share))))))
        return bisect_left(_cumulated(total, share), self._random.random())


@cache
def _cumulated(total: int, share: float) -> list[float]:
    def weight(failed: int) -> float:
        ways = math.lgamma(total + 1) - math.lgamma(failed + 1) - math.lgamma(total - failed + 1)
        return math.exp(ways + failed * math.log(share) + (total - failed) * math.log(1 - share))

    return list(accumulate(weight(failed) for failed in range(min(total, int(total * share + 200)) + 1)))


@dataclass
class Watched:
    """One watch of a world; it draws what happens as far as somebody looks."""

    world: World
    draws: Draws
    rounds: str = ""
    minutes: list[VersionRequests] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.day: tuple[VersionRequests, ...] = ()
        if self.world.before is not None and (total := self._sample(int(1440 * self.world.requests.value))):
            self.day = (self._row(START - timedelta(days=2), total, self.world.before),)

    def verdict(self, minutes: int) -> Verdict:
        """Return the verdict after so many minutes."""
        while len(self.rounds) < 2 * minutes:
            self.rounds += LETTERS[self.draws.failures(1, self.world.probes.at(len(self.rounds))) > 0]
        while len(self.minutes) < minutes:
            at = len(self.minutes)
            total = self._sample(int(self.world.requests.at(at)))
            self.minutes.append(self._row(START + timedelta(minutes=at), total, self.world.share.at(at)))
        end = START + timedelta(minutes=minutes)
        state = WatchState("x", START, end, "d1", self.rounds[: 2 * minutes], usual_failures=self.world.usual)
        seen = tuple(self.minutes[: max(0, minutes - LAG)])
        rows = tuple(each for each in seen if each.requests)
        traffic = WorkerTraffic(
            Period(START, end),
            rows,
            self.day,
            float(self.world.sampled),
            end - timedelta(minutes=LAG),
            may_be_cut=False,
        )
        return judge_watch(state, LiveVersions(("good",), START - timedelta(hours=1)), ErrorRates(traffic)).verdict

    def _sample(self, total: int) -> int:
        if self.world.sampled == 1:
            return total
        return self.draws.failures(total, 1 / self.world.sampled)

    def _row(self, at: datetime, samples: int, share: float) -> VersionRequests:
        times = self.world.sampled
        return VersionRequests(at, "good", times * samples, times * self.draws.failures(samples, share), times)


def watch(world: World, seed: str) -> str:
    """Return the last word of one watch: relapse, late, mitigated or no evidence."""
    one = Watched(world, Draws(f"{world.name} {seed}"))
    if one.verdict(world.began + WITHIN) == Verdict.UNHEALTHY:
        return "relapse"
    verdict = one.verdict(30)
    verdict = one.verdict(60) if verdict == Verdict.INCONCLUSIVE else verdict
    return {Verdict.UNHEALTHY: "late", Verdict.HEALTHY: "mitigated", Verdict.INCONCLUSIVE: "no evidence"}[verdict]


@dataclass(frozen=True)
class Words:
    """How many watches of a world ended with each word."""

    world: World
    counts: Mapping[str, int]

    @property
    def runs(self) -> int:
        return sum(self.counts.values())

    @property
    def wrong(self) -> int | None:
        """Return how many were wrong; None if each word is right."""
        if self.world.truth == "healthy":
            return self.counts["relapse"] + self.counts["late"]
        is_missed = self.world.truth == "relapse" and is_visible(self.world)
        return self.runs - self.counts["relapse"] if is_missed else None

    @property
    def is_bad(self) -> bool:
        most = 0.01 if self.world.truth == "healthy" else 0.05
        return self.wrong is not None and self.wrong > most * self.runs

    def __str__(self) -> str:
        shares = ", ".join(f"{word} {100 * count / self.runs:.1f} %" for word, count in self.counts.items())
        return f"{'Error: ' if self.is_bad else ''}{self.world.name} ({self.world.truth}): {shares}"


def count_words(world: World, runs: int) -> Words:
    found = Counter(watch(world, str(number)) for number in range(runs))
    return Words(world, {word: found[word] for word in WORDS})


def interval(part: int, runs: int) -> tuple[float, float]:
    """Return the 99.9 % interval of a share, by Wilson (1927). There are 1,200 shares."""
    z, share = 3.29, part / runs
    middle, width = share + z * z / (2 * runs), z * math.sqrt(share * (1 - share) / runs + z * z / (4 * runs * runs))
    low, high = ((middle + sign * width) / (1 + z * z / runs) for sign in (-1, 1))
    return low - 1e-9, high + 1e-9


def find_changes(words: Words, recorded: Mapping[str, int]) -> Iterator[str]:
    """Yield a text for each word that is now seldomer or more frequent than the recorded interval."""
    for word, count in words.counts.items():
        low, high = interval(recorded[word], sum(recorded.values()))
        if not low <= count / words.runs <= high:
            yield f"Error: {words.world.name}: {word} {count} of {words.runs}, recorded {recorded[word]}"


def refused_rehearsals(failing: float, successes: int, rounds: int = 15) -> float:
    """Return the exact share of rehearsals that refuse their target, if this share of its rounds fails."""
    refused, rows = 0.0, {(False, 0): 1.0}
    for _ in range(rounds):
        after = defaultdict[tuple[bool, int], float](float)
        for (was_bad, length), weight in rows.items():
            for is_bad, chance in ((True, failing), (False, 1 - failing)):
                after[is_bad, length + 1 if is_bad == was_bad else 1] += weight * chance
        least = {True: max(successes, FAILURES), False: successes}
        refused += sum(weight for (is_bad, length), weight in after.items() if is_bad and length >= least[True])
        rows = {row: weight for row, weight in after.items() if row[1] < least[row[0]]}
    return refused


@click.command(help=__doc__)
@click.argument("words", nargs=-1)
@click.option("--runs", default=1000, show_default=True, help="Watches of each world.")
@click.option("--write", is_flag=True, help="Write tests/verdicts.json, from which the page has its tables.")
def main(words: tuple[str, ...], runs: int, *, write: bool) -> None:
    """Print each world; exit with 1 if one is wrong too often, or differs from what is recorded."""
    worlds = [each for each in list_worlds() if all(word in each.name for word in words)]
    recorded = {} if write else json.loads(PATH.read_text(encoding="utf-8"))
    problems, written = 0, {}
    with ProcessPoolExecutor() as pool:
        for counted in pool.map(count_words, worlds, repeat(runs), chunksize=4):
            print(counted, flush=True)
            changes = [] if write else list(find_changes(counted, recorded[counted.world.name]))
            print("".join(f"{change}\n" for change in changes), end="", flush=True)
            problems += counted.is_bad or bool(changes)
            written[counted.world.name] = counted.counts
    if write:
        PATH.write_text(json.dumps(written, indent=0) + "\n", encoding="utf-8")
    for failing in (0.1, 0.15, 0.5, 1.0):
        shares = ", ".join(f"{100 * refused_rehearsals(failing, each):.2f} % by {each} successes" for each in (2, 3, 5))
        print(f"a rehearsal refuses a target of which {100 * failing:g} % of the rounds fail: {shares}")
    print(f"{len(worlds)} worlds, {problems} wrong")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
