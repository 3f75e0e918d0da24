"""Take back the route that closes a Pages site, if it has no effect.

Cloudflare documents that a route precedes the custom domain of a Worker, and says nothing about that of a Pages site.
Only the answer of the host shows it.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ops.cloudflare.types.zones import WorkerRoute
from ops.core.errors import Decision, Reason
from ops.core.names import MAINTENANCE_WORKER as WORKER
from ops.core.next_step import SuggestedCommand
from ops.core.plan import RunOutcome
from ops.core.verdict import MaintenanceCheck, Verdict
from ops.engine.context import Context
from ops.engine.step import ChangeState, ObservedState, StepPlan
from ops.maintenance import steps
from ops.maintenance.refusals import no_effect_refusal
from ops.maintenance.steps import ConcurrencyGuard, LaterStep, MaintenanceStep, MaintenanceWorker, StoredState
from ops.maintenance.writes import AddRoute, DeployState, MaintenanceWrite, RemoveRoute, UploadState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops.maintenance.routes import IngressPaths
    from ops.maintenance.state import MaintenanceWindow


@dataclass
class SiteUndo:
    """Steps that take the route of a site back, and remove the window that this run stored."""

    window: "MaintenanceWindow"
    host: str
    steps: "Sequence[LaterStep]" = ()
    taken_back: "Sequence[MaintenanceStep] | None" = None
    """What `steps` turned out to be, by the state after the closing."""

    def check(self, ctx: Context[Any], target: str) -> ObservedState:
        """Compare. A site that ops-maintenance answers, at least in part, stays closed: it is no reason to open it."""
        if self.taken_back is None:
            seen = ctx.web.check_maintenance([MaintenanceCheck(f"https://{self.host}{self.window.path or '/'}")])
            if seen.verdict != Verdict.UNHEALTHY:
                return ObservedState(ChangeState.NOT_WANTED, f"not taken back: {seen.detail}")
            worker = steps.read_maintenance_worker(ctx.cloudflare.workers)
            if worker is None or self.window not in worker.state.windows:
                text = f"another run changed the maintenance of {self.window.scope}"
                return ObservedState(ChangeState.CHANGED_ELSEWHERE, text)
            self.taken_back = self._plan_site_undo(ctx, worker)
        step = steps.find_step(self.taken_back, target)
        return step.check(ctx) if step else ObservedState(ChangeState.DONE, f"nothing is left to take back: {target}")

    def apply(self, ctx: Context[Any], target: str) -> str:
        step = steps.find_step(self.taken_back or (), target)
        assert step is not None
        return step.apply(ctx)

    def _plan_site_undo(self, ctx: Context[Any], worker: MaintenanceWorker) -> "Sequence[MaintenanceStep]":
        live, remaining = worker.deployment, tuple(each for each in worker.state.windows if each != self.window)
        keys = {each.key for each in self.window.closed}
        zones = sorted({zone for zone, _ in keys})
        routes = (route for zone in zones for route in ctx.cloudflare.routes.list_routes(zone))
        writes: list[MaintenanceWrite] = [
            RemoveRoute(route) for route in routes if (route.zone, route.pattern) in keys and route.script == WORKER
        ]
        writes += [UploadState(remaining, live), DeployState(live, remaining)]
        return steps.build_maintenance_steps(writes, StoredState(ConcurrencyGuard(live), ctx.run_id))


def plan_undo(window: "MaintenanceWindow", host: str, writes: "Sequence[MaintenanceWrite]") -> SiteUndo | None:
    """Return the undo of a run that adds routes; None if it adds none."""
    added = [each for each in writes if isinstance(each, AddRoute)]
    store = next((each for each in writes if isinstance(each, UploadState)), None)
    if not added or store is None:
        return None
    remaining = tuple(each for each in store.windows if each != window)
    back: list[MaintenanceWrite] = [RemoveRoute(WorkerRoute(each.zone, "", each.pattern, WORKER)) for each in added]
    back += [UploadState(remaining, store.live_deployment), DeployState(store.live_deployment, remaining)]
    undo = SiteUndo(window, host)
    undo.steps = [LaterStep.of(each, undo) for each in back]
    return undo


def limit_claims(plan: StepPlan, ingress: "IngressPaths", undo: SiteUndo | None, counted: str) -> StepPlan:
    """Return the plan of a site: it closes one host, and takes its route back if that has no effect."""
    host = ingress.site_host
    open_ones = "its address on pages.dev, previews and other domains stay reachable"
    unsure = (  # [unsure: zone-precedence]
        f"Cloudflare does not document that a route precedes the custom domain of a site. If {host} still answers, "
        "this run takes the route back and ends as failed"
    )
    return replace(
        plan,
        summary=f"{plan.summary}; closed at {host} only",
        warnings=(f"closed at {host} only: {open_ones}", *plan.warnings),
        consequences=(*([unsure] if undo else []), *plan.consequences),
        done_message=f"{plan.done_message} at {host} only",
        proved_claim=f"closed at {host} only: {counted} 503; {open_ones}",
        undo_changes=tuple(undo.steps) if undo else (),
        if_undone=_outcome_if_undone(ingress) if undo else None,
    )


def _outcome_if_undone(ingress: "IngressPaths") -> RunOutcome:
    text = (
        f"not closed: {ingress.site_host} still answers, because a route does not precede the custom domain of this "
        "Pages site. This run took its route back"
    )
    return RunOutcome(Decision.FAILED, Reason.NO_WAY_IN, text)


def refuse_without_effect(
    ctx: Context[Any], ingress: "IngressPaths", window: "MaintenanceWindow", opens: SuggestedCommand
) -> None:
    """Raise Refused if the site answers although its route leads to ops-maintenance: an earlier run was lost."""
    seen = ctx.web.check_maintenance([MaintenanceCheck(f"https://{ingress.site_host}{window.path or '/'}")])
    if seen.verdict == Verdict.UNHEALTHY:
        raise no_effect_refusal(ingress.site_host, window, opens)
