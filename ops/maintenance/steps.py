"""The steps of maintenance, each with its write and its comparison; and what is off now.

Shared by the runbook `maintenance` and by its preparation.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ops.cloudflare import deployment_mark
from ops.cloudflare.types.workers import Deployment, Version
from ops.cloudflare.types.zones import Route, Zone
from ops.core.errors import ProviderError, Reason, Refused
from ops.core.names import MAINTENANCE_WORKER as WORKER
from ops.core.next_step import SuggestedCommand
from ops.core.plan import Change
from ops.core.threads import run_all
from ops.engine.context import Context
from ops.engine.runbook import ChangeState, ObservedState
from ops.maintenance import state
from ops.maintenance.state import Block, Stored
from ops.maintenance.writes import Add, Create, Deploy, Remove, Step, Store, Switch, Turn, described
from ops.workers.plan_text import deployed

if TYPE_CHECKING:
    from ops.cloudflare.routes import Routes
    from ops.cloudflare.workers import Workers

PREPARE = "maintenance prepare"
AT_ONCE = 8
"""Versions of ops-maintenance, or zones, that are read in parallel."""


@dataclass(frozen=True)
class Standing:
    """What ops-maintenance is, as it was read for a plan."""

    deployment: Deployment
    version: Version
    stored: Stored


@dataclass(frozen=True)
class Guard:
    """What ops-maintenance must be while routes change, so that two runs at once cannot undo each other unseen."""

    live: Deployment
    """As it was planned: a run that opens goes on only while it serves."""
    closing: tuple[Block, ...] | None = None
    """A run that closes goes on only while this is stored: without it, nobody could open the route again."""


@dataclass
class Steps:
    """What each change of a plan is."""

    of: Mapping[Change, Step]
    guard: Guard | None = None
    run: str = ""
    """The run that stored what is in effect: this one, or another one that stored the same."""


def changes(steps: Iterable[Step], undo: SuggestedCommand | None) -> dict[Change, Step]:
    return {Change(*described(each), undo): each for each in steps}


def standing(workers: "Workers") -> Standing | None:
    """None where ops-maintenance was never prepared. Raises Refused where what stands there is not understood."""
    deployments = workers.find(WORKER)
    if not deployments:
        return None
    version = workers.version(WORKER, deployments[0].split[0][0])
    if version is None:
        raise ProviderError(
            f"the live version {deployments[0].split[0][0]} of {WORKER} cannot be read, so what is off is not known",
            reason=Reason.MALFORMED_ANSWER,
            hint="Start the same command again in a minute: a version that was just uploaded may not show yet.",
        )
    stored = _stored(version)
    if stored is None:
        raise Refused(
            f"the Worker {WORKER} is not ours: its live version has no variable {state.RUN}",
            reason=Reason.NOT_PREPARED,
            hint="If a colleague's deployment is there, roll it back; if the name was taken before, free it.",
        )
    return Standing(deployments[0], version, state.merged(stored, _beside(workers, deployments, version)))


def read_routes(routes: "Routes", zones: tuple[Zone, ...]) -> tuple[Route, ...]:
    """The routes of these zones, a few zones at a time."""
    found: list[Route] = []
    for start in range(0, len(zones), AT_ONCE):
        batch = zones[start : start + AT_ONCE]
        for of_zone in run_all([partial(routes.of_zone, zone.id) for zone in batch]):
            found += of_zone
    return tuple(found)


def _beside(workers: "Workers", deployments: tuple[Deployment, ...], newest: Version) -> list[Stored]:
    """What other runs deployed between the version that the newest one was built on, and the newest one."""
    base = newest.variables.get(state.BASE, "")
    older = [deployment.split[0][0] for deployment in deployments[1:]]
    if base not in older:
        return []
    found = run_all([partial(_read, workers, version) for version in older[: older.index(base)]])
    return [stored for stored in found if stored is not None]


def older(workers: "Workers", live: Deployment, enough: Callable[[list[Stored]], bool]) -> list[Stored]:
    """What earlier versions stored, newest first, read in batches until `enough`. One that is not ours is skipped."""
    versions = sorted(workers.deployable(WORKER), key=lambda version: version.number or 0, reverse=True)
    left = [version.id for version in versions if version.id not in live.serving]
    found: list[Stored] = []
    while left and not enough(found):
        batch, left = left[:AT_ONCE], left[AT_ONCE:]
        found += filter(None, run_all([partial(_read_leniently, workers, version) for version in batch]))
    return found


def _read(workers: "Workers", version: str) -> Stored | None:
    return _stored(workers.version(WORKER, version))


def _read_leniently(workers: "Workers", version: str) -> Stored | None:
    try:
        return _read(workers, version)
    except Refused:
        return None


def _stored(version: Version | None) -> Stored | None:
    """None where it holds nothing of ours. Raises Refused."""
    try:
        return None if version is None else state.parse(version.variables)
    except ValueError:
        raise Refused(
            f"what version {version.id if version else ''} of {WORKER} stored cannot be understood",
            reason=Reason.NOT_PREPARED,
            hint=f"Somebody changed its variables: deploy the version of {WORKER} before it again, then start again.",
        ) from None


def check(ctx: Context[Any], steps: Steps, change: Change) -> ObservedState:
    match steps.of[change]:
        case Create():
            return _created(ctx)
        case Store() as store:
            return _uploaded(ctx, steps, store)
        case Deploy() as deploy:
            return _deployed(ctx, steps, deploy)
        case Turn() | Add() | Remove() | Switch() as way:
            return _guarded(ctx, steps, way)


def _guarded(ctx: Context[Any], steps: Steps, way: Turn | Add | Remove | Switch) -> ObservedState:
    """How one way in stands, and whether ops-maintenance is still what this run planned or stored.

    A way in that is open as wanted counts as done, also if another run opened it. A closed one counts only while it is
    stored.
    """
    guard = steps.guard
    if guard is None:
        return _way(ctx, way)
    reads: list[Any] = run_all([lambda: _way(ctx, way), lambda: ctx.cloudflare.workers.find(WORKER)])
    world: ObservedState = reads[0]
    deployments: tuple[Deployment, ...] = reads[1] or ()
    if world.state == ChangeState.CHANGED_ELSEWHERE or (world.state == ChangeState.DONE and guard.closing is None):
        return world
    is_closed = world.state == ChangeState.DONE
    if guard.closing is None:
        holds = bool(deployments) and deployments[0].id == guard.live.id
    else:  # our deployment was read back: a list that begins with the one before it lags
        holds = bool(deployments) and (
            deployments[0].id == guard.live.id
            or _is_own(ctx, deployments[0].message)
            or _holds(ctx, steps, deployments[0], guard.closing)
        )
    if holds:
        return world
    if guard.closing is None and (again := _way(ctx, way)).state == ChangeState.DONE:
        return again  # the other run opened it between the two reads
    lost = "it is closed, and nothing stores how to open it: start --state off or --state on" if is_closed else ""
    text = "; ".join(filter(None, [world.text, f"another run changed {WORKER}: {_other(deployments)}", lost]))
    return ObservedState(ChangeState.CHANGED_ELSEWHERE, text)


def _way(ctx: Context[Any], way: Turn | Add | Remove | Switch) -> ObservedState:
    match way:
        case Turn(route=route, to=to):
            return _turned(ctx, route, to)
        case Add(zone=zone, pattern=pattern):
            return _added(ctx, zone, pattern)
        case Remove(route=route):
            return _removed(ctx, route)
        case Switch():
            return _switched(ctx, way)


def _holds(ctx: Context[Any], steps: Steps, deployment: Deployment, blocks: tuple[Block, ...]) -> bool:
    """Whether another run's deployment stores the same; its run is remembered, since its answers name it."""
    stored = _read(ctx.cloudflare.workers, deployment.split[0][0])
    if stored is None or not state.is_same(stored.blocks, blocks):
        return False
    steps.run = stored.run
    return True


