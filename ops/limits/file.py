"""What `limits.yml` may say (docs/how-to/propose-limits.md)."""

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, RootModel, ValidationError, WithJsonSchema

from ops.config.messages import build_model, format_problems
from ops.config.strict_yaml import ConfigProblem, KeyPath, read_yaml
from ops.config.types import ConfigModel, Text
from ops.core.clock import format_duration, format_utc, parse_utc
from ops.core.errors import ConfigError
from ops.core.runtime_contract import AI_SWITCH
from ops.core.suggestions import did_you_mean

MOST_AHEAD = timedelta(days=14)
MOST_TIMES = 10
LARGEST = 1_000_000


def _moment(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    try:
        return parse_utc(value)
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise ValueError('not a moment in UTC; write it in quotes, as "2026-11-25T06:00:00Z"') from None


Moment = Annotated[datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})]


class Temporary(ConfigModel):
    """Takes the place of the limit until a moment; nobody has to take it back."""

    limit: int = Field(ge=1, le=LARGEST)
    until: Moment
    reason: Text
    incident: int | None = Field(default=None, ge=1)

    def is_over(self, now: datetime) -> bool:
        return self.until <= now


class Limit(ConfigModel):
    """`limit` requests within `period` seconds, for each `key`."""

    limit: int = Field(ge=1, le=LARGEST)
    period: int = Field(ge=1, le=86_400)
    key: Literal["ip", "user"]
    probe: bool = False
    override: Text | None = None
    temporary: Temporary | None = None

    def effective(self, now: datetime) -> int:
        """Requests within the period at that moment."""
        return self.limit if self.temporary is None or self.temporary.is_over(now) else self.temporary.limit

    def times(self, other: "Limit", limit: int) -> float:
        """How many times the permanent value of `other` a `limit` here is: in requests at once, or over time."""
        return max(self._ratios(other, limit))

    def part(self, other: "Limit", limit: int) -> float:
        """The part of the permanent value of `other` that a `limit` here is: in requests at once, or over time."""
        return min(self._ratios(other, limit))

    def _ratios(self, other: "Limit", limit: int) -> tuple[float, float]:
        return limit / other.limit, limit * other.period / (other.limit * self.period)


class _File(RootModel[Annotated[Mapping[str, Limit], Field(min_length=1, max_length=1000)]]):
    """Limit → its values."""


Limits = Mapping[str, Limit]


def parse(
    text: str,
    *,
    path: str,
    names: Collection[str],
    now: datetime,
    base: Limits | None = None,
) -> tuple[dict[str, Limit], tuple[str, ...]]:
    """The limits and the warnings; ConfigError with every problem at once, each with its line.

    `names` are those that ops.yml knows. With a `base` what is new against it is held to the rules for a change;
    without one a temporary limit that is past is a warning only.
    """
    document = read_yaml(text)
    found = [*_findings(document.data, names, now, base)] if document.complete else []
    model, problems = build_model(_File, document, [(where, text) for where, text, is_wrong in found if is_wrong])
    if model is None or problems:
        raise ConfigError(
            f"{path} has {len(problems)} problem{'s' if len(problems) > 1 else ''}",
            hint="Correct every line named here, then run `ops limits plan`.",
            problems=format_problems(path, problems),
        )
    warnings = [ConfigProblem(document.line(where), where, text) for where, text, is_wrong in found if not is_wrong]
    return dict(model.root), format_problems(path, warnings)


def _findings(
    data: Any, names: Collection[str], now: datetime, base: Limits | None
) -> Iterator[tuple[KeyPath, str, bool]]:
    """Place, text, and whether it is wrong or a warning: what no single model can see."""
    for name, value in data.items() if isinstance(data, dict) else ():
        if name not in names:
            yield (name,), f"no limit of that name in ops.yml{did_you_mean(name, names)}", True
        if name == AI_SWITCH and isinstance(value, dict) and value.get("probe") is True:
            yield (name, "probe"), "a probe of it would ask for paid answers; leave probe out", True
        try:
            limit = Limit.model_validate(value)
        except ValidationError:  # told by the models, with its place
            continue
        was = base.get(name) if base is not None else None
        yield from steps(name, limit, was)
        yield from _until(name, limit, was, now, has_base=base is not None)


def steps(name: str, limit: Limit, was: Limit | None) -> Iterator[tuple[KeyPath, str, bool]]:
    """Place, text, and whether it is wrong: a step up that is too large, or a warning about a large step down.

    An `override` that stood there before was for another change.
    """
    if was is None or (limit.override is not None and limit.override != was.override):
        return
    wanted: dict[KeyPath, int] = {(name, "limit"): limit.limit}
    if limit.temporary is not None:
        wanted[(name, "temporary", "limit")] = limit.temporary.limit
    before = {was.limit, was.temporary.limit if was.temporary else was.limit} if was.period == limit.period else set()
    for where, value in wanted.items():
        if value not in before and limit.times(was, value) > MOST_TIMES:
            text = f"more than {MOST_TIMES} times the {was.limit} in {was.period} s that it is now"
            yield where, f"{text}; write less, or why under a new override of {name}", True
        elif value not in before and limit.part(was, value) <= 1 / MOST_TIMES:
            yield where, f"{value} is a tenth or less of the {was.limit} in {was.period} s that it is now", False


def _until(
    name: str, limit: Limit, was: Limit | None, now: datetime, *, has_base: bool
) -> Iterator[tuple[KeyPath, str, bool]]:
    if limit.temporary is None:
        return
    until, where = limit.temporary.until, (name, "temporary", "until")
    if until > now + MOST_AHEAD:
        latest = format_utc(now + MOST_AHEAD)
        yield (
            where,
            f"more than {format_duration(MOST_AHEAD.total_seconds())} ahead; write {latest} at the latest",
            True,
        )
    elif until <= now:
        is_old = was is not None and was.temporary is not None and was.temporary.until == until
        is_wrong = has_base and not is_old
        text = "past; write a moment to come" if is_wrong else "past, so that it has no effect; take temporary out"
        yield where, text, is_wrong
