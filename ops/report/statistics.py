"""Statistics of incidents: times between moments, relapses, causes, failed changes.

An unknown moment makes its points unknown: they are counted apart, and are never 0.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from statistics import median
from typing import Any

from ops.core.clock import Period, format_rfc3339, format_seconds
from ops.core.names import count_of, first_of
from ops.render import collapse_blank_lines, load_templates, to_one_line
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
        return tuple(self._measure_group(each) for each in MEASURES)

    def _measure_group(self, measure: Measure) -> MeasuredTimes:
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


UNKNOWN = "unknown"
MOST_NUMBERS = 8
"""Incidents that are listed by number; the JSON result has all."""


def statistics_lines(statistics: Statistics) -> Iterator[str]:
    """Yield the lines for a terminal."""
    period = statistics.period
    yield f"Incidents opened from {period.since:%Y-%m-%d %H:%M} to {period.until:%Y-%m-%d %H:%M} UTC"
    yield from (f"  {to_one_line(line)}" for line in list_counts(statistics.incidents))
    yield from (f"  {to_one_line(line)}" for line in (*list_failure_rate(statistics), describe_actions(statistics)))
    yield from _time_lines(statistics.incidents)
    yield "Drills"
    yield from (f"  {to_one_line(line)}" for line in list_counts(statistics.drills))
    yield from _time_lines(statistics.drills)


def _time_lines(group: IncidentGroup) -> Iterator[str]:
    if group.incidents:
        yield f"  {'time to':<12} {'median':>9} {'p90':>9}  known  unknown  from, to"
    for each in group.times() if group.incidents else ():
        name, median, p90, known, unknown, ends = time_cells(each)
        yield f"  {name:<12} {median:>9} {p90:>9}  {known:>5}  {unknown:>7}  {ends}"


def time_cells(each: MeasuredTimes) -> tuple[str, str, str, str, str, str]:
    """Return name, median, p90, number of points, number of unknown ones, and both ends with whose time it is."""
    measure = each.measure
    known, unknown = str(len(each.points)), str(len(each.unknown))
    return (
        measure.name,
        _measured_seconds_text(each.median),
        _measured_seconds_text(each.p90),
        known,
        unknown,
        f"{measure.ends} ({measure.kind})",
    )


def _measured_seconds_text(seconds: float | None) -> str:
    if seconds is None:
        return UNKNOWN
    return format_seconds(seconds)


def list_counts(group: IncidentGroup) -> Iterator[str]:
    """Yield how many incidents there are, and those that stand out."""
    yield count_of(len(group.incidents), "incident")
    marked = (
        ("open", group.open_numbers),
        ("reopened", group.select(lambda facts: facts.is_reopened)),
        ("relapsed after a recovery", group.select(lambda facts: facts.is_relapsed)),
        ("without facts", tuple(each.number for each in group.unread)),
    )
    yield from (f"{len(numbers)} {name}: {_incident_numbers(numbers)}" for name, numbers in marked if numbers)
    for cause, numbers in group.repeated_causes():
        yield f"repeated cause, {_incident_numbers(numbers)}: {cause}"


def list_failure_rate(statistics: Statistics) -> Iterator[str]:
    """Yield the rate with its denominator, and services whose changes are partly or not known."""
    rate, changes = statistics.failure_rate, statistics.changes
    total, failed = sum(each.changes for each in changes), sum(len(each.failed) for each in changes)
    where = " and ".join(dict.fromkeys(each.environment for each in changes))
    shown = f"{100 * (rate or 0):.1f} % ({failed} of {total} changes that Cloudflare lists in {where} were rolled back)"
    yield f"change failure rate: {UNKNOWN if rate is None else shown}"
    yield from first_of([*_list_gaps(statistics)], MOST_NUMBERS)


def _list_gaps(statistics: Statistics) -> Iterator[str]:
    for each in statistics.changes:
        place = f"{each.service} in {each.environment}"
        if each.unread:
            yield f"changes of {place} are unknown: {each.unread}"
        elif each.since and each.since > statistics.period.since:
            yield f"changes of {place} are listed only since {each.since:%Y-%m-%d %H:%M} UTC"


def describe_actions(statistics: Statistics) -> str:
    """Return how many action items are open, and of which incidents that is unknown."""
    found = statistics.open_actions
    where = f": {_incident_numbers([number for number, _ in found])}" if found else ""
    lacking = [each.number for each in statistics.incidents.incidents if each.open_actions is None]
    without = f"; unknown, as there is no report with their table: {_incident_numbers(lacking)}" if lacking else ""
    return f"{count_of(sum(items for _, items in found), 'action item')} open{where}{without}"


def _incident_numbers(numbers: "list[int] | tuple[int, ...]") -> str:
    return ", ".join(first_of([f"#{number}" for number in numbers], MOST_NUMBERS))


def render_statistics(statistics: Statistics) -> str:
    """Return the statistics as Markdown that fits a phone."""
    groups = [
        (title, group, list(list_counts(group)), [(time_cells(each), each) for each in group.times()])
        for title, group in (("Incidents", statistics.incidents), ("Drills", statistics.drills))
        if group.incidents or title == "Incidents"
    ]
    text = (
        load_templates()
        .get_template("stats.md.j2")
        .render(
            period=statistics.period,
            groups=groups,
            rate=list(list_failure_rate(statistics)),
            actions=describe_actions(statistics),
            format_time=_measured_seconds_text,
        )
    )
    return collapse_blank_lines(text).strip()
