"""Refusals of maintenance on and off: no way in, not prepared, unknown state, no room."""

from typing import TYPE_CHECKING

from ops.core.errors import Reason, Refused
from ops.core.names import MAINTENANCE_WORKER as WORKER
from ops.core.next_step import SuggestedCommand
from ops.core.runtime_contract import MAINTENANCE_SWITCH
from ops.maintenance.routes import IngressPaths
from ops.maintenance.state import RUN_VARIABLE, MaintenanceWindow

if TYPE_CHECKING:
    from ops.config import Service


def no_zone_refusal(service: "Service") -> Refused:
    """Return the refusal of a service whose url cannot have a route of the account, or that has none."""
    if not service.url:
        return _refuse_closure_without_url(service)
    return Refused(
        f"{service.url} is in Cloudflare's own zone, so no route can close it",
        reason=Reason.NO_WAY_IN,
        hint="Use a custom domain as its url in ops.yml, or `maintenance: switch`, which the application follows.",
    )


def _refuse_closure_without_url(service: "Service") -> Refused:
    return Refused(
        f"{service.name} has no url in ops.yml, so no request reaches it that a route could close",
        reason=Reason.NO_WAY_IN,
        hint="Stop its cron triggers and queue consumers in the dashboard: Workers & Pages → Worker → Settings.",
    )


def unreachable_refusal(host: str, path: str, ingress: IngressPaths) -> Refused:
    """Return the refusal of an address to which no way in leads that a route can close."""
    zones = ", ".join(zone.name for zone in ingress.zones) or "none"
    is_zone_known = any(zone.contains_host(host) for zone in ingress.zones)
    return Refused(
        _describe_no_way(ingress, f"{host}{path}")
        if is_zone_known
        else f"the token cannot read the zone of {host}; it can read: {zones}",
        reason=Reason.NO_WAY_IN,
        hint=f"Check the url in ops.yml, and that the token can edit the routes in the zone of {host}.",
    )


def _describe_no_way(ingress: IngressPaths, address: str) -> str:
    if ingress.site:
        return f"a route of {address} leads to a Worker already, so a route for the site would close that Worker"
    return f"no route or custom domain leads from {address} to {ingress.worker}"


def no_effect_refusal(host: str, window: MaintenanceWindow, opens: SuggestedCommand) -> Refused:
    """Return the refusal of a site that answers although its route leads to ops-maintenance: a run was lost."""
    return Refused(
        f"{window.scope} is stored as closed, and {host} still answers: its route has no effect",
        reason=Reason.NO_WAY_IN,
        hint="Take the route back.",
        suggested_command=opens,
    )


def too_many_routes_refusal(problem: str) -> Refused:
    return Refused(
        f"cannot store the routes that reopening needs: {problem}",
        reason=Reason.TOO_MANY_ROUTES,
        hint="Take only the most urgent path offline with `--path`, or reopen a window that is no longer needed.",
    )


def not_prepared_refusal(prepare: SuggestedCommand) -> Refused:
    return Refused(
        f"the Worker {WORKER}, which answers during maintenance, does not exist",
        reason=Reason.NOT_PREPARED,
        hint="Prepare it once for each account.",
        suggested_command=prepare,
    )


def foreign_worker_refusal() -> Refused:
    return Refused(
        f"the Worker {WORKER} was not made by Backout: its live version has no variable {RUN_VARIABLE}",
        reason=Reason.NOT_PREPARED,
        hint=f"Roll {WORKER} back to a version of ours. If another project uses the name, rename that Worker.",
    )


def malformed_state_refusal(version: str) -> Refused:
    return Refused(
        f"version {version} of {WORKER} stores a malformed maintenance state",
        reason=Reason.NOT_PREPARED,
        hint=f"Its variables were changed by hand. Deploy the previous version of {WORKER}, then run this again. "
        "To open a service all the same: `ops maintenance --state off --release-all`, with its name.",
    )


def changed_during_reads_refusal(reads: int, live: str) -> Refused:
    """Return the refusal of a run that another one overtook during each of its reads; `live` is the deployment."""
    return Refused(
        f"{WORKER} changed during each of {reads} reads: {live}",
        reason=Reason.WORLD_MOVED,
        hint="Another maintenance run is active. Wait for its end, then run this again.",
    )


def open_path_refusal(path: str, always_open: str) -> Refused:
    """Return the refusal of a path that the switch leaves open, as it does `always_open`."""
    return Refused(
        f"the switch {MAINTENANCE_SWITCH} cannot close {path}: {always_open} and paths below stay open",
        reason=Reason.NO_WAY_IN,
        hint="Set `maintenance: edge` for this service in ops.yml, then run the same command again.",
    )


def unknown_paths_refusal(unstored: str, *, is_own: bool) -> Refused:
    """Return the refusal to change one path while the closed ones are unknown.

    `unstored` says why. `is_own`: only this requester holds them, so the whole service can be changed at once.
    """
    now = ", or without `--path` for the whole service now" if is_own else ""
    return Refused(
        f"the closed paths are unknown: {unstored}",
        reason=Reason.LIVE_UNKNOWN,
        hint=f"Run the same command again in a minute{now}.",
    )


def unknown_switch_refusal(unstored: str) -> Refused:
    """Return the refusal to close around a change while the switch is unknown; `unstored` says why."""
    return Refused(
        f"{unstored}, so who closed it is unknown",
        reason=Reason.LIVE_UNKNOWN,
        hint="Run the same command again in a minute: it opens nothing that another run closed.",
    )


def closed_paths_refusal(service: str, stored: str, close: SuggestedCommand) -> Refused:
    """Return the refusal to close a service around a change while only paths of it are closed."""
    return Refused(
        f"some paths of {service} are in maintenance already: {stored}",
        reason=Reason.ALREADY_OFF,
        hint="Close the whole service, or open these paths. Then run the same command again.",
        suggested_command=close,
    )
