"""The sandbox's own time: what stamps every version and deployment, and decides what the edge already serves."""

from datetime import UTC, datetime, timedelta


class FakeClock:
    """The wall clock plus an offset; or, when virtual, an instant that stands still until it is moved."""

    def __init__(self, *, virtual: bool = False) -> None:
        self.virtual = virtual
        self._started = datetime.now(UTC)
        self.offset = timedelta()
        """How far it was moved: set by `set` and `advance` alone."""

    def now(self) -> datetime:
        return self._unmoved() + self.offset

    def set(self, instant: datetime) -> None:
        """Only an instant with a zone is taken: a naive one would mean another time on every machine."""
        if instant.tzinfo is None:
            raise ValueError(f"the clock is set to an instant with a time zone, and {instant.isoformat()} has none")
        self.offset = instant.astimezone(UTC) - self._unmoved()

    def advance(self, seconds: float) -> None:
        self.offset += timedelta(seconds=seconds)

    def _unmoved(self) -> datetime:
        return self._started if self.virtual else datetime.now(UTC)


def timestamp(instant: datetime) -> str:
    """As the API writes a time: UTC, microseconds, Z."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
