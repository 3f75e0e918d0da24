"""Turn maintenance mode on or off for a service or path (procedure scenario 7).

Routes are repointed to the Worker ops-maintenance; `ops/maintenance/routes.py` chooses them. All previous values are
stored before the first route changes. With `maintenance: switch` in ops.yml the application does it itself
(`ops/maintenance/by_switch.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ops.cloudflare.types.zones import WorkerRoute, Zone
from ops.core.clock import format_utc, parse_deadline, parse_utc
from ops.core.errors import ConfigError, Reason, Refused
from ops.core.names import MAINTENANCE_WORKER as WORKER
from ops.core.next_step import SuggestedCommand
from ops.core.plan import Change, Plan
from ops.core.threads import run_parallel_mixed
from ops.core.verdict import MaintenanceCheck
from ops.engine.context import Context
from ops.engine.runbook import ObservedState, Runbook, TokenPermissions, param, require_service
from ops.maintenance import by_switch, orphaned_routes, plan_text
from ops.maintenance import routes as maintenance_routes
from ops.maintenance import state as maintenance
from ops.maintenance import steps as maintenance_steps
from ops.maintenance.orphaned_routes import RecoveredState
from ops.maintenance.routes import IngressPaths
from ops.maintenance.state import TIME_FORMAT, ClosedRoute, MaintenanceRequest, MaintenanceState, MaintenanceWindow
from ops.maintenance.steps import ConcurrencyGuard, MaintenanceWorker
from ops.maintenance.writes import (
    SUBDOMAIN_OFF,
    DeployState,
    MaintenanceWrite,
    UploadState,
    plan_closing,
    plan_reopening,
)
from ops.probes.runner import ProbeSet
from ops.switches import steps as switch_steps
from ops.workers.plan_text import describe_deployment

if TYPE_CHECKING:
    from ops.config import Environment, Service
    from ops.config.probes import Probe

MAX_ROUTE_READS = 3
"""Most reads of the routes while other runs change ops-maintenance."""
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


class Maintenance(Runbook["Maintenance.Params", "Maintenance.Details | by_switch.SwitchMaintenanceDetails"]):
    """Turn maintenance mode for a service or path on or off."""

    @dataclass(frozen=True)
    class Params:
        state: str = param("Turn maintenance on, or off to restore the previous routes")
        service: str = param("Service in ops.yml")
        path: str = param("Path prefix, such as /api/ai (default: the whole service)", default="")
        message: str = param("Message to users, at most 300 characters (default: a general notice)", default="")
        until: str = param("Planned end, such as 2h or 2026-11-24T05:00Z (a reminder only)", default="")
        reopen_at_end: bool = param("Reopen automatically at `until`, by a job or a schedule", default=False)
        reason: str = param("Reason, shown in the deployment message and the timeline", default="")

    @dataclass(kw_only=True)
    class Details(maintenance_steps.MaintenanceWrites):
        addresses: tuple[MaintenanceCheck, ...]
        probes: "tuple[Probe, ...]"

        def probe_addresses(self) -> tuple[MaintenanceCheck, ...]:
            """Return the addresses to probe, with the run that their answers must name."""
            return tuple(replace(each, run=self.state_run) if each.run else each for each in self.addresses)

    name = "maintenance"
    when = "An endpoint or the whole API must be offline now, for example after a leak"
    kind = "worker"
    end_command = "maintenance due"
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
            return None  # the application ends a switch by its own clock
        try:
            return parse_deadline(params.until, now)
        except ConfigError:
            return None  # the run reports the error

    def parameter_choices(self, environment: "Environment") -> Mapping[str, Sequence[str]]:  # noqa: ARG002  the same everywhere
        return {"state": ("on", "off")}

    def probes(self, ctx: Context[Params], plan: Plan[Details | by_switch.SwitchMaintenanceDetails] | None) -> ProbeSet:
        service, request, details = require_service(ctx, self.kind), _parse_request(ctx), plan.details if plan else None
        if service.maintenance == "switch":
            return by_switch.choose_probes(
                ctx, service, request, None if isinstance(details, Maintenance.Details) else details
            )
        if isinstance(details, Maintenance.Details):
            return ProbeSet(service.url, details.probes, service.verify, addresses=details.probe_addresses())
        address = MaintenanceCheck(service.url + (request.path or "/"), is_off=request.is_on)
        return ProbeSet(service.url, () if request.is_on else service.probes, service.verify, addresses=(address,))

    def preflight(self, ctx: Context[Params]) -> Plan[Details | by_switch.SwitchMaintenanceDetails]:
        service, request = require_service(ctx, self.kind), _parse_request(ctx)
        if service.maintenance == "switch":
            return by_switch.plan_maintenance(ctx, service, request, DEFAULT_MESSAGE)
        maintenance_worker, ingress = _read_worker_and_ingress(ctx, service)
        recovered = _recover_state(ctx, service, maintenance_worker, ingress)
        snapshot = MaintenanceSnapshot(service, request, maintenance_worker, ingress, recovered)
        return (
            _plan_closing(ctx, snapshot)
            if request.is_on
            else _plan_reopening(ctx, snapshot, self.windows_to_reopen(ctx, snapshot))
        )

    def windows_to_reopen(self, ctx: Context[Params], snapshot: MaintenanceSnapshot) -> tuple[MaintenanceWindow, ...]:  # noqa: ARG002  for the schedule's
        """Return the windows of the path, or without a path all windows of the service."""
        path = snapshot.request.path
        return tuple(each for each in snapshot.state.windows_of(snapshot.service.name) if not path or each.path == path)

    def check(
        self, ctx: Context[Params], plan: Plan[Details | by_switch.SwitchMaintenanceDetails], change: Change
    ) -> ObservedState:
        if isinstance(plan.details, by_switch.SwitchMaintenanceDetails):
            return switch_steps.check_write(ctx, plan.details.writes[change])
        return maintenance_steps.check_change(ctx, plan.details, change)

    def apply(
        self, ctx: Context[Params], plan: Plan[Details | by_switch.SwitchMaintenanceDetails], change: Change
    ) -> str:
        if isinstance(plan.details, by_switch.SwitchMaintenanceDetails):
            return switch_steps.apply_write(ctx, plan.details.writes[change])
        return maintenance_steps.apply_change(ctx, plan.details, change)


def _parse_request(ctx: Context[Maintenance.Params]) -> MaintenanceRequest:
    """Parse the parameters. Raises ConfigError."""
    params = ctx.params
    return MaintenanceRequest.parse(
        state=params.state,
        path=params.path,
        message=params.message,
        until=params.until,
        reopen_at_end=params.reopen_at_end,
        now=ctx.clock.now(),
    )


def _read_worker_and_ingress(
    ctx: Context[Maintenance.Params], service: "Service"
) -> tuple[MaintenanceWorker, IngressPaths]:
    """Read in two rounds: the routes last, so that they are fresh when the first one changes. Raises Refused."""
    worker, workers = service.worker, ctx.cloudflare.workers
    others = [s for s in ctx.environment.services.values() if s.worker and s.worker != worker]
    maintenance_worker, zones, domains, subdomain, address, crons, handlers, *binds = run_parallel_mixed(
        [
            lambda: maintenance_steps.read_worker(workers),
            ctx.cloudflare.routes.list_zones,
            ctx.cloudflare.routes.list_domains,
            lambda: workers.read_subdomain(worker),
            lambda: workers.read_workers_dev_host(worker),
            lambda: workers.list_cron_triggers(worker),
            lambda: _read_handlers_and_calls(ctx, worker)[0],
            *(lambda w=other.worker: worker in _read_handlers_and_calls(ctx, w)[1] for other in others),
        ]
    )
    if maintenance_worker is None:
        raise Refused(
            f"the Worker {WORKER}, which answers during maintenance, does not exist",
            reason=Reason.NOT_PREPARED,
            hint="Prepare it once for each account.",
            suggested_command=ctx.suggest(maintenance_steps.PREPARE_COMMAND),
        )
    own = tuple(domain for domain in domains if domain.worker == worker)
    read = maintenance_routes.select_zones(zones, [_service_host(service)], maintenance_worker.state, own)
    maintenance_worker, routes = _read_routes(ctx, maintenance_worker, read)
    bound_by = tuple(other.name for other, binds_it in zip(others, binds, strict=True) if binds_it)
    unread = tuple(zone for zone in zones if zone not in read)
    return maintenance_worker, IngressPaths(
        worker, read, routes, domains, subdomain, address, crons, handlers, bound_by, unread
    )


def _read_routes(
    ctx: Context[Maintenance.Params], maintenance_worker: MaintenanceWorker, zones: tuple[Zone, ...]
) -> tuple[MaintenanceWorker, tuple[WorkerRoute, ...]]:
    """Read the routes, and again if another run changed ops-maintenance meanwhile. Raises Refused."""
    now: MaintenanceWorker | None = maintenance_worker
    for _ in range(MAX_ROUTE_READS):
        planned = now
        routes, now = run_parallel_mixed(
            [
                lambda: maintenance_steps.read_routes(ctx.cloudflare.routes, zones),
                lambda: maintenance_steps.read_worker(ctx.cloudflare.workers),
            ]
        )
        if planned and now and now.deployment.id == planned.deployment.id:
            return planned, routes
    live = describe_deployment(now.deployment) if now else "deleted"
    raise Refused(
        f"{WORKER} changed during each of {MAX_ROUTE_READS} reads: {live}",
        reason=Reason.WORLD_MOVED,
        hint="Another maintenance run is active. Wait for its end, then run this again.",
    )


def _recover_state(
    ctx: Context[Maintenance.Params], service: "Service", maintenance_worker: MaintenanceWorker, ingress: IngressPaths
) -> RecoveredState:
    """Recover orphaned routes from older versions, which are read only if there is such a route."""
    left = orphaned_routes.find_orphans(ingress.maintenance_routes, maintenance_worker.state)

    def enough(found: list[MaintenanceState]) -> bool:
        return not orphaned_routes.recover_state(ingress, maintenance_worker.state, found, service.name).unknown_routes

    older = (
        maintenance_steps.read_older_states(ctx.cloudflare.workers, maintenance_worker.deployment, enough)
        if left
        else []
    )
    return orphaned_routes.recover_state(ingress, maintenance_worker.state, older, service.name)


def _service_host(service: "Service") -> str:
    return service.url.removeprefix("https://").partition(":")[0]


def _read_handlers_and_calls(ctx: Context[Maintenance.Params], worker: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the handlers of the live version, and the Workers that it calls through service bindings."""
    deployments = ctx.cloudflare.workers.find_deployments(worker)
    version = ctx.cloudflare.workers.read_version(worker, deployments[0].split[0][0]) if deployments else None
    if version is None:
        return frozenset(), frozenset()
    return version.handlers, version.called_workers


