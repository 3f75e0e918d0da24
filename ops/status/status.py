"""Status of one environment as it was read, and its JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ops.core.clock import format_rfc3339, parse_utc
from ops.core.runtime_contract import CONTRACT_VERSION
from ops.maintenance.state import MaintenanceWindow
from ops.switches.values import SwitchState


@dataclass(frozen=True)
class LiveService:
    """Live version or deployment of one service."""

    service: str
    kind: str
    split: tuple[tuple[str, float], ...]
    """Worker versions with their percentages, or the one deployment of a site."""
    since: datetime | None
    by: str
    message: str = ""
    compared: tuple[str, ...] = ()
    """For a site: result for each path in `compare`."""


@dataclass(frozen=True)
class TemporaryLimit:
    """A temporary limit that has not ended."""

    name: str
    limit: int
    period: int
    """In seconds."""
    until: datetime


@dataclass(frozen=True)
class OrphanedRoute:
    """A route to ops-maintenance that it does not store; two runs at once can leave one."""

    pattern: str
    service: str
    """Service in ops.yml at that host, or empty."""


@dataclass(frozen=True)
class EnvironmentStatus:
    """Status of one environment. `switches` are the active ones; `unread` lists unreadable sources with the reason."""

    environment: str
    read_at: datetime
    live: tuple[LiveService, ...] = ()
    switches: tuple[SwitchState, ...] = ()
    limits: tuple[TemporaryLimit, ...] = ()
    windows: tuple[MaintenanceWindow, ...] = ()
    orphans: tuple[OrphanedRoute, ...] = ()
    """Their incident is unknown, so they are listed for every incident."""
    unread: tuple[str, ...] = ()

    def of_incident(self, number: int) -> "EnvironmentStatus":
        """Return the status of one incident, with all temporary limits, because KV holds no incident for them."""
        return EnvironmentStatus(
            self.environment,
            self.read_at,
            switches=tuple(each for each in self.switches if each.value and each.value.incident == number),
            limits=self.limits,
            windows=tuple(block for block in self.windows if block.incident == number),
            orphans=self.orphans,
            unread=self.unread,
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "environment": self.environment,
            "read_at": format_rfc3339(self.read_at),
            "services": [_live_json(each) for each in self.live],
            "switches": [_switch_json(each) for each in self.switches],
            "limits": [vars(each) | {"until": format_rfc3339(each.until)} for each in self.limits],
            "maintenance": [
                {name: getattr(block, name) for name in ("service", "path", "message", "since", "until", "incident")}
                for block in self.windows
            ],
            "orphaned_routes": [vars(each) for each in self.orphans],
            "unread": list(self.unread),
        }


def _live_json(each: LiveService) -> dict[str, Any]:
    split = [{"id": name, "percent": percent} for name, percent in each.split]
    return {**vars(each), "split": split, "since": each.since and format_rfc3339(each.since)}


def _switch_json(each: SwitchState) -> dict[str, Any]:
    value = each.value
    assert value is not None
    moments = {name: getattr(value, name) for name in ("since", "until", "review_at")}
    times = {name: moment and format_rfc3339(moment) for name, moment in moments.items()}
    fields = {name: getattr(value, name) for name in ("state", "owner", "incident", "message", "revision")}
    return {"name": each.name, **fields, **times, "paths": list(value.paths)}


def temporary_limits(text: str | None, now: datetime) -> tuple[TemporaryLimit, ...]:
    """Return the temporary limits in `ops/limits` that have not ended. Raises ValueError if it is malformed."""
    if text is None:
        return ()
    try:
        value = json.loads(text)
        if value["version"] != CONTRACT_VERSION:
            raise ValueError(
                f"version {value['version']} of the runtime contract; this program supports {CONTRACT_VERSION}"
            )
        found = [(name, each, each["temporary"]) for name, each in value["limits"].items() if each.get("temporary")]
        limits = tuple(_parse_temporary(name, each, while_) for name, each, while_ in found)
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a value of the limits ({type(error).__name__})") from None
    return tuple(each for each in limits if each.until > now)


def _parse_temporary(name: str, value: Mapping[str, Any], while_: Mapping[str, Any]) -> TemporaryLimit:
    return TemporaryLimit(name, int(while_["limit"]), int(value["period"]), parse_utc(while_["until"]))
