"""The KV values that an application reads, and its answer at /__ops/runtime.

See docs/reference/runtime-contract.md.

What the public endpoint answers is an application's: it is parsed in full, or counts as not understood.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from ops.core.clock import format_rfc3339, parse_utc

CONTRACT_VERSION = 1
"""Of the values in KV and of the public endpoint."""
RUNTIME_PATH = "/__ops/runtime"
LIMIT_PROBE_PATH = "/__ops/limits/"
LIMITS_KEY = "ops/limits"
SWITCH_KEY_PREFIX = "ops/switch/"
AI_SWITCH, MAINTENANCE_SWITCH = "ai", "maintenance"
"""The switches whose states the contract fixes."""


@dataclass(frozen=True)
class SwitchValue:
    """The value of one switch. `until` ends it by the Worker's own clock; `review_at` is for people alone."""

    state: str
    owner: str
    incident: int | None
    since: datetime
    revision: str
    until: datetime | None = None
    review_at: datetime | None = None
    message: str = ""
    paths: tuple[str, ...] = ()

    def is_over(self, now: datetime) -> bool:
        return self.until is not None and self.until <= now

    def to_json(self) -> str:
        moments = {name: _moment(getattr(self, name)) for name in ("since", "until", "review_at")}
        return json.dumps({"version": CONTRACT_VERSION, **asdict(self), **moments}, ensure_ascii=False)


def make_revision(run: str, key: str) -> str:
    """New with each write, and says nothing to whoever sees it."""
    return sha256(f"{run} {key}".encode()).hexdigest()[:12]


def parse_switch_value(text: str) -> SwitchValue:
    """Raises ValueError where it is none of ours, or of a version that this program does not know."""
    value = _object(text)
    try:
        if value["version"] != CONTRACT_VERSION:
            raise ValueError(f"version {value['version']}")
        incident = value["incident"]
        return SwitchValue(
            state=_text(value["state"]),
            owner=_text(value["owner"]),
            incident=None if incident is None else int(incident),
            since=parse_utc(value["since"]),
            revision=_text(value["revision"]),
            until=None if value["until"] is None else parse_utc(value["until"]),
            review_at=None if value["review_at"] is None else parse_utc(value["review_at"]),
            message=_text(value["message"]),
            paths=tuple(_text(path) for path in value["paths"]),
        )
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"no value of a switch ({type(error).__name__})") from None


@dataclass(frozen=True)
class ReportedLimit:
    limit: int
    period: int
    """Seconds."""
    key: str
    until: datetime | None = None
    """When this temporary value ends."""


@dataclass(frozen=True)
class ReportedSwitch:
    state: str
    revision: str | None
    until: datetime | None = None


@dataclass(frozen=True)
class ProviderOutcomes:
    """What the application saw of a provider, within `seconds` before it was asked."""

    ok: int
    failed: int


@dataclass(frozen=True)
class ReportedAi:
    seconds: int
    order: tuple[str, ...]
    outcomes: Mapping[str, ProviderOutcomes]


@dataclass(frozen=True)
class RuntimeState:
    """What is in effect at the location that answered, and at no other."""

    worker: str
    """The version that answered."""
    revision: str | None
    """Of the limits; None: those that the code declares."""
    limits: Mapping[str, ReportedLimit] = field(default_factory=dict)
    switches: Mapping[str, ReportedSwitch] = field(default_factory=dict)
    ai: ReportedAi | None = None


def parse_runtime_state(text: str) -> RuntimeState:
    """Raises ValueError with what is wrong."""
    document = _object(text)
    try:
        if document["contract"] != CONTRACT_VERSION:
            raise ValueError(
                f"it follows version {document['contract']} of the contract, and this program knows {CONTRACT_VERSION}"
            )
        limits, ai = document.get("limits") or {}, document.get("ai")
        return RuntimeState(
            worker=_text(document.get("worker") or ""),
            revision=limits.get("revision"),
            limits={name: _limit(value) for name, value in (limits.get("values") or {}).items()},
            switches={name: _switch(value) for name, value in (document.get("switches") or {}).items()},
            ai=None if ai is None else _ai(ai),
        )
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"it is no document of the runtime contract ({type(error).__name__})") from None


def _limit(value: Mapping[str, Any]) -> ReportedLimit:
    return ReportedLimit(int(value["limit"]), int(value["period"]), _text(value["key"]), _until(value))


def _switch(value: Mapping[str, Any]) -> ReportedSwitch:
    return ReportedSwitch(_text(value["state"]), value.get("revision"), _until(value))


def _ai(value: Mapping[str, Any]) -> ReportedAi:
    seen = {name: ProviderOutcomes(int(each["ok"]), int(each["failed"])) for name, each in value["outcomes"].items()}
    return ReportedAi(int(value["seconds"]), tuple(_text(name) for name in value["order"]), seen)


def _until(value: Mapping[str, Any]) -> datetime | None:
    return parse_utc(value["until"]) if value.get("until") else None


def _moment(value: datetime | None) -> str | None:
    return None if value is None else format_rfc3339(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(type(value))
    return value


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004  one kind of error for whoever asks
    return value
