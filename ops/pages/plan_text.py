"""Plan lists, warnings and refusals of rollback-pages and redeploy-pages. Pure."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ops.cloudflare.types.pages import PagesDeployment, PagesProject
from ops.cloudflare.types.site_config import SiteConfiguration, compare_bindings
from ops.cloudflare.types.workers import is_commit_sha
from ops.core.clock import format_duration, format_utc
from ops.core.errors import Reason
from ops.core.next_step import SuggestedCommand
from ops.core.plan import Change, Plan, PlanSection
from ops.pages.live_deployment import LiveDeployment, PagesTargetChoice, choose_target
from ops.tools.git import GitCommit
from ops.workers.plan_text import NOT_THE_CAUSE

if TYPE_CHECKING:
    from ops.config.types import BuildConfig


PROBABLY_NOT_THE_DEPLOYMENT = timedelta(hours=24)
UNFINISHED_STATUSES = {"idle", "active"}

NOT_UNDONE = (
    "data in D1, KV, R2 and Durable Objects, and migrations of a database",
    "the project's settings: domains, build configuration, variables and bindings of the next deployment",
    "what browsers have already loaded: they keep the live release until they load the page again",
)
"""developers.cloudflare.com/pages/configuration/rollbacks."""

PAUSE_DEPLOYMENTS = (
    "Workers & Pages → the project → Settings → Builds → Branch control: switch automatic production deployments off"
)
"""developers.cloudflare.com/pages/configuration/branch-build-controls."""


@dataclass(frozen=True)
class PagesHistory:
    """What was read of a project, and what it is judged by."""

    project: PagesProject
    deployments: tuple[PagesDeployment, ...]
    """Of production, newest first."""
    live: LiveDeployment
    serving_deployment: PagesDeployment
    now: datetime
    repository: str | None
    blamed: frozenset[str] = frozenset()
    compared: tuple[str, ...] = ()
    """How each compared path told what is live, for people."""

    @property
    def choice(self) -> PagesTargetChoice:
        """Where a rollback goes by the rules."""
        return choose_target(self.deployments, self.serving_deployment, blamed=self.blamed)

    @property
    def newer_deployments(self) -> Iterator[PagesDeployment]:
        return (d for d in self.deployments if d.created_on > self.serving_deployment.created_on)

    @property
    def has_failed_build(self) -> bool:
        """The newest one failed, and the newest that did not is live."""
        good = next((d for d in self.deployments if d.can_serve_production), None)
        return good == self.serving_deployment and self.deployments[0].status == "failure"


def short_deployment_id(deployment: PagesDeployment) -> str:
    return deployment.id[:8]


def describe_deployment(deployment: PagesDeployment) -> str:
    """One deployment in a sentence. Cloudflare's API does not say who made it."""
    parts = [f"{short_deployment_id(deployment)}, created {format_utc(deployment.created_on)}"]
    parts += [f"of commit {deployment.commit[:12]}"] if deployment.commit else []
    return " ".join(parts)


def explain_nothing_to_do(
    history: PagesHistory, choice: PagesTargetChoice, named: PagesDeployment | None
) -> tuple[str, Reason] | None:
    """`named`: the one that a person chose."""
    live = short_deployment_id(history.serving_deployment)
    if named is not None:
        already = named.id == history.serving_deployment.id
        return (f"{live} is live already", Reason.ALREADY_LIVE) if already else None
    if history.has_failed_build:
        text = f"the latest build failed, the site is still on {live}, nothing to roll back"
        return f"{text}: {describe_deployment(history.deployments[0])}", Reason.LATEST_BUILD_FAILED
    if choice.is_rolled_back:
        newest = next(d for d in history.deployments if d.can_serve_production)
        return describe_earlier_rollback(history, newest), Reason.ALREADY_STEPPED_BACK
    return None


def describe_earlier_rollback(history: PagesHistory, newer: PagesDeployment) -> str:
    """`newer`: what would serve if nobody had gone back."""
    return (
        f"somebody went back already: {short_deployment_id(history.serving_deployment)} is live, "
        f"and not the newer {describe_deployment(newer)}"
    )


