"""Turn maintenance mode on or off for a service or path (procedure scenario 7).

Routes are repointed to the Worker ops-maintenance (`ops/maintenance/plan_by_routes.py`). With `maintenance: switch` in
ops.yml the application does it itself (`ops/maintenance/plan_by_switch.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ops.config.probes import ProbeSet
from ops.core.clock import parse_deadline
from ops.core.errors import ConfigError
from ops.engine.context import Context
from ops.engine.runbook import (
    IncidentUse,
    JobNeeds,
    RequestEffect,
    Runbook,
    TimedEnd,
    TokenPermissions,
    WatchedState,
    param,
    require_service,
)
from ops.engine.step import StepPlan
from ops.maintenance import former_configuration, plan_by_routes, plan_by_switch
from ops.maintenance.plan_by_routes import DEFAULT_MESSAGE, MaintenanceSnapshot
from ops.maintenance.refusals import no_zone_refusal
from ops.maintenance.state import MaintenanceRequest, MaintenanceWindow
from ops.maintenance.writes import PATTERNS, PERMISSIONS, required_permissions
from ops.pages.snapshot import live_content
from ops.switches import steps as switch_steps

if TYPE_CHECKING:
    from ops.config import Environment, Service


def _find_maintenance_end(params: "Maintenance.Params", environment: "Environment", now: datetime) -> datetime | None:
    """Return the end of maintenance at the edge: the application ends a switch by its own clock."""
    service = environment.services.get(params.service)
    if service is None or service.maintenance == "switch" or not params.reopen_at_end:
        return None
    try:
        return parse_deadline(params.until, now)
    except ConfigError:
        return None  # the run reports the error


class Maintenance(Runbook["Maintenance.Params"]):
    """Turn maintenance mode for a service or path on or off."""

    @dataclass(frozen=True)
    class Params:
        state: str = param(
            "Turn maintenance on, or off to restore the previous routes", choices=lambda _: ("on", "off")
        )
        service: str = param("Service in ops.yml")
        path: str = param("Path prefix, such as /api/ai (default: the whole service)", default="")
        message: str = param("Message to users, at most 300 characters (default: a general notice)", default="")
        until: str = param("Planned end, such as 2h or 2026-11-24T05:00Z (a reminder only)", default="")
        reopen_at_end: bool = param("Reopen automatically at `until`, by a job or a schedule", default=False)
        release_all: bool = param(
            "Open the service for all who hold it, also if that cannot be read", default=False, laptop_only=True
        )
        accept_owners: tuple[str, ...] = param(switch_steps.ACCEPT_OWNERS, default=())
        reason: str = param("Reason, shown in the deployment message and the timeline", default="")

    name = "maintenance"
    when = "An endpoint or the whole API must be offline now, for example after a leak"
    incident_use = IncidentUse(menu_rank=4)
    kinds = ("worker", "pages")
    setting = "a `url` on its own domain"
    job = JobNeeds(timed_end=TimedEnd("maintenance due", _find_maintenance_end))
    github_environment = "security"  # a token that may change routes
    example = Params(state="on", service="api")
    writes = PATTERNS
    permissions = TokenPermissions(
        cloudflare=PERMISSIONS, choose=lambda environment: required_permissions(environment.services.values())
    )

    def fits(self, environment: "Environment", service: str) -> list[dict[str, Any]]:
        is_offered = environment.services[service].offers_maintenance
        return [{"state": state} for state in ("on", "off")] if is_offered else []

    def effect(self, params: Mapping[str, Any], environment: "Environment") -> RequestEffect:  # noqa: ARG002  the same everywhere
        match params.get("state"):
            case "on":
                return RequestEffect(WatchedState.CLOSED)
            case "off":
                return RequestEffect(WatchedState.HEALTHY, ends_state=True)
            case _:
                return RequestEffect(WatchedState.NOTHING)

    def probes(self, ctx: Context[Params]) -> ProbeSet:
        service, request = require_service(ctx, *self.kinds), _parse_maintenance_request(ctx)
        if service.maintenance == "switch":
            return plan_by_switch.build_requested_probes(ctx, service, request)
        return plan_by_routes.build_requested_probes(service, request)

    def plan(self, ctx: Context[Params]) -> StepPlan:
        service, request = require_service(ctx, *self.kinds), _parse_maintenance_request(ctx)
        method, *others = (service.maintenance,) if request.is_on else self.opening_methods(ctx, service, request)
        if method == "switch":
            return plan_by_switch.plan_maintenance(ctx, service, request, DEFAULT_MESSAGE)
        if request.is_on and not service.has_own_zone:
            raise no_zone_refusal(service)
        snapshot = plan_by_routes.read_snapshot(ctx, service, request)
        planned = self._plan_routes(ctx, snapshot)
        if others:
            planned = former_configuration.keep_closed_by_switch(ctx, service, planned)
        if service.pages and (find_probes := planned.probes):
            content = live_content(ctx, service)
            return replace(planned, probes=lambda: replace(find_probes(), find_content=content))
        return planned

    def opening_methods(self, ctx: Context[Params], service: "Service", request: MaintenanceRequest) -> tuple[str, ...]:
        """Return the methods that close the service, also by an earlier ops.yml. The first is opened."""
        return former_configuration.list_closing_methods(ctx, service, request)

    def _plan_routes(self, ctx: Context[Params], snapshot: MaintenanceSnapshot) -> StepPlan:
        if snapshot.request.is_on:
            return plan_by_routes.plan_closed(ctx, snapshot)

        def plan_reopened() -> StepPlan:
            return plan_by_routes.plan_reopened(ctx, snapshot, self.windows_to_reopen(ctx, snapshot))

        return switch_steps.plan_with_acceptance(ctx, Maintenance.name, plan_reopened)

    def windows_to_reopen(self, ctx: Context[Params], snapshot: MaintenanceSnapshot) -> tuple[MaintenanceWindow, ...]:
        """Return the windows of the path, or without a path all windows of the service."""
        path, services = snapshot.request.path, ctx.environment.services
        windows = former_configuration.windows_of(snapshot.state.windows, snapshot.service, services)
        return tuple(each for each in windows if not path or each.path == path)


def _parse_maintenance_request(ctx: Context[Maintenance.Params]) -> MaintenanceRequest:
    """Parse the parameters. Raises ConfigError."""
    params = ctx.params
    return MaintenanceRequest.parse(
        state=params.state,
        path=params.path,
        message=params.message,
        until=params.until,
        reopen_at_end=params.reopen_at_end,
        now=ctx.clock.now(),
        releases_all=params.release_all,
    )
