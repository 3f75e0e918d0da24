"""The sandbox's clock, which stamps changes and delays their effect at the edge."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class FakeClock:
    """The wall clock plus an offset or, if virtual, an instant that moves only by `set` and `advance`."""

    def __init__(self, *, virtual: bool = False) -> None:
        self.virtual = virtual
        self._started = datetime.now(UTC)
        self.offset = timedelta()
        """Sum of all moves by `set` and `advance`."""
        self.longest_sleep: float | None = None
        """Longest sleep of `ops` in real seconds; a longer one moves the clock. None: no limit."""
        self.on_sleep: Callable[[], object] = lambda: None
        """Called after a sleep of `ops` moved the clock, before that sleep ends."""

    def now(self) -> datetime:
        return self._without_offset() + self.offset

    def set(self, instant: datetime) -> None:
        """Move the clock to an instant.

        Raises:
            ValueError: the instant has no time zone, so its meaning would depend on the machine.
        """
        if instant.tzinfo is None:
            raise ValueError(f"the clock needs an instant with a time zone; {instant.isoformat()} has none")
        self.offset = instant.astimezone(UTC) - self._without_offset()

    def advance(self, seconds: float) -> None:
        self.offset += timedelta(seconds=seconds)

    def _without_offset(self) -> datetime:
        return self._started if self.virtual else datetime.now(UTC)


def timestamp(instant: datetime) -> str:
    """Format a time as the Cloudflare API does: UTC, microseconds, Z."""
    return f"{instant.astimezone(UTC).isoformat(timespec='microseconds')[:26]}Z"  # strftime takes four times as long
