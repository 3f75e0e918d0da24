"""Judge a watch by probes and error rates: baseline, missing data, and versions."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ops.cloudflare.types.records import VersionRequests, WorkerTraffic
from ops.core.clock import Period, parse_utc
from ops.core.verdict import Verdict
from ops.watch.judgment import ErrorRates, LiveVersions, WatchJudgment, count_before, judge_watch
from ops.watch.state import WatchState

START = parse_utc("2026-11-24T03:40:00Z")
END = START + timedelta(minutes=30)
LIVE = LiveVersions(("good",), bad_since=START - timedelta(hours=1))
UNKNOWN = LiveVersions(("good",))
HEALTHY, UNHEALTHY, INCONCLUSIVE = Verdict


def traffic(
    *errors: int, of: int = 100, version: str = "good", yesterday: int = 0, interval: float = 1
) -> WorkerTraffic:
    """Return minutes with that many errors of the requests, and the errors of yesterday in 100,000."""
    minutes = tuple(
        VersionRequests(START + timedelta(minutes=number), version, of, count, interval)
        for number, count in enumerate(errors)
    )
    days = (VersionRequests(START - timedelta(days=1, hours=3, minutes=40), "good", 100_000, yesterday),)
    return WorkerTraffic(Period(START, END), minutes, days, interval, END - timedelta(minutes=5), may_be_cut=False)


def judge(rounds: str, found: WorkerTraffic | None, problem: str = "", live: LiveVersions = LIVE) -> WatchJudgment:
    return judge_watch(WatchState("x", START, END, "d1", rounds), live, ErrorRates(found, problem))


H = "h" * 40


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("rounds", "errors", "yesterday", "verdict"),
    [
        (H, (), 0, HEALTHY),
        ("hhh", (), 0, INCONCLUSIVE),
        ("uuu" + H, (), 0, HEALTHY),
        ("uuuuu", (), 0, UNHEALTHY),
        (H + "i", (), 0, INCONCLUSIVE),
        (H + ".", (), 0, INCONCLUSIVE),
        ("h" * 20 + "i" * 20 + "h" * 20, (), 0, HEALTHY),
        ("", (), 0, INCONCLUSIVE),
        (H, (0, 50, 50, 50), 0, UNHEALTHY),
        (H, (99, *[0] * 20), 0, HEALTHY),
        (H, (0, 0, 50), 0, INCONCLUSIVE),
        (H, (0, *[4] * 20), 0, UNHEALTHY),
        (H, (0, *[4] * 20), 4000, HEALTHY),
        (H, (0, *[10] * 20), 4000, INCONCLUSIVE),
        (H, (0, *[0] * 24, 50, 50, 50), 0, HEALTHY),  # the last minutes are not complete
        ("u" * 40, (0, *[0] * 20), 0, UNHEALTHY),
        (H, (0, 50, *[0] * 20), 0, HEALTHY),
        (H, (*[0] * 20, 50), 0, INCONCLUSIVE),
    ],
)
def test_verdict(rounds: str, errors: tuple[int, ...], yesterday: int, verdict: Verdict) -> None:
    assert judge(rounds, traffic(*errors, yesterday=yesterday)).verdict == verdict


def test_rates_of_another_version_do_not_count() -> None:
    found = judge(H, traffic(0, *[99] * 20, version="bad"))

    assert (found.verdict, found.rates) == (HEALTHY, ())


def test_requests_of_a_sample_are_no_more_evidence_than_the_samples() -> None:
    """Ten failed requests of thirty that one sample of three stands for."""
    few = traffic(0, *[10] * 4, of=30, interval=10)

    assert judge(H, few, live=UNKNOWN).verdict == INCONCLUSIVE
    assert judge(H, traffic(0, *[10] * 4, of=30), live=UNKNOWN).verdict == UNHEALTHY


def test_share_before_counts_the_samples_of_each_day() -> None:
    """A busy day is sampled more than the quiet minutes of a watch, and its errors are as few samples."""
    sampled = VersionRequests(START - timedelta(days=1, hours=3, minutes=40), "good", 100_000, 100, 1000)
    found = replace(traffic(0, *[3] * 20), days=(sampled,))

    assert (count_before(found, LIVE).total, count_before(found, LIVE).failed) == (100, 0.1)
    assert judge(H, traffic(0, *[3] * 20, yesterday=100)).verdict == UNHEALTHY
    assert judge(H, found).verdict != UNHEALTHY


@pytest.mark.parametrize(("failed", "verdict"), [(0, HEALTHY), (1, INCONCLUSIVE)])
def test_few_requests_decide_only_if_too_many_of_them_failed(failed: int, verdict: Verdict) -> None:
    found = judge(H, traffic(0, 0, 0, failed, of=3))

    assert found.verdict == verdict
    assert any("too few to decide: up to" in note for note in found.notes) == (verdict == HEALTHY)


def test_missing_rates_are_explained() -> None:
    assert judge("hhh", None, "no token").notes == ("no error rate, so only the probes decide: no token",)
    assert "no requests yet" in judge("hhh", traffic()).notes[0]
    assert "no complete minute has requests" in judge("hhh", traffic(5)).notes[0]
    assert "04:05 UTC are incomplete" in judge("hhh", traffic(0, 0, 0)).notes[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("live", "counted"),
    [
        (LIVE, (100_000, 40)),
        (LiveVersions(("good",)), (0, 0)),
        (LiveVersions(("other",), LIVE.bad_since), (0, 0)),
        (LiveVersions(("good",), START - timedelta(days=1)), (0, 0)),
    ],
)
def test_share_before_is_of_the_days_before_the_bad_deployment(live: LiveVersions, counted: tuple[int, int]) -> None:
    before = count_before(traffic(yesterday=40), live)

    assert (before.total, before.failed) == counted


def test_green_since_is_the_latest_of_all_metrics() -> None:
    assert judge("u" + H, traffic(0, 0, 50, *[0] * 20)).green_since == START + timedelta(minutes=3)
    assert judge("u" + H, traffic()).green_since == START + timedelta(seconds=30)
    assert judge("hh." + H, traffic()).green_since == START + timedelta(seconds=90)
