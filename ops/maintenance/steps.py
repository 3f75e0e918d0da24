"""Steps of maintenance: read ops-maintenance, check and apply each write.

Shared by the runbook `maintenance`, its preparation, and `ops status`.
"""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from ops.cloudflare import marks
from ops.cloudflare.types.workers import WorkerDeployment, WorkerVersion, describe_deployment
from ops.cloudflare.types.zones import WorkerRoute, Zone
from ops.core.errors import NotApplied, ProviderError, Reason, Refused
from ops.core.names import MAINTENANCE_WORKER as WORKER
from ops.core.next_step import SuggestedCommand
from ops.core.threads import run_in_batches, run_parallel_mixed
from ops.engine.context import Context
from ops.engine.step import ChangeState, ObservedState, Step
from ops.maintenance import state
from ops.maintenance.refusals import foreign_worker_refusal, malformed_state_refusal
from ops.maintenance.shared_reads import SharedReads
from ops.maintenance.state import MaintenanceState, MaintenanceWindow
from ops.maintenance.writes import (
    AddRoute,
    CreateWorker,
    DeployState,
    IngressWrite,
    MaintenanceWrite,
    RemoveRoute,
    RepointRoute,
    SetSubdomain,
    UploadState,
    describe_write,
)

if TYPE_CHECKING:
    from ops.cloudflare.routes import RoutesApi
    from ops.cloudflare.workers import WorkersApi

PREPARE_COMMAND = "maintenance prepare"
MAX_PARALLEL_READS = 8
"""Versions of ops-maintenance, or zones, to read in parallel."""
MOST_STEP_CALLS = 6
"""Calls of one step that compares, writes and reads back."""
AT_END = ", at the end"
"""Ends the target of a change that turns maintenance off, so that each target of a plan is unique."""


@dataclass(frozen=True)
class MaintenanceWorker:
    """The Worker ops-maintenance with its live version and state."""

    deployment: WorkerDeployment
    version: WorkerVersion
    state: MaintenanceState


@dataclass(frozen=True)
class ConcurrencyGuard:
    """Required state of ops-maintenance while routes change, so that two runs at once notice each other."""

    live_deployment: WorkerDeployment
    """Planned live deployment; a run that reopens continues only while it serves."""
    closing_windows: tuple[MaintenanceWindow, ...] | None = None
    """A run that closes continues only while these are stored; without them, no run could reopen the route."""


