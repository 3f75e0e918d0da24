"""Records that Cloudflare and GitHub keep: audit log, tokens, analytics, uses of a GitHub environment.

An `Exhibit` is a table of what one source recorded in a period, or the reason why it could not be read.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from ops.core.clock import format_rfc3339, parse_duration, parse_utc
from ops.core.errors import ConfigError


@dataclass(frozen=True)
class AuditLogEntry:
    """One call that changed, or was to change, something; reads are not logged. `at` is Cloudflare's clock."""

    at: datetime
    action: str
    result: str
    actor: str
    """An e-mail address, or the kind of actor where there is none."""
    context: str
    """How it was asked for: api_token, api_key, dash, oauth."""
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
        """As people find it in the dashboard, with the beginning of its id."""
        return f"{self.token_name} ({self.token_id[:8]})" if self.token_id else self.context


@dataclass(frozen=True)
class VerifiedToken:
    """A token as Cloudflare verified it."""

    id: str
    kind: str
    """`user` or `account`."""
    status: str
    expires_on: str


@dataclass(frozen=True)
class HostRequests:
    """Requests to one host within an hour, alike in all that is here. A count is an estimate where it was sampled."""

    hour: datetime
    host: str
    path: str
    address: str
    country: str
    status: str
    count: int


@dataclass(frozen=True)
class LoggedError:
    """An error that a Worker logged: its text is the application's, and may hold anything."""

    text: str
    count: int
    """Requests during which it came."""


@dataclass(frozen=True)
class WorkerRequests:
    """Requests that a Worker handled, alike in method, path and status, as an estimate. Nothing: it is not recorded."""

    trigger: str
    """As `GET /path`; another word where it was no request."""
    status: str
    count: int


@dataclass(frozen=True)
class DatabaseUsage:
    """What was asked of one D1 database within an hour."""

    hour: datetime
    database: str
    read_queries: int
    write_queries: int
    rows_read: int
    rows_written: int


@dataclass(frozen=True)
class DatasetLimits:
    """Of a data set: how far back it reaches and how wide a question may be, in seconds; and rows of an answer."""

    is_enabled: bool
    retention_seconds: float
    max_period_seconds: float
    max_rows: int


@dataclass(frozen=True)
class EnvironmentUse:
    """Of a GitHub environment by a job. `at` is GitHub's clock; `who` is whoever started the run."""

    at: datetime
    environment: str
    actor: str
    ref: str
    sha: str
    state: str
    url: str
    """Of the job's log."""


TableCell = str | int | datetime | None
"""None is what the source does not say."""

FOUND, NONE_FOUND, NOT_RETAINED, UNAVAILABLE = "found", "none found", "out of reach", "could not ask"


@dataclass(frozen=True)
class Period:
    since: datetime
    until: datetime

    def contains(self, at: datetime) -> bool:
        return self.since <= at < self.until


@dataclass(frozen=True)
class EvidenceTable:
    """`title`, `source`, `permission`, `columns` and `notes` are our words; what is in the rows and `why` is not."""

    title: str
    source: str
    """Who recorded it, by whose clock."""
    permission: str
    """What a token needs to ask for it, as Cloudflare's dashboard or GitHub's workflow syntax names it."""
    columns: tuple[str, ...]
    rows: tuple[tuple[TableCell, ...], ...] = ()
    unavailable_reason: str = ""
    """Why it could not be asked."""
    retained_since: datetime | None = None
    """The source knows nothing of before; None where it reaches over the whole period."""
    is_not_retained: bool = False
    """The whole of the period is before `reaches_to`, so that nothing was asked for."""
    notes: tuple[str, ...] = ()
    """What limits what can be concluded."""

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
    """All exhibits of one environment. `is_shortened`: personal data was, since others may read it."""

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
    """Every text that is somebody else's; rows that differ in nothing any more are counted together."""
    rows = [tuple(anonymize(cell) if isinstance(cell, str) else cell for cell in row) for row in table.rows]
    return replace(
        table, rows=tuple(_summed(table.columns, rows)), unavailable_reason=anonymize(table.unavailable_reason)
    )


def _summed(columns: tuple[str, ...], rows: list[tuple[TableCell, ...]]) -> Iterator[tuple[TableCell, ...]]:
    """By the column `requests`, where there is one and it holds numbers."""
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
    """`24h` is so long ago; anything else is a moment in UTC. Raises ConfigError."""
    found = Period(_moment("--since", since, now), _moment("--until", until, now) if until else now)
    if not found.since < found.until <= now:
        hint = "Give a --since that is before --until, and neither in the future; both are UTC."
        raise ConfigError("the period has no length, or ends in the future", hint=hint)
    return found


def _moment(option: str, text: str, now: datetime) -> datetime:
    try:
        return now - timedelta(seconds=parse_duration(text.strip()))
    except (ValueError, OverflowError):
        pass
    try:
        return parse_utc(text)
    except (ValueError, OverflowError):
        hint = "Write how long ago, as 90m or 24h, or a moment in UTC, as 2026-11-24 13:05."
        raise ConfigError(f"{option} is no moment", hint=hint) from None


def _plain(value: TableCell) -> str | int | None:
    return format_rfc3339(value) if isinstance(value, datetime) else value


def split_period(period: Period, max_length: timedelta) -> Iterator[Period]:
    """The period in parts that a source answers for at once, newest first."""
    until = period.until
    while until > period.since:
        since = max(period.since, until - max_length)
        yield Period(since, until)
        until = since


def clip_to_whole_hours(period: Period, retained_since: datetime) -> Period | None:
    """From the beginning of an hour on, and not of one that began before; None where all of it is older."""
    since = max(_hour(period.since), _hour(retained_since) + timedelta(hours=1))
    return Period(since, period.until) if since < period.until else None


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)
