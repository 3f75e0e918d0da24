"""Durations: written `500ms`, `10s`, `5m`, `2h`; held as seconds."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_WRITTEN = re.compile(r"(0|[1-9][0-9]{0,8})(ms|s|m|h)")


def seconds(text: str) -> float:
    """Seconds of `10m`. ValueError with a sentence for people."""
    match = _WRITTEN.fullmatch(text)
    if match is None:
        raise ValueError("not a duration; write a whole number and ms, s, m or h, such as 500ms or 10m")
    return int(match[1]) * _UNITS[match[2]]


def written(duration: float) -> str:
    """`10m` of 600.0: in the largest unit that divides it."""
    milliseconds = round(duration * 1000)
    for unit, size in _UNITS.items():
        count, rest = divmod(milliseconds, round(size * 1000))
        if not rest and count:
            return f"{count}{unit}"
    return "0s"


def between(least: str, most: str) -> AfterValidator:
    """Bounds, both included, for a field of type `Seconds`."""
    bounds = seconds(least), seconds(most)

    def check(duration: float) -> float:
        if not bounds[0] <= duration <= bounds[1]:
            raise ValueError(f"{written(duration)} is out of range; write {least} to {most}")
        return duration

    return AfterValidator(check)


def _read(value: Any) -> Any:
    if isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool)):
        raise ValueError("a number without a unit; write 10s or 10m")  # noqa: TRY004 - pydantic collects ValueErrors
    return seconds(value if isinstance(value, str) else "")


Seconds = Annotated[
    float, BeforeValidator(_read), WithJsonSchema({"type": "string", "pattern": f"^{_WRITTEN.pattern}$"})
]


def duration_field(default: str, description: str) -> Any:
    """A pydantic field with a default as people write it; the JSON Schema shows it so as well."""
    return Field(default=seconds(default), description=description, json_schema_extra={"default": default})
