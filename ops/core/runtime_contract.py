"""Values that an application reads in KV, and the state that it reports at /__ops/runtime.

Documented in docs/reference/runtime-contract.md. A report of the application is parsed completely or rejected.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from ops.core.clock import format_rfc3339, parse_utc

CONTRACT_VERSION = 1
"""Version of the values in KV and of the public endpoint."""
RUNTIME_PATH = "/__ops/runtime"
LIMIT_PROBE_PATH = "/__ops/limits/"
LIMITS_KEY = "ops/limits"
SWITCH_KEY_PREFIX = "ops/switch/"
AI_SWITCH, MAINTENANCE_SWITCH = "ai", "maintenance"
"""Names of the switches whose states the contract defines."""
UNTIL_RUN_ENDS = ", until its run ends"
"""End of the owner of a value that the run itself ends, as a restore does with its maintenance."""


@dataclass(frozen=True)
class SwitchValue:
    """Value of a switch in KV. The Worker ends it at `until`; `review_at` only reminds people."""

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
        """Return whether its end has passed."""
        return self.until is not None and self.until <= now

    @property
    def ends_with_run(self) -> bool:
        return self.owner.endswith(UNTIL_RUN_ENDS)

    def to_json(self) -> str:
        """Return the JSON text that KV stores."""
        moments = {name: _format_moment(getattr(self, name)) for name in ("since", "until", "review_at")}
        return json.dumps({"version": CONTRACT_VERSION, **asdict(self), **moments}, ensure_ascii=False)


def make_revision(run: str, key: str) -> str:
    """Return a short id of one write, from which the run cannot be guessed."""
    return sha256(f"{run} {key}".encode()).hexdigest()[:12]


def parse_switch_value(text: str) -> SwitchValue:
    """Parse the value of a switch from KV.

    Raises:
        ValueError: the text is not such a value, or is of a version that this program does not know.
    """
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
        raise ValueError(f"not the value of a switch ({type(error).__name__})") from None


@dataclass(frozen=True)
class ReportedLimit:
    """A limit in effect, as the application reports it."""

    limit: int
    period: int
    """Period in seconds."""
    key: str
    until: datetime | None = None
    """End of a temporary value; None if it is permanent."""


@dataclass(frozen=True)
class ReportedSwitch:
    """A switch in effect, as the application reports it."""

    state: str
    revision: str | None
    until: datetime | None = None


@dataclass(frozen=True)
class ProviderOutcomes:
    """Requests to a provider that succeeded and failed in the last `seconds` of the report."""

    ok: int
    failed: int


@dataclass(frozen=True)
class ReportedAi:
    """Order and results of the AI providers, as the application reports them."""

    seconds: int
    order: tuple[str, ...]
    outcomes: Mapping[str, ProviderOutcomes]


@dataclass(frozen=True)
class RuntimeState:
    """Limits and switches in effect at the Cloudflare location that answered."""

    worker: str
    """Id of the Worker version that answered."""
    revision: str | None
    """Revision of the limits; None if the limits declared in the code are in effect."""
    limits: Mapping[str, ReportedLimit] = field(default_factory=dict)
    switches: Mapping[str, ReportedSwitch] = field(default_factory=dict)
    ai: ReportedAi | None = None


def parse_runtime_state(text: str) -> RuntimeState:
    """Parse the answer of /__ops/runtime.

    Raises:
        ValueError: the answer does not follow this version of the contract; the message says why.
    """
    document = _object(text)
    try:
        if document["contract"] != CONTRACT_VERSION:
            raise ValueError(
                f"it follows version {document['contract']} of the contract, but this program knows {CONTRACT_VERSION}"
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
        raise ValueError(f"it is not a document of the runtime contract ({type(error).__name__})") from None


def _limit(value: Mapping[str, Any]) -> ReportedLimit:
    return ReportedLimit(int(value["limit"]), int(value["period"]), _text(value["key"]), _until(value))


def _switch(value: Mapping[str, Any]) -> ReportedSwitch:
    return ReportedSwitch(_text(value["state"]), value.get("revision"), _until(value))


def _ai(value: Mapping[str, Any]) -> ReportedAi:
    outcomes = {
        name: ProviderOutcomes(int(each["ok"]), int(each["failed"])) for name, each in value["outcomes"].items()
    }
    return ReportedAi(int(value["seconds"]), tuple(_text(name) for name in value["order"]), outcomes)


def _until(value: Mapping[str, Any]) -> datetime | None:
    return parse_utc(value["until"]) if value.get("until") else None


def _format_moment(value: datetime | None) -> str | None:
    return None if value is None else format_rfc3339(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(type(value))
    return value


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004  callers handle one type of error
    return value
