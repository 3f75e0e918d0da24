"""Plan maintenance on and off by routes: the Worker ops-maintenance answers at the edge.

Used by the runbook `maintenance`, unless ops.yml says `maintenance: switch`. All previous values are stored before the
first route changes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ops.cloudflare.types.workers import describe_deployment
from ops.cloudflare.types.zones import WorkerRoute, Zone
from ops.config.probes import ProbeSet, probes_claim
from ops.core.clock import format_utc, parse_utc
from ops.core.errors import Reason
from ops.core.names import MAINTENANCE_WORKER as WORKER
from ops.core.next_step import SuggestedCommand
from ops.core.owners import StateOwner, advise_asking_owners, find_owner
from ops.core.threads import run_parallel_mixed
from ops.core.verdict import MaintenanceCheck
from ops.engine.context import Context
from ops.engine.step import StepPlan
from ops.maintenance import drift, plan_text, refusals, routes, site_undo, state, steps
from ops.maintenance.drift import RecoveredState
from ops.maintenance.ownership import list_window_notices, plan_release
from ops.maintenance.routes import IngressPaths, RoutesToClose
from ops.maintenance.state import TIME_FORMAT, ClosedRoute, MaintenanceRequest, MaintenanceState, MaintenanceWindow
from ops.maintenance.steps import ConcurrencyGuard, MaintenanceWorker, StoredState
from ops.maintenance.writes import (
    SUBDOMAIN_OFF,
    DeployState,
    MaintenanceWrite,
    UploadState,
    count_calls,
    plan_closing,
    plan_reopening,
)
from ops.switches.steps import suggest_acceptance

if TYPE_CHECKING:
    from ops.config import Service
    from ops.config.probes import Probe

MAX_ROUTE_READS = 3
"""Most reads of the routes while other runs change ops-maintenance."""
ReadWorker = Callable[[], MaintenanceWorker | None]
DEFAULT_MESSAGE = "This service is off for maintenance. Please try again later."


@dataclass(frozen=True)
class MaintenanceSnapshot:
    """State that a plan of maintenance starts from."""

    service: "Service"
    request: MaintenanceRequest
    worker: MaintenanceWorker
    ingress: IngressPaths
    recovered: RecoveredState

    @property
    def state(self) -> MaintenanceState:
        """Return the state of the live version, completed with recovered orphaned routes."""
        return self.recovered.state


def _build_route_probes(
    service: "Service", probes: "tuple[Probe, ...]", addresses: tuple[MaintenanceCheck, ...], stored: StoredState
) -> ProbeSet:
    """Return the probes after the run, with the run that the answers of closed addresses must name."""
    named = tuple(replace(each, run=stored.run) if each.run else each for each in addresses)
    return ProbeSet(service.url, probes, service.verify, addresses=named)


def build_requested_probes(service: "Service", request: MaintenanceRequest) -> ProbeSet:
    """Return the probes of the requested address, before there is a plan."""
    address = MaintenanceCheck(service.url + (request.path or "/"), is_off=request.is_on)
    return ProbeSet(service.url, () if request.is_on else service.probes, service.verify, addresses=(address,))


def read_snapshot(ctx: Context[Any], service: "Service", request: MaintenanceRequest) -> MaintenanceSnapshot:
    """Read the routes and ops-maintenance. Raises Refused, ProviderError."""
    read = _read_worker_and_ingress if service.worker else _read_worker_and_site
    read_worker = partial(steps.read_maintenance_worker, ctx.cloudflare.workers, is_tolerant=request.releases_all)
    maintenance_worker, ingress = read(ctx, service, read_worker)
    recovered = _recover_state(ctx, service, maintenance_worker, ingress)
    return MaintenanceSnapshot(service, request, maintenance_worker, ingress, recovered)


def _read_worker_and_ingress(
    ctx: Context[Any], service: "Service", read_worker: "ReadWorker"
) -> tuple[MaintenanceWorker, IngressPaths]:
    """Read in two rounds: the routes last, so that they are fresh when the first one changes. Raises Refused."""
    worker, workers = service.worker, ctx.cloudflare.workers
    others = [s for s in ctx.environment.services.values() if s.worker and s.worker != worker]
    maintenance_worker, zones, domains, subdomain, address, crons, handlers, *binds = run_parallel_mixed(
        [
            read_worker,
            ctx.cloudflare.routes.list_zones,
            ctx.cloudflare.routes.list_domains,
            lambda: workers.read_subdomain(worker),
            lambda: workers.read_workers_dev_host(worker),
            lambda: workers.list_cron_triggers(worker),
            lambda: _read_handlers_and_calls(ctx, worker)[0],
            *(lambda w=other.worker: worker in _read_handlers_and_calls(ctx, w)[1] for other in others),
        ]
    )
    maintenance_worker = _require_worker(ctx, maintenance_worker)
    own = tuple(domain for domain in domains if domain.worker == worker)
    read = routes.select_zones(zones, [service.host], maintenance_worker.state, own)
    maintenance_worker, worker_and_routes = _read_routes(ctx, maintenance_worker, read, read_worker)
    bound_by = tuple(other.name for other, binds_it in zip(others, binds, strict=True) if binds_it)
    unread = tuple(zone for zone in zones if zone not in read)
    return maintenance_worker, IngressPaths(
        worker, read, worker_and_routes, domains, subdomain, address, crons, handlers, bound_by, unread
    )


def _read_worker_and_site(
    ctx: Context[Any], service: "Service", read_worker: "ReadWorker"
) -> tuple[MaintenanceWorker, IngressPaths]:
    """Read ops-maintenance and the routes in the zone of a site's url. Raises Refused."""
    existing, zones = run_parallel_mixed([read_worker, ctx.cloudflare.routes.list_zones])
    maintenance_worker, host = _require_worker(ctx, existing), service.host
    own = [zone for zone in zones if zone.contains_host(host)]
    read = tuple(sorted(own, key=lambda zone: len(zone.name))[-1:])
    maintenance_worker, listed = _read_routes(ctx, maintenance_worker, read, read_worker)
    ways = IngressPaths("", read, listed, (), SUBDOMAIN_OFF, "", (), frozenset(), ())
    return maintenance_worker, replace(ways, site=service.pages, site_host=host)


