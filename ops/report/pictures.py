"""Pictures of the report in Mermaid, readable on a phone. They parse in Mermaid 10 to 12.

GitHub shows an error instead of a broken picture, so no text of people is in one. Tables hold the same facts.
"""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from math import ceil
from typing import Any

from ops.report.impact import MINUTE, ImpactView

MARGIN = timedelta(minutes=10)
"""Time before and after the window in the chart of requests."""
MAX_POINTS = 60
"""Most points of a line, for a screen 390 pixels wide."""
WIDTH = 358
"""Pixels of a phone's screen, without the margins of a comment."""
BARS, REQUESTS, FAILED = "#e3b341", "#0969da", "#cf222e"
"""Colors of writes, requests and failed requests, on light and dark pages."""


def draw_requests(view: ImpactView) -> tuple[str, ...]:
    """Return a chart of all and of failed requests, with a bar at each write; nothing without failures.

    Its axis counts minutes, because more than a few clock times overlap.
    """
    points = list(_sum_points(view))
    if not any(failed for _, _, failed in points):
        return ()
    step, height = _step(view), max(requests for _, requests, _ in points)
    writes = [each.at for each in view.impact.writes]
    bars = [height if any(at <= write < at + step for write in writes) else 0 for at, _, _ in points]
    first, last = points[0][0], points[-1][0]
    settings = {"width": WIDTH, "height": 260, "titleFontSize": 14, "xAxis": _axis(), "yAxis": _axis()}
    palette = [BARS, REQUESTS, FAILED] if any(bars) else [REQUESTS, FAILED]
    theme = {"xyChart": {"plotColorPalette": ", ".join(palette)}}
    return (
        _init({"xyChart": settings, "themeVariables": theme}),
        "xychart-beta",
        f'  title "Requests per {_name_step(step)}, by estimate"',
        f'  x-axis "minutes after {first:%H:%M} UTC" 0 --> {max(1, (last - first) // MINUTE)}',
        f"  y-axis 0 --> {max(1, height)}",
        *([f"  bar {_numbers(bars)}"] if any(bars) else []),
        f"  line {_numbers([requests for _, requests, _ in points])}",
        f"  line {_numbers([failed for _, _, failed in points])}",
    )


def _name_step(step: timedelta) -> str:
    return "minute" if step == MINUTE else f"{step // MINUTE} minutes"


def _axis() -> dict[str, int]:
    return {"labelFontSize": 11, "titleFontSize": 12}


def _init(settings: dict[str, Any]) -> str:
    return f"%%{{init: {json.dumps(settings)}}}%%"


def _numbers(values: list[int]) -> str:
    return f"[{', '.join(map(str, values))}]"


def _step(view: ImpactView) -> timedelta:
    shown = view.shown
    return ceil((shown.until - shown.since) / MINUTE / MAX_POINTS) * MINUTE


def _sum_points(view: ImpactView) -> Iterator[tuple[datetime, int, int]]:
    at, step, minutes = view.shown.since, _step(view), view.minutes
    while at < view.shown.until:
        inside = [sums for start, sums in minutes.items() if at <= start < at + step]
        yield at, sum(requests for requests, _ in inside), sum(failed for _, failed in inside)
        at += step
