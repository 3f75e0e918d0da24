"""Data of Cloudflare's analytics and telemetry: traffic of the edge, and rows of tests.

Traffic is sampled and arrives late, as a switch says. Rows that tests add are complete at once.
"""

import itertools
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from sandbox.cloudflare.d1.sqlite import StatementResult
from sandbox.switches import Switches

SUCCESS, THREW = "success", "scriptThrewException"
"""Status of an invocation. A caught error is a success, also if the response has status 500.

developers.cloudflare.com/workers/observability/metrics-and-analytics
"""
EXACT_PER_MINUTE = 100
"""Equal events of a minute that are all kept; of the others, one of `analytics_sample_interval`."""

DIMENSIONS: dict[str, dict[str, type]] = {
    "httpRequestsAdaptiveGroups": {
        "clientRequestPath": str,
        "clientRequestHTTPHost": str,
        "clientRequestHTTPMethodName": str,
        "edgeResponseStatus": int,
        "clientIP": str,
        "clientCountryName": str,
        "userAgent": str,
        "requestSource": str,
    },
    "d1AnalyticsAdaptiveGroups": {"databaseId": str},
    "d1QueriesAdaptiveGroups": {"databaseId": str, "query": str},
    "workersInvocationsAdaptive": {"scriptName": str, "scriptVersion": str, "status": str},
}
"""Data set → its dimensions, apart from the times, which every data set has."""
TIMES = {"datetime": 1, "datetimeMinute": 60, "datetimeFiveMinutes": 300, "datetimeHour": 3600, "date": 86_400}
"""Dimension of time → its length in seconds."""
SUMS = {
    "httpRequestsAdaptiveGroups": {"visits", "edgeResponseBytes"},
    "d1AnalyticsAdaptiveGroups": {"readQueries", "writeQueries", "rowsRead", "rowsWritten"},
    "d1QueriesAdaptiveGroups": {"queryDurationMs", "rowsRead", "rowsWritten", "rowsReturned"},
    "workersInvocationsAdaptive": {
        "requests",
        "errors",
        "subrequests",
        "duration",
        "wallTime",
        "cpuTimeUs",
        "responseBodySize",
    },
}
QUANTILES = {
    "workersInvocationsAdaptive": {
        f"{name}P{percent}": (total, percent / 100)
        for name, total in (("cpuTime", "cpuTimeUs"), ("wallTime", "wallTime"))
        for percent in (25, 50, 75, 90, 99)
    }
}
"""Data set → quantile → its sum, and its share."""
COUNTED_SETS = DIMENSIONS.keys() - {"workersInvocationsAdaptive"}
"""Data sets with a field `count`."""
ZONE_SETS = {"httpRequestsAdaptiveGroups"}
ACCOUNT_SETS = {"d1AnalyticsAdaptiveGroups", "d1QueriesAdaptiveGroups", "workersInvocationsAdaptive"}


@dataclass(frozen=True, kw_only=True)
class AnalyticsRow:
    """A measurement of a zone or the account at one time."""

    dataset: str
    at: datetime
    scope: str
    dimensions: Mapping[str, Any]
    count: int = 1
    sums: Mapping[str, float] = field(default_factory=dict)
    sample_interval: int = 1
    """Number of events that each counted one stands for."""
    lag: float = 0.0
    """Share of `analytics_delay_seconds` after which the row appears."""

    def value(self, name: str) -> Any:
        """Return the value that filters compare."""
        return _truncate_time(self.at, name) if name in TIMES else self.dimensions[name]

    def dimension(self, name: str) -> Any:
        """Return the value that answers show."""
        return _format_time(self.at, name) if name in TIMES else self.dimensions[name]


@lru_cache(maxsize=10_000)
def _truncate_time(at: datetime, name: str) -> datetime:
    """Return the time as a dimension: truncated to the second, minute, five minutes, hour or day."""
    of_day = at.hour * 3600 + at.minute * 60 + at.second
    return at.replace(microsecond=0) - timedelta(seconds=of_day % TIMES[name])


