"""Roll a Pages site back to an earlier deployment; `pages/live_deployment.py` chooses it.

A rollback leaves no entry in the project's history, so the runbook compares the site's content with the deployments.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops.cloudflare.types.pages import PagesDeployment, PagesProject
from ops.core.clock import format_utc
from ops.core.errors import Reason, Refused
from ops.core.next_step import SuggestedCommand
from ops.core.plan import Change, Plan
from ops.engine.context import Context
from ops.engine.runbook import TokenPermissions, param, require_service
from ops.engine.step import ChangeState, ObservedState
from ops.pages import live_deployment as target
from ops.pages import observed_content, plan_text, steps
from ops.pages.live_deployment import AcceptedRollback, PagesTargetChoice
from ops.pages.observed_content import ObservedPages, SiteObservation
from ops.pages.plan_text import PagesHistory, describe_deployment, short_deployment_id
from ops.pages.steps import FindContent, PagesRunbook, PagesSnapshot

if TYPE_CHECKING:
    from ops.config import Service


class RollbackPages(PagesRunbook["RollbackPages.Params", "RollbackPages.Details"]):
    """Roll a Pages site back to an earlier deployment."""

    @dataclass(frozen=True)
    class Params:
        service: str = param("Service in ops.yml to roll back")
        to: str = param("Deployment: ID, first 8 characters, or URL (default: last known good one)", default="")
        reason: str = param("Reason, shown in the timeline", default="")

    @dataclass(frozen=True)
    class Details:
        """Values of the plan that `check` and `apply` use."""

        service: "Service"
        target: PagesDeployment
        live: PagesDeployment | None
        """None if it could not be identified and a person named the target."""
        observed: SiteObservation

    name = "rollback-pages"
    when = "A new deployment of a Pages site breaks the UI or its assets, or its build fails"
    menu_rank = 1
    params = Params
    example = Params(service="frontend")
    writes = (("POST", "/accounts/*/pages/projects/*/deployments/*/rollback"),)
    permissions = TokenPermissions(cloudflare=("Pages Write",))

    def content_finder(self, ctx: Context[Params], service: "Service", plan: Plan[Details]) -> FindContent:
        if not plan.changes:
            return super().content_finder(ctx, service, plan)
        details, observed = plan.details, plan.details.observed
        canonical = observed.project.canonical
        replaced = details.live or (canonical if canonical != details.target else None)
        wanted = target.wanted_content(service, observed.deployments, details.target, replaced)
        return lambda: wanted

    def describe_repeat(self, ctx: Context[Params]) -> str:
        elsewhere = " from this machine. From another one, or from a new job, it sends the rollback once more"
        return f"it waits for the site, and sends nothing again{'' if ctx.request.incident else elsewhere}."

    def preflight(self, ctx: Context[Params]) -> Plan[Details]:
        service = require_service(ctx, self.kind)
        snapshot = steps.read_snapshot(ctx, service, ctx.params.to)
        history, accepted = snapshot.history, snapshot.accepted
        if accepted and accepted.replaced and snapshot.requested == accepted.replaced:
            raise _not_shown_refusal(service, accepted)
        if history is None:
            return _plan_without_live(ctx, service, snapshot)
        choice = history.choice
        if nothing := plan_text.explain_nothing_to_do(history, choice, snapshot.requested):
            return _plan_nothing(ctx, history, choice, *nothing)
        steps.check_not_superseded(ctx, history.deployments)
        chosen = snapshot.requested or choice.target
        if chosen is None:
            raise _no_target(ctx, service, choice)
        return _build_plan(
            ctx,
            history,
            choice,
            RollbackPages.Details(service, chosen, history.serving_deployment, snapshot.observed),
            snapshot,
        )

    def check(self, ctx: Context[Params], plan: Plan[Details], change: Change) -> ObservedState:  # noqa: ARG002  one change
        details = plan.details
        project, deployments, site = steps.read_current_state(ctx, details.service)
        if target.newly_available(details.observed.deployments, deployments):  # deployed after the site was read
            site = steps.read_compared_paths(ctx, details.service, details.service.url)
        return _observe(details, project, deployments, site)

    def apply(self, ctx: Context[Params], plan: Plan[Details], change: Change) -> str:  # noqa: ARG002  one change
        details = plan.details
        ctx.cloudflare.pages.roll_back(details.service.pages, details.target.id)
        return f"Cloudflare accepted the rollback to {details.target.id}"


def _observe(
    details: RollbackPages.Details, project: PagesProject, deployments: tuple[PagesDeployment, ...], site: ObservedPages
) -> ObservedState:
    """Compare the site with the deployments; where that is not clear, use Cloudflare's canonical deployment."""
    previous, target_deployment, canonical = details.live, details.target, project.canonical_id
    newer = tuple(describe_deployment(d) for d in target.newly_available(details.observed.deployments, deployments))
    if previous is None:
        return _observe_without_live(details, canonical, newer, site)
    if observed_content.site_digest(site) is None:
        return ObservedState(
            ChangeState.CHANGED_ELSEWHERE,
            f"the site could not be read: {observed_content.first_read_failure(site)}",
            is_uncertain=True,
        )
    matches = details.observed.matching_deployments(site)
    is_canonical = canonical == target_deployment.id != details.observed.project.canonical_id
    if target_deployment.id in matches and previous.id not in matches:
        lags = f"Cloudflare still names {canonical[:8] or 'none'} as canonical: it does not follow rollbacks, or lags"
        return ObservedState(
            ChangeState.DONE,
            f"{short_deployment_id(target_deployment)} is live",
            newer,
            () if canonical == target_deployment.id else (lags,),
        )
    if newer:  # the site still shows the previous one, so either deployment may appear next
        return ObservedState(ChangeState.CHANGED_ELSEWHERE, newer[0], is_uncertain=previous.id in matches)
    if is_canonical and (previous.id in matches) == (target_deployment.id in matches):
        return _done_without_proof(target_deployment)
    if previous.id in matches:
        return _observe_previous(
            details, previous, canonical, is_equal=target_deployment.id in matches, is_canonical=is_canonical
        )
    others = sorted(name[:8] for name in matches)
    text = f"the site matches {' or '.join(others)}" if others else "the site matches no deployment that was read"
    return ObservedState(ChangeState.CHANGED_ELSEWHERE, text, is_uncertain=not others)


