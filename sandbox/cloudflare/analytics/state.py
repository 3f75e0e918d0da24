"""What Cloudflare's analytics know: seeded by whoever plays the clients, and asked for by GraphQL."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

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
}
"""Data set → its dimensions beside the times, which every set has."""
SUMS = {
    "httpRequestsAdaptiveGroups": {"visits", "edgeResponseBytes"},
    "d1AnalyticsAdaptiveGroups": {"readQueries", "writeQueries", "rowsRead", "rowsWritten"},
}
ZONE_SETS, ACCOUNT_SETS = {"httpRequestsAdaptiveGroups"}, {"d1AnalyticsAdaptiveGroups"}


@dataclass(frozen=True, kw_only=True)
class AnalyticsRow:
    """Something that was measured at a moment, in a zone or in the account."""

    dataset: str
    at: datetime
    scope: str
    dimensions: Mapping[str, Any]
    count: int = 1
    sums: Mapping[str, int] = field(default_factory=dict)

    def dimension(self, name: str) -> Any:
        """The times are cut: to the second, the minute, the hour, the day."""
        whole = self.at.strftime("%Y-%m-%dT%H:%M:%SZ")
        times = {
            "datetime": whole,
            "datetimeMinute": f"{whole[:17]}00Z",
            "datetimeHour": f"{whole[:14]}00:00Z",
            "date": whole[:10],
        }
        return times[name] if name in times else self.dimensions[name]


@dataclass(frozen=True, kw_only=True)
class TelemetryEvents:
    """An event of a Worker: `known` are its keys, by Cloudflare's names."""

    at: datetime
    known: Mapping[str, str | int]


class Analytics:
    def __init__(self) -> None:
        self.samples: list[AnalyticsRow] = []
        self.telemetry: list[TelemetryEvents] = []

    def add_handled(self, worker: str, trigger: str, status: int, *, at: datetime, logged: int = 0) -> None:
        """A request that a Worker with observability handled, and how many lines it logged meanwhile."""
        own = {
            "$metadata.service": worker,
            "$metadata.trigger": trigger,
            "$metadata.requestId": f"request-{len(self.telemetry)}",
        }
        self.telemetry.append(TelemetryEvents(at=at, known={**own, "$metadata.statusCode": status}))
        self.telemetry += [TelemetryEvents(at=at, known=own)] * logged

    def add_error(self, worker: str, error: str, *, at: datetime) -> None:
        """A line that it, or a Durable Object of it, logged as an error while it handled a request of its own."""
        known = {"$metadata.service": worker, "$metadata.requestId": f"request-{len(self.telemetry)}"}
        self.telemetry.append(TelemetryEvents(at=at, known={**known, "$metadata.error": error}))

    def add_requests(self, zone: str, host: str, path: str, address: str, *, at: datetime, **more: Any) -> None:
        """By a client from that address. `count` says how many; `status`, `country` and `method` what they were."""
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
        dataset, count = "httpRequestsAdaptiveGroups", more.get("count", 1)
        self.samples.append(AnalyticsRow(dataset=dataset, at=at, scope=zone, dimensions=dimensions, count=count))

    def add_queries(self, account: str, database: str, *, at: datetime, **sums: int) -> None:
        """`sums` by Cloudflare's own names; what is left out is 0."""
        dataset = "d1AnalyticsAdaptiveGroups"
        dimensions, whole = {"databaseId": database}, {**dict.fromkeys(SUMS[dataset], 0), **sums}
        self.samples.append(AnalyticsRow(dataset=dataset, at=at, scope=account, dimensions=dimensions, sums=whole))

    def rows(self, dataset: str, scope: str, holds: Callable[[AnalyticsRow], bool]) -> Iterator[AnalyticsRow]:
        return (s for s in self.samples if (s.dataset, s.scope) == (dataset, scope) and holds(s))
