"""Payloads of webhooks.

docs.github.com/webhooks/webhook-events-and-payloads
"""

from collections.abc import Mapping
from typing import Any

from sandbox.github.issues import serializers
from sandbox.github.issues.state import FakeIssue
from sandbox.github.pulls import serializers as pulls
from sandbox.github.repository import Repository
from sandbox.github.users import serializers as users
from sandbox.github.users.state import GitHubActor


def deliver(repository: Repository, by: GitHubActor, event: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Deliver an event with these fields, the repository and the sender. Returns the payload."""
    return repository.deliver(event, by, compose(repository, by, fields))


def compose(repository: Repository, by: GitHubActor, fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the payload without delivering it."""
    urls = repository.urls
    where = {
        "repository": users.repository(repository, urls),
        "organization": users.organization(repository.owner, urls),
        "sender": users.user(by.user, urls),
    }
    return {**fields, **where}


def deliver_issue(
    repository: Repository, by: GitHubActor, action: str, issue: FakeIssue, **fields: Any
) -> Mapping[str, Any]:
    """Deliver `issues`, or `pull_request` if it is one. Returns the payload."""
    if issue.pull is None:
        shown = {"action": action, "issue": serializers.issue(issue, repository.urls), **fields}
        return deliver(repository, by, "issues", shown)
    pull = pulls.full(repository, issue, repository.urls)
    shown = {"action": action, "number": issue.number, "pull_request": pull, **fields}
    return deliver(repository, by, "pull_request", shown)
