"""Maintenance of services around another change: on before it, off after it.

A service with `maintenance: switch` is closed by its switch, any other Worker by routes. Only this run's maintenance is
turned off again, and only while nobody took it over: `maintenance --state on` of a person does that.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from ops.cloudflare.types.zones import WorkerRoute
from ops.config.probes import ProbeSet
from ops.core.clock import format_utc, parse_utc
from ops.core.errors import OpsError, ProviderError, Reason
from ops.core.names import MAINTENANCE_WORKER, quote_name
from ops.core.next_step import SuggestedCommand
from ops.core.plan import Progress
from ops.core.threads import run_parallel, run_parallel_mixed
from ops.core.verdict import MaintenanceCheck
from ops.engine.context import Context
from ops.engine.step import ChangeState, ObservedState, Step
from ops.maintenance import by_routes, by_switch, steps, switch_closure
from ops.maintenance.by_routes import Closing, MaintenanceSnapshot, is_probe_closed
from ops.maintenance.routes import list_probe_addresses
from ops.maintenance.state import MaintenanceRequest, MaintenanceState, MaintenanceWindow, is_taken_over
from ops.maintenance.steps import ConcurrencyGuard, LaterStep, MaintenanceStep, StoredState
from ops.maintenance.writes import (
    SUBDOMAIN_OFF,
    AddRoute,
    DeployState,
    MaintenanceWrite,
    RemoveRoute,
    RepointRoute,
    SetSubdomain,
    UploadState,
    plan_reopening,
)

if TYPE_CHECKING:
    from ops.config import Service

DRAIN_SECONDS = 30.0
"""Longest work of a request after its response: developers.cloudflare.com/workers/runtime-apis/context/#waituntil"""
OPTIONAL = frozenset({Reason.NOT_PREPARED, Reason.NO_WAY_IN, Reason.TOO_MANY_ROUTES, Reason.NOT_AUTHORISED})
"""Reasons for which a service stays open, and the plan says so."""


