"""Status of one environment: live versions, and held states with their owners.

A source that cannot be read is reported; the other sources are still read.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ops.app.configuration import load_config, program_name
from ops.app.session import Session
from ops.cloudflare.tokens import explain_refusal
from ops.cloudflare.types.workers import WorkerDeployment, WorkerVersion, short_id
from ops.core.clock import format_optional, format_rfc3339
from ops.core.errors import ConfigError, OpsError, ProviderError, Reason, Refused
from ops.core.names import LIMITS_FILE
from ops.core.names import MAINTENANCE_WORKER as WORKER
from ops.core.next_step import build_command
from ops.core.redaction import Redactor
from ops.core.runtime_contract import (
    LIMITS_KEY,
    MAINTENANCE_SWITCH,
    SWITCH_KEY_PREFIX,
    RuntimeState,
)
from ops.core.threads import run_parallel, start_call, start_timed_call
from ops.maintenance import drift, steps
from ops.maintenance.drift import SWITCH_ADVICE, LiveWays, MaintenanceOpening, find_ignored_switch
from ops.maintenance.former_configuration import find_service
from ops.maintenance.state import MaintenanceState, MaintenanceWindow
from ops.status.held_states import (
    HeldState,
    TemporaryLimit,
    UndeclaredSwitch,
    UnreadSource,
    list_held_states,
    name_incidents,
    temporary_limits,
    try_status_read,
)
from ops.status.holds import SECTIONS, read_all_holds
from ops.status.live import LiveService, read_live_site, read_live_worker
from ops.switches import values as switches
from ops.switches.steps import SHOWN_STATE_TIMEOUT, read_bound_namespace
from ops.switches.values import SwitchState
from ops.workers import schema_age
from ops.workers.history import WorkerHistory
from ops.workers.schema_age import list_schema_ages

if TYPE_CHECKING:
    from ops.config import Service
    from ops.config.sections import RuntimeConfig

T = TypeVar("T")
OPEN = "open_although_closed"
SHOWN = ("service", "path", "message", "since", "until", "incident", "reopened_by")
"""Fields of a window in the JSON result."""
AT_THE_EDGE = ("maintenance", "orphaned_routes", OPEN)
"""Sections of the JSON result that the read of ops-maintenance fills."""
OTHER_WAYS = "workers.dev and custom domains of closed services"
LIVE, IN_KV = ("services",), ("switches", "limits")
LIVE_AND_HELD = (*LIVE, *SECTIONS)
"""Sections of the JSON result that one read fills. A smaller set: the read worked, and a part of it failed."""


@dataclass(frozen=True)
class OrphanedRoute:
    """A route to ops-maintenance that it does not store; two runs at once can leave one."""

    pattern: str
    service: str
    """Service in ops.yml at that host, or empty."""
    command: str
    """Command that reopens it, without the incident, which only the run that left it knows."""


@dataclass(frozen=True)
class AdvisedOpening(MaintenanceOpening):
    """A way into a closed service that is open, and how to close it again."""

    advice: str
    """Sentence with a command in backticks."""

    def __str__(self) -> str:
        return f"OPEN although closed: {self.text}. {self.advice}"


@dataclass(frozen=True)
class EdgeStatus:
    windows: tuple[MaintenanceWindow, ...] = ()
    orphans: tuple[OrphanedRoute, ...] = ()
    openings: tuple[AdvisedOpening, ...] = ()
    unread: tuple[UnreadSource, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    """Service of a window → its name in ops.yml now; empty if no service has its Worker or site."""


@dataclass(frozen=True)
class RuntimeStatus:
    """Switches and limits in KV, compared with what the application shows."""

    switches: tuple[SwitchState, ...] = ()
    limits: tuple[TemporaryLimit, ...] = ()
    openings: tuple[AdvisedOpening, ...] = ()
    undeclared: tuple[UndeclaredSwitch, ...] = ()
    unread: tuple[UnreadSource, ...] = ()


def read_maintenance_at_edge(session: Session, program: str) -> EdgeStatus:
    """Read ops-maintenance and the ways in; `program` begins the suggested commands. Nothing that fails is an error.

    Beyond ops-maintenance it sends one request for the zones and one for each zone. Closed services cost one more for
    the custom domains, and one for each closed Worker.
    """
    standing, lack = try_status_read(
        lambda: steps.read_maintenance_worker(session.cloudflare.workers), "maintenance at the edge", AT_THE_EDGE
    )
    if standing is None:
        return EdgeStatus(unread=(lack,) if lack else ())
    state, windows, hosts = standing.state, standing.state.windows, _hosts_of_workers(session)
    names = {each.service: find_service(each, session.environment.services) for each in windows}
    read_routes = partial(drift.read_live_ways, session.cloudflare.routes, state, hosts.values())
    live, lack = try_status_read(read_routes, f"routes to {WORKER}", ("orphaned_routes", OPEN))
    if live is None:
        return EdgeStatus(windows, unread=(lack,) if lack else (), names=names)
    unread = list[UnreadSource]()
    if windows:
        read_others = partial(
            drift.read_other_ways, live, session.cloudflare.workers, session.cloudflare.routes, windows
        )
        more, lack = try_status_read(read_others, OTHER_WAYS, (OPEN,))
        live, unread = more or live, [lack] if lack else []
    openings, unknown = drift.find_maintenance_openings(windows, live, session.web.check_maintenance)
    unread += [UnreadSource((OPEN,), "a way into a closed service", unknown)] if unknown else []
    advised = tuple(_advise_openings(session, windows, openings, program))
    orphans = tuple(_find_orphans(session, live, state, hosts, program))
    return EdgeStatus(windows, orphans, advised, tuple(unread), names)


def _hosts_of_workers(session: Session) -> Mapping[str, str]:
    services = session.environment.services.values()
    return {each.name: each.host for each in services if each.worker and each.url}


def _find_orphans(
    session: Session, live: LiveWays, stored: MaintenanceState, hosts: Mapping[str, str], program: str
) -> Iterator[OrphanedRoute]:
    for route in drift.find_orphans([each for each in live.routes if each.script == WORKER], stored):
        service = next((name for name, host in hosts.items() if route.matches_host(host)), "")
        options = {"state": "off", "service": service or "SERVICE", "environment": session.environment.name}
        yield OrphanedRoute(route.pattern, service, build_command(program, "maintenance", options))


def _advise_openings(
    session: Session, windows: tuple[MaintenanceWindow, ...], openings: tuple[MaintenanceOpening, ...], program: str
) -> Iterator[AdvisedOpening]:
    def status_command(options: Mapping[str, Any]) -> str:
        return build_command(program, "maintenance", {**options, "environment": session.environment.name})

    for opening in openings:
        advice = drift.advise_closing_again(opening, windows, session.clock.now(), status_command)
        yield AdvisedOpening(**vars(opening), advice=advice)


@dataclass(frozen=True)
class EnvironmentStatus:
    """Status of one environment. `switches` are the active ones. A section is empty only if no `unread` names it."""

    environment: str
    read_at: datetime
    live: tuple[LiveService, ...] = ()
    switches: tuple[SwitchState, ...] = ()
    limits: tuple[TemporaryLimit, ...] = ()
    windows: tuple[MaintenanceWindow, ...] = ()
    orphans: tuple[OrphanedRoute, ...] = ()
    """Their incident is unknown, so they are listed for every incident."""
    openings: tuple[AdvisedOpening, ...] = ()
    unread: tuple[UnreadSource, ...] = ()
    has_read: bool = True
    """Whether at least one source was read."""
    program: str = "ops"
    """Beginning of suggested commands."""
    switched_service: str = ""
    """Service that reads the switches; empty if there is none."""
    undeclared: tuple[UndeclaredSwitch, ...] = ()
    """Their incident is unknown, so they are listed for every incident."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Service of a window → its name in ops.yml now; empty if no service has its Worker or site."""
    methods: Mapping[str, str] = field(default_factory=dict)
    """Service → its maintenance method in ops.yml."""
    has_ai_order: bool = False
    """Whether ops.yml lists the AI providers, which `ai-failover` needs."""
    holds: tuple[HeldState, ...] = ()
    """Commits and migrations that must not be deployed again."""

    def unread_in(self, *sections: str) -> tuple[UnreadSource, ...]:
        return tuple(each for each in self.unread if {*sections} & {*each.sections})

    @property
    def error(self) -> OpsError | None:
        """The error of the command: the cause if nothing was read, else one that names what was not read."""
        failed = [each for each in self.unread if each.exit_code]
        if not failed:
            return None
        first = failed[0]
        if not self.has_read:
            kind = ConfigError if first.exit_code == ConfigError.exit_code else ProviderError
            return kind(f"nothing was read: {first.message}", reason=first.reason, hint=first.hint)
        names = ", ".join(each.name for each in failed)
        hint = "The reasons are above. `ops doctor` checks the token."
        return ProviderError(f"not read: {names}", reason=first.reason, hint=hint)

    def of_incident(self, number: int) -> "EnvironmentStatus":
        """Return the status of one incident, with all temporary limits, because KV holds no incident for them."""
        return replace(
            self,
            live=(),
            has_read=True,
            switches=tuple(
                each for each in self.switches if each.value and each.value.belongs_to(number, self.read_at)
            ),
            windows=tuple(block for block in self.windows if block.belongs_to(number, self.read_at)),
            openings=tuple(each for each in self.openings if number in each.incidents),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "environment": self.environment,
            "read_at": format_rfc3339(self.read_at),
            "services": [_live_json(each) for each in self.live],
            "switches": [_switch_json(each) for each in self.switches],
            "limits": [each.to_json() for each in self.limits],
            "maintenance": [
                {name: getattr(block, name) for name in SHOWN}
                | {"held_by": [each.describe() for each in block.active_owners(self.read_at)]}
                for block in self.windows
            ],
            "orphaned_routes": [{"pattern": each.pattern, "service": each.service} for each in self.orphans],
            OPEN: [vars(each) for each in self.openings],
            "held": [each.to_json() for each in list_held_states(self)],
            "unread": list(map(str, self.unread)),
            "unknown": sorted({section for each in self.unread for section in each.sections}),
            "exit_code": self.error.exit_code if self.error else 0,
        }


