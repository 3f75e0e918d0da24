"""Records of Cloudflare and GitHub: audit log, tokens, analytics, environment uses.

An `EvidenceTable` has the records of one source in a period, or the reason why they could not be read.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from ops.core.clock import format_rfc3339, parse_duration, parse_utc
from ops.core.errors import ConfigError


@dataclass(frozen=True)
class AuditLogEntry:
    """An entry of the audit log: a write or an attempted write; reads are not logged. `at`: Cloudflare's clock."""

    at: datetime
    action: str
    result: str
    actor: str
    """E-mail address, or the kind of actor."""
    context: str
    """Authentication: api_token, api_key, dash, oauth."""
    token_id: str
    token_name: str
    address: str
    method: str
    uri: str
    status: str
    user_agent: str
    ray_id: str

    @property
    def token(self) -> str:
        """Return the token's name in the dashboard with the start of its ID."""
        return f"{self.token_name} ({self.token_id[:8]})" if self.token_id else self.context


@dataclass(frozen=True)
class VerifiedToken:
    """A token that Cloudflare verified."""

    id: str
    kind: str
    """`user` or `account`."""
    status: str
    expires_on: str


@dataclass(frozen=True)
class HostRequests:
    """Equal requests to one host within an hour. A sampled count is an estimate."""

    hour: datetime
    host: str
    path: str
    address: str
    country: str
    status: str
    count: int


@dataclass(frozen=True)
class LoggedError:
    """An error that a Worker logged. Its text is untrusted."""

    text: str
    count: int
    """Number of requests with this error."""


@dataclass(frozen=True)
class WorkerRequests:
    """Requests that a Worker handled, with equal method, path and status; an estimate."""

    trigger: str
    """Such as `GET /path`; another word for other events."""
    status: str
    count: int


@dataclass(frozen=True)
class DatabaseUsage:
    """Usage of one D1 database within an hour."""

    hour: datetime
    database: str
    read_queries: int
    write_queries: int
    rows_read: int
    rows_written: int


@dataclass(frozen=True)
class DatasetLimits:
    """Limits of a data set: retention and longest period in seconds, and rows of a response."""

    is_enabled: bool
    retention_seconds: float
    max_period_seconds: float
    max_rows: int


@dataclass(frozen=True)
class EnvironmentUse:
    """Use of a GitHub environment by a job. `at`: GitHub's clock. `actor`: the person who started the run."""

    at: datetime
    environment: str
    actor: str
    ref: str
    sha: str
    state: str
    url: str
    """URL of the job's log."""


TableCell = str | int | datetime | None
"""None: the source does not report it."""

FOUND, NONE_FOUND, NOT_RETAINED, UNAVAILABLE = "found", "none found", "out of reach", "could not ask"


@dataclass(frozen=True)
class Period:
    since: datetime
    until: datetime

    def contains(self, at: datetime) -> bool:
        return self.since <= at < self.until


@dataclass(frozen=True)
class EvidenceTable:
    """A table of evidence. Rows and `unavailable_reason` are untrusted text; the other fields are ours."""

    title: str
    source: str
    """Source of the records, with its clock."""
    permission: str
    """Permission that a token needs, by its name in Cloudflare's dashboard or GitHub's workflow syntax."""
    columns: tuple[str, ...]
    rows: tuple[tuple[TableCell, ...], ...] = ()
    unavailable_reason: str = ""
    """Why the source could not be read."""
    retained_since: datetime | None = None
    """Start of the source's retention; None if it covers the whole period."""
    is_not_retained: bool = False
    """Whether the whole period is before `retained_since`, so that nothing was read."""
    notes: tuple[str, ...] = ()
    """Limits of the conclusions."""

    @property
    def outcome(self) -> str:
        if self.unavailable_reason:
            return UNAVAILABLE
        if self.is_not_retained:
            return NOT_RETAINED
        return FOUND if self.rows else NONE_FOUND

    def as_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "outcome": self.outcome,
            "source": self.source,
            "permission": self.permission,
            "why": self.unavailable_reason,
            "reaches_to": _plain(self.retained_since),
            "notes": list(self.notes),
            "rows": [dict(zip(self.columns, map(_plain, row), strict=True)) for row in self.rows],
        }


@dataclass(frozen=True)
class EvidenceCollection:
    """All evidence tables of one environment. `is_anonymized`: personal data was shortened."""

    environment: str
    period: Period
    collected_at: datetime
    is_anonymized: bool
    tables: tuple[EvidenceTable, ...]

    @property
    def unavailable_tables(self) -> tuple[EvidenceTable, ...]:
        return tuple(each for each in self.tables if each.outcome == UNAVAILABLE)

    def as_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "environment": self.environment,
            "since": _plain(self.period.since),
            "until": _plain(self.period.until),
            "collected_at": _plain(self.collected_at),
            "shortened": self.is_anonymized,
            "exhibits": [exhibit.as_json() for exhibit in self.tables],
        }


def anonymize_table(table: EvidenceTable, anonymize: Callable[[str], str]) -> EvidenceTable:
    """Anonymize every untrusted text, and merge rows that became equal."""
    rows = [tuple(anonymize(cell) if isinstance(cell, str) else cell for cell in row) for row in table.rows]
    return replace(
        table, rows=tuple(_summed(table.columns, rows)), unavailable_reason=anonymize(table.unavailable_reason)
    )


def _summed(columns: tuple[str, ...], rows: list[tuple[TableCell, ...]]) -> Iterator[tuple[TableCell, ...]]:
    """Merge equal rows and add up their column `requests`, if there is one."""
    if "requests" not in columns:
        yield from rows
        return
    at = columns.index("requests")
    counts: dict[tuple[TableCell, ...], int] = {}
    for row in rows:
        key = (*row[:at], *row[at + 1 :])
        number = row[at]
        counts[key] = counts.get(key, 0) + (number if isinstance(number, int) else 0)
    yield from ((*key[:at], number, *key[at:]) for key, number in counts.items())


def parse_period(since: str, until: str, now: datetime) -> Period:
    """Parse a period. `24h` means that long ago; other texts are times in UTC. Raises ConfigError."""
    found = Period(_moment("--since", since, now), _moment("--until", until, now) if until else now)
    if not found.since < found.until <= now:
        hint = "Pass a --since before --until, both in UTC and not in the future."
        raise ConfigError("the period is empty or ends in the future", hint=hint)
    return found


def _moment(option: str, text: str, now: datetime) -> datetime:
    try:
        return now - timedelta(seconds=parse_duration(text.strip()))
    except (ValueError, OverflowError):
        pass
    try:
        return parse_utc(text)
    except (ValueError, OverflowError):
        hint = "Pass a duration such as 90m or 24h, or a time in UTC such as 2026-11-24 13:05."
        raise ConfigError(f"{option} is not a time", hint=hint) from None


def _plain(value: TableCell) -> str | int | None:
    return format_rfc3339(value) if isinstance(value, datetime) else value


def split_period(period: Period, max_length: timedelta) -> Iterator[Period]:
    """Split a period into parts of at most `max_length`, newest first."""
    until = period.until
    while until > period.since:
        since = max(period.since, until - max_length)
        yield Period(since, until)
        until = since


def clip_to_whole_hours(period: Period, retained_since: datetime) -> Period | None:
    """Start the period at a full, retained hour; None if nothing of it is retained."""
    since = max(_start_of_hour(period.since), _start_of_hour(retained_since) + timedelta(hours=1))
    return Period(since, period.until) if since < period.until else None


def _start_of_hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)
