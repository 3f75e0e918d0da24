"""Estimated impact on one service: requests, 5xx, error minutes, clients and 429s.

An unknown figure is unknown: 0 is shown only where the source has complete data.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ops.cloudflare.types.records import HostMinute, HostTraffic, VersionRequests, WorkerTraffic
from ops.core.clock import Period
from ops.core.errors import ConfigError
from ops.core.names import count_of
from ops.core.sequential_test import MAX_ERROR_RATE
from ops.watch.second_source import require_counted_probes
from ops.watch.state import parse_watch_state

if TYPE_CHECKING:
    from ops.config.probes import Probe
    from ops.core.incident_state import IssueRecord

LONGEST = timedelta(hours=23, minutes=30)
"""Longest window; the end of a longer incident counts. With the minutes around it, a query covers a day at most:
the limit of free zones (developers.cloudflare.com/analytics/graphql-api/limits)."""
MINUTE = timedelta(minutes=1)
SERVER_ERROR, UNAVAILABLE, TOO_MANY = 500, 503, 429
"""Lowest status of a failed response; that of maintenance mode; that of a rate limit."""
UNKNOWN = "unknown"


@dataclass(frozen=True)
class ServiceWrite:
    """The write of a run. `runbook` is ours, `at` is the time of the run's record."""

    at: datetime
    runbook: str


@dataclass(frozen=True)
class ServiceImpact:
    """Numbers of the analytics for one service, and why a source has none."""

    environment: str
    service: str
    window: Period
    """From the start to the recovery, in whole minutes."""
    shown: Period
    """The minutes that the picture shows: the window and some time around it."""
    has_recovered: bool = False
    """Whether the window ends with a recovery."""
    is_shortened: bool = False
    """Whether the incident is longer than the window."""
    writes: tuple[ServiceWrite, ...] = ()
    """Writes of the runs on the service, oldest first."""
    worker: str = ""
    traffic: WorkerTraffic | None = None
    traffic_problem: str = ""
    own_worker: str = ""
    """Words for our own requests among those of the Worker."""
    host: str = ""
    responses: HostTraffic | None = None
    responses_problem: str = ""
    own_host: str = ""
    """Words for our own requests of the host that have another user agent; empty if there are none."""
    sharing: tuple[str, ...] = ()
    """Other services with the same host."""


@dataclass(frozen=True)
class Figure:
    name: str
    value: str


def find_impact_window(start: datetime | None, end: datetime | None, read_at: datetime) -> Period | None:
    """Return the window in whole minutes, at most LONGEST; None without a start before the end."""
    until = end or read_at
    if start is None or start >= until:
        return None
    since = max(start, until - LONGEST).replace(second=0, microsecond=0)
    last = until.replace(second=0, microsecond=0)
    return Period(since, last if last == until else last + MINUTE)


def describe_own_requests(
    records: "Iterable[IssueRecord]",
    probes: "dict[str, tuple[Probe, ...]]",
    environment: str,
    window: Period,
    interval: timedelta,
) -> str:
    """Return how many requests our records explain at most: rounds × probes.

    `probes` are by service, those of all services that the figures count; `interval` is the shortest time between two
    rounds of a run.
    """
    if not any(probes.values()):
        return ""
    try:
        requests = {service: require_counted_probes(each) for service, each in probes.items()}
    except ConfigError as error:
        return f"includes ours; {error.message}"
    counted = 0
    for one in records:
        record = one.record
        if record.environment == environment and record.service in requests and not one.doubt:
            counted += requests[record.service] * _count_rounds(one, window, interval)
    return f"includes up to {counted:,} of ours" if counted else ""


def _count_rounds(one: "IssueRecord", window: Period, interval: timedelta) -> int:
    """Return the rounds of a watch in the window; of a run, the most that fit between its first and last row."""
    if one.record.watch:
        state = parse_watch_state(one.record.watch, None)
        return sum(verdict is not None and window.contains(at) for at, verdict in state.probe_rounds()) if state else 0
    if not one.record.is_run or not one.record.rows:
        return 0
    first, last = (each(row.at for row in one.record.rows) for each in (min, max))
    first, last = max(first, window.since), min(last, window.until)
    return 0 if last < first else (last - first) // interval + 2  # a round before the write, and one at its start