def _plan_closing(
    ctx: Context[Maintenance.Params], snapshot: MaintenanceSnapshot
) -> Plan[Maintenance.Details | by_switch.SwitchMaintenanceDetails]:
    ingress, path, live = snapshot.ingress, snapshot.request.path, snapshot.worker.deployment
    existing = snapshot.state.find_window(snapshot.service.name, path)
    wanted = maintenance_routes.choose_routes(ingress, snapshot.state, path)
    window = _build_window(ctx, snapshot, existing, tuple(wanted.routes))
    _refuse_unreachable(snapshot, window)
    windows = maintenance.replace_window(snapshot.state.windows, window)
    writes = _closing_writes(snapshot, window, windows, wanted.routes)
    run = ctx.run_id if writes else snapshot.state.run
    opens = _suggest_state(ctx, "off", path)
    changes = maintenance_steps.build_changes(writes, opens)
    addresses = [MaintenanceCheck(url, way, run=run) for way, url in maintenance_routes.list_probe_addresses(window)]
    addresses += [MaintenanceCheck(f"https://{host}{path or '/'}", run=run) for host in wanted.unreachable_hosts]
    others = tuple(each for each in snapshot.state.windows if each != existing)
    end = plan_text.ReopeningMethod.choose(window, ctx) if window.reopen_at_end else None
    return Plan(
        summary=_summarize(window, changed=bool(changes)),
        changes=tuple(changes),
        sections=plan_text.closing_sections(ingress, window, others, wanted.notes, ctx.clock.now()),
        not_undone=("requests that were accepted before, and their responses in caches of others",),
        consequences=tuple(plan_text.describe_consequences(window, opens.command, end)),
        warnings=(
            *([end.warning] if end and end.warning else []),
            *plan_text.window_warnings(ingress, window, existing, wanted.unreachable_hosts),
            *plan_text.orphaned_route_warnings(ingress, snapshot.recovered),
            *plan_text.unread_zone_warnings(ingress),
        ),
        reason=None if changes else Reason.ALREADY_OFF,
        next_step=_suggest_state(ctx, "on", "") if path else None,
        done_message=f"Took {window.scope} offline",
        ends_at=parse_utc(window.until) if window.reopen_at_end else None,
        proved_claim=f"{window.scope} is in maintenance: every probed address answers 503 from {WORKER}",
        details=Maintenance.Details(
            writes=changes, guard=ConcurrencyGuard(live, windows), state_run=run, addresses=tuple(addresses), probes=()
        ),
    )


