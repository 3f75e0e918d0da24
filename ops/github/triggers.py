"""What the gate does to an issue that triggered it, and what it asks of the run.

A failure is one error, whose message has no foreign text.

docs.github.com/rest/issues/labels#remove-a-label-from-an-issue, docs.github.com/rest/issues/comments
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ops.core.clock import parse_utc
from ops.core.errors import ProviderError, UnclearWrite
from ops.core.run_record import RunRecord
from ops.github.client import provider_errors, write_errors
from ops.github.comments import author, find_request, login, run_records

if TYPE_CHECKING:
    from github.IssueComment import IssueComment
    from github.Repository import Repository

SECOND = timedelta(seconds=1)
"""GitHub's times have no fraction."""


def remove_label(repository: "Repository", number: int, label: str) -> bool:
    """Take a label off an issue, and return whether this call did: of two calls at once, one alone gets True.

    A 404 may mean that the label is gone or that the token cannot see the issue, so the labels decide. If the answer
    was lost and the label is gone, GitHub cannot say who took it: True, since a recovery comes before its paperwork.
    Raises ProviderError where the label may still be there.
    """
    try:
        _delete_label(repository, number, label)
    except UnclearWrite:
        if _has_label(repository, number, label):
            _delete_label(repository, number, label)
    except ProviderError:
        if _has_label(repository, number, label):
            raise
        return False
    return True


def _delete_label(repository: "Repository", number: int, label: str) -> None:
    # PyGithub's own method leaves a slash in the label's name as it is.
    path = f"/issues/{number}/labels/{quote(label, safe='')}"
    with write_errors():
        repository.requester.requestJsonAndCheck("DELETE", repository.url + path)


def _has_label(repository: "Repository", number: int, label: str) -> bool:
    """GitHub ignores case in the names of labels, and an issue has 100 at most."""
    with provider_errors():
        url = f"{repository.url}/issues/{number}/labels?per_page=100"
        _, found = repository.requester.requestJsonAndCheck("GET", url)
    return label.lower() in {each["name"].lower() for each in found}


def labels_added(repository: "Repository", number: int, at: datetime, login: str) -> set[str]:
    """Return the labels, in lower case, that the person put on within a second of that moment. Raises ProviderError.

    docs.github.com/rest/issues/events#list-issue-events
    """
    found = set()
    with provider_errors():
        for event in repository.get_issue(number).get_events().reversed:
            if event.created_at < at - SECOND:
                break
            actor: Any = event.actor  # null where the account was deleted, which PyGithub's types leave out
            is_theirs = bool(actor) and actor.login.lower() == login.lower()
            if event.event == "labeled" and is_theirs and event.created_at <= at + SECOND:
                found.add(event.label.name.lower())
    return found


def keep_refusal(repository: "Repository", number: int, text: Callable[[RunRecord | None], str]) -> None:
    """Write the one comment of refusals on an issue: the first creates it, later ones edit it.

    `text` gets the record of the refusals so far. Raises ProviderError.
    """
    try:
        there, block = _last_refusal(repository, number)
    except ProviderError:  # an answer twice is better than none
        there, block = None, None
    with provider_errors():
        if there is None:
            repository.get_issue(number).create_comment(text(None))
        else:
            there.edit(text(block))


def withdraw_request(repository: "Repository", number: int, mark: str, comment: int | None) -> None:
    """Delete our comment that says that the run starts, if there is one. Raises ProviderError."""
    with provider_errors():
        if (found := find_request(repository, number, mark, comment)) is not None:
            found.delete()


def add_to_request(repository: "Repository", number: int, mark: str, comment: int, text: str) -> None:
    """Add a paragraph to our comment that says that the run starts, above its mark. Raises ProviderError."""
    with provider_errors():
        if (found := find_request(repository, number, mark, comment)) is not None:
            found.edit(found.body.replace(mark, f"{text.strip()}\n\n{mark}"))


def _last_refusal(repository: "Repository", number: int) -> "tuple[IssueComment | None, RunRecord | None]":
    with provider_errors():
        me = login(repository)
        found = run_records(repository.get_issue(number))
        ours = ((one, block) for one, block in found if block.source == "gate" and author(one) == me)
        return next(ours, (None, None))


def run_created_at(repository: "Repository", run_id: int) -> datetime:
    """When a workflow run was made. Raises ProviderError.

    docs.github.com/rest/actions/workflow-runs#get-a-workflow-run
    """
    with provider_errors():
        _, run = repository.requester.requestJsonAndCheck("GET", f"{repository.url}/actions/runs/{run_id}")
    return parse_utc(run["created_at"])


@dataclass(frozen=True)
class TriggerIssue:
    """`state` is `open`, `closed`, `missing` or `pull_request`."""

    state: str
    body: str = ""


def read_issue(repository: "Repository", number: int) -> TriggerIssue:
    """Raises ProviderError.

    docs.github.com/rest/issues/issues#get-an-issue
    """
    from github import GithubException

    with provider_errors():
        try:
            _, found = repository.requester.requestJsonAndCheck("GET", f"{repository.url}/issues/{number}")
        except GithubException as error:
            if error.status in {404, 410}:  # 410: it was deleted
                return TriggerIssue("missing")
            raise
    if not found["repository_url"].lower().endswith(repository.url.lower()):
        return TriggerIssue("missing")  # GitHub redirected to the repository to which it was transferred
    return TriggerIssue(
        "pull_request" if found.get("pull_request") is not None else found["state"], found.get("body") or ""
    )