def apply(ctx: Context[Any], steps: Steps, change: Change) -> str:
    match steps.of[change]:
        case Create():
            ctx.cloudflare.maintenance.create(state.variables((), run=ctx.run_id, base=""), mark=_mark(ctx))
        case Store(blocks=blocks, live=live, opened=opened):
            variables = state.variables(blocks, run=ctx.run_id, base=live.split[0][0], opened=opened)
            ctx.cloudflare.maintenance.upload(variables, mark=_mark(ctx))
        case Deploy():
            own = _own(ctx)
            assert own is not None
            ctx.cloudflare.workers.deploy(WORKER, ((own.id, 100.0),), mark=_mark(ctx))
        case Turn(route=route, to=to):
            ctx.cloudflare.routes.turn(route.zone, route.id, route.pattern, to)
        case Add(zone=zone, pattern=pattern):
            ctx.cloudflare.routes.add(zone, pattern, WORKER)
        case Remove(route=route):
            if not ctx.cloudflare.routes.delete(route.zone, route.id):
                return f"the route {route.pattern} was gone already"
        case Switch(worker=worker, after=after):
            ctx.cloudflare.workers.switch_subdomain(worker, after)
    return f"Cloudflare took it: {change.target}"


def _mark(ctx: Context[Any]) -> deployment_mark.Mark:
    return deployment_mark.Mark(
        incident=ctx.request.incident, run=ctx.run_id, blames=None, text=getattr(ctx.params, "reason", "")
    )