@dataclass
class StoredState:
    """What the steps of a plan know together about the state in ops-maintenance."""

    guard: ConcurrencyGuard | None = None
    run: str = ""
    """Run that stored the effective state: this one, or another one that stored the same state."""
    version: str = ""
    """Version that this run uploaded, once it was read back."""
    reserved_calls: int = 0
    """Calls to Cloudflare that this run needs later, to reopen what it closes."""
    reads: SharedReads = field(default_factory=SharedReads)
    others: dict[str, MaintenanceState | None] = field(default_factory=dict)
    """Version of another run → what it stores; a version never changes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MaintenanceStep(Step):
    """One write of maintenance at the edge."""

    write: MaintenanceWrite
    stored: StoredState

    @property
    def batch(self) -> object | None:
        return self.stored if isinstance(self.write, IngressWrite) else None

    def find_pause(self, ctx: Context[Any]) -> float:
        return ctx.cloudflare.budget.find_pause(MOST_STEP_CALLS, reserved=self.stored.reserved_calls)

    def check(self, ctx: Context[Any]) -> ObservedState:
        match self.write:
            case CreateWorker():
                return _check_created(ctx)
            case UploadState() as store:
                return _check_uploaded(ctx, self.stored, store)
            case DeployState() as deploy:
                return _check_maintenance_deployed(ctx, self.stored, deploy)
            case RepointRoute() | AddRoute() | RemoveRoute() | SetSubdomain() as way:
                return _check_guarded_write(ctx, self.stored, way, self.target)

    def apply(self, ctx: Context[Any]) -> str:
        self.stored.reads.note_written(self.target)
        _send_write(ctx, self.write, self.stored)
        return f"Cloudflare accepted it: {self.target}"


class LaterWrites(Protocol):
    """Writes that are decided right before the first of them, by the state that is live then."""

    def check(self, ctx: Context[Any], target: str) -> ObservedState: ...

    def apply(self, ctx: Context[Any], target: str) -> str: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class LaterStep(Step):
    """A step that takes back a step of the same plan."""

    writes: LaterWrites
    is_batched: bool

    @property
    def batch(self) -> object | None:
        return self.writes if self.is_batched else None

    def find_pause(self, ctx: Context[Any]) -> float:
        return ctx.cloudflare.budget.find_pause(MOST_STEP_CALLS)

    @classmethod
    def of(cls, write: MaintenanceWrite, writes: LaterWrites) -> "LaterStep":
        """Return the step of a write as it is expected now."""
        target, before, after, done_when = describe_write(write)
        if isinstance(write, UploadState | DeployState):
            before = "the version of this run"
        is_batched = isinstance(write, IngressWrite)
        return cls(f"{target}{AT_END}", before, after, done_when, None, writes=writes, is_batched=is_batched)

    def check(self, ctx: Context[Any]) -> ObservedState:
        return self.writes.check(ctx, self.target)

    def apply(self, ctx: Context[Any]) -> str:
        return self.writes.apply(ctx, self.target)


def build_maintenance_steps(
    writes: Iterable[MaintenanceWrite], stored: StoredState, undo: SuggestedCommand | None = None
) -> tuple[MaintenanceStep, ...]:
    return tuple(MaintenanceStep(*describe_write(each), undo, write=each, stored=stored) for each in writes)


def find_step(steps: Iterable[MaintenanceStep], later_target: str) -> MaintenanceStep | None:
    """Return the step that a LaterStep turned out to be; None if its write is not needed."""
    return next((each for each in steps if f"{each.target}{AT_END}" == later_target), None)


def read_maintenance_worker(workers: "WorkersApi", *, is_tolerant: bool = False) -> MaintenanceWorker | None:
    """Read ops-maintenance; None if it does not exist.

    `is_tolerant`: of variables that were edited, read what can be read.

    Raises:
        Refused: its variables are not ours, or malformed.
    """
    deployments = workers.find_deployments(WORKER)
    if not deployments:
        return None
    version = workers.read_version(WORKER, deployments[0].split[0][0])
    if version is None:
        raise ProviderError(
            f"cannot read version {deployments[0].split[0][0]} of {WORKER}, so the maintenance state is unknown",
            reason=Reason.MALFORMED_ANSWER,
            hint="Run the same command again in a minute: a new version may not be readable yet.",
        )
    parse, read = (
        (_parse_readable, _read_valid_maintenance_state) if is_tolerant else (_parse_version, _read_maintenance_state)
    )
    stored = parse(version)
    if stored is None:
        raise foreign_worker_refusal()
    others, base = _read_concurrent_states(workers, deployments, version, read)
    return MaintenanceWorker(deployments[0], version, state.merge_states(stored, others, base))


def read_routes(routes: "RoutesApi", zones: tuple[Zone, ...]) -> tuple[WorkerRoute, ...]:
    """Return the routes of the zones, read a few zones at a time."""
    reads = [partial(routes.list_routes, zone.id) for zone in zones]
    return tuple(route for listed in run_in_batches(reads, MAX_PARALLEL_READS) for route in listed)


def _read_concurrent_states(
    workers: "WorkersApi",
    deployments: tuple[WorkerDeployment, ...],
    newest: WorkerVersion,
    read: "Callable[[WorkersApi, str], MaintenanceState | None]",
) -> tuple[list[MaintenanceState], MaintenanceState | None]:
    """Read what other runs deployed between the base of the newest version and that version; also the base."""
    base = newest.variables.get(state.BASE_VARIABLE, "")
    older = [deployment.split[0][0] for deployment in deployments[1:]]
    if base not in older[1:]:
        return [], None
    reads = [partial(read, workers, version) for version in older[: older.index(base)]]
    *states, began = run_parallel_mixed([*reads, partial(_read_valid_maintenance_state, workers, base)])
    return [stored for stored in states if stored is not None], began


def read_older_states(
    workers: "WorkersApi", live: WorkerDeployment, enough: Callable[[list[MaintenanceState]], bool]
) -> list[MaintenanceState]:
    """Read older states, newest first, in batches until `enough`; skip versions that are not ours."""
    versions = sorted(workers.list_deployable_versions(WORKER), key=lambda version: version.number or 0, reverse=True)
    left = [version.id for version in versions if version.id not in live.serving_versions]
    states: list[MaintenanceState] = []
    while left and not enough(states):
        batch, left = left[:MAX_PARALLEL_READS], left[MAX_PARALLEL_READS:]
        states += filter(
            None, run_parallel_mixed([partial(_read_valid_maintenance_state, workers, version) for version in batch])
        )
    return states


def _read_maintenance_state(workers: "WorkersApi", version: str) -> MaintenanceState | None:
    return _parse_version(workers.read_version(WORKER, version))


def _read_valid_maintenance_state(workers: "WorkersApi", version: str) -> MaintenanceState | None:
    try:
        return _read_maintenance_state(workers, version)
    except Refused:
        return None


def _parse_readable(version: WorkerVersion) -> MaintenanceState | None:
    """Return the state of a version, as far as its variables can be read; None if it stores none."""
    try:
        return state.parse_maintenance_state(version.variables)
    except ValueError:
        return state.parse_readable_state(version.variables)


def _parse_version(version: WorkerVersion | None) -> MaintenanceState | None:
    """Return the state of a version; None if it stores none. Raises Refused if it is malformed."""
    try:
        return None if version is None else state.parse_maintenance_state(version.variables)
    except ValueError:
        raise malformed_state_refusal(version.id if version else "") from None


def _check_guarded_write(ctx: Context[Any], stored: StoredState, way: IngressWrite, target: str) -> ObservedState:
    """Check one route or subdomain, and that ops-maintenance is still as this run planned or stored.

    An open route counts as done, also if another run opened it. A closed one counts only while it is stored.
    """
    guard = stored.guard
    world, deployments = _read_ingress(ctx, stored, way, target)
    if guard is None:
        return world
    if world.state == ChangeState.CHANGED_ELSEWHERE or (
        world.state == ChangeState.DONE and guard.closing_windows is None
    ):
        return world
    is_closed = world.state == ChangeState.DONE
    if _matches_guard(ctx, stored, guard, deployments[0] if deployments else None):
        return world
    if guard.closing_windows is None:
        again, _ = _read_ingress(ctx, stored, way, target)
        if again.state == ChangeState.DONE:
            return again  # the other run opened it between the two reads
    lost = (
        "the route is closed but not stored: run maintenance again with --state off or --state on" if is_closed else ""
    )
    text = "; ".join(filter(None, [world.text, f"another run changed {WORKER}: {_describe_live(deployments)}", lost]))
    return _maintenance_changed(text)


def _matches_guard(
    ctx: Context[Any], stored: StoredState, guard: ConcurrencyGuard, newest: WorkerDeployment | None
) -> bool:
    """Return whether ops-maintenance is as the guard requires. A list that begins with an older deployment lags."""
    if newest is None:
        return False
    if guard.closing_windows is None:
        return newest.id == guard.live_deployment.id or newest.created_on < guard.live_deployment.created_on
    return (  # our deployment was read back before
        newest.id == guard.live_deployment.id
        or _was_made_by_this_run(ctx, newest.message)
        or _has_same_windows(ctx, stored, newest, guard.closing_windows, is_same=state.is_taken_over)
    )


def _read_ingress(
    ctx: Context[Any], stored: StoredState, way: IngressWrite, target: str
) -> tuple[ObservedState, tuple[WorkerDeployment, ...]]:
    """Return the state of one route or subdomain, and the deployments of ops-maintenance if they matter."""
    read = partial(stored.reads.read, ctx, target, with_deployments=stored.guard is not None)
    match way:
        case RepointRoute(route=route, worker=to):
            live, deployments = read(route.zone)
            return _compare_repointed(live, route, to), deployments
        case AddRoute(zone=zone, pattern=pattern):
            live, deployments = read(zone)
            return _compare_added(_find_route(live, pattern), pattern), deployments
        case RemoveRoute(route=route):
            live, deployments = read(route.zone)
            return _compare_removed(_find_route(live, route.pattern), route), deployments
        case SetSubdomain():
            return _check_subdomain(ctx, way), read()[1]


def _has_same_windows(
    ctx: Context[Any],
    stored: StoredState,
    deployment: WorkerDeployment,
    windows: tuple[MaintenanceWindow, ...],
    *,
    is_same: Callable[[Iterable[MaintenanceWindow], Iterable[MaintenanceWindow]], bool] = state.have_same_effect,
) -> bool:
    """Return whether another run's deployment stores the same windows; keep its run id, which its answers name."""
    version = deployment.split[0][0]
    if version not in stored.others:
        stored.others[version] = _read_maintenance_state(ctx.cloudflare.workers, version)
    others = stored.others[version]
    if others is None or not is_same(windows, others.windows):
        return False
    stored.run = others.run
    return True


