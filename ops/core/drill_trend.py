"""The results of the last drills, and what they say about the readiness of a team."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ops.core.clock import format_duration, format_rfc3339, format_utc
from ops.core.drill_result import DrillOutcome, DrillResult, format_seconds, parse_drill_result
from ops.core.run_record import escape_hidden
from ops.core.tolerant_json import mappings_in, text_in

MOST_RESULTS = 12
DRILL_EVERY = timedelta(days=40)
"""Longest time without a drill: a month, and a few days for the person who is needed."""
MOST_EARLIER = 2000
"""Characters of the earlier results in a record, as it is written: its size is limited."""
PRACTICED = frozenset({DrillOutcome.PASSED, DrillOutcome.FAILED})
"""Outcomes of drills that ended with a result. The others practiced nothing."""


@dataclass(frozen=True)
class RecordedDrill:
    """A result on the tracking issue."""

    result: DrillResult
    url: str = ""
    by: str = ""
    """Person who recorded it from a laptop; empty for a workflow of ours."""

    def to_json(self) -> dict[str, Any]:
        return {**self.result.to_json(), "url": self.url, "recorded_by": self.by}


@dataclass(frozen=True)
class DrillTrend:
    read_at: datetime
    drills: tuple[RecordedDrill, ...] = ()
    """The newest ones, oldest first."""
    doubts: str = ""
    """Results that do not count, and why, for people; empty if all count."""
    url: str = ""
    """The tracking issue; empty without one."""
    problem: str = ""
    """Why nothing was read; empty if it was."""

    @property
    def last(self) -> RecordedDrill | None:
        """Return the last drill that passed or failed."""
        return next((each for each in reversed(self.drills) if each.result.outcome in PRACTICED), None)

    @property
    def due_at(self) -> datetime | None:
        """Return when the next drill is due; None if there was none, so that it is due now."""
        return self.last.result.started + DRILL_EVERY if self.last else None

    def find_last(self, name: str) -> RecordedDrill | None:
        """Return the last passed drill of a runbook, whose times are those to expect; None without one."""
        passed = (each for each in reversed(self.drills) if each.result.outcome == DrillOutcome.PASSED)
        return next((each for each in passed if each.result.name == name), None)

    def warnings(self) -> Iterator[str]:
        """Yield what a team must do something about: no recent drill, a slow one, a failed one."""
        if self.problem:
            return
        if self.last is None or self.due_at is None:
            yield "no staging drill has a result that counts" if self.doubts else "no staging drill has a result yet"
            return
        result = self.last.result
        if self.read_at > self.due_at:
            age = format_duration((self.read_at - result.started).total_seconds())
            yield f"the last staging drill was {age} ago; one is due every {DRILL_EVERY.days} days"
        if result.outcome == DrillOutcome.FAILED:
            yield f"the last staging drill failed ({format_utc(result.started)})"
        for name, time in (("write", result.write), ("recovery", result.verified)):
            if time.is_slow:
                yield f"the last staging drill missed the target of its {name}: {time}"

    def lines(self) -> Iterator[str]:
        """Yield the last result, the warnings, and what is unknown."""
        if self.problem:
            yield f"! unknown, results of staging drills: {self.problem}"
        elif self.last:
            yield describe_result(self.last.result)
        yield from (f"! {each}" for each in self.warnings())
        if self.doubts:
            yield f"! {self.doubts}"

    def to_json(self) -> dict[str, Any]:
        return {
            "drills": None if self.problem else [each.to_json() for each in self.drills],
            "due_at": self.due_at and format_rfc3339(self.due_at),
            "warnings": [*self.warnings()],
            "doubts": self.doubts,
            "url": self.url,
            "unread": self.problem,
        }


def describe_result(result: DrillResult) -> str:
    """Return the result in one line, such as "rollback-worker for shop in staging: passed, …"."""
    of = f" for {result.service}" if result.service else ""
    where = f" in {result.environment}" if result.environment else ""
    times = [
        f"{name} after {format_seconds(time.seconds)}"
        for name, time in (("written", result.write), ("verified", result.verified))
        if time.seconds is not None
    ]
    outcome = result.outcome.value.replace("_", " ")
    return f"{result.name}{of}{where}: {', '.join([outcome, *times])} ({format_utc(result.started)})"


def pack_results(result: DrillResult, earlier: Sequence[RecordedDrill]) -> dict[str, Any]:
    """Return the JSON of a result, with the earlier ones, as many as fit: newest first, and only what differs."""
    own, packed = result.to_json(), list[dict[str, Any]]()
    for each in reversed(earlier):
        fields = {**each.result.to_json(), "report": own["report"]}
        differing = {name: value for name, value in fields.items() if value != own[name]}
        packed.append({**differing, "by": each.by} if each.by else differing)
        if len(escape_hidden(json.dumps(packed, separators=(",", ":")))) > MOST_EARLIER:
            packed.pop()
            break
    return {**own, "earlier": packed}


def parse_earlier(data: Mapping[str, Any]) -> Iterator[RecordedDrill]:
    """Yield the earlier results that `pack_results` added; malformed ones are left out."""
    for each in mappings_in(data, "earlier"):
        if (result := parse_drill_result({**data, **each, "report": ""})) is not None:
            yield RecordedDrill(result, by=text_in(each, "by"))


def merge_drills(drills: Iterable[RecordedDrill]) -> tuple[RecordedDrill, ...]:
    """Return the newest drills, each once, oldest first: two presses may have recorded the same one.

    The record of a workflow counts more than that of a person, and its own comment more than a later one.
    """
    merged = dict[str, RecordedDrill]()
    for each in sorted(drills, key=lambda drill: (bool(drill.by), not drill.url)):
        merged.setdefault(each.result.key, each)
    return tuple(sorted(merged.values(), key=lambda drill: drill.result.started)[-MOST_RESULTS:])
