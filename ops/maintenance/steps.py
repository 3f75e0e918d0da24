"""The steps of maintenance, each with its write and its comparison; and what is off now.

Shared by the runbook `maintenance` and by its preparation.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ops.cloudflare import deployment_mark
from ops.cloudflare.types.workers import WorkerDeployment, WorkerVersion
from ops.cloudflare.types.zones import WorkerRoute, Zone
from ops.core.errors import ProviderError, Reason, Refused
from ops.core.names import MAINTENANCE_WORKER as WORKER
from ops.core.next_step import SuggestedCommand
from ops.core.plan import Change
from ops.core.threads import run_all
from ops.engine.context import Context
from ops.engine.runbook import ChangeState, ObservedState
from ops.maintenance import state
from ops.maintenance.state import MaintenanceState, MaintenanceWindow
from ops.maintenance.writes import (
    AddRoute,
    CreateWorker,
    DeployState,
    MaintenanceWrite,
    RemoveRoute,
    RepointRoute,
    SetSubdomain,
    UploadState,
    describe_write,
)
from ops.workers.plan_text import describe_deployment

if TYPE_CHECKING:
    from ops.cloudflare.routes import RoutesApi
    from ops.cloudflare.workers import WorkersApi

PREPARE_COMMAND = "maintenance prepare"
MAX_PARALLEL_READS = 8
"""Versions of ops-maintenance, or zones, that are read in parallel."""


@dataclass(frozen=True)
class MaintenanceWorker:
    """What ops-maintenance is, as it was read for a plan."""

    deployment: WorkerDeployment
    version: WorkerVersion
    state: MaintenanceState


@dataclass(frozen=True)
class ConcurrencyGuard:
    """What ops-maintenance must be while routes change, so that two runs at once cannot undo each other unseen."""

    live_deployment: WorkerDeployment
    """As it was planned: a run that opens goes on only while it serves."""
    closing_windows: tuple[MaintenanceWindow, ...] | None = None
    """A run that closes goes on only while this is stored: without it, nobody could open the route again."""


@dataclass
class MaintenanceWrites:
    """What each change of a plan is."""

    writes: Mapping[Change, MaintenanceWrite]
    guard: ConcurrencyGuard | None = None
    state_run: str = ""
    """The run that stored what is in effect: this one, or another one that stored the same."""


def build_changes(steps: Iterable[MaintenanceWrite], undo: SuggestedCommand | None) -> dict[Change, MaintenanceWrite]:
    return {Change(*describe_write(each), undo): each for each in steps}


def read_worker(workers: "WorkersApi") -> MaintenanceWorker | None:
    """None where ops-maintenance was never prepared. Raises Refused where what stands there is not understood."""
    deployments = workers.find_deployments(WORKER)
    if not deployments:
        return None
    version = workers.read_version(WORKER, deployments[0].split[0][0])
    if version is None:
        raise ProviderError(
            f"the live version {deployments[0].split[0][0]} of {WORKER} cannot be read, so what is off is not known",
            reason=Reason.MALFORMED_ANSWER,
            hint="Start the same command again in a minute: a version that was just uploaded may not show yet.",
        )
    stored = _parse_version(version)
    if stored is None:
        raise Refused(
            f"the Worker {WORKER} is not ours: its live version has no variable {state.RUN_VARIABLE}",
            reason=Reason.NOT_PREPARED,
            hint="If a colleague's deployment is there, roll it back; if the name was taken before, free it.",
        )
    return MaintenanceWorker(
        deployments[0], version, state.merge_states(stored, _read_concurrent_states(workers, deployments, version))
    )


def read_routes(routes: "RoutesApi", zones: tuple[Zone, ...]) -> tuple[WorkerRoute, ...]:
    """The routes of these zones, a few zones at a time."""
    found: list[WorkerRoute] = []
    for start in range(0, len(zones), MAX_PARALLEL_READS):
        batch = zones[start : start + MAX_PARALLEL_READS]
        for of_zone in run_all([partial(routes.list_routes, zone.id) for zone in batch]):
            found += of_zone
    return tuple(found)


def _read_concurrent_states(
    workers: "WorkersApi", deployments: tuple[WorkerDeployment, ...], newest: WorkerVersion
) -> list[MaintenanceState]:
    """What other runs deployed between the version that the newest one was built on, and the newest one."""
    base = newest.variables.get(state.BASE_VARIABLE, "")
    older = [deployment.split[0][0] for deployment in deployments[1:]]
    if base not in older:
        return []
    found = run_all([partial(_read_state, workers, version) for version in older[: older.index(base)]])
    return [stored for stored in found if stored is not None]


def read_older_states(
    workers: "WorkersApi", live: WorkerDeployment, enough: Callable[[list[MaintenanceState]], bool]
) -> list[MaintenanceState]:
    """What earlier versions stored, newest first, read in batches until `enough`. One that is not ours is skipped."""
    versions = sorted(workers.list_deployable_versions(WORKER), key=lambda version: version.number or 0, reverse=True)
    left = [version.id for version in versions if version.id not in live.serving_versions]
    found: list[MaintenanceState] = []
    while left and not enough(found):
        batch, left = left[:MAX_PARALLEL_READS], left[MAX_PARALLEL_READS:]
        found += filter(None, run_all([partial(_read_state_if_valid, workers, version) for version in batch]))
    return found


def _read_state(workers: "WorkersApi", version: str) -> MaintenanceState | None:
    return _parse_version(workers.read_version(WORKER, version))


def _read_state_if_valid(workers: "WorkersApi", version: str) -> MaintenanceState | None:
    try:
        return _read_state(workers, version)
    except Refused:
        return None


def _parse_version(version: WorkerVersion | None) -> MaintenanceState | None:
    """None where it holds nothing of ours. Raises Refused."""
    try:
        return None if version is None else state.parse_state(version.variables)
    except ValueError:
        raise Refused(
            f"what version {version.id if version else ''} of {WORKER} stored cannot be understood",
            reason=Reason.NOT_PREPARED,
            hint=f"Somebody changed its variables: deploy the version of {WORKER} before it again, then start again.",
        ) from None


def check_change(ctx: Context[Any], steps: MaintenanceWrites, change: Change) -> ObservedState:
    match steps.writes[change]:
        case CreateWorker():
            return _check_created(ctx)
        case UploadState() as store:
            return _check_uploaded(ctx, steps, store)
        case DeployState() as deploy:
            return _check_deployed(ctx, steps, deploy)
        case RepointRoute() | AddRoute() | RemoveRoute() | SetSubdomain() as way:
            return _check_guarded_write(ctx, steps, way)


def _check_guarded_write(
    ctx: Context[Any], steps: MaintenanceWrites, way: RepointRoute | AddRoute | RemoveRoute | SetSubdomain
) -> ObservedState:
    """How one way in stands, and whether ops-maintenance is still what this run planned or stored.

    A way in that is open as wanted counts as done, also if another run opened it. A closed one counts only while it is
    stored.
    """
    guard = steps.guard
    if guard is None:
        return _check_ingress_write(ctx, way)
    reads: list[Any] = run_all(
        [lambda: _check_ingress_write(ctx, way), lambda: ctx.cloudflare.workers.find_deployments(WORKER)]
    )
    world: ObservedState = reads[0]
    deployments: tuple[WorkerDeployment, ...] = reads[1] or ()
    if world.state == ChangeState.CHANGED_ELSEWHERE or (
        world.state == ChangeState.DONE and guard.closing_windows is None
    ):
        return world
    is_closed = world.state == ChangeState.DONE
    if guard.closing_windows is None:
        holds = bool(deployments) and deployments[0].id == guard.live_deployment.id
    else:  # our deployment was read back: a list that begins with the one before it lags
        holds = bool(deployments) and (
            deployments[0].id == guard.live_deployment.id
            or _is_own(ctx, deployments[0].message)
            or _has_same_windows(ctx, steps, deployments[0], guard.closing_windows)
        )
    if holds:
        return world
    if guard.closing_windows is None and (again := _check_ingress_write(ctx, way)).state == ChangeState.DONE:
        return again  # the other run opened it between the two reads
    lost = "it is closed, and nothing stores how to open it: start --state off or --state on" if is_closed else ""
    text = "; ".join(filter(None, [world.text, f"another run changed {WORKER}: {_describe_live(deployments)}", lost]))
    return _changed_elsewhere(text)


def _check_ingress_write(ctx: Context[Any], way: RepointRoute | AddRoute | RemoveRoute | SetSubdomain) -> ObservedState:
    match way:
        case RepointRoute(route=route, worker=to):
            return _check_repointed(ctx, route, to)
        case AddRoute(zone=zone, pattern=pattern):
            return _check_added(ctx, zone, pattern)
        case RemoveRoute(route=route):
            return _check_removed(ctx, route)
        case SetSubdomain():
            return _check_subdomain(ctx, way)


def _has_same_windows(
    ctx: Context[Any], steps: MaintenanceWrites, deployment: WorkerDeployment, windows: tuple[MaintenanceWindow, ...]
) -> bool:
    """Whether another run's deployment stores the same; its run is remembered, since its answers name it."""
    stored = _read_state(ctx.cloudflare.workers, deployment.split[0][0])
    if stored is None or not state.have_same_effect(stored.windows, windows):
        return False
    steps.state_run = stored.run
    return True


