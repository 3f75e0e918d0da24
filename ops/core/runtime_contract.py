"""Values that an application reads in KV, and the state that it reports at /__ops/runtime.

Documented in docs/reference/runtime-contract.md. A report of the application is parsed completely or rejected.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, Self

from ops.core.clock import format_optional, parse_utc
from ops.core.json_fields import require_text
from ops.core.owners import StateOwner, StateRequester, find_owner, latest_end, parse_owner

CONTRACT_VERSION = 1
"""Version of the values in KV and of the public endpoint."""
RUNTIME_PATH = "/__ops/runtime"
LIMIT_PROBE_PATH = "/__ops/limits/"
LIMITS_KEY = "ops/limits"
NAMESPACE_BINDING = "OPS_RUNTIME"
"""Binding through which an application reads its KV namespace."""
DRILL_VARIABLE = "OPS_DRILL_UNTIL"
"""Plain-text variable of a version: until that time its health path fails."""
SWITCH_KEY_PREFIX = "ops/switch/"
AI_SWITCH, MAINTENANCE_SWITCH, BANNER_SWITCH = "ai", "maintenance", "banner"
"""Names of the switches whose states the contract defines."""
NORMAL_STATES = {AI_SWITCH: "auto", MAINTENANCE_SWITCH: "off", BANNER_SWITCH: "off"}
"""Their normal states."""
BANNER_LEVELS = {
    **dict.fromkeys(("investigating", "identified"), "warning"),
    **dict.fromkeys(("monitoring", "scheduled", "in-progress"), "info"),
}
"""State of the switch `banner` → level of the banner that the application shows."""


@dataclass(frozen=True)
class SwitchValue:
    """Value of a switch in KV. The Worker ends it at `until`; `review_at` only reminds people.

    A Worker reads no owners. The other fields sum them up, and name the oldest incident and the newest person.
    """

    state: str
    owner: str
    incident: int | None
    since: datetime
    revision: str
    until: datetime | None = None
    review_at: datetime | None = None
    message: str = ""
    paths: tuple[str, ...] = ()
    owners: tuple[StateOwner, ...] = ()
    """Incidents and persons that need the state. A value of version 0.1.0 and a normal state have none."""

    @classmethod
    def of_owners(cls, state: str, owners: Sequence[StateOwner], *, since: datetime, revision: str) -> Self:
        """Return the value of a state that is not the normal one; `owners` are in the order of their requests."""
        closed = [each.paths for each in owners]
        reviews = [each.review_at for each in owners if each.review_at]
        until = latest_end(owners)
        return cls(
            state=state,
            owner=owners[-1].by,
            incident=next((each.incident for each in owners if each.incident), None),
            since=since,
            revision=revision,
            until=until,
            review_at=None if until else max(reviews, default=None),
            message=next((each.message for each in reversed(owners) if each.message), ""),
            paths=tuple(dict.fromkeys(path for paths in closed for path in paths)) if all(closed) else (),
            owners=tuple(owners),
        )

    def is_over(self, now: datetime) -> bool:
        """Return whether its end has passed."""
        return self.until is not None and self.until <= now

    @property
    def _only_owner(self) -> StateOwner:
        return StateOwner(self.incident, self.owner, self.since, self.until, self.review_at, self.message, self.paths)

    def active_owners(self, now: datetime) -> tuple[StateOwner, ...]:
        """Return the owners that need the state at `now`."""
        return tuple(each for each in self.owners or (self._only_owner,) if not each.is_over(now))

    def belongs_to(self, incident: int, now: datetime) -> bool:
        """Return whether the incident needs the state at `now`."""
        return find_owner(self.active_owners(now), StateRequester(incident)) is not None

    def to_json(self) -> str:
        """Return the JSON text that KV stores. Only several owners are listed: the other fields describe one."""
        moments = {name: format_optional(getattr(self, name)) for name in ("since", "until", "review_at")}
        value = {"version": CONTRACT_VERSION, **asdict(self), **moments}
        owners = {"owners": [each.to_json() for each in self.owners]} if self._lists_owners else {}
        del value["owners"]
        return json.dumps({**value, **owners}, ensure_ascii=False)

    @property
    def _lists_owners(self) -> bool:
        return bool(self.owners) and self.owners != (self._only_owner,)


def make_revision(run: str, key: str) -> str:
    """Return a short id of one write, from which the run cannot be guessed."""
    return sha256(f"{run} {key}".encode()).hexdigest()[:12]


def tag_owners(namespace: str, owners: Iterable[StateOwner]) -> str:
    """Return the end of a revision that depends on the owners, which only the id of the namespace reveals.

    By it a run knows a state of its own owner that the application shows and KV does not show yet.
    """
    keys = ",".join(sorted(str(each.key) for each in owners))
    return "-" + sha256(f"{namespace} {keys}".encode()).hexdigest()[:6]


def parse_switch_value(text: str) -> SwitchValue:
    """Parse the value of a switch from KV.

    Raises:
        ValueError: the text is not such a value, or is of a version that this program does not know.
    """
    value = _parse_reported_object(text)
    try:
        if value["version"] != CONTRACT_VERSION:
            raise ValueError(f"version {value['version']}")
        incident = value["incident"]
        return SwitchValue(
            state=require_text(value["state"]),
            owner=require_text(value["owner"]),
            incident=None if incident is None else int(incident),
            since=parse_utc(value["since"]),
            revision=require_text(value["revision"]),
            until=None if value["until"] is None else parse_utc(value["until"]),
            review_at=None if value["review_at"] is None else parse_utc(value["review_at"]),
            message=require_text(value["message"]),
            paths=tuple(require_text(path) for path in value["paths"]),
            owners=tuple(parse_owner(each) for each in value.get("owners", ())),
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

    def is_held(self, name: str, now: datetime) -> bool:
        """Return whether a run set it to a state other than its normal one, without its rules in ops.yml.

        A state of the team's own switches always has an end; their normal state has none.
        """
        if self.revision is None:
            return False
        return (
            self.state != NORMAL_STATES[name] if name in NORMAL_STATES else self.until is not None and self.until > now
        )


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
class ReportedBanner:
    """The banner that the application shows its users."""

    level: str
    text: str
    until: datetime | None = None


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
    knows_drills: bool = False
    """Whether its health path fails while DRILL_VARIABLE has a time ahead."""
    banner: ReportedBanner | None = None


def parse_runtime_state(text: str) -> RuntimeState:
    """Parse the answer of /__ops/runtime.

    Raises:
        ValueError: the answer does not follow this version of the contract; the message says why.
    """
    document = _parse_reported_object(text)
    try:
        if document["contract"] != CONTRACT_VERSION:
            raise ValueError(
                f"it follows version {document['contract']} of the contract, but this program knows {CONTRACT_VERSION}"
            )
        limits, ai, banner = document.get("limits") or {}, document.get("ai"), document.get("banner")
        return RuntimeState(
            worker=require_text(document.get("worker") or ""),
            revision=limits.get("revision"),
            limits={name: _parse_reported_limit(value) for name, value in (limits.get("values") or {}).items()},
            switches={name: _parse_reported_switch(value) for name, value in (document.get("switches") or {}).items()},
            ai=None if ai is None else _parse_reported_ai(ai),
            knows_drills=isinstance(document.get("drill"), dict),
            banner=None if banner is None else _parse_reported_banner(banner),
        )
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"it is not a document of the runtime contract ({type(error).__name__})") from None


def _parse_reported_limit(value: Mapping[str, Any]) -> ReportedLimit:
    return ReportedLimit(
        int(value["limit"]), int(value["period"]), require_text(value["key"]), _parse_reported_end(value)
    )


def _parse_reported_switch(value: Mapping[str, Any]) -> ReportedSwitch:
    return ReportedSwitch(require_text(value["state"]), value.get("revision"), _parse_reported_end(value))


def _parse_reported_ai(value: Mapping[str, Any]) -> ReportedAi:
    outcomes = {
        name: ProviderOutcomes(int(each["ok"]), int(each["failed"])) for name, each in value["outcomes"].items()
    }
    return ReportedAi(int(value["seconds"]), tuple(require_text(name) for name in value["order"]), outcomes)


def _parse_reported_banner(value: Mapping[str, Any]) -> ReportedBanner:
    level, text = (require_text(value[name]) for name in ("level", "text"))
    return ReportedBanner(level, text, _parse_reported_end(value))


def _parse_reported_end(value: Mapping[str, Any]) -> datetime | None:
    return parse_utc(value["until"]) if value.get("until") else None


def _parse_reported_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004  callers handle one type of error
    return value
