"""Plan maintenance on and off by the application's switch `maintenance`, without routes.

Used by the runbook `maintenance` if ops.yml says `maintenance: switch`. The application answers 503 itself. The switch
holds one list of paths and one message.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from ops.config.probes import ProbeSet, probes_claim
from ops.core.clock import format_utc, parse_utc
from ops.core.errors import Reason
from ops.core.owners import (
    UNTIL_RUN_ENDS,
    StateOwner,
    advise_asking_owners,
    describe_owners,
    find_others,
    find_owner,
    refuse_held_state,
)
from ops.core.plan import PlanSection
from ops.core.runtime_contract import MAINTENANCE_SWITCH, SwitchValue
from ops.core.verdict import SEEN
from ops.engine.context import Context
from ops.engine.step import StepPlan
from ops.maintenance import refusals
from ops.maintenance.ownership import RELEASED, describe_opened, describe_released, list_released
from ops.maintenance.plan_text import CLOSED_SECTION, MESSAGE_SECTION, OPEN_SECTION, ClosureChecks, describe_calls
from ops.maintenance.state import MaintenanceRequest
from ops.switches import steps, values
from ops.switches.steps import SetSwitch
from ops.switches.values import DesiredValue, SwitchState, expected_switch_json

if TYPE_CHECKING:
    from ops.config import Service
    from ops.config.probes import Probe
    from ops.engine.context import RequestInfo

ON, OFF = "on", "off"
HEALTH_PATH, OPS_PATH = "/health", "/__ops/"
"""Paths that answer during maintenance too, with everything below them (docs/reference/runtime-contract.md)."""
WHOLE_SERVICE = ""
SWITCH_CALLS = 4
"""Calls that set and read back a switch in KV."""
CLOSED_PROBES = "probes of closed paths get 503; they say nothing about the service"


def build_requested_probes(ctx: Context[Any], service: "Service", request: MaintenanceRequest) -> ProbeSet:
    """Return the probes of the requested change, before there is a plan."""
    own = _build_closed_probes([request.path]) if request.is_on else service.probes
    return steps.build_switch_probes(
        ctx, expected_switch_json(MAINTENANCE_SWITCH, ON if request.is_on else OFF, None), own
    )


def _build_switch_probes(
    ctx: Context[Any], service: "Service", shown: Mapping[str, Any], closed: tuple[str, ...]
) -> ProbeSet:
    """Return the probes after the run: paths below a `closed` prefix answer 503, others are healthy."""
    still = tuple(probe for probe in service.probes if not _is_closed(probe, closed))
    return steps.build_switch_probes(ctx, shown, (*_build_closed_probes(closed), *still))


def plan_maintenance(ctx: Context[Any], service: "Service", request: MaintenanceRequest, message: str) -> StepPlan:
    """Plan the change of the switch; `message` is the default message to users."""
    if request.releases_all:
        return _plan_release_of_all(ctx, service, request)
    current = steps.read_switch(ctx, MAINTENANCE_SWITCH)
    return steps.plan_with_acceptance(
        ctx,
        "maintenance",
        lambda: (
            _plan_closing(ctx, service, request, current, message)
            if request.is_on
            else _plan_reopening(ctx, service, request, current)
        ),
    )


def _plan_closing(
    ctx: Context[Any], service: "Service", request: MaintenanceRequest, current: SwitchState, message: str
) -> StepPlan:
    if _is_always_open(request.path):
        raise refusals.open_path_refusal(request.path, f"{HEALTH_PATH}, {OPS_PATH}")
    _refuse_unknown_paths(ctx, request, current)
    now = ctx.clock.now()
    taken_over = not request.ends_with_run and any(each.ends_with_run for each in current.owners(now))
    end = _parse_switch_end(ctx, request, current)
    desired = _desired_value(ctx, request, current, end=end, message=message)
    write = steps.plan_write(ctx, current, desired)
    value = write.value if write else current.value
    closed = _paths_in_maintenance(value) if value else ()
    undo = ctx.suggest("maintenance", service=service.name, state=OFF, path=request.path)
    what = _describe_scope(service, request.path)
    checks, shown = (
        ClosureChecks.choose(ctx, service.name, changed=bool(write)),
        steps.expect_shown(ctx, current, write),
    )
    until, review_at = (value.until, value.review_at) if value else (None, None)
    lasts = f", planned end {format_utc(review_at)}" if review_at else ""
    lasts = f", until {format_utc(until)}" if until else lasts
    return StepPlan(
        summary=f"{what}: {'' if write else 'already '}in maintenance, by the switch {MAINTENANCE_SWITCH}{lasts}",
        changes=(SetSwitch.of(ctx, write, undo),) if write else (),
        sections=(
            PlanSection(MESSAGE_SECTION, (value.message if value else desired.message,)),
            PlanSection("Closed by the switch", tuple(_describe_scope(service, path) for path in closed)),
            *_owner_section(value),
            PlanSection(OPEN_SECTION, _describe_open_rest()),
            describe_calls(ctx, SWITCH_CALLS if write else 0),
        ),
        not_undone=("requests that were let in before, and what caches of others hold of them",),
        consequences=(_describe_switch_end(until, undo.command), CLOSED_PROBES, *checks.kept),
        warnings=(
            *steps.write_warnings([write] if write else []),
            *steps.end_warnings(write, desired, now),
            *_plan_warnings(closed, value.owners if value else (), service, taken_over=taken_over),
            *checks.missing,
        ),
        reason=None if write else Reason.ALREADY_OFF,
        next_step=ctx.status_command,
        done_message=f"Took {what} offline",
        proved_claim=f"{what} is offline as requested: it answers 503, {SEEN}",
        proof_limit=steps.ONE_LOCATION_NOTE,
        proves_health=False,
        notices=steps.list_switch_notices(ctx, [write] if write else []),
        probes=partial(_build_switch_probes, ctx, service, shown, closed),
    )


def _describe_switch_end(end: datetime | None, opens: str) -> str:
    if end:
        return f"it reopens automatically at {format_utc(end)}, by the application's clock"
    return f"it stays in maintenance until a person reopens it: {opens}"


def _desired_value(
    ctx: Context[Any], request: MaintenanceRequest, current: SwitchState, *, end: datetime | None, message: str
) -> DesiredValue:
    """Return the value of this request: its owner closes its own paths, until its own end.

    A person takes over what a run closed, such as a restore.
    """
    everybody, actor = current.owners(ctx.clock.now()), ctx.request.actor
    owners = tuple(each for each in everybody if request.ends_with_run or not each.ends_with_run)
    own = find_owner(owners, ctx.request.requester)
    taken_over = next((each for each in everybody if each not in owners), None)
    former = own or taken_over
    mine = _paths_in_maintenance(former) if former else ()
    review_at = parse_utc(request.until) if request.until else own.review_at if own else None
    return DesiredValue(
        state=ON,
        owner=f"{actor}{UNTIL_RUN_ENDS if request.ends_with_run else ''}",
        incident=ctx.request.incident,
        until=end,
        message=request.message or (own.message if own else "") or ("" if owners else message),
        paths=_switch_paths(mine if _is_covered(request.path, mine) else (*mine, request.path)),
        review_at=None if end else review_at,
        has_no_end=end is None,
    )


def _refuse_unknown_paths(ctx: Context[Any], request: MaintenanceRequest, current: SwitchState) -> None:
    """Refuse a change of one path if the closed paths are unknown."""
    observed = steps.read_shown_switches(ctx).get(MAINTENANCE_SWITCH) if request.path else None
    revision = current.value.revision if current.value else None
    if observed is not None and observed.state == ON and observed.revision != revision:
        unstored, is_own = current.describe_unstored(ON, ctx.clock.now()), steps.is_own_value(ctx, observed)
        raise refusals.unknown_paths_refusal(unstored, is_own=is_own)


def _plan_release_of_all(ctx: Context[Any], service: "Service", request: MaintenanceRequest) -> StepPlan:
    """Plan to open the service for all who hold it. The value in KV may be malformed, or behind the application."""
    current, problem = steps.read_switch_if_readable(ctx, MAINTENANCE_SWITCH)
    owners = current.owners(ctx.clock.now())
    scope = _describe_scope(service, request.path)
    lines = (f"{scope}, held by {describe_owners(owners)}",) if owners else (problem,) if problem else ()
    others = {each.incident for each in owners if each.incident} - {ctx.request.incident}
    plan = _plan_reopening(ctx, service, request, current)
    return replace(
        plan,
        sections=(*([PlanSection(RELEASED, lines)] if lines else []), *plan.sections),
        done_message=f"{plan.done_message}{describe_released(lines)}",
        proved_claim=f"{plan.proved_claim}{describe_released(lines)}",
        notices=dict.fromkeys(others, describe_opened(ctx, scope)),
    )


def _plan_reopening(
    ctx: Context[Any], service: "Service", request: MaintenanceRequest, current: SwitchState
) -> StepPlan:
    """Plan to reopen the path, or without a path everything, as far as nobody else needs it closed."""
    _refuse_unknown_paths(ctx, request, current)
    now, before = ctx.clock.now(), _closed_paths(ctx, current)
    owners = current.owners(now)
    remaining = () if request.releases_all else _remaining_owners(ctx, request, current)
    closed = tuple(dict.fromkeys(path for each in remaining for path in _paths_in_maintenance(each)))
    closed = (WHOLE_SERVICE,) if WHOLE_SERVICE in closed else closed
    state = ON if remaining else OFF
    write = None
    if remaining != owners or not before:
        build = partial(_value_after_release, current, remaining, ctx.request)
        write = steps.plan_value(ctx, current, state, build, replaces_all=request.releases_all)
    what, previous = _describe_scope(service, request.path), current.value
    message = previous.message if previous else ""
    undo = ctx.suggest("maintenance", service=service.name, state=ON, path=request.path, message=message)
    shown = steps.expect_shown(ctx, current, write)
    others = find_others(remaining, ctx.request.requester)
    gone = [] if request.releases_all else [each for each in owners if each not in remaining]
    released = list_released(what, gone, ctx.request.requester)
    stays = _find_cover(request.path, closed)
    still_probed = [probe for probe in service.probes if not _is_closed(probe, closed)]
    return StepPlan(
        summary=f"{what}: {'not in maintenance' if not write else 'reopen' if stays is None else 'stays offline'}",
        changes=(SetSwitch.of(ctx, write, undo),) if write else (),
        sections=(
            *([PlanSection(RELEASED, tuple(released))] if released else []),
            *(
                [PlanSection(CLOSED_SECTION, tuple(_describe_scope(service, path) for path in closed))]
                if closed
                else []
            ),
            *(_owner_section(write.value) if write else ()),
            describe_calls(ctx, SWITCH_CALLS if write else 0),
        ),
        reason=None if write else Reason.NOT_OFF,
        next_step=steps.suggest_acceptance(ctx, "maintenance", others) or ctx.status_command,
        done_message=f"Reopened {what}" if stays is None else f"Released {what}",
        proved_claim=_describe_reopened(service, request, remaining, closed)
        + describe_released(released)
        + (f"; {probes_claim(still_probed)}" if stays is None else ""),
        proof_limit=steps.ONE_LOCATION_NOTE,
        proves_health=stays is None and bool(still_probed),
        tasks=advise_asking_owners(others),
        notices=steps.list_switch_notices(ctx, [write] if write else []),
        probes=partial(_build_switch_probes, ctx, service, shown, closed),
    )


def _describe_reopened(
    service: "Service", request: MaintenanceRequest, remaining: Sequence[StateOwner], closed: Sequence[str]
) -> str:
    """Describe the requested scope after the release: open, open except some paths, or still closed by others."""
    what, held = _describe_scope(service, request.path), f", held by {describe_owners(remaining)}" if remaining else ""
    stays = _find_cover(request.path, closed)
    if stays is not None:
        because = "" if stays == request.path else f", because {_describe_scope(service, stays)} is"
        return f"{what} stays offline{because}{held}"
    rest = "" if request.path or not closed else f", except {', '.join(closed)}{held}"
    return f"{what} is open as requested, {SEEN}{rest}"


def _remaining_owners(ctx: Context[Any], request: MaintenanceRequest, current: SwitchState) -> tuple[StateOwner, ...]:
    """Return the owners after the release. Raises Refused if only others keep the path closed."""
    now, requester, accepted = ctx.clock.now(), ctx.request.requester, ctx.params.accept_owners
    owners = current.owners(now)
    others = find_others(owners, requester, accepted)
    released = [each if each in others else _without_path(each, request.path) for each in owners]
    remaining = tuple(each for each in released if each is not None)
    blocking = tuple(
        each for each in others if not request.path or _is_covered(request.path, _paths_in_maintenance(each))
    )
    if blocking and (remaining == owners or accepted):
        standing = f"{current.name} is {current.state(now)}"
        raise refuse_held_state(standing, blocking, requester=requester, effect="opens it", accepted=accepted)
    return remaining


def _without_path(owner: StateOwner, path: str) -> StateOwner | None:
    """Return the owner without this path, or None if it needs nothing any more. The whole service has no paths."""
    if not path:
        return None
    kept = tuple(each for each in owner.paths if each != path)
    return None if owner.paths and not kept else replace(owner, paths=kept)


def _value_after_release(
    current: SwitchState,
    remaining: tuple[StateOwner, ...],
    request: "RequestInfo",
    *,
    revision: str,
    now: datetime,
    repeat: bool = False,
) -> SwitchValue | None:
    if remaining and current.value is not None:
        return SwitchValue.of_owners(ON, remaining, since=current.value.since, revision=revision)
    write = SwitchValue(OFF, request.actor, request.incident, now, revision)
    is_unreadable = current.value is None and current.text is not None
    return write if current.state(now) != OFF or is_unreadable or repeat else None


def _parse_switch_end(ctx: Context[Any], request: MaintenanceRequest, current: SwitchState) -> datetime | None:
    """Return the automatic end; None without `--reopen-at-end`. Raises ConfigError."""
    if not request.reopen_at_end:
        return None
    return values.parse_switch_end(MAINTENANCE_SWITCH, current.rules, ON, request.until, ctx.clock.now())


def _closed_paths(ctx: Context[Any], current: SwitchState) -> tuple[str, ...]:
    if current.value is None or current.state(ctx.clock.now()) != ON:
        return ()
    return _paths_in_maintenance(current.value)


def _paths_in_maintenance(closed: SwitchValue | StateOwner) -> tuple[str, ...]:
    return closed.paths or (WHOLE_SERVICE,)


def _find_cover(path: str, closed: Iterable[str]) -> str | None:
    """Return the closed prefix that covers the path; None if there is none."""
    return next((each for each in closed if path.startswith(each)), None)


def _is_covered(path: str, closed: Iterable[str]) -> bool:
    return _find_cover(path, closed) is not None


def _owner_section(value: SwitchValue | None) -> tuple[PlanSection, ...]:
    """Return who needs the service closed, if there are several."""
    owners = value.owners if value else ()
    return (PlanSection("Maintenance held by", tuple(each.describe() for each in owners)),) if len(owners) > 1 else ()


def _switch_paths(closed: tuple[str, ...]) -> tuple[str, ...]:
    """Return the paths as KV stores them: an empty list closes everything."""
    return () if WHOLE_SERVICE in closed else closed


def _describe_scope(service: "Service", path: str) -> str:
    return f"{service.name} {path}" if path else f"the whole of {service.name}"


def _describe_open_rest() -> tuple[str, ...]:
    return (
        f"{HEALTH_PATH}, {HEALTH_PATH}/… and {OPS_PATH}…, which are needed for the repair",
        "its cron triggers, queues, email and Durable Objects: the switch closes HTTP requests only",
        "open WebSockets, unless the application closes them when the switch is set",
        "requests that the application answers before it reads its switches",
    )


def _plan_warnings(
    closed: tuple[str, ...], owners: Sequence[StateOwner], service: "Service", *, taken_over: bool
) -> Iterator[str]:
    """Warn that all paths share one message and end, that a path is a prefix, and that a run no longer reopens."""
    if len(closed) > 1:
        yield f"{', '.join(closed)} share one message{' and one end' if len(owners) < 2 else ''}"
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