def apply_change(ctx: Context[Any], steps: MaintenanceWrites, change: Change) -> str:
    match steps.writes[change]:
        case CreateWorker():
            ctx.cloudflare.maintenance.create_worker(
                state.build_variables((), run=ctx.run_id, base=""), mark=_mark(ctx)
            )
        case UploadState(windows=windows, live_deployment=live, reopened=reopened):
            variables = state.build_variables(windows, run=ctx.run_id, base=live.split[0][0], reopened=reopened)
            ctx.cloudflare.maintenance.upload_version(variables, mark=_mark(ctx))
        case DeployState():
            own = _own_version(ctx)
            assert own is not None
            ctx.cloudflare.workers.deploy(WORKER, ((own.id, 100.0),), mark=_mark(ctx))
        case RepointRoute(route=route, worker=to):
            ctx.cloudflare.routes.update_route(route.zone, route.id, route.pattern, to)
        case AddRoute(zone=zone, pattern=pattern):
            ctx.cloudflare.routes.add_route(zone, pattern, WORKER)
        case RemoveRoute(route=route):
            if not ctx.cloudflare.routes.delete_route(route.zone, route.id):
                return f"the route {route.pattern} was gone already"
        case SetSubdomain(worker=worker, after=after):
            ctx.cloudflare.workers.set_subdomain(worker, after)
    return f"Cloudflare took it: {change.target}"


