"""Release maintenance windows: a window opens only when nobody else needs it closed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ops.core.names import quote_name
from ops.core.owners import Requester, StateOwner, describe_owners, find_others, find_owner, held_by_others
from ops.core.plan import PlanSection
from ops.engine.context import Context
from ops.maintenance.state import MaintenanceRequest, MaintenanceWindow

RELEASED = "Released"
"""Section of a plan with everybody whom `--release-all` releases."""


@dataclass(frozen=True)
class Release:
    """Windows that open, and windows that stay closed for others."""

    opened: tuple[MaintenanceWindow, ...]
    kept: Mapping[tuple[str, str], MaintenanceWindow]
    """Service and path → the window with the owners that remain."""
    held: str = ""
    """Windows that stay closed, with their owners, for people."""
    holders: tuple[StateOwner, ...] = ()
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
) -> Release:
    """Release the windows for the requester, or for everybody. Raises NeedsAcceptance if only others need them."""
    if request.releases_all:
        return _release_all(ctx, wanted, unreadable)
    return _release_windows(ctx, wanted, ctx.params.accept_owners)


def _release_windows(ctx: Context[Any], wanted: Sequence[MaintenanceWindow], accepted: Sequence[str]) -> Release:
    now, requester = ctx.clock.now(), ctx.request.requester
    opened, kept, holders = list[MaintenanceWindow](), dict[tuple[str, str], MaintenanceWindow](), list[StateOwner]()
    notices, held, released = dict[int, list[str]](), list[str](), list[str]()
    for window in wanted:
        owners = window.active_owners(now)
        others = find_others(owners, requester, accepted)
        own = find_owner(owners, requester)
        state = (
            f"{window.scope} stays offline, held by {describe_owners(others)}" if others else f"{window.scope} opens"
        )
        holders += others
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
    if holders and (accepted or not (opened or kept)):
        scopes = " and ".join(each.scope for each in wanted)
        standing, effect = ("is", "opens it") if len(wanted) == 1 else ("are", "opens them")
        raise held_by_others(
            f"{scopes} {standing} in maintenance", holders, requester=requester, effect=effect, accepted=accepted
        )
    told = {number: "; ".join(said) for number, said in notices.items()}
    return Release(tuple(opened), kept, "; ".join(held), tuple(holders), told, tuple(released))


def list_released(scope: str, owners: Sequence[StateOwner], requester: Requester) -> list[str]:
    """Return a line with everybody whom the run releases besides the requester; a run that stands alone is none."""
    gone = [each for each in owners if each.key != requester.key and not (each.is_run and len(owners) == 1)]
    return [f"{scope}, held by {describe_owners(gone)}"] if gone else []


def _release_all(ctx: Context[Any], wanted: Sequence[MaintenanceWindow], unreadable: Sequence[str]) -> Release:
    """Release the windows for everybody, also if it is unknown who holds them."""
    now, incident = ctx.clock.now(), ctx.request.incident
    lines, notices = list[str](), dict[int, list[str]]()
    for window in wanted:
        owners = () if window.edited else window.active_owners(now)
        lines += [f"{describe_unread_holder(window)}, because it was edited"] if window.edited else []
        lines += [f"{window.scope}, held by {describe_owners(owners)}"] if owners else []
        for number in {each.incident for each in owners if each.incident} - {incident}:
            notices.setdefault(number, []).append(describe_opened(ctx, window.scope))
    told = {number: "; ".join(said) for number, said in notices.items()}
    return Release(tuple(wanted), {}, notices=told, released=(*lines, *unreadable))


def describe_unread_holder(window: MaintenanceWindow) -> str:
    return f"who holds {window.scope}, and until when, cannot be read"


def describe_opened(ctx: Context[Any], scope: str) -> str:
    """Describe a scope that opens although others hold it."""
    return f"{scope} opens: {quote_name(ctx.request.actor)} released all who held it, with `--release-all`"


def describe_released(released: Sequence[str]) -> str:
    return f", and no longer held ({'; '.join(released)})" if released else ""


def notify_others(ctx: Context[Any], window: MaintenanceWindow, existing: MaintenanceWindow | None) -> dict[int, str]:
    """Return a text for each other incident that needs the window, if this run adds an owner to it."""
    if existing is None or {each.key for each in window.all_owners} == {each.key for each in existing.all_owners}:
        return {}
    said = f"{window.scope} stays offline, held by {describe_owners(window.active_owners(ctx.clock.now()))}"
    return dict.fromkeys(window.incidents - {ctx.request.incident}, said)
