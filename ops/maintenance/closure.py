"""Closure: maintenance of services around another change, on before it and off after it.

A service with `maintenance: switch` is closed by its switch, any other Worker by routes. Only this run's maintenance is
turned off again, and that of an earlier run of the same intent that did not do it (`ownership.py`). Nothing is
opened that somebody took over: `maintenance --state on` of a person does that.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from ops.config.probes import ProbeSet
from ops.core.clock import format_duration, format_utc
from ops.core.errors import OpsError, Reason, Refused
from ops.core.names import MAINTENANCE_WORKER
from ops.core.next_step import SuggestedCommand
from ops.core.plan import PlanSection, Progress
from ops.engine.context import Context
from ops.engine.step import Step
from ops.maintenance import closure_by_routes, closure_by_switch, plan_by_routes, plan_by_switch, plan_text, steps
from ops.maintenance.ownership import DUTY_LIFETIME, SameIntent
from ops.maintenance.plan_by_routes import Closing

if TYPE_CHECKING:
    from ops.config import Service

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
    def resumed(self) -> Mapping[str, str]:
        """Services that an earlier run of the same intent closed → that run. This run reopens them in its place."""
        ...

    @property
    def owner_texts(self) -> Mapping[str, str]:
        """Services that are closed before this run → who closed them, in words."""
        ...

    @property
    def taken(self) -> Mapping[str, str]:
        """Services that this run closed → the run that took them over since, in words. They stay closed."""
        ...

    @property
    def turn_on(self) -> Sequence[Step]: ...

    @property
    def turn_off(self) -> Sequence[Step]: ...

    @property
    def closing_targets(self) -> Sequence[str]:
        """Targets of `turn_on` that close something, or store that it is closed."""
        ...

    @property
    def opening_targets(self) -> Sequence[str]:
        """Targets of `turn_off` that open something; the others only store it."""
        ...

    def find_closed(self, ctx: Context[Any], *, partly: bool = False) -> frozenset[str]:
        """Return the names of the services that are still closed; with `partly` also those with a closed route."""
        ...

    def find_stored(self, ctx: Context[Any]) -> frozenset[str]:
        """Return the names of the services that are stored as closed, also if they are open."""
        ...

    def only_standing(self) -> "ClosedBy | None":
        """Return the method without what this run would close; None if nothing was closed before it."""
        ...

    def closed_probes(self, ctx: Context[Any]) -> ProbeSet: ...

    def reopened_probes(self, ctx: Context[Any], services: Mapping[str, ProbeSet]) -> Mapping[str, ProbeSet]:
        """Return the probes of its services that also prove that they are open again."""
        ...


@dataclass(frozen=True)
class StaysOpen:
    """Why a service is not closed, and the command that would help."""

    reason: str
    suggested_command: SuggestedCommand | None = None
    opens: str = ""
    """How to open it, if it may be closed already, because the stored state cannot be read; else empty."""

    @property
    def is_unread(self) -> bool:
        return bool(self.opens)


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
    def owner_texts(self) -> Mapping[str, str]:
        """Return the services that were closed before this run, with who closed them in words."""
        return {name: why for each in self.methods for name, why in each.owner_texts.items()}

    @property
    def resumed(self) -> Mapping[str, str]:
        """Return the services that an earlier run of the same intent closed, with that run. This run reopens them."""
        return {name: run for each in self.methods for name, run in each.resumed.items()}

    def only_standing(self) -> "Closure":
        """Return what was closed before this run, with the steps that reopen what it may reopen."""
        methods = (each.only_standing() for each in self.methods)
        unread = {name: why for name, why in self.open.items() if why.is_unread}
        return Closure([each for each in methods if each is not None], unread)

    @property
    def turn_on(self) -> tuple[Step, ...]:
        return tuple(step for each in self.methods for step in each.turn_on)

    @property
    def turn_off(self) -> tuple[Step, ...]:
        return tuple(step for each in self.methods for step in each.turn_off)

    def describe_calls(self, ctx: Context[Any]) -> tuple[PlanSection, ...]:
        """Describe the calls that close and reopen services by routes; none if there is no such service."""
        return tuple(
            plan_text.describe_calls(ctx, each.closing_calls, reserved=each.stored.reserved_calls)
            for each in self._route_closures
        )

    @property
    def _route_closures(self) -> Iterator[closure_by_routes.RouteClosure]:
        return (each for each in self.methods if isinstance(each, closure_by_routes.RouteClosure))

    def find_closed(self, ctx: Context[Any]) -> frozenset[str]:
        """Return the names of the services that are still closed. Raises ProviderError."""
        return frozenset(name for each in self.methods for name in each.find_closed(ctx))

    def find_kept(self, ctx: Context[Any]) -> list[str]:
        """Return the services that another run keeps closed now, at least in part. Raises ProviderError."""
        kept = [{*each.kept} & each.find_closed(ctx, partly=True) for each in self.methods if each.kept]
        taken = [{*each.taken} & each.find_stored(ctx) for each in self.methods if each.taken]
        return sorted({name for names in [*kept, *taken] for name in names})

    def describe_kept(self, ctx: Context[Any]) -> tuple[str, SuggestedCommand | None]:
        """Describe the services that stay closed at the end, with the command that is next; empty if there is none.

        Raises:
            ProviderError: the state cannot be read.
        """
        names, taken = self.find_kept(ctx), self.taken
        opened = {*names} - self.find_closed(ctx) if names else set()
        opens = {name: ctx.suggest("maintenance", service=name, state=plan_by_switch.OFF) for name in names}
        closes = {
            name: ctx.suggest("maintenance", service=name, state=plan_by_switch.ON)
            for name in names
            if name in opened and name in taken
        }
        parts = []
        for name in names:
            if name in taken:
                kept = "should be closed, and at least a part of it is open" if name in opened else "stays closed"
                parts.append(f"{name} {kept}, because {taken[name]}; open it with `{opens[name].command}`")
            else:
                part = ", and a part of it is open" if name in opened else ""
                owner_text = f", {self.owner_texts[name]}" if self.owner_texts.get(name) else ""
                stays = f"{name} was in maintenance before this run and stays so{part}{owner_text}"
                parts.append(f"{stays}; open it with `{opens[name].command}`")
        parts += [f"close all of {name} with `{command.command}`" for name, command in closes.items()]
        return "; ".join(parts), next(iter([*closes.values(), *opens.values()]), None)

    def closed_probes(self, ctx: Context[Any]) -> ProbeSet | None:
        """Return the probes that prove that maintenance is in effect; None if no service is closed."""
        probe_sets = [each.closed_probes(ctx) for each in self.methods]
        if not probe_sets:
            return None
        return replace(probe_sets[0], addresses=tuple(each for probes in probe_sets for each in probes.addresses))

    def reopened_probes(self, ctx: Context[Any], services: Mapping[str, ProbeSet]) -> ProbeSet:
        """Return the probes of all services that also prove that this run's maintenance is off."""
        probe_sets = dict(services)
        for each in self.methods:
            if each.turn_off:
                probe_sets |= each.reopened_probes(ctx, probe_sets)
        first, *others = sorted(probe_sets.values(), key=lambda probes: not probes.deciding)
        addresses = tuple(address for probes in probe_sets.values() for address in probes.addresses)
        return replace(first, addresses=addresses, other_services=tuple(others))

    def describe_remains(self, ctx: Context[Any], progress: Progress) -> str:
        """Describe the maintenance that a run leaves behind that ends now; empty if there is none."""
        remains = {name: left for each in self.methods for name, left in _find_remains(each, progress).items()}
        return ". ".join(self._describe_remain(ctx, name, left, progress) for name, left in remains.items())

    def _describe_remain(self, ctx: Context[Any], name: str, left: "Remains", progress: Progress) -> str:
        opens, closes = (
            ctx.suggest("maintenance", service=name, state=to).command for to in (plan_by_switch.OFF, plan_by_switch.ON)
        )
        ended = {*progress.changed, *progress.done_by_others}
        if name in self.taken:
            text = f"{name} stays in maintenance, because {self.taken[name]}, until you run `{opens}`"
            sure = f". This run had reopened a part of it before: to be sure that it is closed, run `{closes}`"
            return text + sure if any(step.target in ended for step in self.turn_off) else text
        within = format_duration(DUTY_LIFETIME.total_seconds())
        again = f"The same command, within {within} of the closing, reopens it after healthy checks"
        return f"{left.value.format(name=name)} until you run `{opens}`. {again}"

    def warnings(self, ctx: Context[Any]) -> Iterator[str]:
        for name, why in self.open.items():
            if why.is_unread:
                yield f"this run leaves {name} as it is, open or closed: {why.reason}"
                yield f"to open {name}, if it is closed: {why.opens}"
                continue
            yield f"{name} is not taken offline, and its writes go on: {why.reason}"
            if why.suggested_command:
                yield f"to take {name} offline, first run `{why.suggested_command.command}`"
        for name, run in self.resumed.items():
            yield f"{run} closed {name} and did not reopen it. This run does, after healthy checks"
        for name, end in self.kept.items():
            yield f"{name} is in maintenance already, and this run does not reopen it"
            if self.owner_texts.get(name):
                yield f"{name} was {self.owner_texts[name]}"
            if end:
                again = ctx.suggest("maintenance", service=name, state=plan_by_switch.ON).command
                until = format_utc(end)
                yield f"that maintenance of {name} ends at {until}, also during this run. To keep it: `{again}`"
        for each in self._route_closures:
            yield from plan_text.wait_warnings(ctx, each.closing_calls, reserved=each.stored.reserved_calls)


