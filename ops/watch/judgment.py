"""Judge a watched service by its probes and by error rates; the result of the watch."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ops.cloudflare.types.records import WorkerTraffic
from ops.cloudflare.types.workers import short_id
from ops.core.clock import format_rfc3339
from ops.core.errors import EXIT_CODES, Decision, Reason
from ops.core.metric_verdict import (
    MIN_REQUESTS,
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
from ops.maintenance.open_addresses import ClosureLook
from ops.watch.state import WatchState

MINUTE = timedelta(minutes=1)
PROBES = MetricRule("probes", threshold=0.0)


@dataclass(frozen=True)
class LiveVersions:
    """Versions of a Worker with traffic, and when the bad deployment before them was made (None: unknown)."""

    versions: tuple[str, ...] = ()
    bad_since: datetime | None = None
    is_rollback: bool = False
    """Whether our mark says that the watched deployment is a rollback."""


@dataclass(frozen=True)
class ErrorRates:
    """Requests of the watched Worker; `problem` says why there are none."""

    traffic: WorkerTraffic | None = None
    problem: str = ""


@dataclass(frozen=True)
class WatchJudgment:
    started_at: datetime
    probes: MetricVerdict
    rates: tuple[MetricVerdict, ...] = ()
    """One per live version with enough requests in a minute."""
    notes: tuple[str, ...] = ()
    """Why error rates are missing, and since when they are incomplete."""

    @property
    def verdict(self) -> Verdict:
        """Unhealthy is a relapse. A rate with too few minutes does not decide."""
        enough = (each for each in self.rates if each.rounds >= each.rule.successes_in_row or self._is_bad(each))
        return combine_verdicts([self.probes, *enough])

    @property
    def is_relapse(self) -> bool:
        return self.verdict == Verdict.UNHEALTHY

    @property
    def green_since(self) -> datetime | None:
        """Return the time since when all deciding metrics are healthy; None if they are not.

        It is the start of the watch if no round was anything else.
        """
        metrics = [each for each in (self.probes, *self.rates) if each.verdict == Verdict.HEALTHY]
        times = [each.since for each in metrics if each.since and not each.is_unbroken]
        return max(times, default=self.started_at) if self.verdict == Verdict.HEALTHY else None

    @property
    def cause(self) -> str:
        """Return the metric that is unhealthy, such as "3 of 5 rounds of the probes are bad"; else an empty text."""
        bad = [each for each in (self.probes, *self.rates) if self._is_bad(each)]
        return "; ".join(f"{each.rule.name}: {each.bad_rounds} of {each.rule.window} rounds are bad" for each in bad)

    @staticmethod
    def _is_bad(metric: MetricVerdict) -> bool:
        return metric.verdict == Verdict.UNHEALTHY


def judge_watch(state: WatchState, live: LiveVersions, rates: ErrorRates) -> WatchJudgment:
    """Judge all rounds since the start."""
    probes = [
        Measurement(at, None if verdict is None else probe_value(verdict)) for at, verdict in state.probe_rounds()
    ]
    judged = judge_metric(PROBES, probes, start=state.started_at)
    if rates.traffic is None:
        return WatchJudgment(state.started_at, judged, notes=(rates.problem,) if rates.problem else ())
    metrics = [_judge_version(state, version, live, rates.traffic) for version in live.versions]
    measured = tuple(each for each in metrics if each.rounds)
    return WatchJudgment(
        state.started_at, judged, measured, tuple(_notes(rates.traffic, state, has_rates=bool(measured)))
    )


def _judge_version(state: WatchState, version: str, live: LiveVersions, traffic: WorkerTraffic) -> MetricVerdict:
    """Judge complete minutes after the first one, which still has requests to the version before."""
    rule = MetricRule(
        f"requests to {short_id(version)}",
        threshold_for(baseline_rate(traffic, live)),
        initial_delay=MINUTE,
        missing_data=MissingData.SKIP,
    )
    minutes = [
        Measurement(row.start, error_rate(row.requests, row.errors))
        for row in traffic.minutes
        if row.version == version and row.start < min(traffic.complete_until, state.until)
    ]
    return judge_metric(rule, minutes, start=state.started_at)


def baseline_rate(traffic: WorkerTraffic, live: LiveVersions) -> float | None:
    """Return the error rate of the live versions on the days before the bad deployment; None if it is unknown."""
    before = live.bad_since.date() if live.bad_since else None
    rows = [row for row in traffic.days if row.version in live.versions and before and row.start.date() < before]
    return error_rate(sum(row.requests for row in rows), sum(row.errors for row in rows))


def _notes(traffic: WorkerTraffic, state: WatchState, *, has_rates: bool) -> Iterator[str]:
    if has_rates:
        yield f"error rates since {traffic.complete_until:%H:%M} UTC are incomplete"
    elif any(row.start >= state.started_at for row in traffic.minutes):
        yield f"no error rate: no complete minute has {MIN_REQUESTS} requests, so only the probes decide"
    else:
        yield "no error rate: Cloudflare's analytics have no requests yet, so only the probes decide"


def sum_since(traffic: WorkerTraffic, versions: Collection[str], since: datetime) -> tuple[int, int]:
    """Return the requests and errors of these versions since then."""
    rows = [row for row in traffic.minutes if row.version in versions and row.start >= since]
    return sum(row.requests for row in rows), sum(row.errors for row in rows)


@dataclass(frozen=True)
class WatchResult:
    """A watch now, or at its end. Texts of deployments in it are untrusted."""

    service: str
    environment: str
    kind: str
    """worker or pages."""
    state: WatchState
    judgment: WatchJudgment
    rates: ErrorRates
    live: LiveVersions
    notes: tuple[str, ...] = ()
    decision: Decision | None = None
    """None: it still watches."""
    reason: Reason | None = None
    ended_at: datetime | None = None
    url: str = ""
    is_published: bool = False
    """Whether the incident shows the end."""
    look: ClosureLook | None = None
    """Latest look at a closed service; None for a watch of its health."""

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.decision] if self.decision else 0

    def to_json(self) -> dict[str, Any]:
        since = self.judgment.green_since
        return {
            "schema": 1,
            "service": self.service,
            "environment": self.environment,
            "decision": self.decision,
            "reason": self.reason,
            "exit_code": self.exit_code,
            "started_at": format_rfc3339(self.state.started_at),
            "until": format_rfc3339(self.state.until),
            "ended_at": self.ended_at and format_rfc3339(self.ended_at),
            "mitigated_at": format_rfc3339(since) if since and self.decision == Decision.MITIGATED else None,
            "cause": self.judgment.cause if self.look is None else "; ".join(each.text for each in self.look.openings),
            "rounds": self.state.rounds,
            "foreign_deployments": [each.text for each in self.state.foreign],
            "notes": list(self.notes),
            "url": self.url,
            **({} if self.look is None else {"closed": True}),
        }