@dataclass(frozen=True)
class ImpactView:
    """Figures, sources and notes of one service for the template."""

    impact: ServiceImpact

    @property
    def shown(self) -> Period:
        return self.impact.shown

    @property
    def shown_writes(self) -> tuple[ServiceWrite, ...]:
        """Return the writes that the picture shows."""
        return tuple(each for each in self.impact.writes if self.shown.contains(each.at))

    @property
    def figures(self) -> tuple[Figure, ...]:
        return (*self._host_figures(), *self._worker_figures())

    def _host_figures(self) -> Iterator[Figure]:
        responses = self.impact.responses
        if responses is None:
            return
        by_status = responses.by_status
        count = _Counter(self._is_host_complete, is_known=self._has_host_data)
        failed = sum(number for status, number in by_status.items() if status >= SERVER_ERROR)
        yield Figure("requests", count(sum(by_status.values())))
        yield Figure("5xx", count(failed))
        if closed := by_status.get(UNAVAILABLE):
            yield Figure("of these 503, as in maintenance mode", count(closed))
        minutes = _Counter(self._is_host_complete and not responses.may_be_cut, is_known=self._has_host_data)
        yield from (Figure(f"5xx {each.name}", minutes(int(each.value))) for each in self._failed_by_write())
        yield Figure("error minutes (over 5 % were 5xx)", minutes(len(self.error_minutes)))
        clients = _Counter(self._is_host_complete and not responses.has_more_clients, is_known=self._has_host_data)
        yield Figure("clients (IP addresses) with a 5xx", clients(responses.clients))
        yield Figure("429", count(by_status.get(TOO_MANY, 0)))

    def _worker_figures(self) -> Iterator[Figure]:
        traffic = self.impact.traffic
        if traffic is None:
            return
        rows = [row for row in traffic.minutes if self.impact.window.contains(row.start)]
        is_complete = not traffic.may_be_cut and traffic.complete_until >= self.impact.window.until
        count = _Counter(is_complete, is_known=bool(rows))
        own = f", {self.impact.own_worker}" if self.impact.own_worker and rows else ""
        yield Figure("requests to the Worker", count(sum(row.requests for row in rows)) + own)
        yield Figure("exceptions and exceeded limits", count(sum(row.errors for row in rows)))
        if self.impact.responses is None:  # an error that the code catches is missing, so this is a lower bound
            minutes = _Counter(is_complete=False, is_known=bool(rows))
            yield Figure("error minutes (over 5 % exceptions)", minutes(len(self.error_minutes)))

    @property
    def shows_host(self) -> bool:
        """Return whether the minutes are those of the host: it has data, or there is no other source."""
        return self._has_host_data or self.impact.traffic is None

    @property
    def _has_host_data(self) -> bool:
        responses = self.impact.responses
        return responses is not None and bool(responses.by_status or responses.own_requests)

    @property
    def _is_host_complete(self) -> bool:
        responses = self.impact.responses
        return responses is not None and responses.complete_until >= self.impact.window.until

    @property
    def error_minutes(self) -> list[datetime]:
        """Return the minutes of the window in which more than MAX_ERROR_RATE of the requests failed."""
        return [
            start
            for start, (requests, failed) in self.minutes.items()
            if self.impact.window.contains(start) and failed > MAX_ERROR_RATE * requests
        ]

    @property
    def is_calm_afterwards(self) -> bool:
        """Return whether complete minutes of the host after the recovery have requests, and none is an error minute.

        A Worker's exceptions prove nothing: an error that the code catches is none, and its requests may be ours.
        """
        responses = self.impact.responses
        if responses is None or responses.may_be_cut or not (self._has_host_data and self.impact.has_recovered):
            return False
        after = Period(self.impact.window.until, responses.complete_until)
        counts = [each for at, each in self.minutes.items() if after.contains(at)]
        return bool(counts) and not any(failed > MAX_ERROR_RATE * requests for requests, failed in counts)

    @property
    def minutes(self) -> dict[datetime, tuple[int, int]]:
        """Return requests and failed ones by minute, oldest first: of the host if it has data, else of the Worker."""
        if self.impact.responses is not None and self.shows_host:
            return _sum_impact_minutes(_impact_row_of_host(each) for each in self.impact.responses.minutes)
        return _sum_impact_minutes(
            _impact_row_of_worker(each) for each in (self.impact.traffic.minutes if self.impact.traffic else ())
        )

    def _failed_by_write(self) -> Iterator[Figure]:
        """Yield the failed responses before the first write, between writes and after the last one."""
        inside = [each for each in self.impact.writes if self.impact.window.contains(each.at)]
        if len(inside) < 2:
            return
        starts = [self.impact.window.since, *(each.at.replace(second=0, microsecond=0) + MINUTE for each in inside)]
        names = [f"until {each.runbook} at {each.at:%H:%M}" for each in inside]
        for start, end, name in zip(starts, [*starts[1:], self.impact.window.until], [*names, "after it"], strict=True):
            failed = sum(failed for at, (_, failed) in self.minutes.items() if start <= at < end)
            yield Figure(name, str(failed))

    @property
    def sources(self) -> tuple[str, ...]:
        """Return each source with its sampling and its limits."""
        return (*self._host_source(), *self._worker_source())

    def _host_source(self) -> Iterator[str]:
        impact, responses = self.impact, self.impact.responses
        if impact.responses_problem:
            yield f"5xx, clients and 429 unknown: {impact.responses_problem}"
        if responses is None:
            return
        said = [f"{impact.host}: httpRequestsAdaptiveGroups", _describe_impact_sampling(responses.sample_interval)]
        if not self._has_host_data:
            said.append("no request is recorded in this window")
        if responses.own_requests:
            said.append(f"without {count_of(responses.own_requests, 'request')} of our probes")
        said += [impact.own_host] if impact.own_host else []
        said += [f"it is also the host of {', '.join(impact.sharing)}"] if impact.sharing else []
        said += _impact_gaps(responses.complete_until, impact.window, is_cut=responses.may_be_cut)
        yield "; ".join(said)

    def _worker_source(self) -> Iterator[str]:
        impact, traffic = self.impact, self.impact.traffic
        if impact.traffic_problem:
            yield f"Requests to the Worker unknown: {impact.traffic_problem}"
        if traffic is None:
            return
        said = [
            f"Worker {impact.worker}: workersInvocationsAdaptive",
            _describe_impact_sampling(traffic.sample_interval),
        ]
        said.append("an error that the code catches is no exception")
        if not any(impact.window.contains(row.start) for row in traffic.minutes):
            said.append("no request is recorded in this window")
        said += _impact_gaps(traffic.complete_until, impact.window, is_cut=traffic.may_be_cut)
        yield "; ".join(said)