def build_sections(
    history: PagesHistory, choice: PagesTargetChoice, target: PagesDeployment, *, by_rule: bool
) -> tuple[PlanSection, ...]:
    listed = [
        PlanSection("Live", (_describe_age_and_source(history.now, history.serving_deployment), history.live.why))
    ]
    if target.id != history.serving_deployment.id:
        listed.append(PlanSection("Target", (_describe_age_and_source(history.now, target),)))
        listed.append(
            PlanSection("What changes", tuple(_differences(history, target)) or ("nothing that Cloudflare shows",))
        )
    listed.append(PlanSection("Compared", history.compared))
    if by_rule:
        passed = tuple(f"{over.deployment[:8]}: {over.why}" for over in choice.rejected)
        listed.append(PlanSection("Passed over", passed))
    oldest = history.deployments[-1]
    reach = f"the newest {len(history.deployments)} deployments of production, back to {format_utc(oldest.created_on)}"
    listed.append(PlanSection("History", (f"{reach}; Cloudflare does not say who made them, nor who rolled back",)))
    return tuple(section for section in listed if section.lines)


def build_sections_without_live(target: PagesDeployment, now: datetime, why: str) -> tuple[PlanSection, ...]:
    """The plan's lists where a person named the target and the live deployment could not be identified."""
    return PlanSection("Live", (f"not known: {why}",)), PlanSection("Target", (_describe_age_and_source(now, target),))


def list_consequences_without_live(project: PagesProject) -> tuple[str, ...]:
    branch = project.production_branch or "the production branch"
    return (f"the next deployment to {branch} goes over this: revert the bad commit first",)


def _describe_age_and_source(now: datetime, deployment: PagesDeployment) -> str:
    age = format_duration((now - deployment.created_on).total_seconds())
    parts = [deployment.id, f"created {age} ago"]
    parts += [f"commit {deployment.commit[:12]}"] if deployment.commit else ["of a commit that is not known"]
    parts += ["with changes that are in no commit"] if deployment.has_uncommitted_changes else []
    parts += [f"branch {deployment.branch}"] if deployment.branch else []
    parts += [f'"{deployment.message}"'] if deployment.message else []
    parts += [deployment.url, *(f"alias {alias}" for alias in deployment.aliases)]
    return ", ".join(parts)


def _differences(history: PagesHistory, target: PagesDeployment) -> Iterator[str]:
    live = history.serving_deployment
    if is_commit_sha(live.commit) and is_commit_sha(target.commit) and live.commit != target.commit:
        older, newer = sorted((live, target), key=lambda deployment: deployment.created_on)
        yield f"commits {older.commit[:12]}..{newer.commit[:12]}"
        if history.repository:
            yield f"https://github.com/{history.repository}/compare/{older.commit}...{newer.commit}"
    if None not in {live.has_functions, target.has_functions} and live.has_functions != target.has_functions:
        yield f"Functions: {'only the live one' if live.has_functions else 'only the target'} has them"
    if live.env_vars is not None and target.env_vars is not None:
        for text, names in (("+", target.env_vars - live.env_vars), ("-", live.env_vars - target.env_vars)):
            yield from (f"environment variable {text}{name}" for name in sorted(names))


def list_consequences(history: PagesHistory) -> tuple[str, ...]:
    project, commit = history.project, history.serving_deployment.commit
    branch = project.production_branch or "the production branch"
    revert = f"revert it first (commit {commit[:12]})" if commit else "revert it first"
    if project.deploys_on_push:
        return (f"the next push to {branch} deploys over this: {revert}, or stop that: {PAUSE_DEPLOYMENTS}",)
    return (f"the next deployment to {branch} goes over this: {revert}",)


def list_warnings(
    history: PagesHistory, target: PagesDeployment, *, began: datetime | None, provable: bool, by_rule: bool
) -> tuple[str, ...]:
    found = list(_incident_warnings(history.serving_deployment, began)) if began else []
    if history.live.indistinguishable:
        names = ", ".join(name[:8] for name in history.live.indistinguishable)
        found.append(
            f"{names} would look the same: that {short_deployment_id(history.serving_deployment)} is "
            "live is Cloudflare's word alone"
        )
    if not history.live.is_canonical:
        found.append("canonical does not follow rollbacks here: only the site itself tells what is live")
    if not provable:
        found.append(
            f"no compared path tells {short_deployment_id(target)} from "
            f"{short_deployment_id(history.serving_deployment)}: where canonical does not follow, "
            "nothing will prove the change; add a path to `compare` that differs from release to release"
        )
    found += [
        f"{describe_deployment(d)} is being built, and goes over this when it is done"
        for d in history.newer_deployments
        if d.status in UNFINISHED_STATUSES
    ]
    if target.id in history.blamed:
        found.append(f"{short_deployment_id(target)} was taken out of service by an earlier run on this incident")
    if not by_rule and target.created_on > history.serving_deployment.created_on:
        found.append(f"{short_deployment_id(target)} is newer than the live one: this goes forward")
    return tuple(found)


