"""Maintenance through the application's switch `maintenance`, without route changes.

Used by the runbook `maintenance` if ops.yml says `maintenance: switch`. The application answers 503 itself. The switch
holds one list of paths and one message.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ops.config.probes import ProbeSet, probes_claim
from ops.core.clock import format_utc, parse_utc
from ops.core.errors import Reason, Refused
from ops.core.plan import Plan, PlanSection
from ops.core.runtime_contract import MAINTENANCE_SWITCH, UNTIL_RUN_ENDS, SwitchValue
from ops.engine.context import Context
from ops.maintenance.plan_text import ClosureChecks
from ops.maintenance.state import MaintenanceRequest
from ops.switches import steps, values
from ops.switches.steps import SwitchDetails, SwitchWrite
from ops.switches.values import DesiredValue, SwitchState, expected_json

if TYPE_CHECKING:
    from ops.config import Service
    from ops.config.probes import Probe

ON, OFF = "on", "off"
HEALTH_PATH, OPS_PATH = "/health", "/__ops/"
"""Paths that answer during maintenance too, with everything below them (docs/reference/runtime-contract.md)."""
WHOLE_SERVICE = ""
CLOSED_PROBES = "probes of closed paths get 503; they say nothing about the service"


@dataclass(frozen=True)
class SwitchMaintenanceDetails(SwitchDetails):
    closed_paths: tuple[str, ...] = ()
    """Path prefixes closed after the run; an empty one is the whole service."""


def choose_probes(
    ctx: Context[Any], service: "Service", request: MaintenanceRequest, details: SwitchMaintenanceDetails | None
) -> ProbeSet:
    """Return probes for the state after the run: closed paths answer 503, others are healthy.

    Without a plan only the requested change is probed.
    """
    if details is None:
        own = _build_closed_probes([request.path]) if request.is_on else service.probes
        return steps.build_probe_set(ctx, expected_json(MAINTENANCE_SWITCH, ON if request.is_on else OFF, None), own)
    closed = details.closed_paths
    still = tuple(probe for probe in service.probes if not _is_closed(probe, closed))
    return steps.build_probe_set(ctx, details.expected, (*_build_closed_probes(closed), *still))


def plan_maintenance(
    ctx: Context[Any], service: "Service", request: MaintenanceRequest, message: str
) -> Plan[SwitchMaintenanceDetails]:
    """Plan the change of the switch; `message` is the default message to users."""
    current = steps.read_switch(ctx, MAINTENANCE_SWITCH)
    return (
        _plan_closing(ctx, service, request, current, message)
        if request.is_on
        else _plan_reopening(ctx, service, request, current)
    )


def _plan_closing(
    ctx: Context[Any], service: "Service", request: MaintenanceRequest, current: SwitchState, message: str
) -> Plan[SwitchMaintenanceDetails]:
    _refuse_open_path(request.path)
    _refuse_unknown_paths(ctx, request, current)
    before = _closed_paths(ctx, current)
    is_covered = any(request.path.startswith(path) for path in before)
    with_it = (*before, request.path) if request.path else (WHOLE_SERVICE,)
    closed = before if is_covered else with_it
    previous = current.value if before else None
    taken_over = previous if previous and previous.ends_with_run and not request.ends_with_run else None
    end = _parse_end(ctx, request, current)
    desired = _desired_value(ctx, request, None if taken_over else previous, end=end, closed=closed, message=message)
    write = steps.plan_write(ctx, current, desired)
    undo = ctx.suggest("maintenance", service=service.name, state=OFF, path=request.path)
    writes = steps.build_changes(ctx, [(write, undo)] if write else [])
    what = _describe_scope(service, request.path)
    checks = ClosureChecks.choose(ctx, service.name, changed=bool(write))
    lasts = f", planned end {format_utc(desired.review_at)}" if desired.review_at else ""
    lasts = f", until {format_utc(end)}" if end else lasts
    return Plan(
        summary=f"{what}: {'' if write else 'already '}in maintenance, by the switch {MAINTENANCE_SWITCH}{lasts}",
        changes=tuple(writes),
        sections=(
            PlanSection("Message to users", (desired.message,)),
            PlanSection("Closed", tuple(_describe_scope(service, path) for path in closed)),
            PlanSection(
                "Stays open",
                (
                    f"{HEALTH_PATH}, {HEALTH_PATH}/… and {OPS_PATH}…, which are needed for the repair",
                    *_describe_open_rest(),
                ),
            ),
        ),
        not_undone=("requests that were let in before, and what caches of others hold of them",),
        consequences=(_describe_end(end, undo.command), CLOSED_PROBES, *checks.kept),
        warnings=(
            *steps.write_warnings([write] if write else []),
            *_plan_warnings(closed, service, taken_over),
            *checks.missing,
        ),
        reason=None if write else Reason.ALREADY_OFF,
        done_message=f"Took {what} offline",
        proved_claim=f"{what} is offline as requested: it answers 503, {steps.SEEN}",
        proof_limit=steps.ONE_LOCATION_NOTE,
        proves_health=False,
        details=_build_details(ctx, current, write, writes, closed),
    )


def _describe_end(end: datetime | None, opens: str) -> str:
    if end:
        return f"it reopens automatically at {format_utc(end)}, by the application's clock"
    return f"it stays in maintenance until a person reopens it: {opens}"


def _desired_value(
    ctx: Context[Any],
    request: MaintenanceRequest,
    previous: SwitchValue | None,
    *,
    end: datetime | None,
    closed: tuple[str, ...],
    message: str,
) -> DesiredValue:
    review_at = parse_utc(request.until) if request.until else previous.review_at if previous else None
    return DesiredValue(
        state=ON,
        owner=f"{ctx.request.actor}{UNTIL_RUN_ENDS if request.ends_with_run else ''}",
        incident=ctx.request.incident,
        until=end,
        message=request.message or (previous.message if previous else "") or message,
        paths=_switch_paths(closed),
        review_at=None if end else review_at,
        has_no_end=end is None,
    )


def _refuse_open_path(path: str) -> None:
    if _is_always_open(path):
        raise Refused(
            f"the switch {MAINTENANCE_SWITCH} cannot close {path}: {HEALTH_PATH}, {OPS_PATH} and paths below stay open",
            reason=Reason.NO_WAY_IN,
            hint="Set `maintenance: edge` for this service in ops.yml, then run the same command again.",
        )


def _refuse_unknown_paths(ctx: Context[Any], request: MaintenanceRequest, current: SwitchState) -> None:
    """Refuse a change of one path if the closed paths are unknown."""
    observed = steps.read_shown_switches(ctx).get(MAINTENANCE_SWITCH) if request.path else None
    revision = current.value.revision if current.value else None
    if observed is None or observed.state != ON or observed.revision == revision:
        return
    raise Refused(
        f"the closed paths are unknown: the application shows {MAINTENANCE_SWITCH} = on "
        "from a run that KV does not show yet "
        f"({current.describe(ctx.clock.now())}). One of them is up to a minute behind",
        reason=Reason.LIVE_UNKNOWN,
        hint="Run the same command again in a minute, or without --path for the whole service.",
    )


def _plan_reopening(
    ctx: Context[Any], service: "Service", request: MaintenanceRequest, current: SwitchState
) -> Plan[SwitchMaintenanceDetails]:
    """Plan to reopen the path, or without a path everything that is closed."""
    _refuse_unknown_paths(ctx, request, current)
    before = _closed_paths(ctx, current)
    closed = tuple(path for path in before if request.path and path != request.path)
    previous, what = current.value, _describe_scope(service, request.path)
    desired = DesiredValue(OFF, ctx.request.actor, ctx.request.incident)
    if closed and previous is not None:
        kept = previous.message, _switch_paths(closed), previous.review_at
        desired = DesiredValue(
            ON, ctx.request.actor, previous.incident, previous.until, *kept, has_no_end=previous.until is None
        )
    write = steps.plan_write(ctx, current, desired) if closed != before or not before else None
    message = previous.message if previous else ""
    undo = ctx.suggest("maintenance", service=service.name, state=ON, path=request.path, message=message)
    writes = steps.build_changes(ctx, [(write, undo)] if write else [])
    stays = next((path for path in closed if request.path.startswith(path)), None)
    still_probed = [probe for probe in service.probes if not _is_closed(probe, closed)]
    return Plan(
        summary=f"{what}: {'reopen' if write else 'not in maintenance'}",
        changes=tuple(writes),
        sections=(PlanSection("Stays in maintenance", tuple(_describe_scope(service, path) for path in closed)),)
        if closed
        else (),
        reason=None if write else Reason.NOT_OFF,
        done_message=f"Reopened {what}",
        proved_claim=f"{what} is open as requested, {steps.SEEN}; {probes_claim(still_probed)}"
        if stays is None
        else f"{what} stays offline, because {_describe_scope(service, stays)} is",
        proof_limit=steps.ONE_LOCATION_NOTE,
        proves_health=stays is None and bool(still_probed),
        details=_build_details(ctx, current, write, writes, closed),
    )


def _build_details(
    ctx: Context[Any],
    current: SwitchState,
    write: SwitchWrite | None,
    writes: dict[Any, SwitchWrite],
    closed: tuple[str, ...],
) -> SwitchMaintenanceDetails:
    return SwitchMaintenanceDetails(writes, steps.build_details(ctx, current, write, None).expected, closed)


def _parse_end(ctx: Context[Any], request: MaintenanceRequest, current: SwitchState) -> datetime | None:
    """Return the automatic end; None without `--reopen-at-end`. Raises ConfigError."""
    if not request.reopen_at_end:
        return None
    return values.parse_end(MAINTENANCE_SWITCH, current.rules, ON, request.until, ctx.clock.now())


def _closed_paths(ctx: Context[Any], current: SwitchState) -> tuple[str, ...]:
    if current.value is None or current.state(ctx.clock.now()) != ON:
        return ()
    return current.value.paths or (WHOLE_SERVICE,)


def _switch_paths(closed: tuple[str, ...]) -> tuple[str, ...]:
    """Return the paths as KV stores them: an empty list closes everything."""
    return () if WHOLE_SERVICE in closed else closed


def _describe_scope(service: "Service", path: str) -> str:
    return f"{service.name} {path}" if path else f"the whole of {service.name}"


def _describe_open_rest() -> tuple[str, ...]:
    return (
        "its cron triggers, queues, email and Durable Objects: the switch closes HTTP requests only",
        "open WebSockets, unless the application closes them when the switch is set",
        "requests that the application answers before it reads its switches",
    )


def _plan_warnings(closed: tuple[str, ...], service: "Service", taken_over: SwitchValue | None) -> Iterator[str]:
    """Warn that all paths share one message and end, that a path is a prefix, and that a run no longer reopens."""
    if len(closed) > 1:
        yield f"{', '.join(closed)} share one message and one end"
    yield from (f"a path is a prefix: {path} also closes {path}x" for path in closed if path)
    if taken_over:
        yield f"a run closed the whole of {service.name} and would reopen it at its end. Now only a person reopens it"


def _build_closed_probes(closed: Iterable[str]) -> "tuple[Probe, ...]":
    from ops.config.probes import Probe

    request = [{"name": f"off-{n}", "http": {"path": path or "/", "status": 503}} for n, path in enumerate(closed, 1)]
    return tuple(Probe.model_validate(each) for each in request)


def _is_closed(probe: "Probe", closed: tuple[str, ...]) -> bool:
    """Return whether a probe hits a closed path; the requests of a page or command probe are unknown."""
    if not closed:
        return False
    if probe.http is None:
        return True
    path = probe.http.path.partition("?")[0]
    return not _is_always_open(path) and any(path.startswith(each) for each in closed)


def _is_always_open(path: str) -> bool:
    return path == HEALTH_PATH or path.startswith((f"{HEALTH_PATH}/", OPS_PATH))
