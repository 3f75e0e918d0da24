"""Maintenance at the edge: windows, orphaned routes, and openings of closed services."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ops.app.session import Session
from ops.core.names import MAINTENANCE_WORKER as WORKER
from ops.core.next_step import build_command
from ops.maintenance import live_closure, orphaned_routes, steps
from ops.maintenance.live_closure import LiveWays, Opening
from ops.maintenance.state import MaintenanceState, MaintenanceWindow
from ops.status.unread import UnreadSource, try_read

OPEN = "open_although_closed"
AT_THE_EDGE = ("maintenance", "orphaned_routes", OPEN)
"""Sections of the JSON result that the read of ops-maintenance fills."""
OTHER_WAYS = "workers.dev and custom domains of closed services"


@dataclass(frozen=True)
class OrphanedRoute:
    """A route to ops-maintenance that it does not store; two runs at once can leave one."""

    pattern: str
    service: str
    """Service in ops.yml at that host, or empty."""
    command: str
    """Command that reopens it, without the incident, which only the run that left it knows."""


@dataclass(frozen=True)
class OpenClosure(Opening):
    """A way into a closed service that is open, and how to close it again."""

    advice: str
    """Sentence with a command in backticks."""

    def __str__(self) -> str:
        return f"OPEN although closed: {self.text}. {self.advice}"


@dataclass(frozen=True)
class EdgeStatus:
    windows: tuple[MaintenanceWindow, ...] = ()
    orphans: tuple[OrphanedRoute, ...] = ()
    openings: tuple[OpenClosure, ...] = ()
    unread: tuple[UnreadSource, ...] = ()


def read_edge(session: Session, program: str) -> EdgeStatus:
    """Read ops-maintenance and the ways in; `program` begins the suggested commands. Nothing that fails is an error.

    Beyond ops-maintenance it sends one request for the zones and one for each zone. Closed services cost one more for
    the custom domains, and one for each closed Worker.
    """
    standing, lack = try_read(lambda: steps.read_worker(session.workers), "maintenance at the edge", AT_THE_EDGE)
    if standing is None:
        return EdgeStatus(unread=(lack,) if lack else ())
    state, windows, hosts = standing.state, standing.state.windows, _hosts_of_workers(session)
    read_routes = partial(live_closure.read_routes, session.routes, state, hosts.values())
    live, lack = try_read(read_routes, f"routes to {WORKER}", ("orphaned_routes", OPEN))
    if live is None:
        return EdgeStatus(windows, unread=(lack,) if lack else ())
    unread = list[UnreadSource]()
    if windows:
        read_others = partial(live_closure.read_other_ways, live, session.workers, session.routes, windows)
        more, lack = try_read(read_others, OTHER_WAYS, (OPEN,))
        live, unread = more or live, [lack] if lack else []
    openings, unknown = live_closure.compare(windows, live, session.check_maintenance)
    unread += [UnreadSource((OPEN,), "a way into a closed service", unknown)] if unknown else []
    advised = tuple(_advise(session, windows, openings, program))
    return EdgeStatus(windows, tuple(_find_orphans(session, live, state, hosts, program)), advised, tuple(unread))


def _hosts_of_workers(session: Session) -> Mapping[str, str]:
    services = session.environment.services.values()
    return {each.name: each.host for each in services if each.worker}


def _find_orphans(
    session: Session, live: LiveWays, stored: MaintenanceState, hosts: Mapping[str, str], program: str
) -> Iterator[OrphanedRoute]:
    for route in orphaned_routes.find_orphans([each for each in live.routes if each.script == WORKER], stored):
        service = next((name for name, host in hosts.items() if route.matches_host(host)), "")
        options = {"state": "off", "service": service or "SERVICE", "environment": session.environment.name}
        yield OrphanedRoute(route.pattern, service, build_command(program, "maintenance", options))


def _advise(
    session: Session, windows: tuple[MaintenanceWindow, ...], openings: tuple[Opening, ...], program: str
) -> Iterator[OpenClosure]:
    def command(options: Mapping[str, Any]) -> str:
        return build_command(program, "maintenance", {**options, "environment": session.environment.name})

    for opening in openings:
        advice = live_closure.advise_closing(opening, windows, session.clock.now(), command)
        yield OpenClosure(**vars(opening), advice=advice)