def _mark(ctx: Context[Any]) -> deployment_mark.DeploymentMark:
    return deployment_mark.DeploymentMark(
        incident=ctx.request.incident, run=ctx.run_id, blames=None, text=getattr(ctx.params, "reason", "")
    )


def _is_own(ctx: Context[Any], message: str) -> bool:
    found = deployment_mark.parse_mark(message)
    return found is not None and found.run == ctx.run_id


def _own_version(ctx: Context[Any]) -> WorkerVersion | None:
    return next((v for v in ctx.cloudflare.workers.list_deployable_versions(WORKER) if _is_own(ctx, v.message)), None)


def _changed_elsewhere(text: str) -> ObservedState:
    return ObservedState(ChangeState.CHANGED_ELSEWHERE, text)


def _check_created(ctx: Context[Any]) -> ObservedState:
    deployments = ctx.cloudflare.workers.find_deployments(WORKER)
    if not deployments:
        return ObservedState(ChangeState.PLANNED, f"there is no Worker {WORKER}, as planned")
    own = _own_version(ctx)
    if own is not None and own.id in deployments[0].serving_versions:
        return ObservedState(ChangeState.DONE, f"{WORKER} is there")
    return _changed_elsewhere(f"{WORKER} was made by somebody else: {describe_deployment(deployments[0])}")


def _check_uploaded(ctx: Context[Any], steps: MaintenanceWrites, store: UploadState) -> ObservedState:
    """An upload serves nobody: until ours is deployed, another one's changes only what we build on.

    What can be read back is what can be put back: nothing else counts as stored.
    """
    own, deployments = _own_version(ctx), ctx.cloudflare.workers.find_deployments(WORKER) or ()
    if not deployments or deployments[0].id != store.live_deployment.id:
        return _check_concurrent_state(ctx, steps, deployments, store.windows)
    if own is None:
        return ObservedState(ChangeState.PLANNED, "nothing was stored since the plan")
    version = ctx.cloudflare.workers.read_version(WORKER, own.id)
    if version is None:
        return ObservedState(ChangeState.PLANNED, f"version {own.id} is listed, and cannot be read yet", uncertain=True)
    stored = _parse_version(version)
    if stored is None or stored.windows != store.windows:
        return _changed_elsewhere(f"version {own.id} does not hold what was to be stored")
    return ObservedState(ChangeState.DONE, f"version {own.id} holds it")


