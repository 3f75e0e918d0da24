"""Lists of issues and comments that are behind a write.

GitHub documents no read-after-write consistency. A list of comments lacked a new one:
github.com/kamp-us/phoenix/pull/9102, github.com/dennisreimann/ioctocat/issues/182 [unsure: list-lag].
A single issue or comment is never behind.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from sandbox.clock import FakeClock


class Listed(Protocol):
    """An issue, comment, event or label."""

    @property
    def id(self) -> int: ...


T = TypeVar("T", bound=Listed)


class ListLag:
    """Knows what was created through the API within the last seconds of the sandbox's clock."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._hidden: list[tuple[range, datetime]] = []

    def hide(self, ids: range, seconds: float) -> None:
        """Leave these IDs out of lists for some seconds."""
        if ids and seconds > 0:
            self._hidden.append((ids, self._clock.now() + timedelta(seconds=seconds)))

    def shown(self, items: Iterable[T]) -> list[T]:
        """Return the items that lists show now."""
        now = self._clock.now()
        self._hidden = [each for each in self._hidden if each[1] > now]
        return [item for item in items if not any(item.id in ids for ids, _ in self._hidden)]

    def catch_up(self) -> None:
        """Show everything, as after a pause. The start of a job takes longer than any lag."""
        self._hidden = []