def _is_own(ctx: Context[Any], message: str) -> bool:
    found = deployment_mark.parse(message)
    return found is not None and found.run == ctx.run_id


def _own(ctx: Context[Any]) -> Version | None:
    return next((v for v in ctx.cloudflare.workers.deployable(WORKER) if _is_own(ctx, v.message)), None)


def _created(ctx: Context[Any]) -> ObservedState:
    deployments = ctx.cloudflare.workers.find(WORKER)
    if not deployments:
        return ObservedState(ChangeState.PLANNED, f"there is no Worker {WORKER}, as planned")
    own = _own(ctx)
    if own is not None and own.id in deployments[0].serving:
        return ObservedState(ChangeState.DONE, f"{WORKER} is there")
    return ObservedState(
        ChangeState.CHANGED_ELSEWHERE, f"{WORKER} was made by somebody else: {deployed(deployments[0])}"
    )


def _uploaded(ctx: Context[Any], steps: Steps, store: Store) -> ObservedState:
    """An upload serves nobody: until ours is deployed, another one's changes only what we build on.

    What can be read back is what can be put back: nothing else counts as stored.
    """
    own, deployments = _own(ctx), ctx.cloudflare.workers.find(WORKER) or ()
    if not deployments or deployments[0].id != store.live.id:
        return _stored_by_another(ctx, steps, deployments, store.blocks)
    if own is None:
        return ObservedState(ChangeState.PLANNED, "nothing was stored since the plan")
    version = ctx.cloudflare.workers.version(WORKER, own.id)
    if version is None:
        return ObservedState(ChangeState.PLANNED, f"version {own.id} is listed, and cannot be read yet", uncertain=True)
    stored = _stored(version)
    if stored is None or stored.blocks != store.blocks:
        return ObservedState(ChangeState.CHANGED_ELSEWHERE, f"version {own.id} does not hold what was to be stored")
    return ObservedState(ChangeState.DONE, f"version {own.id} holds it")


