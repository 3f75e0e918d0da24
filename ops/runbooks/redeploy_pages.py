"""Build an earlier commit of a Pages site and deploy it."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ops.cloudflare.types.pages import PRODUCTION, PagesDeployment, PagesProject
from ops.cloudflare.types.site_config import SiteConfiguration
from ops.core.clock import format_utc
from ops.core.errors import ConfigError, OpsError, Reason, Refused
from ops.core.names import GitCommit, count_of, is_sha, quote_name
from ops.core.next_step import SuggestedCommand
from ops.core.plan import Change, Plan
from ops.core.timeline import EventKind
from ops.core.verdict import WantedContent
from ops.engine.context import Context
from ops.engine.runbook import JobNeeds, TokenPermissions, param, require_service
from ops.engine.step import ChangeState, ObservedState
from ops.pages import live_deployment, observed_content, plan_text, steps
from ops.pages.live_deployment import PagesTargetChoice
from ops.pages.observed_content import ObservedPages, SiteObservation
from ops.pages.plan_text import UNFINISHED_STATUSES, PagesHistory, describe_deployment, short_deployment_id
from ops.pages.steps import FindContent, PagesRunbook, SiteContent

if TYPE_CHECKING:
    from ops.config import Environment, Service
    from ops.config.types import BuildConfig

PREVIOUS = "previous"
MARK = "redeployed by ops"
"""Text in the message of each deployment by this runbook; persisted."""


class RedeployPages(PagesRunbook["RedeployPages.Params", "RedeployPages.Details"]):
    """Build an earlier commit of a Pages site and deploy it to production."""

    @dataclass(frozen=True)
    class Params:
        service: str = param("Service in ops.yml to redeploy")
        commit: str = param(
            "SHA on the production branch (default: previous, the commit before the live one)", default=PREVIOUS
        )
        reason: str = param("Reason, shown in the timeline", default="")

    @dataclass(frozen=True)
    class Details:
        """Values of the plan that the later steps use."""

        service: "Service"
        commit: GitCommit
        branch: str
        live: PagesDeployment | None
        """None if it could not be identified and a person named the commit."""
        observed: SiteObservation
        configuration: SiteConfiguration

    name = "redeploy-pages"
    job = JobNeeds(template="redeploy")
    when = "A deployment of a Pages site is bad, and no earlier deployment can be used"
    menu_rank = 2
    label_use = None  # a build of an old commit runs code that may no longer be trusted
    params = Params
    example = Params(service="frontend")
    writes = (
        ("POST", "/accounts/*/pages/projects/*/deployments"),
        ("POST", "/pages/assets/*"),  # wrangler uploads the files of the site
    )
    permissions = TokenPermissions(cloudflare=("Pages Write",))

    def fits(self, environment: "Environment", service: str) -> list[dict[str, Any]]:
        return [{}] if environment.services[service].build else []

    def content_finder(self, ctx: Context[Params], service: "Service", plan: Plan[Details]) -> FindContent:
        if not plan.changes:
            return super().content_finder(ctx, service, plan)
        return SiteContent(partial(_find_content, ctx, plan.details))

    def preflight(self, ctx: Context[Params]) -> Plan[Details]:
        service = require_service(ctx, self.kind)
        build, requested = service.require_build(), _parse_commit(ctx.params.commit)
        ctx.site.check_tools(build)
        found = steps.read_snapshot(ctx, service)
        history, project = found.history, found.observed.project
        why = found.live.why if history else steps.explain_unknown_live(service, found)
        if history is None:
            if requested == PREVIOUS:
                raise steps.live_unknown_refusal(ctx, service, found, _suggest_redeploy(ctx, "SHA"))
            details = _read_details(ctx, service, requested, found.observed, None)
            return _build_plan(details, build, project, None, why)
        choice, live = history.choice, history.serving_deployment
        _check_not_lagging(history, requested)
        if requested == PREVIOUS:
            if replaced := _find_replaced_deployment(ctx, history):
                return _plan_nothing(
                    ctx,
                    history,
                    choice,
                    plan_text.describe_earlier_rollback(history, replaced),
                    Reason.ALREADY_STEPPED_BACK,
                )
            requested = _choose_previous_commit(ctx, live, choice)
        details = _read_details(ctx, service, requested, found.observed, live)
        if live.commit == details.commit.sha and not live.has_uncommitted_changes:
            text = f"{short_deployment_id(live)} is live already, and is of commit {details.commit.short}"
            return _plan_nothing(ctx, history, choice, text, Reason.ALREADY_LIVE)
        steps.check_not_superseded(ctx, history.deployments)
        plan = _build_plan(details, build, project, history, why)
        return plan_text.add_rollback_options(
            plan,
            history,
            choice,
            details.commit,
            began=ctx.request.incident_began,
            rollback=lambda to: _suggest_rollback(ctx, to.id),
        )

    def prepare(self, ctx: Context[Params], plan: Plan[Details]) -> bool:
        details = plan.details
        count = ctx.site.prepare(details.service, details.commit, details.branch)
        how = "built by another job" if ctx.site.is_prebuilt else "built here, with a clean environment"
        files = count_of(count, "file")
        ctx.timeline.record(EventKind.PREPARED, f"commit {details.commit.short}: {files}, {how}")
        return True

    def check(self, ctx: Context[Params], plan: Plan[Details], change: Change) -> ObservedState:  # noqa: ARG002  one change
        details = plan.details
        project, deployments, site = steps.read_current_state(ctx, details.service)
        new = live_deployment.newly_available(details.observed.deployments, deployments)
        ours = next((d for d in new if d.commit == details.commit.sha), None)
        if ours is None:
            return _observe_without_ours(details, project, deployments, site)
        others = [d for d in new if d.commit != ours.commit]
        if over := [d for d in others if d.created_on > ours.created_on or d.id == project.canonical_id]:
            return ObservedState(ChangeState.CHANGED_ELSEWHERE, describe_deployment(over[0]))
        own = steps.read_compared_paths(ctx, details.service, ours.url)
        slipped = tuple(describe_deployment(d) for d in others)
        return _observe_ours(details, project, ours, slipped, look=(own, site))

    def apply(self, ctx: Context[Params], plan: Plan[Details], change: Change) -> str:  # noqa: ARG002  one change
        details = plan.details
        ctx.site.check_file_limit(ctx.cloudflare.pages.read_file_limit(details.service.pages), details.commit)
        message = f"{details.commit.subject or details.commit.sha} ({MARK} {ctx.run_id})"
        return ctx.site.deploy(details.service, details.commit, details.branch, message)


def _find_content(ctx: Context[RedeployPages.Params], details: RedeployPages.Details) -> WantedContent | None:
    """Return our new deployment; None if it cannot be read. Called after the write."""
    try:
        _, deployments = steps.read_project_with(ctx, details.service, [])
    except OpsError:
        return None
    new = live_deployment.newly_available(details.observed.deployments, deployments)
    ours = next((d for d in new if d.commit == details.commit.sha), None)
    replaced = details.live or details.observed.project.canonical
    return live_deployment.wanted_content(details.service, deployments, ours, replaced) if ours else None


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
        if newer.can_serve_production and MARK in newer.message and is_same and history.now < until:
            raise Refused(
                f"the site does not show {describe_deployment(newer)} yet, which an earlier run deployed",
                reason=Reason.WORLD_MOVED,
                hint=f"Custom domains may lag for minutes. Start the command again after {format_utc(until)}.",
            )


def _read_details(
    ctx: Context[RedeployPages.Params],
    service: "Service",
    requested: str,
    observed: SiteObservation,
    live: PagesDeployment | None,
) -> RedeployPages.Details:
    branch = observed.project.production_branch
    if not branch:
        raise Refused(
            f"Cloudflare does not name the production branch of {service.pages}",
            reason=Reason.MALFORMED_ANSWER,
            hint="Check the project's settings in the Cloudflare dashboard, then run the command again.",
        )
    commit = ctx.site.find_commit(requested, branch)
    ctx.site.check_complete(service, commit)
    return RedeployPages.Details(service, commit, branch, live, observed, ctx.site.configuration(service, commit))


def _build_plan(
    details: RedeployPages.Details, build: "BuildConfig", project: PagesProject, history: PagesHistory | None, why: str
) -> Plan[RedeployPages.Details]:
    return plan_text.build_redeploy_plan(
        details.commit, build, project, history, configuration=details.configuration, why=why, details=details
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


def _choose_previous_commit(
    ctx: Context[RedeployPages.Params], live: PagesDeployment, choice: PagesTargetChoice
) -> str:
    """Return the commit that rollback-pages would choose, else the parent of the live commit. Raises Refused."""
    if choice.target and is_sha(choice.target.commit):
        return choice.target.commit
    parent = _find_parent(ctx, live)
    if parent is None:
        raise Refused(
            f"the commit before {live.commit[:12] or 'that of ' + short_deployment_id(live)} is not known",
            reason=Reason.NO_TARGET,
            hint="Find a good commit with `git log` and replace SHA in the command with it.",
            suggested_command=_suggest_redeploy(ctx, "SHA"),
        )
    return parent


def _find_parent(ctx: Context[RedeployPages.Params], live: PagesDeployment) -> str | None:
    return ctx.site.find_parent(live.commit) if is_sha(live.commit) and not ctx.site.is_prebuilt else None


def _plan_nothing(
    ctx: Context[RedeployPages.Params], history: PagesHistory, choice: PagesTargetChoice, summary: str, reason: Reason
) -> Plan[RedeployPages.Details]:
    """Return a plan without changes. It suggests the parent commit, since a rollback could restore a bad release."""
    try:
        before = _find_parent(ctx, history.serving_deployment)
    except Refused:  # an unreadable repository must not stop a run that changes nothing
        before = None
    return Plan(
        summary=summary,
        sections=plan_text.build_sections(history, choice, history.serving_deployment, by_rule=False),
        reason=reason,
        next_step=_suggest_redeploy(ctx, before or "SHA"),
    )


def _suggest_redeploy(ctx: Context[RedeployPages.Params], commit: str) -> SuggestedCommand:
    return ctx.suggest("redeploy-pages", service=ctx.params.service, commit=commit)


def _suggest_rollback(ctx: Context[RedeployPages.Params], to: str) -> SuggestedCommand:
    return ctx.suggest("rollback-pages", service=ctx.params.service, to=to)


def _observe_without_ours(
    details: RedeployPages.Details, project: PagesProject, deployments: tuple[PagesDeployment, ...], site: ObservedPages
) -> ObservedState:
    """Return the state while no deployment of ours is deployable."""
    canonical = project.canonical_id
    known, sha = {d.id for d in details.observed.deployments}, details.commit.sha
    if new := live_deployment.newly_available(details.observed.deployments, deployments):
        return ObservedState(ChangeState.CHANGED_ELSEWHERE, describe_deployment(new[0]))
    if canonical != details.observed.project.canonical_id:
        return ObservedState(ChangeState.CHANGED_ELSEWHERE, f"{canonical[:8] or 'nothing'} became canonical")
    compares_assets, matches = (
        details.observed.compares_assets,
        sorted(name[:8] for name in details.observed.matching_deployments(site)),
    )
    whole = observed_content.site_digest(site, compares_assets=compares_assets)
    previous_pages = details.observed.own[details.live.id] if details.live else None
    if previous_pages and observed_content.deployment_digest(
        previous_pages, site, compares_assets=compares_assets
    ) not in {
        None,
        whole,
    }:
        text = f"the site matches {' or '.join(matches) or 'no deployment that was read'}"
        return ObservedState(
            ChangeState.CHANGED_ELSEWHERE, text, is_uncertain=not matches
        )  # what came after the list was read may be ours
    fresh = [d for d in deployments if d.id not in known and d.environment == PRODUCTION and d.commit == sha]
    if under_way := [d for d in fresh if d.status in UNFINISHED_STATUSES]:
        return ObservedState(
            ChangeState.PLANNED,
            f"{short_deployment_id(under_way[0])} (ours) is being deployed",
            is_uncertain=True,
        )
    live = short_deployment_id(details.live) if details.live else "what was live"
    return ObservedState(
        ChangeState.PLANNED, f"{live} is live, as planned, and no newer deployment is of {details.commit.short}"
    )


def _observe_ours(
    details: RedeployPages.Details,
    project: PagesProject,
    ours: PagesDeployment,
    slipped: tuple[str, ...],
    *,
    look: tuple[ObservedPages, ObservedPages],
) -> ObservedState:
    """Return whether our successful deployment is live."""
    canonical = project.canonical_id
    name, (own, site) = f"{short_deployment_id(ours)} of commit {details.commit.short}", look
    if canonical != ours.id:
        text = f"{name} is deployed, and Cloudflare's canonical deployment is {canonical[:8] or 'none'}"
        return ObservedState(ChangeState.PLANNED, text, is_uncertain=True)
    if not details.observed.serves_new_deployment(own, site):
        text = f"{name} is canonical, but the site does not match it"
        return ObservedState(ChangeState.PLANNED, text, slipped, is_uncertain=True)
    notes = []
    if (
        details.live
        and None not in {details.live.has_functions, ours.has_functions}
        and details.live.has_functions != ours.has_functions
    ):
        notes.append(
            f"{short_deployment_id(ours)} has "
            f"{'Functions' if ours.has_functions else 'no Functions'}, unlike {short_deployment_id(details.live)}"
        )
    return ObservedState(ChangeState.DONE, f"{name} is live: {ours.url}", slipped, tuple(notes))