class ClosedBy(Protocol):
    """Services that one method keeps closed during the run."""

    @property
    def services(self) -> "tuple[Service, ...]": ...

    @property
    def kept(self) -> "Mapping[str, datetime | None]":
        """Services that another run closed before this one → their automatic end. They stay closed."""
        ...

    @property
    def taken(self) -> Mapping[str, str]:
        """Services that this run closed → the run that took them over since, in words. They stay closed."""
        ...

    @property
    def turn_on(self) -> Sequence[Step]: ...

    @property
    def turn_off(self) -> Sequence[Step]: ...

    def find_closed(self, ctx: Context[Any], *, partly: bool = False) -> frozenset[str]:
        """Return the names of the services that are still closed; with `partly` also those with an open route."""
        ...

    def closed_probes(self, ctx: Context[Any]) -> ProbeSet: ...

    def reopened_probes(self, ctx: Context[Any], services: Mapping[str, ProbeSet]) -> Mapping[str, ProbeSet]:
        """Return the probes of its services that also prove that they are open again."""
        ...


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
    sent: set[str] = field(default_factory=set)
    """Targets of `turn_off` that were sent."""

    @property
    def services(self) -> "tuple[Service, ...]":
        return tuple(each.snapshot.service for each in self.closings)

    @property
    def own_windows(self) -> tuple[MaintenanceWindow, ...]:
        """Return the windows that this run stores first."""
        return tuple(each.window for each in self.closings if each.existing is None)

    @property
    def kept(self) -> Mapping[str, datetime | None]:
        return {
            each.window.service: parse_utc(each.window.until) if each.window.reopen_at_end else None
            for each in self.closings
            if each.existing is not None
        }

    def check(self, ctx: Context[Any], target: str) -> ObservedState:
        if self.reopening is None:
            found = self._plan_reopening(ctx)
            if isinstance(found, ObservedState):
                return found
            self.reopening = found
        step = steps.find_step(self.reopening, target)
        if step is None:
            state = ChangeState.NOT_WANTED if self.taken else ChangeState.DONE
            return ObservedState(state, f"nothing is left to reopen: {target}")
        world = step.check(ctx)
        if world.state != ChangeState.CHANGED_ELSEWHERE or not self._read_taken(ctx) or target in self.sent:
            return world
        return ObservedState(ChangeState.NOT_WANTED, f"not reopened: {world.text}")

    def apply(self, ctx: Context[Any], target: str) -> str:
        step = steps.find_step(self.reopening or (), target)
        assert step is not None
        self.sent.add(target)
        return step.apply(ctx)

    def find_closed(self, ctx: Context[Any], *, partly: bool = False) -> frozenset[str]:
        """Compare the routes and workers.dev too, which a deployment may have changed."""
        keys = {each.key for closing in self.closings for each in closing.window.closed}
        zones = sorted({zone for zone, _ in keys})
        previews = [each.window for each in self.closings if each.window.subdomain and not partly]
        worker, subdomains, *found = run_parallel_mixed(
            [
                partial(steps.read_worker, ctx.cloudflare.workers),
                lambda: {each.service: ctx.cloudflare.workers.read_subdomain(each.worker) for each in previews},
                *(partial(ctx.cloudflare.routes.list_routes, zone) for zone in zones),
            ]
        )
        reachable = {name for name, subdomain in subdomains.items() if subdomain != SUBDOMAIN_OFF}
        stored = worker.state if worker else MaintenanceState((), "")
        closed = {(each.zone, each.pattern) for each in itertools.chain(*found) if each.script == MAINTENANCE_WORKER}
        windows = (each.window for each in self.closings if stored.find_window(each.window.service, ""))
        return frozenset(
            each.service
            for each in windows
            if partly or ({route.key for route in each.closed} <= closed and each.service not in reachable)
        )

    def closed_probes(self, ctx: Context[Any]) -> ProbeSet:
        run, worker = self.stored.run, steps.read_worker(ctx.cloudflare.workers)
        if self.own_windows and worker and is_taken_over(self.own_windows, worker.state.windows):
            run = worker.state.run  # its answers name the run that took it over
        addresses = tuple(each for closing in self.closings for each in closing.addresses(run))
        service = self.services[0]
        return ProbeSet(service.url, (), service.verify, addresses=addresses)

    def reopened_probes(self, ctx: Context[Any], services: Mapping[str, ProbeSet]) -> Mapping[str, ProbeSet]:  # noqa: ARG002
        """Leave out the probes and addresses of paths that another run keeps closed."""
        found = dict[str, ProbeSet]()
        for window, snapshot in ((each.window, each.snapshot) for each in self.closings if each.existing is None):
            others, probes = snapshot.state, services[window.service].probes
            own = replace(window, closed=tuple(each for each in window.closed if each.key not in others.closed_routes))
            found[window.service] = replace(
                services[window.service],
                probes=tuple(each for each in probes if not is_probe_closed(each, others.windows_of(window.service))),
                addresses=tuple(MaintenanceCheck(url, way, is_off=False) for way, url in list_probe_addresses(own)),
            )
        return found

    def _plan_reopening(self, ctx: Context[Any]) -> Sequence[MaintenanceStep] | ObservedState:
        """Plan the writes of `turn_off` from the live state, which must still hold the windows of this run.

        Raises:
            ProviderError: ops-maintenance cannot be read, or its deployments lag.
        """
        snapshots = run_parallel([partial(_read, ctx, each.snapshot.service) for each in self.closings])
        live, windows = snapshots[0].worker.deployment, snapshots[0].worker.state.windows
        if self.stored.guard and live.id == self.stored.guard.live_deployment.id:
            text = f"Cloudflare lists the deployment of {MAINTENANCE_WORKER} from before this run"
            raise ProviderError(text, reason=Reason.MALFORMED_ANSWER, hint="Turn maintenance off in a minute.")
        self._note_taken(ctx, windows)
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
        return steps.build_steps(writes, StoredState(ConcurrencyGuard(live), ctx.run_id))

    def _read_taken(self, ctx: Context[Any]) -> bool:
        """Return whether another run took a window over, as the live state says now."""
        worker = steps.read_worker(ctx.cloudflare.workers)
        self._note_taken(ctx, worker.state.windows if worker else ())
        return bool(self.taken)

    def _note_taken(self, ctx: Context[Any], windows: tuple[MaintenanceWindow, ...]) -> None:
        stored = (MaintenanceState(windows, "").find_window(each.service, "") for each in self.own_windows)
        others = (each for each in stored if each is not None and each.reopened_by != ctx.run_id)
        self.taken = {each.service: _describe_owner(each) for each in others}


