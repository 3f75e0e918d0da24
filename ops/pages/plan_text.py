"""Plans, warnings and texts of rollback-pages and redeploy-pages."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from ops.cloudflare.types.pages import PagesDeployment, PagesProject
from ops.cloudflare.types.site_config import SiteConfiguration, compare_bindings
from ops.core.clock import format_age, format_duration, format_utc
from ops.core.errors import Reason
from ops.core.names import GitCommit, is_sha
from ops.core.next_step import SuggestedCommand
from ops.core.plan import NOT_THE_CAUSE, PROBABLY_NOT_THE_CAUSE, PlanSection, list_names
from ops.pages.live_deployment import LiveDeployment
from ops.pages.target_choice import EARLIER_ROLLBACK, PagesTargetChoice, TargetFacts, choose_target
from ops.workers.plan_text import list_doubts
from ops.workers.rollback_target import list_rejected

if TYPE_CHECKING:
    from ops.config.types import BuildConfig

REJECTED_SECTION = "Rejected deployments"
LIVE_SECTION = "Live"
TARGET_SECTION = "Target"
CHANGES_SECTION = "What changes"
BINDINGS_SECTION = "Bindings"
COMMIT_SECTION = "Commit"
BUILD_SECTION = "Build"
CONTENT_SECTION = "Compared content"


UNFINISHED_STATUSES = {"idle", "active"}

DATA_BINDINGS = ("D1 ", "Durable Object ", "Hyperdrive ", "KV ", "R2 ", "Vectorize ", "queue ")
"""Starts of the texts of bindings whose products hold data."""
SETTINGS_NOT_UNDONE = (
    "build configuration, and variables and bindings of the next deployment",
    "open browser tabs: they keep the current deployment until they reload",
    "cache of the zone: its entries of the current deployment stay until they are purged",
)
"""developers.cloudflare.com/pages/configuration/rollbacks, …/serving-pages."""

PAUSE_DEPLOYMENTS = (
    "Workers & Pages → project → Settings → Builds → Branch control: turn off automatic production deployments"
)
"""developers.cloudflare.com/pages/configuration/branch-build-controls."""


@dataclass(frozen=True)
class PagesHistory:
    """History of a Pages project with its identified live deployment."""

    project: PagesProject
    deployments: tuple[PagesDeployment, ...]
    """Production deployments, newest first."""
    live: LiveDeployment
    serving_deployment: PagesDeployment
    facts: TargetFacts
    repository: str | None
    compared: tuple[str, ...] = ()
    """How each path of the site compares with the live deployment, for people."""

    @cached_property
    def choice(self) -> PagesTargetChoice:
        """Return the targets that the rules allow."""
        return choose_target(self.deployments, self.serving_deployment, self.facts)

    @property
    def newer_deployments(self) -> Iterator[PagesDeployment]:
        return (d for d in self.deployments if d.created_on > self.serving_deployment.created_on)

    @property
    def has_failed_build(self) -> bool:
        """Return whether the newest deployment failed and the newest successful one is live."""
        good = next((d for d in self.deployments if d.can_serve_production), None)
        return good == self.serving_deployment and self.deployments[0].status == "failure"


def site_rollback_not_undone(project: PagesProject) -> tuple[str, ...]:
    """Return what another deployment leaves as it is. A wrangler file may have bindings that the project lacks."""
    named = [each.partition(" → ")[0] for each in project.bindings if each.startswith(DATA_BINDINGS)]
    data = list_names("data", named) if named else "data in the stores that the site uses"
    has_database = not named or any(each.startswith(("D1 ", "Hyperdrive ")) for each in named)
    return (
        data,
        *(["database migrations"] if has_database else []),
        *([list_names("domains", project.domains)] if project.domains else ["domains"]),
        *SETTINGS_NOT_UNDONE,
    )


def short_deployment_id(deployment: PagesDeployment) -> str:
    return deployment.id[:8]


def describe_site_deployment(deployment: PagesDeployment) -> str:
    """Return a deployment with time and commit, for people. Cloudflare's API does not name its author."""
    parts = [f"{short_deployment_id(deployment)}, created {format_utc(deployment.created_on)}"]
    parts += [f"from commit {deployment.commit[:12]}"] if deployment.commit else []
    return " ".join(parts)


def describe_shown(live: PagesDeployment) -> str:
    """Return that the site shows a deployment; one machine answered, and others may lag."""
    return f"the site already shows {short_deployment_id(live)}"


def explain_nothing_to_do(
    history: PagesHistory, choice: PagesTargetChoice, named: PagesDeployment | None
) -> tuple[str, Reason] | None:
    """Return why there is nothing to do, with the reason code; None if there is. `named`: a person's target."""
    live = short_deployment_id(history.serving_deployment)
    if named is not None:
        already = named.id == history.serving_deployment.id
        return (describe_shown(named), Reason.ALREADY_LIVE) if already else None
    if history.has_failed_build:
        text = f"the latest build failed, so {live} is still live and there is nothing to roll back"
        return f"{text}: {describe_site_deployment(history.deployments[0])}", Reason.LATEST_BUILD_FAILED
    if choice.is_rolled_back:
        newest = next(d for d in history.deployments if d.can_serve_production)
        return describe_earlier_rollback(history, newest), Reason.ALREADY_STEPPED_BACK
    if text := describe_revert(history):
        return text, Reason.ALREADY_STEPPED_BACK
    return None


