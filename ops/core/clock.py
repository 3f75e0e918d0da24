"""Time: the clock that a run is given, and how moments and spans are written for people. UTC everywhere."""

from datetime import UTC, datetime, timedelta
from typing import Protocol

REQUEST_LIFETIME = timedelta(minutes=30)
"""From the request to the write: later it may be another emergency."""
MAX_CLOCK_SKEW = timedelta(minutes=1)
"""How far GitHub's clock may be ahead of the runner's."""


class Clock(Protocol):
    """Injected, so that tests and drills need no real waiting."""

    def now(self) -> datetime:
        """UTC, aware."""
        ...

    def monotonic(self) -> float:
        """Seconds; only differences mean something."""
        ...

    def sleep(self, seconds: float) -> None: ...


def parse_utc(text: str) -> datetime:
    """An ISO 8601 moment; one without an offset is taken as UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text.strip())
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def format_utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def format_rfc3339(moment: datetime) -> str:
    """For programs: UTC, whole seconds, Z."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def format_duration(seconds: float) -> str:
    """Two units at most, the way a person says it: 45 s, 12 min, 2 h 5 min, 3 d 4 h."""
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
