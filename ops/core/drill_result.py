"""The result of one finished drill, and its JSON.

The JSON is persisted in hidden records of the tracking issue. People can edit those, so it is parsed as data.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from ops.core.clock import format_duration, format_rfc3339, parse_utc
from ops.core.tolerant_json import mapping_in, text_in

MAX_NAME = 100
MAX_LINK = 300
MAX_SECONDS = 7 * 24 * 3600.0
"""A drill that took longer is no result: every drill ends by itself before."""
LONG = 600.0
"""Seconds from which minutes are precise enough."""
_LINK = re.compile(r"https?://[^\s<>\"'()\[\]`|\\]+")


def format_seconds(seconds: float) -> str:
    """Return seconds for people, so that those above a target differ from it: 3.1 s, 64 s, 12 min."""
    return f"{seconds:.0f} s" if 10 <= seconds < LONG else format_duration(seconds)


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
