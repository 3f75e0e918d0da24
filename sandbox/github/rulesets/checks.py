"""Checks of changes against the rulesets: pushes and merges."""

from collections.abc import Collection, Mapping
from typing import Any

from sandbox.github.call import GitHubCall, GitHubRefusal

_VIOLATION = "Repository rule violations found"


def require_push(call: GitHubCall, branch: str) -> None:
    """Refuse a commit to the branch without a pull request."""
    if _rule(call, "pull_request", branch, {"never", "pull_requests_only"}):
        raise GitHubRefusal(409, f"{_VIOLATION}\n\nChanges must be made through a pull request.")


def require_merge(call: GitHubCall, branch: str) -> None:
    """Refuse a merge that needs an approval, because the sandbox has no reviews of pull requests."""
    rule = _rule(call, "pull_request", branch, {"never"})
    if rule and (count := rule["parameters"]["required_approving_review_count"]):
        text = f"At least {count} approving review is required by reviewers with write access."
        raise GitHubRefusal(405, f"{_VIOLATION}\n\n{text}")


def _rule(call: GitHubCall, kind: str, branch: str, bypasses: Collection[str]) -> Mapping[str, Any] | None:
    """Return a rule of this kind for the branch that the person, who has one of these bypasses, must follow."""
    repository = call.repository
    role = None if call.token.app else repository.role(call.user)
    return next(
        (
            rule
            for ruleset in repository.rulesets.values()
            if ruleset.applies_to(branch, repository.git.default_branch) and ruleset.bypass_of(role) in bypasses
            if (rule := ruleset.rule(kind)) is not None
        ),
        None,
    )