def _send_write(ctx: Context[Any], write: MaintenanceWrite, stored: StoredState) -> None:
    """Send the write. Raises NotApplied for a route that another run or person deleted, and ProviderError."""
    match write:
        case CreateWorker():
            ctx.cloudflare.maintenance.create_worker(
                state.build_variables((), run=ctx.run_id, base=""), mark=_maintenance_mark(ctx)
            )
        case UploadState(windows=windows, live_deployment=live, reopened=reopened):
            variables = state.build_variables(windows, run=ctx.run_id, base=live.split[0][0], reopened=reopened)
            ctx.cloudflare.maintenance.upload_version(variables, mark=_maintenance_mark(ctx))
        case DeployState(live_deployment=live):
            if not stored.version:
                own = _own_maintenance_version(ctx, live)
                assert own is not None
                stored.version = own.id
            ctx.cloudflare.workers.deploy(WORKER, ((stored.version, 100.0),), mark=_maintenance_mark(ctx))
        case RepointRoute(route=route, worker=to):
            ctx.cloudflare.routes.update_route(route.zone, route.id, route.pattern, to)
        case AddRoute(zone=zone, pattern=pattern):
            ctx.cloudflare.routes.add_route(zone, pattern, WORKER)
        case RemoveRoute(route=route):
            if not ctx.cloudflare.routes.delete_route(route.zone, route.id):
                raise NotApplied(f"route {route.pattern} was deleted before", reason=Reason.REPLACED)
        case SetSubdomain(worker=worker, after=after):
            ctx.cloudflare.workers.set_subdomain(worker, after)


