"""The value of `limits.yml` in KV under `ops/limits` (docs/reference/runtime-contract.md)."""

import json
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from ops.core.clock import format_rfc3339, parse_utc
from ops.core.runtime_contract import CONTRACT_VERSION

if TYPE_CHECKING:
    from ops.limits.file import Limit, Limits


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


def parse_value(text: str) -> LimitsValue:
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

    from ops.limits.file import Limit

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
        name: {key: value for key, value in each.items() if key != "temporary" or not _has_ended(value, now)}
        for name, each in limits.items()
    }


def _has_ended(temporary: Any, now: datetime) -> bool:
    try:
        return parse_utc(temporary["until"]) <= now
    except (LookupError, TypeError, ValueError, AttributeError):
        return False
