"""Writes that close and reopen a service: which are needed, and how many calls they make."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops.cloudflare.types.workers import WorkerDeployment, short_id
from ops.cloudflare.types.zones import WorkerRoute, WorkersDevSubdomain
from ops.core.names import MAINTENANCE_WORKER as WORKER
from ops.engine.step import MAX_AGE
from ops.maintenance.routes import IngressPaths
from ops.maintenance.state import ClosedRoute, MaintenanceState, MaintenanceWindow

if TYPE_CHECKING:
    from ops.config import Service

PATTERNS = (
    ("PUT", "/zones/*/workers/routes/*"),
    ("POST", "/zones/*/workers/routes"),
    ("DELETE", "/zones/*/workers/routes/*"),
    ("POST", "/accounts/*/workers/scripts/*/subdomain"),
    ("POST", "/accounts/*/workers/scripts/*/versions"),  # of ops-maintenance
    ("POST", "/accounts/*/workers/scripts/*/deployments"),
    ("PUT", "/accounts/*/storage/kv/namespaces/*/values/*"),  # with `maintenance: switch`
)
"""Method and path of every write of maintenance."""
PERMISSIONS = ("Workers Scripts Write", "Workers Routes Write", "Zone Read")
"""Cloudflare permissions of maintenance at the edge."""
SWITCH_PERMISSIONS = ("Workers KV Storage Write", "Workers Scripts Read")
SUBDOMAIN_OFF = WorkersDevSubdomain(enabled=False, previews_enabled=False)
SUBDOMAIN_ON = WorkersDevSubdomain(enabled=True, previews_enabled=False)
"""Settings of ops-maintenance, which is probed at its address on workers.dev."""


def required_permissions(services: "Iterable[Service]") -> tuple[str, ...]:
    """Return the Cloudflare permissions that maintenance of these services needs."""
    methods = {each.maintenance for each in services if each.offers_maintenance}
    return (*(PERMISSIONS if "edge" in methods else ()), *(SWITCH_PERMISSIONS if "switch" in methods else ()))


@dataclass(frozen=True)
class CreateWorker:
    """Create the Worker ops-maintenance."""


@dataclass(frozen=True)
class UploadState:
    """Upload a version of ops-maintenance that stores the windows."""

    windows: tuple[MaintenanceWindow, ...]
    live_deployment: WorkerDeployment
    reopened: tuple[MaintenanceWindow, ...] = ()
    """Windows that are reopened before they were closed completely."""


@dataclass(frozen=True)
class DeployState:
    """Deploy the version that this run uploaded, which stores `windows`."""

    live_deployment: WorkerDeployment
    windows: tuple[MaintenanceWindow, ...]


@dataclass(frozen=True)
class RepointRoute:
    """Repoint a route to another Worker."""

    route: WorkerRoute
    worker: str


@dataclass(frozen=True)
class AddRoute:
    zone: str
    pattern: str


@dataclass(frozen=True)
class RemoveRoute:
    route: WorkerRoute


@dataclass(frozen=True)
class SetSubdomain:
    worker: str
    before: WorkersDevSubdomain
    after: WorkersDevSubdomain


IngressWrite = RepointRoute | AddRoute | RemoveRoute | SetSubdomain
"""A write that closes or opens a way into the service."""
MaintenanceWrite = CreateWorker | UploadState | DeployState | IngressWrite


@dataclass(frozen=True)
class SkippedRoute:
    """A route that is not restored, because it was changed elsewhere."""

    key: tuple[str, str]
    reason: str


def describe_write(step: MaintenanceWrite) -> tuple[str, str, str, str]:
    """Return target, before, after, and the condition for done."""
    match step:
        case CreateWorker():
            return f"Worker {WORKER}", "absent", "answers 503", f"{WORKER} exists, deployed by this run"
        case UploadState(windows=windows, live_deployment=live):
            scopes = ", ".join(window.scope for window in windows) or "nothing"
            kept = f"stores the windows ({scopes}) with all previous values"
            before = f"{short_id(live.split[0][0])} is live"
            return f"New version of {WORKER}", before, kept, "a version with this run's mark is listed"
        case DeployState(live_deployment=live):
            return f"Worker {WORKER}", short_id(live.split[0][0]), "the new version", "its deployment is listed first"
        case RepointRoute(route=route, worker=to):
            return f"Route {route.pattern}", route.script or "no Worker", to, f"the route leads to {to}"
        case AddRoute(pattern=pattern):
            return f"Route {pattern}", "absent", WORKER, f"the route exists and leads to {WORKER}"
        case RemoveRoute(route=route):
            return f"Route {route.pattern}", WORKER, "absent", "the route is deleted"
        case SetSubdomain(worker=worker, before=before_, after=after):
            return f"workers.dev of {worker}", str(before_), str(after), "Cloudflare reports these settings"


def plan_closing(
    ingress: IngressPaths, window: MaintenanceWindow, desired: Iterable[ClosedRoute]
) -> Iterator[MaintenanceWrite]:
    """Yield the writes for the `desired` routes that do not lead to ops-maintenance yet."""
    keys = {each.key for each in desired}
    for each in window.closed:
        live = ingress.find_route(*each.key)
        if each.key in keys and (live is None or live.script != WORKER):
            yield AddRoute(each.zone, each.pattern) if live is None else RepointRoute(live, WORKER)
    if not window.path and ingress.subdomain != SUBDOMAIN_OFF:
        yield SetSubdomain(ingress.worker, ingress.subdomain, SUBDOMAIN_OFF)


def plan_reopening(
    ingress: IngressPaths, reopened: tuple[MaintenanceWindow, ...], remaining: tuple[MaintenanceWindow, ...]
) -> tuple[list[MaintenanceWrite], list[SkippedRoute]]:
    """Return the writes that restore the routes of `reopened`, and the routes to skip.

    A route that a remaining window needs stays. A route that no longer leads to ops-maintenance is skipped.
    """
    steps: list[MaintenanceWrite] = []
    left: list[SkippedRoute] = []
    needed_routes = MaintenanceState(remaining, "").closed_routes
    for key, each in MaintenanceState(reopened, "").closed_routes.items():
        live = ingress.find_route(*key)
        if (
            key in needed_routes
            or (live is None and not each.id)
            or (live is not None and each.id and live.script == each.previous_worker)
        ):
            continue
        if live is not None and live.script == WORKER:
            steps.append(RepointRoute(live, each.previous_worker) if each.id else RemoveRoute(live))
        else:
            now = "deleted" if live is None else f"now → {live.script or 'no Worker'}"
            left.append(
                SkippedRoute(key, f"route {each.pattern}: {now}, previously → {each.previous_worker or 'absent'}")
            )
    former = next((window.subdomain for window in reopened if window.subdomain), None)
    if (
        former is not None
        and ingress.subdomain != former
        and not any(b.subdomain for b in remaining if b.worker == ingress.worker)
    ):
        if ingress.subdomain == SUBDOMAIN_OFF:
            steps.append(SetSubdomain(ingress.worker, SUBDOMAIN_OFF, former))
        else:
            left.append(SkippedRoute(("", "workers.dev"), f"workers.dev: now {ingress.subdomain}, previously {former}"))
    return steps, left


SECONDS_PER_WRITE = 0.3
"""Assumed time of one write of a route."""


SNAPSHOT_CALLS = 12
"""Calls that read the ways into one service before it reopens at the end of a run."""


def count_calls(writes: Sequence[MaintenanceWrite]) -> int:
    """Return about how many calls the steps of these writes make: each with its comparison and read back."""
    calls = 0
    for number, write in enumerate(writes):
        match write:
            case UploadState():
                calls += 6 if number else 4
            case DeployState() | SetSubdomain():
                calls += 3
            case CreateWorker() | RepointRoute() | AddRoute() | RemoveRoute():
                calls += 1
    zones, routes = (
        _written_zones(writes),
        sum(isinstance(each, RepointRoute | AddRoute | RemoveRoute) for each in writes),
    )
    shared = 4 * max(len(zones), any(isinstance(each, SetSubdomain) for each in writes))
    return calls + shared + 2 * int(routes * SECONDS_PER_WRITE / MAX_AGE)


def _written_zones(writes: Iterable[MaintenanceWrite]) -> set[str]:
    zones = set[str]()
    for write in writes:
        match write:
            case RepointRoute(route=route) | RemoveRoute(route=route):
                zones.add(route.zone)
            case AddRoute(zone=zone):
                zones.add(zone)
    return zones
