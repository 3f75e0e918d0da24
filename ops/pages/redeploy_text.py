"""What a person must know before a commit is built and deployed to production: the plan of redeploy-pages. Pure."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from ops.cloudflare.types.pages import Deployment, Project
from ops.cloudflare.types.site_config import SiteConfiguration, listed
from ops.core.next_step import Press
from ops.core.plan import Change, Plan, Section
from ops.pages import plan_text
from ops.pages.live_deployment import Choice
from ops.pages.plan_text import Past, short
from ops.tools.commits import Commit

if TYPE_CHECKING:
    from ops.config.build import Build

NOT_THE_SAME = (
    "the build is made anew: today's tools, registries and variables may make another site of the same commit"
)


def plan(
    commit: Commit,
    build: "Build",
    project: Project,
    past: Past | None,
    *,
    configuration: SiteConfiguration,
    why: str,
    details: object = None,
) -> Plan:
    """`past` is None where what is live could not be seen, `why` says what is known of that."""
    before = short(past.serving) if past else "not known"
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
            Section("Live", (f"{past.serving.id}, {why}" if past else f"not known: {why}",)),
            Section("Commit", (f'{commit.sha}, on {project.production_branch}, "{commit.subject}"',)),
            Section("Build", _build(build)),
            Section("Bindings", _bindings(configuration, project)),
        ),
        not_undone=plan_text.NOT_UNDONE,
        follows=plan_text.follows(past) if past else (),
        warnings=tuple(_warnings(build, project, past, configuration)),
        done=f"Deployed {project.name} anew from commit {commit.short}",
        details=details,
    )


def _build(build: "Build") -> tuple[str, ...]:
    lines = [f"{' '.join(build.command)}, in {build.folder}, leaves {build.output}"]
    lines += [f"with {', '.join(sorted(build.env))}"] if build.env else []
    return tuple(lines)


def _bindings(configuration: SiteConfiguration, project: Project) -> tuple[str, ...]:
    """Those of the new deployment beside those of the live one: `+` is new, `-` goes, `=` stays."""
    if not configuration.file:
        return ("as the project's settings on Cloudflare have them", *listed(None, project.bindings))
    compared = listed(configuration.bindings, project.bindings)
    return (f"as {configuration.file} of the commit has them, compared with the project's settings", *compared)


def _warnings(build: "Build", project: Project, past: Past | None, configuration: SiteConfiguration) -> list[str]:
    found = [NOT_THE_SAME]
    if missing := sorted(project.env_vars - build.env.keys()):
        found.append(f"variables of the project that the build does not get: {', '.join(missing)}; see `build.env`")
    if configuration.dropped:
        found.append(f"left out of {configuration.file}: {', '.join(configuration.dropped)}")
    if past is None:
        found.append("what is live could not be seen, so it is not known what this replaces")
    return found


def with_ways_back(
    planned: Plan,
    past: Past,
    choice: Choice,
    commit: Commit,
    *,
    began: datetime | None,
    rollback: Callable[[Deployment], Press],
) -> Plan:
    """With what is known where the live deployment is: how to undo it, and whether a rollback would do."""
    found = list(plan_text.warnings(past, past.serving, began=began, provable=True, by_rule=True))
    same = [d for d in past.deployments if d.may_serve_production and d.commit == commit.sha and not d.dirty]
    if same and same[0].id != past.serving.id:
        found.append(f"{short(same[0])} is of this commit: a rollback needs no build: {rollback(same[0]).command}")
    (change,) = planned.changes
    return replace(
        planned,
        changes=(replace(change, undo=rollback(past.serving)),),
        sections=(*planned.sections, *plan_text.sections(past, choice, past.serving, by_rule=False)[1:]),
        warnings=(*planned.warnings, *found),
    )
