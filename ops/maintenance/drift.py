"""Compare live routes with the stored windows: addresses that are open, routes not stored.

A deployment may open what a window closed: wrangler sets routes, workers.dev and preview URLs each time. Two runs at
once can leave a route to ops-maintenance that its live version does not store. Each version of ops-maintenance keeps
the state that its run stored, so an older version holds the previous target of the route.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from ops.cloudflare.types.zones import CustomDomain, WorkerRoute, WorkersDevSubdomain, Zone, most_specific_route
from ops.core.clock import format_rfc3339, parse_utc
from ops.core.names import MAINTENANCE_WORKER as WORKER
from ops.core.names import quote_name
from ops.core.runtime_contract import MAINTENANCE_SWITCH, ReportedSwitch
from ops.core.threads import run_in_batches
from ops.core.verdict import MaintenanceCheck, ProbeResult, Verdict
from ops.maintenance import steps
from ops.maintenance.ownership import is_maintenance_run_over
from ops.maintenance.routes import IngressPaths, select_zones
from ops.maintenance.state import ClosedRoute, MaintenanceState, MaintenanceWindow, merge_states, replace_window
from ops.maintenance.writes import SUBDOMAIN_OFF

if TYPE_CHECKING:
    from ops.cloudflare.routes import RoutesApi
    from ops.cloudflare.workers import WorkersApi
    from ops.switches.values import SwitchState

NO_WORKER, PREVIEWS = "no Worker", "preview URLs"
SWITCH_ADVICE = (
    "Check that the deployed Worker reads this KV namespace. "
    "To close it without the application, set `maintenance: edge` in ops.yml, and take it offline again"
)


@dataclass(frozen=True)
class MaintenanceOpening:
    """A way into a closed service that is open."""

    service: str
    path: str
    """Closed path prefix; empty for the whole service."""
    incident: int | None
    """Incident of the command that closes it again; others may need it closed too."""
    incidents: tuple[int, ...]
    """All incidents that need it closed."""
    text: str
    """Such as `api.example.com leads to shop-api`."""


@dataclass(frozen=True)
class ClosureLook:
    """One service that is stored as closed, compared with what is live."""

    windows: tuple[MaintenanceWindow, ...] = ()
    """Windows at the edge."""
    openings: tuple[MaintenanceOpening, ...] = ()
    is_stored: bool = True
    """Whether it is still stored as closed."""
    run: str = ""
    """Run that stored the closure."""
    unread: str = ""
    """What could not be read, so that it may be open too."""


@dataclass(frozen=True)
class LiveWays:
    """Ways in as they are live."""

    zones: tuple[Zone, ...]
    """Zones whose routes were read."""
    routes: tuple[WorkerRoute, ...]
    """All routes of `zones`."""
    domains: tuple[CustomDomain, ...] = ()
    subdomains: Mapping[str, WorkersDevSubdomain] = field(default_factory=dict)
    """Worker → its setting, for each Worker that a window closes as a whole."""

    def unread_patterns(self, windows: Iterable[MaintenanceWindow]) -> tuple[str, ...]:
        """Return the closed routes in zones that were not read: nobody knows where they lead."""
        read = {zone.id for zone in self.zones}
        unread = (each.pattern for window in windows for each in window.closed if each.zone not in read)
        return tuple(dict.fromkeys(unread))


def read_live_ways(routes: "RoutesApi", state: MaintenanceState, hosts: Iterable[str]) -> LiveWays:
    """Read the routes of all zones, or of many those of `hosts` and of the closed routes. Raises ProviderError."""
    zones = select_zones(routes.list_zones(), hosts, state)
    return LiveWays(zones, steps.read_routes(routes, zones))


def read_other_ways(
    live: LiveWays, workers: "WorkersApi", routes: "RoutesApi", windows: Iterable[MaintenanceWindow]
) -> LiveWays:
    """Add custom domains with one request, and workers.dev with one per closed Worker. Raises ProviderError."""
    names = list(dict.fromkeys(each.worker for each in windows if each.worker and not each.path))
    reads: list[Callable[[], Any]] = [routes.list_domains, *(partial(workers.read_subdomain, name) for name in names)]
    domains, *subdomains = run_in_batches(reads, steps.MAX_PARALLEL_READS)
    return replace(live, domains=domains, subdomains=dict(zip(names, subdomains, strict=True)))


def look_at_routes(
    workers: "WorkersApi", routes: "RoutesApi", check: "Check", hosts: Mapping[str, str]
) -> Mapping[str, ClosureLook]:
    """Compare the windows of these services with the live ways in, all with one read.

    `hosts`: service → its host. The result has the closed services. Raises Refused and ProviderError.
    """
    standing = steps.read_maintenance_worker(workers)
    windows = tuple(each for each in standing.state.windows if each.service in hosts) if standing else ()
    if standing is None or not windows:
        return {}
    live = read_other_ways(read_live_ways(routes, standing.state, hosts.values()), workers, routes, windows)
    looks = dict[str, ClosureLook]()
    for name in dict.fromkeys(each.service for each in windows):
        own = tuple(each for each in windows if each.service == name)
        openings, unread = find_maintenance_openings(own, live, check)
        looks[name] = ClosureLook(own, openings, run=standing.state.run, unread=unread)
    return looks


Check = Callable[[Sequence[MaintenanceCheck]], ProbeResult]
"""Sends one request to each address, and says whether ops-maintenance answers."""


def find_maintenance_openings(
    windows: Sequence[MaintenanceWindow], live: LiveWays, check: Check
) -> tuple[tuple[MaintenanceOpening, ...], str]:
    """Return the open ways into closed services, and what is unknown.

    A closed Pages site costs one request: Cloudflare does not document that a route precedes its custom domain, so
    only its answer shows it [unsure: zone-precedence].
    """
    openings, unread = [*find_route_openings(windows, live)], live.unread_patterns(windows)
    unknown = [f"the token cannot read the zone of {', '.join(unread)}"] if unread else []
    opened = {(each.service, each.path) for each in openings}
    sites = [each for each in windows if not each.worker and (each.service, each.path) not in opened]
    asked = [(each, f"{host}{each.path}") for each in sites for host in _closed_hosts(each)]
    checks = [partial(check, [MaintenanceCheck(f"https://{at}{'' if each.path else '/'}")]) for each, at in asked]
    for (window, address), seen in zip(asked, run_in_batches(checks, steps.MAX_PARALLEL_READS), strict=True):
        if seen.verdict == Verdict.UNHEALTHY:
            openings.append(_open_window(window, f"{address} is not answered by {WORKER}"))
        elif seen.verdict == Verdict.INCONCLUSIVE:
            unknown.append(seen.detail)
    return tuple(openings), "; ".join(unknown)


def _closed_hosts(window: MaintenanceWindow) -> Iterable[str]:
    return dict.fromkeys(WorkerRoute(each.zone, "", each.pattern, None).host for each in window.closed)


def find_ignored_switch(
    service: str, switch: "SwitchState", shown: ReportedSwitch | None, settle: timedelta, now: datetime
) -> MaintenanceOpening | None:
    """Return the opening if the application does not follow a closed switch in KV, `settle` after it was set.

    An application that shows a value of another run is none: the API of KV may still return an older value.
    """
    value = switch.value
    if switch.name != MAINTENANCE_SWITCH or value is None or not switch.is_on(now) or shown is None:
        return None
    if shown.state == switch.state(now) or now - value.since <= settle or switch.differs_from(shown):
        return None
    text = f"{service} shows {switch.name} = {quote_name(shown.state)}, and KV {switch.state(now)}"
    known = sorted({each.incident for each in value.active_owners(now) if each.incident})
    return MaintenanceOpening(service, ", ".join(value.paths), value.incident, tuple(known), text)


def find_route_openings(windows: Iterable[MaintenanceWindow], live: LiveWays) -> tuple[MaintenanceOpening, ...]:
    """Return the open ways into closed services, each once: of the widest window that closes it."""
    openings: dict[tuple[str, str], MaintenanceOpening] = {}
    for window in sorted(windows, key=lambda each: each.path):
        for address, leads_to in _open_addresses(window, live):
            verb = "lead" if address.startswith(PREVIEWS) else "leads"
            openings.setdefault((window.service, address), _open_window(window, f"{address} {verb} to {leads_to}"))
    return tuple(openings.values())


def _open_window(window: MaintenanceWindow, text: str) -> MaintenanceOpening:
    return MaintenanceOpening(window.service, window.path, window.incident, tuple(sorted(window.incidents)), text)


def _open_addresses(window: MaintenanceWindow, live: LiveWays) -> Iterator[tuple[str, str]]:
    """Yield each open address with the Worker that answers there."""
    read = {zone.id for zone in live.zones}
    for each in window.closed:
        if each.zone in read and (leads_to := _find_answering_worker(each, live)) != WORKER:
            yield _describe_route_pattern(each.pattern), leads_to
    for route in live.routes:
        if window.worker and route.script == window.worker and route.prefix.startswith(window.path):
            yield _describe_route_pattern(route.pattern), window.worker
    for domain in live.domains:
        if domain.worker == window.worker and domain.zone in read:
            answers = _most_specific(live, domain.zone, domain.hostname, window.path)
            if answers is None:
                yield f"{domain.hostname}{window.path}", window.worker
    subdomain = None if window.path else live.subdomains.get(window.worker)
    if subdomain and subdomain.enabled:
        yield f"workers.dev of {window.worker}", window.worker
    if subdomain and subdomain.previews_enabled:
        yield f"{PREVIEWS} of {window.worker}", window.worker


def _find_answering_worker(closed: ClosedRoute, live: LiveWays) -> str:
    """Return the Worker that answers at a stored route, which may be deleted."""
    same = next((each for each in live.routes if (each.zone, each.pattern) == closed.key), None)
    stored = WorkerRoute(closed.zone, closed.id, closed.pattern, None)
    answers = same or _most_specific(live, closed.zone, stored.host, stored.prefix)
    if answers is not None:
        return answers.script or NO_WORKER
    return next((each.worker for each in live.domains if each.hostname == stored.host), NO_WORKER)


def _most_specific(live: LiveWays, zone: str, host: str, path: str) -> WorkerRoute | None:
    return most_specific_route((each for each in live.routes if each.zone == zone), host, path or "/")


def _describe_route_pattern(pattern: str) -> str:
    return pattern.removesuffix("/*")


def advise_closing_again(
    opening: MaintenanceOpening,
    windows: Iterable[MaintenanceWindow],
    now: datetime,
    command: Callable[[Mapping[str, Any]], str],
) -> str:
    """Return how to close it again; `command` builds the command of maintenance from its options."""
    window = next((each for each in windows if (each.service, each.path) == (opening.service, opening.path)), None)
    if window is None:
        return SWITCH_ADVICE
    again = command(_closing_options(window, now))
    if window.reopened_by:
        run = quote_name(window.reopened_by)
        if is_maintenance_run_over(parse_utc(window.since), now):
            names = {name: getattr(window, name) for name in ("service", "path", "incident")}
            opens = command({"state": "off", **names})
            return f"Run {run} closed it and never reopened it. Open the rest: `{opens}`. Or close it again: `{again}`"
        return f"Run {run} reopens it at its end. If that run has ended, close it again: `{again}`"
    return f"Close it again: `{again}`"


def _closing_options(window: MaintenanceWindow, now: datetime) -> Mapping[str, Any]:
    """Return the options that close the window again, with its automatic end: without it, the end would be dropped."""
    owner = next((each for each in window.all_owners if each.incident == window.incident), None)
    until = owner.until if owner else None
    end = {"until": format_rfc3339(until), "reopen_at_end": True} if until and until > now else {}
    return {"state": "on", "service": window.service, "path": window.path, "incident": window.incident, **end}


@dataclass(frozen=True)
class RecoveredState:
    """State of the live version, completed with recovered values for one Worker."""

    state: MaintenanceState
    recovered_routes: tuple[WorkerRoute, ...] = ()
    """Orphaned routes with a known previous target."""
    unknown_routes: tuple[WorkerRoute, ...] = ()
    """Orphaned routes that no version stores for this Worker."""
    has_recovered_subdomain: bool = False
    """Whether the workers.dev setting was recovered too."""


def find_orphans(routes: Iterable[WorkerRoute], state: MaintenanceState) -> tuple[WorkerRoute, ...]:
    """Return the routes that `state` does not store. `routes` must all lead to ops-maintenance."""
    return tuple(route for route in routes if (route.zone, route.pattern) not in state.closed_routes)


def find_closed_route(window: MaintenanceWindow, route: WorkerRoute, worker: str) -> ClosedRoute | None:
    """Return the stored route if it led to `worker` or was added; a route with another id is another route."""
    if window.worker != worker:
        return None
    closed = next((each for each in window.closed if each.key == (route.zone, route.pattern)), None)
    fits = closed is not None and (not closed.id or (closed.id == route.id and closed.previous_worker == worker))
    return closed if fits else None


def recover_state(
    ingress: IngressPaths, state: MaintenanceState, older: Iterable[MaintenanceState], service: str
) -> RecoveredState:
    """Complete `state` with values from `older` states, newest first."""
    known = [*state.reopened, *(window for each in older for window in (*each.windows, *each.reopened))]
    windows: tuple[MaintenanceWindow, ...] = ()
    routes, unknown = [], []
    for route in find_orphans(ingress.maintenance_routes, state):
        previous = _find_previous(known, route, ingress.worker)
        if previous is None:
            unknown.append(route)
            continue
        window, closed = previous
        routes.append(route)
        # A window that still closes a route is also the reason that workers.dev is off.
        subdomain = window.subdomain if _is_subdomain_lost(ingress, state) else None
        windows = _add_to_window(
            windows, state, replace(window, service=service, closed=(closed,), subdomain=subdomain)
        )
    for window in _reopened_subdomains(ingress, state):
        windows = _add_to_window(windows, state, replace(window, service=service, closed=()))
    is_subdomain = any(window.subdomain for window in windows) and _is_subdomain_lost(ingress, state)
    return RecoveredState(
        merge_states(state, [MaintenanceState(windows, "")]), tuple(routes), tuple(unknown), is_subdomain
    )


def _is_subdomain_lost(ingress: IngressPaths, state: MaintenanceState) -> bool:
    """Return whether workers.dev is off and no window stores its previous setting."""
    return ingress.subdomain == SUBDOMAIN_OFF and not any(
        b.subdomain for b in state.windows if b.worker == ingress.worker
    )


def _find_previous(
    known: Iterable[MaintenanceWindow], route: WorkerRoute, worker: str
) -> tuple[MaintenanceWindow, ClosedRoute] | None:
    """Return the window and route that store the previous target; prefer one with an id, which existed before."""
    closures = [
        (window, closed) for window in known if (closed := find_closed_route(window, route, worker)) is not None
    ]
    return next((each for each in closures if each[1].id), closures[0] if closures else None)


def _reopened_subdomains(ingress: IngressPaths, state: MaintenanceState) -> Iterator[MaintenanceWindow]:
    """Yield reopened windows that explain why workers.dev is off: a person may turn it off too."""
    for window in state.reopened:
        if window.worker == ingress.worker and window.subdomain and _is_subdomain_lost(ingress, state):
            yield window


def _add_to_window(
    windows: tuple[MaintenanceWindow, ...], state: MaintenanceState, window: MaintenanceWindow
) -> tuple[MaintenanceWindow, ...]:
    """Add to the window for the same path, which keeps its end and message."""
    same = next((each for each in windows if each.path == window.path), None) or state.find_window(
        window.service, window.path
    )
    if same is None:
        return (*windows, replace(window, reopen_at_end=False))
    added = {each.key: each for each in (*same.closed, *window.closed)}
    both = replace(same, closed=tuple(added.values()), subdomain=same.subdomain or window.subdomain)
    return replace_window(windows, both)


def is_unfinished(ingress: IngressPaths, window: MaintenanceWindow) -> bool:
    """Return whether part of the window is open: another run may be about to close or open it."""
    open_ones = (each for each in window.closed if ingress.find_route(*each.key) not in ingress.maintenance_routes)
    return any(open_ones) or bool(window.subdomain and ingress.subdomain != SUBDOMAIN_OFF)


def reopened_to_store(
    ingress: IngressPaths, state: MaintenanceState, reopened: Iterable[MaintenanceWindow]
) -> tuple[MaintenanceWindow, ...]:
    """Return the reopened windows to store: they replace the earlier ones of this Worker.

    The next run finds by them the routes that were closed in the meantime.
    """
    others = tuple(window for window in state.reopened if window.worker != ingress.worker)
    return (*others, *(window for window in reopened if is_unfinished(ingress, window)))
