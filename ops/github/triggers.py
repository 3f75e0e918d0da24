"""What the gate does to an issue that triggered it, and what it asks of the run.

A failure is one error, whose message has no foreign text.

docs.github.com/rest/issues/labels#remove-a-label-from-an-issue, docs.github.com/rest/issues/comments
"""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from ops.github.client import failures
from ops.model.clock import parse_utc

if TYPE_CHECKING:
    from github.Repository import Repository

_GONE = "Label does not exist"
"""GitHub's words. Any other 404 may as well mean that our token does not see the issue."""


def remove_label(repository: "Repository", number: int, label: str) -> bool:
    """Whether it was there: of two that take the same label, one alone gets True. Raises ProviderError."""
    from github import GithubException

    with failures():
        try:
            # PyGithub's own method leaves a slash in the label's name as it is.
            path = f"/issues/{number}/labels/{quote(label, safe='')}"
            repository.requester.requestJsonAndCheck("DELETE", repository.url + path)
        except GithubException as error:
            if error.status == 404 and isinstance(error.data, dict) and error.data.get("message") == _GONE:
                return False
            raise
    return True


def comment(repository: "Repository", number: int, body: str) -> None:
    """Raises ProviderError."""
    with failures():
        repository.get_issue(number).create_comment(body)


def run_created_at(repository: "Repository", run_id: int) -> datetime:
    """When a workflow run was made. Raises ProviderError.

    docs.github.com/rest/actions/workflow-runs#get-a-workflow-run
    """
    with failures():
        _, run = repository.requester.requestJsonAndCheck("GET", f"{repository.url}/actions/runs/{run_id}")
    return parse_utc(run["created_at"])


@dataclass(frozen=True)
class Issue:
    """`state` is `open`, `closed`, `missing` or `pull_request`."""

    state: str
    body: str = ""


def issue(repository: "Repository", number: int) -> Issue:
    """Raises ProviderError.

    docs.github.com/rest/issues/issues#get-an-issue
    """
    from github import GithubException

    with failures():
        try:
            _, found = repository.requester.requestJsonAndCheck("GET", f"{repository.url}/issues/{number}")
        except GithubException as error:
            if error.status in {404, 410}:  # 410: it was deleted
                return Issue("missing")
            raise
    return Issue("pull_request" if found.get("pull_request") is not None else found["state"], found.get("body") or "")