def _live_json(each: LiveService) -> dict[str, Any]:
    split = [{"id": name, "percent": percent} for name, percent in each.split]
    times = {name: format_optional(getattr(each, name)) for name in ("since", "guarded_until")}
    return {**vars(each), "split": split, **times, "rollback": each.rollback and each.rollback.to_json()}


def _switch_json(each: SwitchState) -> dict[str, Any]:
    value = each.value
    assert value is not None
    moments = {name: getattr(value, name) for name in ("since", "until", "review_at")}
    times = {name: format_optional(moment) for name, moment in moments.items()}
    fields = {name: getattr(value, name) for name in ("state", "owner", "incident", "message", "revision")}
    return {"name": each.name, **fields, **times, "paths": list(value.paths)}


def environment_status(
    name: str, config_path: Path, environ: Mapping[str, str], redactor: Redactor
) -> EnvironmentStatus:
    """Return the redacted status of an environment. Raises ConfigError."""
    config = load_config(config_path, environ, redactor)
    with ExitStack() as ending:
        session, program = Session(config, name, environ, ending), program_name(environ)
        read = read_status(session, program)
        deployed = {each.service for each in read.live if each.split}
        holds, unread = read_all_holds(session, deployed, environ, redactor, program)
        read = _explain_refused_token(session, replace(read, holds=holds, unread=(*read.unread, *unread)))
        limits = tuple(name_incidents(read.limits, config_path.with_name(LIMITS_FILE)))
        status: EnvironmentStatus = redactor.redact_value(replace(read, limits=limits))
        return status


