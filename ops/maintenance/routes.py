"""Which routes have to lead to ops-maintenance so that a service or a path is off, and what stays open. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ops.cloudflare.types.zones import (
    UNRESERVED_CHARACTERS,
    CustomDomain,
    WorkerRoute,
    WorkersDevSubdomain,
    Zone,
    most_specific_route,
)
from ops.core.names import MAINTENANCE_WORKER as WORKER
from ops.maintenance.state import ClosedRoute, MaintenanceState, MaintenanceWindow

MAX_ZONES = 40
"""Zones whose routes are all read. Only a zone's own routes tell whether one leads to the Worker, so fewer is safer
for Cloudflare's rate limit (1,200 requests in 5 minutes) and leaves routes unseen."""


def select_zones(
    zones: tuple[Zone, ...], hosts: Iterable[str], state: MaintenanceState, domains: Iterable[CustomDomain] = ()
) -> tuple[Zone, ...]:
    """All of them; of more than MOST_ZONES those with one of the hosts, a custom domain, or a route that is stored."""
    if len(zones) <= MAX_ZONES:
        return zones
    known = {domain.zone for domain in domains} | {zone for zone, _ in state.closed_routes}
    named = tuple(hosts)
    return tuple(zone for zone in zones if zone.id in known or any(zone.contains_host(host) for host in named))


@dataclass(frozen=True)
class IngressPaths:
    """How requests come to a Worker."""

    worker: str
    zones: tuple[Zone, ...]
    """Those whose routes were read."""
    routes: tuple[WorkerRoute, ...]
    """All routes of these zones."""
    domains: tuple[CustomDomain, ...]
    subdomain: WorkersDevSubdomain
    workers_dev_host: str
    """On workers.dev."""
    crons: tuple[str, ...]
    handlers: frozenset[str]
    """Of what serves."""
    calling_services: tuple[str, ...]
    """Services of ops.yml whose Workers call it by a service binding."""
    unread_zones: tuple[Zone, ...] = ()
    """Zones that the token sees and whose routes were not read."""

    @property
    def maintenance_routes(self) -> tuple[WorkerRoute, ...]:
        return tuple(route for route in self.routes if route.script == WORKER)

    def find_route(self, zone: str, pattern: str) -> WorkerRoute | None:
        return next((route for route in self.routes if (route.zone, route.pattern) == (zone, pattern)), None)

    def routes_without_maintenance(self, state: MaintenanceState) -> tuple[WorkerRoute, ...]:
        """The routes as they would be, were nothing off."""
        found = []
        for route in self.routes:
            closed = state.closed_routes.get((route.zone, route.pattern)) if route.script == WORKER else None
            if closed is None:
                found.append(route)
            elif closed.id:
                found.append(WorkerRoute(route.zone, route.id, route.pattern, closed.previous_worker))
        return tuple(found)


@dataclass
class RoutesToClose:
    """What has to lead to ops-maintenance, and what a person must know of it."""

    routes: list[ClosedRoute] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unreachable_hosts: list[str] = field(default_factory=list)
    """Hosts of the service in zones that the token does not see: they are asked, and found open."""

    def add_route(self, zone: str, pattern: str) -> None:
        self.routes.append(ClosedRoute(zone, pattern))


def choose_routes(ingress: IngressPaths, state: MaintenanceState, path: str) -> RoutesToClose:
    """For the whole service, or for all that begins with `path`."""
    routes = ingress.routes_without_maintenance(state)
    return _choose_for_path(ingress, routes, path) if path else _choose_for_service(ingress, routes)


def _reachable_domains(ingress: IngressPaths, found: RoutesToClose) -> Iterator[CustomDomain]:
    """The custom domains of the Worker; those out of reach are put down."""
    seen = {zone.id for zone in ingress.zones}
    for domain in ingress.domains:
        if domain.worker == ingress.worker and domain.zone in seen:
            yield domain
        elif domain.worker == ingress.worker:
            found.unreachable_hosts.append(domain.hostname)


def _choose_for_service(ingress: IngressPaths, routes: tuple[WorkerRoute, ...]) -> RoutesToClose:
    found = RoutesToClose([_closed_route(route) for route in routes if route.script == ingress.worker])
    for domain in _reachable_domains(ingress, found):
        zone, host = domain.zone, domain.hostname
        same = next((r for r in routes if r.zone == zone and (r.host, r.path) == (host, "/*")), None)
        if same is None:
            found.add_route(zone, f"{host}/*")
            found.notes += _describe_overridden(ingress, routes, zone, host, "/")
        elif same.script != ingress.worker:
            found.notes.append(
                f"{host} is a custom domain of {ingress.worker}, but the route {_describe_route(same)} has all of it"
            )
    return found


