"""Closure by routes: maintenance at the edge around another change."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from ops.cloudflare.types.workers import WorkerDeployment
from ops.cloudflare.types.zones import WorkerRoute
from ops.config.probes import ProbeSet
from ops.core.clock import parse_utc
from ops.core.errors import ProviderError, Reason
from ops.core.names import MAINTENANCE_WORKER, quote_name
from ops.core.threads import run_parallel, run_parallel_mixed
from ops.core.verdict import MaintenanceCheck
from ops.engine.context import Context
from ops.engine.step import ChangeState, ObservedState, Step
from ops.maintenance import plan_by_routes, steps
from ops.maintenance.ownership import SameIntent, describe_window_owners
from ops.maintenance.plan_by_routes import Closing, MaintenanceSnapshot, is_probe_closed
from ops.maintenance.routes import list_probe_addresses
from ops.maintenance.state import MaintenanceRequest, MaintenanceState, MaintenanceWindow, is_taken_over
from ops.maintenance.steps import ConcurrencyGuard, LaterStep, MaintenanceStep, MaintenanceWorker, StoredState
from ops.maintenance.writes import (
    SNAPSHOT_CALLS,
    SUBDOMAIN_OFF,
    AddRoute,
    DeployState,
    MaintenanceWrite,
    RemoveRoute,
    RepointRoute,
    SetSubdomain,
    UploadState,
    count_calls,
    plan_reopening,
)

if TYPE_CHECKING:
    from ops.config import Service

DRAIN_SECONDS = 30.0
"""Longest work of a request after its response: developers.cloudflare.com/workers/runtime-apis/context/#waituntil"""


