"""What a person must know of something that is off: the lists of its plan. Pure."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from ops.core.clock import parse_utc, utc_text
from ops.core.names import MAINTENANCE_WORKER as WORKER
from ops.core.plan import PlanSection
from ops.maintenance.orphaned_routes import Recovered
from ops.maintenance.routes import MOST_ZONES, Ways, closes, not_asked, stays_open
from ops.maintenance.state import Block

if TYPE_CHECKING:
    from ops.engine.context import Context

NAMED = 5
"""Zones that a warning names; the others are counted."""


def closing(
    ways: Ways, block: Block, others: Iterable[Block], notes: Iterable[str], now: datetime
) -> tuple[PlanSection, ...]:
    return _filled(
        PlanSection("What people are told", (block.message,)),
        PlanSection("Meant to last until", tuple(_until(block, now))),
        PlanSection("Closed, and what each was", tuple(closes(ways, block))),
        PlanSection("Stays open", tuple(stays_open(ways, block.path))),
        PlanSection("Left as it is", (*notes, *_stray(ways, (block, *others)))),
        PlanSection("Off besides", tuple(_off(each, now) for each in others)),
    )


def opening(ways: Ways, opened: tuple[Block, ...], still: Iterable[Block], now: datetime) -> tuple[PlanSection, ...]:
    return _filled(
        PlanSection("Was off", tuple(_off(each, now) for each in opened)),
        PlanSection("What was stored of it", tuple(line for block in opened for line in closes(ways, block))),
        PlanSection("Stays off", tuple(_off(each, now) for each in still)),
        PlanSection("Left as it is", tuple(_stray(ways, (*opened, *still)))),
    )


@dataclass(frozen=True)
class End:
    """How something opens at its end; `nobody` says that nothing does."""

    how: str
    nobody: str = ""

    @classmethod
    def of(cls, block: Block, ctx: "Context[Any]") -> Self:
        """`block` has an end."""
        end, command = parse_utc(block.until), f"{ctx.program[0]} maintenance due --environment {ctx.environment.name}"
        every = ctx.config.github.schedules.get("reopen-maintenance")
        schedule = f"the first scheduled run after {utc_text(end)} opens it: every {every}, and GitHub may drop some"
        if ctx.request.ends_by is not None and end <= ctx.request.ends_by:
            minutes = math.ceil((end - ctx.clock.now()).total_seconds() / 60)
            how = (
                f"a job of this workflow run opens it at {utc_text(end)}, at most 2 minutes late. It waits {minutes} "
                f"minutes, which a private repository pays as minutes of Actions. If it is late: {command}"
            )
            return cls(f"{how}. Else {schedule}" if every else how)
        if every:
            return cls(schedule)
        why = "no job of this run waits for it, and github.schedules in ops.yml has no reopen-maintenance"
        nobody = f"nothing opens it at its end: {why}. Run `{command}` then"
        return cls(f"run this at {utc_text(end)}: {command}", nobody)


def follows(block: Block, opens: str, end: End | None) -> Iterator[str]:
    if end is not None:
        yield f"{end.how}. A person can open it earlier: {opens}"
        yield "to let it stay off after that end: the same command without --reopen-at-end"
    else:
        yield f"it stays off until a person opens it: {opens}"
        yield (
            f"at {utc_text(parse_utc(block.until))} it reminds in what is shown here, and opens nothing: put it into a "
            "calendar"
            if block.until
            else "no end was given: agree who opens it, and when"
        )
    yield (
        "a deployment that sets the Worker's routes may fail, since their patterns are taken, or turn them back: start "
        "this again after one"
    )
    yield "probes of what is off say that it is off on purpose, and prove nothing of the service"


def warnings(ways: Ways, block: Block, former: Block | None, out_of_reach: Iterable[str]) -> Iterator[str]:
    """`former`: what was stored of the same before."""
    if former is not None and former.reopen_at_end and not block.reopen_at_end:
        yield f"it was to open by itself after {utc_text(parse_utc(former.until))}, and does so no more"
    for host in out_of_reach:
        yield f"{host} is a custom domain of {ways.worker} in a zone that the token does not see: it stays open"
    if block.path:
        yield f"all that begins with {block.path} is off, {block.path}x as well: a route cannot tell them apart"
        if ways.subdomain.enabled or ways.subdomain.previews:
            yield f"{block.path} stays open on workers.dev ({ways.subdomain}): only the whole service closes it there"
    if unasked := not_asked(block):
        yield f"not asked afterwards, since it is not known which hosts there are: {', '.join(unasked)}"


def unread(ways: Ways) -> Iterator[str]:
    """A warning about zones whose routes were not read, since there are too many of them."""
    if ways.unread:
        names = ", ".join(zone.name for zone in ways.unread[:NAMED])
        more = f" and {len(ways.unread) - NAMED} more" if len(ways.unread) > NAMED else ""
        yield (
            f"the token sees more than {MOST_ZONES} zones, so the routes of {names}{more} were not read: a route there "
            f"that leads to {ways.worker} stays as it is. A token for fewer zones reads all of its zones"
        )


def orphaned(ways: Ways, recovered: Recovered) -> Iterator[str]:
    """Warnings about routes that lead to ops-maintenance and that its live version does not store."""
    for route in recovered.routes:
        yield (
            f"the route {route.pattern} leads to {WORKER}, and the live version of {WORKER} does not store it: another "
            "run stopped half way. An earlier version says where it led before, and this run uses that"
        )
    if recovered.is_subdomain:
        yield f"workers.dev of {ways.worker} was switched off by a run that stopped half way: this run restores it"
    names = {zone.id: zone.name for zone in ways.zones}
    for route in recovered.unknown:
        yield (
            f"the route {route.pattern} leads to {WORKER}, and no version of {WORKER} stores it for {ways.worker}: it "
            f"stays as it is. To change it: dashboard → {names.get(route.zone, route.zone)} → Workers Routes"
        )


def _until(block: Block, now: datetime) -> Iterator[str]:
    if block.until:
        moment = parse_utc(block.until)
        if block.reopen_at_end:
            yield f"{utc_text(moment)}; it is to be opened then"
        else:
            late = ", which is over: who opens it?" if moment <= now else "; it reminds, and opens nothing"
            yield f"{utc_text(moment)}{late}"


def _off(block: Block, now: datetime) -> str:
    where = f" for incident #{block.incident}" if block.incident else ""
    until = "".join(f", until {each}" for each in _until(block, now))
    return f"{block.what}, since {utc_text(parse_utc(block.since))}{where}{until}"


def _stray(ways: Ways, blocks: Iterable[Block]) -> Iterator[str]:
    known = {each.key for block in blocks for each in block.closed}
    for route in ways.routes:
        if route.script == WORKER and (route.zone, route.pattern) not in known:
            yield f"the route {route.pattern} leads to {WORKER} and is stored for something else, or nowhere"


def _filled(*sections: PlanSection) -> tuple[PlanSection, ...]:
    return tuple(section for section in sections if section.lines)