def _done_without_proof(target: PagesDeployment) -> ObservedState:
    name = short_deployment_id(target)
    note = f"no compared path proves that {name} is live; Cloudflare names it as canonical"
    return ObservedState(ChangeState.DONE, f"{name} is canonical", notes=(note,))


def _observe_without_live(
    details: RollbackPages.Details, canonical: str, newer: tuple[str, ...], site: ObservedPages
) -> ObservedState:
    """Return whether the target is live, if the plan could not identify the live deployment."""
    target_deployment, before = details.target, details.observed.project.canonical_id
    if details.observed.has_switched_to(target_deployment.id, site):
        return ObservedState(ChangeState.DONE, f"{short_deployment_id(target_deployment)} is live", newer)
    if newer:
        return ObservedState(ChangeState.CHANGED_ELSEWHERE, newer[0], is_uncertain=True)
    if canonical == target_deployment.id != before:
        return _done_without_proof(target_deployment)
    if canonical != before:
        return ObservedState(
            ChangeState.CHANGED_ELSEWHERE, f"{canonical[:8] or 'nothing'} became canonical", is_uncertain=True
        )
    why = observed_content.first_read_failure(site) or "the site does not match it"
    own = details.observed.own.get(target_deployment.id, ())
    return ObservedState(
        ChangeState.PLANNED,
        f"no compared path proves that {short_deployment_id(target_deployment)} is live: {why}",
        is_uncertain=True,
        is_provable=bool(own) and observed_content.site_digest(own) is not None,
    )


def _observe_previous(
    details: RollbackPages.Details, live: PagesDeployment, canonical: str, *, is_equal: bool, is_canonical: bool
) -> ObservedState:
    """Return the state while the site still shows the previous deployment."""
    previous, target_deployment = short_deployment_id(live), short_deployment_id(details.target)
    if is_canonical:
        text = f"{target_deployment} is canonical, but the site still matches {previous}"
        return ObservedState(ChangeState.PLANNED, text, is_uncertain=True)
    if canonical not in {details.observed.project.canonical_id, live.id}:
        return ObservedState(
            ChangeState.CHANGED_ELSEWHERE, f"{canonical[:8] or 'nothing'} became canonical", is_uncertain=True
        )
    if is_equal:
        return ObservedState(
            ChangeState.PLANNED,
            f"no compared path distinguishes {previous} from {target_deployment}",
            is_uncertain=True,
            is_provable=False,
        )
    return ObservedState(ChangeState.PLANNED, f"the site still shows {previous}", may_lag=True)


def _plan_nothing(
    ctx: Context[RollbackPages.Params], history: PagesHistory, choice: PagesTargetChoice, summary: str, reason: Reason
) -> Plan[RollbackPages.Details]:
    """Return a plan without changes: the run probes what is live and suggests a next step."""
    return Plan(
        summary=summary,
        sections=plan_text.build_sections(history, choice, history.serving_deployment, by_rule=True),
        reason=reason,
        next_step=_suggest_rollback(ctx, choice.target.id) if choice.target else None,
    )