def _incident_warnings(serving: PagesDeployment, began: datetime) -> Iterator[str]:
    """A stated start never selects: people state it wrongly, at night more than ever."""
    if serving.created_on > began:
        yield f"{describe_deployment(serving)}, came after the stated start: {NOT_THE_CAUSE}"
    elif began - serving.created_on > PROBABLY_NOT_THE_DEPLOYMENT:
        age = format_duration((began - serving.created_on).total_seconds())
        yield (
            f"{short_deployment_id(serving)} was made {age} before the stated start: it is probably not the deployment"
        )


BUILD_MAY_DIFFER = (
    "the build is made anew: today's tools, registries and variables may make another site of the same commit"
)


def build_redeploy_plan(
    commit: GitCommit,
    build: "BuildConfig",
    project: PagesProject,
    history: PagesHistory | None,
    *,
    configuration: SiteConfiguration,
    why: str,
    details: object = None,
) -> Plan[Any]:
    """`past` is None where what is live could not be seen, `why` says what is known of that."""
    before = short_deployment_id(history.serving_deployment) if history else "not known"
    change = Change(
        target=f"Pages {project.name}",
        before=before,
        after=f"commit {commit.short}",
        done_when=f"a new deployment of production is of {commit.short}, is canonical, and the site looks like it",
        undo=None,
    )
    return Plan(
        summary=f"Pages {project.name}: {before} → a new deployment of commit {commit.short}",
        changes=(change,),
        sections=(
            PlanSection("Live", (f"{history.serving_deployment.id}, {why}" if history else f"not known: {why}",)),
            PlanSection("Commit", (f'{commit.sha}, on {project.production_branch}, "{commit.subject}"',)),
            PlanSection("Build", _describe_build(build)),
            PlanSection("Bindings", _compare_bindings(configuration, project)),
        ),
        not_undone=NOT_UNDONE,
        consequences=list_consequences(history) if history else (),
        warnings=tuple(_warnings(build, project, history, configuration)),
        done_message=f"Deployed {project.name} anew from commit {commit.short}",
        details=details,
    )


def _describe_build(build: "BuildConfig") -> tuple[str, ...]:
    lines = [f"{' '.join(build.command)}, in {build.folder}, leaves {build.output}"]
    lines += [f"with {', '.join(sorted(build.env))}"] if build.env else []
    return tuple(lines)


def _compare_bindings(configuration: SiteConfiguration, project: PagesProject) -> tuple[str, ...]:
    """Those of the new deployment beside those of the live one: `+` is new, `-` goes, `=` stays."""
    if not configuration.file:
        return ("as the project's settings on Cloudflare have them", *compare_bindings(None, project.bindings))
    compared = compare_bindings(configuration.bindings, project.bindings)
    return (f"as {configuration.file} of the commit has them, compared with the project's settings", *compared)


def _warnings(
    build: "BuildConfig", project: PagesProject, history: PagesHistory | None, configuration: SiteConfiguration
) -> list[str]:
    found = [BUILD_MAY_DIFFER]
    if missing := sorted(project.env_vars - build.env.keys()):
        found.append(f"variables of the project that the build does not get: {', '.join(missing)}; see `build.env`")
    if configuration.dropped_settings:
        found.append(f"left out of {configuration.file}: {', '.join(configuration.dropped_settings)}")
    if history is None:
        found.append("what is live could not be seen, so it is not known what this replaces")
    return found


def add_rollback_options(
    planned: Plan[Any],
    history: PagesHistory,
    choice: PagesTargetChoice,
    commit: GitCommit,
    *,
    began: datetime | None,
    rollback: Callable[[PagesDeployment], SuggestedCommand],
) -> Plan[Any]:
    """With what is known where the live deployment is: how to undo it, and whether a rollback would do."""
    found = list(list_warnings(history, history.serving_deployment, began=began, provable=True, by_rule=True))
    same = [
        d
        for d in history.deployments
        if d.can_serve_production and d.commit == commit.sha and not d.has_uncommitted_changes
    ]
    if same and same[0].id != history.serving_deployment.id:
        found.append(
            f"{short_deployment_id(same[0])} is of this commit: a rollback needs no build: {rollback(same[0]).command}"
        )
    (change,) = planned.changes
    return replace(
        planned,
        changes=(replace(change, undo=rollback(history.serving_deployment)),),
        sections=(*planned.sections, *build_sections(history, choice, history.serving_deployment, by_rule=False)[1:]),
        warnings=(*planned.warnings, *found),
    )
