"""Parse, check and edit `limits.yml`, read its history, and build its value in KV.

An edit keeps comments and other values: the parsed content before and after is compared at the end. The history is that
of the default branch. The value has the key `ops/limits` (docs/reference/runtime-contract.md,
docs/how-to/propose-limits.md).
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cache
from hashlib import sha256
from typing import Annotated, Any, Literal, NamedTuple

import yaml
from pydantic import BeforeValidator, Field, RootModel, ValidationError, WithJsonSchema

from ops.config.strict_yaml import (
    ConfigProblem,
    Edit,
    KeyPath,
    apply_edits,
    find_child,
    insert_key,
    read_yaml,
    replace_node,
)
from ops.config.types import ConfigModel, Text, build_model, format_problems
from ops.core.clock import format_duration, format_rfc3339, format_utc, parse_utc
from ops.core.errors import ConfigError, OpsError, Reason, Refused
from ops.core.names import LIMITS_FILE, RAISE_BRANCH, count_of, did_you_mean
from ops.core.runtime_contract import AI_SWITCH, CONTRACT_VERSION, LIMITS_KEY
from ops.github.pulls import FileState

MAX_AHEAD = timedelta(days=14)
MAX_STEP = 10
MAX_LIMIT = 1_000_000
RESTORABLE = timedelta(days=30)
"""A value that was in effect within this time may be restored without `override`."""


def _parse_limit_time(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    try:
        return parse_utc(value)
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise ValueError('not a time in UTC; write it in quotes, such as "2026-11-25T06:00:00Z"') from None


UtcTime = Annotated[
    datetime, BeforeValidator(_parse_limit_time), WithJsonSchema({"type": "string", "format": "date-time"})
]


class Temporary(ConfigModel):
    """Replaces the limit until `until`, and then ends automatically."""

    limit: int = Field(ge=1, le=MAX_LIMIT)
    """Number of requests within the period, meanwhile."""
    until: UtcTime
    """End in UTC, at most 14 days ahead. The Worker ends it by its own clock."""
    reason: Text
    """Reason, for people."""
    incident: int | None = Field(default=None, ge=1)
    """Incident issue, for people."""

    def is_over(self, now: datetime) -> bool:
        return self.until <= now

    def is_same(self, other: "Temporary | None") -> bool:
        """Return whether both are the same raise. KV holds neither reason nor incident."""
        return other is not None and (self.limit, self.until) == (other.limit, other.until)


class Limit(ConfigModel):
    """Allows `limit` requests within `period` seconds for each `key`."""

    limit: int = Field(ge=1, le=MAX_LIMIT)
    """Number of requests within the period, at most 1,000,000."""
    period: int = Field(ge=1, le=86_400)
    """Seconds, at most 86,400."""
    key: Literal["ip", "user"]
    """Counted for each `ip`, or each signed-in `user` (the address if nobody is signed in)."""
    probe: bool = False
    """Prove it after a change with up to twice as many requests, counted apart. Not for `ai`, which costs money."""
    override: Text | None = None
    """Reason for a change to more than ten times the value. Valid for the change that adds or rewords it."""
    temporary: Temporary | None = None
    """Value that replaces `limit` until its end."""

    def effective(self, now: datetime) -> int:
        """Return the allowed requests within the period at `now`."""
        return self.limit if self.temporary is None or self.temporary.is_over(now) else self.temporary.limit

    def restores(self, limit: int, earlier: "Limit") -> bool:
        """Return whether `limit` was the permanent value in `earlier`, counted in the same way."""
        return (limit, self.period, self.key) == (earlier.limit, earlier.period, earlier.key)

    def times(self, other: "Limit", limit: int) -> float:
        """Return the larger ratio of `limit` to the permanent value of `other`: burst or rate."""
        return max(self._limit_ratios(other, limit))

    def part(self, other: "Limit", limit: int) -> float:
        """Return the smaller ratio of `limit` to the permanent value of `other`: burst or rate."""
        return min(self._limit_ratios(other, limit))

    def _limit_ratios(self, other: "Limit", limit: int) -> tuple[float, float]:
        return limit / other.limit, limit * other.period / (other.limit * self.period)


class _LimitsFile(RootModel[Annotated[Mapping[str, Limit], Field(min_length=1, max_length=1000)]]):
    """Maps each limit's name to its values."""