def _deployed(ctx: Context[Any], steps: Steps, deploy: Deploy) -> ObservedState:
    """Another run's between ours and the planned one must store the same: else nothing more is changed."""
    deployments = ctx.cloudflare.workers.find(WORKER) or ()
    if deployments and deployments[0].id == deploy.live.id:
        return ObservedState(ChangeState.PLANNED, f"{WORKER} is as planned")
    ours = [d for d in deployments if _is_own(ctx, d.message)]
    if not ours or deployments[0] != ours[0]:
        return _stored_by_another(ctx, steps, deployments, deploy.blocks)
    before = deployments[deployments.index(ours[-1]) + 1 :]
    between = list(itertools.takewhile(lambda each: each.id != deploy.live.id, before))
    if all(_holds(ctx, steps, each, deploy.blocks) for each in between):
        steps.run = ctx.run_id
        return ObservedState(ChangeState.DONE, f"version {ours[0].split[0][0]} serves, with all former values")
    return ObservedState(
        ChangeState.CHANGED_ELSEWHERE, f"another run stored something at the same moment: {deployed(between[0])}"
    )


def _stored_by_another(
    ctx: Context[Any], steps: Steps, deployments: tuple[Deployment, ...], blocks: tuple[Block, ...]
) -> ObservedState:
    if deployments and _holds(ctx, steps, deployments[0], blocks):
        return ObservedState(ChangeState.DONE, f"another run stored the same: {deployed(deployments[0])}")
    return ObservedState(ChangeState.CHANGED_ELSEWHERE, f"another run changed {WORKER}: {_other(deployments)}")


def _other(deployments: tuple[Deployment, ...]) -> str:
    return deployed(deployments[0]) if deployments else "it was deleted"


def _turned(ctx: Context[Any], route: Route, to: str) -> ObservedState:
    live = next((each for each in ctx.cloudflare.routes.of_zone(route.zone) if each.id == route.id), None)
    if live is None or live.pattern != route.pattern:
        return ObservedState(
            ChangeState.CHANGED_ELSEWHERE, f"the route {route.pattern} is gone, or has another pattern"
        )
    if live.script == to:
        return ObservedState(ChangeState.DONE, f"{route.pattern} → {to}")
    if live.script == route.script:
        return ObservedState(ChangeState.PLANNED, f"{route.pattern} → {live.script}, as planned")
    return ObservedState(ChangeState.CHANGED_ELSEWHERE, f"{route.pattern} → {live.script or 'no Worker'}")


def _at(ctx: Context[Any], zone: str, pattern: str) -> Route | None:
    return next((route for route in ctx.cloudflare.routes.of_zone(zone) if route.pattern == pattern), None)


def _added(ctx: Context[Any], zone: str, pattern: str) -> ObservedState:
    live = _at(ctx, zone, pattern)
    if live is None:
        return ObservedState(ChangeState.PLANNED, f"there is no route {pattern}, as planned")
    if live.script == WORKER:
        return ObservedState(ChangeState.DONE, f"{pattern} → {WORKER}")
    return ObservedState(
        ChangeState.CHANGED_ELSEWHERE, f"somebody else made the route {pattern} → {live.script or 'no Worker'}"
    )


def _removed(ctx: Context[Any], route: Route) -> ObservedState:
    live = _at(ctx, route.zone, route.pattern)
    if live is None:
        return ObservedState(ChangeState.DONE, f"there is no route {route.pattern} any more")
    if live == route:
        return ObservedState(ChangeState.PLANNED, f"{route.pattern} → {WORKER}, as planned")
    return ObservedState(
        ChangeState.CHANGED_ELSEWHERE, f"{route.pattern} → {live.script or 'no Worker'}, route {live.id}"
    )


def _switched(ctx: Context[Any], switch: Switch) -> ObservedState:
    live = ctx.cloudflare.workers.subdomain(switch.worker)
    if live == switch.after:
        return ObservedState(ChangeState.DONE, str(live))
    return ObservedState(ChangeState.PLANNED if live == switch.before else ChangeState.CHANGED_ELSEWHERE, str(live))
