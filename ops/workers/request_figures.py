"""Requests and error rate of a Worker's versions, as estimated by Cloudflare's analytics.

Without numbers no rule changes. A response with an error status is no error there: only an exception that the code did
not catch, or an exceeded limit (developers.cloudflare.com/workers/observability/metrics-and-analytics).
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from ops.cloudflare.types.records import VersionRequests, WorkerTraffic
from ops.cloudflare.types.workers import short_id
from ops.core.sequential_test import MAX_ERROR_RATE, Count, error_rate, is_above

CAVEAT = "Estimates of Cloudflare's analytics. An error that the code catches counts as success."


@dataclass(frozen=True)
class RequestFigures:
    """Total of the requests to some versions; `first` and `last` are the starts of its first and last row."""

    requests: int
    errors: int
    first: datetime
    last: datetime
    samples: Count

    @property
    def rate(self) -> float | None:
        """Return the error rate; None with too few requests."""
        return error_rate(self.requests, self.errors)

    @property
    def is_high(self) -> bool:
        """Return whether the samples show a rate above MAX_ERROR_RATE."""
        return is_above(self.samples, MAX_ERROR_RATE)

    @property
    def text(self) -> str:
        """Return such as "1,204 requests, 31 % failed"."""
        return f"{self.requests:,} requests, {format_share(self.errors / self.requests)} failed"

    @property
    def days(self) -> str:
        first, last = self.first.date().isoformat(), self.last.date().isoformat()
        return first if first == last else f"{first} to {last}"


def format_share(share: float) -> str:
    """Format a share in percent, with one decimal below one percent: 31 %, 0.2 %, < 0.1 %."""
    percent = 100 * share
    if 0 < percent < 0.05:
        return "< 0.1 %"
    return f"{percent:.1f} %" if 0 < percent < 0.95 else f"{percent:.0f} %"


def sum_requests(rows: Iterable[VersionRequests], versions: Collection[str]) -> RequestFigures | None:
    """Return the total of these versions; None without requests."""
    counted = [row for row in rows if row.version in versions]
    requests = sum(row.requests for row in counted)
    if not requests:
        return None
    starts = [row.start for row in counted]
    samples = Count(min(starts), sum(row.samples for row in counted), sum(row.failed_samples for row in counted))
    return RequestFigures(requests, sum(row.errors for row in counted), min(starts), max(starts), samples)


def sum_while_live(traffic: WorkerTraffic | None, versions: Collection[str]) -> RequestFigures | None:
    """Return the requests to these versions on the days on which they served; None if none are known."""
    return sum_requests(traffic.days, versions) if traffic else None


def describe_traffic(traffic: WorkerTraffic, versions: Iterable[str]) -> Iterator[str]:
    """Yield a line per version: its last minutes, or the days on which it served. Nothing without numbers."""
    lines = [line for version in dict.fromkeys(versions) if (line := _describe_version(traffic, version))]
    yield from lines
    if lines:
        is_sampled = traffic.sample_interval > 1
        sampling = f" One sample stands for {traffic.sample_interval:.3g} requests." if is_sampled else ""
        yield f"{CAVEAT} Minutes since {traffic.complete_until:%H:%M} UTC are incomplete.{sampling}"


def _describe_version(traffic: WorkerTraffic, version: str) -> str:
    if recent := sum_requests(traffic.minutes, {version}):
        period = (traffic.recent.until - traffic.recent.since).total_seconds() / 60
        return f"{short_id(version)}, last {period:.0f} minutes: {recent.text}"
    past = sum_requests(traffic.days, {version})
    return f"{short_id(version)}, {past.days}: {past.text}" if past else ""
