"""Held states in one form: closed services, switches and temporary limits; unread sources."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ops.config.strict_yaml import read_yaml
from ops.core.clock import format_optional, format_planned_end, format_rfc3339, format_utc, parse_utc
from ops.core.errors import OpsError, Reason
from ops.core.names import LIMITS_FILE, quote_name
from ops.core.next_step import build_command
from ops.core.owners import StateOwner, describe_owners
from ops.core.runtime_contract import AI_SWITCH, CONTRACT_VERSION, MAINTENANCE_SWITCH, ReportedSwitch
from ops.maintenance.ownership import is_maintenance_run_over, name_only_run

if TYPE_CHECKING:
    from ops.maintenance.state import MaintenanceWindow
    from ops.switches.values import SwitchState


@dataclass(frozen=True)
class TemporaryLimit:
    """A temporary limit that has not ended."""

    name: str
    limit: int
    period: int
    """In seconds."""
    until: datetime
    incident: int | None = None
    """Incident of its pull request, if limits.yml beside ops.yml has the same raise."""

    def to_json(self) -> dict[str, Any]:
        fields = {name: getattr(self, name) for name in ("name", "limit", "period")}
        return {**fields, "until": format_rfc3339(self.until)}


@dataclass(frozen=True)
class UndeclaredSwitch:
    """A switch that the application shows as held, and that ops.yml no longer has."""

    name: str
    service: str
    shown: ReportedSwitch


class StatusSource(Protocol):
    """What was read of an environment, as far as it can be held."""

    @property
    def environment(self) -> str: ...

    @property
    def program(self) -> str: ...

    @property
    def read_at(self) -> datetime: ...

    @property
    def switched_service(self) -> str: ...

    @property
    def switches(self) -> "tuple[SwitchState, ...]": ...

    @property
    def limits(self) -> tuple[TemporaryLimit, ...]: ...

    @property
    def windows(self) -> "tuple[MaintenanceWindow, ...]": ...

    @property
    def undeclared(self) -> tuple[UndeclaredSwitch, ...]: ...

    @property
    def names(self) -> Mapping[str, str]: ...

    @property
    def methods(self) -> Mapping[str, str]: ...

    @property
    def has_ai_order(self) -> bool: ...

    @property
    def holds(self) -> "tuple[HeldState, ...]": ...


@dataclass(frozen=True)
class HeldState:
    """A state that is not the normal one, with everybody who holds it."""

    kind: str
    """Key of the JSON result that has its details: maintenance, switches or limits; hold for code."""
    name: str
    """Name of the service, switch or limit in ops.yml."""
    what: str
    state: str
    owners: tuple[StateOwner, ...]
    """Those whose end has passed count only if there is no other."""
    since: datetime | None
    until: datetime | None
    """Time at which it ends by itself."""
    release: str
    """Command that ends it; empty if a step by hand comes first, and while a run is about to end it."""
    run: str = ""
    """Run that ends it, in words; empty if there is none."""
    planned_end: datetime | None = None
    """Reminder of people; nothing ends it then."""
    step: str = ""
    """Step by hand that ends it, or that makes its command work again, if ops.yml no longer has it."""

    def describe(self, now: datetime, where: str = "") -> str:
        """Describe it in one line: who holds it, since when, until when, and how to end it. `where` may be empty."""
        moments = [f"since {format_utc(self.since)}"] if self.since else []
        if self.until:
            moments.append(f"until {format_utc(self.until)}" if self.until > now else f"ended {format_utc(self.until)}")
        elif self.planned_end:
            moments.append(format_planned_end(self.planned_end, now))
        held = [f"held by {describe_owners(self.owners)}"] if self.owners else []
        way_out = f"`{self.release}`" if self.release else self.step
        ends = f"; to end it: {way_out}" if way_out else ""
        parts = [self.state, *held, *moments, *filter(None, [self.run, where])]
        return f"{self.what}: {', '.join(parts)}{ends}"

    def to_json(self) -> dict[str, Any]:
        moments = {name: getattr(self, name) for name in ("since", "until", "planned_end")}
        times = {name: format_optional(moment) for name, moment in moments.items()}
        held = {"held_by": [each.describe() for each in self.owners]}
        ends = {"release": self.release, "step": self.step}
        return {"kind": self.kind, "what": self.what, "state": self.state, **held, **times, **ends}


def list_held_states(status: StatusSource) -> Iterator[HeldState]:
    """Yield the held states: closed services first."""
    yield from (_held_window(status, each) for each in status.windows)
    yield from (_held_switch(status, each) for each in status.switches)
    yield from (_held_undeclared_switch(status, each) for each in status.undeclared)
    yield from map(_held_limit, status.limits)
    yield from status.holds


def _held_window(status: StatusSource, window: "MaintenanceWindow") -> HeldState:
    owners, end = window.active_owners(status.read_at), parse_utc(window.until) if window.until else None
    since = parse_utc(window.since)
    name = status.names.get(window.service, window.service)
    is_changed = name != window.service or status.methods.get(name) == "switch"
    run = f"run {quote_name(window.reopened_by)}" if window.reopened_by else ""
    options = {"state": "off", "service": name, "environment": status.environment, "path": window.path}
    is_left = is_changed or not run or is_maintenance_run_over(since, status.read_at)
    return HeldState(
        "maintenance",
        name or window.service,
        window.scope,
        "offline at the edge",
        tuple(each for each in owners or window.all_owners if not each.is_run),
        since,
        end if window.reopen_at_end else None,
        _build_release(status, "maintenance", options, owners) if is_left and name else "",
        _describe_run_of_held_state(run, since, status.read_at, is_changed=is_changed),
        None if window.reopen_at_end else end,
        "" if name else _describe_missing_service(status, window),
    )


def _describe_missing_service(status: StatusSource, window: "MaintenanceWindow") -> str:
    """Return the step for a window of a Worker or site that no service in ops.yml has."""
    of = f"the Worker {quote_name(window.worker)}" if window.worker else f"the site {quote_name(window.service)}"
    return (
        f"add a service with {of} to {status.environment} in ops.yml, or use the environment that has it; "
        f"then {_status_again(status)} shows the command"
    )


def _status_again(status: StatusSource) -> str:
    return f"`{build_command(status.program, 'status', {'environment': status.environment})}`"


def _held_switch(status: StatusSource, switch: "SwitchState") -> HeldState:
    value = switch.value
    assert value is not None
    owners = value.active_owners(status.read_at)
    paths = f" for {', '.join(map(quote_name, value.paths))}" if value.paths else ""
    closes = f" ({status.switched_service} is offline{paths})" if switch.name == MAINTENANCE_SWITCH else paths
    run = name_only_run(owners)
    is_changed = switch.name == MAINTENANCE_SWITCH and status.methods.get(status.switched_service) != "switch"
    is_left = is_changed or not run or is_maintenance_run_over(value.since, status.read_at)
    step = "" if switch.name != AI_SWITCH or status.has_ai_order else _list_again(status, "the providers", "ai.order")
    runbook, options = _release_switch(status, switch)
    return HeldState(
        "switches",
        switch.name,
        switch.name,
        f"{quote_name(value.state)}{closes}",
        tuple(each for each in owners if not each.is_run),
        value.since,
        value.until,
        _build_release(status, runbook, options, owners) if is_left and not step else "",
        _describe_run_of_held_state(run, value.since, status.read_at, is_changed=is_changed),
        value.review_at,
        step,
    )


def _held_undeclared_switch(status: StatusSource, switch: UndeclaredSwitch) -> HeldState:
    closes = f" ({switch.service} is offline)" if switch.name == MAINTENANCE_SWITCH else ""
    return HeldState(
        "switches",
        switch.name,
        quote_name(switch.name),
        f"{quote_name(switch.shown.state)}{closes}, as {switch.service} shows",
        (),
        None,
        switch.shown.until,
        "",
        step=_list_again(status, "it", "switches"),
    )


def _list_again(status: StatusSource, what: str, section: str) -> str:
    """Return the step for a part of `runtime` that left ops.yml."""
    return (
        f"add {what} to `runtime.{section}` of {status.environment} in ops.yml again, "
        f"then {_status_again(status)} shows the command"
    )


def _release_switch(status: StatusSource, switch: "SwitchState") -> tuple[str, Mapping[str, Any]]:
    where = {"environment": status.environment}
    if switch.name == MAINTENANCE_SWITCH:
        (path,) = switch.value.paths if switch.value and len(switch.value.paths) == 1 else ("",)
        return "maintenance", {"state": "off", "service": status.switched_service, **where, "path": path}
    if switch.name == AI_SWITCH:
        return "ai-failover", {"to": "restore", **where}
    return "feature", {"name": switch.name, "state": switch.rules.normal, **where}


def _held_limit(limit: TemporaryLimit) -> HeldState:
    state = f"{limit.limit} in {limit.period} s"
    owners = (StateOwner(limit.incident, "pull request", limit.until),) if limit.incident else ()
    step = f"remove its `temporary` from {LIMITS_FILE}"
    return HeldState("limits", limit.name, quote_name(limit.name), state, owners, None, limit.until, "", step=step)


def _build_release(
    status: StatusSource, runbook: str, options: Mapping[str, Any], owners: tuple[StateOwner, ...]
) -> str:
    """Build the command that ends the state: for its only incident, or for all owners by name."""
    incident = owners[0].incident if len(owners) == 1 else None
    others = [each.name for each in owners if not each.is_run] if incident is None else []
    given = {**options, "incident": incident, "accept_owners": others}
    return build_command(status.program, runbook, given)


def _describe_run_of_held_state(run: str, since: datetime, now: datetime, *, is_changed: bool) -> str:
    """Describe the run that ends a state. After a change of ops.yml, the same command no longer finds it."""
    if not run:
        return ""
    if is_changed and not is_maintenance_run_over(since, now):
        return f"closed by {run}, which may still end it, before ops.yml changed"
    if is_maintenance_run_over(since, now):
        return f"closed by {run}, which never ended it"
    return f"until {run} ends it (if it was killed: the same command again)"


def name_incidents(limits: tuple[TemporaryLimit, ...], path: Path) -> Iterator[TemporaryLimit]:
    """Yield the limits with the incident of their pull request: KV has none, and limits.yml may be older."""
    try:
        data = read_yaml(path.read_text(encoding="utf-8", errors="surrogateescape")).data if limits else None
    except OSError:
        data = None
    for each in limits:
        entry = data.get(each.name) if isinstance(data, Mapping) else None
        raised = entry.get("temporary") if isinstance(entry, Mapping) else None
        yield replace(each, incident=_find_incident(raised, each))


def _find_incident(raised: Any, limit: TemporaryLimit) -> int | None:
    """Return the incident of an entry in limits.yml, if it is the same raise."""
    try:
        is_same = (raised["limit"], parse_utc(raised["until"])) == (limit.limit, limit.until)
        incident = raised.get("incident")
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
        return None
    return incident if is_same and type(incident) is int and incident > 0 else None


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
        raised = [(name, each, each["temporary"]) for name, each in value["limits"].items() if each.get("temporary")]
        limits = tuple(_parse_temporary(name, each, while_) for name, each, while_ in raised)
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a value of the limits ({type(error).__name__})") from None
    return tuple(each for each in limits if each.until > now)


def _parse_temporary(name: str, value: Mapping[str, Any], while_: Mapping[str, Any]) -> TemporaryLimit:
    return TemporaryLimit(name, int(while_["limit"]), int(value["period"]), parse_utc(while_["until"]))


T = TypeVar("T")


@dataclass(frozen=True)
class UnreadSource:
    """A source that could not be read, or whose answer is uncertain: its sections may have more than they show."""

    sections: tuple[str, ...]
    """Keys of the JSON result."""
    name: str
    message: str
    hint: str = ""
    exit_code: int = 0
    """That of the error; 0 if the source was read."""
    reason: Reason = Reason.LIVE_UNKNOWN

    def __str__(self) -> str:
        return f"{self.name}: {self.message}{f'. {self.hint}' if self.hint else ''}"


def try_status_read(ask: Callable[[], T], name: str, sections: tuple[str, ...]) -> tuple[T | None, UnreadSource | None]:
    """Return the result, or why it could not be read."""
    try:
        return ask(), None
    except OpsError as error:
        return None, UnreadSource(sections, name, error.message, error.hint, error.exit_code, error.reason)