@dataclass(frozen=True)
class _Counter:
    """Words for a number. An incomplete number is a lower bound, and an incomplete 0 is unknown."""

    is_complete: bool
    is_known: bool

    def __call__(self, number: int) -> str:
        if not self.is_known or (not self.is_complete and not number):
            return UNKNOWN
        return f"{number:,}" if self.is_complete else f"at least {number:,}"


def _describe_impact_sampling(interval: float) -> str:
    return f"one sample for {interval:.3g} requests" if interval > 1 else "not sampled"


def _impact_gaps(complete_until: datetime, window: Period, *, is_cut: bool) -> list[str]:
    incomplete = [f"incomplete from {complete_until:%H:%M} on"] if complete_until < window.until else []
    return [*incomplete, *(["the answer was cut: there were more"] if is_cut else [])]


def _impact_row_of_host(row: HostMinute) -> tuple[datetime, int, int]:
    return row.start, row.requests, row.requests if row.status >= SERVER_ERROR else 0


def _impact_row_of_worker(row: VersionRequests) -> tuple[datetime, int, int]:
    return row.start, row.requests, row.errors


def _sum_impact_minutes(rows: Iterable[tuple[datetime, int, int]]) -> dict[datetime, tuple[int, int]]:
    totals: dict[datetime, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for start, requests, failed in rows:
        before = totals[start]
        totals[start] = before[0] + requests, before[1] + failed
    return dict(sorted(totals.items()))