class Remains(Enum):
    """What a run leaves behind of the maintenance of a service, as far as its own changes tell."""

    CLOSED = "{name} stays in maintenance"
    PARTLY = "{name} is stored as closed, and only a part of it may be closed,"
    OPEN = "{name} is open, and may still be stored as closed"
    UNKNOWN = "{name} may stay in maintenance"


def _find_remains(method: ClosedBy, progress: Progress) -> Mapping[str, Remains]:
    """Return what is left of the services of the method that this run closed or resumed, and did not reopen."""
    ended = {*progress.changed, *progress.done_by_others}
    unclear = {*progress.replaced, *progress.unconfirmed, progress.pending_target}
    closing, off = {*method.closing_targets}, [step.target for step in method.turn_off]
    names = [each.name for each in method.services] if closing & (ended | unclear) else [*method.resumed]
    if not names or (off and {*off} <= ended):
        return {}
    opening = {*method.opening_targets}
    if closing and not closing & ended and not method.resumed:
        left = Remains.UNKNOWN
    elif off and opening <= ended:
        left = Remains.OPEN
    elif opening & unclear:
        left = Remains.PARTLY if len(opening) > 1 else Remains.UNKNOWN
    elif closing & ended < closing or opening & ended:
        left = Remains.PARTLY
    else:
        left = Remains.UNKNOWN if progress.is_doubtful else Remains.CLOSED
    return dict.fromkeys(names, left)


