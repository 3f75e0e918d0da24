"""Scenario 7 of the rollback procedure: an endpoint or the whole API offline, by routes that lead to ops-maintenance.

Where ops.yml says `maintenance: switch`, the application does it itself (`maintenance/by_switch.py`).

Which routes these are is decided in `maintenance/routes.py`. Every former value is stored before the first changes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ops.cloudflare.types.zones import Route, Zone
from ops.core.clock import parse_utc, utc_text
from ops.core.duration import ending
from ops.core.errors import ConfigError, Reason, Refused
from ops.core.names import MAINTENANCE_WORKER as WORKER
from ops.core.next_step import SuggestedCommand
from ops.core.plan import Change, Plan
from ops.core.threads import run_all
from ops.core.verdict import MaintenanceCheck
from ops.engine.context import Context
from ops.engine.runbook import ObservedState, Runbook, TokenPermissions, param, service_of
from ops.maintenance import by_switch, orphaned_routes, plan_text
from ops.maintenance import routes as maintenance_plan
from ops.maintenance import state as maintenance
from ops.maintenance import steps as maintaining
from ops.maintenance.orphaned_routes import Recovered
from ops.maintenance.routes import Ways
from ops.maintenance.state import MOMENT, Asked, Block, Closed, Stored
from ops.maintenance.steps import Guard, Standing
from ops.maintenance.writes import OFF, Deploy, Step, Store, to_close, to_open
from ops.probes.runner import ProbeSet
from ops.switches import steps as switching
from ops.workers.plan_text import deployed

if TYPE_CHECKING:
    from ops.config import Environment, Service
    from ops.config.probes import Probe

READINGS = 3
"""Times that the routes are read while other runs change ops-maintenance."""
MESSAGE = "This service is off for maintenance. Please try again later."


@dataclass(frozen=True)
class Params:
    state: str = param("on: it goes offline; off: what on stored is put back")
    service: str = param("the service of ops.yml to take offline")
    path: str = param("all that begins with this path, such as /api/ai; without it the whole service", default="")
    message: str = param("what people and programs are told, at most 300 characters", default="")
    until: str = param(
        "how long it is meant to last, as 2h or 2026-11-24T05:00Z: it reminds, and opens nothing", default=""
    )
    reopen_at_end: bool = param("with until: at that end a later job or a schedule opens it again", default=False)
    reason: str = param("why, in a few words, for the deployment's message and the timeline", default="")


@dataclass(kw_only=True)
class Details(maintaining.Steps):
    addresses: tuple[MaintenanceCheck, ...]
    probes: "tuple[Probe, ...]"

    def asked(self) -> tuple[MaintenanceCheck, ...]:
        """Where an answer must name a run, it is the one whose version serves."""
        return tuple(replace(each, run=self.run) if each.run else each for each in self.addresses)


@dataclass(frozen=True)
class Seen:
    """What a plan is made of."""

    service: "Service"
    asked: Asked
    standing: Standing
    ways: Ways
    recovered: Recovered

    @property
    def stored(self) -> Stored:
        """What is off: as the live version stores it, and what was recovered of orphaned routes."""
        return self.recovered.stored


class Maintenance(Runbook[Params, Details | by_switch.Details]):
    """Take a service, or a path of it, offline at the edge, and open it again."""

    name = "maintenance"
    when = "An endpoint or the whole API has to be offline at once, as after a leak, until a person opens it"
    kind = "worker"
    ends_with = "maintenance due"
    github_environment = "security"  # a token that may change routes
    params = Params
    example = Params(state="on", service="api")
    writes = (
        ("PUT", "/zones/*/workers/routes/*"),
        ("POST", "/zones/*/workers/routes"),
        ("DELETE", "/zones/*/workers/routes/*"),
        ("POST", "/accounts/*/workers/scripts/*/subdomain"),
        ("POST", "/accounts/*/workers/scripts/*/versions"),  # of ops-maintenance
        ("POST", "/accounts/*/workers/scripts/*/deployments"),
        ("PUT", "/accounts/*/storage/kv/namespaces/*/values/*"),  # with `maintenance: switch`
    )
    permissions = TokenPermissions(cloudflare=("Workers Scripts Write", "Workers Routes Write", "Zone Read"))

    def fits(self, environment: "Environment", service: str) -> list[dict[str, Any]]:  # noqa: ARG002
        return [{"state": state} for state in ("on", "off")]

    def ends_at(self, params: Params, environment: "Environment", now: datetime) -> datetime | None:
        service = environment.services.get(params.service)
        if service is None or service.maintenance == "switch" or not params.reopen_at_end:
            return None  # a switch ends by the clock of the Worker
        try:
            return ending(params.until, now)
        except ConfigError:
            return None  # the run says what is wrong with it

    def choices(self, environment: "Environment") -> Mapping[str, Sequence[str]]:  # noqa: ARG002  the same everywhere
        return {"state": ("on", "off")}

    def probes(self, ctx: Context[Params], plan: Plan[Details | by_switch.Details] | None) -> ProbeSet:
        service, asked, details = service_of(ctx, self.kind), _asked(ctx), plan.details if plan else None
        if service.maintenance == "switch":
            return by_switch.probes(ctx, service, asked, None if isinstance(details, Details) else details)
        if isinstance(details, Details):
            return ProbeSet(service.url, details.probes, service.verify, addresses=details.asked())
        address = MaintenanceCheck(service.url + (asked.path or "/"), is_off=asked.is_on)
        return ProbeSet(service.url, () if asked.is_on else service.probes, service.verify, addresses=(address,))

    def preflight(self, ctx: Context[Params]) -> Plan[Details | by_switch.Details]:
        service, asked = service_of(ctx, self.kind), _asked(ctx)
        if service.maintenance == "switch":
            return by_switch.preflight(ctx, service, asked, MESSAGE)
        standing, ways = _read(ctx, service)
        recovered = _recover(ctx, service, standing, ways)
        seen = Seen(service, asked, standing, ways, recovered)
        return _closing(ctx, seen) if asked.is_on else _opening(ctx, seen, self.to_be_opened(ctx, seen))

    def to_be_opened(self, ctx: Context[Params], seen: Seen) -> tuple[Block, ...]:  # noqa: ARG002  for the schedule's
        """Without a path: all that is off of the service."""
        path = seen.asked.path
        return tuple(each for each in seen.stored.of(seen.service.name) if not path or each.path == path)

    def check(self, ctx: Context[Params], plan: Plan[Details | by_switch.Details], change: Change) -> ObservedState:
        if isinstance(plan.details, by_switch.Details):
            return switching.check(ctx, plan.details.of[change])
        return maintaining.check(ctx, plan.details, change)

    def apply(self, ctx: Context[Params], plan: Plan[Details | by_switch.Details], change: Change) -> str:
        if isinstance(plan.details, by_switch.Details):
            return switching.apply(ctx, plan.details.of[change])
        return maintaining.apply(ctx, plan.details, change)


def _asked(ctx: Context[Params]) -> Asked:
    """Raises ConfigError."""
    params = ctx.params
    return Asked.of(
        state=params.state,
        path=params.path,
        message=params.message,
        until=params.until,
        reopen_at_end=params.reopen_at_end,
        now=ctx.clock.now(),
    )


def _read(ctx: Context[Params], service: "Service") -> tuple[Standing, Ways]:
    """Two rounds; the routes last, so that they are as fresh as can be when the first one changes. Raises Refused."""
    worker, workers = service.worker, ctx.cloudflare.workers
    others = [s for s in ctx.environment.services.values() if s.worker and s.worker != worker]
    standing, zones, domains, subdomain, address, crons, handlers, *binds = run_all(
        [
            lambda: maintaining.standing(workers),
            ctx.cloudflare.routes.zones,
            ctx.cloudflare.routes.domains,
            lambda: workers.subdomain(worker),
            lambda: workers.address(worker),
            lambda: workers.crons(worker),
            lambda: _live(ctx, worker)[0],
            *(lambda w=other.worker: worker in _live(ctx, w)[1] for other in others),
        ]
    )
    if standing is None:
        raise Refused(
            f"there is no Worker {WORKER} yet, which answers for what is off",
            reason=Reason.NOT_PREPARED,
            hint="Prepare it, once for each account.",
            press=ctx.press(maintaining.PREPARE),
        )
    own = tuple(domain for domain in domains if domain.worker == worker)
    read = maintenance_plan.zones_to_read(zones, [_host(service)], standing.stored, own)
    standing, routes = _read_routes(ctx, standing, read)
    bound_by = tuple(other.name for other, binds_it in zip(others, binds, strict=True) if binds_it)
    unread = tuple(zone for zone in zones if zone not in read)
    return standing, Ways(worker, read, routes, domains, subdomain, address, crons, handlers, bound_by, unread)


def _read_routes(
    ctx: Context[Params], standing: Standing, zones: tuple[Zone, ...]
) -> tuple[Standing, tuple[Route, ...]]:
    """The routes, and ops-maintenance as it was while they were read: once more if a run changed it. Raises Refused."""
    now: Standing | None = standing
    for _ in range(READINGS):
        planned = now
        routes, now = run_all(
            [
                lambda: maintaining.read_routes(ctx.cloudflare.routes, zones),
                lambda: maintaining.standing(ctx.cloudflare.workers),
            ]
        )
        if planned and now and now.deployment.id == planned.deployment.id:
            return planned, routes
    raise Refused(
        f"{WORKER} changes again and again: {deployed(now.deployment) if now else 'it was deleted'}",
        reason=Reason.WORLD_MOVED,
        hint="Another run takes something offline or opens it. Wait for its end, then start again.",
    )


def _recover(ctx: Context[Params], service: "Service", standing: Standing, ways: Ways) -> Recovered:
    """Orphaned routes, with their former values from older versions, which are read only if there is such a route."""
    left = orphaned_routes.orphans(ways.stray, standing.stored)

    def enough(found: list[Stored]) -> bool:
        return not orphaned_routes.recover(ways, standing.stored, found, service.name).unknown

    older = maintaining.older(ctx.cloudflare.workers, standing.deployment, enough) if left else []
    return orphaned_routes.recover(ways, standing.stored, older, service.name)


def _host(service: "Service") -> str:
    return service.url.removeprefix("https://").partition(":")[0]


def _live(ctx: Context[Params], worker: str) -> tuple[frozenset[str], frozenset[str]]:
    """Of what serves: its handlers, and the Workers that it calls by a service binding."""
    deployments = ctx.cloudflare.workers.find(worker)
    version = ctx.cloudflare.workers.version(worker, deployments[0].split[0][0]) if deployments else None
    if version is None:
        return frozenset(), frozenset()
    return version.handlers, version.calls


def _closing(ctx: Context[Params], seen: Seen) -> Plan[Details | by_switch.Details]:
    ways, path, live, stored = seen.ways, seen.asked.path, seen.standing.deployment, seen.standing.stored
    existing = seen.stored.block(seen.service.name, path)
    wanted = maintenance_plan.closing(ways, seen.stored, path)
    block = _block(ctx, seen, existing, tuple(wanted.closed))
    _refuse_unreachable(seen, block)
    blocks = maintenance.with_block(seen.stored.blocks, block)
    closing = tuple(to_close(ways, block, wanted.closed))
    # Also where it is stored already: another run that opens it at the same time sees a new version, and stops.
    is_stored = block == stored.block(seen.service.name, path) and not closing
    steps: list[Step] = [] if is_stored else [Store(blocks, live, _opened(seen, ())), Deploy(live, blocks), *closing]
    if steps and (why := maintenance.too_large(blocks)):
        raise Refused(
            f"how to undo it cannot be stored: {why}",
            reason=Reason.TOO_MANY_ROUTES,
            hint="Take the most urgent path off by itself, or let fewer routes lead to the Worker.",
        )
    run = ctx.run_id if steps else seen.stored.run
    opens = _press(ctx, "off", path)
    changes = maintaining.changes(steps, opens)
    addresses = [MaintenanceCheck(url, way, run=run) for way, url in maintenance_plan.addresses(block)]
    addresses += [MaintenanceCheck(f"https://{host}{path or '/'}", run=run) for host in wanted.out_of_reach]
    others = tuple(each for each in seen.stored.blocks if each != existing)
    end = plan_text.End.of(block, ctx) if block.reopen_at_end else None
    return Plan(
        summary=_summary(block, changed=bool(changes)),
        changes=tuple(changes),
        sections=plan_text.closing(ways, block, others, wanted.notes, ctx.clock.now()),
        not_undone=("requests that were let in before, and what caches of others hold of them",),
        follows=tuple(plan_text.follows(block, opens.command, end)),
        warnings=(
            *([end.nobody] if end and end.nobody else []),
            *plan_text.warnings(ways, block, existing, wanted.out_of_reach),
            *plan_text.orphaned(ways, seen.recovered),
            *plan_text.unread(ways),
        ),
        reason=None if changes else Reason.ALREADY_OFF,
        next_step=_press(ctx, "on", "") if path else None,
        done=f"Took {block.what} offline",
        ends_at=parse_utc(block.until) if block.reopen_at_end else None,
        proves=f"{block.what} is off on purpose: every address that was asked answers 503 from {WORKER}",
        details=Details(of=changes, guard=Guard(live, blocks), run=run, addresses=tuple(addresses), probes=()),
    )


def _block(ctx: Context[Params], seen: Seen, existing: Block | None, closed: tuple[Closed, ...]) -> Block:
    """What was stored before stays as it was stored; but whether it opens by itself, the newest press says."""
    asked = seen.asked
    subdomain = None if asked.path or seen.ways.subdomain == OFF else seen.ways.subdomain
    if existing is not None:
        former = {each.key: each for each in (*existing.closed, *closed)}
        return replace(
            existing,
            message=asked.message or existing.message,
            until=asked.until or existing.until,
            reopen_at_end=asked.reopen_at_end,
            closed=tuple(former.values()),
            subdomain=existing.subdomain or subdomain,
        )
    return Block(
        service=seen.service.name,
        worker=seen.ways.worker,
        path=asked.path,
        message=asked.message or MESSAGE,
        until=asked.until,
        reopen_at_end=asked.reopen_at_end,
        since=f"{ctx.clock.now():{MOMENT}}",
        run=ctx.run_id,
        incident=ctx.request.incident,
        closed=closed,
        subdomain=subdomain,
    )


def _summary(block: Block, *, changed: bool) -> str:
    counted = "one route" if len(block.closed) == 1 else f"{len(block.closed)} routes"
    until = f", meant to last until {utc_text(parse_utc(block.until))}" if block.until else ""
    return f"{block.what}: {'off' if changed else 'off already'}, by {counted} to {WORKER}{until}"


def _refuse_unreachable(seen: Seen, block: Block) -> None:
    host = _host(seen.service)
    if block.closed and any(zone.holds(host) for zone in seen.ways.zones):
        return
    zones = ", ".join(zone.name for zone in seen.ways.zones) or "none"
    raise Refused(
        f"no route and no custom domain leads from {host}{block.path} to {block.worker}, so no route can close it; "
        f"the zones that the token sees: {zones}",
        reason=Reason.NO_WAY_IN,
        hint=f"Check the url in ops.yml, and that the token may read and edit the routes of the zone of {host}.",
    )


def _opening(ctx: Context[Params], seen: Seen, opened: tuple[Block, ...]) -> Plan[Details | by_switch.Details]:
    service, path, live = seen.service, seen.asked.path, seen.standing.deployment
    remaining = tuple(block for block in seen.stored.blocks if block not in opened)
    still = tuple(block for block in remaining if block.service == service.name)
    steps, left = to_open(seen.ways, opened, remaining)
    if opened:
        steps += [Store(remaining, live, _opened(seen, opened)), Deploy(live, remaining)]
    message = opened[0].message if len(opened) == 1 else ""
    changes = maintaining.changes(steps, _press(ctx, "on", path, message=message))
    what = f"{service.name} {path}" if path else f"the whole of {service.name}"
    stays = next((each.what for each in still if path.startswith(each.path)), "")
    return Plan(
        summary=f"{what}: {'open again' if opened else 'was not off'}",
        changes=tuple(changes),
        sections=plan_text.opening(seen.ways, opened, still, ctx.clock.now()),
        warnings=(
            *(f"left as it is: {each.text}" for each in left),
            *plan_text.orphaned(seen.ways, seen.recovered),
            *plan_text.unread(seen.ways),
        ),
        reason=None if opened else Reason.NOT_OFF,
        done=f"Opened {what} again",
        proves=f"{path} stays off, since {stays} is off"
        if stays
        else f"{what} is not answered by {WORKER}, and the probes are healthy",
        details=Details(
            of=changes,
            guard=Guard(live),
            run=ctx.run_id,
            addresses=tuple(
                _addresses_of_opening(ctx, seen, opened, remaining, {each.key for each in left}, is_off=bool(stays))
            ),
            probes=() if stays else tuple(probe for probe in service.probes if not _is_off(probe, still)),
        ),
    )


def _opened(seen: Seen, opened: tuple[Block, ...]) -> tuple[Block, ...]:
    return orphaned_routes.record_opened(seen.ways, seen.standing.stored, opened)


def _addresses_of_opening(
    ctx: Context[Params],
    seen: Seen,
    opened: tuple[Block, ...],
    remaining: tuple[Block, ...],
    left: set[tuple[str, str]],
    *,
    is_off: bool,
) -> Iterator[MaintenanceCheck]:
    """Where it was off, but what somebody else changed; with nothing to open, the service's own."""
    if not opened:
        yield MaintenanceCheck(seen.service.url + (seen.asked.path or "/"), is_off=is_off)
    for block in opened:
        passed_over = left | Stored(remaining, "").closed.keys()
        here = replace(block, closed=tuple(each for each in block.closed if each.key not in passed_over))
        for way, url in maintenance_plan.addresses(here):
            yield MaintenanceCheck(url, way, is_off=is_off, run=ctx.run_id if is_off else "")


def _is_off(probe: "Probe", still: tuple[Block, ...]) -> bool:
    return probe.http is not None and any(probe.http.path.startswith(block.path) for block in still)


def _press(ctx: Context[Params], state: str, path: str, *, message: str = "") -> SuggestedCommand:
    return ctx.press("maintenance", service=ctx.params.service, state=state, path=path, message=message)