def _maintenance_mark(ctx: Context[Any]) -> marks.DeploymentMark:
    return marks.DeploymentMark(
        incident=ctx.request.incident, run=ctx.run_id, blames=None, text=getattr(ctx.params, "reason", "")
    )


def _was_made_by_this_run(ctx: Context[Any], message: str) -> bool:
    """Return whether the message of a deployment or version has the mark of this run."""
    mark = marks.parse_mark(message)
    return mark is not None and mark.run == ctx.run_id


def _own_maintenance_version(ctx: Context[Any], live: WorkerDeployment | None = None) -> WorkerVersion | None:
    """Return the version that this run uploaded. A run that closes and reopens uploads a second one."""
    versions = ctx.cloudflare.workers.list_deployable_versions(WORKER)
    served = live.serving_versions if live else ()
    return next(
        (each for each in versions if _was_made_by_this_run(ctx, each.message) and each.id not in served),
        None,
    )


def _maintenance_changed(text: str) -> ObservedState:
    return ObservedState(ChangeState.CHANGED_ELSEWHERE, text)


def _check_created(ctx: Context[Any]) -> ObservedState:
    deployments = ctx.cloudflare.workers.find_deployments(WORKER)
    if not deployments:
        return ObservedState(ChangeState.PLANNED, f"no Worker {WORKER}, as planned")
    own = _own_maintenance_version(ctx)
    if own is not None and own.id in deployments[0].serving_versions:
        return ObservedState(ChangeState.DONE, f"{WORKER} exists")
    return _maintenance_changed(f"{WORKER} was created elsewhere: {describe_deployment(deployments[0])}")


def _check_uploaded(ctx: Context[Any], stored: StoredState, store: UploadState) -> ObservedState:
    """Check the upload by reading it back; only values that can be read can be restored.

    An upload serves no traffic. Until ours is deployed, an upload of another run only changes our base.
    """
    own, deployments = (
        _own_maintenance_version(ctx, store.live_deployment),
        ctx.cloudflare.workers.find_deployments(WORKER) or (),
    )
    if not deployments or deployments[0].id != store.live_deployment.id:
        return _check_concurrent_state(ctx, stored, deployments, store.windows)
    if own is None:
        return ObservedState(ChangeState.PLANNED, "nothing was stored since the plan")
    version = ctx.cloudflare.workers.read_version(WORKER, own.id)
    if version is None:
        return ObservedState(ChangeState.PLANNED, f"version {own.id} is listed but not readable yet", is_uncertain=True)
    uploaded = _parse_readable(version)  # a window that was edited stays as it is
    if uploaded is None or uploaded.windows != store.windows:
        return _maintenance_changed(f"version {own.id} does not store the planned state")
    stored.version = own.id
    return ObservedState(ChangeState.DONE, f"version {own.id} stores the planned state")


