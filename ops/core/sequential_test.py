"""Judge how often something fails, while its counts still grow: bad, good, or no evidence.

*Bad* is a test martingale against "at most this share fails", with failures that may begin at any count. By Ville's
inequality it is wrong with at most `FALSE_BAD`, however often somebody looks (Ramdas and others, Game-Theoretic
Statistics and Safe Anytime-Valid Inference, 2023). *Good* is one look at the end, whose error Chernoff's inequality
bounds by `FALSE_GOOD`. Neither needs a share that stays the same.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import NamedTuple

from ops.core.verdict import Verdict

MAX_ERROR_RATE = 0.05
"""Share of failed requests above which a version of a Worker counts as bad in the long run."""
MIN_REQUESTS = 100
"""Fewest requests from which such a share is computed."""
FALSE_BAD = 0.005
"""Probability of "bad" in one test, at most, if not more than the limit fails. A watch makes two tests or three."""
FALSE_GOOD = 0.0125
"""Probability of "good" in one of the two tests of a look, at most, if more than the limit fails.

One test takes all counts, the other one those after the latest notable failure; for requests, whose failures may be
small, the bound of the second one is not exact. A watch looks once or twice.
"""
BASELINE_FACTOR = 2.0
"""This many times the share before is bad."""
BASELINE_ERROR = 0.01
"""Probability that the share before is higher than the bound that the limit is computed from."""
FALSE_PROOF = 0.01
"""Probability that a proof ends with an answer of the bad version, at most, where only a failure shows that version."""
MOST_BAD = 0.95
"""Largest share that a limit can be."""
_NOTABLE = -math.log(FALSE_GOOD)
_STARTS = 240
"""Later counts at which failures may begin: rounds of the longest watch. Half of the weight is on the first count."""
_ODDS = (1.2, 1.7, 3.0, 8.0, 30.0, 150.0)
"""Alternatives of the test: the odds of a failure, as multiples of those at the limit."""


@dataclass(frozen=True)
class ShareLimits:
    """Share of failures from which something is bad, and below which it is good. Between them nothing is said."""

    good: float
    bad: float


@dataclass(frozen=True)
class FailureCount:
    """Events of a round, or of a minute that begins at `at`, and those that failed. Only samples count as events."""

    at: datetime
    total: float
    failed: float


@dataclass(frozen=True)
class ShareVerdict:
    """What counts show. `total` and `failed`: events of the bad stretch; else all since the service settled."""

    limits: ShareLimits
    verdict: Verdict
    since: datetime | None
    """Time of the first count of a bad stretch, or from which on nothing failed notably; None without evidence."""
    total: float = 0.0
    failed: float = 0.0
    is_unbroken: bool = False
    """Whether it is good from the first count on."""

    @property
    def has_counts(self) -> bool:
        return self.total > 0

    @property
    def most_unseen(self) -> float:
        """Return the share of failures that these counts cannot rule out."""
        return upper_bound(self.failed, self.total, FALSE_GOOD)

    @property
    def can_decide(self) -> bool:
        """Return whether so many counts could be good, or look worse than good. Others say nothing."""
        if not self.has_counts or self.verdict != Verdict.INCONCLUSIVE:
            return self.has_counts
        could_be_good = upper_bound(0.0, self.total, FALSE_GOOD) <= self.limits.good
        return could_be_good or self.failed > self.limits.good * self.total


def judge_share(
    counts: Sequence[FailureCount], limits: ShareLimits, *, settled_at: datetime, tests: int = 1
) -> ShareVerdict:
    """Judge the counts in the order of their times.

    Counts before `settled_at` can be bad, and are no part of what is good. `tests`: tests like this one that are made
    side by side; each gets its part of the permitted error.
    """
    found = find_bad_share(counts, limits.bad, FALSE_BAD / tests)
    if found is not None:
        first, last = found
        return ShareVerdict(limits, Verdict.UNHEALTHY, counts[first].at, *_sum_counts(counts[first : last + 1]))
    settled = _counts_since(counts, settled_at)
    total, failed = _sum_counts(settled)
    bad = [place for place, each in enumerate(counts) if each.failed == each.total or is_above(each, limits.good)]
    rest = counts[bad[-1] + 1 :] if bad else counts
    is_good = any(_is_below(each, limits.good) for each in (settled, _counts_since(rest, settled_at)))
    if not rest or not is_good or _ends_badly(rest, limits.good):
        return ShareVerdict(limits, Verdict.INCONCLUSIVE, None, total, failed)
    return ShareVerdict(limits, Verdict.HEALTHY, rest[0].at, total, failed, is_unbroken=not bad)


def find_bad_share(counts: Sequence[FailureCount], share: float, error: float) -> tuple[int, int] | None:
    """Return the places between which more than `share` failed; None if that is not shown.

    `error`: probability of a false answer, at most. One count alone shows nothing, however large it is.
    """
    alternatives = [_alternative_to(share, times) for times in _ODDS]
    evidence, waiting, most = [0.0] * len(_ODDS), 1.0, -math.log(error)
    for place, each in enumerate(counts):
        weight = 0.5 if place == 0 else min(waiting, 0.5 / _STARTS)
        waiting -= weight
        evidence = [
            (worth + weight / len(_ODDS)) * math.exp(min(other.weigh(each), most))
            for worth, other in zip(evidence, alternatives, strict=True)
        ]
        if sum(evidence) + waiting >= 1 / error:
            best = alternatives[evidence.index(max(evidence))]
            return _find_start(counts[: place + 1], best), place
    return None


def share_limits_after(before: FailureCount, unknown: ShareLimits, least: float) -> ShareLimits:
    """Return the limits after the counts from before; `unknown` if they are too few to tell.

    `least`: smallest share that is bad.
    """
    if not before.total:
        return unknown
    share, most = before.failed / before.total, upper_bound(before.failed, before.total, BASELINE_ERROR)
    if most > max(unknown.bad / BASELINE_FACTOR, 1.5 * share):
        return unknown
    bad = min(MOST_BAD, max(least, BASELINE_FACTOR * most))
    return ShareLimits(min(bad, max(least, BASELINE_FACTOR * share)), bad)


def _is_below(counts: Iterable[FailureCount], share: float) -> bool:
    """Return whether the share of failures in the counts together is shown to be smaller."""
    total, failed = _sum_counts(counts)
    return failed < share * total and total * _relative_entropy(failed / total, share) >= _NOTABLE


def is_above(count: FailureCount, share: float) -> bool:
    """Return whether the share of failures in this count alone is shown to be larger."""
    if count.failed <= share * count.total:
        return False
    return count.total * _relative_entropy(count.failed / count.total, share) >= _NOTABLE


def upper_bound(failed: float, total: float, error: float) -> float:
    """Return the share that is exceeded with at most the probability `error`."""
    low, high = failed / total, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        is_ruled_out = total * _relative_entropy(failed / total, middle) >= -math.log(error)
        low, high = (low, middle) if is_ruled_out else (middle, high)
    return high


@cache
def rounds_without_version(most: int) -> int:
    """Return how many rounds in a row must be healthy where no answer names its version; above `most` if too many.

    A bad version that fails half of the time then ends at most FALSE_PROOF of the proofs, whichever share of the edge
    still serves it, and for how long. `most`: rounds that fit before the deadline.
    """
    return 1 + bisect_left(range(1, most + 1), -FALSE_PROOF, key=lambda needed: -_false_proof(needed, most))


def _false_proof(needed: int, most: int) -> float:
    """Return the largest probability of a false proof.

    `share`: of the rounds that a bad answer fails. At most as many pass with one in them. The healthy rounds of a proof
    are the first ones, or follow a failed one.
    """
    shares = (0.5 * math.pow(most, -step / 100) for step in range(150))
    return max(share * (1 - share) ** (needed - 1) * (1 + share * (most - needed)) for share in shares)


def _ends_badly(counts: Sequence[FailureCount], share: float) -> bool:
    """Return whether the latest counts together are above the share."""
    total = failed = 0.0
    for each in reversed(counts):
        total, failed = total + each.total, failed + each.failed
        if is_above(FailureCount(each.at, total, failed), share):
            return True
    return False


class _Alternative(NamedTuple):
    """Another share of failures, compared with the limit: logarithms of the ratios of both probabilities."""

    failed: float
    passed: float

    def weigh(self, count: FailureCount) -> float:
        return count.failed * self.failed + (count.total - count.failed) * self.passed


def _alternative_to(share: float, times: float) -> _Alternative:
    odds = times * share / (1 - share)
    other = odds / (1 + odds)
    return _Alternative(math.log(other / share), math.log((1 - other) / (1 - share)))


def _find_start(counts: Sequence[FailureCount], other: _Alternative) -> int:
    """Return the place from which on the counts speak most for the other share."""
    sums, total = list[float](), 0.0
    for each in reversed(counts):
        total += other.weigh(each)
        sums.append(total)
    return len(counts) - 1 - max(range(len(sums)), key=sums.__getitem__)


def _relative_entropy(share: float, other: float) -> float:
    """Return the relative entropy of two shares in nats; `other` is below 1, or infinitely far."""
    if other >= 1.0:
        return math.inf if share < 1.0 else 0.0
    failed = share * math.log(share / other) if share > 0 else 0.0
    return failed + ((1 - share) * math.log((1 - share) / (1 - other)) if share < 1 else 0.0)


def error_rate(requests: int, errors: int, *, min_requests: int = MIN_REQUESTS) -> float | None:
    """Return the share of failed requests; None if there are too few."""
    return min(1.0, errors / requests) if requests >= max(1, min_requests) else None


def _counts_since(counts: Iterable[FailureCount], moment: datetime) -> list[FailureCount]:
    return [each for each in counts if each.at >= moment]


def _sum_counts(counts: Iterable[FailureCount]) -> tuple[float, float]:
    rows = list(counts)
    return sum(each.total for each in rows), sum(each.failed for each in rows)
