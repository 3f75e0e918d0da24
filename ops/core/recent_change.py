"""Changes shortly before an incident: one list for plan, incident and report."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from ops.core.clock import Period, format_rfc3339

SAME_MOMENT = timedelta(seconds=5)
"""Most difference between the times of one change in two sources."""
MOST_SHOWN = 15
"""Changes that people see; the JSON result has all."""


@dataclass(frozen=True)
class RecentChange:
    """A change that took effect, or a button that may have made one. Its texts are untrusted."""

    at: datetime
    what: str
    who: str
    url: str
    """Page of the change, or of its record; empty if there is none."""

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "at": format_rfc3339(self.at)}

    def describe(self) -> str:
        return f"{self.at:%H:%M:%S} {self.what}{f', by {self.who}' if self.who else ''}"


@dataclass(frozen=True)
class RecentChanges:
    """The changes of a period, newest first. They are candidates, and never choose a target."""

    period: Period
    changes: tuple[RecentChange, ...] = ()
    unread: tuple[str, ...] = ()
    """Sources that were not read, or not wholly, with the reason."""

    def with_others(self, others: Iterable[RecentChange]) -> "RecentChanges":
        """Add changes of the period that another source has, unless one of the same moment is listed."""
        new = [each for each in others if self.period.contains(each.at) and not self._has_moment(each.at)]
        return replace(self, changes=tuple(sorted((*self.changes, *new), key=lambda each: each.at, reverse=True)))

    def _has_moment(self, at: datetime) -> bool:
        return any(abs(each.at - at) <= SAME_MOMENT for each in self.changes)

    @property
    def heading(self) -> str:
        since, until = self.period.since, self.period.until
        return f"Changed before it broke, {since:%Y-%m-%d %H:%M} to {until:%H:%M} UTC"

    @property
    def shown(self) -> tuple[RecentChange, ...]:
        return self.changes[:MOST_SHOWN]

    @property
    def count_left_out(self) -> int:
        return len(self.changes) - len(self.shown)

    def lines(self) -> Iterator[str]:
        """Yield the lines for a terminal."""
        yield self.heading
        yield from (f"  {each.describe()}{f': {each.url}' if each.url else ''}" for each in self.shown)
        if not self.changes:
            yield "  no change in the sources that were read"
        if self.count_left_out:
            yield f"  and {self.count_left_out} more"
        yield from (f"  unknown: {each}" for each in self.unread)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "since": format_rfc3339(self.period.since),
            "until": format_rfc3339(self.period.until),
            "changes": [each.to_json() for each in self.changes],
            "unread": list(self.unread),
        }