def _plan_without_live(
    ctx: Context[RollbackPages.Params], service: "Service", snapshot: PagesSnapshot
) -> Plan[RollbackPages.Details]:
    """Plan the rollback to a target that a person named, with a warning. Raises Refused without such a target."""
    chosen, project = snapshot.requested, snapshot.observed.project
    if chosen is None:
        raise steps.live_unknown_refusal(ctx, service, snapshot)
    steps.check_not_superseded(ctx, snapshot.observed.deployments)
    why = steps.explain_unknown_live(service, snapshot)
    change = Change(
        target=f"Pages {service.pages}",
        before=target.UNKNOWN,
        after=short_deployment_id(chosen),
        done_when=f"the site matches {short_deployment_id(chosen)}, or Cloudflare names it as canonical",
        undo=None,
        accepted_before=_accepted_before(snapshot.accepted, chosen),
    )
    named = (
        "the live deployment could not be identified, so `to` decides: "
        f"{short_deployment_id(chosen)} is deployed over it. {why}"
    )
    return Plan(
        summary=f"Pages {service.pages}: unknown → {short_deployment_id(chosen)}",
        changes=(change,),
        sections=plan_text.build_sections_without_live(chosen, ctx.clock.now(), why),
        not_undone=plan_text.NOT_UNDONE,
        consequences=plan_text.list_consequences_without_live(project),
        warnings=(named, *_repeat_warnings(snapshot, change)),
        done_message=f"Rolled back {ctx.params.service} to {short_deployment_id(chosen)}",
        details=RollbackPages.Details(service, chosen, None, snapshot.observed),
    )


def _build_plan(
    ctx: Context[RollbackPages.Params],
    history: PagesHistory,
    choice: PagesTargetChoice,
    details: RollbackPages.Details,
    snapshot: PagesSnapshot,
) -> Plan[RollbackPages.Details]:
    chosen, live, sees = details.target, history.serving_deployment, details.observed.digests
    by_rule = not ctx.params.to
    change = Change(
        target=f"Pages {details.service.pages}",
        before=short_deployment_id(live),
        after=short_deployment_id(chosen),
        done_when=f"the site matches {short_deployment_id(chosen)}, and no longer {short_deployment_id(live)}",
        undo=_suggest_rollback(ctx, live.id),
        accepted_before=_accepted_before(snapshot.accepted, chosen),
    )
    older = target.choose_target(history.deployments, chosen, blamed=history.blamed).target
    return Plan(
        summary=f"Pages {details.service.pages}: {short_deployment_id(live)} → {short_deployment_id(chosen)}",
        changes=(change,),
        sections=plan_text.build_sections(history, choice, chosen, by_rule=by_rule),
        not_undone=plan_text.NOT_UNDONE,
        consequences=plan_text.list_consequences(history),
        warnings=(
            *_repeat_warnings(snapshot, change),
            *plan_text.list_warnings(
                history,
                chosen,
                began=ctx.request.incident_began,
                provable=sees.own.get(chosen.id) not in {None, sees.site},
                by_rule=by_rule,
            ),
        ),
        next_step=_suggest_rollback(ctx, older.id) if older else None,
        done_message=f"Rolled back {ctx.params.service} to {short_deployment_id(chosen)}",
        details=details,
    )


def _accepted_before(accepted: AcceptedRollback | None, chosen: PagesDeployment) -> str:
    """Return the earlier run that sent this rollback; empty if it must be sent."""
    return str(accepted) if accepted and accepted.target == chosen else ""


def _repeat_warnings(snapshot: PagesSnapshot, change: Change) -> tuple[str, ...]:
    accepted = snapshot.accepted
    if accepted is None or not change.accepted_before:
        return ()
    waits = "the site does not show it: this run sends nothing, and waits"
    alone = ", without --incident" if accepted.target.id in snapshot.live.indistinguishable else ""
    again = f"After {format_utc(accepted.at + target.PROPAGATION)} the command sends it again{alone}"
    return (f"{accepted}, and {waits}. {again}",)


def _not_shown_refusal(service: "Service", accepted: AcceptedRollback) -> Refused:
    """Refuse to restore what the site still shows, although a rollback of it was accepted."""
    again = format_utc(accepted.at + target.PROPAGATION)
    return Refused(
        f"it is unknown which deployment of {service.pages} is live: {accepted}, and the site does not show it",
        reason=Reason.LIVE_UNKNOWN,
        hint=(
            f"Start the command again after {again}. If the site still does not show it, use the Cloudflare dashboard: "
            "Workers & Pages → the project → Deployments → the deployment → Rollback."
        ),
    )


def _no_target(ctx: Context[RollbackPages.Params], service: "Service", choice: PagesTargetChoice) -> Refused:
    """Refuse, and suggest a build of an earlier commit if ops.yml has a `build`."""
    passed = "; ".join(f"{over.deployment[:8]}: {over.why}" for over in choice.rejected)
    return Refused(
        f"no deployment to go back to: {passed or 'no older one succeeded'}; the newest "
        f"{steps.MAX_DEPLOYMENTS} are read",
        reason=Reason.NO_TARGET,
        hint=(
            "Build and deploy the commit before the live one, which takes some minutes. Or choose a deployment "
            "yourself and run rollback-pages with `--to`."
            if service.build
            else "Choose a deployment and replace DEPLOYMENT with its ID. To build an earlier commit instead, "
            f"add `build` to {service.name} in ops.yml."
        ),
        suggested_command=ctx.suggest("redeploy-pages", service=service.name)
        if service.build
        else _suggest_rollback(ctx, "DEPLOYMENT"),
    )


def _suggest_rollback(ctx: Context[RollbackPages.Params], to: str) -> SuggestedCommand:
    return ctx.suggest("rollback-pages", service=ctx.params.service, to=to)
