"""The steps of maintenance, each with its write and its comparison; and what is off now.

Shared by the runbook `maintenance` and by its preparation.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ops.model import maintenance, mark
from ops.model.errors import ProviderError, Reason, Refused
from ops.model.maintenance import WORKER, Stored
from ops.model.maintenance_steps import Add, Create, Deploy, Remove, Step, Store, Switch, Turn, described
from ops.model.plan import Change, Plan
from ops.model.press import Press
from ops.model.routes import Route
from ops.model.worker import Deployment, Version
from ops.model.worker_plan import deployed
from ops.runbook import Context, State, World

if TYPE_CHECKING:
    from ops.cloudflare.workers import Workers

PREPARE = "maintenance prepare"
InParallel = Callable[[list[Callable[[], Any]]], list[Any]]


@dataclass(frozen=True)
class Standing:
    """What ops-maintenance is, as it was read for a plan."""

    deployment: Deployment
    version: Version
    stored: Stored


@dataclass(frozen=True)
class Steps:
    """What each change of a plan is."""

    of: Mapping[Change, Step]


def changes(steps: Iterable[Step], undo: Press | None) -> dict[Change, Step]:
    return {Change(*described(each), undo): each for each in steps}


def step(plan: Plan, change: Change) -> Step:
    assert isinstance(plan.details, Steps)
    return plan.details.of[change]


def standing(workers: "Workers", in_parallel: InParallel) -> Standing | None:
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
            f"the Worker {WORKER} is not ours: its live version has no variable {maintenance.RUN}",
            reason=Reason.NOT_PREPARED,
            hint="If a colleague's deployment is there, roll it back; if the name was taken before, free it.",
        )
    return Standing(
        deployments[0], version, maintenance.merged(stored, _beside(workers, in_parallel, deployments, version))
    )


def _beside(
    workers: "Workers", in_parallel: InParallel, deployments: tuple[Deployment, ...], newest: Version
) -> list[Stored]:
    """What other runs deployed between the version that the newest one was built on, and the newest one."""
    base = newest.variables.get(maintenance.BASE, "")
    older = [deployment.split[0][0] for deployment in deployments[1:]]
    if base not in older:
        return []
    found = in_parallel([partial(_read, workers, version) for version in older[: older.index(base)]])
    return [stored for stored in found if stored is not None]


def _read(workers: "Workers", version: str) -> Stored | None:
    return _stored(workers.version(WORKER, version))


def _stored(version: Version | None) -> Stored | None:
    """None where it holds nothing of ours. Raises Refused."""
    try:
        return None if version is None else maintenance.parse(version.variables)
    except ValueError:
        raise Refused(
            f"what version {version.id if version else ''} of {WORKER} stored cannot be understood",
            reason=Reason.NOT_PREPARED,
            hint=f"Somebody changed its variables: deploy the version of {WORKER} before it again, then start again.",
        ) from None


def check(ctx: Context[Any], plan: Plan, change: Change) -> World:
    match step(plan, change):
        case Create():
            return _created(ctx)
        case Store() as store:
            return _uploaded(ctx, store)
        case Deploy(live=live):
            return _deployed(ctx, live)
        case Turn(route=route, to=to):
            return _turned(ctx, route, to)
        case Add(zone=zone, pattern=pattern):
            return _added(ctx, zone, pattern)
        case Remove(route=route):
            return _removed(ctx, route)
        case Switch() as switch:
            return _switched(ctx, switch)


def apply(ctx: Context[Any], plan: Plan, change: Change) -> str:
    match step(plan, change):
        case Create():
            ctx.maintenance.create(maintenance.variables((), run=ctx.run_id, base=""), mark=_mark(ctx))
        case Store(blocks=blocks, live=live):
            variables = maintenance.variables(blocks, run=ctx.run_id, base=live.split[0][0])
            ctx.maintenance.upload(variables, mark=_mark(ctx))
        case Deploy():
            own = _own(ctx)
            assert own is not None
            ctx.workers.deploy(WORKER, ((own.id, 100.0),), mark=_mark(ctx))
        case Turn(route=route, to=to):
            ctx.routes.turn(route.zone, route.id, route.pattern, to)
        case Add(zone=zone, pattern=pattern):
            ctx.routes.add(zone, pattern, WORKER)
        case Remove(route=route):
            ctx.routes.delete(route.zone, route.id)
        case Switch(worker=worker, after=after):
            ctx.workers.switch_subdomain(worker, after)
    return f"Cloudflare took it: {change.target}"


def _mark(ctx: Context[Any]) -> mark.Mark:
    return mark.Mark(incident=ctx.incident, run=ctx.run_id, blames=None, text=getattr(ctx.params, "reason", ""))


def _is_own(ctx: Context[Any], message: str) -> bool:
    found = mark.parse(message)
    return found is not None and found.run == ctx.run_id


def _own(ctx: Context[Any]) -> Version | None:
    return next((v for v in ctx.workers.deployable(WORKER) if _is_own(ctx, v.message)), None)


def _created(ctx: Context[Any]) -> World:
    deployments = ctx.workers.find(WORKER)
    if not deployments:
        return World(State.PLANNED, f"there is no Worker {WORKER}, as planned")
    own = _own(ctx)
    if own is not None and own.id in deployments[0].serving:
        return World(State.DONE, f"{WORKER} is there")
    return World(State.MOVED, f"{WORKER} was made by somebody else: {deployed(deployments[0])}")


def _uploaded(ctx: Context[Any], store: Store) -> World:
    """An upload serves nobody: until ours is deployed, another one's changes only what we build on.

    What can be read back is what can be put back: nothing else counts as stored.
    """
    own, deployments = _own(ctx), ctx.workers.find(WORKER) or ()
    if not deployments or deployments[0].id != store.live.id:
        return World(State.MOVED, _other(deployments))
    if own is None:
        return World(State.PLANNED, "nothing was stored since the plan")
    version = ctx.workers.version(WORKER, own.id)
    if version is None:
        return World(State.PLANNED, f"version {own.id} is listed, and cannot be read yet", uncertain=True)
    stored = _stored(version)
    if stored is None or stored.blocks != store.blocks:
        return World(State.MOVED, f"version {own.id} does not hold what was to be stored")
    return World(State.DONE, f"version {own.id} holds it")


def _deployed(ctx: Context[Any], live: Deployment) -> World:
    """Another run's between ours and the planned one is unknown to ours: then nothing more is changed."""
    deployments = ctx.workers.find(WORKER) or ()
    if deployments and deployments[0].id == live.id:
        return World(State.PLANNED, f"{WORKER} is as planned")
    ours = [d for d in deployments if _is_own(ctx, d.message)]
    if not ours or deployments[0] != ours[0]:
        return World(State.MOVED, _other(deployments))
    before = deployments[deployments.index(ours[-1]) + 1 :]
    if before and before[0].id != live.id:
        return World(State.MOVED, f"another run stored something at the same moment: {deployed(before[0])}")
    return World(State.DONE, f"version {ours[0].split[0][0]} serves, with all former values")