def _describe_owner(window: MaintenanceWindow) -> str:
    incident = f" for incident #{window.incident}" if window.incident else ""
    return f"run {quote_name(window.run)} took its maintenance over{incident}"


@dataclass(frozen=True)
class StaysOpen:
    """Why a service is not closed, and the command that would help."""

    reason: str
    suggested_command: SuggestedCommand | None = None


@dataclass(frozen=True)
class Closure:
    """Services that are closed while another change is made, and services that stay open."""

    methods: Sequence[ClosedBy] = ()
    open: Mapping[str, StaysOpen] = field(default_factory=dict)

    @property
    def services(self) -> frozenset[str]:
        """Return the names of the closed services."""
        return frozenset(service.name for each in self.methods for service in each.services)

    @property
    def kept(self) -> Mapping[str, datetime | None]:
        """Return the services that another run closed, with their automatic end. They stay closed."""
        return {name: end for each in self.methods for name, end in each.kept.items()}

    @property
    def taken(self) -> Mapping[str, str]:
        """Return the services that another run took over, with that run in words. They stay closed."""
        return {name: why for each in self.methods for name, why in each.taken.items()}

    @property
    def turn_on(self) -> tuple[Step, ...]:
        return tuple(step for each in self.methods for step in each.turn_on)

    @property
    def turn_off(self) -> tuple[Step, ...]:
        return tuple(step for each in self.methods for step in each.turn_off)

    def find_closed(self, ctx: Context[Any]) -> frozenset[str]:
        """Return the names of the services that are still closed. Raises ProviderError."""
        return frozenset(name for each in self.methods for name in each.find_closed(ctx))

    def find_kept(self, ctx: Context[Any]) -> list[str]:
        """Return the services that another run keeps closed now, at least in part. Raises ProviderError."""
        methods = [each for each in self.methods if each.kept or each.taken]
        kept = [{*each.kept, *each.taken} & each.find_closed(ctx, partly=True) for each in methods]
        return sorted(name for names in kept for name in names)

    def describe_kept(self, ctx: Context[Any]) -> tuple[str, SuggestedCommand | None]:
        """Describe the services that stay closed at the end, with the command that is next; empty if there is none.

        Raises:
            ProviderError: the state cannot be read.
        """
        names, taken = self.find_kept(ctx), self.taken
        before, later = [each for each in names if each not in taken], [each for each in names if each in taken]
        opened = sorted({*later} - self.find_closed(ctx)) if later else []
        opens = {name: ctx.suggest("maintenance", service=name, state=by_switch.OFF) for name in names}
        closes = {name: ctx.suggest("maintenance", service=name, state=by_switch.ON) for name in opened}
        parts = [f"{', '.join(before)} was in maintenance before this run and stays so"] if before else []
        parts += [f"{name} stays closed, because {taken[name]}; open it with `{opens[name].command}`" for name in later]
        parts += [f"a part of {name} is open; close it with `{command.command}`" for name, command in closes.items()]
        return "; ".join(parts), next(iter([*closes.values(), *opens.values()]), None)

    def closed_probes(self, ctx: Context[Any]) -> ProbeSet | None:
        """Return the probes that prove that maintenance is in effect; None if no service is closed."""
        found = [each.closed_probes(ctx) for each in self.methods]
        if not found:
            return None
        return replace(found[0], addresses=tuple(each for probes in found for each in probes.addresses))

    def reopened_probes(self, ctx: Context[Any], services: Mapping[str, ProbeSet]) -> ProbeSet:
        """Return the probes of all services that also prove that this run's maintenance is off."""
        found = dict(services)
        for each in self.methods:
            if each.turn_off:
                found |= each.reopened_probes(ctx, found)
        first, *others = sorted(found.values(), key=lambda probes: not probes.deciding)
        addresses = tuple(address for probes in found.values() for address in probes.addresses)
        return replace(first, addresses=addresses, other_services=tuple(others))

    def describe_remains(self, ctx: Context[Any], progress: Progress) -> str:
        """Describe the maintenance that a run leaves behind that ends now; empty if there is none."""
        ended = {*progress.changed, *progress.done_by_others}
        begun = {*progress.changed, *progress.replaced, *progress.unconfirmed, progress.pending_target}
        names = [
            service.name
            for each in self.methods
            if any(step.target in begun for step in each.turn_on)
            and not (each.turn_off and all(step.target in ended for step in each.turn_off))
            for service in each.services
        ]
        opens = (ctx.suggest("maintenance", service=name, state=by_switch.OFF) for name in names)
        commands = " and ".join(f"`{each.command}`" for each in opens)
        why = "; ".join(self.taken[name] for name in names if name in self.taken)
        because = f", because {why}," if why else ""
        text = f"{', '.join(names)} stays in maintenance{because} until you run {commands}" if names else ""
        if why and any(step.target in ended for step in self.turn_off):
            closes = ctx.suggest("maintenance", service=names[0], state=by_switch.ON).command
            return f"{text}. This run had reopened a part of it before: to be sure that it is closed, run `{closes}`"
        return text

    def warnings(self, ctx: Context[Any]) -> Iterator[str]:
        for name, why in self.open.items():
            yield f"{name} is not taken offline, and its writes go on: {why.reason}"
            if why.suggested_command:
                yield f"to take {name} offline, first run `{why.suggested_command.command}`"
        for name, end in self.kept.items():
            yield f"{name} is in maintenance already, and this run does not reopen it"
            if end:
                again = ctx.suggest("maintenance", service=name, state=by_switch.ON).command
                until = format_utc(end)
                yield f"that maintenance of {name} ends at {until}, also during this run. To keep it: `{again}`"