@dataclass
class RouteClosure:
    """Maintenance at the edge of one or more services, in one version of ops-maintenance."""

    closings: Sequence[Closing]
    stored: StoredState
    """State that `turn_on` stores."""
    turn_on: Sequence[Step]
    turn_off: Sequence[Step] = ()
    reopening: Sequence[MaintenanceStep] | None = None
    """What `turn_off` turned out to be, by the state after the closing."""
    taken: Mapping[str, str] = field(default_factory=dict)
    owner_texts: Mapping[str, str] = field(default_factory=dict)
    sent: set[str] = field(default_factory=set)
    """Targets of `turn_off` that were sent."""
    closing_calls: int = 0
    """Calls to Cloudflare that `turn_on` makes."""

    @property
    def services(self) -> "tuple[Service, ...]":
        return tuple(each.snapshot.service for each in self.closings)

    @property
    def closing_targets(self) -> Sequence[str]:
        return [each.target for each in self.turn_on if not _stores_only(each)]

    @property
    def opening_targets(self) -> Sequence[str]:
        return [each.target for each in self.turn_off[:-2]]  # the last two store the state

    @property
    def own_windows(self) -> tuple[MaintenanceWindow, ...]:
        """Return the windows that this run stores first."""
        return tuple(each.window for each in self.closings if each.is_own)

    @property
    def kept(self) -> Mapping[str, datetime | None]:
        return {
            each.window.service: parse_utc(each.window.until) if each.window.reopen_at_end else None
            for each in self.closings
            if not each.is_own
        }

    @property
    def resumed(self) -> Mapping[str, str]:
        return {each.window.service: each.resumed for each in self.closings if each.resumed}

    def check(self, ctx: Context[Any], target: str) -> ObservedState:
        if self.reopening is None:
            reopening = self._plan_reopening(ctx)
            if isinstance(reopening, ObservedState):
                return reopening
            self.reopening = reopening
        step = steps.find_step(self.reopening, target)
        if step is None:
            state = ChangeState.NOT_WANTED if self.taken else ChangeState.DONE
            return ObservedState(state, f"nothing is left to reopen: {target}")
        world = step.check(ctx)
        if world.state != ChangeState.CHANGED_ELSEWHERE or not self._read_taken(ctx) or target in self.sent:
            return world
        return ObservedState(ChangeState.NOT_WANTED, f"not reopened: {world.text}")

    def only_standing(self) -> "RouteClosure | None":
        standing = [
            replace(each, window=stored)
            for each in self.closings
            if (stored := each.snapshot.worker.state.find_window(each.window.service, "")) is not None
        ]
        if not standing:
            return None
        state = standing[0].snapshot.worker.state
        closure = replace(self, closings=standing, stored=StoredState(None, state.run), turn_on=(), closing_calls=0)
        own = closure.own_windows
        remaining = tuple(each for each in state.windows if each not in own)
        routes = [write for each in standing for write in _plan_opening(each, own, remaining)]
        closure.turn_off = closure.later_steps(routes, standing[0].snapshot.worker.deployment, remaining)
        return closure

    def later_steps(
        self, routes: Iterable[MaintenanceWrite], live: WorkerDeployment, remaining: tuple[MaintenanceWindow, ...]
    ) -> Sequence[Step]:
        """Return the steps of `turn_off`; empty if this run reopens nothing."""
        writes = [*dict.fromkeys(routes), UploadState(remaining, live), DeployState(live, remaining)]
        return [LaterStep.of(each, self) for each in writes] if self.own_windows else []

    def apply(self, ctx: Context[Any], target: str) -> str:
        step = steps.find_step(self.reopening or (), target)
        assert step is not None
        self.sent.add(target)
        return step.apply(ctx)

    def find_closed(self, ctx: Context[Any], *, partly: bool = False) -> frozenset[str]:
        """Compare the routes and workers.dev too, which a deployment may have changed."""
        keys = {each.key for closing in self.closings for each in closing.window.closed}
        zones = sorted({zone for zone, _ in keys})
        previews = [each.window for each in self.closings if each.window.subdomain]
        worker, subdomains, *routes = run_parallel_mixed(
            [
                partial(steps.read_maintenance_worker, ctx.cloudflare.workers),
                lambda: {each.service: ctx.cloudflare.workers.read_subdomain(each.worker) for each in previews},
                *(partial(ctx.cloudflare.routes.list_routes, zone) for zone in zones),
            ]
        )
        off = {name for name, subdomain in subdomains.items() if subdomain == SUBDOMAIN_OFF}
        live = {(each.zone, each.pattern) for each in itertools.chain(*routes) if each.script == MAINTENANCE_WORKER}
        stored = self._stored_in(worker)
        ways = {
            each.service: [
                *(route.key in live for route in each.closed),
                *([each.service in off] if each.subdomain else []),
            ]
            for each in (closing.window for closing in self.closings)
            if each.service in stored
        }
        return frozenset(name for name, closed in ways.items() if (any if partly else all)(closed))

    def find_stored(self, ctx: Context[Any]) -> frozenset[str]:
        return self._stored_in(steps.read_maintenance_worker(ctx.cloudflare.workers))

    def _stored_in(self, worker: MaintenanceWorker | None) -> frozenset[str]:
        state = worker.state if worker else MaintenanceState((), "")
        names = (each.window.service for each in self.closings)
        return frozenset(name for name in names if state.find_window(name, ""))

    def closed_probes(self, ctx: Context[Any]) -> ProbeSet:
        run, worker = self.stored.run, steps.read_maintenance_worker(ctx.cloudflare.workers)
        if self.own_windows and worker and is_taken_over(self.own_windows, worker.state.windows):
            run = worker.state.run  # its answers name the run that took it over
        addresses = tuple(each for closing in self.closings for each in closing.addresses(run))
        service = self.services[0]
        return ProbeSet(service.url, (), service.verify, addresses=addresses)

    def reopened_probes(self, ctx: Context[Any], services: Mapping[str, ProbeSet]) -> Mapping[str, ProbeSet]:  # noqa: ARG002
        """Leave out the probes and addresses of paths that another run keeps closed."""
        probe_sets = dict[str, ProbeSet]()
        for closing in (each for each in self.closings if each.is_own):
            window, former = closing.window, closing.snapshot.state
            others = replace(former, windows=tuple(each for each in former.windows if each != closing.existing))
            probes = services[window.service].probes
            own = replace(window, closed=tuple(each for each in window.closed if each.key not in others.closed_routes))
            probe_sets[window.service] = replace(
                services[window.service],
                probes=tuple(each for each in probes if not is_probe_closed(each, others.windows_of(window.service))),
                addresses=tuple(MaintenanceCheck(url, way, is_off=False) for way, url in list_probe_addresses(own)),
            )
        return probe_sets

    def _plan_reopening(self, ctx: Context[Any]) -> Sequence[MaintenanceStep] | ObservedState:
        """Plan the writes of `turn_off` from the live state, which must still hold the windows of this run.

        Raises:
            ProviderError: ops-maintenance cannot be read, or its deployments lag.
        """
        snapshots = run_parallel([partial(read_snapshot, ctx, each.snapshot.service) for each in self.closings])
        live, windows = snapshots[0].worker.deployment, snapshots[0].worker.state.windows
        if self.stored.guard and live.id == self.stored.guard.live_deployment.id:
            text = f"Cloudflare lists the deployment of {MAINTENANCE_WORKER} from before this run"
            raise ProviderError(text, reason=Reason.MALFORMED_ANSWER, hint="Turn maintenance off in a minute.")
        self._note_taken(windows)
        stored = [each for each in self.own_windows if MaintenanceState(windows, "").find_window(each.service, "")]
        own = [each for each in stored if each.service not in self.taken]
        if changed := [each.scope for each in own if each not in windows]:
            text = f"another run or person changed the maintenance of {', '.join(changed)}"
            return ObservedState(ChangeState.CHANGED_ELSEWHERE, text)
        remaining = tuple(each for each in windows if each not in own)
        writes = list[MaintenanceWrite]()
        for snapshot in snapshots:
            of_service = tuple(each for each in own if each.service == snapshot.service.name)
            writes += plan_reopening(snapshot.ingress, of_service, remaining)[0]
        writes += [UploadState(remaining, live), DeployState(live, remaining)] if own else []
        return steps.build_maintenance_steps(writes, StoredState(ConcurrencyGuard(live), ctx.run_id))

    def _read_taken(self, ctx: Context[Any]) -> bool:
        """Return whether another run took a window over, as the live state says now."""
        worker = steps.read_maintenance_worker(ctx.cloudflare.workers)
        self._note_taken(worker.state.windows if worker else ())
        return bool(self.taken)

    def _note_taken(self, windows: tuple[MaintenanceWindow, ...]) -> None:
        stored = (MaintenanceState(windows, "").find_window(each.service, "") for each in self.own_windows)
        duties = {each.service: each.reopened_by for each in self.own_windows}
        others = (each for each in stored if each is not None and each.reopened_by != duties[each.service])
        self.taken = {each.service: _describe_owner(each) for each in others}


