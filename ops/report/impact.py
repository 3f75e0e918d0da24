"""Estimated impact of an incident: failed requests, error minutes, 429s and clients."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from ops.cloudflare.types.records import HostFailures, VersionRequests, WorkerTraffic
from ops.core.clock import Period
from ops.core.sequential_test import MAX_ERROR_RATE

LONGEST = timedelta(hours=24)
"""Longest window; the end of a longer incident counts."""
MARGIN = timedelta(minutes=10)
"""Time before and after the window in the chart."""
MAX_POINTS = 30
"""Most points of the chart, so that its labels fit on a phone."""
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class ImpactSources:
    """Numbers of the analytics for one service, and why a source has none."""

    service: str
    window: Period
    """From the start to the recovery, in whole minutes."""
    ended: datetime | None
    """Time of the verified recovery; None if there was none."""
    traffic: WorkerTraffic | None = None
    traffic_problem: str = ""
    host: str = ""
    failures: HostFailures | None = None
    failures_problem: str = ""


def find_window(start: datetime | None, end: datetime | None, read_at: datetime) -> Period | None:
    """Return the window in whole minutes, at most LONGEST; None without a start before the end."""
    until = end or read_at
    if start is None or start >= until:
        return None
    since = max(start, until - LONGEST).replace(second=0, microsecond=0)
    last = until.replace(second=0, microsecond=0)
    return Period(since, last if last == until else last + MINUTE)


@dataclass(frozen=True)
class ImpactView:
    """Numbers and texts for the template."""

    sources: ImpactSources

    @property
    def _rows(self) -> list[VersionRequests]:
        traffic = self.sources.traffic
        return [row for row in traffic.minutes if self.sources.window.contains(row.start)] if traffic else []

    @property
    def requests(self) -> int:
        return sum(row.requests for row in self._rows)

    @property
    def failed(self) -> int:
        return sum(row.errors for row in self._rows)

    @property
    def error_minutes(self) -> int:
        """Return the minutes in which more than MAX_ERROR_RATE of the requests failed."""
        totals: dict[datetime, list[int]] = defaultdict(lambda: [0, 0])
        for row in self._rows:
            totals[row.start][0] += row.requests
            totals[row.start][1] += row.errors
        return sum(failed > MAX_ERROR_RATE * requests for requests, failed in totals.values())

    @property
    def incomplete_from(self) -> datetime | None:
        """Return since when the minutes of the window are incomplete; None if all are complete."""
        traffic = self.sources.traffic
        return traffic.complete_until if traffic and traffic.complete_until < self.sources.window.until else None

    @property
    def chart(self) -> list[str]:
        """Return a Mermaid chart of failed requests, with a bar at the recovery; nothing without failures.

        It parses with Mermaid 10, 11 and 12. Its only texts are times: text of people may break a chart.
        """
        points = list(self._points())
        if not any(failed for _, failed in points):
            return []
        height = max(failed for _, failed in points)
        ended, step = self.sources.ended, self._step
        bars = [height if ended and at <= ended < at + step else 0 for at, _ in points]
        title = "Failed requests, by estimate"
        if ended:
            title += f", and the recovery at {ended:%H:%M} UTC"
        return [
            "xychart-beta",
            f'  title "{title}"',
            f"  x-axis [{', '.join(_quoted(at) for at, _ in points)}]",
            f'  y-axis "per {step // MINUTE} min" 0 --> {max(1, height)}',
            *([f"  bar [{', '.join(map(str, bars))}]"] if any(bars) else []),
            f"  line [{', '.join(str(failed) for _, failed in points)}]",
        ]

    @property
    def _step(self) -> timedelta:
        period = self.sources.traffic.recent if self.sources.traffic else self.sources.window
        return ceil((period.until - period.since) / MINUTE / MAX_POINTS) * MINUTE

    def _points(self) -> Iterator[tuple[datetime, int]]:
        traffic, step = self.sources.traffic, self._step
        if traffic is None:
            return
        at = traffic.recent.since
        while at < traffic.recent.until:
            yield at, sum(row.errors for row in traffic.minutes if at <= row.start < at + step)
            at += step


def _quoted(at: datetime) -> str:
    return f'"{at:%H:%M}"'
