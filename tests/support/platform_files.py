"""A `platform.json`, as a run writes it: every answer as assumed, but for the given ones."""

import json
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from ops.core.clock import SystemClock
from ops.platform.measurements import Measurements, read_assumptions
from ops.platform.report import PlatformReport

LONGEST = 120.0


def platform_result(at: datetime, answers: Mapping[str, str | float | None] | None = None) -> dict[str, Any]:
    """Return the result of a run. `answers`: assumption → measured answer, or time; None for one that did not end."""
    given, results = answers or {}, Measurements(read_assumptions(), SystemClock())
    for each in read_assumptions():
        if each.check and each.at_most is None:
            results.compare(each.id, str(given.get(each.id, each.expected)))
        elif each.check:
            seconds = given.get(each.id, 0.0)
            assert not isinstance(seconds, str), each.id
            results.compare_time(each.id, seconds, LONGEST)
    return PlatformReport(at=at, seconds=900.0, requests=400, results=results.complete({})).to_json()


def platform_text(
    at: datetime, answers: Mapping[str, str | float | None] | None = None, only: Collection[str] = ()
) -> str:
    """Return the text of the file; with `only`, with these rows."""
    result = platform_result(at, answers)
    rows = [row for row in result["assumptions"] if not only or row["id"] in only]
    return json.dumps({**result, "assumptions": rows}, indent=2) + "\n"
