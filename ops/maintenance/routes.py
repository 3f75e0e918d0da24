"""Which routes have to lead to ops-maintenance so that a service or a path is off, and what stays open. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ops.cloudflare.types.zones import UNRESERVED, Domain, Route, Subdomain, Zone, answering
from ops.core.names import MAINTENANCE_WORKER as WORKER
from ops.maintenance.state import Block, Closed, Stored

MOST_ZONES = 40
"""Zones whose routes are all read. Only a zone's own routes tell whether one leads to the Worker, so fewer is safer
for Cloudflare's rate limit (1,200 requests in 5 minutes) and leaves routes unseen."""


def zones_to_read(
    zones: tuple[Zone, ...], hosts: Iterable[str], stored: Stored, domains: Iterable[Domain] = ()
) -> tuple[Zone, ...]:
    """All of them; of more than MOST_ZONES those with one of the hosts, a custom domain, or a route that is stored."""
    if len(zones) <= MOST_ZONES:
        return zones
    known = {domain.zone for domain in domains} | {zone for zone, _ in stored.closed}
    named = tuple(hosts)
    return tuple(zone for zone in zones if zone.id in known or any(zone.holds(host) for host in named))


@dataclass(frozen=True)
class Ways:
    """How requests come to a Worker."""

    worker: str
    zones: tuple[Zone, ...]
    """Those whose routes were read."""
    routes: tuple[Route, ...]
    """All routes of these zones."""
    domains: tuple[Domain, ...]
    subdomain: Subdomain
    address: str
    """On workers.dev."""
    crons: tuple[str, ...]
    handlers: frozenset[str]
    """Of what serves."""
    bound_by: tuple[str, ...]
    """Services of ops.yml whose Workers call it by a service binding."""
    unread: tuple[Zone, ...] = ()
    """Zones that the token sees and whose routes were not read."""

    @property
    def stray(self) -> tuple[Route, ...]:
        return tuple(route for route in self.routes if route.script == WORKER)

    def live(self, zone: str, pattern: str) -> Route | None:
        return next((route for route in self.routes if (route.zone, route.pattern) == (zone, pattern)), None)

    def opened(self, stored: Stored) -> tuple[Route, ...]:
        """The routes as they would be, were nothing off."""
        found = []
        for route in self.routes:
            closed = stored.closed.get((route.zone, route.pattern)) if route.script == WORKER else None
            if closed is None:
                found.append(route)
            elif closed.id:
                found.append(Route(route.zone, route.id, route.pattern, closed.was))
        return tuple(found)


@dataclass
class Closing:
    """What has to lead to ops-maintenance, and what a person must know of it."""

    closed: list[Closed] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    out_of_reach: list[str] = field(default_factory=list)
    """Hosts of the service in zones that the token does not see: they are asked, and found open."""

    def add(self, zone: str, pattern: str) -> None:
        self.closed.append(Closed(zone, pattern))


def closing(ways: Ways, stored: Stored, path: str) -> Closing:
    """For the whole service, or for all that begins with `path`."""
    routes = ways.opened(stored)
    return _path(ways, routes, path) if path else _whole(ways, routes)


def _domains(ways: Ways, found: Closing) -> Iterator[Domain]:
    """The custom domains of the Worker; those out of reach are put down."""
    seen = {zone.id for zone in ways.zones}
    for domain in ways.domains:
        if domain.worker == ways.worker and domain.zone in seen:
            yield domain
        elif domain.worker == ways.worker:
            found.out_of_reach.append(domain.hostname)


def _whole(ways: Ways, routes: tuple[Route, ...]) -> Closing:
    found = Closing([_repointed(route) for route in routes if route.script == ways.worker])
    for domain in _domains(ways, found):
        zone, host = domain.zone, domain.hostname
        same = next((r for r in routes if r.zone == zone and (r.host, r.path) == (host, "/*")), None)
        if same is None:
            found.add(zone, f"{host}/*")
            found.notes += _taken_over(ways, routes, zone, host, "/")
        elif same.script != ways.worker:
            found.notes.append(f"{host} is a custom domain of {ways.worker}, but the route {_led(same)} has all of it")
    return found


