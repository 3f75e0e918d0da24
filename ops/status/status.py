"""Status of one environment: live versions, switches, temporary limits and maintenance.

A source that cannot be read is reported; the other sources are still read.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ops.app import run
from ops.app.session import Session
from ops.cloudflare.types.pages import PagesDeployment
from ops.cloudflare.types.workers import WorkerDeployment, WorkerVersion, short_id
from ops.core.clock import format_rfc3339, parse_utc
from ops.core.errors import OpsError, Refused
from ops.core.names import MAINTENANCE_WORKER as WORKER
from ops.core.redaction import Redactor
from ops.core.runtime_contract import CONTRACT_VERSION, LIMITS_KEY, SWITCH_KEY_PREFIX, ReportedSwitch
from ops.core.threads import run_parallel, start_call
from ops.maintenance import orphaned_routes, steps
from ops.maintenance import routes as maintenance_routes
from ops.maintenance.state import MaintenanceState, MaintenanceWindow
from ops.pages.observed_content import describe_match
from ops.switches import values as switches
from ops.switches.values import SwitchState
from ops.workers import schema_age
from ops.workers.history import WorkerHistory
from ops.workers.schema_age import list_schema_ages

if TYPE_CHECKING:
    from ops.config import Service
    from ops.config.runtime import RuntimeConfig

T = TypeVar("T")


@dataclass(frozen=True)
class LiveService:
    """Live version or deployment of one service."""

    service: str
    kind: str
    split: tuple[tuple[str, float], ...]
    """Worker versions with their percentages, or the one deployment of a site."""
    since: datetime | None
    by: str
    message: str = ""
    compared: tuple[str, ...] = ()
    """For a site: result for each path in `compare`."""


@dataclass(frozen=True)
class TemporaryLimit:
    """A temporary limit that has not ended."""

    name: str
    limit: int
    period: int
    """In seconds."""
    until: datetime


@dataclass(frozen=True)
class OrphanedRoute:
    """A route to ops-maintenance that it does not store; two runs at once can leave one."""

    pattern: str
    service: str
    """Service in ops.yml at that host, or empty."""


@dataclass(frozen=True)
class EnvironmentStatus:
    """Status of one environment. `switches` are the active ones; `unread` lists unreadable sources with the reason."""

    environment: str
    read_at: datetime
    live: tuple[LiveService, ...] = ()
    switches: tuple[SwitchState, ...] = ()
    limits: tuple[TemporaryLimit, ...] = ()
    windows: tuple[MaintenanceWindow, ...] = ()
    orphans: tuple[OrphanedRoute, ...] = ()
    """Their incident is unknown, so they are listed for every incident."""
    unread: tuple[str, ...] = ()

    def of_incident(self, number: int) -> "EnvironmentStatus":
        """Return the status of one incident, with all temporary limits, because KV holds no incident for them."""
        return EnvironmentStatus(
            self.environment,
            self.read_at,
            switches=tuple(each for each in self.switches if each.value and each.value.incident == number),
            limits=self.limits,
            windows=tuple(block for block in self.windows if block.incident == number),
            orphans=self.orphans,
            unread=self.unread,
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "environment": self.environment,
            "read_at": format_rfc3339(self.read_at),
            "services": [_live_json(each) for each in self.live],
            "switches": [_switch_json(each) for each in self.switches],
            "limits": [vars(each) | {"until": format_rfc3339(each.until)} for each in self.limits],
            "maintenance": [
                {name: getattr(block, name) for name in ("service", "path", "message", "since", "until", "incident")}
                for block in self.windows
            ],
            "orphaned_routes": [vars(each) for each in self.orphans],
            "unread": list(self.unread),
        }


def _live_json(each: LiveService) -> dict[str, Any]:
    split = [{"id": name, "percent": percent} for name, percent in each.split]
    return {**vars(each), "split": split, "since": each.since and format_rfc3339(each.since)}


def _switch_json(each: SwitchState) -> dict[str, Any]:
    value = each.value
    assert value is not None
    moments = {name: getattr(value, name) for name in ("since", "until", "review_at")}
    times = {name: moment and format_rfc3339(moment) for name, moment in moments.items()}
    fields = {name: getattr(value, name) for name in ("state", "owner", "incident", "message", "revision")}
    return {"name": each.name, **fields, **times, "paths": list(value.paths)}


def temporary_limits(text: str | None, now: datetime) -> tuple[TemporaryLimit, ...]:
    """Return the temporary limits in `ops/limits` that have not ended. Raises ValueError if it is malformed."""
    if text is None:
        return ()
    try:
        value = json.loads(text)
        if value["version"] != CONTRACT_VERSION:
            raise ValueError(
                f"version {value['version']} of the runtime contract; this program supports {CONTRACT_VERSION}"
            )
        found = [(name, each, each["temporary"]) for name, each in value["limits"].items() if each.get("temporary")]
        limits = tuple(_parse_temporary(name, each, while_) for name, each, while_ in found)
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a value of the limits ({type(error).__name__})") from None
    return tuple(each for each in limits if each.until > now)


def _parse_temporary(name: str, value: Mapping[str, Any], while_: Mapping[str, Any]) -> TemporaryLimit:
    return TemporaryLimit(name, int(while_["limit"]), int(value["period"]), parse_utc(while_["until"]))


def environment_status(
    name: str, config_path: Path, environ: Mapping[str, str], redactor: Redactor
) -> EnvironmentStatus:
    """Return the redacted status of an environment. Raises ConfigError."""
    config, _ = run.read_config(config_path)
    run.register_secrets(environ, config, redactor)
    with ExitStack() as ending:
        found: EnvironmentStatus = redactor.redact_value(
            read_status(Session(config.environment(name), environ, ending))
        )
        return found


def read_status(session: Session, *, with_services: bool = True) -> EnvironmentStatus:
    services = list(session.environment.services.values()) if with_services else []
    reads: list[Callable[[], Any]] = [partial(_read_live, session, each) for each in services]
    *live, (on, limits, why), (off, orphans, maintenance_errors) = run_parallel(
        [*reads, lambda: _read_switches_and_limits(session), lambda: _read_maintenance(session)]
    )
    return EnvironmentStatus(
        session.environment.name,
        session.clock.now(),
        live=tuple(found for found, _ in live if found),
        switches=on,
        limits=limits,
        windows=off,
        orphans=orphans,
        unread=(*(lack for _, lack in live if lack), *why, *maintenance_errors),
    )


def _read_live(session: Session, service: "Service") -> tuple[LiveService | None, str]:
    found, why = _try_read(lambda: _live_worker(session, service) if service.worker else _live_site(session, service))
    return found, f"live version of {service.name}: {why}" if why else ""


def _live_worker(session: Session, service: "Service") -> LiveService:
    newest = session.workers.list_deployments(service.worker)[:1]
    if not newest:
        return LiveService(service.name, service.kind, (), None, "")
    one = newest[0]
    split = (*one.split, (one.rehearsed, 0.0)) if one.rehearsed else one.split
    return LiveService(service.name, service.kind, split, one.created_on, one.author, one.message)


def _live_site(session: Session, service: "Service") -> LiveService:
    """Read the deployment that Cloudflare reports as canonical."""
    one: PagesDeployment | None = session.pages.read_project(service.pages).canonical
    if one is None:
        return LiveService(service.name, service.kind, (), None, "")
    compared = _compare_paths(session, service, one)
    return LiveService(
        service.name, service.kind, ((one.id, 100.0),), one.created_on, one.trigger, one.message, compared
    )


def _compare_paths(session: Session, service: "Service", one: PagesDeployment) -> tuple[str, ...]:
    """Compare each path in `compare` as a rollback does, which shows early if a path does not work."""
    places = [(path, each.rstrip("/") + path) for path in service.compare for each in (one.url, service.url)]
    pages = run_parallel([partial(session.fetch_page, url) for _, url in places])
    results = zip(service.compare, pages[::2], pages[1::2], strict=True)
    return tuple(f"{path}: {describe_match(own, site)}" for path, own, site in results)


def _read_switches_and_limits(
    session: Session,
) -> tuple[tuple[SwitchState, ...], tuple[TemporaryLimit, ...], list[str]]:
    """Read switches and limits, which share one namespace, with one request per 100 values."""
    runtime = session.environment.runtime
    if runtime is None:
        return (), (), []
    keys = [f"{SWITCH_KEY_PREFIX}{name}" for name in runtime.switches]
    pending = start_call(lambda: _read_shown_switches(session, runtime))
    values, why = _try_read(lambda: session.kv.read_values(runtime.namespace, [*keys, LIMITS_KEY]))
    if values is None:
        return (), (), [f"switches and limits in KV: {why}"]
    found, unread = _parse_switches(runtime, values)
    shown_switches = pending.result()
    disagreements = [each.describe_disagreement(shown_switches.get(each.name), session.clock.now()) for each in found]
    unread += [f"{each}. Run this again in a minute" for each in disagreements if each]
    limits: tuple[TemporaryLimit, ...] = ()
    try:
        limits = temporary_limits(values[LIMITS_KEY], session.clock.now())
    except ValueError as error:
        unread.append(f"limits in KV: {error}")
    return tuple(each for each in found if each.is_on(session.clock.now())), limits, unread


def _read_shown_switches(session: Session, runtime: "RuntimeConfig") -> Mapping[str, ReportedSwitch]:
    """Read the switches that the application shows; empty if it does not answer, because it may be broken."""
    document = session.fetch_runtime_state(session.environment.service(runtime.service).url)
    return {} if isinstance(document, str) else document.switches


def _parse_switches(runtime: "RuntimeConfig", values: Mapping[str, str | None]) -> tuple[list[SwitchState], list[str]]:
    found, unread = list[SwitchState](), list[str]()
    for name, rules in runtime.switches.items():
        try:
            found.append(switches.parse_state(name, rules, values[f"{SWITCH_KEY_PREFIX}{name}"]))
        except Refused as error:
            unread.append(f"switch {name}: {error.message}")
    return found, unread


def _read_maintenance(session: Session) -> tuple[tuple[MaintenanceWindow, ...], tuple[OrphanedRoute, ...], list[str]]:
    """Read the maintenance windows, and the orphaned routes."""
    standing, why = _try_read(lambda: steps.read_worker(session.workers))
    if standing is None:
        return (), (), [f"maintenance at the edge: {why}"] if why else []
    orphans, why = _try_read(lambda: _find_orphans(session, standing.state))
    return standing.state.windows, orphans or (), [f"routes to {WORKER}: {why}"] if why else []


def _find_orphans(session: Session, stored: MaintenanceState) -> tuple[OrphanedRoute, ...]:
    services = [service for service in session.environment.services.values() if service.worker]
    hosts = {service.name: service.url.removeprefix("https://").partition(":")[0] for service in services}
    zones = maintenance_routes.select_zones(session.routes.list_zones(), hosts.values(), stored)
    routes = steps.read_routes(session.routes, zones)
    found = orphaned_routes.find_orphans([route for route in routes if route.script == WORKER], stored)
    return tuple(
        OrphanedRoute(route.pattern, next((name for name, host in hosts.items() if route.matches_host(host)), ""))
        for route in found
    )


def _try_read(ask: Callable[[], T]) -> tuple[T | None, str]:
    """Return the result, or the error with its hint."""
    try:
        return ask(), ""
    except OpsError as error:
        return None, f"{error.message}. {error.hint}" if error.hint else error.message


def describe_live_schema(
    session: Session,
    service: str,
    *,
    deployments: tuple[WorkerDeployment, ...],
    versions: tuple[WorkerVersion, ...],
    now: datetime,
    suggest: schema_age.Suggest,
) -> tuple[str, ...]:
    """Return the lines of a plan's section, for the live code. Empty if ops.yml names no database of the service."""
    databases = session.environment.databases_of(service)
    if not databases or not deployments:
        return ()
    known = {version.id: version for version in versions}
    history = WorkerHistory(deployments, known, frozenset(known), now, min_served=0, static_assets=None)
    found = schema_age.start_reading(session, databases)()
    ages = {short_id(version): list_schema_ages(history, version, found) for version in history.live.serving_versions}
    return tuple(line for section in schema_age.build_sections(ages, suggest) for line in section.lines)
