"""Data of Cloudflare's analytics and telemetry, added by the tests."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sandbox.cloudflare.d1.sqlite import StatementResult

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
}
"""Data set → its dimensions, apart from the times, which every data set has."""
SUMS = {
    "httpRequestsAdaptiveGroups": {"visits", "edgeResponseBytes"},
    "d1AnalyticsAdaptiveGroups": {"readQueries", "writeQueries", "rowsRead", "rowsWritten"},
    "d1QueriesAdaptiveGroups": {"queryDurationMs", "rowsRead", "rowsWritten", "rowsReturned"},
}
ZONE_SETS = {"httpRequestsAdaptiveGroups"}
ACCOUNT_SETS = {"d1AnalyticsAdaptiveGroups", "d1QueriesAdaptiveGroups"}


@dataclass(frozen=True, kw_only=True)
class AnalyticsRow:
    """A measurement of a zone or the account at one time."""

    dataset: str
    at: datetime
    scope: str
    dimensions: Mapping[str, Any]
    count: int = 1
    sums: Mapping[str, float] = field(default_factory=dict)

    def dimension(self, name: str) -> Any:
        """Return a dimension. Times are truncated to the second, minute, hour or day."""
        whole = self.at.strftime("%Y-%m-%dT%H:%M:%SZ")
        times = {
            "datetime": whole,
            "datetimeMinute": f"{whole[:17]}00Z",
            "datetimeHour": f"{whole[:14]}00:00Z",
            "date": whole[:10],
        }
        return times[name] if name in times else self.dimensions[name]


@dataclass(frozen=True, kw_only=True)
class TelemetryEvent:
    """A telemetry event of a Worker. `known` holds its keys by Cloudflare's names."""

    at: datetime
    keys: Mapping[str, str | int]


class Analytics:
    def __init__(self) -> None:
        self.samples: list[AnalyticsRow] = []
        self.telemetry: list[TelemetryEvent] = []

    def add_handled(self, worker: str, trigger: str, status: int, *, at: datetime, logged: int = 0) -> None:
        """Add a request handled by a Worker with observability, and the number of lines it logged."""
        own = {
            "$metadata.service": worker,
            "$metadata.trigger": trigger,
            "$metadata.requestId": f"request-{len(self.telemetry)}",
        }
        self.telemetry.append(TelemetryEvent(at=at, keys={**own, "$metadata.statusCode": status}))
        self.telemetry += [TelemetryEvent(at=at, keys=own)] * logged

    def add_error(self, worker: str, error: str, *, at: datetime) -> None:
        """Add an error line logged by the Worker, or by its Durable Object, during a request of its own."""
        known = {"$metadata.service": worker, "$metadata.requestId": f"request-{len(self.telemetry)}"}
        self.telemetry.append(TelemetryEvent(at=at, keys={**known, "$metadata.error": error}))

    def add_requests(self, zone: str, host: str, path: str, address: str, *, at: datetime, **more: Any) -> None:
        """Add requests of a client with that IP address.

        `more` may have `count`, `status`, `country`, `method`, `agent` and `source`.
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
        dataset, count = "httpRequestsAdaptiveGroups", more.get("count", 1)
        self.samples.append(AnalyticsRow(dataset=dataset, at=at, scope=zone, dimensions=dimensions, count=count))

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

    def rows(self, dataset: str, scope: str, holds: Callable[[AnalyticsRow], bool]) -> Iterator[AnalyticsRow]:
        return (s for s in self.samples if (s.dataset, s.scope) == (dataset, scope) and holds(s))
