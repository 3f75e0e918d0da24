"""The clock of a run; parse and format moments, durations and periods. All times are UTC."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from ops.core.errors import ConfigError

REQUEST_LIFETIME = timedelta(minutes=30)
"""Longest time from a request to its write. After that the situation may have changed."""
MAX_CLOCK_SKEW = timedelta(minutes=1)
"""Longest time that GitHub's clock may be ahead of the runner's clock."""


class Clock(Protocol):
    """A source of time and waiting. Tests and drills inject one that does not wait."""

    def now(self) -> datetime:
        """Return the current time as an aware UTC datetime."""
        ...

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start; only differences are meaningful."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait for this many seconds."""
        ...


def parse_utc(text: str) -> datetime:
    """Parse an ISO 8601 time, or one in the form of `format_utc`; without an offset it is UTC.

    Raises:
        ValueError: the text is not an ISO 8601 time, or its offset moves it out of the years 1 to 9999.
    """
    moment = datetime.fromisoformat(text.strip().removesuffix(" UTC"))
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(str(error)) from None


def format_utc(moment: datetime) -> str:
    """Format a time for people, such as `2026-11-24 03:12:20 UTC`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def format_rfc3339(moment: datetime) -> str:
    """Format a time for programs: RFC 3339 in UTC with whole seconds and Z."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def format_duration(seconds: float) -> str:
    """Format seconds for people in at most two units: 45 s, 12 min, 2 h 5 min, 3 d 4 h."""
    total = int(seconds)
    if total < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{total} s"
    if total < 3600:
        return f"{total // 60} min"
    if total < 86400:
        hours, minutes = divmod(total // 60, 60)
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(total // 3600, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def format_planned_end(end: datetime, now: datetime) -> str:
    """Format a planned end for people, and how long ago it passed: nothing ended by itself then."""
    passed = f", passed {format_duration((now - end).total_seconds())} ago" if end < now else ""
    return f"planned end {format_utc(end)}{passed}"


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DAYS = re.compile(r"([1-9][0-9]{0,4})d")
DURATION_PATTERN = re.compile(r"(0|[1-9][0-9]{0,8})(ms|s|m|h)")


def parse_duration(text: str) -> float:
    """Parse a duration such as `500ms`, `10s`, `5m` or `2h`, and return seconds.

    Raises:
        ValueError: the text is not a duration; the message is for people.
    """
    match = DURATION_PATTERN.fullmatch(text)
    if match is None:
        raise ValueError("not a duration; write a whole number and ms, s, m or h, such as 500ms or 10m")
    return int(match[1]) * _UNITS[match[2]]


def unparse_duration(duration: float) -> str:
    """Write seconds as `parse_duration` reads them, in the largest unit that divides them: `10m` for 600.0."""
    milliseconds = round(duration * 1000)
    for unit, size in _UNITS.items():
        count, rest = divmod(milliseconds, round(size * 1000))
        if not rest and count:
            return f"{count}{unit}"
    return "0s"


def parse_deadline(text: str, now: datetime) -> datetime | None:
    """Parse an end: a duration from `now` such as `2h`, or an ISO 8601 time. Return None for an empty text.

    Raises:
        ConfigError: the text is neither, or the time has passed.
    """
    if not text:
        return None
    try:
        ahead = re.fullmatch("[0-9]+[a-z]+", text)
        moment = now + timedelta(seconds=parse_duration(text)) if ahead else parse_utc(text)
    except (ValueError, OverflowError):
        raise ConfigError(
            f'"{text[:40]}" is not an end', hint="Write a duration or a UTC time, such as 2h or 2026-11-24T05:00Z."
        ) from None
    if moment <= now:
        raise ConfigError(f"{format_utc(moment)} is in the past", hint="Write a later time in UTC.")
    return moment


@dataclass(frozen=True)
class Period:
    since: datetime
    until: datetime

    def contains(self, at: datetime) -> bool:
        return self.since <= at < self.until


def parse_period(since: str, until: str, now: datetime) -> Period:
    """Parse a period. `24h` or `7d` means that long ago; other texts are times in UTC. Raises ConfigError."""
    found = Period(_moment("--since", since, now), _moment("--until", until, now) if until else now)
    if not found.since < found.until <= now:
        hint = "Pass a --since before --until, both in UTC and not in the future."
        raise ConfigError("the period is empty or ends in the future", hint=hint)
    return found


def _moment(option: str, text: str, now: datetime) -> datetime:
    try:
        if days := _DAYS.fullmatch(text.strip()):
            return now - timedelta(days=int(days[1]))
        return now - timedelta(seconds=parse_duration(text.strip()))
    except (ValueError, OverflowError):
        pass
    try:
        return parse_utc(text)
    except (ValueError, OverflowError):
        hint = "Pass a duration such as 90m, 24h or 7d, or a time in UTC such as 2026-11-24 13:05."
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
