"""`ops status`: what is live and what is on, by reading alone.

A source that cannot be read is named, and stops none of the others.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ops.app import run
from ops.app.session import Session
from ops.cloudflare.types.pages import PagesDeployment
from ops.core.errors import OpsError, Refused
from ops.core.names import MAINTENANCE_WORKER as WORKER
from ops.core.redaction import Redactor
from ops.core.runtime_contract import LIMITS_KEY, SWITCH_KEY_PREFIX, ReportedSwitch
from ops.core.threads import run_parallel, start_call
from ops.maintenance import orphaned_routes, steps
from ops.maintenance import routes as maintenance_routes
from ops.maintenance.state import MaintenanceState, MaintenanceWindow
from ops.pages.observed_content import describe_match
from ops.status.status import Live, Orphan, Status, Temporary, temporary
from ops.switches import values as switches
from ops.switches.values import SwitchState

if TYPE_CHECKING:
    from ops.config import Service
    from ops.config.runtime import RuntimeConfig

T = TypeVar("T")


def of_environment(name: str, config_path: Path, environ: Mapping[str, str], redactor: Redactor) -> Status:
    """Redacted. Raises ConfigError."""
    config, _ = run.read_config(config_path)
    run.register_secrets(environ, config, redactor)
    with ExitStack() as ending:
        found: Status = redactor.value(read(Session(config.environment(name), environ, ending)))
        return found


def read(session: Session, *, with_services: bool = True) -> Status:
    services = list(session.environment.services.values()) if with_services else []
    asks: list[Callable[[], Any]] = [partial(_live, session, each) for each in services]
    *live, (on, limits, why), (off, orphans, not_off) = run_parallel(
        [*asks, lambda: _on(session), lambda: _off(session)]
    )
    return Status(
        session.environment.name,
        session.clock.now(),
        live=tuple(found for found, _ in live if found),
        switches=on,
        limits=limits,
        off=off,
        orphans=orphans,
        unread=(*(lack for _, lack in live if lack), *why, *not_off),
    )


def _live(session: Session, service: "Service") -> tuple[Live | None, str]:
    found, why = _asked(lambda: _of_worker(session, service) if service.worker else _of_site(session, service))
    return found, f"what is live of {service.name}: {why}" if why else ""


def _of_worker(session: Session, service: "Service") -> Live:
    newest = session.workers.list_deployments(service.worker)[:1]
    if not newest:
        return Live(service.name, service.kind, (), None, "")
    one = newest[0]
    return Live(service.name, service.kind, one.split, one.created_on, one.author, one.message)


def _of_site(session: Session, service: "Service") -> Live:
    """What Cloudflare calls canonical."""
    one: PagesDeployment | None = session.pages.read_project(service.pages).canonical
    if one is None:
        return Live(service.name, service.kind, (), None, "")
    compared = _compared(session, service, one)
    return Live(service.name, service.kind, ((one.id, 100.0),), one.created_on, one.trigger, one.message, compared)


def _compared(session: Session, service: "Service", one: PagesDeployment) -> tuple[str, ...]:
    """What a rollback would find out by each path of `compare`, so that a calm day shows which of them work."""
    places = [(path, each.rstrip("/") + path) for path in service.compare for each in (one.url, service.url)]
    pages = run_parallel([partial(session.fetch_page, url) for _, url in places])
    told = zip(service.compare, pages[::2], pages[1::2], strict=True)
    return tuple(f"{path}: {describe_match(own, site)}" for path, own, site in told)


def _on(session: Session) -> tuple[tuple[SwitchState, ...], tuple[Temporary, ...], list[str]]:
    """Switches and limits are values of one namespace: read together, in one request for 100."""
    runtime = session.environment.runtime
    if runtime is None:
        return (), (), []
    keys = [f"{SWITCH_KEY_PREFIX}{name}" for name in runtime.switches]
    shown = start_call(lambda: _shown(session, runtime))
    values, why = _asked(lambda: session.kv.read_values(runtime.namespace, [*keys, LIMITS_KEY]))
    if values is None:
        return (), (), [f"the switches and the limits in KV: {why}"]
    found, unread = _understood(runtime, values)
    seen = shown.result()
    apart = [each.describe_disagreement(seen.get(each.name), session.clock.now()) for each in found]
    unread += [f"{each}. Run this again in a minute" for each in apart if each]
    limits: tuple[Temporary, ...] = ()
    try:
        limits = temporary(values[LIMITS_KEY], session.clock.now())
    except ValueError as error:
        unread.append(f"the limits in KV: {error}")
    return tuple(each for each in found if each.is_on(session.clock.now())), limits, unread


def _shown(session: Session, runtime: "RuntimeConfig") -> Mapping[str, ReportedSwitch]:
    """What the application shows of its switches: nothing where it does not answer, since it may be what is broken."""
    document = session.fetch_runtime_state(session.environment.service(runtime.service).url)
    return {} if isinstance(document, str) else document.switches


def _understood(runtime: "RuntimeConfig", values: Mapping[str, str | None]) -> tuple[list[SwitchState], list[str]]:
    found, unread = list[SwitchState](), list[str]()
    for name, rules in runtime.switches.items():
        try:
            found.append(switches.parse_state(name, rules, values[f"{SWITCH_KEY_PREFIX}{name}"]))
        except Refused as error:
            unread.append(f"the switch {name}: {error.message}")
    return found, unread


def _off(session: Session) -> tuple[tuple[MaintenanceWindow, ...], tuple[Orphan, ...], list[str]]:
    """What ops-maintenance stores, and the routes that lead to it although it does not store them."""
    standing, why = _asked(lambda: steps.read_worker(session.workers))
    if standing is None:
        return (), (), [f"what is off at the edge: {why}"] if why else []
    orphans, why = _asked(lambda: _orphans(session, standing.state))
    return standing.state.windows, orphans or (), [f"routes that lead to {WORKER}: {why}"] if why else []


def _orphans(session: Session, stored: MaintenanceState) -> tuple[Orphan, ...]:
    services = [service for service in session.environment.services.values() if service.worker]
    hosts = {service.name: service.url.removeprefix("https://").partition(":")[0] for service in services}
    zones = maintenance_routes.select_zones(session.routes.list_zones(), hosts.values(), stored)
    routes = steps.read_routes(session.routes, zones)
    found = orphaned_routes.find_orphans([route for route in routes if route.script == WORKER], stored)
    return tuple(
        Orphan(route.pattern, next((name for name, host in hosts.items() if route.matches_host(host)), ""))
        for route in found
    )


def _asked(ask: Callable[[], T]) -> tuple[T | None, str]:
    """The answer, or why there is none and what to do."""
    try:
        return ask(), ""
    except OpsError as error:
        return None, f"{error.message}. {error.hint}" if error.hint else error.message
