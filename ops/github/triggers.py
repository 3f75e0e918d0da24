"""Read and change the issue that triggered the gate.

Each failure is one ProviderError, whose message contains no foreign text.

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
from ops.github.client import newest_first, provider_errors, read_json, write_errors
from ops.github.comments import find_announcement, own_records

if TYPE_CHECKING:
    from github.IssueComment import IssueComment
    from github.Repository import Repository

SECOND = timedelta(seconds=1)
"""GitHub's times have whole seconds."""


def remove_label(repository: "Repository", number: int, label: str) -> bool:
    """Remove a label and return whether this call removed it: of two parallel calls, only one gets True.

    A 404 means that the label is gone or that the token cannot see the issue, so the labels are read. If the response
    was lost and the label is gone, GitHub cannot say who removed it. The result is then True, so that no recovery is
    lost.
    Raises ProviderError if the label may still be there.
    """
    try:
        _delete_label(repository, number, label)
    except UnclearWrite:
        if has_label(repository, number, label):
            _delete_label(repository, number, label)
    except ProviderError:
        if has_label(repository, number, label):
            raise
        return False
    return True


def _delete_label(repository: "Repository", number: int, label: str) -> None:
    # PyGithub's own method does not quote a slash in the label's name.
    path = f"/issues/{number}/labels/{quote(label, safe='')}"
    with write_errors():
        repository.requester.requestJsonAndCheck("DELETE", repository.url + path)


def has_label(repository: "Repository", number: int, label: str) -> bool:
    """Return whether the issue has the label. GitHub ignores case in names; an issue has at most 100 labels."""
    with provider_errors():
        labels = read_json(repository, f"/issues/{number}/labels?per_page=100")
    return label.lower() in {each["name"].lower() for each in labels}


def labels_added(repository: "Repository", number: int, at: datetime, login: str) -> set[str]:
    """Return the labels, in lower case, that the person added within a second of that time. Raises ProviderError.

    docs.github.com/rest/issues/events#list-issue-events
    """
    labels = set()
    with provider_errors():
        for event in newest_first(repository.get_issue(number).get_events()):
            if event.created_at < at - SECOND:
                break
            actor: Any = event.actor  # null if the account was deleted, which PyGithub's types omit
            is_theirs = bool(actor) and actor.login.lower() == login.lower()
            if event.event == "labeled" and is_theirs and event.created_at <= at + SECOND:
                labels.add(event.label.name.lower())
    return labels


def save_refusal(repository: "Repository", number: int, text: Callable[[RunRecord | None], str]) -> None:
    """Write the refusal comment of an issue: the first refusal creates it, later ones edit it.

    `text` gets the record of the refusals so far. Raises ProviderError.
    """
    try:
        existing, record = _last_refusal(repository, number)
    except ProviderError:  # a second comment is better than none
        existing, record = None, None
    with provider_errors():
        if existing is None:
            repository.get_issue(number).create_comment(text(None))
        else:
            existing.edit(text(record))


def post_request(repository: "Repository", number: int, body: str) -> int:
    """Post the comment that announces a run, and return its id. Raises ProviderError."""
    with provider_errors():
        path = f"{repository.url}/issues/{number}/comments"
        return int(repository.requester.requestJsonAndCheck("POST", path, input={"body": body})[1]["id"])


def withdraw_request(repository: "Repository", number: int, mark: str, comment: int) -> None:
    """Delete our comment that announces the run, if there is one. Raises ProviderError."""
    with provider_errors():
        if (announcement := find_announcement(repository, number, mark, comment)) is not None:
            announcement.delete()


def add_to_request(repository: "Repository", number: int, mark: str, comment: int, text: str) -> None:
    """Add a paragraph to our comment that announces the run, above its mark. Raises ProviderError."""
    with provider_errors():
        if (announcement := find_announcement(repository, number, mark, comment)) is not None:
            announcement.edit(announcement.body.replace(mark, f"{text.strip()}\n\n{mark}"))


def _last_refusal(repository: "Repository", number: int) -> "tuple[IssueComment | None, RunRecord | None]":
    with provider_errors():
        comments = own_records(repository.get_issue(number))
        return next((each for each in comments if each[1].source == "gate"), (None, None))


def run_created_at(repository: "Repository", run_id: int) -> datetime:
    """Return when the workflow run was created. Raises ProviderError.

    docs.github.com/rest/actions/workflow-runs#get-a-workflow-run
    """
    with provider_errors():
        run = read_json(repository, f"/actions/runs/{run_id}")
    return parse_utc(run["created_at"])


@dataclass(frozen=True)
class TriggerIssue:
    """The issue of a request. `state` is `open`, `closed`, `missing` or `pull_request`."""

    state: str
    body: str = ""


def read_issue(repository: "Repository", number: int) -> TriggerIssue:
    """Return the state and text of the issue. Raises ProviderError.

    docs.github.com/rest/issues/issues#get-an-issue
    """
    from github import GithubException

    with provider_errors():
        try:
            answer = read_json(repository, f"/issues/{number}")
        except GithubException as error:
            if error.status in {404, 410}:  # 410: it was deleted
                return TriggerIssue("missing")
            raise
    if not answer["repository_url"].lower().endswith(repository.url.lower()):
        return TriggerIssue("missing")  # GitHub redirects if the issue was transferred
    return TriggerIssue(
        "pull_request" if answer.get("pull_request") is not None else answer["state"], answer.get("body") or ""
    )