def _describe_owner(window: MaintenanceWindow) -> str:
    incident = f" for incident #{window.incident}" if window.incident else ""
    return f"run {quote_name(window.run)} took its maintenance over{incident}"


def _stores_only(step: Step) -> bool:
    """Return whether the step uploads a version, which serves nothing yet."""
    return isinstance(step, MaintenanceStep) and isinstance(step.write, UploadState)


def choose_closing(ctx: Context[Any], snapshot: MaintenanceSnapshot, intent: SameIntent) -> Closing:
    """Choose what to close; a stored window that this run may reopen becomes its own."""
    closing = plan_by_routes.choose_closing(ctx, snapshot)
    stored = snapshot.worker.state.find_window(snapshot.service.name, "")
    run = intent.find_run(stored) if stored else ""
    if not run:
        return closing
    return replace(closing, window=replace(closing.window, reopened_by=ctx.run_id), resumed=run)


def read_snapshot(ctx: Context[Any], service: "Service", message: str = "") -> MaintenanceSnapshot:
    """Read a service at the edge. The message and the end of another run's window stay."""
    request = MaintenanceRequest.during_run(message)
    snapshot = plan_by_routes.read_snapshot(ctx, service, request)
    if existing := snapshot.state.find_window(service.name, ""):
        return replace(snapshot, request=replace(request, message="", reopen_at_end=existing.reopen_at_end))
    return snapshot


def plan_routes(ctx: Context[Any], closings: Sequence[Closing]) -> RouteClosure:
    writes, guard, run = plan_by_routes.plan_writes(ctx, closings)
    stored = StoredState(guard, run)
    on = list(steps.build_maintenance_steps(writes, stored))
    if on:
        on[-1] = replace(on[-1], wait_after=DRAIN_SECONDS)
    own = [each for each in closings if each.is_own]
    windows = tuple(each for each in guard.closing_windows or () if each not in [closing.window for closing in own])
    now, existing = ctx.clock.now(), [each.existing for each in closings if each.existing]
    owner_texts = {each.service: describe_window_owners(each, now) for each in existing}
    closure = RouteClosure(closings, stored, on, owner_texts=owner_texts)
    back = [
        write
        for each in own
        for write in (*map(_reverse_write, each.writes), *_plan_opening(each, [each.existing], windows))
    ]
    closure.turn_off = closure.later_steps(back, guard.live_deployment, windows)
    closure.closing_calls = count_calls(writes)
    if own:
        opening = [*back, UploadState(windows, guard.live_deployment), DeployState(guard.live_deployment, windows)]
        stored.reserved_calls = count_calls(opening) + SNAPSHOT_CALLS * len(closings)
    return closure


def _plan_opening(
    closing: Closing, closed: Iterable[MaintenanceWindow | None], remaining: tuple[MaintenanceWindow, ...]
) -> list[MaintenanceWrite]:
    """Return the writes that open what is closed now of the windows."""
    windows = tuple(each for each in closed if each and each.service == closing.window.service)
    return plan_reopening(closing.snapshot.ingress, windows, remaining)[0]


def _reverse_write(write: MaintenanceWrite) -> MaintenanceWrite:
    """Return the write that takes back one that closed a route or workers.dev."""
    match write:
        case RepointRoute(route=route, worker=worker):
            return RepointRoute(replace(route, script=worker), route.script or "")
        case AddRoute(zone=zone, pattern=pattern):
            return RemoveRoute(WorkerRoute(zone, "", pattern, MAINTENANCE_WORKER))
        case SetSubdomain(worker=worker, before=before, after=after):
            return SetSubdomain(worker, after, before)
    raise AssertionError(write)
