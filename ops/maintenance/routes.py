"""Choose the routes to repoint to ops-maintenance, and list what stays open."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

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
"""Most zones whose routes are read. Each costs one request, of 1,200 in 5 minutes
(developers.cloudflare.com/fundamentals/api/reference/limits). A lower number leaves more routes unread."""


def select_zones(
    zones: tuple[Zone, ...], hosts: Iterable[str], state: MaintenanceState, domains: Iterable[CustomDomain] = ()
) -> tuple[Zone, ...]:
    """Return the zones to read: all, or of more than MAX_ZONES those of the hosts, custom domains and stored routes."""
    if len(zones) <= MAX_ZONES:
        return zones
    known = {domain.zone for domain in domains} | {zone for zone, _ in state.closed_routes}
    named = tuple(hosts)
    return tuple(zone for zone in zones if zone.id in known or any(zone.contains_host(host) for host in named))


@dataclass(frozen=True)
class IngressPaths:
    """Ways in which requests reach a Worker."""

    worker: str
    zones: tuple[Zone, ...]
    """Zones whose routes were read."""
    routes: tuple[WorkerRoute, ...]
    """All routes of `zones`."""
    domains: tuple[CustomDomain, ...]
    subdomain: WorkersDevSubdomain
    workers_dev_host: str
    """Host on workers.dev."""
    crons: tuple[str, ...]
    handlers: frozenset[str]
    """Handlers of the live version, such as `fetch` or `queue`."""
    calling_services: tuple[str, ...]
    """Services in ops.yml whose Workers call it through a service binding."""
    unread_zones: tuple[Zone, ...] = ()
    """Zones that the token can read and whose routes were not read."""
    site: str = ""
    """Pages project; then `worker` is empty."""
    site_host: str = ""
    """Host of its url, the only one that is closed."""

    @property
    def maintenance_routes(self) -> tuple[WorkerRoute, ...]:
        return tuple(route for route in self.routes if route.script == WORKER)

    def find_route(self, zone: str, pattern: str) -> WorkerRoute | None:
        return self._by_key.get((zone, pattern))

    @cached_property
    def _by_key(self) -> Mapping[tuple[str, str], WorkerRoute]:
        return {(route.zone, route.pattern): route for route in self.routes}

    def routes_without_maintenance(self, state: MaintenanceState) -> tuple[WorkerRoute, ...]:
        """Return the routes as they are without any maintenance window."""
        uncovered = []
        for route in self.routes:
            closed = state.closed_routes.get((route.zone, route.pattern)) if route.script == WORKER else None
            if closed is None:
                uncovered.append(route)
            elif closed.id:
                uncovered.append(WorkerRoute(route.zone, route.id, route.pattern, closed.previous_worker))
        return tuple(uncovered)


@dataclass
class RoutesToClose:
    """Routes to repoint to ops-maintenance, with notes for a person."""

    routes: list[ClosedRoute] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unreachable_hosts: list[str] = field(default_factory=list)
    """Hosts of the service in zones that the token cannot read; they are probed, and found open."""

    def add_route(self, zone: str, pattern: str) -> None:
        self.routes.append(ClosedRoute(zone, pattern))


def choose_routes(ingress: IngressPaths, state: MaintenanceState, path: str) -> RoutesToClose:
    """Choose the routes that close the whole service, or the path prefix `path`."""
    routes = ingress.routes_without_maintenance(state)
    if ingress.site:
        return _choose_for_site(ingress, routes, path)
    return _choose_for_path(ingress, routes, path) if path else _choose_for_service(ingress, routes)


def _reachable_domains(ingress: IngressPaths, to_close: RoutesToClose) -> Iterator[CustomDomain]:
    """Yield the custom domains of the Worker, and note those in zones that the token cannot read."""
    readable_zones = {zone.id for zone in ingress.zones}
    for domain in ingress.domains:
        if domain.worker == ingress.worker and domain.zone in readable_zones:
            yield domain
        elif domain.worker == ingress.worker:
            to_close.unreachable_hosts.append(domain.hostname)


def _choose_for_service(ingress: IngressPaths, routes: tuple[WorkerRoute, ...]) -> RoutesToClose:
    to_close = RoutesToClose([_closed_route(route) for route in routes if route.script == ingress.worker])
    for domain in _reachable_domains(ingress, to_close):
        zone, host = domain.zone, domain.hostname
        same = next((r for r in routes if r.zone == zone and (r.host, r.path) == (host, "/*")), None)
        if same is None:
            to_close.add_route(zone, f"{host}/*")
            to_close.notes += _describe_overridden(ingress, routes, zone, host, "/")
        elif same.script != ingress.worker:
            to_close.notes.append(
                f"{host} is a custom domain of {ingress.worker}, but {_describe_route(same)} takes all of its requests"
            )
    return to_close


def _choose_for_site(ingress: IngressPaths, routes: tuple[WorkerRoute, ...], path: str) -> RoutesToClose:
    """Choose one route for the host of a Pages site, unless a Worker answers there already."""
    to_close, host, target = RoutesToClose(), ingress.site_host, path or "/"
    for zone in ingress.zones:
        if not zone.contains_host(host):
            continue
        of_zone = [route for route in routes if route.zone == zone.id]
        answers = most_specific_route(of_zone, host, target)
        if answers is not None and answers.script:
            to_close.notes.append(
                f"{_describe_route(answers)} takes requests to {host}{path}, not this site: unchanged"
            )
        else:
            to_close.add_route(zone.id, f"{host}{target}*")
    return to_close


def _choose_for_path(ingress: IngressPaths, routes: tuple[WorkerRoute, ...], path: str) -> RoutesToClose:
    own = [route for route in routes if route.script == ingress.worker]
    to_close = RoutesToClose([_closed_route(route) for route in own if route.prefix.startswith(path)])
    wider = [(r.zone, r.host) for r in own if r.is_open_ended and path.startswith(r.prefix) and r.prefix != path]
    domains = [(domain.zone, domain.hostname) for domain in _reachable_domains(ingress, to_close)]
    for zone, host in dict.fromkeys([*wider, *domains]):
        of_zone = [route for route in routes if route.zone == zone]
        same = next((r for r in of_zone if r.host == host and r.path == f"{path}*"), None)
        answers = most_specific_route(of_zone, host, path)
        if same is not None:
            if same.script != ingress.worker:
                to_close.notes.append(f"{_describe_route(same)} does not lead to this service: unchanged")
        elif answers is not None and answers.script != ingress.worker:
            to_close.notes.append(
                f"{_describe_route(answers)} takes requests to {host}{path}, not this service: unchanged"
            )
        else:
            to_close.add_route(zone, f"{host}{path}*")
            to_close.notes += _describe_overridden(ingress, routes, zone, host, path)
    for route in routes:
        is_within = route.prefix.startswith(path) and route.prefix != path
        is_here = any(route.matches_host(host) for _, host in [*wider, *domains])
        if is_within and is_here and route.script not in {ingress.worker, WORKER}:
            to_close.notes.append(f"{_describe_route(route)} does not lead to this service: unchanged")
    return to_close


def _describe_overridden(
    ingress: IngressPaths, routes: tuple[WorkerRoute, ...], zone: str, host: str, path: str
) -> Iterator[str]:
    """Describe wildcard routes that won over the custom domain, and lose against a route for exactly this host."""
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
            yield f"{text} took requests to {host}{path}… before; ops-maintenance takes them too"


def _describe_route(route: WorkerRoute) -> str:
    return f"the route {route.pattern} → {route.script or 'no Worker'}"


def _closed_route(route: WorkerRoute) -> ClosedRoute:
    return ClosedRoute(route.zone, route.pattern, route.id, route.script or "")


def list_probe_addresses(window: MaintenanceWindow) -> Iterator[tuple[str, str]]:
    """Yield (variant, URL) for each closed host: with a query, a trailing slash, and a percent-encoded letter."""
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
    """Encode the last letter that Cloudflare decodes; the ones before may belong to the route that is covered."""
    last = max((i for i, letter in enumerate(path) if letter in UNRESERVED_CHARACTERS), default=None)
    return None if last is None else f"{path[:last]}%{ord(path[last]):02X}{path[last + 1 :]}"


def wildcard_patterns(window: MaintenanceWindow) -> tuple[str, ...]:
    """Return the patterns with a wildcard host, for which the existing hosts are unknown."""
    return tuple(each.pattern for each in window.closed if "*" in WorkerRoute("", "", each.pattern, None).host)


def describe_open_paths(ingress: IngressPaths, path: str) -> Iterator[str]:
    """Describe every path past the routes, by name where Cloudflare lists it."""
    if ingress.site:
        yield f"the address of {ingress.site} on pages.dev, its previews, and the address of each deployment"
        yield f"other custom domains of {ingress.site}: only {ingress.site_host} is closed"
        yield f"more specific routes of {ingress.site_host}, and other spellings of a path"
        return
    if path:
        if ingress.subdomain.enabled:
            address = f"https://{ingress.workers_dev_host}{path}"
            yield f"{address}: routes do not apply there. To close it, put the whole service into maintenance"
        if ingress.subdomain.previews_enabled:
            yield f"preview URLs, https://VERSION-{ingress.workers_dev_host}{path}: as above"
        yield (
            "other spellings, in capitals or with %2F for a slash: Cloudflare treats them as other paths. If "
            f"{ingress.worker} does not, put the whole service into maintenance"
        )
        yield "encoded letters, if the zone's URL normalization is off: one is probed afterwards"
    visible = ", ".join(zone.name for zone in (*ingress.zones, *ingress.unread_zones))
    yield f"routes in zones that the token cannot read; it can read {visible}"
    yield (  # [unsure: open-websockets]
        "WebSockets that are open, perhaps: routes choose the Worker of new requests, and Cloudflare does not document "
        f"what a changed route does to them. A client that reconnects gets 503. A new deployment of {ingress.worker} "
        "closes those of its Durable Objects"
    )
    yield f"cron triggers of {ingress.worker}, which keep running: {', '.join(ingress.crons) or 'none'}"
    if "queue" in ingress.handlers:
        yield (
            f"queues: {ingress.worker} has a handler, and messages continue to arrive. To hold them back: "
            "`wrangler queues pause-delivery QUEUE`"
        )
    if "email" in ingress.handlers:
        yield f"email: {ingress.worker} has a handler, and messages continue to arrive"
    named = ", ".join(ingress.calling_services) or "none of the Workers in ops.yml"
    yield f"service bindings: {named}; Workers and Pages projects that are not in ops.yml are unknown"
    yield "its Durable Objects: calls from other Workers, and alarms"


def describe_closed_paths(ingress: IngressPaths, window: MaintenanceWindow) -> Iterator[str]:
    """Describe the paths that are closed, each with its previous target."""
    names = {zone.id: zone.name for zone in ingress.zones}
    for each in window.closed:
        was = f"previously → {each.previous_worker}, route {each.id}" if each.id else "added; no route before"
        yield f"{each.pattern} (zone {names.get(each.zone, each.zone)}): {was}"
    if window.subdomain:
        yield f"https://{ingress.workers_dev_host}: previously {window.subdomain}"
