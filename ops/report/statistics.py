"""Statistics of incidents: times between moments, relapses, causes, failed changes.

An unknown moment makes its points unknown: they are counted apart, and are never 0.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from statistics import median
from typing import Any

from ops.core.clock import Period, format_rfc3339
from ops.report.facts import IncidentFacts
from ops.status.changes import ServiceChanges


class TimeKind(StrEnum):
    """Whose time a measure is."""

    HUMAN = "human"
    MACHINE = "machine"
    BOTH = "both"


@dataclass(frozen=True)
class Measure:
    """A time from one moment of an incident to another one."""

    name: str
    kind: TimeKind
    first: str
    """Field of IncidentFacts; like `last` the end point that the docs describe."""
    last: str
    ends: str
    """Both end points in words."""


MEASURES = (
    Measure("detect", TimeKind.HUMAN, "started", "detected", "start to detection"),
    Measure("acknowledge", TimeKind.HUMAN, "detected", "acknowledged", "detection to first act of a person"),
    Measure("decide", TimeKind.HUMAN, "acknowledged", "requested", "first act to request of the recovery"),
    Measure("write", TimeKind.MACHINE, "requested", "written", "request to answered write"),
    Measure("recover", TimeKind.MACHINE, "requested", "proved", "request to healthy probes"),
    Measure("restore", TimeKind.BOTH, "started", "restored", "start to all services working"),
)


@dataclass(frozen=True)
class CountedIncident:
    """An incident of the period. `facts` is None if its records could not be read."""

    number: int
    title: str
    url: str
    opened_at: datetime
    is_open: bool
    is_drill: bool
    facts: IncidentFacts | None
    open_actions: int | None = None
    """Action items of its report without an end; None without a report that has their table."""
    unread: str = ""
    """Why there are no facts."""

    def measure(self, each: Measure) -> float | None:
        """Return the seconds; None if an end is unknown, or if the second one lies before the first."""
        first, last = (getattr(self.facts, name, None) for name in (each.first, each.last))
        seconds = (last - first).total_seconds() if first and last else -1.0
        return seconds if seconds >= 0 else None


@dataclass(frozen=True)
class MeasuredTimes:
    measure: Measure
    points: tuple[tuple[int, float], ...]
    """Incident and seconds, oldest first."""
    unknown: tuple[int, ...]
    """Incidents without a point."""

    @property
    def median(self) -> float | None:
        return median(seconds for _, seconds in self.points) if self.points else None

    @property
    def p90(self) -> float | None:
        """Return the smallest point that is not below 90 % of them (nearest rank)."""
        ordered = sorted(seconds for _, seconds in self.points)
        return ordered[math.ceil(0.9 * len(ordered)) - 1] if ordered else None

    def to_json(self) -> dict[str, Any]:
        return {
            "time": self.measure.kind,
            "from_to": self.measure.ends,
            "median": self.median,
            "p90": self.p90,
            "points": [{"incident": number, "seconds": seconds} for number, seconds in self.points],
            "unknown": list(self.unknown),
        }


@dataclass(frozen=True)
class IncidentGroup:
    """The incidents of the period, or its drills."""

    incidents: tuple[CountedIncident, ...]
    """Oldest first."""

    def times(self) -> tuple[MeasuredTimes, ...]:
        return tuple(self._measure(each) for each in MEASURES)

    def _measure(self, measure: Measure) -> MeasuredTimes:
        points = [(each.number, each.measure(measure)) for each in self.incidents]
        known = tuple((number, seconds) for number, seconds in points if seconds is not None)
        return MeasuredTimes(measure, known, tuple(number for number, seconds in points if seconds is None))

    def select(self, wanted: Callable[[IncidentFacts], bool]) -> tuple[int, ...]:
        """Return the numbers of the incidents whose facts fit."""
        return tuple(each.number for each in self.incidents if each.facts and wanted(each.facts))

    @property
    def open_numbers(self) -> tuple[int, ...]:
        return tuple(each.number for each in self.incidents if each.is_open)

    @property
    def unread(self) -> tuple[CountedIncident, ...]:
        return tuple(each for each in self.incidents if each.facts is None)

    def repeated_causes(self) -> list[tuple[str, tuple[int, ...]]]:
        """Return each cause that several incidents have, with them. Letters and spaces may differ."""
        causes = dict[str, dict[int, str]]()
        for each in self.incidents:
            for cause in each.facts.causes if each.facts else ():
                causes.setdefault(" ".join(cause.casefold().split()).rstrip("."), {})[each.number] = cause
        return [(next(iter(named.values())), tuple(named)) for named in causes.values() if len(named) > 1]

    def to_json(self) -> dict[str, Any]:
        return {
            "count": len(self.incidents),
            "incidents": [
                {"number": each.number, "title": each.title, "opened_at": format_rfc3339(each.opened_at)}
                for each in self.incidents
            ],
            "open": list(self.open_numbers),
            "reopened": list(self.select(lambda facts: facts.is_reopened)),
            "relapsed": list(self.select(lambda facts: facts.is_relapsed)),
            "repeated_causes": [{"cause": text, "incidents": list(named)} for text, named in self.repeated_causes()],
            "times": {each.measure.name: each.to_json() for each in self.times()},
            "unread": [{"number": each.number, "why": each.unread} for each in self.unread],
        }


@dataclass(frozen=True)
class Statistics:
    period: Period
    read_at: datetime
    incidents: IncidentGroup
    drills: IncidentGroup
    changes: tuple[ServiceChanges, ...]

    @property
    def failure_rate(self) -> float | None:
        """Return the share of failed changes among those that were read; None if none was."""
        total = sum(each.changes for each in self.changes)
        return sum(len(each.failed) for each in self.changes) / total if total else None

    @property
    def open_actions(self) -> Sequence[tuple[int, int]]:
        """Return incident and number of its open action items, of the incidents with some."""
        return [(each.number, each.open_actions) for each in self.incidents.incidents if each.open_actions]

    def to_json(self) -> dict[str, Any]:
        reported = [each for each in self.incidents.incidents if each.open_actions is not None]
        return {
            "schema": 1,
            "since": format_rfc3339(self.period.since),
            "until": format_rfc3339(self.period.until),
            "read_at": format_rfc3339(self.read_at),
            "incidents": self.incidents.to_json(),
            "drills": self.drills.to_json(),
            "change_failure_rate": {
                "rate": self.failure_rate,
                "failed": sum(len(each.failed) for each in self.changes),
                "changes": sum(each.changes for each in self.changes),
                "services": [each.to_json() for each in self.changes],
            },
            "action_items": {
                "open": sum(number for _, number in self.open_actions),
                "incidents": [{"number": number, "open": items} for number, items in self.open_actions],
                "without_report": len(self.incidents.incidents) - len(reported),
            },
        }


def split_drills(incidents: Iterable[CountedIncident]) -> tuple[IncidentGroup, IncidentGroup]:
    """Return the incidents and the drills, oldest first."""
    ordered = sorted(incidents, key=lambda each: each.opened_at)
    groups = ([each for each in ordered if each.is_drill is drill] for drill in (False, True))
    real, drills = (IncidentGroup(tuple(each)) for each in groups)
    return real, drills