def _path(ways: Ways, routes: tuple[Route, ...], path: str) -> Closing:
    own = [route for route in routes if route.script == ways.worker]
    found = Closing([_repointed(route) for route in own if route.prefix.startswith(path)])
    wider = [(r.zone, r.host) for r in own if r.is_open_ended and path.startswith(r.prefix) and r.prefix != path]
    domains = [(domain.zone, domain.hostname) for domain in _domains(ways, found)]
    for zone, host in dict.fromkeys([*wider, *domains]):
        of_zone = [route for route in routes if route.zone == zone]
        same = next((r for r in of_zone if r.host == host and r.path == f"{path}*"), None)
        answers = answering(of_zone, host, path)
        if same is not None:
            if same.script != ways.worker:
                found.notes.append(f"{_led(same)}, and not to this service: left as it is")
        elif answers is not None and answers.script != ways.worker:
            found.notes.append(f"requests to {host}{path} meet {_led(answers)}, and not this service: left as it is")
        else:
            found.add(zone, f"{host}{path}*")
            found.notes += _taken_over(ways, routes, zone, host, path)
    for route in routes:
        is_within = route.prefix.startswith(path) and route.prefix != path
        is_here = any(route.is_at(host) for _, host in [*wider, *domains])
        if is_within and is_here and route.script not in {ways.worker, WORKER}:
            found.notes.append(f"{_led(route)}, and not to this service: left as it is")
    return found


def _taken_over(ways: Ways, routes: tuple[Route, ...], zone: str, host: str, path: str) -> Iterator[str]:
    """A route for exactly this host wins over one for many hosts, which until now won over the custom domain."""
    for route in routes:
        overlaps = route.prefix.startswith(path) or path.startswith(route.prefix)
        if route.zone == zone and route.host != host and route.is_at(host) and route.script != ways.worker and overlaps:
            yield f"requests to {host} that met {_led(route)} so far will meet ops-maintenance too, below {path}"


def _led(route: Route) -> str:
    return f"the route {route.pattern} → {route.script or 'no Worker'}"


def _repointed(route: Route) -> Closed:
    return Closed(route.zone, route.pattern, route.id, route.script or "")


def addresses(block: Block) -> Iterator[tuple[str, str]]:
    """(Way of asking, URL) for each host that is off: with a query, a trailing slash, and an encoded letter."""
    for each in block.closed:
        route = Route(each.zone, each.id, each.pattern, None)
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
        elif (encoded := _encoded(path if block.path else "/ops-maintenance")) is not None:
            yield "encoded", f"{origin}{encoded}"


def _encoded(path: str) -> str | None:
    """Its last letter that Cloudflare decodes: the ones before may belong to the route that is covered."""
    last = max((i for i, letter in enumerate(path) if letter in UNRESERVED), default=None)
    return None if last is None else f"{path[:last]}%{ord(path[last]):02X}{path[last + 1 :]}"


def not_asked(block: Block) -> tuple[str, ...]:
    """Patterns for many hosts: which of these exist, no route tells."""
    return tuple(each.pattern for each in block.closed if "*" in Route("", "", each.pattern, None).host)


def stays_open(ways: Ways, path: str) -> Iterator[str]:
    """Every way past the routes, by name where it can be read."""
    if path:
        if ways.subdomain.enabled:
            yield f"https://{ways.address}{path}: no route stands there. Take the whole service off to close it"
        if ways.subdomain.previews:
            yield f"each version's own address, https://VERSION-{ways.address}{path}: as above"
        yield (
            "other spellings, in capitals or with %2F for a slash: to Cloudflare these are other paths. Where "
            f"{ways.worker} takes them for this one, take the whole service off"
        )
        yield "encoded letters, where the zone's URL normalization is switched off: one is asked afterwards"
    seen = ", ".join(zone.name for zone in (*ways.zones, *ways.unread))
    yield f"routes in zones that the token does not see; it sees {seen}"
    yield f"cron triggers of {ways.worker}: {', '.join(ways.crons) or 'none'}"
    others = sorted(ways.handlers & {"queue", "email"})
    if others:
        yield f"{' and '.join(others)}: {ways.worker} has a handler for it, and messages go on to come"
    named = ", ".join(ways.bound_by) or "none of the Workers in ops.yml"
    yield f"service bindings: {named}; those of Workers and Pages that ops.yml does not name are not known"
    yield "Durable Objects of it that other Workers call, and objects with an alarm"


def closes(ways: Ways, block: Block) -> Iterator[str]:
    """The ways in that will be closed, or are."""
    names = {zone.id: zone.name for zone in ways.zones}
    for each in block.closed:
        was = f"was → {each.was}, route {each.id}" if each.id else "added; there was none"
        yield f"{each.pattern} (zone {names.get(each.zone, each.zone)}): {was}"
    if block.subdomain:
        yield f"https://{ways.address}: was {block.subdomain}"