def describe_revert(history: PagesHistory) -> str:
    """Return the text about a recent deployment of an earlier release, which is live; empty if there is none."""
    reverted = history.choice.choice.active_rollback
    if reverted is None:
        return ""
    text = f"it has an earlier release again, and replaced {reverted.removed_version[:8]}"
    return f"{EARLIER_ROLLBACK}{describe_site_deployment(history.serving_deployment)}; {text}"


def describe_earlier_rollback(history: PagesHistory, newer: PagesDeployment) -> str:
    """Return the text about an earlier rollback. `newer`: the deployment that it replaced."""
    return (
        f"{EARLIER_ROLLBACK}{short_deployment_id(history.serving_deployment)} is live "
        f"instead of the newer {describe_site_deployment(newer)}"
    )


def site_rollback_sections(
    history: PagesHistory, choice: PagesTargetChoice, target: PagesDeployment, *, by_rule: bool
) -> tuple[PlanSection, ...]:
    listed = [
        PlanSection(
            LIVE_SECTION, (_describe_age_and_source(history.facts.now, history.serving_deployment), history.live.why)
        )
    ]
    if target.id != history.serving_deployment.id:
        listed.append(PlanSection(TARGET_SECTION, (_describe_age_and_source(history.facts.now, target),)))
        listed.append(
            PlanSection(
                CHANGES_SECTION,
                tuple(_deployment_differences(history, target)) or ("no difference that Cloudflare shows",),
            )
        )
    listed.append(PlanSection(CONTENT_SECTION, history.compared))
    if by_rule:
        listed.append(PlanSection(REJECTED_SECTION, tuple(list_rejected(choice.choice))))
    oldest = history.deployments[-1]
    reach = f"the newest {len(history.deployments)} deployments of production, back to {format_utc(oldest.created_on)}"
    unknown = "Cloudflare does not report who deployed or rolled back"
    listed.append(PlanSection("History", (f"{reach}; {unknown}", choice.history.horizon)))
    return tuple(section for section in listed if section.lines)


def site_sections_without_live(target: PagesDeployment, now: datetime, why: str) -> tuple[PlanSection, ...]:
    """Return the sections of a plan whose live deployment could not be identified."""
    live = PlanSection(LIVE_SECTION, (f"unknown: {why}",))
    return live, PlanSection(TARGET_SECTION, (_describe_age_and_source(now, target),))


def list_consequences_without_live(project: PagesProject) -> tuple[str, ...]:
    branch = project.production_branch or "the production branch"
    return (f"the next deployment to {branch} replaces this one: revert the bad commit first",)


def _describe_age_and_source(now: datetime, deployment: PagesDeployment) -> str:
    parts = [deployment.id, f"created {format_age(now - deployment.created_on)}"]
    parts += [f"commit {deployment.commit[:12]}"] if deployment.commit else ["commit unknown"]
    parts += ["with uncommitted changes"] if deployment.has_uncommitted_changes else []
    parts += [f"branch {deployment.branch}"] if deployment.branch else []
    parts += [f'"{deployment.message}"'] if deployment.message else []
    parts += [deployment.url, *(f"alias {alias}" for alias in deployment.aliases)]
    return ", ".join(parts)


def _deployment_differences(history: PagesHistory, target: PagesDeployment) -> Iterator[str]:
    live = history.serving_deployment
    if is_sha(live.commit) and is_sha(target.commit) and live.commit != target.commit:
        older, newer = sorted((live, target), key=lambda deployment: deployment.created_on)
        yield f"commits {older.commit[:12]}..{newer.commit[:12]}"
        if history.repository:
            yield f"https://github.com/{history.repository}/compare/{older.commit}...{newer.commit}"
    if None not in {live.has_functions, target.has_functions} and live.has_functions != target.has_functions:
        yield f"Functions: {'only the live one' if live.has_functions else 'only the target'} has them"
    if live.env_vars is not None and target.env_vars is not None:
        for text, names in (("+", target.env_vars - live.env_vars), ("-", live.env_vars - target.env_vars)):
            yield from (f"environment variable {text}{name}" for name in sorted(names))


def site_rollback_consequences(history: PagesHistory) -> tuple[str, ...]:
    project, commit = history.project, history.serving_deployment.commit
    branch = project.production_branch or "the production branch"
    revert = f"revert it first (commit {commit[:12]})" if commit else "revert it first"
    if project.deploys_on_push:
        return (
            f"the next push to {branch} replaces this deployment: {revert}, or pause deployments: {PAUSE_DEPLOYMENTS}",
        )
    return (f"the next deployment to {branch} replaces this one: {revert}",)


