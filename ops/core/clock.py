"""Clocks of this machine and of a sandbox; moments, durations and periods, all in UTC."""

import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from urllib.parse import urlsplit

from ops.core.client_guards import is_loopback
from ops.core.errors import ConfigError, Reason

REQUEST_LIFETIME = timedelta(minutes=30)
"""Longest time from a request to its write. After that the situation may have changed."""
MAX_CLOCK_SKEW = timedelta(minutes=1)
"""Longest time that GitHub's clock may be ahead of the runner's clock."""
CLOCK_TIMEOUT = 5.0
"""Seconds to wait for an answer of the sandbox's clock, which runs on this machine."""
LONG = 600.0
"""Seconds from which minutes are precise enough."""
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DAYS = re.compile(r"([1-9][0-9]{0,4})d")
DURATION_PATTERN = re.compile(r"(0|[1-9][0-9]{0,8})(ms|s|m|h)")


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


class SystemClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class SandboxClock:
    """The clock of a sandbox, over HTTP. A virtual clock moves only by `sleep`, which takes no real time.

    Another one is moved by a sleep that is longer than its `longest_sleep`, so that a drill does not wait for it. The
    time that it skips counts in `monotonic`, and so in each duration.
    """

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        try:
            answer = self._ask_sandbox_clock("GET")
            self._is_virtual, self._stands_at = bool(answer["virtual"]), parse_utc(answer["now"])
            longest = answer.get("longest_sleep")
            self._longest_sleep = math.inf if longest is None else float(longest)
            self._skipped = 0.0
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"cannot read the sandbox's clock at {url} ({type(error).__name__})",
                hint="Start `ops sandbox` again and set the variables that it prints.",
            ) from None

    def now(self) -> datetime:
        return self._stands_at if self._is_virtual else parse_utc(self._ask_sandbox_clock("GET")["now"])

    def monotonic(self) -> float:
        return self._stands_at.timestamp() if self._is_virtual else time.monotonic() + self._skipped

    def sleep(self, seconds: float) -> None:
        if self._is_virtual or seconds > self._longest_sleep:
            self._stands_at = parse_utc(self._ask_sandbox_clock("POST", {"advance": seconds})["now"])
            self._skipped += seconds
        else:
            time.sleep(seconds)

    def _ask_sandbox_clock(self, method: str, body: Any = None) -> Any:
        """Send one request on its own connection, because threads share the clock.

        A raw socket is ten times faster than an HTTP client here.

        Raises:
            OSError: there is no connection.
            ValueError: the answer is not 200 with JSON.
        """
        import socket  # here, because only the clock of a sandbox needs it

        data = json.dumps(body).encode()
        head = f"{method} {self._url.path} HTTP/1.1\r\nhost: {self._url.netloc}\r\nconnection: close\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
        with socket.create_connection((self._url.hostname, self._url.port or 80), timeout=CLOCK_TIMEOUT) as connection:
            connection.sendall(head.encode() + data)
            with connection.makefile("rb") as answer:
                head_of_answer, _, payload = answer.read().partition(b"\r\n\r\n")
        if not head_of_answer.startswith(b"HTTP/1.1 200 "):
            raise ValueError(head_of_answer[:40])
        return json.loads(payload)


def current_time(environ: Mapping[str, str]) -> datetime:
    """Return the current UTC time by `find_clock`. Raises ConfigError."""
    return find_clock(environ).now()


def find_clock(environ: Mapping[str, str]) -> SystemClock | SandboxClock:
    """Return the clock of this machine, or the sandbox's if OPS_CLOCK_URL is set.

    Raises:
        ConfigError: GitHub is not the sandbox's. The clock could then make old events look recent.
    """
    url = environ.get("OPS_CLOCK_URL")
    if not url:
        return SystemClock()
    if not is_loopback(url) or not is_loopback(environ.get("GITHUB_API_URL", "")):
        hint = "Run `unset OPS_CLOCK_URL`: it is only for a sandbox on this machine that includes GitHub."
        raise ConfigError(
            "OPS_CLOCK_URL is set, but GITHUB_API_URL is not a sandbox on this machine",
            reason=Reason.NOT_LOOPBACK,
            hint=hint,
        )
    return SandboxClock(url)


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


def parse_http_date(text: str) -> datetime:
    """Parse the time of an HTTP header, in UTC (RFC 9110, 5.6.7). Raises ValueError."""
    from email.utils import parsedate_to_datetime  # here, because few commands need it

    try:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (TypeError, OverflowError) as error:
        raise ValueError(str(error)) from None


def format_utc(moment: datetime) -> str:
    """Format a time for people, such as `2026-11-24 03:12:20 UTC`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def format_rfc3339(moment: datetime) -> str:
    """Format a time for programs: RFC 3339 in UTC with whole seconds and Z."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def format_optional(moment: datetime | None) -> str | None:
    """Return the moment as JSON results have it; None stays None."""
    return None if moment is None else format_rfc3339(moment)


def format_duration(seconds: float) -> str:
    """Format seconds for people in at most two units, rounded down: 45 s, 12 min, 2 h 5 min, 3 d 4 h.

    A negative time is one between two clocks, and becomes 0.0 s.
    """
    seconds = max(0.0, seconds)
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


def format_age(age: timedelta) -> str:
    """Return an age for people: "12 min ago", "just now", or "in the future".

    It may be between two clocks: up to MAX_CLOCK_SKEW ahead is "just now".
    """
    if age >= timedelta(seconds=1):
        return f"{format_duration(age.total_seconds())} ago"
    return "just now" if age >= -MAX_CLOCK_SKEW else "in the future"


def format_seconds(seconds: float) -> str:
    """Format seconds for people, so that those above a target differ from it: 3.1 s, 64 s, 5 min, 301 s, 12 min."""
    is_whole = seconds >= 60 and seconds % 60 == 0
    return f"{seconds:.0f} s" if 10 <= seconds < LONG and not is_whole else format_duration(seconds)


def format_rounded_up(seconds: float) -> str:
    """Format seconds like `format_duration`, but rounded up: a loss and a wait must not look smaller than they are."""
    unit = 0.1 if seconds < 10 else 1 if seconds < 60 else 60 if seconds < 86400 else 3600
    return format_duration(math.ceil(seconds / unit) * unit)


def format_planned_end(end: datetime, now: datetime) -> str:
    """Format a planned end for people, and how long ago it passed: nothing ended by itself then."""
    passed = f", passed {format_age(now - end)}" if end < now else ""
    return f"planned end {format_utc(end)}{passed}"


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
    period = Period(_parse_moment("--since", since, now), _parse_moment("--until", until, now) if until else now)
    if not period.since < period.until <= now:
        hint = "Pass a --since before --until, both in UTC and not in the future."
        raise ConfigError("the period is empty or ends in the future", hint=hint)
    return period


def _parse_moment(option: str, text: str, now: datetime) -> datetime:
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
