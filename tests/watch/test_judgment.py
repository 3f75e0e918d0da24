"""Judge a watch by probes and error rates: baseline, missing data, and versions."""

from datetime import timedelta

import pytest

from ops.cloudflare.types.records import VersionRequests, WorkerTraffic
from ops.core.clock import Period, parse_utc
from ops.core.verdict import Verdict
from ops.watch.judgment import ErrorRates, LiveVersions, WatchJudgment, baseline_rate, judge_watch
from ops.watch.state import WatchState

START = parse_utc("2026-11-24T03:40:00Z")
END = START + timedelta(minutes=30)
LIVE = LiveVersions(("good",), bad_since=START - timedelta(hours=1))
HEALTHY, UNHEALTHY, INCONCLUSIVE = Verdict


def traffic(*errors: int | None, version: str = "good", yesterday: int = 0) -> WorkerTraffic:
    """Return minutes with that many errors of 100 requests (None: too few), and the errors of yesterday in a 1,000."""
    minutes = tuple(
        VersionRequests(START + timedelta(minutes=number), version, 5 if count is None else 100, count or 0)
        for number, count in enumerate(errors)
    )
    days = (VersionRequests(START - timedelta(days=1, hours=3, minutes=40), "good", 1000, yesterday),)
    return WorkerTraffic(Period(START, END), minutes, days, 1.0, END - timedelta(minutes=5), may_be_cut=False)


def judge(rounds: str, found: WorkerTraffic | None, problem: str = "") -> WatchJudgment:
    return judge_watch(WatchState("x", START, END, "d1", rounds), LIVE, ErrorRates(found, problem))


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("rounds", "errors", "yesterday", "verdict"),
    [
        ("hhh", (), 0, HEALTHY),
        ("hh", (), 0, INCONCLUSIVE),
        ("hhuhuhu", (), 0, UNHEALTHY),
        ("huhhhhuhhhhuhhh", (), 0, HEALTHY),
        ("hhh.h", (), 0, INCONCLUSIVE),
        ("hhhiii", (), 0, INCONCLUSIVE),
        ("", (), 0, INCONCLUSIVE),
        ("hhh", (0, 50, 50, 50), 0, UNHEALTHY),
        ("hhh", (99, 0, 0, 0), 0, HEALTHY),
        ("hhh", (0, 50, 50), 0, HEALTHY),
        ("hhh", (0, 10, 10, 10), 0, UNHEALTHY),
        ("hhh", (0, 10, 10, 10), 40, HEALTHY),
        ("hhh", (0, None, None, None, None), 0, HEALTHY),
        ("hhh", (0, 50, None, 50, None, 50), 0, UNHEALTHY),
        ("hhh", (0, *[0] * 24, 50, 50, 50), 0, HEALTHY),
        ("uuu", (0, 0, 0, 0, 0), 0, UNHEALTHY),
        ("hhh", (0, 50, 0, 0), 0, INCONCLUSIVE),
        ("hhh", (0, 0, 0, 50, 0), 0, INCONCLUSIVE),
    ],
)
def test_verdict(rounds: str, errors: tuple[int | None, ...], yesterday: int, verdict: Verdict) -> None:
    assert judge(rounds, traffic(*errors, yesterday=yesterday)).verdict == verdict


def test_rates_of_another_version_do_not_count() -> None:
    found = judge("hhh", traffic(0, 99, 99, 99, version="bad"))

    assert (found.verdict, found.rates) == (HEALTHY, ())


def test_missing_rates_are_explained() -> None:
    assert judge("hhh", None, "no token").notes == ("no token",)
    assert "no requests yet" in judge("hhh", traffic()).notes[0]
    assert "no complete minute has 100 requests" in judge("hhh", traffic(None)).notes[0]
    assert "04:05 UTC are incomplete" in judge("hhh", traffic(0, 0, 0)).notes[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("live", "rate"),
    [
        (LIVE, 0.04),
        (LiveVersions(("good",)), None),
        (LiveVersions(("other",), LIVE.bad_since), None),
        (LiveVersions(("good",), START - timedelta(days=1)), None),
    ],
)
def test_baseline_is_of_the_days_before_the_bad_deployment(live: LiveVersions, rate: float | None) -> None:
    assert baseline_rate(traffic(yesterday=40), live) == rate


def test_green_since_is_the_latest_of_all_metrics() -> None:
    found = judge("uhhhhhhhhhhhh", traffic(0, 0, 50, 0, 0, 0))

    assert found.green_since == START + timedelta(minutes=3)
    assert judge("uhhhh", traffic()).green_since == START + timedelta(seconds=30)
