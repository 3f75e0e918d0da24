"""What of `limits.yml` an application reads in KV, under `ops/limits` (docs/reference/runtime-contract.md)."""

import json
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from ops.core.clock import format_rfc3339, parse_utc
from ops.core.runtime_contract import CONTRACT_VERSION

if TYPE_CHECKING:
    from ops.limits.file import Limit, Limits


class Value(NamedTuple):
    """What stands in KV under `ops/limits`."""

    text: str
    revision: str
    limits: Mapping[str, Any]


class NewerVersionError(ValueError):
    """A later program than this one wrote it."""


def value_of(limits: "Limits", commit: str, now: datetime) -> Value:
    """What belongs into KV at that moment: without what is past, reasons and incidents. `commit` is a whole SHA."""
    values = {name: _as_read(limit, now) for name, limit in limits.items()}
    digest = sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    revision = f"{commit[:12]}-{digest[:8]}"
    return Value(json.dumps({"version": CONTRACT_VERSION, "revision": revision, "limits": values}), revision, values)


def _as_read(limit: "Limit", now: datetime) -> dict[str, Any]:
    shown: dict[str, Any] = {"limit": limit.limit, "period": limit.period, "key": limit.key}
    if limit.probe:
        shown["probe"] = True
    if limit.temporary is not None and not limit.temporary.is_over(now):
        shown["temporary"] = {"limit": limit.temporary.limit, "until": format_rfc3339(limit.temporary.until)}
    return shown


def parse_value(text: str) -> Value:
    """Raises ValueError where it is none of ours, and NewerVersionError where it may be."""
    try:
        found = json.loads(text)
        version, revision, limits = found["version"], str(found["revision"]), found["limits"].items()
        values = {str(name): {**value, "limit": int(value["limit"])} for name, value in limits}
        is_newer, is_ours = version > CONTRACT_VERSION, version == CONTRACT_VERSION
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"no value of the limits ({type(error).__name__})") from None
    if is_newer:
        raise NewerVersionError(f"version {version} of the contract, and this program knows {CONTRACT_VERSION}")
    if not is_ours:
        raise ValueError("no value of the limits")
    return Value(text, revision, values)


def limits_of(value: Value) -> "dict[str, Limit]":
    """The limits of a value as limits.yml would have them, without what cannot be understood."""
    from pydantic import ValidationError

    from ops.limits.file import Limit

    found = {}
    for name, each in value.limits.items():
        temporary = each.get("temporary")
        reasoned = {"temporary": {**temporary, "reason": "as applied"}} if isinstance(temporary, Mapping) else {}
        try:
            found[name] = Limit.model_validate({**each, **reasoned})
        except ValidationError:
            continue
    return found


def without_what_is_past(limits: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The limits of a value as they would be written now. What is not understood stays as it is."""
    return {
        name: {key: value for key, value in each.items() if key != "temporary" or not _is_past(value, now)}
        for name, each in limits.items()
    }


def _is_past(temporary: Any, now: datetime) -> bool:
    try:
        return parse_utc(temporary["until"]) <= now
    except (LookupError, TypeError, ValueError, AttributeError):
        return False
