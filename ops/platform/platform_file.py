"""Read `platform.json`, and judge its answers by the table of assumptions of this version."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field

from ops.config.strict_yaml import KeyPath, YamlDocument, read_yaml
from ops.config.types import ConfigModel, build_model, format_problems
from ops.core.clock import MAX_CLOCK_SKEW, parse_utc
from ops.core.errors import ConfigError
from ops.core.names import count_of, first_of
from ops.platform.measurements import Assumption, Measurement, MeasurementKind, read_assumptions
from ops.platform.report import SCHEMA

PLATFORM_FILE = "platform.json"
"""Name of the file that a team commits beside ops.yml."""
MOST_BYTES = 1_000_000
LONGER, ROUNDING, WORDS_ROUNDING = 1.0, 0.01, 0.1
"""Seconds by which a time may exceed that of the whole run, and by which a run rounds numbers and words."""
TIME = re.compile(r"(more than )?([0-9]{1,6}(?:\.[0-9])?) s")
MOST_PROBLEMS = 5
ID, VERSION = re.compile("[a-z0-9-]{1,60}"), re.compile(r"[0-9]{1,6}\.[0-9]{1,6}\.[0-9][0-9A-Za-z.+-]{0,20}")


def _require_measured_time(text: str) -> str:
    try:
        parse_utc(text)
    except ValueError:
        raise ValueError("not a time in UTC") from None
    return text


def _require_assumption_id(text: str) -> str:
    if not ID.fullmatch(text):
        raise ValueError("not the id of an assumption")
    return text


def _require_backout_version(text: str) -> str:
    if not VERSION.fullmatch(text):
        raise ValueError("not a version of Backout")
    return text


Answer = Annotated[str, Field(min_length=1, max_length=300)]
Time = Annotated[float, Field(ge=0, le=86400)]


class _ReadModel(ConfigModel):
    """A model that ignores the fields of a later version."""

    model_config = ConfigDict(extra="ignore")


class _AssumptionRow(_ReadModel):
    id: Annotated[str, AfterValidator(_require_assumption_id)]
    outcome: Literal["confirmed", "differs", "not_provable"]
    measured: Answer | None
    seconds: Time | None
    reason: Answer | None
    expected: Answer | None
    at_most: Time | None

    def find_contradiction(self, longest: float) -> str:
        """Return why the row is none that a run writes; empty if it is one."""
        kind = MeasurementKind(self.outcome)
        if kind is MeasurementKind.NOT_PROVABLE:
            return "" if self.reason and not self.measured else "not_provable with an answer, or without a reason"
        if not self.measured:
            return f"{self.outcome} without an answer"
        if self.seconds is not None and self.seconds > longest + LONGER:
            return "longer than the whole run"
        if self.at_most is not None and not self._has_time_in_words(longest):
            return "the time in words is not that of a run"
        if self.seconds is not None and self.at_most is not None and abs(self.seconds - self.at_most) <= ROUNDING:
            return ""  # rounded to the limit
        is_confirmed = _is_as_expected(self.measured, self.seconds, self.expected or "", self.at_most)
        if is_confirmed != (kind is MeasurementKind.CONFIRMED):
            return f"{self.outcome}, but the answer {'equals' if is_confirmed else 'is not'} the expected one"
        return ""

    def _has_time_in_words(self, longest: float) -> bool:
        """Return whether the words say the measured time, or one that had not ended during the run, or no time."""
        found = TIME.fullmatch(self.measured or "")
        if found is None:
            return self.seconds is None and not (self.measured or "").endswith(" s")
        if self.seconds is None:
            return bool(found[1]) and float(found[2]) <= longest + LONGER
        return not found[1] and abs(float(found[2]) - self.seconds) <= WORDS_ROUNDING


def _is_as_expected(measured: str, seconds: float | None, expected: str, at_most: float | None) -> bool:
    if at_most is None:
        return measured == expected
    return seconds is not None and seconds <= at_most


class _File(_ReadModel):
    schema_: int = Field(alias="schema")
    program: Annotated[str, AfterValidator(_require_backout_version)]
    at: Annotated[str, AfterValidator(_require_measured_time)]
    seconds: Time
    assumptions: Annotated[tuple[_AssumptionRow, ...], Field(min_length=1, max_length=1000)]


@dataclass(frozen=True)
class RecordedPlatform:
    """The answers of a platform when somebody measured it, judged by the assumptions of this version."""

    at: datetime
    program: str
    """Version that measured."""
    results: tuple[Measurement, ...]
    missing: tuple[Assumption, ...]
    """Assumptions with a check of which the file has no row: another version measured."""

    def of(self, kind: MeasurementKind) -> tuple[Measurement, ...]:
        return tuple(each for each in self.results if each.kind is kind)

    @property
    def unproved(self) -> tuple[Assumption, ...]:
        """Assumptions with a check that had no answer."""
        return tuple(each.assumption for each in self.of(MeasurementKind.NOT_PROVABLE) if each.assumption.check)


def read_platform_file(path: Path, now: datetime) -> RecordedPlatform | None:
    """Return what the file records; None if there is no file.

    Nothing of a file with a problem is used: a person may have changed it, or it is of another program.

    Raises:
        ConfigError: with the place of each problem.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror})",
            hint="Correct its permissions, or measure again with `ops verify-platform`.",
        ) from None
    if len(raw) > MOST_BYTES:
        raise _refuse_file(path, (f"{path}: more than {MOST_BYTES:,} bytes",))
    document = read_yaml(raw.decode("utf-8", errors="surrogateescape"))  # JSON is YAML too
    if not (isinstance(document.data, dict) and "schema" in document.data):
        problems = format_problems(path.name, document.problems) or (f"{path.name}:1: no result of verify-platform",)
        raise _refuse_file(path, problems)
    model, found = build_model(_File, document, _find_contradictions(document, now))
    if model is None or found:
        raise _refuse_file(path, format_problems(path.name, found))
    return _judge_file(model)


