"""Pictures of the report in Mermaid, readable on a phone. They parse in Mermaid 10 to 12.

GitHub shows an error instead of a broken picture, so no text of people is in one. Tables hold the same facts.
"""

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from math import ceil
from typing import Any

from ops.core.drill_result import DrillTrend
from ops.core.errors import Decision
from ops.core.incident_state import ServiceHealth, ServiceState
from ops.core.names import cut_text
from ops.report.evidence import IncidentEvidence
from ops.report.impact import MINUTE, ImpactView

MARGIN = timedelta(minutes=10)
"""Time before and after the window in the chart of requests."""
MAX_POINTS = 60
"""Most points of a line, for a screen 390 pixels wide."""
WIDTH = 358
"""Pixels of a phone's screen, without the margins of a comment."""
BARS, REQUESTS, FAILED = "#e3b341", "#0969da", "#cf222e"
"""Colors of writes, requests and failed requests, on light and dark pages."""


MOST_SECTIONS = 6
"""Most services in the picture of an incident."""
NAME_LENGTH = 13
"""Characters of a name left of a bar."""
MOST_TICKS = 4
"""Most clock times below the picture of an incident."""
TICKS = tuple(
    (f"{number}{unit}", timedelta(**{f"{unit}s": number}))
    for unit, numbers in (("minute", (1, 2, 5, 10, 15, 30)), ("hour", (1, 2, 3, 6, 12)), ("day", (1, 2, 7, 14, 30, 90)))
    for number in numbers
)
FEWEST_DRILLS = 2
"""Fewest drills of a chart: one point shows no trend."""
MOST_BARS = 40
"""The bar of a run is at least this part of the longest one, so that a phone shows it."""
_PLAIN_NAME = re.compile(r"(?!(gantt|topaxis|inclusiveenddates)\b)[a-z][a-z0-9-]*", re.IGNORECASE)
"""A name that is neither punctuation nor a keyword of Mermaid: mermaid-js/mermaid, gantt.jison."""


def draw_incident(evidence: IncidentEvidence) -> tuple[str, ...]:
    """Return a chart of what happened when, per service; nothing without a service or a known start."""
    services = evidence.state.services[:MOST_SECTIONS]
    sections = [lines for number, each in enumerate(services, 1) if (lines := _draw_service(evidence, each, number))]
    first = evidence.start.at
    last = evidence.closed_at or evidence.state.mitigated.at or evidence.read_at
    if not sections or first is None:
        return ()
    tick = next((name for name, length in TICKS if (last - first) / length <= MOST_TICKS), TICKS[-1][0])
    settings = {"leftPadding": 90, "rightPadding": 16, "topPadding": 45, "fontSize": 12, "sectionFontSize": 12}
    return (
        _chart_settings({"gantt": settings}),
        "gantt",
        "  dateFormat YYYY-MM-DDTHH:mm:ss",
        f"  axisFormat {'%H:%M' if first.date() == last.date() else '%m-%d %H:%M'}",
        f"  tickInterval {tick}",
        *(line for lines in sections for line in lines),
    )


def _draw_service(evidence: IncidentEvidence, service: ServiceState, number: int) -> list[str]:
    """Return the section of a service: how long it was broken, its runs, relapse and recovery."""
    end = service.healthy_since or evidence.closed_at or evidence.read_at
    word = "broken or unknown" if service.state == ServiceHealth.UNKNOWN else "broken"
    lines = [_chart_bar(word, "crit", *each) for each in _broken_times(evidence, service, end)]
    shortest = (end - (evidence.start.at or end)) / MOST_BARS
    for one in evidence.counted_runs:
        record, began = one.record, one.record.rows[0].at
        if (record.environment, record.service) == (service.environment, service.service):
            name = _plain_chart_name(record.runbook, "run", 2 * NAME_LENGTH)
            lines.append(_chart_bar(name, "active", began, max(record.rows[-1].at, began + shortest)))
    moments = {"broken again": service.relapsed.at, "works": service.healthy_since}
    lines += [_chart_bar(name, "milestone", at, at) for name, at in moments.items() if at]
    return [f"  section {_plain_chart_name(service.service, f'service {number}')}", *lines] if lines else []