Limits = Mapping[str, Limit]
EarlierLimits = Callable[[], Sequence[Limits]]
"""Reads the limits that were in effect within RESTORABLE. Called only if a step is too large."""


def parse_limits(
    text: str,
    *,
    path: str,
    names: Collection[str],
    now: datetime,
    base: Limits | None = None,
    earlier: EarlierLimits = tuple,
) -> tuple[dict[str, Limit], tuple[str, ...]]:
    """Return the limits and the warnings.

    `names` are the limits in ops.yml. With a `base`, differences must follow the rules for a change; a large step may
    restore a value of `earlier`. Without one, a temporary limit in the past is only a warning.

    Raises:
        ConfigError: with all problems at once, each with its line.
    """
    document = read_yaml(text)
    notes = [*_check_limits(document.data, names, now, base, earlier)] if document.complete else []
    model, problems = build_model(_LimitsFile, document, [(where, text) for where, text, is_wrong in notes if is_wrong])
    if model is None or problems:
        raise ConfigError(
            f"{path} has {count_of(len(problems), 'problem')}",
            hint="Correct these lines, then run `ops limits plan`.",
            problems=format_problems(path, problems),
        )
    warnings = [ConfigProblem(document.line(where), where, text) for where, text, is_wrong in notes if not is_wrong]
    return dict(model.root), format_problems(path, warnings)


def read_limits(text: str) -> dict[str, Limit]:
    """Return the valid limits of a former limits.yml, without the malformed ones."""
    data, limits = read_yaml(text).data, {}
    for name, value in data.items() if isinstance(data, dict) else ():
        with suppress(ValidationError):
            limits[name] = Limit.model_validate(value)
    return limits


def _check_limits(
    data: Any, names: Collection[str], now: datetime, base: Limits | None, earlier: EarlierLimits
) -> Iterator[tuple[KeyPath, str, bool]]:
    """Yield (place, text, is_error) of the checks that span several values."""
    for name, value in data.items() if isinstance(data, dict) else ():
        if name not in names:
            yield (name,), f"unknown limit; ops.yml does not list it{did_you_mean(name, names)}", True
        if name == AI_SWITCH and isinstance(value, dict) and value.get("probe") is True:
            yield (name, "probe"), "a probe would request paid AI answers; remove `probe`", True
        try:
            limit = Limit.model_validate(value)
        except ValidationError:  # the model reports it with its place
            continue
        was = base.get(name) if base is not None else None
        yield from check_steps(name, limit, was, earlier)
        yield from _check_end(name, limit, was, now, has_base=base is not None)


def check_steps(
    name: str, limit: Limit, was: Limit | None, earlier: EarlierLimits = tuple
) -> Iterator[tuple[KeyPath, str, bool]]:
    """Yield (place, text, is_error): an error for a step up that is too large, a warning for a large step down.

    An `override` allows the step, but only if it is new: an old one was for another change. So does an earlier value.
    """
    if was is None or (limit.override is not None and limit.override != was.override):
        return
    proposed: dict[KeyPath, int] = {(name, "limit"): limit.limit}
    if limit.temporary is not None:
        proposed[(name, "temporary", "limit")] = limit.temporary.limit
    before = {was.limit, was.temporary.limit if was.temporary else was.limit} if was.period == limit.period else set()
    for where, value in proposed.items():
        if value not in before and limit.times(was, value) > MAX_STEP:
            if any(limit.restores(value, one[name]) for one in earlier() if name in one):
                yield where, f"{value} restores a value of the last {RESTORABLE.days} days", False
                continue
            text = f"more than {MAX_STEP} times the current {was.limit} in {was.period} s"
            yield where, f"{text}; use a smaller value, or set a new `override` of {name} with the reason", True
        elif value not in before and limit.part(was, value) <= 1 / MAX_STEP:
            yield where, f"{value} is a tenth or less of the current {was.limit} in {was.period} s", False