def plan_closure(ctx: Context[Any], services: "Iterable[Service]", message: str) -> Closure:
    """Plan to close the services. One that cannot be closed stays open, with the reason.

    Raises:
        Refused: only some paths are closed by the switch, and the run would open or close the others.
        ProviderError: the state cannot be read.
    """
    methods, left, closings = list[ClosedBy](), dict[str, StaysOpen](), list[Closing]()
    for each in services:
        try:
            if each.maintenance == "switch":
                methods.append(switch_closure.plan_switch(ctx, each, message))
            elif each.worker:
                closings.append(by_routes.choose_closing(ctx, _read(ctx, each, message)))
                by_routes.plan_writes(ctx, closings)
            else:
                left[each.name] = StaysOpen("a restore takes only Workers offline")
        except OpsError as error:
            if error.reason not in OPTIONAL:
                raise
            closings = [closing for closing in closings if closing.snapshot.service != each]
            closes = ctx.suggest("maintenance", service=each.name, state=by_switch.ON)
            left[each.name] = StaysOpen(error.message, error.suggested_command or closes)
    return Closure((*([_plan_routes(ctx, closings)] if closings else []), *methods), left)


def _read(ctx: Context[Any], service: "Service", message: str = "") -> MaintenanceSnapshot:
    """Read a service at the edge. The message and the end of another run's window stay."""
    request = MaintenanceRequest.during_run(message)
    snapshot = by_routes.read_snapshot(ctx, service, request)
    if existing := snapshot.state.find_window(service.name, ""):
        return replace(snapshot, request=replace(request, message="", reopen_at_end=existing.reopen_at_end))
    return snapshot


def _plan_routes(ctx: Context[Any], closings: Sequence[Closing]) -> RouteClosure:
    writes, guard, run = by_routes.plan_writes(ctx, closings)
    stored = StoredState(guard, run)
    on = list(steps.build_steps(writes, stored))
    if on:
        on[-1] = replace(on[-1], wait_after=DRAIN_SECONDS)
    own = [each for each in closings if each.existing is None]
    closing = dict.fromkeys(write for each in own for write in each.writes)
    windows = tuple(each for each in guard.closing_windows or () if each not in [closing.window for closing in own])
    back = [
        *map(_reverse, closing),
        UploadState(windows, guard.live_deployment),
        DeployState(guard.live_deployment, windows),
    ]
    closure = RouteClosure(closings, stored, on)
    closure.turn_off = [LaterStep.of(each, closure) for each in back] if own else []
    return closure


def _reverse(write: MaintenanceWrite) -> MaintenanceWrite:
    """Return the write that takes back one that closed a route or workers.dev."""
    match write:
        case RepointRoute(route=route, worker=worker):
            return RepointRoute(replace(route, script=worker), route.script or "")
        case AddRoute(zone=zone, pattern=pattern):
            return RemoveRoute(WorkerRoute(zone, "", pattern, MAINTENANCE_WORKER))
        case SetSubdomain(worker=worker, before=before, after=after):
            return SetSubdomain(worker, after, before)
    raise AssertionError(write)