@lru_cache(maxsize=10_000)
def _format_time(at: datetime, name: str) -> str:
    return _truncate_time(at, name).strftime("%Y-%m-%d" if name == "date" else "%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, kw_only=True)
class TelemetryEvent:
    """A telemetry event of a Worker. `known` holds its keys by Cloudflare's names."""

    at: datetime
    keys: Mapping[str, str | int]


class Sampler:
    """Decides which events are kept, and when they appear. The same traffic gives the same decisions."""

    def __init__(self, switches: Switches) -> None:
        self._switches = switches
        self._seen: dict[Hashable, tuple[datetime, int]] = {}
        """Kind of event → its latest minute, and its number of events in it."""
        self._kept = 0
        self._lock = threading.Lock()

    def weigh(self, kind: Hashable, at: datetime) -> tuple[int, float]:
        """Return the number of equal events that this one stands for (0: left out), and its lag."""
        minute = at.replace(second=0, microsecond=0)
        interval = self._switches.analytics_sample_interval
        with self._lock:
            latest, number = self._seen.get(kind, (minute, 0))
            number = number if latest == minute else 0
            self._seen[kind] = minute, number + 1
            if number < EXACT_PER_MINUTE:
                weight = 1
            else:
                weight = interval if (number - EXACT_PER_MINUTE) % interval == interval // 2 else 0
            self._kept += weight > 0
            return weight, 0.25 + 0.75 * (self._kept * 0.618 % 1)  # between a quarter and all of the delay


class Analytics:
    def __init__(self, switches: Switches) -> None:
        self._switches = switches
        self._sampler = Sampler(switches)
        self.samples: list[AnalyticsRow] = []
        self.telemetry: list[TelemetryEvent] = []
        self._numbers = itertools.count()

    def record_invocation(
        self, account: str, worker: str, version: str, status: str, *, at: datetime, seconds: float, size: int
    ) -> None:
        """Record one request that the edge gave to a Worker, with the duration and size of its response."""
        dataset, dimensions = "workersInvocationsAdaptive", (worker, version, status)
        weight, lag = self._sampler.weigh((dataset, *dimensions), at)
        if not weight:
            return
        micros = seconds * 1_000_000
        sums = {
            "requests": 1,
            "errors": int(status != SUCCESS),
            "subrequests": 0,
            "duration": seconds * 0.128,
            "wallTime": micros,
            "cpuTimeUs": micros,
            "responseBodySize": size,
        }
        self.samples.append(
            AnalyticsRow(
                dataset=dataset,
                at=at,
                scope=account,
                dimensions=dict(zip(DIMENSIONS[dataset], dimensions, strict=True)),
                sums=sums,
                sample_interval=weight,
                lag=lag,
            )
        )

    def record_zone_request(self, zone: str, host: str, path: str, address: str, *, at: datetime, **more: Any) -> None:
        """Record one request that the edge answered for a host of a zone; `more` as for `add_requests`."""
        weight, lag = self._sampler.weigh((zone, host, path, address, more["status"]), at)
        if weight:
            self.add_requests(zone, host, path, address, at=at, sample_interval=weight, lag=lag, **more)

    def add_handled(
        self,
        worker: str,
        trigger: str,
        status: int,
        *,
        at: datetime,
        logged: int = 0,
        version: str = "",
        outcome: str = "ok",
    ) -> None:
        """Add a request handled by a Worker with observability, and the number of lines it logged."""
        own: dict[str, str | int] = {
            "$metadata.service": worker,
            "$metadata.trigger": trigger,
            "$metadata.requestId": f"request-{next(self._numbers)}",
            "$workers.outcome": outcome,
            **({"$workers.scriptVersion.id": version} if version else {}),
        }
        self.telemetry.append(TelemetryEvent(at=at, keys={**own, "$metadata.statusCode": status}))
        self.telemetry += [TelemetryEvent(at=at, keys=own)] * logged

    def add_error(self, worker: str, error: str, *, at: datetime) -> None:
        """Add an error line logged by the Worker, or by its Durable Object, during a request of its own."""
        known = {"$metadata.service": worker, "$metadata.requestId": f"request-{next(self._numbers)}"}
        self.telemetry.append(TelemetryEvent(at=at, keys={**known, "$metadata.error": error}))

    def add_requests(self, zone: str, host: str, path: str, address: str, *, at: datetime, **more: Any) -> None:
        """Add requests of a client with that IP address.

        `more` may have `count`, `status`, `country`, `method`, `agent`, `source`, `sample_interval` and `lag`.
        """
        dimensions = {
            "clientRequestHTTPHost": host,
            "clientRequestPath": path,
            "clientIP": address,
            "edgeResponseStatus": more.get("status", 200),
            "clientCountryName": more.get("country", "XX"),
            "clientRequestHTTPMethodName": more.get("method", "GET"),
            "userAgent": more.get("agent", ""),
            "requestSource": more.get("source", "eyeball"),
        }
        kept = {name: more[name] for name in ("count", "sample_interval", "lag") if name in more}
        dataset = "httpRequestsAdaptiveGroups"
        self.samples.append(AnalyticsRow(dataset=dataset, at=at, scope=zone, dimensions=dimensions, **kept))

    def add_queries(self, account: str, database: str, *, at: datetime, **sums: int) -> None:
        """Add queries to a database. `sums` use Cloudflare's names; missing ones are 0."""
        dataset = "d1AnalyticsAdaptiveGroups"
        dimensions, whole = {"databaseId": database}, {**dict.fromkeys(SUMS[dataset], 0), **sums}
        self.samples.append(AnalyticsRow(dataset=dataset, at=at, scope=account, dimensions=dimensions, sums=whole))

    def add_statement(self, account: str, database: str, sql: str, result: StatementResult, *, at: datetime) -> None:
        """Add a statement that D1 ran."""
        read, written = len(result.rows), result.changes
        kind = "writeQueries" if result.changed else "readQueries"
        self.add_queries(account, database, at=at, **{kind: 1}, rowsRead=read, rowsWritten=written)
        sums = {"queryDurationMs": result.seconds * 1000, "rowsRead": read, "rowsWritten": written}
        self.samples.append(
            AnalyticsRow(
                dataset="d1QueriesAdaptiveGroups",
                at=at,
                scope=account,
                dimensions={"databaseId": database, "query": sql},
                sums={**sums, "rowsReturned": read},
            )
        )

    def rows(
        self, dataset: str, scope: str, holds: Callable[[AnalyticsRow], bool], *, since: datetime, now: datetime
    ) -> Iterator[AnalyticsRow]:
        """Yield the rows since then that have appeared and hold."""
        delay = timedelta(seconds=self._switches.analytics_delay_seconds)
        for row in tuple(self.samples):
            if row.at < since or row.dataset != dataset or row.scope != scope:
                continue
            if holds(row) and row.at + row.lag * delay <= now:
                yield row
