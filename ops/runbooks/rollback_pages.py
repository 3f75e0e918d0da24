"""Roll a Pages site back to an earlier deployment; `pages/target_choice.py` chooses it.

A rollback leaves no entry in the project's history, so the runbook compares the site's content with the deployments.
"""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ops.cloudflare.types.pages import PagesDeployment
from ops.config.probes import ProbeSet
from ops.core.clock import format_utc
from ops.core.errors import Reason, Refused
from ops.core.next_step import SuggestedCommand
from ops.engine.context import Context
from ops.engine.runbook import IncidentUse, Rollback, TokenPermissions, param, require_service
from ops.engine.step import StepPlan
from ops.pages import live_deployment as target
from ops.pages import plan_text, snapshot
from ops.pages.plan_text import PagesHistory, short_deployment_id
from ops.pages.snapshot import PagesSnapshot, build_site_probes, live_content, read_site_snapshot
from ops.pages.steps import RollBackSite, site_read_back_words
from ops.pages.target_choice import PagesTargetChoice
from ops.workers.rollback_target import check_one_target, list_rejected

if TYPE_CHECKING:
    from ops.config import Service


class RollbackPages(Rollback["RollbackPages.Params", PagesSnapshot]):
    """Roll a Pages site back to an earlier deployment."""

    @dataclass(frozen=True)
    class Params:
        service: str = param("Service in ops.yml to roll back")
        to: str = param(
            "Deployment: ID, first 8 characters, or URL (default: last known good one)", default="", names_version=True
        )
        to_commit: str = param("Commit (7 or more digits) of the deployment to deploy", default="")
        reason: str = param("Reason, shown in the timeline", default="")

    name = "rollback-pages"
    when = "A new deployment of a Pages site breaks the UI or its assets, or its build fails"
    incident_use = IncidentUse(menu_rank=1)
    kinds = ("pages",)
    example = Params(service="frontend")
    writes = (("POST", "/accounts/*/pages/projects/*/deployments/*/rollback"),)
    permissions = TokenPermissions(cloudflare=("Pages Write",))

    def probes(self, ctx: Context[Params]) -> ProbeSet:
        return build_site_probes(require_service(ctx, *self.kinds))

    def read(self, ctx: Context[Params]) -> PagesSnapshot:
        service = require_service(ctx, *self.kinds)
        check_one_target(ctx.params.to, ctx.params.to_commit)
        return read_site_snapshot(ctx, service, ctx.params.to, ctx.params.to_commit)

    def choose(self, ctx: Context[Params], situation: PagesSnapshot) -> StepPlan:
        service, site = require_service(ctx, *self.kinds), situation
        history, accepted = site.history, site.accepted
        if accepted and accepted.replaced and site.requested == accepted.replaced:
            raise target.not_shown_refusal(service, accepted)
        if history is None:
            return _plan_without_live(ctx, service, site)
        choice = history.choice
        if nothing := plan_text.explain_nothing_to_do(history, choice, site.requested):
            return _plan_nothing(ctx, service, history, *nothing)
        snapshot.check_not_superseded(ctx, history.deployments)
        chosen = site.requested or choice.target
        if chosen is None:
            raise _no_target(ctx, service, choice)
        return _build_plan(ctx, service, history, chosen, site)


def _build_step(
    ctx: Context[RollbackPages.Params], service: "Service", chosen: PagesDeployment, site: PagesSnapshot
) -> RollBackSite:
    live, name, accepted = site.live.deployment, short_deployment_id(chosen), site.accepted
    proof = f"and no longer {short_deployment_id(live)}" if live else "or Cloudflare names it as canonical"
    elsewhere = " from this machine. From another one, or from a new job, it sends the rollback once more"
    return RollBackSite(
        target=f"Pages {service.pages}",
        before=short_deployment_id(live) if live else target.UNKNOWN,
        after=name,
        done_when=f"the site matches {name}, {proof}",
        undo=_suggest_rollback(ctx, live.id) if live else None,
        accepted_before=str(accepted) if accepted and accepted.target == chosen else "",
        words=site_read_back_words(
            f"it waits for the site, and sends nothing again{'' if ctx.request.incident else elsewhere}."
        ),
        service=service,
        live=live,
        observed=site.observed,
        chosen=chosen,
    )


