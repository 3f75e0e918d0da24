"""Who needs a maintenance window closed, and who reopens it.

A window opens only when nobody else needs it closed. A run that closes a service for its own time stores in the
maintenance itself that it reopens it: `reopened_by` of a window, `UNTIL_RUN_ENDS` of a switch. A person who turns
maintenance on ends that duty.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Self

from ops.core.clock import format_utc, parse_utc
from ops.core.names import quote_name
from ops.core.owners import StateOwner, StateRequester, describe_owners, find_others, find_owner, refuse_held_state
from ops.core.plan import PlanSection
from ops.core.runtime_contract import SwitchValue, make_revision
from ops.engine.context import Context
from ops.maintenance.state import MaintenanceRequest, MaintenanceWindow

RELEASED = "Maintenance released"
"""Section of a plan with everybody whom `--release-all` releases."""


@dataclass(frozen=True)
class MaintenanceRelease:
    """Windows that open, and windows that stay closed for others."""

    opened: tuple[MaintenanceWindow, ...]
    kept: Mapping[tuple[str, str], MaintenanceWindow]
    """Service and path → the window with the owners that remain."""
    held: str = ""
    """Windows that stay closed, with their owners, for people."""
    remaining_owners: tuple[StateOwner, ...] = ()
    """Owners of the windows that stay closed."""
    notices: Mapping[int, str] = field(default_factory=dict)
    """Other incident → text about its windows."""
    released: tuple[str, ...] = ()
    """Who was released besides the requester, and what could not be read, for people."""

    @property
    def also(self) -> str:
        """Return the end of a claim that all is open, with everybody who was released."""
        return describe_released(self.released)

    @property
    def sections(self) -> tuple[PlanSection, ...]:
        return (PlanSection(RELEASED, self.released),) if self.released else ()

    @property
    def exception(self) -> str:
        """Return the end of a claim that all is open."""
        return f", except that {self.held}" if self.held else ""

    @property
    def is_needed(self) -> bool:
        return bool(self.opened or self.kept or self.released)


def plan_release(
    ctx: Context[Any], request: MaintenanceRequest, wanted: Sequence[MaintenanceWindow], unreadable: Sequence[str]
) -> MaintenanceRelease:
    """Release the windows for the requester, or for everybody. Raises NeedsAcceptance if only others need them."""
    if request.releases_all:
        return _release_all(ctx, wanted, unreadable)
    return _release_maintenance_windows(ctx, wanted, ctx.params.accept_owners)


def _release_maintenance_windows(
    ctx: Context[Any], wanted: Sequence[MaintenanceWindow], accepted: Sequence[str]
) -> MaintenanceRelease:
    now, requester = ctx.clock.now(), ctx.request.requester
    opened, kept, remaining = list[MaintenanceWindow](), dict[tuple[str, str], MaintenanceWindow](), list[StateOwner]()
    notices, held, released = dict[int, list[str]](), list[str](), list[str]()
    for window in wanted:
        owners = window.active_owners(now)
        others = find_others(owners, requester, accepted)
        own = find_owner(owners, requester)
        state = (
            f"{window.scope} stays offline, held by {describe_owners(others)}" if others else f"{window.scope} opens"
        )
        remaining += others
        held += [state] if others else []
        if not others:
            opened.append(window)
            released += list_released(window.scope, owners, requester)
        elif own is not None:
            kept[window.service, window.path] = window.with_owners([each for each in owners if each is not own])
        else:
            continue
        for number in {each.incident for each in owners if each.incident} - {requester.incident}:
            notices.setdefault(number, []).append(state)
    if remaining and (accepted or not (opened or kept)):
        scopes = " and ".join(each.scope for each in wanted)
        standing, effect = ("is", "opens it") if len(wanted) == 1 else ("are", "opens them")
        raise refuse_held_state(
            f"{scopes} {standing} in maintenance", remaining, requester=requester, effect=effect, accepted=accepted
        )
    told = {number: "; ".join(said) for number, said in notices.items()}
    return MaintenanceRelease(tuple(opened), kept, "; ".join(held), tuple(remaining), told, tuple(released))


def list_released(scope: str, owners: Sequence[StateOwner], requester: StateRequester) -> list[str]:
    """Return a line with everybody whom the run releases besides the requester; a run that stands alone is none."""
    gone = [each for each in owners if each.key != requester.key and not (each.is_run and len(owners) == 1)]
    return [f"{scope}, held by {describe_owners(gone)}"] if gone else []


def _release_all(
    ctx: Context[Any], wanted: Sequence[MaintenanceWindow], unreadable: Sequence[str]
) -> MaintenanceRelease:
    """Release the windows for everybody, also if it is unknown who holds them."""
    now, incident = ctx.clock.now(), ctx.request.incident
    lines, notices = list[str](), dict[int, list[str]]()
    for window in wanted:
        owners = () if window.edited else window.active_owners(now)
        lines += [f"{describe_unread_owners(window)}, because it was edited"] if window.edited else []
        lines += [f"{window.scope}, held by {describe_owners(owners)}"] if owners else []
        for number in {each.incident for each in owners if each.incident} - {incident}:
            notices.setdefault(number, []).append(describe_opened(ctx, window.scope))
    told = {number: "; ".join(said) for number, said in notices.items()}
    return MaintenanceRelease(tuple(wanted), {}, notices=told, released=(*lines, *unreadable))


def describe_unread_owners(window: MaintenanceWindow) -> str:
    return f"who holds {window.scope}, and until when, cannot be read"


def describe_opened(ctx: Context[Any], scope: str) -> str:
    """Describe a scope that opens although others hold it."""
    return f"{scope} opens: {quote_name(ctx.request.actor)} released all who held it, with `--release-all`"


def describe_released(released: Sequence[str]) -> str:
    return f", and no longer held ({'; '.join(released)})" if released else ""


def list_window_notices(
    ctx: Context[Any], window: MaintenanceWindow, existing: MaintenanceWindow | None
) -> dict[int, str]:
    """Return a text for each other incident that needs the window, if this run adds an owner to it."""
    if existing is None or {each.key for each in window.all_owners} == {each.key for each in existing.all_owners}:
        return {}
    said = f"{window.scope} stays offline, held by {describe_owners(window.active_owners(ctx.clock.now()))}"
    return dict.fromkeys(window.incidents - {ctx.request.incident}, said)


DUTY_LIFETIME = timedelta(hours=1)
"""Time after the closing during which the same command finishes it.

