"""Durations, written `500ms`, `10s`, `5m`, `2h` and held as seconds; and the end of a time that is limited."""

import re
from datetime import datetime, timedelta

from ops.core.clock import format_utc, parse_utc
from ops.core.errors import ConfigError

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
DURATION_PATTERN = re.compile(r"(0|[1-9][0-9]{0,8})(ms|s|m|h)")


def parse_duration(text: str) -> float:
    """Seconds of `10m`. ValueError with a sentence for people."""
    match = DURATION_PATTERN.fullmatch(text)
    if match is None:
        raise ValueError("not a duration; write a whole number and ms, s, m or h, such as 500ms or 10m")
    return int(match[1]) * _UNITS[match[2]]


def unparse_duration(duration: float) -> str:
    """`10m` of 600.0: in the largest unit that divides it."""
    milliseconds = round(duration * 1000)
    for unit, size in _UNITS.items():
        count, rest = divmod(milliseconds, round(size * 1000))
        if not rest and count:
            return f"{count}{unit}"
    return "0s"


def parse_deadline(text: str, now: datetime) -> datetime | None:
    """`2h` from now, or a moment; None where nothing was written. Raises ConfigError."""
    if not text:
        return None
    try:
        ahead = re.fullmatch("[0-9]+[a-z]+", text)
        moment = now + timedelta(seconds=parse_duration(text)) if ahead else parse_utc(text)
    except (ValueError, OverflowError):
        raise ConfigError(f'"{text[:40]}" is no end', hint="Write 2h or 2026-11-24T05:00Z, in UTC.") from None
    if moment <= now:
        raise ConfigError(f"{format_utc(moment)} is over", hint="Name a moment to come, in UTC.")
    return moment