def _closing_writes(
    snapshot: MaintenanceSnapshot,
    window: MaintenanceWindow,
    windows: tuple[MaintenanceWindow, ...],
    routes: list[ClosedRoute],
) -> list[MaintenanceWrite]:
    """Return the writes that close `window`. Raises Refused if the state does not fit into the Worker's variables."""
    live, stored = snapshot.worker.deployment, snapshot.worker.state
    closing = tuple(plan_closing(snapshot.ingress, window, routes))
    if window == stored.find_window(window.service, window.path) and not closing:
        return []
    if problem := maintenance.describe_excess(windows):
        raise Refused(
            f"cannot store the routes that reopening needs: {problem}",
            reason=Reason.TOO_MANY_ROUTES,
            hint="Take only the most urgent path offline with `--path`, or reopen a window that is no longer needed.",
        )
    # Store it also if only a route must be closed: a run that opens it at the same time sees a new version, and stops.
    return [UploadState(windows, live, _reopened_to_store(snapshot, ())), DeployState(live, windows), *closing]


def _build_window(
    ctx: Context[Maintenance.Params],
    snapshot: MaintenanceSnapshot,
    existing: MaintenanceWindow | None,
    closed: tuple[ClosedRoute, ...],
) -> MaintenanceWindow:
    """Build the window to store. A message or end of the request replaces the stored one; start and run stay."""
    request = snapshot.request
    subdomain = None if request.path or snapshot.ingress.subdomain == SUBDOMAIN_OFF else snapshot.ingress.subdomain
    if existing is not None:
        former = {each.key: each for each in (*existing.closed, *closed)}
        return replace(
            existing,
            message=request.message or existing.message,
            until=request.until or existing.until,
            reopen_at_end=request.reopen_at_end,
            closed=tuple(former.values()),
            subdomain=existing.subdomain or subdomain,
        )
    return MaintenanceWindow(
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
    )