def _check_deployed(ctx: Context[Any], steps: MaintenanceWrites, deploy: DeployState) -> ObservedState:
    """Another run's between ours and the planned one must store the same: else nothing more is changed."""
    deployments = ctx.cloudflare.workers.find_deployments(WORKER) or ()
    if deployments and deployments[0].id == deploy.live_deployment.id:
        return ObservedState(ChangeState.PLANNED, f"{WORKER} is as planned")
    ours = [d for d in deployments if _is_own(ctx, d.message)]
    if not ours or deployments[0] != ours[0]:
        return _check_concurrent_state(ctx, steps, deployments, deploy.windows)
    before = deployments[deployments.index(ours[-1]) + 1 :]
    between = list(itertools.takewhile(lambda each: each.id != deploy.live_deployment.id, before))
    if all(_has_same_windows(ctx, steps, each, deploy.windows) for each in between):
        steps.state_run = ctx.run_id
        return ObservedState(ChangeState.DONE, f"version {ours[0].split[0][0]} serves, with all former values")
    return _changed_elsewhere(f"another run stored something at the same moment: {describe_deployment(between[0])}")


def _check_concurrent_state(
    ctx: Context[Any],
    steps: MaintenanceWrites,
    deployments: tuple[WorkerDeployment, ...],
    windows: tuple[MaintenanceWindow, ...],
) -> ObservedState:
    if deployments and _has_same_windows(ctx, steps, deployments[0], windows):
        return ObservedState(ChangeState.DONE, f"another run stored the same: {describe_deployment(deployments[0])}")
    return _changed_elsewhere(f"another run changed {WORKER}: {_describe_live(deployments)}")


def _describe_live(deployments: tuple[WorkerDeployment, ...]) -> str:
    return describe_deployment(deployments[0]) if deployments else "it was deleted"


def _check_repointed(ctx: Context[Any], route: WorkerRoute, to: str) -> ObservedState:
    live = next((each for each in ctx.cloudflare.routes.list_routes(route.zone) if each.id == route.id), None)
    if live is None or live.pattern != route.pattern:
        return _changed_elsewhere(f"the route {route.pattern} is gone, or has another pattern")
    if live.script == to:
        return ObservedState(ChangeState.DONE, f"{route.pattern} → {to}")
    if live.script == route.script:
        return ObservedState(ChangeState.PLANNED, f"{route.pattern} → {live.script}, as planned")
    return _changed_elsewhere(f"{route.pattern} → {live.script or 'no Worker'}")


def _find_route(ctx: Context[Any], zone: str, pattern: str) -> WorkerRoute | None:
    return next((route for route in ctx.cloudflare.routes.list_routes(zone) if route.pattern == pattern), None)


def _check_added(ctx: Context[Any], zone: str, pattern: str) -> ObservedState:
    live = _find_route(ctx, zone, pattern)
    if live is None:
        return ObservedState(ChangeState.PLANNED, f"there is no route {pattern}, as planned")
    if live.script == WORKER:
        return ObservedState(ChangeState.DONE, f"{pattern} → {WORKER}")
    return _changed_elsewhere(f"somebody else made the route {pattern} → {live.script or 'no Worker'}")


def _check_removed(ctx: Context[Any], route: WorkerRoute) -> ObservedState:
    live = _find_route(ctx, route.zone, route.pattern)
    if live is None:
        return ObservedState(ChangeState.DONE, f"there is no route {route.pattern} any more")
    if live == route:
        return ObservedState(ChangeState.PLANNED, f"{route.pattern} → {WORKER}, as planned")
    return _changed_elsewhere(f"{route.pattern} → {live.script or 'no Worker'}, route {live.id}")


def _check_subdomain(ctx: Context[Any], switch: SetSubdomain) -> ObservedState:
    live = ctx.cloudflare.workers.read_subdomain(switch.worker)
    if live == switch.after:
        return ObservedState(ChangeState.DONE, str(live))
    return ObservedState(ChangeState.PLANNED if live == switch.before else ChangeState.CHANGED_ELSEWHERE, str(live))