def _check_end(
    name: str, limit: Limit, was: Limit | None, now: datetime, *, has_base: bool
) -> Iterator[tuple[KeyPath, str, bool]]:
    if limit.temporary is None:
        return
    until, where = limit.temporary.until, (name, "temporary", "until")
    if until > now + MAX_AHEAD:
        latest = format_utc(now + MAX_AHEAD)
        yield (
            where,
            f"more than {format_duration(MAX_AHEAD.total_seconds())} ahead; use {latest} or earlier",
            True,
        )
    elif until <= now:
        is_old = was is not None and was.temporary is not None and was.temporary.until == until
        is_wrong = has_base and not is_old
        text = "in the past; use a future time" if is_wrong else "in the past, without effect; remove `temporary`"
        yield where, text, is_wrong


def earlier_limits(read: Callable[[], Sequence[FileState]], now: datetime) -> EarlierLimits:
    """Return a function that reads the limits in effect within RESTORABLE, once. Unreadable history has none."""

    @cache
    def find_past_limits() -> tuple[Limits, ...]:
        try:
            return accepted_limits(read(), now)
        except OpsError:
            return ()

    return find_past_limits


def accepted_limits(states: Sequence[FileState], now: datetime) -> tuple[Limits, ...]:
    """Return the limits of those states that applied within RESTORABLE, oldest first like `states`.

    A state with too large a step from the one before was refused, and counts as never applied.
    """
    applied: list[Limits] = []
    recent: list[Limits] = []
    for state, after in zip(states, [*states[1:], None], strict=True):
        limits = read_limits(state.text)
        before = applied[-1] if applied else {}
        steps = (check_steps(name, limit, before.get(name), lambda: applied) for name, limit in limits.items())
        if any(is_wrong for step in steps for _, _, is_wrong in step):
            continue
        applied.append(limits)
        if after is None or after.at >= now - RESTORABLE:
            recent.append(limits)
    return tuple(recent)


def is_own_raise(name: str, entry: Temporary, states: Sequence[FileState]) -> bool:
    """Return whether a merge of propose-limits added the entry. The states are oldest first; the last one has it."""
    branch = ""
    for state in reversed(states):
        limit = read_limits(state.text).get(name)
        if limit is None or limit.temporary != entry:
            break
        branch = state.branch
    return branch.startswith(RAISE_BRANCH)


def build_patch(before: str, after: str) -> tuple[str, ...]:
    """Return the lines of a unified diff that `git apply` accepts."""
    import difflib  # here, because only a proposal needs it

    lines = before.splitlines(), after.splitlines()
    return tuple(difflib.unified_diff(*lines, f"a/{LIMITS_FILE}", f"b/{LIMITS_FILE}", lineterm=""))


def set_temporary_limits(text: str, planned: Mapping[str, Temporary]) -> str:
    """Set temporary limits in `text`, a valid limits.yml with all of these names. Raises Refused if that is unsafe."""
    root: Any = yaml.compose(text, Loader=yaml.SafeLoader)  # in Python: its marks count characters
    limits = {key.value: value for key, value in root.value}
    edits = [edit for name, temporary in planned.items() for edit in _edit_limit(text, limits[name], temporary)]
    edited = apply_edits(text, edits)
    if not _is_edit_correct(text, edited, planned):
        raise Refused(
            f"cannot edit {LIMITS_FILE} without changing other values",
            reason=Reason.CONFIG_INVALID,
            hint="Edit the temporary limits by hand, and open a pull request.",
        )
    return edited


def _edit_limit(text: str, limit: Any, temporary: Temporary) -> Iterator[Edit]:
    fields = _yaml_fields(temporary)
    child = find_child(limit, "temporary")
    if child is None:
        yield insert_key(text, limit, "temporary", _limit_flow_mapping(fields))
    elif isinstance(child, yaml.MappingNode):
        for key, value in fields.items():
            there = find_child(child, key)
            if there is not None:
                yield replace_node(text, there, value)
            elif value != "null":
                yield insert_key(text, child, key, value)
    else:
        yield replace_node(text, child, _limit_flow_mapping(fields))


def _yaml_fields(temporary: Temporary) -> dict[str, str]:
    """Return each value as JSON, which is valid YAML."""
    values = {
        "limit": temporary.limit,
        "until": format_rfc3339(temporary.until),
        "reason": temporary.reason,
        "incident": temporary.incident,
    }
    return {key: json.dumps(value, ensure_ascii=False) for key, value in values.items()}


