"""A period of time: parse it, split it, and clip it to the hours that a source retains."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from ops.core.clock import parse_duration, parse_utc
from ops.core.errors import ConfigError


@dataclass(frozen=True)
class Period:
    since: datetime
    until: datetime

    def contains(self, at: datetime) -> bool:
        return self.since <= at < self.until


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
