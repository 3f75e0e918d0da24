"""What is live and what is on in one environment, as it was read. Pure."""

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
class Live:
    """What serves of one service."""

    service: str
    kind: str
    split: tuple[tuple[str, float], ...]
    """Of a Worker: versions, each with its share in percent. Of a site: its deployment."""
    since: datetime | None
    by: str
    message: str = ""
    compared: tuple[str, ...] = ()
    """Of a site: for each path of `compare`, how it tells that this deployment serves."""


@dataclass(frozen=True)
class Temporary:
    """A limit that is another one for a while."""

    name: str
    limit: int
    period: int
    """Seconds."""
    until: datetime


@dataclass(frozen=True)
class Orphan:
    """A route that leads to ops-maintenance although that does not store it: two runs at once can leave one."""

    pattern: str
    service: str
    """The service of ops.yml at that host; nothing where none is known."""


@dataclass(frozen=True)
class Status:
    """`switches` are those that are on. `unread` says what could not be read, and why: of it nothing is known."""

    environment: str
    read_at: datetime
    live: tuple[Live, ...] = ()
    switches: tuple[SwitchState, ...] = ()
    limits: tuple[Temporary, ...] = ()
    off: tuple[MaintenanceWindow, ...] = ()
    orphans: tuple[Orphan, ...] = ()
    """Of no incident that is known, and so of every one."""
    unread: tuple[str, ...] = ()

    def of_incident(self, number: int) -> "Status":
        """What is on for that incident. KV does not say for which incident a limit is: so every temporary one."""
        return Status(
            self.environment,
            self.read_at,
            switches=tuple(each for each in self.switches if each.value and each.value.incident == number),
            limits=self.limits,
            off=tuple(block for block in self.off if block.incident == number),
            orphans=self.orphans,
            unread=self.unread,
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "environment": self.environment,
            "read_at": format_rfc3339(self.read_at),
            "services": [_live(each) for each in self.live],
            "switches": [_switch(each) for each in self.switches],
            "limits": [vars(each) | {"until": format_rfc3339(each.until)} for each in self.limits],
            "maintenance": [
                {name: getattr(block, name) for name in ("service", "path", "message", "since", "until", "incident")}
                for block in self.off
            ],
            "orphaned_routes": [vars(each) for each in self.orphans],
            "unread": list(self.unread),
        }


def _live(each: Live) -> dict[str, Any]:
    split = [{"id": name, "percent": percent} for name, percent in each.split]
    return {**vars(each), "split": split, "since": each.since and format_rfc3339(each.since)}


def _switch(each: SwitchState) -> dict[str, Any]:
    value = each.value
    assert value is not None
    moments = {name: getattr(value, name) for name in ("since", "until", "review_at")}
    shown = {name: moment and format_rfc3339(moment) for name, moment in moments.items()}
    told = {name: getattr(value, name) for name in ("state", "owner", "incident", "message", "revision")}
    return {"name": each.name, **told, **shown, "paths": list(value.paths)}


def temporary(text: str | None, now: datetime) -> tuple[Temporary, ...]:
    """Those of `ops/limits` that have not ended. Raises ValueError where the value is not understood."""
    if text is None:
        return ()
    try:
        value = json.loads(text)
        if value["version"] != CONTRACT_VERSION:
            raise ValueError(f"it is of version {value['version']}, and this program knows {CONTRACT_VERSION}")
        found = [(name, each, each["temporary"]) for name, each in value["limits"].items() if each.get("temporary")]
        limits = tuple(_temporary(name, each, while_) for name, each, while_ in found)
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"it holds no limits ({type(error).__name__})") from None
    return tuple(each for each in limits if each.until > now)


def _temporary(name: str, value: Mapping[str, Any], while_: Mapping[str, Any]) -> Temporary:
    return Temporary(name, int(while_["limit"]), int(value["period"]), parse_utc(while_["until"]))