def _limit_flow_mapping(fields: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in fields.items() if value != "null") + "}"


def _is_edit_correct(before: str, after: str, planned: Mapping[str, Temporary]) -> bool:
    was, now = read_yaml(before), read_yaml(after)
    if now.problems or not now.complete:
        return False
    expected = {**was.data, **{name: {**was.data[name], "temporary": None} for name in planned}}
    actual = {**now.data, **{name: {**now.data[name], "temporary": None} for name in planned}}
    temporary = {name: Limit.model_validate(now.data[name]).temporary for name in planned}
    return bool(expected == actual and [*was.data] == [*now.data] and temporary == dict(planned))


class LimitsValue(NamedTuple):
    """Parsed or built value of `ops/limits` in KV."""

    text: str
    revision: str
    limits: Mapping[str, Any]


class NewerVersionError(ValueError):
    """A newer version of Backout wrote the value."""


def build_value(limits: "Limits", commit: str, now: datetime) -> LimitsValue:
    """Build the value for KV at `now`, without ended limits, reasons and incidents. `commit` is a full SHA."""
    values = {name: _limit_value(limit, now) for name, limit in limits.items()}
    digest = sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    revision = f"{commit[:12]}-{digest[:8]}"
    return LimitsValue(
        json.dumps({"version": CONTRACT_VERSION, "revision": revision, "limits": values}), revision, values
    )


def _limit_value(limit: "Limit", now: datetime) -> dict[str, Any]:
    value: dict[str, Any] = {"limit": limit.limit, "period": limit.period, "key": limit.key}
    if limit.probe:
        value["probe"] = True
    if limit.temporary is not None and not limit.temporary.is_over(now):
        value["temporary"] = {"limit": limit.temporary.limit, "until": format_rfc3339(limit.temporary.until)}
    return value


def parse_limits_value(text: str) -> LimitsValue:
    """Parse a value from KV.

    Raises:
        NewerVersionError: a newer version of Backout wrote it.
        ValueError: it is not a value of the limits.
    """
    try:
        content = json.loads(text)
        version, revision, limits = content["version"], str(content["revision"]), content["limits"].items()
        values = {str(name): {**value, "limit": int(value["limit"])} for name, value in limits}
        is_newer, is_ours = version > CONTRACT_VERSION, version == CONTRACT_VERSION
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a value of the limits ({type(error).__name__})") from None
    if is_newer:
        raise NewerVersionError(f"version {version} of the runtime contract; this program supports {CONTRACT_VERSION}")
    if not is_ours:
        raise ValueError("not a value of the limits")
    return LimitsValue(text, revision, values)


def value_limits(value: LimitsValue) -> "dict[str, Limit]":
    """Return the limits of a value in the form of limits.yml; skip malformed ones."""
    from pydantic import ValidationError

    limits = {}
    for name, each in value.limits.items():
        temporary = each.get("temporary")
        reasoned = {"temporary": {**temporary, "reason": "as applied"}} if isinstance(temporary, Mapping) else {}
        try:
            limits[name] = Limit.model_validate({**each, **reasoned})
        except ValidationError:
            continue
    return limits


def drop_ended(limits: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return the limits of a value without ended temporary limits; malformed ones stay unchanged."""
    return {
        name: {key: value for key, value in each.items() if key != "temporary" or not _has_temporary_ended(value, now)}
        for name, each in limits.items()
    }


def _has_temporary_ended(temporary: Any, now: datetime) -> bool:
    try:
        return parse_utc(temporary["until"]) <= now
    except (LookupError, TypeError, ValueError, AttributeError):
        return False


def parse_stored_limits(text: str | None) -> tuple[LimitsValue | None, str]:
    """Return the value in KV, or its description if it is malformed. Raises Refused for a newer version."""
    if text is None:
        return None, ""
    try:
        return parse_limits_value(text), ""
    except NewerVersionError as error:
        raise Refused(
            f"{LIMITS_KEY} in KV has {error}", reason=Reason.UNKNOWN_VALUE, hint="Update Backout, then run this again."
        ) from None
    except ValueError as error:
        return None, f"malformed text: {error}"
