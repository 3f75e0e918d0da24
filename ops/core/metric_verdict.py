"""Judge a metric over rounds: bad measurements, and when it is unhealthy or healthy.

The limits follow the analysis of Argo Rollouts (argo-rollouts.readthedocs.io/en/stable/features/analysis): a failure
limit always decides, and missing data never counts as good.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from ops.core.verdict import Verdict, worst_verdict

MAX_ERROR_RATE = 0.05
"""Share of failed requests above which a version of a Worker counts as bad."""
MIN_REQUESTS = 100
"""Fewest requests from which an error rate is computed."""
BASELINE_FACTOR = 3.0
"""An error rate above this many times its baseline is bad."""


class MissingData(StrEnum):
    """Rule for a round without a usable value."""

    INCONCLUSIVE = "inconclusive"
    """The round is neither good nor bad, and ends a row of good ones."""
    BAD = "bad"
    """The round is bad."""
    SKIP = "skip"
    """The round does not exist. A metric without any data does not decide."""


@dataclass(frozen=True)
class Measurement:
    """Value of a metric in one round; None, NaN and infinity are missing data."""

    at: datetime
    value: float | None

    @property
    def has_data(self) -> bool:
        return self.value is not None and math.isfinite(self.value)


@dataclass(frozen=True)
class MetricRule:
    """Rule of one metric. A round is bad if its value is above the threshold.

    Raises ValueError for limits that can never be reached.
    """

    name: str
    threshold: float
    failure_limit: int = 3
    """Bad rounds among `window` successive ones that make the metric unhealthy."""
    window: int = 5
    successes_in_row: int = 3
    """Good rounds without a break that make it healthy."""
    initial_delay: timedelta = timedelta(0)
    """Rounds before the start plus this delay do not count."""
    missing_data: MissingData = MissingData.INCONCLUSIVE
    is_dry_run: bool = False
    """Whether the metric is measured and shown, and never decides."""

    def __post_init__(self) -> None:
        if not 1 <= self.failure_limit <= self.window or self.successes_in_row < 1:
            raise ValueError(f"{self.name}: a limit is not reachable")
        if self.initial_delay < timedelta(0) or not math.isfinite(self.threshold):
            raise ValueError(f"{self.name}: the delay is negative or the threshold is no number")

    def judge_round(self, measurement: Measurement) -> Verdict | None:
        """Return the verdict of one round; None if the round does not exist."""
        if measurement.value is not None and measurement.has_data:
            return Verdict.UNHEALTHY if measurement.value > self.threshold else Verdict.HEALTHY
        return {
            MissingData.INCONCLUSIVE: Verdict.INCONCLUSIVE,
            MissingData.BAD: Verdict.UNHEALTHY,
            MissingData.SKIP: None,
        }[self.missing_data]


@dataclass(frozen=True)
class MetricVerdict:
    rule: MetricRule
    verdict: Verdict
    since: datetime | None
    """Time of the first good round of the current row, or of the bad round that reached the limit; else None."""
    bad_rounds: int
    """Bad rounds in the window that decided; if none did, in the latest window."""
    rounds: int
    """Rounds that counted."""
    has_data: bool
    is_unbroken: bool = False
    """Whether it is healthy, and no round was anything else."""

    @property
    def decides(self) -> bool:
        is_skipped = self.rule.missing_data == MissingData.SKIP and not self.has_data
        return not self.rule.is_dry_run and not is_skipped


def judge_metric(rule: MetricRule, measurements: Iterable[Measurement], *, start: datetime) -> MetricVerdict:
    """Judge the rounds in order of time. Once the failure limit is reached, later rounds do not change the verdict."""
    rounds = [
        (each, verdict)
        for each in sorted(measurements, key=lambda each: each.at)
        if each.at >= start + rule.initial_delay and (verdict := rule.judge_round(each)) is not None
    ]
    has_data, bad, row = any(each.has_data for each, _ in rounds), 0, list[Measurement]()
    for index, (measurement, verdict) in enumerate(rounds):
        latest = rounds[max(0, index + 1 - rule.window) : index + 1]
        bad = sum(each == Verdict.UNHEALTHY for _, each in latest)
        if bad >= rule.failure_limit:
            return MetricVerdict(rule, Verdict.UNHEALTHY, measurement.at, bad, len(rounds), has_data)
        row = [*row, measurement] if verdict == Verdict.HEALTHY else []
    if len(row) >= rule.successes_in_row:
        return MetricVerdict(rule, Verdict.HEALTHY, row[0].at, bad, len(rounds), has_data, len(row) == len(rounds))
    return MetricVerdict(rule, Verdict.INCONCLUSIVE, None, bad, len(rounds), has_data)


def combine_verdicts(verdicts: Iterable[MetricVerdict]) -> Verdict:
    """Return the worst verdict of the metrics that decide; without one it is inconclusive."""
    return worst_verdict(each.verdict for each in verdicts if each.decides)


def probe_value(verdict: Verdict) -> float | None:
    """Return a probe round as the value of a metric with the threshold 0."""
    return {Verdict.HEALTHY: 0.0, Verdict.UNHEALTHY: 1.0}.get(verdict)


def error_rate(requests: int, errors: int, *, min_requests: int = MIN_REQUESTS) -> float | None:
    """Return the share of failed requests; None if there are too few."""
    return min(1.0, errors / requests) if requests >= max(1, min_requests) else None


def threshold_for(baseline: float | None) -> float:
    """Return the threshold of an error rate, from the rate before the bad deployment if it is known."""
    return max(MAX_ERROR_RATE, BASELINE_FACTOR * baseline) if baseline is not None else MAX_ERROR_RATE
