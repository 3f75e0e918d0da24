"""Find routes to ops-maintenance that its live version does not store.

Two runs at once can leave such a route. Each version of ops-maintenance keeps the state that its run stored,
so an older version holds the previous target of the route.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ops.cloudflare.types.zones import WorkerRoute
from ops.maintenance.routes import IngressPaths
from ops.maintenance.state import ClosedRoute, MaintenanceState, MaintenanceWindow, merge_states, replace_window
from ops.maintenance.writes import SUBDOMAIN_OFF


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