def _explain_refused_token(session: Session, status: EnvironmentStatus) -> EnvironmentStatus:
    """Say why Cloudflare refuses the token, if nothing could be read because of it."""
    refused = [each for each in status.unread if each.reason == Reason.NOT_AUTHORISED]
    if status.has_read or not refused:
        return status
    environment = session.environment
    if (explained := explain_refusal(session.client, environment.account_id, environment.token)) is None:
        return status
    message, hint = explained
    unread = (replace(each, message=message, hint=hint) if each in refused else each for each in status.unread)
    return replace(status, unread=tuple(unread))


def read_status(session: Session, program: str, *, with_services: bool = True) -> EnvironmentStatus:
    """Read one environment; `program` begins the suggested commands."""
    services = list(session.environment.services.values()) if with_services else []
    reads: list[Callable[[], Any]] = [partial(_read_live, session, each) for each in services]
    runtime = session.environment.runtime
    *live, in_kv, edge = run_parallel(
        [*reads, lambda: _read_runtime(session), lambda: read_maintenance_at_edge(session, program)]
    )
    unread = (*(lack for _, lack in live if lack), *in_kv.unread, *edge.unread)
    sources = len(live) + 1 + (runtime is not None)
    lost = sum(each.sections in {LIVE, LIVE_AND_HELD, IN_KV, AT_THE_EDGE} for each in unread)
    return EnvironmentStatus(
        session.environment.name,
        session.clock.now(),
        live=tuple(found for found, _ in live if found),
        switches=in_kv.switches,
        limits=in_kv.limits,
        windows=edge.windows,
        orphans=edge.orphans,
        openings=(*edge.openings, *in_kv.openings),
        unread=unread,
        has_read=lost < sources,
        program=program,
        switched_service=runtime.service if runtime else "",
        undeclared=in_kv.undeclared,
        names=edge.names,
        methods={each.name: each.maintenance for each in session.environment.services.values()},
        has_ai_order=runtime is not None and runtime.ai is not None,
    )


