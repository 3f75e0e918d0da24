"""Release maintenance windows: a window opens only when no other incident needs it closed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ops.core.names import quote_name
from ops.core.owners import StateOwner, describe_owners, held_by_others
from ops.core.plan import PlanSection
from ops.engine.context import Context
from ops.maintenance.state import MaintenanceWindow

RELEASED = "Released"
"""Section of a plan with everybody whom `--release-all` releases."""


@dataclass(frozen=True)
class Release:
    """Windows that open, and windows that stay closed for other incidents."""

    opened: tuple[MaintenanceWindow, ...]
    kept: Mapping[tuple[str, str], MaintenanceWindow]
    """Service and path → the window with the owners that remain."""
    held: str = ""
    """Windows that stay closed, with their owners, for people."""
    notices: Mapping[int, str] = field(default_factory=dict)
    """Other incident → text about its windows."""
    released: tuple[str, ...] = ()
    """Who was released besides the incident of the run, and what could not be read, for people."""

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


def release_windows(ctx: Context[Any], wanted: Sequence[MaintenanceWindow], accepted: Sequence[str]) -> Release:
    """Release the windows for the incident of the run. Raises NeedsAcceptance if only others need them."""
    now, incident = ctx.clock.now(), ctx.request.incident
    opened, kept, holders = list[MaintenanceWindow](), dict[tuple[str, str], MaintenanceWindow](), list[StateOwner]()
    notices, held, released = dict[int, list[str]](), list[str](), list[str]()
    for window in wanted:
        owners = window.active_owners(now)
        others = [each for each in owners if each.incident and each.incident != incident and each.name not in accepted]
        state = (
            f"{window.scope} stays offline, held by {describe_owners(others)}" if others else f"{window.scope} opens"
        )
        released += list_persons(window.scope, window.owners and owners, incident)
        holders += others
        held += [state] if others else []
        if not others:
            opened.append(window)
        elif len(others) < len(owners):
            kept[window.service, window.path] = window.with_owners(others)
        else:
            continue
        for number in {each.incident for each in owners if each.incident} - {incident}:
            notices.setdefault(number, []).append(state)
    if holders and (accepted or not (opened or kept)):
        scopes = ", ".join(each.scope for each in wanted)
        raise held_by_others(
            f"{scopes} is in maintenance", holders, incident=incident, effect="opens it", accepted=accepted
        )
    told = {number: "; ".join(said) for number, said in notices.items()}
    return Release(tuple(opened), kept, "; ".join(held), told, tuple(released))


def list_persons(scope: str, owners: Sequence[StateOwner], incident: int | None) -> list[str]:
    """Return a line with the persons whom an incident releases: without one of their own, they keep nothing closed."""
    persons = [each for each in owners if each.incident is None and incident is not None]
    return [f"{scope}, held by {describe_owners(persons)}"] if persons else []


def release_all(ctx: Context[Any], wanted: Sequence[MaintenanceWindow], unreadable: Sequence[str]) -> Release:
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
    """Return a text for each other incident that needs the window, if this run adds an incident to it."""
    if existing is None or window.incidents == existing.incidents:
        return {}
    said = f"{window.scope} stays offline, held by {describe_owners(window.active_owners(ctx.clock.now()))}"
    return dict.fromkeys(window.incidents - {ctx.request.incident}, said)