def plan_closure(ctx: Context[Any], services: "Iterable[Service]", message: str, intent: SameIntent) -> Closure:
    """Plan to close the services. One that cannot be closed stays open, with the reason.

    What an earlier run of the same `intent` closed and did not reopen, this run reopens.

    Raises:
        Refused: only some paths are closed by the switch, and the run would open or close the others.
        ProviderError: the state cannot be read.
    """
    methods, left, closings = list[ClosedBy](), dict[str, StaysOpen](), list[Closing]()
    for each in services:
        try:
            if each.maintenance == "switch":
                methods.append(closure_by_switch.plan_switch(ctx, each, message, intent))
            elif each.worker:
                snapshot = closure_by_routes.read_snapshot(ctx, each, message)
                closings.append(closure_by_routes.choose_closing(ctx, snapshot, intent))
                plan_by_routes.plan_writes(ctx, closings)
            else:
                left[each.name] = StaysOpen("a restore takes only Workers offline")
        except OpsError as error:
            if error.reason not in OPTIONAL:
                raise
            closings = [closing for closing in closings if closing.snapshot.service != each]
            closes = ctx.suggest("maintenance", service=each.name, state=plan_by_switch.ON)
            opens = _describe_opening(ctx, each.name, error)
            left[each.name] = StaysOpen(error.message, error.suggested_command or closes, opens)
    return Closure((*([closure_by_routes.plan_routes(ctx, closings)] if closings else []), *methods), left)


def _describe_opening(ctx: Context[Any], name: str, error: OpsError) -> str:
    """Return how to open a service whose stored state cannot be read; empty if ops-maintenance does not exist.

    Raises ProviderError.
    """
    if error.reason != Reason.NOT_PREPARED or error.suggested_command:
        return ""
    is_ours = _is_state_ours(ctx)
    opens = ctx.suggest("maintenance", service=name, state=plan_by_switch.OFF, release_all=is_ours).command
    return f"`{opens}`" if is_ours else f"roll {MAINTENANCE_WORKER} back to a version of ours, then run `{opens}`"


def _is_state_ours(ctx: Context[Any]) -> bool:
    """Return whether `--release-all` can read the stored state. Raises ProviderError."""
    try:
        return steps.read_maintenance_worker(ctx.cloudflare.workers, is_tolerant=True) is not None
    except Refused:
        return False