def _read_live(session: Session, service: "Service") -> tuple[LiveService | None, UnreadSource | None]:
    read = read_live_worker if service.worker else read_live_site
    sections = LIVE_AND_HELD if service.worker and service.hold_check else LIVE
    return try_status_read(lambda: read(session, service), f"live version of {service.name}", sections)


def _read_runtime(session: Session) -> RuntimeStatus:
    """Read switches and limits, which share one namespace, with one request per 100 values."""
    runtime = session.environment.runtime
    if runtime is None:
        return RuntimeStatus(undeclared=tuple(_ask_for_switches(session)))
    keys = [f"{SWITCH_KEY_PREFIX}{name}" for name in runtime.switches]
    pending = start_call(lambda: session.web.fetch_runtime_state(session.environment.service(runtime.service).url))
    values, lack = try_status_read(
        lambda: session.cloudflare.kv.read_values(runtime.namespace, [*keys, LIMITS_KEY]),
        "switches and limits in KV",
        IN_KV,
    )
    if values is None:
        return RuntimeStatus(unread=(lack,) if lack else ())
    states, unread = _parse_switches(runtime, values)
    shown, now = pending.result(), session.clock.now()
    limits: tuple[TemporaryLimit, ...] = ()
    try:
        limits = temporary_limits(values[LIMITS_KEY], now)
    except ValueError as error:
        unread.append(UnreadSource(("limits",), "limits in KV", str(error), exit_code=ProviderError.exit_code))
    openings, unclear = _compare_switches(session, states, shown, now)
    if not isinstance(shown, str) and (unclear or _shows_other_limits(shown, limits, now)):
        unclear = _find_other_namespace(session, runtime) or unclear
    return RuntimeStatus(
        tuple(each for each in states if each.is_on(now)),
        limits,
        tuple(openings),
        tuple(_find_undeclared(runtime.service, shown, runtime.switches, now)),
        (*unread, *unclear),
    )


