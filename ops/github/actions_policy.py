"""Policy of Actions: allowed actions, rights of GITHUB_TOKEN, forks, retention, runners.

Only an admin reads it, and no GITHUB_TOKEN.
docs.github.com/rest/actions/permissions, docs.github.com/rest/actions/self-hosted-runners
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ops.github.client import GitHubApiError, provider_errors, read_json

if TYPE_CHECKING:
    from github.Repository import Repository

_PER_PAGE = 100


@dataclass(frozen=True)
class ActionsPolicy:
    """Rules of the repository that decide whether a workflow starts."""

    is_enabled: bool
    allowed: str = "all"
    """Allowed actions: all, local_only or selected."""
    allows_github: bool = True
    """Whether `selected` includes the actions of GitHub itself."""
    allows_verified: bool = False
    """Whether `selected` includes those of verified creators, whom the API does not name."""
    patterns: tuple[str, ...] = ()
    """Other ones, such as `acme/*`. GitHub applies them only in a public repository."""


def read_actions_policy(repository: "Repository") -> ActionsPolicy | None:
    """Return the rules; None if the token may not read them, such as that of a job. Raises ProviderError.

    docs.github.com/rest/actions/permissions#get-github-actions-permissions-for-a-repository
    """
    answer = _read_setting(repository, "/actions/permissions")
    if answer is None:
        return None
    policy = ActionsPolicy(answer["enabled"], answer.get("allowed_actions") or "all")
    if policy.allowed != "selected":
        return policy
    selected = _read_setting(repository, "/actions/permissions/selected-actions") or {}
    return replace(
        policy,
        allows_github=selected.get("github_owned_allowed") is True,
        allows_verified=selected.get("verified_allowed") is True,
        patterns=tuple(map(str, selected.get("patterns_allowed") or ())),
    )


@dataclass(frozen=True)
class WorkflowToken:
    """Rights of GITHUB_TOKEN in a workflow."""

    writes_by_default: bool
    may_open_pulls: bool
    """Whether it may open pull requests, and approve them: GitHub has one setting for both."""


def read_workflow_token(repository: "Repository") -> WorkflowToken | None:
    """Return the rights; None if the token may not read them. Raises ProviderError.

    docs.github.com/rest/actions/permissions#get-default-workflow-permissions-for-a-repository
    """
    answer = _read_setting(repository, "/actions/permissions/workflow")
    if answer is None:
        return None
    return WorkflowToken(
        answer["default_workflow_permissions"] == "write", answer["can_approve_pull_request_reviews"] is True
    )


def read_run_retention(repository: "Repository") -> int | None:
    """Return for how many days GitHub keeps workflow runs; None if the token may not read it. Raises ProviderError.

    docs.github.com/rest/actions/permissions#get-artifact-and-log-retention-settings-for-a-repository
    """
    answer = _read_setting(repository, "/actions/permissions/artifact-and-log-retention")
    return None if answer is None else int(answer["days"])


def read_fork_approval(repository: "Repository") -> str | None:
    """Return whose pull requests from forks wait for an approval; None if the token may not read it.

    docs.github.com/rest/actions/permissions#get-fork-pr-contributor-approval-permissions-for-a-repository
    """
    answer = _read_setting(repository, "/actions/permissions/fork-pr-contributor-approval")
    return None if answer is None else str(answer["approval_policy"])


@dataclass(frozen=True)
class SelfHostedRunner:
    """A runner of the repository itself. GitHub lists those of its owner elsewhere."""

    labels: frozenset[str]
    """In lower case, because labels ignore case."""
    is_online: bool


def read_runners(repository: "Repository") -> tuple[SelfHostedRunner, ...] | None:
    """Return the first hundred runners; None if the token may not read them, as that of a job. Raises ProviderError.

    docs.github.com/rest/actions/self-hosted-runners#list-self-hosted-runners-for-a-repository
    """
    answer = _read_setting(repository, f"/actions/runners?per_page={_PER_PAGE}")
    if answer is None:
        return None
    return tuple(
        SelfHostedRunner(frozenset(label["name"].lower() for label in row["labels"]), row["status"] == "online")
        for row in answer["runners"]
    )


def _read_setting(repository: "Repository", path: str) -> Any:
    """Return GitHub's answer; None if the token may not read the setting. Raises ProviderError."""
    try:
        with provider_errors():
            return read_json(repository, path)
    except GitHubApiError as error:
        if error.status in {403, 404}:
            return None
        raise