def _summarize(window: MaintenanceWindow, *, changed: bool) -> str:
    counted = "one route" if len(window.closed) == 1 else f"{len(window.closed)} routes"
    until = f", planned end {format_utc(parse_utc(window.until))}" if window.until else ""
    return f"{window.scope}: {'' if changed else 'already '}in maintenance, {counted} to {WORKER}{until}"


def _refuse_unreachable(snapshot: MaintenanceSnapshot, window: MaintenanceWindow) -> None:
    host = _service_host(snapshot.service)
    if window.closed and any(zone.contains_host(host) for zone in snapshot.ingress.zones):
        return
    zones = ", ".join(zone.name for zone in snapshot.ingress.zones) or "none"
    is_zone_known = any(zone.contains_host(host) for zone in snapshot.ingress.zones)
    raise Refused(
        f"no route or custom domain leads from {host}{window.path} to {window.worker}"
        if is_zone_known
        else f"the token cannot read the zone of {host}; it can read: {zones}",
        reason=Reason.NO_WAY_IN,
        hint=f"Check the url in ops.yml, and that the token can edit the routes in the zone of {host}.",
    )


def _plan_reopening(
    ctx: Context[Maintenance.Params], snapshot: MaintenanceSnapshot, opened: tuple[MaintenanceWindow, ...]
) -> Plan[Maintenance.Details | by_switch.SwitchMaintenanceDetails]:
    service, path, live = snapshot.service, snapshot.request.path, snapshot.worker.deployment
    remaining = tuple(window for window in snapshot.state.windows if window not in opened)
    still = tuple(window for window in remaining if window.service == service.name)
    steps, left = plan_reopening(snapshot.ingress, opened, remaining)
    if opened:
        steps += [UploadState(remaining, live, _reopened_to_store(snapshot, opened)), DeployState(live, remaining)]
    message = opened[0].message if len(opened) == 1 else ""
    changes = maintenance_steps.build_changes(steps, _suggest_state(ctx, "on", path, message=message))
    what = f"{service.name} {path}" if path else f"the whole of {service.name}"
    stays = next((each.scope for each in still if path.startswith(each.path)), "")
    return Plan(
        summary=f"{what}: {'reopen' if opened else 'no maintenance of its own' if stays else 'not in maintenance'}",
        changes=tuple(changes),
        sections=plan_text.reopening_sections(snapshot.ingress, opened, still, ctx.clock.now()),
        warnings=(
            *(f"unchanged: {each.reason}" for each in left),
            *plan_text.orphaned_route_warnings(snapshot.ingress, snapshot.recovered),
            *plan_text.unread_zone_warnings(snapshot.ingress),
        ),
        reason=None if opened else Reason.NOT_OFF,
        done_message=f"Reopened {what}",
        proved_claim=f"{path} is still in maintenance, because {stays} is; to open it, reopen {stays}"
        if stays
        else f"{WORKER} no longer answers for {what}, and the probes are healthy",
        details=Maintenance.Details(
            writes=changes,
            guard=ConcurrencyGuard(live),
            state_run=ctx.run_id,
            addresses=tuple(
                _reopened_addresses(ctx, snapshot, opened, remaining, {each.key for each in left}, is_off=bool(stays))
            ),
            probes=() if stays else tuple(probe for probe in service.probes if not _is_probe_closed(probe, still)),
        ),
    )


def _reopened_to_store(
    snapshot: MaintenanceSnapshot, opened: tuple[MaintenanceWindow, ...]
) -> tuple[MaintenanceWindow, ...]:
    return orphaned_routes.reopened_to_store(snapshot.ingress, snapshot.worker.state, opened)


def _reopened_addresses(
    ctx: Context[Maintenance.Params],
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
        for way, url in maintenance_routes.list_probe_addresses(here):
            yield MaintenanceCheck(url, way, is_off=is_off, run=ctx.run_id if is_off else "")


def _is_probe_closed(probe: "Probe", still: tuple[MaintenanceWindow, ...]) -> bool:
    return probe.http is not None and any(probe.http.path.startswith(window.path) for window in still)


def _suggest_state(ctx: Context[Maintenance.Params], state: str, path: str, *, message: str = "") -> SuggestedCommand:
    return ctx.suggest("maintenance", service=ctx.params.service, state=state, path=path, message=message)
