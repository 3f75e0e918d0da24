"""The table of assumptions, which `assumptions.toml` holds as data."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Assumption:
    """What Backout assumes about a provider. It has either an expected answer, a longest time, or a reason."""

    id: str
    text: str
    source: str
    """Page or thread; "unsure" if nobody documents it."""
    reads: tuple[str, ...] = ()
    """Declared reads, such as `GET /accounts`, whose answers must have the declared types."""
    switches: tuple[str, ...] = ()
    """Fields of `sandbox/switches.py` that play other answers."""
    plays: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    """Measured answer → values of switches by which a drill plays it, such as `name=true`. `#` is a number: with
    `name>=#`, it never makes the value less than the default. Empty: the default is harder, and stays."""
    expected: str = ""
    """Answer in the words of its check."""
    at_most: float | None = None
    """Longest time in seconds that runbooks wait."""
    check: str = ""
    """Step of a run that checks it; empty if none can."""
    reason: str = ""
    """Why no run can check it, with its source."""
    runbooks: tuple[str, ...] = ()
    """Runbooks that end wrong or fail if it differs. None: they work under both answers."""


@cache
def read_assumptions() -> tuple[Assumption, ...]:
    table = tomllib.loads(Path(__file__).with_name("assumptions.toml").read_text(encoding="utf-8"))
    return tuple(_parse_assumption(row) for row in table["assumption"])


def _parse_assumption(row: dict[str, Any]) -> Assumption:
    lists = {name: tuple(row.get(name, ())) for name in ("reads", "switches", "runbooks")}
    expected = "the declared shape" if row.get("reads") and row.get("check") else row.get("expected", "")
    plays = {answer: tuple(values) for answer, values in row.get("plays", {}).items()}
    return Assumption(**{**row, **lists, "expected": expected, "plays": plays})