def _broken_times(
    evidence: IncidentEvidence, service: ServiceState, end: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """Yield when the service was broken: from the start and from a relapse, each to the next recovery by a run."""
    place = (service.environment, service.service)
    runs = [one for one in evidence.counted_runs if (one.record.environment, one.record.service) == place]
    recovered = [one for one in runs if one.record.decision == Decision.RECOVERED]
    ends = [*filter(None, (one.first_event_at("verified") for one in recovered)), end]
    for start in filter(None, (service.broken_since.at, service.relapsed.at)):
        later = [each for each in ends if each > start]
        if later:
            yield start, min(later)


def _chart_bar(name: str, kind: str, start: datetime, end: datetime) -> str:
    length = round((end - start).total_seconds())
    return f"    {name} :{kind}, {start:%Y-%m-%dT%H:%M:%S}, {length}s"


def _plain_chart_name(name: str, otherwise: str, longest: int = NAME_LENGTH) -> str:
    """Return the name if Mermaid reads it as text in each version, shortened; else the other one."""
    if not _PLAIN_NAME.fullmatch(name):
        return otherwise
    return cut_text(name, longest)


def draw_requests(view: ImpactView) -> tuple[str, ...]:
    """Return a chart of all and of failed requests, with a bar at each write; nothing without failures.

    Its axis counts minutes, because more than a few clock times overlap.
    """
    points = list(_sum_points(view))
    if not any(failed for _, _, failed in points):
        return ()
    step, height = _chart_step(view), max(requests for _, requests, _ in points)
    writes = [each.at for each in view.shown_writes]
    bars = [height if any(at <= write < at + step for write in writes) else 0 for at, _, _ in points]
    first, last = points[0][0], points[-1][0]
    return (
        *_begin_xy_chart([BARS, REQUESTS, FAILED] if any(bars) else [REQUESTS, FAILED]),
        f'  title "Requests per {_name_chart_step(step)}, by estimate"',
        f'  x-axis "minutes after {first:%H:%M} UTC" 0 --> {max(1, (last - first) // MINUTE)}',
        f"  y-axis 0 --> {max(1, height)}",
        *([f"  bar {_chart_numbers(bars)}"] if any(bars) else []),
        f"  line {_chart_numbers([requests for _, requests, _ in points])}",
        f"  line {_chart_numbers([failed for _, _, failed in points])}",
    )


def draw_drills(trend: DrillTrend) -> tuple[str, ...]:
    """Return a chart of the drills with a known recovery, oldest first; nothing for fewer than two.

    Bars are the times to the recovery, lines those to the write, and the targets of the recovery where all have one.
    """
    numbered = list(enumerate((each.result for each in trend.drills), 1))
    known = [(number, each) for number, each in numbered if each.verified.seconds is not None]
    if len(known) < FEWEST_DRILLS:
        return ()
    verified = [ceil(each.verified.seconds or 0) for _, each in known]
    writes = [None if each.write.seconds is None else ceil(each.write.seconds) for _, each in known]
    targets = [None if each.verified.target is None else ceil(each.verified.target) for _, each in known]
    lines = [(color, values) for color, values in ((REQUESTS, writes), (FAILED, targets)) if None not in values]
    shown = [(color, [value or 0 for value in values]) for color, values in lines]
    names = ", ".join(f'"{number}"' for number, _ in known)
    return (
        *_begin_xy_chart([BARS, *(color for color, _ in shown)]),
        '  title "Seconds from the trigger"',
        f'  x-axis "drills, as numbered below" [{names}]',
        f"  y-axis 0 --> {max(1, *verified, *(value for _, values in shown for value in values))}",
        f"  bar {_chart_numbers(verified)}",
        *(f"  line {_chart_numbers(values)}" for _, values in shown),
    )


def _name_chart_step(step: timedelta) -> str:
    return "minute" if step == MINUTE else f"{step // MINUTE} minutes"


def _begin_xy_chart(colors: list[str]) -> tuple[str, str]:
    """Return the first lines of a chart. `colors`: those of its bars and lines, in their order."""
    axis = {"labelFontSize": 11, "titleFontSize": 12}
    settings = {"width": WIDTH, "height": 260, "titleFontSize": 14, "xAxis": axis, "yAxis": axis}
    theme = {"xyChart": {"plotColorPalette": ", ".join(colors)}}
    return _chart_settings({"xyChart": settings, "themeVariables": theme}), "xychart-beta"


def _chart_settings(settings: dict[str, Any]) -> str:
    return f"%%{{init: {json.dumps(settings)}}}%%"


def _chart_numbers(values: list[int]) -> str:
    return f"[{', '.join(map(str, values))}]"


def _chart_step(view: ImpactView) -> timedelta:
    shown = view.shown
    return ceil((shown.until - shown.since) / MINUTE / MAX_POINTS) * MINUTE


def _sum_points(view: ImpactView) -> Iterator[tuple[datetime, int, int]]:
    at, step, minutes = view.shown.since, _chart_step(view), view.minutes
    while at < view.shown.until:
        inside = [sums for start, sums in minutes.items() if at <= start < at + step]
        yield at, sum(requests for requests, _ in inside), sum(failed for _, failed in inside)
        at += step
