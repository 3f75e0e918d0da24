"""What a person must know of something that is off: the lists of its plan. Pure."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from ops.core.clock import format_utc, parse_utc
from ops.core.names import MAINTENANCE_WORKER as WORKER
from ops.core.plan import PlanSection
from ops.maintenance.orphaned_routes import RecoveredState
from ops.maintenance.routes import (
    MAX_ZONES,
    IngressPaths,
    describe_closed_paths,
    describe_open_paths,
    wildcard_patterns,
)
from ops.maintenance.state import MaintenanceWindow

if TYPE_CHECKING:
    from ops.engine.context import Context

MAX_NAMED_ZONES = 5
"""Zones that a warning names; the others are counted."""


def closing_sections(
    ingress: IngressPaths,
    window: MaintenanceWindow,
    others: Iterable[MaintenanceWindow],
    notes: Iterable[str],
    now: datetime,
) -> tuple[PlanSection, ...]:
    return _drop_empty(
        PlanSection("What people are told", (window.message,)),
        PlanSection("Meant to last until", tuple(_describe_end(window, now))),
        PlanSection("Closed, and what each was", tuple(describe_closed_paths(ingress, window))),
        PlanSection("Stays open", tuple(describe_open_paths(ingress, window.path))),
        PlanSection("Left as it is", (*notes, *_describe_unrelated_routes(ingress, (window, *others)))),
        PlanSection("Off besides", tuple(_describe_window(each, now) for each in others)),
    )


def reopening_sections(
    ingress: IngressPaths, reopened: tuple[MaintenanceWindow, ...], still: Iterable[MaintenanceWindow], now: datetime
) -> tuple[PlanSection, ...]:
    return _drop_empty(
        PlanSection("Was off", tuple(_describe_window(each, now) for each in reopened)),
        PlanSection(
            "What was stored of it",
            tuple(line for window in reopened for line in describe_closed_paths(ingress, window)),
        ),
        PlanSection("Stays off", tuple(_describe_window(each, now) for each in still)),
        PlanSection("Left as it is", tuple(_describe_unrelated_routes(ingress, (*reopened, *still)))),
    )


@dataclass(frozen=True)
class ReopeningMethod:
    """How something opens at its end; `nobody` says that nothing does."""

    instructions: str
    warning: str = ""

    @classmethod
    def choose(cls, window: MaintenanceWindow, ctx: "Context[Any]") -> Self:
        """`window` has an end."""
        end, command = parse_utc(window.until), f"{ctx.program[0]} maintenance due --environment {ctx.environment.name}"
        every = ctx.config.github.schedules.get("reopen-maintenance")
        schedule = f"the first scheduled run after {format_utc(end)} opens it: every {every}, and GitHub may drop some"
        if ctx.request.ends_by is not None and end <= ctx.request.ends_by:
            minutes = math.ceil((end - ctx.clock.now()).total_seconds() / 60)
            how = (
                f"a job of this workflow run opens it at {format_utc(end)}, at most 2 minutes late. It waits {minutes} "
                f"minutes, which a private repository pays as minutes of Actions. If it is late: {command}"
            )
            return cls(f"{how}. Else {schedule}" if every else how)
        if every:
            return cls(schedule)
        why = "no job of this run waits for it, and github.schedules in ops.yml has no reopen-maintenance"
        nobody = f"nothing opens it at its end: {why}. Run `{command}` then"
        return cls(f"run this at {format_utc(end)}: {command}", nobody)


def describe_consequences(window: MaintenanceWindow, opens: str, end: ReopeningMethod | None) -> Iterator[str]:
    if end is not None:
        yield f"{end.instructions}. A person can open it earlier: {opens}"
        yield "to let it stay off after that end: the same command without --reopen-at-end"
    else:
        yield f"it stays off until a person opens it: {opens}"
        yield (
            f"at {format_utc(parse_utc(window.until))} it sends a reminder, and opens nothing: put it into a calendar"
            if window.until
            else "no end was given: agree who opens it, and when"
        )
    yield (
        "a deployment that sets the Worker's routes may fail, since their patterns are taken, or turn them back: start "
        "this again after one"
    )
    yield "probes of what is off say that it is off on purpose, and prove nothing of the service"


def window_warnings(
    ingress: IngressPaths, window: MaintenanceWindow, former: MaintenanceWindow | None, out_of_reach: Iterable[str]
) -> Iterator[str]:
    """`former`: what was stored of the same before."""
    if former is not None and former.reopen_at_end and not window.reopen_at_end:
        yield f"it was to open by itself after {format_utc(parse_utc(former.until))}, and does so no more"
    for host in out_of_reach:
        yield f"{host} is a custom domain of {ingress.worker} in a zone that the token does not see: it stays open"
    if window.path:
        yield f"all that begins with {window.path} is off, {window.path}x as well: a route cannot tell them apart"
        if ingress.subdomain.enabled or ingress.subdomain.previews_enabled:
            yield f"{window.path} stays open on workers.dev ({ingress.subdomain}): only the whole service closes it"
    if unasked := wildcard_patterns(window):
        yield f"not asked afterwards, since it is not known which hosts there are: {', '.join(unasked)}"


def unread_zone_warnings(ingress: IngressPaths) -> Iterator[str]:
    """A warning about zones whose routes were not read, since there are too many of them."""
    if ingress.unread_zones:
        names = ", ".join(zone.name for zone in ingress.unread_zones[:MAX_NAMED_ZONES])
        more = (
            f" and {len(ingress.unread_zones) - MAX_NAMED_ZONES} more"
            if len(ingress.unread_zones) > MAX_NAMED_ZONES
            else ""
        )
        yield (
            f"the token sees more than {MAX_ZONES} zones, so the routes of {names}{more} were not read: a route there "
            f"that leads to {ingress.worker} stays as it is. A token for fewer zones reads all of its zones"
        )


def orphaned_route_warnings(ingress: IngressPaths, recovered: RecoveredState) -> Iterator[str]:
    """Warnings about routes that lead to ops-maintenance and that its live version does not store."""
    for route in recovered.recovered_routes:
        yield (
            f"the route {route.pattern} leads to {WORKER}, and the live version of {WORKER} does not store it: another "
            "run stopped half way. An earlier version says where it led before, and this run uses that"
        )
    if recovered.has_recovered_subdomain:
        yield f"workers.dev of {ingress.worker} was switched off by a run that stopped half way: this run restores it"
    names = {zone.id: zone.name for zone in ingress.zones}
    for route in recovered.unknown_routes:
        yield (
            f"the route {route.pattern} leads to {WORKER}, and no version of {WORKER} stores it for {ingress.worker}: "
            f"it stays as it is. To change it: dashboard → {names.get(route.zone, route.zone)} → Workers Routes"
        )


def _describe_end(window: MaintenanceWindow, now: datetime) -> Iterator[str]:
    if window.until:
        moment = parse_utc(window.until)
        if window.reopen_at_end:
            yield f"{format_utc(moment)}; it is to be opened then"
        else:
            late = ", which is over: who opens it?" if moment <= now else "; it reminds, and opens nothing"
            yield f"{format_utc(moment)}{late}"


def _describe_window(window: MaintenanceWindow, now: datetime) -> str:
    where = f" for incident #{window.incident}" if window.incident else ""
    until = "".join(f", until {each}" for each in _describe_end(window, now))
    return f"{window.scope}, since {format_utc(parse_utc(window.since))}{where}{until}"


def _describe_unrelated_routes(ingress: IngressPaths, windows: Iterable[MaintenanceWindow]) -> Iterator[str]:
    known = {each.key for window in windows for each in window.closed}
    for route in ingress.routes:
        if route.script == WORKER and (route.zone, route.pattern) not in known:
            yield f"the route {route.pattern} leads to {WORKER} and is stored for something else, or nowhere"


def _drop_empty(*sections: PlanSection) -> tuple[PlanSection, ...]:
    return tuple(section for section in sections if section.lines)
