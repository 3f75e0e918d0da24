"""Find what an earlier ops.yml closed: by the other method, or under a former name."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ops.cloudflare.types.zones import WorkerRoute
from ops.core.errors import OpsError
from ops.core.names import MAINTENANCE_WORKER as WORKER
from ops.core.runtime_contract import MAINTENANCE_SWITCH
from ops.engine.context import Context
from ops.engine.step import StepPlan
from ops.maintenance import steps
from ops.maintenance.state import MaintenanceRequest, MaintenanceWindow
from ops.switches import steps as switch_steps
from ops.switches.values import SwitchState

if TYPE_CHECKING:
    from ops.config import Service

EDGE, SWITCH = "edge", "switch"


def find_service(window: MaintenanceWindow, services: "Mapping[str, Service]") -> str:
    """Return the name in ops.yml of the service that a window closes; empty if no service has its Worker or site."""
    if window.service in services:
        return window.service
    return next((name for name, each in services.items() if _is_same_service(window, each)), "")


def _is_same_service(window: MaintenanceWindow, service: "Service") -> bool:
    if window.worker:
        return window.worker == service.worker
    routes = (WorkerRoute(each.zone, each.id, each.pattern, WORKER) for each in window.closed)
    return not service.worker and any(route.matches_host(service.host) for route in routes)


def windows_of(
    windows: Iterable[MaintenanceWindow], service: "Service", services: "Mapping[str, Service]"
) -> tuple[MaintenanceWindow, ...]:
    """Return the windows of the service, also those under a former name."""
    return tuple(each for each in windows if find_service(each, services) == service.name)


def list_closing_methods(ctx: Context[Any], service: "Service", request: MaintenanceRequest) -> tuple[str, ...]:
    """Return the methods by which the service is closed now, the one to open first; else that in ops.yml.

    Routes come first: while they close the service, nobody sees its switch.
    """
    is_switched = service.maintenance == SWITCH
    if is_switched and not _is_closed_at_the_edge(ctx, service):
        return (SWITCH,)
    switch = _read_switch(ctx, service)
    if switch is not None and switch.closes(ctx, request):
        return (EDGE, SWITCH) if is_switched or _is_closed_at_the_edge(ctx, service) else (SWITCH,)
    was_set = switch is not None and switch.state.value is not None
    is_edge_missing = was_set and not is_switched and not ctx.cloudflare.workers.find_deployments(WORKER)
    return (SWITCH,) if is_edge_missing else (EDGE,)


def _is_closed_at_the_edge(ctx: Context[Any], service: "Service") -> bool:
    """Return whether ops-maintenance stores a window of the service, as far as it can be read."""
    try:
        worker = steps.read_maintenance_worker(ctx.cloudflare.workers, is_tolerant=True)
    except OpsError:
        return False  # nothing there blocks the switch
    return worker is not None and bool(windows_of(worker.state.windows, service, ctx.environment.services))


@dataclass(frozen=True)
class _StoredSwitch:
    state: SwitchState
    problem: str
    """Why its value cannot be read; empty if it can."""

    def closes(self, ctx: Context[Any], request: MaintenanceRequest) -> bool:
        """Return whether it closes the service. A malformed value counts only for `--release-all`."""
        return self.state.is_on(ctx.clock.now()) or (bool(self.problem) and request.releases_all)


def _read_switch(ctx: Context[Any], service: "Service") -> _StoredSwitch | None:
    """Read the switch in KV; None if the service has none, or the token may not read it.

    A token for the edge may not read KV. The probes show whether the service is open.
    """
    runtime = ctx.environment.runtime
    if runtime is None or runtime.service != service.name or MAINTENANCE_SWITCH not in runtime.switches:
        return None
    try:
        return _StoredSwitch(*switch_steps.read_switch_if_readable(ctx, MAINTENANCE_SWITCH))
    except OpsError:
        return None


def keep_closed_by_switch(ctx: Context[Any], service: "Service", plan: StepPlan) -> StepPlan:
    """Return the plan that opens the routes, with what is true while the switch closes the service too."""
    still = f"the switch {MAINTENANCE_SWITCH} also closes {service.name}"
    return replace(
        plan,
        warnings=(*plan.warnings, f"{still}: run the same command again after this one"),
        next_step=switch_steps.suggest_run_again(ctx, "maintenance"),
        proved_claim=f"{WORKER} no longer closes {service.name}; {still}",
        proves_health=False,
    )