def _ask_for_switches(session: Session) -> Iterator[UndeclaredSwitch]:
    """Ask each Worker, without a `runtime` in ops.yml, whether one of its switches is still set."""
    workers = [each for each in session.environment.services.values() if each.worker and each.url]
    asked = [
        start_timed_call(partial(session.web.fetch_runtime_state, each.url), SHOWN_STATE_TIMEOUT) for each in workers
    ]
    for service, wait in zip(workers, asked, strict=True):
        try:
            shown = wait()
        except TimeoutError:
            continue
        yield from _find_undeclared(service.name, shown, (), session.clock.now())


def _find_undeclared(
    service: str, shown: RuntimeState | str, declared: Iterable[str], now: datetime
) -> Iterator[UndeclaredSwitch]:
    """Yield the switches that the application shows as set by a run, and that ops.yml does not have."""
    reported = {} if isinstance(shown, str) else shown.switches
    for name, each in reported.items():
        if name not in declared and each.is_held(name, now):
            yield UndeclaredSwitch(name, service, each)


def _shows_other_limits(shown: RuntimeState, limits: Iterable[TemporaryLimit], now: datetime) -> bool:
    """Return whether the application shows a temporary limit that KV does not hold."""
    known = {each.name for each in limits}
    return any(each.until and each.until > now and name not in known for name, each in shown.limits.items())


def _find_other_namespace(session: Session, runtime: "RuntimeConfig") -> list[UnreadSource]:
    """Return why KV and the application differ, if the application reads another namespace than that in ops.yml."""
    worker = session.environment.service(runtime.service).worker
    bound, _ = try_status_read(lambda: read_bound_namespace(session.cloudflare, worker), "", ())
    if bound is None or bound in {"", runtime.namespace}:
        return []
    text = f"ops.yml names the KV namespace {runtime.namespace}, and {runtime.service} reads {bound}"
    hint = f"Set `runtime.namespace` to {bound} in ops.yml, then run this again"
    return [
        UnreadSource(IN_KV, "switches and limits in KV", text, hint, ProviderError.exit_code, Reason.OTHER_NAMESPACE)
    ]


def _compare_switches(
    session: Session, states: list[SwitchState], shown: RuntimeState | str, now: datetime
) -> tuple[list[AdvisedOpening], list[UnreadSource]]:
    """Compare KV with the application, which may be broken and not answer: that matters only if it must be closed."""
    reported, runtime = {} if isinstance(shown, str) else shown.switches, session.environment.require_runtime()
    settle = timedelta(seconds=runtime.settle)
    openings, unread = list[AdvisedOpening](), list[UnreadSource]()
    for each in states:
        if opening := find_ignored_switch(runtime.service, each, reported.get(each.name), settle, now):
            openings.append(AdvisedOpening(**vars(opening), advice=SWITCH_ADVICE))
        elif text := each.describe_disagreement(reported.get(each.name), now):
            unread.append(UnreadSource(("switches",), f"switch {each.name}", text, "Run this again in a minute"))
        elif each.name == MAINTENANCE_SWITCH and each.is_on(now) and each.name not in reported:
            why = shown if isinstance(shown, str) else "the application does not show this switch"
            unread.append(UnreadSource((OPEN,), f"whether the switch {each.name} is in effect", why))
    return openings, unread


def _parse_switches(
    runtime: "RuntimeConfig", values: Mapping[str, str | None]
) -> tuple[list[SwitchState], list[UnreadSource]]:
    states, unread = list[SwitchState](), list[UnreadSource]()
    for name, rules in runtime.switches.items():
        try:
            states.append(switches.parse_switch_state(name, rules, values[f"{SWITCH_KEY_PREFIX}{name}"]))
        except Refused as error:
            unread.append(
                UnreadSource(("switches",), f"switch {name}", error.message, exit_code=ProviderError.exit_code)
            )
    return states, unread


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
    # No service is long enough: the live code may be what fails because of a migration.
    history = WorkerHistory(deployments, known, frozenset(known), now, min_served=math.inf, static_assets=None)
    read = schema_age.start_reading_schemas(session.cloudflare, databases)()
    ages = {short_id(version): list_schema_ages(history, version, read) for version in history.live.serving_versions}
    return tuple(line for section in schema_age.schema_age_sections(ages, suggest) for line in section.lines)