def _refuse_file(path: Path, problems: tuple[str, ...]) -> ConfigError:
    return ConfigError(
        f"{path.name} is not used: {count_of(len(problems), 'problem')}",
        hint="Measure again with `ops verify-platform`, or remove the file.",
        problems=tuple(first_of(problems, MOST_PROBLEMS)),
    )


def _find_contradictions(document: YamlDocument, now: datetime) -> Iterator[tuple[KeyPath, str]]:
    """Yield the place and text of each problem across fields, if the fields themselves are right."""
    try:
        file = _File.model_validate(document.data)
    except ValueError:
        return
    if file.schema_ != SCHEMA:
        yield ("schema",), f"this version of Backout reads {SCHEMA} only"
    if parse_utc(file.at) > now + MAX_CLOCK_SKEW:
        yield ("at",), "in the future"
    seen = set[str]()
    for number, row in enumerate(file.assumptions):
        place = ("assumptions", number)
        if row.id in seen:
            yield (*place, "id"), "named twice"
        seen.add(row.id)
        if contradiction := row.find_contradiction(file.seconds):
            yield (*place, "outcome"), contradiction


def _judge_file(file: _File) -> RecordedPlatform:
    rows, known = {each.id: each for each in file.assumptions}, read_assumptions()
    return RecordedPlatform(
        parse_utc(file.at),
        file.program,
        tuple(_judge_assumption_row(rows[each.id], each) for each in known if each.id in rows),
        tuple(each for each in known if each.check and each.id not in rows),
    )


def _judge_assumption_row(row: _AssumptionRow, assumption: Assumption) -> Measurement:
    if not row.measured:
        return Measurement(assumption, MeasurementKind.NOT_PROVABLE, reason=row.reason or "")
    is_confirmed = _is_as_expected(row.measured, row.seconds, assumption.expected, assumption.at_most)
    kind = MeasurementKind.CONFIRMED if is_confirmed else MeasurementKind.DIFFERS
    return Measurement(assumption, kind, row.measured, row.seconds)