def _require_worker(ctx: Context[Any], worker: MaintenanceWorker | None) -> MaintenanceWorker:
    if worker is None:
        raise refusals.not_prepared_refusal(ctx.suggest(steps.PREPARE_COMMAND))
    return worker


def _read_routes(
    ctx: Context[Any], maintenance_worker: MaintenanceWorker, zones: tuple[Zone, ...], read_worker: "ReadWorker"
) -> tuple[MaintenanceWorker, tuple[WorkerRoute, ...]]:
    """Read the routes, and again if another run changed ops-maintenance meanwhile. Raises Refused."""
    now: MaintenanceWorker | None = maintenance_worker
    workers = ctx.cloudflare.workers
    for _ in range(MAX_ROUTE_READS):
        listed, deployments = run_parallel_mixed(
            [lambda: steps.read_routes(ctx.cloudflare.routes, zones), lambda: workers.find_deployments(WORKER)]
        )
        if now and deployments and deployments[0].id == now.deployment.id:
            return now, listed
        now = read_worker()
    live = describe_deployment(now.deployment) if now else "deleted"
    raise refusals.changed_during_reads_refusal(MAX_ROUTE_READS, live)


def _recover_state(
    ctx: Context[Any], service: "Service", maintenance_worker: MaintenanceWorker, ingress: IngressPaths
) -> RecoveredState:
    """Recover orphaned routes from older versions, which are read only if there is such a route."""
    left = drift.find_orphans(ingress.maintenance_routes, maintenance_worker.state)

    def is_enough_closed(states: list[MaintenanceState]) -> bool:
        return not drift.recover_state(ingress, maintenance_worker.state, states, service.name).unknown_routes

    older = (
        steps.read_older_states(ctx.cloudflare.workers, maintenance_worker.deployment, is_enough_closed) if left else []
    )
    return drift.recover_state(ingress, maintenance_worker.state, older, service.name)


