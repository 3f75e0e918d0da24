"""The statistics of a watch: their errors by exact enumeration, and cases whose verdict a person can check."""

from datetime import UTC, datetime, timedelta
from itertools import product
from math import comb

import pytest
from hypothesis import strategies as st

from ops.core.sequential_test import (
    FALSE_GOOD,
    FALSE_PROOF,
    FailureCount,
    ShareLimits,
    find_bad_share,
    is_above,
    judge_share,
    rounds_without_version,
    share_limits_after,
    upper_bound,
)
from ops.core.verdict import Verdict
from tests.support.properties import holds_for

START = datetime(2026, 11, 26, 4, 0, tzinfo=UTC)
HEALTHY, UNHEALTHY, INCONCLUSIVE = Verdict.HEALTHY, Verdict.UNHEALTHY, Verdict.INCONCLUSIVE
UNKNOWN = ShareLimits(good=0.05, bad=0.1)


def counts(*rows: tuple[float, float]) -> list[FailureCount]:
    """Return one count each minute: total and failed."""
    return [FailureCount(START + timedelta(minutes=number), *row) for number, row in enumerate(rows)]


def rounds(letters: str) -> list[FailureCount]:
    return counts(*[(1, float(each == "u")) for each in letters])


def test_bad_is_wrong_no_more_often_than_permitted() -> None:
    """All 4,096 series of twelve rounds, each with its probability if exactly the limit fails."""
    limits = list(product([0.05, 0.2, 0.5], [0.1, 0.02]))
    wrong = dict.fromkeys(limits, 0.0)
    for letters in product("hu", repeat=12):
        series, failed = rounds("".join(letters)), letters.count("u")
        for share, error in limits:
            if find_bad_share(series, share, error) is not None:
                wrong[share, error] += share**failed * (1 - share) ** (12 - failed)

    assert [each for each in limits if wrong[each] > each[1]] == []


@pytest.mark.parametrize("total", [10, 40, 200])
@pytest.mark.parametrize("share", [0.05, 0.15])
def test_bound_is_exceeded_no_more_often_than_permitted(total: int, share: float) -> None:
    """The exact probability that so few fail although the share is that of the bound."""
    for failed in range(int(total * share)):
        is_ruled_out = upper_bound(failed, total, FALSE_GOOD) <= share
        chance = sum(comb(total, k) * share**k * (1 - share) ** (total - k) for k in range(failed + 1))

        assert not is_ruled_out or chance <= FALSE_GOOD + 1e-9


@pytest.mark.parametrize(
    ("letters", "verdict"),
    [
        ("u" * 4, INCONCLUSIVE),
        ("u" * 5, UNHEALTHY),
        ("h" * 30 + "u" * 7, INCONCLUSIVE),
        ("h" * 30 + "u" * 9, UNHEALTHY),
        ("h" * 30, HEALTHY),
        ("h" * 24, INCONCLUSIVE),
        ("uuu" + "h" * 57, HEALTHY),
        ("h" * 30 + "u" + "h" * 29, HEALTHY),
        ("hhhhhhhhu" * 6, INCONCLUSIVE),
        ("h" * 58 + "uu", INCONCLUSIVE),
        ("hu" * 30, UNHEALTHY),
        ("", INCONCLUSIVE),
    ],
)
def test_rounds(letters: str, verdict: Verdict) -> None:
    judged = judge_share(rounds(letters), ShareLimits(good=0.15, bad=0.2), settled_at=START)

    assert judged.verdict == verdict


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ([(100, 50)], INCONCLUSIVE),  # one minute alone, however bad
        ([(1_000_000, 500_000)], INCONCLUSIVE),
        ([(100, 50)] * 2, UNHEALTHY),
        ([(100, 0)] * 20 + [(100, 50)] * 2, INCONCLUSIVE),
        ([(100, 0)] * 20 + [(100, 50)] * 3, UNHEALTHY),
        ([(100, 50)] + [(100, 0)] * 20, HEALTHY),
        ([(5, 1)] * 25, INCONCLUSIVE),  # 20 % of five requests a minute
        ([(5, 1)] * 60, UNHEALTHY),
        ([(5, 0)] * 20, HEALTHY),
        ([(5, 0)] * 10, INCONCLUSIVE),
        ([(120, 5)] * 13, INCONCLUSIVE),  # 4 %
        ([(1000, 60)] * 13, INCONCLUSIVE),  # 6 % may be as before
        ([(1000, 120)] * 13, UNHEALTHY),
        ([(0.5, 0.0)] * 20, INCONCLUSIVE),
    ],
)
def test_requests_without_a_share_from_before(rows: list[tuple[float, float]], verdict: Verdict) -> None:
    assert judge_share(counts(*rows), UNKNOWN, settled_at=START).verdict == verdict


