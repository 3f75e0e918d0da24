"""Verdicts of metrics: a table of cases, and properties of every series."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import strategies as st

from ops.core.metric_verdict import (
    Measurement,
    MetricRule,
    MetricVerdict,
    MissingData,
    combine_verdicts,
    error_rate,
    judge_metric,
    probe_value,
    threshold_for,
)
from ops.core.verdict import Verdict
from tests.support.properties import holds_for

START = datetime(2026, 11, 26, 4, 0, tzinfo=UTC)
HEALTHY, UNHEALTHY, INCONCLUSIVE = Verdict.HEALTHY, Verdict.UNHEALTHY, Verdict.INCONCLUSIVE
VALUES = {"g": 0.0, "b": 1.0, "-": None, "n": math.nan, "i": math.inf, "t": 0.05, "o": 0.050001}
"""Letter of a round: good, bad, no data, NaN, infinity, at the threshold, over it."""


def series(rounds: str, *, first: datetime = START) -> list[Measurement]:
    """Return one round each minute."""
    return [Measurement(first + timedelta(minutes=at), VALUES[each]) for at, each in enumerate(rounds)]


def judge(rounds: str, **rule: Any) -> MetricVerdict:
    return judge_metric(MetricRule("errors", 0.05, **rule), series(rounds), start=START)


SKIP, BAD = {"missing_data": MissingData.SKIP}, {"missing_data": MissingData.BAD}
ONE = {"failure_limit": 1, "window": 1}


def delay(minutes: float) -> dict[str, Any]:
    return {"initial_delay": timedelta(minutes=minutes)}


CASES: list[tuple[str, dict[str, Any], Verdict, int | None]] = [
    # Rounds, rule, verdict, and the round since which it holds (from 0).
    ("", {}, INCONCLUSIVE, None),
    ("g", {}, INCONCLUSIVE, None),
    ("gg", {}, INCONCLUSIVE, None),
    ("ggg", {}, HEALTHY, 0),
    ("gggggg", {}, HEALTHY, 0),
    ("b", {}, INCONCLUSIVE, None),
    ("bb", {}, INCONCLUSIVE, None),
    ("bbb", {}, UNHEALTHY, 2),
    ("bbbggg", {}, UNHEALTHY, 2),
    ("bbbgggggggggg", {}, UNHEALTHY, 2),
    ("gggbbb", {}, UNHEALTHY, 5),
    ("bgbgb", {}, UNHEALTHY, 4),
    ("bggbb", {}, UNHEALTHY, 4),
    ("bgggbb", {}, INCONCLUSIVE, None),  # the first bad round is out of the window
    ("bgggbbg", {}, INCONCLUSIVE, None),
    ("bgggbbgb", {}, UNHEALTHY, 7),
    ("bbggg", {}, HEALTHY, 2),
    ("bbgggb", {}, INCONCLUSIVE, None),
    ("bbggggb", {}, INCONCLUSIVE, None),
    ("gggb", {}, INCONCLUSIVE, None),
    ("gggbg", {}, INCONCLUSIVE, None),
    ("gggbggg", {}, HEALTHY, 4),
    ("bggbggbgg", {}, INCONCLUSIVE, None),
    # Threshold.
    ("ttt", {}, HEALTHY, 0),
    ("ooo", {}, UNHEALTHY, 2),
    ("oot", {}, INCONCLUSIVE, None),
    # Missing data: neither good nor bad.
    ("-", {}, INCONCLUSIVE, None),
    ("----------", {}, INCONCLUSIVE, None),
    ("gg-g", {}, INCONCLUSIVE, None),
    ("gg-ggg", {}, HEALTHY, 3),
    ("ggg-", {}, INCONCLUSIVE, None),
    ("b-b-b", {}, UNHEALTHY, 4),
    ("b-b--b", {}, INCONCLUSIVE, None),
    ("bb-", {}, INCONCLUSIVE, None),
    ("nnn", {}, INCONCLUSIVE, None),
    ("iii", {}, INCONCLUSIVE, None),
    ("gnggg", {}, HEALTHY, 2),
    # Missing data: the round does not exist.
    ("---", SKIP, INCONCLUSIVE, None),
    ("g-g-g", SKIP, HEALTHY, 0),
    ("b---b---b", SKIP, UNHEALTHY, 8),
    ("gg-", SKIP, INCONCLUSIVE, None),
    ("ggg---", SKIP, HEALTHY, 0),
    ("bnbib", SKIP, UNHEALTHY, 4),
    # Missing data: bad.
    ("---", BAD, UNHEALTHY, 2),
    ("g-g-g-", BAD, UNHEALTHY, 5),
    ("g-gggg", BAD, HEALTHY, 2),
    ("b-n", BAD, UNHEALTHY, 2),
    # Initial delay.
    ("bbb", delay(3), INCONCLUSIVE, None),
    ("bbbggg", delay(3), HEALTHY, 3),
    ("bbbb", delay(1), UNHEALTHY, 3),
    ("bbbb", delay(1.5), INCONCLUSIVE, None),
    ("ggg", delay(1), INCONCLUSIVE, None),
    ("gggg", delay(1), HEALTHY, 1),
    ("---bbb", {**BAD, **delay(3)}, UNHEALTHY, 5),
    # Other limits.
    ("b", ONE, UNHEALTHY, 0),
    ("gb", ONE, UNHEALTHY, 1),
    ("g", {"successes_in_row": 1}, HEALTHY, 0),
    ("bg", {"successes_in_row": 1}, HEALTHY, 1),
    ("gggg", {"successes_in_row": 5}, INCONCLUSIVE, None),
    ("ggggg", {"successes_in_row": 5}, HEALTHY, 0),
    ("bgb", {"failure_limit": 2, "window": 2}, INCONCLUSIVE, None),
    ("bgbb", {"failure_limit": 2, "window": 2}, UNHEALTHY, 3),
    ("bgbg", {"failure_limit": 2, "window": 3}, UNHEALTHY, 2),
    ("bbbbggbbbb", {"failure_limit": 5, "window": 10}, UNHEALTHY, 6),
    ("bbbbgg", {"failure_limit": 5, "window": 5}, INCONCLUSIVE, None),
    ("bbbbggg", {"failure_limit": 5, "window": 5}, HEALTHY, 4),
    ("bbb", {"is_dry_run": True}, UNHEALTHY, 2),
    ("ggg", {"is_dry_run": True}, HEALTHY, 0),
]


@pytest.mark.slow
@pytest.mark.parametrize(("rounds", "rule", "verdict", "since"), CASES)
def test_verdict_of_a_series(rounds: str, rule: dict[str, Any], verdict: Verdict, since: int | None) -> None:
    found = judge(rounds, **rule)

    assert found.verdict == verdict
    assert found.since == (None if since is None else START + timedelta(minutes=since))


def test_table_has_sixty_different_cases() -> None:
    assert len({(rounds, repr(rule)) for rounds, rule, *_ in CASES}) == len(CASES) >= 60


@pytest.mark.slow
@pytest.mark.parametrize(
    ("series_of_metrics", "verdict"),
    [
        ([], INCONCLUSIVE),
        ([("ggg", {})], HEALTHY),
        ([("ggg", {}), ("ggg", {})], HEALTHY),
        ([("ggg", {}), ("gg", {})], INCONCLUSIVE),
        ([("ggg", {}), ("bbb", {})], UNHEALTHY),
        ([("gg", {}), ("bbb", {})], UNHEALTHY),
        ([("ggg", {}), ("bbb", {"is_dry_run": True})], HEALTHY),
        ([("ggg", {"is_dry_run": True})], INCONCLUSIVE),
        ([("bbb", {"is_dry_run": True})], INCONCLUSIVE),
        ([("ggg", {}), ("---", SKIP)], HEALTHY),  # analytics that are down leave the decision to the probes
        ([("bbb", {}), ("---", SKIP)], UNHEALTHY),
        ([("---", SKIP)], INCONCLUSIVE),
        ([("ggg", {}), ("---", {})], INCONCLUSIVE),
        ([("ggg", {}), ("g--", SKIP)], INCONCLUSIVE),
        ([("ggg", {}), ("---", BAD)], UNHEALTHY),
    ],
)
def test_verdict_of_several_metrics(series_of_metrics: list[tuple[str, dict[str, Any]]], verdict: Verdict) -> None:
    assert combine_verdicts(judge(rounds, **rule) for rounds, rule in series_of_metrics) == verdict


@pytest.mark.parametrize(
    "rule",
    [
        {"failure_limit": 0},
        {"failure_limit": 6},
        {"window": 2},
        {"successes_in_row": 0},
        {"initial_delay": timedelta(seconds=-1)},
        {"threshold": math.nan},
    ],
)
def test_unreachable_limit_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="errors: "):
        MetricRule("errors", **{"threshold": 0.05, **rule})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("requests", "errors", "rate"),
    [(0, 0, None), (99, 99, None), (100, 0, 0.0), (100, 31, 0.31), (1000, 5, 0.005), (100, 130, 1.0)],
)
def test_error_rate_needs_enough_requests(requests: int, errors: int, rate: float | None) -> None:
    assert error_rate(requests, errors) == rate


def test_threshold_is_above_the_baseline() -> None:
    assert [threshold_for(baseline) for baseline in (None, 0.0, 0.01, 0.1)] == [0.05, 0.05, 0.05, pytest.approx(0.3)]


def test_probe_round_is_a_value() -> None:
    assert [probe_value(verdict) for verdict in (HEALTHY, UNHEALTHY, INCONCLUSIVE)] == [0.0, 1.0, None]


def test_verdict_counts_rounds() -> None:
    found = judge("gb-gb")

    assert (found.bad_rounds, found.rounds, found.has_data) == (2, 5, True)
    assert (judge("---", **SKIP).rounds, judge("---", **SKIP).has_data) == (0, False)


ROUNDS = st.text(alphabet="".join(VALUES), max_size=14)
RULES = st.sampled_from(  # one choice for each example: drawing the parts takes longer than the test
    [
        MetricRule(
            "errors",
            0.05,
            failure_limit=limit,
            window=window,
            successes_in_row=successes,
            initial_delay=timedelta(minutes=minutes),
            missing_data=missing,
            is_dry_run=is_dry_run,
        )
        for window in range(1, 7)
        for limit in range(1, window + 1)
        for successes in range(1, 5)
        for minutes in (0, 0, 1, 3)
        for missing in MissingData
        for is_dry_run in (False, True)
    ]
)


@pytest.mark.slow
@holds_for(200, 5000, rounds=ROUNDS, rule=RULES)
def test_healthy_needs_measured_good_rounds(rounds: str, rule: MetricRule) -> None:
    if judge_metric(rule, series(rounds), start=START).verdict == HEALTHY:
        measured = [each for each in rounds if VALUES[each] is not None and each not in "ni"]
        assert len(measured) >= rule.successes_in_row
        assert measured[-1] in "gt"


@pytest.mark.slow
@holds_for(200, 5000, rounds=ROUNDS, rule=RULES)
def test_unhealthy_needs_the_limit_of_bad_rounds(rounds: str, rule: MetricRule) -> None:
    found = judge_metric(rule, series(rounds), start=START)
    bad = "bo" if rule.missing_data != MissingData.BAD else "bo-ni"
    if found.verdict == UNHEALTHY:
        assert found.bad_rounds >= rule.failure_limit
        assert sum(each in bad for each in rounds) >= rule.failure_limit
        assert found.since is not None
        assert found.since >= START + rule.initial_delay


@pytest.mark.slow
@holds_for(200, 5000, rounds=ROUNDS, more=ROUNDS, rule=RULES)
def test_reached_failure_limit_is_final(rounds: str, more: str, rule: MetricRule) -> None:
    first = judge_metric(rule, series(rounds), start=START)
    later = judge_metric(rule, series(rounds + more), start=START)
    if first.verdict == UNHEALTHY:
        assert (later.verdict, later.since) == (UNHEALTHY, first.since)


@pytest.mark.slow
@holds_for(200, 5000, rounds=ROUNDS, at=st.integers(0, 13), rule=RULES)
def test_worse_round_never_improves_the_verdict(rounds: str, at: int, rule: MetricRule) -> None:
    order = [HEALTHY, INCONCLUSIVE, UNHEALTHY]
    known = "".join(each for each in rounds if each in "gbto")
    worse = known[:at] + known[at : at + 1].replace("g", "b").replace("t", "b") + known[at + 1 :]

    before, after = (judge_metric(rule, series(each), start=START).verdict for each in (known, worse))

    assert order.index(after) >= order.index(before)


@pytest.mark.slow
@holds_for(200, 5000, rounds=ROUNDS, rule=RULES, seed=st.integers(0, 10**9))
def test_order_of_arrival_does_not_matter(rounds: str, rule: MetricRule, seed: int) -> None:
    found = series(rounds)
    shuffled = Random(seed).sample(found, len(found))

    assert judge_metric(rule, shuffled, start=START) == judge_metric(rule, found, start=START)


@pytest.mark.slow
@holds_for(200, 5000, rounds=ROUNDS, rule=RULES)
def test_missing_data_in_any_form_is_equal(rounds: str, rule: MetricRule) -> None:
    plain = rounds.replace("n", "-").replace("i", "-")

    assert judge_metric(rule, series(plain), start=START) == judge_metric(rule, series(rounds), start=START)


@pytest.mark.slow
@holds_for(200, 5000, several=st.lists(st.tuples(ROUNDS, RULES), max_size=4), dry=st.tuples(ROUNDS, RULES))
def test_dry_run_never_decides(several: list[tuple[str, MetricRule]], dry: tuple[str, MetricRule]) -> None:
    verdicts = [judge_metric(rule, series(rounds), start=START) for rounds, rule in several]
    shown = judge_metric(replace(dry[1], is_dry_run=True), series(dry[0]), start=START)

    assert combine_verdicts([*verdicts, shown]) == combine_verdicts(verdicts)
    if combine_verdicts(verdicts) == HEALTHY:
        assert any(each.decides for each in verdicts)
        assert all(each.verdict == HEALTHY for each in verdicts if each.decides)