def _plan_nothing(
    ctx: Context[RollbackPages.Params],
    service: "Service",
    history: PagesHistory,
    summary: str,
    reason: Reason,
) -> StepPlan:
    """Return a plan without changes: the run probes what is live and suggests a next step."""
    choice = history.choice
    return StepPlan(
        summary=summary,
        sections=plan_text.site_rollback_sections(history, choice, history.serving_deployment, by_rule=True),
        reason=reason,
        next_step=_suggest_rollback(ctx, choice.target.id) if choice.target else None,
        probes=partial(build_site_probes, service, live_content(ctx, service)),
    )


def _plan_without_live(ctx: Context[RollbackPages.Params], service: "Service", site: PagesSnapshot) -> StepPlan:
    """Plan the rollback to a target that a person named, with a warning. Raises Refused without such a target."""
    chosen = site.requested
    if chosen is None:
        raise snapshot.live_unknown_refusal(ctx, service, site)
    snapshot.check_not_superseded(ctx, site.observed.deployments)
    why = snapshot.explain_unknown_live(service, site)
    step = _build_step(ctx, service, chosen, site)
    named = (
        "the live deployment could not be identified, so `to` decides: "
        f"{short_deployment_id(chosen)} is deployed over it. {why}"
    )
    return StepPlan(
        summary=f"Pages {service.pages}: unknown → {short_deployment_id(chosen)}",
        changes=(step,),
        sections=plan_text.site_sections_without_live(chosen, ctx.clock.now(), why),
        not_undone=plan_text.site_rollback_not_undone(site.observed.project),
        consequences=plan_text.list_consequences_without_live(site.observed.project),
        warnings=(named, *_repeat_warnings(site, step)),
        done_message=f"Rolled back {ctx.params.service} to {short_deployment_id(chosen)}",
        probes=partial(build_site_probes, service, step.find_content),
    )


def _build_plan(
    ctx: Context[RollbackPages.Params],
    service: "Service",
    history: PagesHistory,
    chosen: PagesDeployment,
    site: PagesSnapshot,
) -> StepPlan:
    sees, by_rule = site.observed.digests, site.requested is None
    step = _build_step(ctx, service, chosen, site)
    older = next((each for each in history.choice.candidates if each.created_on < chosen.created_on), None)
    return StepPlan(
        summary=f"Pages {service.pages}: {step.before} → {step.after}",
        changes=(step,),
        sections=plan_text.site_rollback_sections(history, history.choice, chosen, by_rule=by_rule),
        not_undone=plan_text.site_rollback_not_undone(site.observed.project),
        consequences=plan_text.site_rollback_consequences(history),
        warnings=(
            *_repeat_warnings(site, step),
            *plan_text.site_rollback_warnings(
                history,
                chosen,
                began=ctx.request.incident_began,
                provable=sees.own.get(chosen.id) not in {None, sees.site},
                by_rule=by_rule,
            ),
        ),
        next_step=_suggest_rollback(ctx, older.id) if older else None,
        done_message=f"Rolled back {ctx.params.service} to {short_deployment_id(chosen)}",
        probes=partial(build_site_probes, service, step.find_content),
    )


def _repeat_warnings(site: PagesSnapshot, step: RollBackSite) -> tuple[str, ...]:
    accepted = site.accepted
    if accepted is None or not step.accepted_before:
        return ()
    lines = [f"{accepted}, and the site does not show it now: this run sends nothing, and waits"]
    if accepted.was_seen:
        lines.append("A run saw it, so a machine of the edge is late, or somebody restored the former deployment")
    alone = ", without --incident" if accepted.target.id in site.live.indistinguishable else ""
    lines.append(f"After {format_utc(accepted.at + target.PROPAGATION)} the command sends it again{alone}")
    return (". ".join(lines),)


def _no_target(ctx: Context[RollbackPages.Params], service: "Service", choice: PagesTargetChoice) -> Refused:
    """Refuse, and suggest a build of an earlier commit if ops.yml has a `build`."""
    passed = "; ".join(list_rejected(choice.choice))
    return Refused(
        f"no deployment to go back to: {passed or 'no older one succeeded'}; the newest "
        f"{snapshot.MAX_DEPLOYMENTS} are read",
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