No run lasts so long, and within it `--to -15m` counts as a repeat too. Later, people may rely on the closed service.
"""
UNRECORDED_WAIT = timedelta(minutes=15)
"""Time after the closing during which a run without a record may be alive: it closes, waits, restores and probes."""


@dataclass(frozen=True)
class SameIntent:
    """Runs that wanted the same as this one, so that it may finish what they began."""

    find_runs: Callable[[], Collection[str]]
    """Read their IDs from records; called only if something is closed."""
    now: datetime
    incident: int | None
    own_services: Collection[str]
    """Services that only such runs close: for the same incident, no record is needed."""

    @classmethod
    def of(cls, ctx: Context[Any], find_runs: Callable[[], Collection[str]], own_services: Collection[str]) -> Self:
        return cls(find_runs, ctx.clock.now(), ctx.request.incident, own_services)

    def find_run(self, window: MaintenanceWindow) -> str:
        """Return the run whose window this one may reopen, in words; empty if there is none."""
        run = window.reopened_by
        if not run or window.owners or is_maintenance_run_over(parse_utc(window.since), self.now):
            return ""
        is_known = self._is_own(window.service, window.incident, parse_utc(window.since)) or run in self.find_runs()
        return f"run {quote_name(run)}" if is_known else ""

    def find_run_of_switch(self, service: str, value: SwitchValue, key: str) -> str:
        """Return the run whose switch this one may turn off, in words; empty if there is none.

        Each write has its own revision. A value of several owners is never one of a run alone.
        """
        owners = value.active_owners(self.now)
        alone = name_only_run(owners)
        if not alone or is_maintenance_run_over(value.since, self.now):
            return ""
        run = next((each for each in self.find_runs() if value.revision.startswith(make_revision(each, key))), "")
        if run:
            return f"run {quote_name(run)}"
        return alone if self._is_own(service, owners[0].incident, value.since) else ""

    def _is_own(self, service: str, incident: int | None, since: datetime) -> bool:
        """Return whether the incident alone shows it. Without a record, a run that closed it just now may be alive."""
        is_same = incident is not None and incident == self.incident and service in self.own_services
        return is_same and self.now - since >= UNRECORDED_WAIT


def is_maintenance_run_over(since: datetime, now: datetime) -> bool:
    """Return whether a run that closed a service then has ended; also if the time was edited into the future."""
    return abs(now - since) >= DUTY_LIFETIME


def name_only_run(owners: Sequence[StateOwner]) -> str:
    """Return the run that alone holds a switch, such as "a run of dana"; empty if it is not held by one run alone."""
    is_alone = len(owners) == 1 and owners[0].ends_with_run
    return f"a run of {quote_name(owners[0].person)}" if is_alone else ""


def describe_window_owners(window: MaintenanceWindow, now: datetime) -> str:
    """Describe who keeps a window closed: a run, the incidents, or a person; empty if each has ended."""
    owners = window.active_owners(now)
    if window.reopened_by:
        incident = f" for incident {window.named_incidents}" if window.incidents else ""
        return _describe_holding_run(f"run {quote_name(window.reopened_by)}{incident}", parse_utc(window.since), now)
    return f"held by {describe_owners(owners)}" if owners else ""


def describe_closure_owners(value: SwitchValue, now: datetime) -> str:
    """Describe who keeps a service closed by its switch, which names the person of a run and not the run."""
    owners = value.active_owners(now)
    if run := name_only_run(owners):
        incident = f" for incident #{owners[0].incident}" if owners[0].incident else ""
        return _describe_holding_run(f"{run}{incident}", value.since, now)
    return f"held by {describe_owners(owners)}" if owners else ""


def _describe_holding_run(run: str, since: datetime, now: datetime) -> str:
    closed = f"closed by {run} at {format_utc(since)}, which"
    return (
        f"{closed} never reopened it"
        if is_maintenance_run_over(since, now)
        else f"{closed} reopens it at its end unless it was killed"
    )