def _read_handlers_and_calls(ctx: Context[Any], worker: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the handlers of the live version, and the Workers that it calls through service bindings."""
    deployments = ctx.cloudflare.workers.find_deployments(worker)
    version = ctx.cloudflare.workers.read_version(worker, deployments[0].split[0][0]) if deployments else None
    if version is None:
        return frozenset(), frozenset()
    return version.handlers, version.called_workers


@dataclass(frozen=True)
class Closing:
    """How a service or path is closed."""

    snapshot: MaintenanceSnapshot
    existing: MaintenanceWindow | None
    """The stored window of the same path; another run made it."""
    window: MaintenanceWindow
    """The window to store."""
    wanted: RoutesToClose
    resumed: str = ""
    """Run that made the stored window and did not reopen it, in words; this run does. Empty if there is none."""

    @property
    def is_own(self) -> bool:
        """Return whether this run reopens the window."""
        return self.existing is None or bool(self.resumed)

    @property
    def writes(self) -> tuple[MaintenanceWrite, ...]:
        """Return the writes that close what is open, without those that store the window."""
        return tuple(plan_closing(self.snapshot.ingress, self.window, self.wanted.routes))

    @property
    def is_needed(self) -> bool:
        stored = self.snapshot.worker.state.find_window(self.window.service, self.window.path)
        return self.window != stored or bool(self.writes)

    def addresses(self, run: str) -> tuple[MaintenanceCheck, ...]:
        """Return the addresses that must be closed, by the state that `run` stored."""
        hosts = [("", f"https://{host}{self.window.path or '/'}") for host in self.wanted.unreachable_hosts]
        listed = (*routes.list_probe_addresses(self.window), *hosts)
        return tuple(MaintenanceCheck(url, way, run=run) for way, url in listed)


def choose_closing(ctx: Context[Any], snapshot: MaintenanceSnapshot) -> Closing:
    """Choose the routes and the window. Raises Refused if none leads to the service."""
    existing = snapshot.state.find_window(snapshot.service.name, snapshot.request.path)
    wanted = routes.choose_routes(snapshot.ingress, snapshot.state, snapshot.request.path)
    window = _build_window(ctx, snapshot, existing, tuple(wanted.routes))
    host = snapshot.service.host
    if not window.closed or not any(zone.contains_host(host) for zone in snapshot.ingress.zones):
        raise refusals.unreachable_refusal(host, window.path, snapshot.ingress)
    return Closing(snapshot, existing, window, wanted)


def plan_writes(ctx: Context[Any], closings: Sequence[Closing]) -> tuple[list[MaintenanceWrite], ConcurrencyGuard, str]:
    """Return the writes that close all of them, their guard, and the run that stores the state.

    Raises:
        Refused: the state does not fit into the variables of ops-maintenance.
    """
    first, *others = [each.snapshot for each in closings]
    live, windows = first.worker.deployment, state.merge_states(first.state, [each.state for each in others]).windows
    for each in closings:
        windows = state.replace_window(windows, each.window)
    guard = ConcurrencyGuard(live, windows)
    if not any(each.is_needed for each in closings):
        return [], guard, first.state.run
    if problem := state.describe_excess(windows):
        raise refusals.too_many_routes_refusal(problem)
    # Store it also if only a route must be closed: a run that opens it at the same time sees a new version, and stops.
    reopened = tuple(dict.fromkeys(window for each in (first, *others) for window in _reopened_to_store(each, ())))
    closing = dict.fromkeys(write for each in closings for write in each.writes)
    return [UploadState(windows, live, reopened), DeployState(live, windows), *closing], guard, ctx.run_id


def plan_closed(ctx: Context[Any], snapshot: MaintenanceSnapshot) -> StepPlan:
    ingress, path = snapshot.ingress, snapshot.request.path
    closing = choose_closing(ctx, snapshot)
    existing, window, wanted = closing.existing, closing.window, closing.wanted
    writes, guard, run = plan_writes(ctx, [closing])
    undo = site_undo.plan_undo(window, ingress.site_host, writes) if ingress.site else None
    if ingress.site and existing is not None and not closing.writes:
        site_undo.refuse_without_effect(ctx, ingress, window, _suggest_state(ctx, snapshot, "off", path))
    addresses = closing.addresses(run)
    opens = _suggest_state(ctx, snapshot, "off", path)
    stored = StoredState(guard, run)
    changes, needed = steps.build_maintenance_steps(writes, stored, opens), count_calls(writes)
    others = tuple(each for each in snapshot.state.windows if each != existing)
    end = plan_text.ReopeningMethod.choose(window, ctx) if window.reopen_at_end else None
    checks = plan_text.ClosureChecks.choose(ctx, window.service, changed=bool(changes))
    plan = StepPlan(
        summary=_summarize_window(window, changed=bool(changes)),
        changes=changes,
        sections=(
            *plan_text.closing_sections(ingress, window, others, wanted.notes, ctx.clock.now()),
            plan_text.describe_calls(ctx, needed),
        ),
        not_undone=("requests that were accepted before, and their responses in caches of others",),
        consequences=tuple(plan_text.describe_consequences(window, opens.command, end, checks)),
        warnings=(
            *([end.warning] if end and end.warning else []),
            *plan_text.window_warnings(ingress, window, existing, wanted.unreachable_hosts),
            *plan_text.orphaned_route_warnings(ingress, snapshot.recovered),
            *plan_text.unread_zone_warnings(ingress),
            *plan_text.wait_warnings(ctx, needed, closes=snapshot.service),
            *checks.missing,
        ),
        reason=None if changes else Reason.ALREADY_OFF,
        next_step=_suggest_state(ctx, snapshot, "on", "") if path else ctx.status_command,
        done_message=f"Took {window.scope} offline",
        ends_at=parse_utc(window.until) if window.reopen_at_end else None,
        proved_claim=f"{window.scope} is offline as requested: {_count_addresses(addresses)} 503",
        proves_health=False,
        notices=list_window_notices(ctx, window, existing),
        probes=partial(_build_route_probes, snapshot.service, (), addresses, stored),
    )
    return site_undo.limit_claims(plan, ingress, undo, _count_addresses(addresses)) if ingress.site else plan


def _build_window(
    ctx: Context[Any],
    snapshot: MaintenanceSnapshot,
    existing: MaintenanceWindow | None,
    closed: tuple[ClosedRoute, ...],
) -> MaintenanceWindow:
    """Build the window to store. A message or end of the request replaces the stored one; start and run stay.

    A person who closes what a running restore closed takes it over, so that the restore does not reopen it.
    """
    request = snapshot.request
    subdomain = None if request.path or snapshot.ingress.subdomain == SUBDOMAIN_OFF else snapshot.ingress.subdomain
    if existing is not None:
        former = {each.key: each for each in (*existing.closed, *closed)}
        kept = existing if request.ends_with_run else _add_request(ctx, request, existing)
        return replace(kept, closed=tuple(former.values()), subdomain=existing.subdomain or subdomain)
    window = MaintenanceWindow(
        service=snapshot.service.name,
        worker=snapshot.ingress.worker,
        path=request.path,
        message=request.message or DEFAULT_MESSAGE,
        until=request.until,
        reopen_at_end=request.reopen_at_end,
        since=f"{ctx.clock.now():{TIME_FORMAT}}",
        run=ctx.run_id,
        incident=ctx.request.incident,
        closed=closed,
        subdomain=subdomain,
        reopened_by=ctx.run_id if request.ends_with_run else "",
    )
    return window if request.ends_with_run else window.with_owners([_make_owner(ctx, request, window.message, None)])


def _add_request(ctx: Context[Any], request: MaintenanceRequest, existing: MaintenanceWindow) -> MaintenanceWindow:
    """Return the window with the requester as an owner, which has its own end and message.

    It takes over a window of a run. A person without an incident replaces a run without one.
    """
    if existing.reopened_by:
        taken = replace(existing, run=ctx.run_id, message=DEFAULT_MESSAGE, reopened_by="")
        return taken.with_owners([_make_owner(ctx, request, request.message or DEFAULT_MESSAGE, None)])
    owners = existing.active_owners(ctx.clock.now())
    own = find_owner(owners, ctx.request.requester)
    if own is None and ctx.request.incident is None:
        own = next((each for each in owners if each.is_run), None)
    new = _make_owner(ctx, request, request.message, own)
    if own is None:
        return existing.with_owners((*owners, new))
    return existing.with_owners(tuple(new if each is own else each for each in owners))


def _make_owner(ctx: Context[Any], request: MaintenanceRequest, message: str, own: StateOwner | None) -> StateOwner:
    """Return the owner that this request adds, or makes of `own`; what it does not give stays."""
    now, end = ctx.clock.now().replace(microsecond=0), parse_utc(request.until) if request.until else None
    planned = end or (own.until or own.review_at if own else None)
    until, review_at = (planned, None) if request.reopen_at_end else (None, planned)
    if own is None:
        return StateOwner(ctx.request.incident, ctx.request.actor, now, until, review_at, message)
    new = replace(own, until=until, review_at=review_at, message=message or own.message)
    return new if new == own and not own.is_run else replace(new, by=ctx.request.actor)


def _summarize_window(window: MaintenanceWindow, *, changed: bool) -> str:
    counted = "one route" if len(window.closed) == 1 else f"{len(window.closed)} routes"
    until = f", planned end {format_utc(parse_utc(window.until))}" if window.until else ""
    return f"{window.scope}: {'' if changed else 'already '}in maintenance, {counted} to {WORKER}{until}"


def plan_reopened(ctx: Context[Any], snapshot: MaintenanceSnapshot, wanted: tuple[MaintenanceWindow, ...]) -> StepPlan:
    """Plan to reopen the wanted windows, as far as nobody else needs them. Raises Refused."""
    service, path, live = snapshot.service, snapshot.request.path, snapshot.worker.deployment
    released = plan_release(ctx, snapshot.request, wanted, snapshot.state.unreadable)
    opened, kept = released.opened, released.kept
    windows = [each for each in snapshot.state.windows if each not in opened]
    remaining = tuple(kept.get((each.service, each.path), each) for each in windows)
    still = tuple(window for window in remaining if window.service == service.name)
    writes, left = plan_reopening(snapshot.ingress, opened, remaining)
    if released.is_needed:
        writes += [UploadState(remaining, live, _reopened_to_store(snapshot, opened)), DeployState(live, remaining)]
    stored, message = StoredState(ConcurrencyGuard(live), ctx.run_id), opened[0].message if len(opened) == 1 else ""
    undo = _suggest_state(ctx, snapshot, "on", path, message=message)
    changes = steps.build_maintenance_steps(writes, stored, undo)
    needed, what = count_calls(writes), f"{service.name} {path}" if path else f"the whole of {service.name}"
    stays = next((each for each in still if path.startswith(each.path)), None)
    probes = () if stays else tuple(probe for probe in service.probes if not is_probe_closed(probe, still))
    done = "reopen" if opened else "no maintenance of its own" if stays else "not in maintenance"
    addresses = (
        *_reopened_addresses(ctx, snapshot, opened, remaining, {each.key for each in left}, is_off=bool(stays)),
        *_kept_addresses(ctx, kept.values()),
    )
    gone = f"{released.also}: {WORKER} no longer answers, and {probes_claim(probes)}"
    return StepPlan(
        summary=f"{what}: {'stays offline' if stays and released.is_needed else done}",
        changes=changes,
        sections=(
            *released.sections,
            *plan_text.reopening_sections(snapshot.ingress, opened, still, ctx.clock.now()),
            plan_text.describe_calls(ctx, needed),
        ),
        warnings=(
            *plan_text.unchanged_warnings(ctx, left, remaining),
            *plan_text.orphaned_route_warnings(snapshot.ingress, snapshot.recovered),
            *plan_text.unread_zone_warnings(snapshot.ingress),
            *plan_text.wait_warnings(ctx, needed),
        ),
        describe_remains=partial(plan_text.describe_half_open, changes, undo),
        reason=None if released.is_needed else Reason.NOT_OFF,
        next_step=suggest_acceptance(ctx, "maintenance", released.remaining_owners) or ctx.status_command,
        done_message=f"Released {what}" if stays else f"Reopened {what}{released.also}",
        proved_claim=plan_text.describe_stays(what, stays, released.held)
        if stays or (released.held and not opened)
        else f"{what} is open as requested{released.exception}{gone}",
        proves_health=bool(probes),
        tasks=advise_asking_owners(released.remaining_owners),
        notices=released.notices,
        probes=partial(_build_route_probes, service, probes, addresses, stored),
    )


def _count_addresses(addresses: tuple[MaintenanceCheck, ...]) -> str:
    """Return the subject and verb of the answer that every one of them gives."""
    return f"{len(addresses)} addresses answer" if len(addresses) != 1 else "1 address answers"


def _reopened_to_store(
    snapshot: MaintenanceSnapshot, opened: tuple[MaintenanceWindow, ...]
) -> tuple[MaintenanceWindow, ...]:
    return drift.reopened_to_store(snapshot.ingress, snapshot.worker.state, opened)


def _reopened_addresses(
    ctx: Context[Any],
    snapshot: MaintenanceSnapshot,
    opened: tuple[MaintenanceWindow, ...],
    remaining: tuple[MaintenanceWindow, ...],
    left: set[tuple[str, str]],
    *,
    is_off: bool,
) -> Iterator[MaintenanceCheck]:
    """Yield the reopened addresses, without skipped routes; if nothing reopens, the requested address."""
    if not opened:
        yield MaintenanceCheck(snapshot.service.url + (snapshot.request.path or "/"), is_off=is_off)
    for window in opened:
        passed_over = left | MaintenanceState(remaining, "").closed_routes.keys()
        here = replace(window, closed=tuple(each for each in window.closed if each.key not in passed_over))
        for way, url in routes.list_probe_addresses(here):
            yield MaintenanceCheck(url, way, is_off=is_off, run=ctx.run_id if is_off else "")


def _kept_addresses(ctx: Context[Any], windows: Iterable[MaintenanceWindow]) -> Iterator[MaintenanceCheck]:
    """Yield the addresses that stay closed, by the state that this run stores."""
    for window in windows:
        for way, url in routes.list_probe_addresses(window):
            yield MaintenanceCheck(url, way, run=ctx.run_id)


def is_probe_closed(probe: "Probe", still: tuple[MaintenanceWindow, ...]) -> bool:
    """Return whether the windows close the path of an HTTP probe."""
    return probe.http is not None and any(probe.http.path.startswith(window.path) for window in still)


def _suggest_state(
    ctx: Context[Any], snapshot: MaintenanceSnapshot, to: str, path: str, *, message: str = ""
) -> SuggestedCommand:
    return ctx.suggest("maintenance", service=snapshot.service.name, state=to, path=path, message=message)