def test_bad_stretch_is_named_from_its_start() -> None:
    judged = judge_share(counts(*[(100, 0)] * 20, *[(100, 50)] * 3, *[(100, 0)] * 5), UNKNOWN, settled_at=START)

    assert (judged.since, judged.total, judged.failed) == (START + timedelta(minutes=20), 300, 150)


def test_good_begins_after_the_last_notable_failure() -> None:
    judged = judge_share(counts(*[(100, 0)] * 3, (100, 50), *[(100, 1)] * 30), UNKNOWN, settled_at=START)

    assert (judged.verdict, judged.since) == (HEALTHY, START + timedelta(minutes=4))
    assert not judged.is_unbroken


@pytest.mark.parametrize(
    ("before", "good", "bad"),
    [
        ((0, 0), 0.05, 0.1),
        ((10, 0), 0.05, 0.1),  # too few
        ((1_000_000, 0), 0.01, 0.01),
        ((1_000_000, 1000), 0.01, 0.01),
        ((1_000_000, 40_000), 0.08, 0.081),
        ((1_000_000, 300_000), 0.6, 0.603),
        ((1_000_000, 900_000), 0.95, 0.95),
        ((300, 0), 0.01, 0.03),
    ],
)
def test_limits_follow_what_was_before(before: tuple[int, int], good: float, bad: float) -> None:
    limits = share_limits_after(FailureCount(START, *before), UNKNOWN, 0.01)

    assert limits.good == pytest.approx(good, abs=0.002)
    assert limits.bad == pytest.approx(bad, abs=0.002)


@holds_for(
    30,
    1000,
    rows=st.lists(st.tuples(st.integers(1, 500), st.floats(0, 1)), max_size=40),
    more=st.integers(0, 10),
)
def test_later_counts_never_take_bad_back(rows: list[tuple[int, float]], more: int) -> None:
    series = counts(*[(total, round(total * share)) for total, share in rows])
    longer = [*series, *counts(*[(100, 0)] * more)]

    judged = judge_share(series, UNKNOWN, settled_at=START)

    if judged.verdict == UNHEALTHY:
        assert judge_share(longer, UNKNOWN, settled_at=START) == judged
        assert judged.failed > UNKNOWN.bad * judged.total
    if judged.verdict == HEALTHY:
        assert not is_above(series[-1], UNKNOWN.good)


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("lag", [15, 60, 121])
def test_proof_without_a_version_is_false_no_more_often_than_permitted(share: float, lag: int) -> None:
    """Exact: two probes, and a bad version that fails half of the time on a share of the edge for some rounds."""
    needed, most = rounds_without_version(121), 121
    healthy, clean = (1 - share / 2) ** 2, (1 - share) ** 2
    in_a_row, false = [1.0, *[0.0] * needed], 0.0
    for number in range(most):
        passes, is_seen = (healthy, clean) if number < lag else (1.0, 1.0)
        false += in_a_row[needed - 1] * (passes - is_seen)
        in_a_row = [sum(in_a_row[:needed]) * (1 - passes), *[each * passes for each in in_a_row[:needed]]]

    assert needed <= most
    assert false <= FALSE_PROOF


@pytest.mark.parametrize("most", [1, 5, 17, 360_001])
def test_rounds_without_a_version_exist_for_each_setting(most: int) -> None:
    needed = rounds_without_version(most)

    assert needed == most + 1 if most < 20 else 20 < needed < most