def _choose_for_path(ingress: IngressPaths, routes: tuple[WorkerRoute, ...], path: str) -> RoutesToClose:
    own = [route for route in routes if route.script == ingress.worker]
    found = RoutesToClose([_closed_route(route) for route in own if route.prefix.startswith(path)])
    wider = [(r.zone, r.host) for r in own if r.is_open_ended and path.startswith(r.prefix) and r.prefix != path]
    domains = [(domain.zone, domain.hostname) for domain in _reachable_domains(ingress, found)]
    for zone, host in dict.fromkeys([*wider, *domains]):
        of_zone = [route for route in routes if route.zone == zone]
        same = next((r for r in of_zone if r.host == host and r.path == f"{path}*"), None)
        answers = most_specific_route(of_zone, host, path)
        if same is not None:
            if same.script != ingress.worker:
                found.notes.append(f"{_describe_route(same)}, and not to this service: left as it is")
        elif answers is not None and answers.script != ingress.worker:
            found.notes.append(
                f"requests to {host}{path} meet {_describe_route(answers)}, and not this service: left as it is"
            )
        else:
            found.add_route(zone, f"{host}{path}*")
            found.notes += _describe_overridden(ingress, routes, zone, host, path)
    for route in routes:
        is_within = route.prefix.startswith(path) and route.prefix != path
        is_here = any(route.matches_host(host) for _, host in [*wider, *domains])
        if is_within and is_here and route.script not in {ingress.worker, WORKER}:
            found.notes.append(f"{_describe_route(route)}, and not to this service: left as it is")
    return found


def _describe_overridden(
    ingress: IngressPaths, routes: tuple[WorkerRoute, ...], zone: str, host: str, path: str
) -> Iterator[str]:
    """A route for exactly this host wins over one for many hosts, which until now won over the custom domain."""
    for route in routes:
        overlaps = route.prefix.startswith(path) or path.startswith(route.prefix)
        if (
            route.zone == zone
            and route.host != host
            and route.matches_host(host)
            and route.script != ingress.worker
            and overlaps
        ):
            text = _describe_route(route)
            yield f"requests to {host} that met {text} so far will meet ops-maintenance too, below {path}"


def _describe_route(route: WorkerRoute) -> str:
    return f"the route {route.pattern} → {route.script or 'no Worker'}"


def _closed_route(route: WorkerRoute) -> ClosedRoute:
    return ClosedRoute(route.zone, route.pattern, route.id, route.script or "")


def list_probe_addresses(window: MaintenanceWindow) -> Iterator[tuple[str, str]]:
    """(Way of asking, URL) for each host that is off: with a query, a trailing slash, and an encoded letter."""
    for each in window.closed:
        route = WorkerRoute(each.zone, each.id, each.pattern, None)
        if "*" in route.host:
            continue
        origin, path = f"https://{route.host}", route.prefix
        if not route.is_open_ended:
            yield "as it is", f"{origin}{path}"
            continue
        yield "with a query", f"{origin}{path or '/'}?ops-maintenance"
        yield "with a trailing slash", f"{origin}{path.rstrip('/')}/{'' if path.strip('/') else 'ops-maintenance/'}"
        if each.id:
            yield "encoded", f"{origin}{path if path.endswith('/') else path + '/'}%6Fps-maintenance"
        elif (encoded := _percent_encode(path if window.path else "/ops-maintenance")) is not None:
            yield "encoded", f"{origin}{encoded}"


def _percent_encode(path: str) -> str | None:
    """Its last letter that Cloudflare decodes: the ones before may belong to the route that is covered."""
    last = max((i for i, letter in enumerate(path) if letter in UNRESERVED_CHARACTERS), default=None)
    return None if last is None else f"{path[:last]}%{ord(path[last]):02X}{path[last + 1 :]}"


def wildcard_patterns(window: MaintenanceWindow) -> tuple[str, ...]:
    """Patterns for many hosts: which of these exist, no route tells."""
    return tuple(each.pattern for each in window.closed if "*" in WorkerRoute("", "", each.pattern, None).host)


def describe_open_paths(ingress: IngressPaths, path: str) -> Iterator[str]:
    """Every way past the routes, by name where it can be read."""
    if path:
        if ingress.subdomain.enabled:
            address = f"https://{ingress.workers_dev_host}{path}"
            yield f"{address}: no route stands there. Take the whole service off to close it"
        if ingress.subdomain.previews_enabled:
            yield f"each version's own address, https://VERSION-{ingress.workers_dev_host}{path}: as above"
        yield (
            "other spellings, in capitals or with %2F for a slash: to Cloudflare these are other paths. Where "
            f"{ingress.worker} takes them for this one, take the whole service off"
        )
        yield "encoded letters, where the zone's URL normalization is switched off: one is asked afterwards"
    seen = ", ".join(zone.name for zone in (*ingress.zones, *ingress.unread_zones))
    yield f"routes in zones that the token does not see; it sees {seen}"
    yield f"cron triggers of {ingress.worker}: {', '.join(ingress.crons) or 'none'}"
    others = sorted(ingress.handlers & {"queue", "email"})
    if others:
        yield f"{' and '.join(others)}: {ingress.worker} has a handler for it, and messages go on to come"
    named = ", ".join(ingress.calling_services) or "none of the Workers in ops.yml"
    yield f"service bindings: {named}; those of Workers and Pages that ops.yml does not name are not known"
    yield "Durable Objects of it that other Workers call, and objects with an alarm"


def describe_closed_paths(ingress: IngressPaths, window: MaintenanceWindow) -> Iterator[str]:
    """The ingress in that will be closed, or are."""
    names = {zone.id: zone.name for zone in ingress.zones}
    for each in window.closed:
        was = f"was → {each.previous_worker}, route {each.id}" if each.id else "added; there was none"
        yield f"{each.pattern} (zone {names.get(each.zone, each.zone)}): {was}"
    if window.subdomain:
        yield f"https://{ingress.workers_dev_host}: was {window.subdomain}"
