"""Build an earlier commit of a Pages site and deploy it."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ops.cloudflare.types.pages import PagesDeployment
from ops.cloudflare.types.site_config import SiteConfiguration
from ops.config.probes import ProbeSet
from ops.core.clock import format_utc
from ops.core.errors import ConfigError, Reason, Refused
from ops.core.names import GitCommit, is_sha, quote_name
from ops.core.next_step import SuggestedCommand
from ops.engine.context import Context
from ops.engine.runbook import IncidentUse, JobNeeds, LabelUse, Runbook, TokenPermissions, param, require_service
from ops.engine.step import StepPlan
from ops.pages import live_deployment, plan_text, snapshot
from ops.pages.plan_text import PagesHistory, describe_site_deployment, short_deployment_id
from ops.pages.snapshot import PagesSnapshot, SiteContent, build_site_probes, live_content
from ops.pages.steps import MARK, DeployCommit

if TYPE_CHECKING:
    from ops.config import Environment, Service

PREVIOUS = "previous"


class RedeployPages(Runbook["RedeployPages.Params"]):
    """Build an earlier commit of a Pages site and deploy it to production."""

    @dataclass(frozen=True)
    class Params:
        service: str = param("Service in ops.yml to redeploy")
        commit: str = param(
            "SHA on the production branch (default: previous, the commit before the live one)", default=PREVIOUS
        )
        reason: str = param("Reason, shown in the timeline", default="")

    name = "redeploy-pages"
    job = JobNeeds(builds_site=True)
    when = "A deployment of a Pages site is bad, and no earlier deployment can be used"
    incident_use = IncidentUse(menu_rank=2)
    kinds = ("pages",)
    setting = "`build`"
    label_use = LabelUse(only={"commit": PREVIOUS})  # a commit is never taken from an issue
    example = Params(service="frontend")
    writes = (
        ("POST", "/accounts/*/pages/projects/*/deployments"),
        ("POST", "/pages/assets/*"),  # wrangler uploads the files of the site
    )
    permissions = TokenPermissions(cloudflare=("Pages Write",))

    def fits(self, environment: "Environment", service: str) -> list[dict[str, Any]]:
        return [{}] if environment.services[service].build else []

    def probes(self, ctx: Context[Params]) -> ProbeSet:
        return build_site_probes(require_service(ctx, *self.kinds))

    def plan(self, ctx: Context[Params]) -> StepPlan:
        service = require_service(ctx, *self.kinds)
        build, requested = service.require_build(), _parse_commit(ctx.params.commit)
        ctx.site.check_tools(build)
        site = snapshot.read_site_snapshot(ctx, service)
        history = site.history
        if history is None:
            if requested == PREVIOUS:
                raise snapshot.live_unknown_refusal(ctx, service, site, _suggest_redeploy(ctx, "SHA"))
            snapshot.check_not_superseded(ctx, site.observed.deployments)
            return _build_plan(ctx, service, site, *_read_commit(ctx, service, requested, site))
        live = history.serving_deployment
        _check_not_lagging(history, requested)
        if requested == PREVIOUS:
            replaced = _find_replaced_deployment(ctx, history)
            text = plan_text.describe_earlier_rollback(history, replaced) if replaced else ""
            if text := text or plan_text.describe_revert(history):
                return _plan_nothing(ctx, service, history, text, Reason.ALREADY_STEPPED_BACK)
            requested = _choose_previous_commit(ctx, history)
        commit, configuration = _read_commit(ctx, service, requested, site)
        if live.commit == commit.sha and not live.has_uncommitted_changes:
            text = f"{plan_text.describe_shown(live)}, and it is of commit {commit.short}"
            return _plan_nothing(ctx, service, history, text, Reason.ALREADY_LIVE)
        snapshot.check_not_superseded(ctx, history.deployments)
        return _build_plan(ctx, service, site, commit, configuration)


def _parse_commit(text: str) -> str:
    """Return a SHA in lower case, or `previous`. Raises ConfigError."""
    commit = text.strip().lower() or PREVIOUS
    if commit != PREVIOUS and not is_sha(commit):
        raise ConfigError(
            f'"{quote_name(text)}" is not a commit SHA',
            reason=Reason.UNKNOWN_NAME,
            hint=(
                f"Pass at least 7 digits of a SHA, as `git log` shows them, or `{PREVIOUS}`. "
                "Branches and tags are not accepted."
            ),
        )
    return commit


def _check_not_lagging(history: PagesHistory, requested: str) -> None:
    """Refuse a second build while the site does not show the deployment of an earlier run yet."""
    for newer in history.newer_deployments:
        is_same = requested == PREVIOUS or newer.commit.startswith(requested)
        until = newer.created_on + live_deployment.PROPAGATION
        if newer.can_serve_production and MARK in newer.message and is_same and history.facts.now < until:
            raise Refused(
                f"the site does not show {describe_site_deployment(newer)} yet, which an earlier run deployed",
                reason=Reason.WORLD_MOVED,
                hint=f"Custom domains may lag for minutes. Start the command again after {format_utc(until)}.",
            )


def _read_commit(
    ctx: Context[RedeployPages.Params], service: "Service", requested: str, site: PagesSnapshot
) -> tuple[GitCommit, SiteConfiguration]:
    """Return the commit of the production branch, whose files are complete, and its configuration. Raises Refused."""
    branch = site.observed.project.production_branch
    if not branch:
        raise Refused(
            f"Cloudflare does not name the production branch of {service.pages}",
            reason=Reason.MALFORMED_ANSWER,
            hint="Check the project's settings in the Cloudflare dashboard, then run the command again.",
        )
    commit = ctx.site.find_commit(requested, branch)
    ctx.site.check_complete(service, commit)
    return commit, ctx.site.configuration(service, commit)


def _build_plan(
    ctx: Context[RedeployPages.Params],
    service: "Service",
    site: PagesSnapshot,
    commit: GitCommit,
    configuration: SiteConfiguration,
) -> StepPlan:
    build, project = service.require_build(), site.observed.project
    history, live = site.history, site.live.deployment
    before = short_deployment_id(live) if live else "unknown"
    step = DeployCommit(
        target=f"Pages {project.name}",
        before=before,
        after=f"commit {commit.short}",
        done_when=f"a new production deployment of {commit.short} is canonical, and the site matches it",
        undo=_suggest_rollback(ctx, live) if live else None,
        service=service,
        live=live,
        observed=site.observed,
        commit=commit,
        branch=project.production_branch,
    )
    why = site.live.why if history else snapshot.explain_unknown_live(service, site)
    began, rollback = ctx.request.incident_began, partial(_suggest_rollback, ctx)
    return StepPlan(
        summary=f"Pages {project.name}: {before} → a new deployment of commit {commit.short}",
        changes=(step,),
        sections=plan_text.build_redeploy_sections(
            commit, build, project, history, configuration=configuration, why=why
        ),
        not_undone=plan_text.site_rollback_not_undone(project),
        consequences=plan_text.site_rollback_consequences(history) if history else (),
        warnings=(
            *plan_text.list_redeploy_warnings(build, project, configuration),
            *plan_text.list_replacement_warnings(history, commit, began=began, rollback=rollback),
        ),
        done_message=f"Deployed {project.name} again from commit {commit.short}",
        probes=partial(build_site_probes, service, SiteContent(partial(step.find_content, ctx))),
    )


def _find_replaced_deployment(ctx: Context[RedeployPages.Params], history: PagesHistory) -> PagesDeployment | None:
    """Return the deployment that an earlier rollback replaced: newer by its commit or by its time.

    Without this, a second request would deploy the release that the first one replaced.
    """
    live = history.serving_deployment
    could = [d for d in history.deployments if d.can_serve_production and d.id != live.id]
    if later := [d for d in could if d.created_on > live.created_on]:
        return later[0]
    if ctx.site.is_prebuilt or not is_sha(live.commit):
        return None
    return next((d for d in could if is_sha(d.commit) and ctx.site.is_ancestor(live.commit, d.commit)), None)


def _choose_previous_commit(ctx: Context[RedeployPages.Params], history: PagesHistory) -> str:
    """Return the commit that rollback-pages would choose, else the parent of the live commit. Raises Refused."""
    live, target = history.serving_deployment, history.choice.target
    if target and is_sha(target.commit):
        return target.commit
    parent = _find_parent(ctx, history)
    if parent is None:
        raise Refused(
            f"no good commit before {live.commit[:12] or 'that of ' + short_deployment_id(live)} is known",
            reason=Reason.NO_TARGET,
            hint="Find a good commit with `git log` and replace SHA in the command with it.",
            suggested_command=_suggest_redeploy(ctx, "SHA"),
        )
    return parent


def _find_parent(ctx: Context[RedeployPages.Params], history: PagesHistory) -> str | None:
    """Return the commit before the live one; None if it is unknown or known to be bad, as before a revert."""
    live = history.serving_deployment.commit
    parent = ctx.site.find_parent(live) if is_sha(live) and not ctx.site.is_prebuilt else None
    return None if parent in history.choice.bad_commits else parent


def _plan_nothing(
    ctx: Context[RedeployPages.Params], service: "Service", history: PagesHistory, summary: str, reason: Reason
) -> StepPlan:
    """Return a plan without changes. It suggests the parent commit, since a rollback could restore a bad release."""
    try:
        before = _find_parent(ctx, history)
    except Refused:  # an unreadable repository must not stop a run that changes nothing
        before = None
    return StepPlan(
        summary=summary,
        sections=plan_text.site_rollback_sections(history, history.choice, history.serving_deployment, by_rule=False),
        reason=reason,
        next_step=_suggest_redeploy(ctx, before or "SHA"),
        probes=partial(build_site_probes, service, live_content(ctx, service)),
    )


def _suggest_redeploy(ctx: Context[RedeployPages.Params], commit: str) -> SuggestedCommand:
    return ctx.suggest("redeploy-pages", service=ctx.params.service, commit=commit)


def _suggest_rollback(ctx: Context[RedeployPages.Params], to: PagesDeployment) -> SuggestedCommand:
    return ctx.suggest("rollback-pages", service=ctx.params.service, to=to.id)