def site_rollback_warnings(
    history: PagesHistory, target: PagesDeployment, *, began: datetime | None, provable: bool, by_rule: bool
) -> tuple[str, ...]:
    warnings = list(_incident_warnings(history.serving_deployment, began)) if began else []
    if history.live.indistinguishable:
        names = ", ".join(name[:8] for name in history.live.indistinguishable)
        warnings.append(
            f"{names} have equal content on all compared paths: that "
            f"{short_deployment_id(history.serving_deployment)} is "
            "live is stated only by Cloudflare"
        )
    if not history.live.is_canonical:
        warnings.append("canonical does not follow rollbacks here: only the site's content shows what is live")
    if not provable:
        warnings.append(
            f"no compared path distinguishes {short_deployment_id(target)} from "
            f"{short_deployment_id(history.serving_deployment)}: if canonical does not follow, "
            "nothing can prove the change. Add a path to `compare` whose content differs in each release"
        )
    warnings += [
        f"{describe_site_deployment(d)} is being built and will replace this deployment"
        for d in history.newer_deployments
        if d.status in UNFINISHED_STATUSES
    ]
    if by_rule:
        warnings += list_doubts(history.choice.history, history.choice.choice, target.id)
    if target.id in history.facts.blamed:
        warnings.append(f"{short_deployment_id(target)} was replaced by an earlier run for this incident")
    if not by_rule and target.created_on > history.serving_deployment.created_on:
        warnings.append(f"{short_deployment_id(target)} is newer than the live one")
    return tuple(warnings)


def _incident_warnings(serving: PagesDeployment, began: datetime) -> Iterator[str]:
    """Compare the stated start with the live deployment. It may be wrong, so it never clears that one."""
    if serving.created_on > began:
        yield f"{describe_site_deployment(serving)}; this is after the stated start: {NOT_THE_CAUSE}"
    elif began - serving.created_on > PROBABLY_NOT_THE_CAUSE:
        age = format_duration((began - serving.created_on).total_seconds())
        yield (
            f"{short_deployment_id(serving)} was created {age} before the stated start, so it is probably not the cause"
        )


BUILD_MAY_DIFFER = (
    "the site is built again: current tools, registries and variables may produce a different site from the same commit"
)


def build_redeploy_sections(
    commit: GitCommit,
    build: "BuildConfig",
    project: PagesProject,
    history: PagesHistory | None,
    *,
    configuration: SiteConfiguration,
    why: str,
) -> tuple[PlanSection, ...]:
    """Return the sections of a deployment. `history` is None if the live deployment is unknown; `why` explains it."""
    known = (
        site_rollback_sections(history, history.choice, history.serving_deployment, by_rule=False)[1:]
        if history
        else ()
    )
    return (
        PlanSection(LIVE_SECTION, (f"{history.serving_deployment.id}, {why}" if history else f"unknown: {why}",)),
        PlanSection(COMMIT_SECTION, (f'{commit.sha}, on {project.production_branch}, "{commit.subject}"',)),
        PlanSection(BUILD_SECTION, _describe_site_build(build)),
        PlanSection(BINDINGS_SECTION, _compare_bindings(configuration, project)),
        *known,
    )


def _describe_site_build(build: "BuildConfig") -> tuple[str, ...]:
    lines = [f"{' '.join(build.command)} in {build.folder}, output in {build.output}"]
    lines += [f"with {', '.join(sorted(build.env))}"] if build.env else []
    return tuple(lines)


def _compare_bindings(configuration: SiteConfiguration, project: PagesProject) -> tuple[str, ...]:
    """Return the bindings of the new deployment: `+` added, `-` removed, `=` unchanged."""
    if not configuration.file:
        return ("from the project's settings on Cloudflare", *compare_bindings(None, project.bindings))
    compared = compare_bindings(configuration.bindings, project.bindings)
    return (f"from {configuration.file} of the commit, compared with the project's settings", *compared)


def list_redeploy_warnings(
    build: "BuildConfig", project: PagesProject, configuration: SiteConfiguration
) -> Iterator[str]:
    """Yield the warnings of a build."""
    yield BUILD_MAY_DIFFER
    if missing := sorted(project.env_vars - build.env.keys()):
        yield f"the build does not get these project variables: {', '.join(missing)}; add them to `build.env`"
    if configuration.dropped_settings:
        yield f"ignored settings of {configuration.file}: {', '.join(configuration.dropped_settings)}"


def list_replacement_warnings(
    history: PagesHistory | None,
    commit: GitCommit,
    *,
    began: datetime | None,
    rollback: Callable[[PagesDeployment], SuggestedCommand],
) -> Iterator[str]:
    """Yield the warnings about what a deployment of the commit replaces. `rollback`: makes a command."""
    if history is None:
        yield "the live deployment could not be identified, so it is unknown what this replaces"
        return
    live = history.serving_deployment
    yield from site_rollback_warnings(history, live, began=began, provable=True, by_rule=True)
    same = [
        d
        for d in history.deployments
        if d.can_serve_production and d.commit == commit.sha and not d.has_uncommitted_changes
    ]
    if same and same[0].id != live.id:
        name = short_deployment_id(same[0])
        yield f"{name} has this commit, and a rollback needs no build: {rollback(same[0]).command}"
