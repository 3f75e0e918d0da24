"""Judge a watched service by its probes and by error rates; the result of the watch."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

from ops.cloudflare.types.records import WorkerTraffic
from ops.cloudflare.types.workers import short_id
from ops.core.clock import format_optional, format_rfc3339
from ops.core.errors import EXIT_CODES, Decision, Reason
from ops.core.sequential_test import (
    BASELINE_FACTOR,
    FailureCount,
    ShareLimits,
    ShareVerdict,
    judge_share,
    share_limits_after,
)
from ops.core.verdict import Verdict, worst_verdict
from ops.maintenance.drift import ClosureLook
from ops.watch.state import WatchState

FAILURES = {Decision.RELAPSED, Decision.STILL_UNHEALTHY}
"""Ends of a watch of a service that fails."""
MINUTE = timedelta(minutes=1)
SETTLED = timedelta(minutes=2)
"""Time after the start of a watch in which a service may still warm up."""
PROBES, RATES = ShareLimits(good=0.15, bad=0.2), ShareLimits(good=0.05, bad=0.1)
"""Limits for rounds of probes, and for requests if the share before the bad deployment is unknown."""
LEAST_RATE = 0.01
"""Smallest share of failed requests that is bad after a known share."""


@dataclass(frozen=True)
class LiveVersions:
    """Versions of a Worker with traffic, and when the bad deployment before them was made (None: unknown)."""

    versions: tuple[str, ...] = ()
    bad_since: datetime | None = None
    is_rollback: bool = False
    """Whether our mark says that the watched deployment is a rollback."""
    predecessors: tuple[str, ...] = ()
    """Versions that the guarded deployment replaced; their share of failures is the one from before."""


@dataclass(frozen=True)
class GuardedDeployment:
    """A deployment that a guard judges. `text` and `replacement` name deployments for people, and are untrusted."""

    id: str
    created_on: datetime
    text: str
    versions: tuple[str, ...] = ()
    """New versions with traffic; all of them if none is new. Empty for a site."""
    predecessors: tuple[str, ...] = ()
    """Other versions with traffic before it."""
    replacement: str = ""
    """The newer deployment that is live; empty if this one is."""
    is_partial: bool = False
    """Whether other versions serve beside the new ones."""
    is_rolled_back: bool = False
    """Whether the newer deployment went back to versions from before this one."""


@dataclass(frozen=True)
class ErrorRates:
    """Requests of the watched Worker; `problem` says why there are none."""

    traffic: WorkerTraffic | None = None
    problem: str = ""


@dataclass(frozen=True)
class Metric:
    """What is judged, and the verdict; `name` such as `probes`."""

    name: str
    unit: str
    """What is counted, such as `rounds`."""
    share: ShareVerdict


@dataclass(frozen=True)
class WatchJudgment:
    started_at: datetime
    probes: Metric
    rates: tuple[Metric, ...] = ()
    """One per live version with requests in complete minutes."""
    notes: tuple[str, ...] = ()
    """Why error rates are missing, and since when they are incomplete."""
    has_probes: bool = True
    """False for a Worker without a probe: only its error rates decide."""

    @property
    def verdict(self) -> Verdict:
        """Unhealthy is a relapse. Rates of too few requests do not decide."""
        return worst_verdict(each.share.verdict for each in self._deciding_metrics)

    @property
    def _deciding_metrics(self) -> list[Metric]:
        return [*([self.probes] if self.has_probes else []), *self._deciding_rates]

    @property
    def _deciding_rates(self) -> list[Metric]:
        return [each for each in self.rates if each.share.can_decide]

    @property
    def is_relapse(self) -> bool:
        return self.verdict == Verdict.UNHEALTHY

    @property
    def green_since(self) -> datetime | None:
        """Return the time since when all deciding metrics are healthy; None if they are not.

        It is the start of the watch if nothing failed notably.
        """
        metrics = [each.share for each in self._deciding_metrics]
        times = [each.since for each in metrics if each.since and not each.is_unbroken]
        return max(times, default=self.started_at) if self.verdict == Verdict.HEALTHY else None

    @property
    def cause(self) -> str:
        """Return what is unhealthy, such as "probes: 5 of 5 rounds failed since 03:41:30 UTC"; else an empty text."""
        bad = [each for each in (self.probes, *self.rates) if each.share.verdict == Verdict.UNHEALTHY]
        return "; ".join(map(_describe_bad, bad))


def _describe_bad(metric: Metric) -> str:
    share = metric.share
    assert share.since is not None
    counted = f"{share.failed:,.0f} of {share.total:,.0f} {metric.unit} failed"
    return f"{metric.name}: {counted} since {share.since:%H:%M:%S} UTC"


def format_share(share: float) -> str:
    """Format a share in percent with two digits, such as 0.25 % or 15 %; a whole is 100 %, not 1e+02 %."""
    return f"{float(f'{100 * share:.2g}'):g} %"


def judge_watch(state: WatchState, live: LiveVersions, rates: ErrorRates, *, has_probes: bool = True) -> WatchJudgment:
    """Judge all rounds since the start."""
    probes = _judge_probes(state)
    if rates.traffic is None:
        problem = f"no error rate, {_what_decides(has_probes=has_probes)}: {rates.problem}"
        notes = (*_compared_rates(state), *([problem] if rates.problem else []))
        return WatchJudgment(state.started_at, probes, notes=notes, has_probes=has_probes)
    metrics = [_judge_version(state, version, live, rates.traffic) for version in live.versions]
    measured = tuple(each for each in metrics if each.share.has_counts)
    notes = (*_compared_rates(state), *_traffic_notes(rates.traffic, state, measured, has_probes=has_probes))
    return WatchJudgment(state.started_at, probes, measured, notes, has_probes)


def _compared_rates(state: WatchState) -> tuple[str, ...]:
    if not state.usual_failures:
        return ()
    bad = max(BASELINE_FACTOR * state.usual_failures, PROBES.bad)
    usual = format_share(state.usual_failures)
    return (f"{usual} of the rounds failed before, as ops.yml says: over {format_share(bad)} is bad",)


def _judge_probes(state: WatchState) -> Metric:
    """Judge the rounds with a verdict: good from the first one on after which nobody saw anything else.

    If the latest round was not healthy, it says at most that they are bad.
    """
    rounds = list(state.probe_rounds())
    counts = [
        FailureCount(at, 1, verdict == Verdict.UNHEALTHY)
        for at, verdict in rounds
        if verdict in {Verdict.HEALTHY, Verdict.UNHEALTHY}
    ]
    usual = BASELINE_FACTOR * state.usual_failures
    limits = ShareLimits(max(PROBES.good, usual), max(PROBES.bad, usual))
    judged = judge_share(counts, limits, settled_at=state.started_at + SETTLED)
    if judged.verdict == Verdict.HEALTHY:
        row = list(takewhile(lambda each: each[1] == Verdict.HEALTHY, reversed(rounds)))
        if not row:
            return Metric("probes", "rounds", replace(judged, verdict=Verdict.INCONCLUSIVE, since=None))
        judged = replace(judged, since=row[-1][0], is_unbroken=len(row) == len(rounds))
    return Metric("probes", "rounds", judged)


def _judge_version(state: WatchState, version: str, live: LiveVersions, traffic: WorkerTraffic) -> Metric:
    """Judge complete minutes after the first one, which still has requests to the version before.

    Cloudflare counts samples and multiplies them: only the samples are evidence.
    """
    counts = [
        FailureCount(row.start, row.samples, row.failed_samples)
        for row in traffic.minutes
        if row.version == version
        and row.requests
        and state.started_at + MINUTE <= row.start < min(traffic.complete_until, state.until)
    ]
    limits = share_limits_after(count_before(traffic, live), RATES, LEAST_RATE)
    if live.predecessors:  # a version that mends a bad one is not good because it fails less
        limits = replace(limits, good=min(limits.good, RATES.bad))
    judged = judge_share(counts, limits, settled_at=state.started_at + SETTLED, tests=max(1, len(live.versions)))
    unit = "requests" if traffic.sample_interval == 1 else "sampled requests"
    return Metric(f"requests to {short_id(version)}", unit, judged)


def count_before(traffic: WorkerTraffic, live: LiveVersions) -> FailureCount:
    """Return the samples before the change; none if they are unknown.

    Before a guarded deployment these are its predecessors', else those of the live versions before the bad one.
    """
    if live.predecessors:
        rows = [row for row in traffic.days if row.version in live.predecessors]
    else:
        before = live.bad_since.date() if live.bad_since else None
        rows = [row for row in traffic.days if row.version in live.versions and before and row.start.date() < before]
    return FailureCount(traffic.recent.since, sum(row.samples for row in rows), sum(row.failed_samples for row in rows))


def _what_decides(*, has_probes: bool) -> str:
    return "so only the probes decide" if has_probes else "and no probe, so nothing decides"


def _traffic_notes(
    traffic: WorkerTraffic, state: WatchState, measured: Collection[Metric], *, has_probes: bool
) -> Iterator[str]:
    if measured:
        yield f"error rates since {traffic.complete_until:%H:%M} UTC are incomplete"
        few = [each for each in measured if not each.share.can_decide]
        yield from (
            f"{each.name} are too few to decide: up to {format_share(each.share.most_unseen)} may fail unseen"
            for each in few
        )
    elif any(row.start >= state.started_at for row in traffic.minutes):
        yield f"no error rate: no complete minute has requests, {_what_decides(has_probes=has_probes)}"
    else:
        yield f"no error rate: Cloudflare's analytics have no requests yet, {_what_decides(has_probes=has_probes)}"


def sum_since(traffic: WorkerTraffic, versions: Collection[str], since: datetime) -> tuple[int, int]:
    """Return the requests and errors of these versions since then."""
    rows = [row for row in traffic.minutes if row.version in versions and row.start >= since]
    return sum(row.requests for row in rows), sum(row.errors for row in rows)


@dataclass(frozen=True, kw_only=True)
class ObservedService:
    """A watch or guard of a service, now or at its end. Texts of deployments in it are untrusted."""

    service: str
    environment: str
    kind: str
    """worker or pages."""
    state: WatchState
    judgment: WatchJudgment
    rates: ErrorRates
    notes: tuple[str, ...] = ()
    decision: Decision | None = None
    """None: it has not ended."""
    reason: Reason | None = None
    ended_at: datetime | None = None

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.decision] if self.decision else 0

    @property
    def has_failing_probes(self) -> bool:
        return self.judgment.probes.share.verdict == Verdict.UNHEALTHY

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "service": self.service,
            "environment": self.environment,
            "decision": self.decision,
            "reason": self.reason,
            "exit_code": self.exit_code,
            "until": format_rfc3339(self.state.until),
            "ended_at": format_optional(self.ended_at),
            "cause": self.judgment.cause,
            "rounds": self.state.rounds,
            "notes": list(self.notes),
        }


@dataclass(frozen=True, kw_only=True)
class WatchResult(ObservedService):
    live: LiveVersions
    url: str = ""
    is_published: bool = False
    """Whether the incident shows the end."""
    others: tuple[str, ...] = ()
    """Other services of the incident that do not work, or may not, as its records say; each as a sentence."""
    look: ClosureLook | None = None
    """Latest look at a closed service; None for a watch of its health."""

    def to_json(self) -> dict[str, Any]:
        since, look = self.judgment.green_since, self.look
        closure = {"cause": "; ".join(each.text for each in look.openings), "closed": True} if look else {}
        return {
            **super().to_json(),
            "started_at": format_rfc3339(self.state.started_at),
            "mitigated_at": format_rfc3339(since) if since and self.decision == Decision.MITIGATED else None,
            "foreign_deployments": [each.text for each in self.state.foreign],
            "url": self.url,
            **closure,
        }