def _other(deployments: tuple[Deployment, ...]) -> str:
    return f"{WORKER}: {deployed(deployments[0])}" if deployments else f"there is no Worker {WORKER} any more"


def _turned(ctx: Context[Any], route: Route, to: str) -> World:
    live = next((each for each in ctx.routes.of_zone(route.zone) if each.id == route.id), None)
    if live is None or live.pattern != route.pattern:
        return World(State.MOVED, f"the route {route.pattern} is gone, or has another pattern")
    if live.script == to:
        return World(State.DONE, f"{route.pattern} → {to}")
    if live.script == route.script:
        return World(State.PLANNED, f"{route.pattern} → {live.script}, as planned")
    return World(State.MOVED, f"{route.pattern} → {live.script or 'no Worker'}")


def _at(ctx: Context[Any], zone: str, pattern: str) -> Route | None:
    return next((route for route in ctx.routes.of_zone(zone) if route.pattern == pattern), None)


def _added(ctx: Context[Any], zone: str, pattern: str) -> World:
    live = _at(ctx, zone, pattern)
    if live is None:
        return World(State.PLANNED, f"there is no route {pattern}, as planned")
    if live.script == WORKER:
        return World(State.DONE, f"{pattern} → {WORKER}")
    return World(State.MOVED, f"somebody else made the route {pattern} → {live.script or 'no Worker'}")


def _removed(ctx: Context[Any], route: Route) -> World:
    live = _at(ctx, route.zone, route.pattern)
    if live is None:
        return World(State.DONE, f"there is no route {route.pattern} any more")
    if live == route:
        return World(State.PLANNED, f"{route.pattern} → {WORKER}, as planned")
    return World(State.MOVED, f"{route.pattern} → {live.script or 'no Worker'}, route {live.id}")


def _switched(ctx: Context[Any], switch: Switch) -> World:
    live = ctx.workers.subdomain(switch.worker)
    if live == switch.after:
        return World(State.DONE, str(live))
    return World(State.PLANNED if live == switch.before else State.MOVED, str(live))
