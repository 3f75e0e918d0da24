"""The result of one finished drill, and what the last ones say of a team's readiness.

The JSON is persisted in hidden records of the tracking issue. People can edit those, so it is parsed as data.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from ops.core.clock import (
    format_age,
    format_optional,
    format_rfc3339,
    format_seconds,
    format_utc,
    parse_utc,
)
from ops.core.json_fields import mapping_in, mappings_in, text_in
from ops.core.run_record import escape_hidden

MAX_NAME = 100
MAX_LINK = 300
MAX_SECONDS = 7 * 24 * 3600.0
"""A drill that took longer is no result: every drill ends by itself before."""
_LINK = re.compile(r"https?://[^\s<>\"'()\[\]`|\\]+")


class DrillKind(StrEnum):
    """Where a drill ran."""

    SANDBOX = "sandbox"
    STAGING = "staging"


class DrillOutcome(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    NO_EVIDENCE = "no_evidence"
    STOPPED = "stopped"


@dataclass(frozen=True)
class DrillTime:
    """Time from the trigger of a drill to one of its ends, and its target, in seconds."""

    seconds: float | None = None
    """None: it is unknown, or the drill did not come so far."""
    target: float | None = None
    """None: ops.yml has no target."""

    @property
    def is_slow(self) -> bool:
        """Whether the time is known and above its target."""
        return self.seconds is not None and self.target is not None and self.seconds > self.target

    def __str__(self) -> str:
        """Return "64 s (target 60 s), slow" for people."""
        taken = "unknown" if self.seconds is None else format_seconds(self.seconds)
        target = "" if self.target is None else f" (target {format_seconds(self.target)})"
        return f"{taken}{target}{', slow' if self.is_slow else ''}"

    def to_json(self) -> dict[str, float | None]:
        return {"seconds": self.seconds, "target": self.target}


@dataclass(frozen=True)
class DrillResult:
    name: str
    """Runbook or scenario, such as rollback-worker."""
    kind: DrillKind
    environment: str
    service: str
    """Empty if the drill is not of one service."""
    started: datetime
    """UTC, in whole seconds."""
    outcome: DrillOutcome
    write: DrillTime = field(default_factory=DrillTime)
    """To the answered write."""
    verified: DrillTime = field(default_factory=DrillTime)
    """To healthy probes."""
    report: str = ""
    """URL of the report; empty without one."""

    @property
    def key(self) -> str:
        """Return the run id of its record: the same drill has the same one on every machine."""
        names = json.dumps([self.name, self.kind.value, self.environment, self.service])
        return f"drill-{self.started:%Y%m%dT%H%M%S}-{hashlib.sha256(names.encode()).hexdigest()[:12]}"

    @property
    def is_slow(self) -> bool:
        return self.write.is_slow or self.verified.is_slow

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind.value,
            "environment": self.environment,
            "service": self.service,
            "started": format_rfc3339(self.started),
            "outcome": self.outcome.value,
            "write": self.write.to_json(),
            "verified": self.verified.to_json(),
            "report": self.report,
        }


def parse_drill_result(data: Mapping[str, Any]) -> DrillResult | None:
    """Return the result in this JSON; None if a field is missing or malformed. A link that is no URL is left out."""
    texts = [text_in(data, name) for name in ("name", "environment", "service")]
    try:
        kind, outcome = DrillKind(text_in(data, "kind")), DrillOutcome(text_in(data, "outcome"))
        started = parse_utc(text_in(data, "started")).replace(microsecond=0)
        write, verified = (_parse_time(mapping_in(data, name)) for name in ("write", "verified"))
    except (ValueError, TypeError, OverflowError):
        return None
    if not texts[0] or any(len(each) > MAX_NAME or not each.isprintable() for each in texts):
        return None
    link = text_in(data, "report")
    report = link if len(link) <= MAX_LINK and _LINK.fullmatch(link) else ""
    name, environment, service = texts
    return DrillResult(name, kind, environment, service, started, outcome, write, verified, report)


def _parse_time(data: Mapping[str, Any]) -> DrillTime:
    """Return the time. Raises ValueError and TypeError for anything but seconds."""
    return DrillTime(*(_parse_seconds(data.get(name)) for name in ("seconds", "target")))


def _parse_seconds(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("no seconds")
    seconds = float(value)
    if not (math.isfinite(seconds) and 0 <= seconds <= MAX_SECONDS):
        raise ValueError("no seconds")
    return seconds


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
            age = format_age(self.read_at - result.started)
            yield f"the last staging drill was {age}; one is due every {DRILL_EVERY.days} days"
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
            "due_at": format_optional(self.due_at),
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
