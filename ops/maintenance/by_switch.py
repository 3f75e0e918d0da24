"""Maintenance by the application's own switch `maintenance`: it answers 503 itself, and no route is changed.

For the runbook `maintenance`, where ops.yml says `maintenance: switch`. A switch has one list of paths and one message.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ops.core.clock import format_utc, parse_utc
from ops.core.errors import Reason, Refused
from ops.core.plan import Plan, PlanSection
from ops.core.runtime_contract import MAINTENANCE, SwitchValue
from ops.engine.context import Context
from ops.maintenance.state import MaintenanceRequest
from ops.probes.runner import ProbeSet
from ops.switches import steps, values
from ops.switches.steps import Setting, Settings
from ops.switches.values import Standing, Wanted, shown_json

if TYPE_CHECKING:
    from ops.config import Service
    from ops.config.probes import Probe

ON, OFF = "on", "off"
HEALTH_PATH, OPS_PATH = "/health", "/__ops/"
"""These, and all below them, answer during maintenance too (docs/reference/runtime-contract.md)."""
WHOLE_SERVICE = ""


@dataclass(frozen=True)
class SwitchMaintenanceDetails(Settings):
    closed_paths: tuple[str, ...] = ()
    """In the end: paths, each with all below it; an empty one is the whole service."""


def choose_probes(
    ctx: Context[Any], service: "Service", request: MaintenanceRequest, details: SwitchMaintenanceDetails | None
) -> ProbeSet:
    """What is closed answers 503 in the end, and what is not is well. Before, what is to change is asked alone."""
    if details is None:
        own = _build_closed_probes([request.path]) if request.is_on else service.probes
        return steps.probe_set(ctx, shown_json(MAINTENANCE, ON if request.is_on else OFF, None), own)
    closed = details.closed_paths
    still = tuple(probe for probe in service.probes if not _is_closed(probe, closed))
    return steps.probe_set(ctx, details.shows, (*_build_closed_probes(closed), *still))


def plan_maintenance(
    ctx: Context[Any], service: "Service", request: MaintenanceRequest, message: str
) -> Plan[SwitchMaintenanceDetails]:
    """`message`: what users are told where nobody said anything."""
    standing = steps.read(ctx, MAINTENANCE)
    return (
        _plan_closing(ctx, service, request, standing, message)
        if request.is_on
        else _plan_reopening(ctx, service, request, standing)
    )


def _plan_closing(
    ctx: Context[Any], service: "Service", request: MaintenanceRequest, standing: Standing, message: str
) -> Plan[SwitchMaintenanceDetails]:
    _refuse_open_path(request.path)
    _refuse_unknown_paths(ctx, request, standing)
    before = _closed_paths(ctx, standing)
    is_covered = any(request.path.startswith(path) for path in before)
    with_it = (*before, request.path) if request.path else (WHOLE_SERVICE,)
    closed = before if is_covered else with_it
    former = standing.value if before else None
    end = _parse_end(ctx, request, standing)
    wanted = _desired_value(ctx, request, former, end=end, closed=closed, message=message)
    made = steps.setting(ctx, standing, wanted)
    undo = ctx.press("maintenance", service=service.name, state=OFF, path=request.path)
    of = steps.changes(ctx, [(made, undo)] if made else [])
    what = _describe_scope(service, request.path)
    lasts = f", meant to last until {format_utc(wanted.review_at)}" if wanted.review_at else ""
    lasts = f", until {format_utc(end)}" if end else lasts
    return Plan(
        summary=f"{what}: {'off' if made else 'off already'}, by the switch {MAINTENANCE} of {service.name}{lasts}",
        changes=tuple(of),
        sections=(
            PlanSection("What people are told", (wanted.message,)),
            PlanSection("Closed", tuple(_describe_scope(service, path) for path in closed)),
            PlanSection(
                "Stays open",
                (f"{HEALTH_PATH}, {HEALTH_PATH}/… and {OPS_PATH}…, by which it is repaired", *_describe_open_rest()),
            ),
        ),
        not_undone=("requests that were let in before, and what caches of others hold of them",),
        consequences=(
            f"it opens by itself at {format_utc(end)}, by the application's own clock"
            if end
            else f"it stays off until a person opens it: {undo.command}",
            "probes of what is off find 503: of the service they prove nothing",
        ),
        warnings=(*steps.warnings([made] if made else []), *_shared_path_warnings(closed)),
        reason=None if made else Reason.ALREADY_OFF,
        done_message=f"Took {what} offline",
        proved_claim=f"{what} is off on purpose: it answers 503, {steps.ELSEWHERE}",
        details=_build_details(ctx, standing, made, of, closed),
    )


def _desired_value(
    ctx: Context[Any],
    request: MaintenanceRequest,
    former: SwitchValue | None,
    *,
    end: datetime | None,
    closed: tuple[str, ...],
    message: str,
) -> Wanted:
    review_at = parse_utc(request.until) if request.until else former.review_at if former else None
    return Wanted(
        state=ON,
        owner=ctx.request.actor,
        incident=ctx.request.incident,
        until=end,
        message=request.message or (former.message if former else "") or message,
        paths=_switch_paths(closed),
        review_at=None if end else review_at,
        stays=end is None,
    )


def _refuse_open_path(path: str) -> None:
    if _is_always_open(path):
        raise Refused(
            f"the switch {MAINTENANCE} cannot close {path}: {HEALTH_PATH}, {OPS_PATH} and what is below them stay open",
            reason=Reason.NO_WAY_IN,
            hint="Close it at the edge: `maintenance: edge` for this service in ops.yml, then start the same again.",
        )


def _refuse_unknown_paths(ctx: Context[Any], request: MaintenanceRequest, standing: Standing) -> None:
    """A path is added to the closed ones, or taken from them: so these must be known."""
    seen = steps.shown_switches(ctx).get(MAINTENANCE) if request.path else None
    held = standing.value.revision if standing.value else None
    if seen is None or seen.state != ON or seen.revision == held:
        return
    raise Refused(
        f"the closed paths are not known: the application shows {MAINTENANCE} = on, set by another run than KV shows "
        f"({standing.told(ctx.clock.now())}). One of them is up to a minute behind",
        reason=Reason.LIVE_UNKNOWN,
        hint="Run the same command again in a minute, or without --path for the whole service.",
    )


def _plan_reopening(
    ctx: Context[Any], service: "Service", request: MaintenanceRequest, standing: Standing
) -> Plan[SwitchMaintenanceDetails]:
    """Without a path: all that is off."""
    _refuse_unknown_paths(ctx, request, standing)
    before = _closed_paths(ctx, standing)
    closed = tuple(path for path in before if request.path and path != request.path)
    former, what = standing.value, _describe_scope(service, request.path)
    wanted = Wanted(OFF, ctx.request.actor, ctx.request.incident)
    if closed and former is not None:
        kept = former.message, _switch_paths(closed), former.review_at
        wanted = Wanted(ON, ctx.request.actor, former.incident, former.until, *kept, stays=former.until is None)
    made = steps.setting(ctx, standing, wanted) if closed != before or not before else None
    message = former.message if former else ""
    undo = ctx.press("maintenance", service=service.name, state=ON, path=request.path, message=message)
    of = steps.changes(ctx, [(made, undo)] if made else [])
    stays = next((path for path in closed if request.path.startswith(path)), None)
    return Plan(
        summary=f"{what}: {'open again' if made else 'was not off'}",
        changes=tuple(of),
        sections=(PlanSection("Stays off", tuple(_describe_scope(service, path) for path in closed)),)
        if closed
        else (),
        reason=None if made else Reason.NOT_OFF,
        done_message=f"Opened {what} again",
        proved_claim=f"{what} is open, {steps.ELSEWHERE}; the probes are healthy"
        if stays is None
        else f"{what} stays off, since {_describe_scope(service, stays)} is off",
        details=_build_details(ctx, standing, made, of, closed),
    )


def _build_details(
    ctx: Context[Any], standing: Standing, made: Setting | None, of: dict[Any, Setting], closed: tuple[str, ...]
) -> SwitchMaintenanceDetails:
    return SwitchMaintenanceDetails(of, steps.planned(ctx, standing, made, None).shows, closed)


def _parse_end(ctx: Context[Any], request: MaintenanceRequest, standing: Standing) -> datetime | None:
    """When it opens by itself, where that was asked for. Raises ConfigError."""
    if not request.reopen_at_end:
        return None
    return values.until_of(MAINTENANCE, standing.rules, ON, request.until, ctx.clock.now())


def _closed_paths(ctx: Context[Any], standing: Standing) -> tuple[str, ...]:
    if standing.value is None or standing.state(ctx.clock.now()) != ON:
        return ()
    return standing.value.paths or (WHOLE_SERVICE,)


def _switch_paths(closed: tuple[str, ...]) -> tuple[str, ...]:
    """As KV has it: no path closes everything."""
    return () if WHOLE_SERVICE in closed else closed


def _describe_scope(service: "Service", path: str) -> str:
    return f"{service.name} {path}" if path else f"the whole of {service.name}"


def _describe_open_rest() -> tuple[str, ...]:
    return (
        "cron triggers, queues, email and Durable Objects of it: the switch closes requests alone",
        "whatever the application answers before it reads its switches",
    )


def _shared_path_warnings(closed: tuple[str, ...]) -> tuple[str, ...]:
    """Of several paths one message is said, and a path closes all that begins so."""
    several = (f"one message and one end for all of {', '.join(closed)}",) if len(closed) > 1 else ()
    return (*several, *(f"all that begins with {path} is off, {path}x as well" for path in closed if path))


def _build_closed_probes(closed: Iterable[str]) -> "tuple[Probe, ...]":
    from ops.config.probes import Probe

    request = [{"name": f"off-{n}", "http": {"path": path or "/", "status": 503}} for n, path in enumerate(closed, 1)]
    return tuple(Probe.model_validate(each) for each in request)


def _is_closed(probe: "Probe", closed: tuple[str, ...]) -> bool:
    """Of a page or a program it is not known what it asks."""
    if not closed:
        return False
    if probe.http is None:
        return True
    path = probe.http.path.partition("?")[0]
    return not _is_always_open(path) and any(path.startswith(each) for each in closed)


def _is_always_open(path: str) -> bool:
    return path == HEALTH_PATH or path.startswith((f"{HEALTH_PATH}/", OPS_PATH))
