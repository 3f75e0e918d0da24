"""Statistics of incidents as lines and as Markdown."""

from collections.abc import Iterator

from ops.core.clock import format_duration
from ops.core.names import count_of, first_of
from ops.render import collapse_blank_lines, load_templates, to_one_line
from ops.report.statistics import IncidentGroup, MeasuredTimes, Statistics

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
        _seconds_text(each.median),
        _seconds_text(each.p90),
        known,
        unknown,
        f"{measure.ends} ({measure.kind})",
    )


def _seconds_text(seconds: float | None) -> str:
    if seconds is None:
        return UNKNOWN
    return f"{seconds:g} s" if seconds < 60 else format_duration(seconds)


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
            format_time=_seconds_text,
        )
    )
    return collapse_blank_lines(text).strip()
