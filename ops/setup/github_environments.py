"""List the GitHub environments that an `ops.yml` needs, with secrets and token permissions."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ops.app.registry import load_runbook
from ops.config.status_page import page_keys
from ops.core.names import CHECK_OUTAGE, PUBLISH_UPDATE, REMOVE_BANNER
from ops.core.permissions import graphql_permissions, needed_permission
from ops.setup import workflow_jobs
from ops.setup.publish_update_job import publish_update_job

if TYPE_CHECKING:
    from ops.app.scope import AnyRunbook
    from ops.config import Config

APP_REPO_TOKEN = "APP_REPO_TOKEN"  # noqa: S105  a name
IMPACT = (*graphql_permissions().values(), needed_permission("GET /zones"))
"""Permissions for the numbers in a post-incident report, which has no numbers without them."""
EVIDENCE = (
    *map(
        needed_permission,
        (
            "GET /accounts/{account}/logs/audit",
            "GET /accounts/{account}/workers/scripts/{script}/deployments",
            "GET /accounts/{account}/pages/projects/{project}/deployments",
            "POST /accounts/{account}/workers/observability/telemetry/query",
        ),
    ),
    *IMPACT,
)
"""Permission groups for the tables of `ops evidence`."""
KEPT_ROWS = "Workers R2 Storage"
"""Area of rows that a restore lost. No report reads them."""
COLUMNS = ("GitHub environment", "used by", "secrets", "its Cloudflare token", "branch", "reviewers", "GitHub plan")


@dataclass
class GitHubEnvironment:
    """An environment in the settings of the operations repository."""

    name: str
    used_by: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    permissions: list[str] = field(default_factory=list)
    """Permission groups of its Cloudflare token. The dashboard calls Write "Edit"."""
    has_reviewers: bool = False

    @property
    def rights(self) -> list[str]:
        """Return the permission groups without the reads that a write includes."""
        return [each for each in self.permissions if f"{each.removesuffix(' Read')} Write" not in self.permissions]

    def add(self, used_by: str, secrets: Iterable[str], permissions: Iterable[str]) -> None:
        for listed, more in ((self.used_by, [used_by]), (self.secrets, secrets), (self.permissions, permissions)):
            listed += [each for each in more if each not in listed]


def needed_environments(config: "Config", runbooks: "Mapping[str, AnyRunbook]") -> list[GitHubEnvironment]:
    """Return the environments that the workflows need, in alphabetical order."""
    environments: dict[str, GitHubEnvironment] = {}

    def add_github_environment(name: str, used_by: str, secrets: Iterable[str], permissions: Iterable[str]) -> None:
        environments.setdefault(name, GitHubEnvironment(name)).add(used_by, secrets, permissions)

    for runbook in runbooks.values():
        for job in workflow_jobs.button_jobs(config, runbook):
            if job.github_environment:
                place = config.environments.get(job.environment)
                rights = runbook.permissions.needed(place) if place else runbook.permissions.cloudflare
                add_github_environment(job.github_environment, runbook.name, _secret_names(job.secrets), rights)
            if any(job.sources):  # the job that fetches them has this secret only
                add_github_environment("recovery", runbook.name, [config.github.secret("recovery", APP_REPO_TOKEN)], ())
            if any(job.sites):
                token = config.github.secret(runbook.github_environment, APP_REPO_TOKEN)
                add_github_environment(runbook.github_environment, runbook.name, [token], ())
    for job in workflow_jobs.limits_jobs(config):
        add_github_environment("limits", "limits", _secret_names(job.secrets), ["Workers KV Storage Write"])
    groups = {group for each in environments.values() for group in each.permissions}
    add_github_environment(
        "report",
        "every workflow that acts",
        _secret_names(
            {
                **workflow_jobs.read_tokens(config, "report"),
                **workflow_jobs.watch_secrets(config),
                **workflow_jobs.chat_secrets(config),
            }
        ),
        sorted({*IMPACT, *(read for group in groups for read in _token_read_groups(group))}),
    )
    add_github_environment("report", CHECK_OUTAGE, (), ())
    if keys := page_keys(config.status_page):
        add_github_environment(
            "report", PUBLISH_UPDATE, _secret_names(workflow_jobs.secret_expressions(config, "report", keys)), ()
        )
    if (update := publish_update_job(config)) and (removal := update.banner):
        rights = load_runbook(REMOVE_BANNER).permissions.cloudflare
        add_github_environment(removal.github_environment, PUBLISH_UPDATE, _secret_names(removal.secrets), rights)
    add_github_environment(
        "evidence", "evidence", _secret_names(workflow_jobs.read_tokens(config, "evidence")), EVIDENCE
    )
    for each in config.environments.values():
        if each.approval:
            add_github_environment(each.approval_environment, f"acting jobs of {each.name}", (), ())
            environments[each.approval_environment].has_reviewers = True
    return sorted(environments.values(), key=lambda each: each.name)


def _secret_names(expressions: Mapping[str, str]) -> list[str]:
    """Return the names of secrets; variables of GitHub as `vars.NAME`."""
    return [each.removeprefix("secrets.") for each in expressions.values()]


def _token_read_groups(group: str) -> Iterator[str]:
    """Yield the read-only group for the same area; nothing for a right such as Cache Purge, and none for kept rows."""
    area, _, right = group.rpartition(" ")
    if right in {"Read", "Write"} and area != KEPT_ROWS:
        yield f"{area} Read"


def render_environments_table(config: "Config", runbooks: "Mapping[str, AnyRunbook]") -> Iterator[str]:
    """Yield the lines of a Markdown table of the environments."""
    yield f"| {' | '.join(COLUMNS)} |"
    yield f"|{' --- |' * len(COLUMNS)}"
    for each in needed_environments(config, runbooks):
        plan = "private: Enterprise" if each.has_reviewers else "private: Pro, Team or Enterprise"
        cells = (
            f"`{each.name}`",
            ", ".join(each.used_by),
            ", ".join(f"`{name}`" for name in each.secrets) or "none",
            ", ".join(each.rights) or "none",
            f"`{config.github.branch}` only",
            "required" if each.has_reviewers else "none",
            plan,
        )
        yield f"| {' | '.join(cells)} |"
