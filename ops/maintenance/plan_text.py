"""Texts in the plan of maintenance: sections, warnings, consequences, calls to Cloudflare."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from ops.cloudflare.client import LIMIT_PERIOD, MOST_CALLS, OWN_CALLS, limit_calls
from ops.core.clock import format_duration, format_seconds, format_utc, parse_utc
from ops.core.names import MAINTENANCE_WORKER as WORKER
from ops.core.names import first_of
from ops.core.next_step import SuggestedCommand, build_command
from ops.core.plan import Change, PlanSection, Progress
from ops.core.verdict import SEEN
from ops.engine.context import Context
from ops.engine.runbook import has_job
from ops.maintenance.drift import RecoveredState
from ops.maintenance.ownership import describe_unread_owners
from ops.maintenance.routes import (
    MAX_ZONES,
    IngressPaths,
    describe_closed_paths,
    describe_open_paths,
    wildcard_patterns,
)
from ops.maintenance.state import MaintenanceWindow
from ops.maintenance.writes import SkippedRoute

if TYPE_CHECKING:
    from ops.config import Service

MESSAGE_SECTION = "Message to users"
END_SECTION = "Planned end of maintenance"
OPEN_SECTION = "Stays open in maintenance"
CLOSED_SECTION = "Stays in maintenance"
UNCHANGED_SECTION = "Unchanged routes"
CALLS_SECTION = "Calls to Cloudflare"

MAX_NAMED_ZONES = 5
"""Most zones that a warning names; the others are counted."""


def closing_sections(
    ingress: IngressPaths,
    window: MaintenanceWindow,
    others: Iterable[MaintenanceWindow],
    notes: Iterable[str],
    now: datetime,
) -> tuple[PlanSection, ...]:
    return _drop_empty_sections(
        PlanSection(MESSAGE_SECTION, (window.message,)),
        PlanSection(END_SECTION, tuple(_describe_window_end(window, now))),
        PlanSection("Closed routes, with previous targets", tuple(describe_closed_paths(ingress, window))),
        PlanSection(OPEN_SECTION, tuple(describe_open_paths(ingress, window.path))),
        PlanSection(UNCHANGED_SECTION, (*notes, *_describe_unrelated_routes(ingress, (window, *others)))),
        PlanSection("Other maintenance windows", tuple(_describe_window(each, now) for each in others)),
    )


def reopening_sections(
    ingress: IngressPaths, reopened: tuple[MaintenanceWindow, ...], still: Iterable[MaintenanceWindow], now: datetime
) -> tuple[PlanSection, ...]:
    return _drop_empty_sections(
        PlanSection("In maintenance until now", tuple(_describe_window(each, now) for each in reopened)),
        PlanSection(
            "Routes to put back",
            tuple(line for window in reopened for line in describe_closed_paths(ingress, window)),
        ),
        PlanSection(CLOSED_SECTION, tuple(_describe_window(each, now) for each in still)),
        PlanSection(UNCHANGED_SECTION, tuple(_describe_unrelated_routes(ingress, (*reopened, *still)))),
    )


@dataclass(frozen=True)
class ReopeningMethod:
    """How a window reopens at its end; `warning` if nothing reopens it."""

    instructions: str
    warning: str = ""

    @classmethod
    def choose(cls, window: MaintenanceWindow, ctx: Context[Any]) -> Self:
        """Choose the method for `window`, which must have an end."""
        end, command = (
            parse_utc(window.until),
            f"{ctx.command_prefix[0]} maintenance due --environment {ctx.environment.name}",
        )
        every = ctx.config.github.schedules.get("reopen-maintenance")
        schedule = f"the first scheduled run after {format_utc(end)} reopens it (every {every}; GitHub may skip runs)"
        if has_job(end, ctx.request.ends_by):
            minutes = math.ceil((end - ctx.clock.now()).total_seconds() / 60)
            how = (
                f"a job of this workflow run reopens it at {format_utc(end)}, at most 2 minutes late. It waits "
                f"{minutes} minutes, which a private repository pays for as Actions minutes. If it is late: {command}"
            )
            return cls(f"{how}. Fallback: {schedule}" if every else how)
        if every:
            return cls(schedule)
        why = "no job of this run waits for it, and ops.yml has no github.schedules.reopen-maintenance"
        warning = f"nothing reopens it at its end: {why}. Run `{command}` then"
        return cls(f"run this at {format_utc(end)}: {command}", warning)


@dataclass(frozen=True)
class ClosureChecks:
    """Who checks later that a service stays closed: `kept` says who does, `missing` when nobody does."""

    kept: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @classmethod
    def choose(cls, ctx: Context[Any], service: str, *, changed: bool) -> Self:
        """Return who checks after this run. A run that changes nothing starts no watch."""
        watch, every = ctx.config.watch, ctx.config.github.schedules.get("reopen-maintenance")
        schedule = f"the schedule reopen-maintenance checks every {every} that it stays closed"
        program, *more = ctx.command_prefix
        where = {"service": service, "environment": ctx.environment.name, "incident": ctx.request.incident}
        if watch is None or not changed or not ctx.request.is_watched:
            command = build_command(program, "watch", {**where, "closed": True}, *more)
            start = f"to check every minute now: `{command}`"
            text = f"only {schedule}" if every else "nobody checks that it stays closed"
            return cls(missing=(f"{text}; {start}",))
        length = format_seconds(watch.duration)
        chat = " and in chat" if ctx.config.notify.secret_names else ""
        kept = (
            f"a job checks every minute for {length} that it stays closed. It reports an opening on the incident{chat}"
        )
        if every:
            return cls((kept, f"after that, {schedule}"))
        status = build_command(program, "status", {"environment": ctx.environment.name}, *more)
        return cls((kept,), (f"after {length} nobody checks that it stays closed; to check: `{status}`",))


def describe_consequences(
    window: MaintenanceWindow, opens: str, end: ReopeningMethod | None, checks: ClosureChecks
) -> Iterator[str]:
    if end is not None:
        yield f"{end.instructions}. To reopen it earlier: {opens}"
        yield "to keep it closed after that end: the same command without --reopen-at-end"
    else:
        yield f"it stays in maintenance until a person reopens it: {opens}"
        yield (
            f"at {format_utc(parse_utc(window.until))} nothing reopens it: put it into a calendar"
            if window.until
            else "no end was given: agree who reopens it, and when"
        )
    yield (
        "a deployment that sets the Worker's routes may fail because their patterns are taken, or open them again: "
        "run this command again afterwards"
    )
    yield from checks.kept
    yield "probes show that the maintenance answer is served; they say nothing about the service"


def window_warnings(
    ingress: IngressPaths, window: MaintenanceWindow, former: MaintenanceWindow | None, out_of_reach: Iterable[str]
) -> Iterator[str]:
    """Yield warnings about a window; `former` is the stored window for the same path."""
    if former is not None and former.reopen_at_end and not window.reopen_at_end:
        yield f"it no longer reopens automatically after {format_utc(parse_utc(former.until))}"
    if former is not None and former.reopened_by and not window.reopened_by:
        yield f"run {former.reopened_by} closed it and would reopen it at its end. Now only a person reopens it"
    for host in out_of_reach:
        yield f"{host} is a custom domain of {ingress.worker} in a zone that the token cannot read: it stays open"
    if window.path:
        yield f"a route matches a prefix: {window.path} also closes {window.path}x"
        if ingress.subdomain.enabled or ingress.subdomain.previews_enabled:
            yield f"{window.path} stays open on workers.dev ({ingress.subdomain}): only the whole service closes it"
    if unasked := wildcard_patterns(window):
        yield f"not probed afterwards, because the hosts are unknown: {', '.join(unasked)}"


def unread_zone_warnings(ingress: IngressPaths) -> Iterator[str]:
    """Yield a warning about zones whose routes were not read, because there are too many."""
    if ingress.unread_zones:
        names = ", ".join(zone.name for zone in ingress.unread_zones[:MAX_NAMED_ZONES])
        more = (
            f" and {len(ingress.unread_zones) - MAX_NAMED_ZONES} more"
            if len(ingress.unread_zones) > MAX_NAMED_ZONES
            else ""
        )
        yield (
            f"the token can read more than {MAX_ZONES} zones, so the routes of {names}{more} were not read: a route "
            f"there to {ingress.worker} stays unchanged. Use a token with fewer zones to read all of them"
        )


def unchanged_warnings(
    ctx: Context[Any], skipped: Iterable[SkippedRoute], remaining: Iterable[MaintenanceWindow]
) -> Iterator[str]:
    """Yield the skipped routes, and the windows that stay with an unreadable owner, with a command that opens them."""
    yield from (f"unchanged: {each.reason}" for each in skipped)
    for window in (each for each in remaining if each.edited):
        unread = f"unchanged: {describe_unread_owners(window)}"
        if window.service in ctx.environment.services:
            opens = ctx.suggest("maintenance", service=window.service, state="off", release_all=True).command
            unread += f". To open it: `{opens}`"
        yield unread


def orphaned_route_warnings(ingress: IngressPaths, recovered: RecoveredState) -> Iterator[str]:
    """Yield warnings about routes to ops-maintenance that its live version does not store."""
    for route in recovered.recovered_routes:
        yield (
            f"route {route.pattern} leads to {WORKER}, but the live version of {WORKER} does not store it: another run "
            "stopped half way. This run uses the previous target that an earlier version stores"
        )
    if recovered.has_recovered_subdomain:
        yield f"workers.dev of {ingress.worker} was switched off by a run that stopped half way: this run restores it"
    names = {zone.id: zone.name for zone in ingress.zones}
    for route in recovered.unknown_routes:
        yield (
            f"route {route.pattern} leads to {WORKER}, but no version of {WORKER} stores it for {ingress.worker}: it "
            f"stays unchanged. To change it: dashboard → {names.get(route.zone, route.zone)} → Workers Routes"
        )


def describe_half_open(changes: Sequence[Change], closes: SuggestedCommand, progress: Progress) -> str:
    """Describe what a run opened and left stored as closed; empty if there is none. `closes` closes it again."""
    sent = {*progress.changed, *progress.unconfirmed, progress.pending_target}
    opened = [each.target for each in changes if each.target in sent and not each.target.endswith(WORKER)]
    stored = next((each.target for each in changes if each.target == f"Worker {WORKER}"), "")
    if not opened or stored in progress.changed:
        return ""
    named = ", ".join(first_of(opened))
    return f"It opened {named}, which stays stored as closed. To close it again: `{closes.command}`"


def describe_stays(what: str, stays: MaintenanceWindow | None, held: str) -> str:
    """Describe a scope that stays closed for other incidents, or by a wider window."""
    if held or stays is None:
        return held
    return f"{what} is still offline, {SEEN}, because {stays.scope} is; to open it, reopen {stays.scope}"


def _describe_window_end(window: MaintenanceWindow, now: datetime) -> Iterator[str]:
    if window.until:
        moment = parse_utc(window.until)
        if window.reopen_at_end:
            yield f"{format_utc(moment)}; reopens automatically"
        else:
            late = ", which has passed: reopen it" if moment <= now else "; reminder only, nothing reopens it"
            yield f"{format_utc(moment)}{late}"


def _describe_window(window: MaintenanceWindow, now: datetime) -> str:
    where = f" for incident {window.named_incidents}" if window.incidents else ""
    until = "".join(f", until {each}" for each in _describe_window_end(window, now))
    return f"{window.scope}, since {format_utc(parse_utc(window.since))}{where}{until}"


def _describe_unrelated_routes(ingress: IngressPaths, windows: Iterable[MaintenanceWindow]) -> Iterator[str]:
    known = {each.key for window in windows for each in window.closed}
    for route in ingress.routes:
        if route.script == WORKER and (route.zone, route.pattern) not in known:
            yield f"route {route.pattern} leads to {WORKER} and is stored for another service, or not at all"


def _drop_empty_sections(*sections: PlanSection) -> tuple[PlanSection, ...]:
    return tuple(section for section in sections if section.lines)


def describe_calls(ctx: Context[Any], calls: int, *, reserved: int = 0) -> PlanSection:
    """Describe the calls of a plan that makes `calls` from now on, and `reserved` later, to reopen."""
    total = ctx.cloudflare.budget.made + calls + reserved
    limit = f"Cloudflare allows {MOST_CALLS:,} in {format_duration(LIMIT_PERIOD)} for all users of the token"
    lines = [f"about {total}; {limit}, and a run leaves {MOST_CALLS - OWN_CALLS} of them to others"]
    if reserved:
        lines.append(f"{reserved} of them are kept free to reopen it")
    return PlanSection(CALLS_SECTION, tuple(lines))


def wait_warnings(
    ctx: Context[Any], calls: int, *, reserved: int = 0, closes: "Service | None" = None
) -> Iterator[str]:
    """Yield a warning if the run waits for the rate limit, and how to close the service with one write instead."""
    waits = _find_call_waits(ctx.cloudflare.budget.made + calls, reserved)
    if not waits:
        return
    yield (
        f"Cloudflare's rate limit makes this run wait about {format_duration(waits)} in all, for {calls + reserved} "
        "calls. Until then it has changed only a part of the routes"
    )
    runtime = ctx.environment.runtime
    if closes is not None and runtime is not None and runtime.service == closes.name:
        yield f"one write closes it at once: set `maintenance: switch` for {closes.name} in ops.yml"


def _find_call_waits(calls: int, reserved: int) -> float:
    """Return about how many seconds the run waits to make the calls while it reserves others."""
    most = limit_calls(reserved)
    over = max(0, calls - most) / most + max(0, reserved - OWN_CALLS) / OWN_CALLS
    return math.ceil(over * LIMIT_PERIOD / 60) * 60.0