def _check_maintenance_deployed(ctx: Context[Any], stored: StoredState, deploy: DeployState) -> ObservedState:
    """Check our deployment; any deployment between the planned one and ours must store the same windows."""
    deployments = ctx.cloudflare.workers.find_deployments(WORKER) or ()
    if deployments and deployments[0].id == deploy.live_deployment.id:
        return ObservedState(ChangeState.PLANNED, f"{WORKER} is as planned")
    since = list(itertools.takewhile(lambda each: each.id != deploy.live_deployment.id, deployments))
    ours = [each for each in since if _was_made_by_this_run(ctx, each.message)]
    if not ours or since[0] != ours[0]:
        return _check_concurrent_state(ctx, stored, deployments, deploy.windows)
    between = since[since.index(ours[-1]) + 1 :]
    if all(_has_same_windows(ctx, stored, each, deploy.windows) for each in between):
        stored.run = ctx.run_id
        return ObservedState(ChangeState.DONE, f"version {ours[0].split[0][0]} serves and stores all previous values")
    return _maintenance_changed(f"another run stored another state at the same time: {describe_deployment(between[0])}")


def _check_concurrent_state(
    ctx: Context[Any],
    stored: StoredState,
    deployments: tuple[WorkerDeployment, ...],
    windows: tuple[MaintenanceWindow, ...],
) -> ObservedState:
    if deployments and _has_same_windows(ctx, stored, deployments[0], windows):
        return ObservedState(
            ChangeState.DONE, f"another run stored the same state: {describe_deployment(deployments[0])}"
        )
    return _maintenance_changed(f"another run changed {WORKER}: {_describe_live(deployments)}")


def _describe_live(deployments: tuple[WorkerDeployment, ...]) -> str:
    return describe_deployment(deployments[0]) if deployments else "it was deleted"


def _compare_repointed(routes: Iterable[WorkerRoute], route: WorkerRoute, to: str) -> ObservedState:
    live = next((each for each in routes if each.id == route.id), None)
    if live is None or live.pattern != route.pattern:
        return _maintenance_changed(f"route {route.pattern} was deleted, or its pattern was changed")
    if live.script == to:
        return ObservedState(ChangeState.DONE, f"{route.pattern} → {to}")
    if live.script == route.script:
        return ObservedState(ChangeState.PLANNED, f"{route.pattern} → {live.script}, as planned")
    return _maintenance_changed(f"{route.pattern} → {live.script or 'no Worker'}")


def _find_route(routes: Iterable[WorkerRoute], pattern: str) -> WorkerRoute | None:
    return next((route for route in routes if route.pattern == pattern), None)


def _compare_added(live: WorkerRoute | None, pattern: str) -> ObservedState:
    if live is None:
        return ObservedState(ChangeState.PLANNED, f"no route {pattern}, as planned")
    if live.script == WORKER:
        return ObservedState(ChangeState.DONE, f"{pattern} → {WORKER}")
    return _maintenance_changed(f"route {pattern} → {live.script or 'no Worker'} was created elsewhere")


def _compare_removed(live: WorkerRoute | None, route: WorkerRoute) -> ObservedState:
    if live is None:
        return ObservedState(ChangeState.DONE, f"route {route.pattern} is deleted")
    if live == route:
        return ObservedState(ChangeState.PLANNED, f"{route.pattern} → {WORKER}, as planned")
    return _maintenance_changed(f"{route.pattern} → {live.script or 'no Worker'}, route {live.id}")


def _check_subdomain(ctx: Context[Any], switch: SetSubdomain) -> ObservedState:
    live = ctx.cloudflare.workers.read_subdomain(switch.worker)
    if live == switch.after:
        return ObservedState(ChangeState.DONE, str(live))
    return ObservedState(ChangeState.PLANNED if live == switch.before else ChangeState.CHANGED_ELSEWHERE, str(live))
