"""One comment of ours on an issue or a pull request, and one issue of ours by its label: made once, edited in place."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ops.github.client import failures
from ops.github.comments import author, login

if TYPE_CHECKING:
    from github.Issue import Issue
    from github.IssueComment import IssueComment
    from github.Repository import Repository


class Forbidden(Exception):
    """The token may not write: that of a pull request from a fork, for one."""


def comment(repository: "Repository", number: int, marker: str) -> str:
    """What our comment with that marker says; "" where there is none. Raises ProviderError."""
    with failures():
        found = _find(repository.get_issue(number), marker, login(repository))
        return found.body if found else ""


def keep_comment(repository: "Repository", number: int, marker: str, body: str) -> str:
    """Its address. `body` holds the marker. Raises Forbidden and ProviderError."""
    from github import GithubException

    with failures():
        issue = repository.get_issue(number)
        found = _find(issue, marker, login(repository))
        try:
            if found is None:
                return issue.create_comment(body).html_url
            if found.body != body:
                found.edit(body)
        except GithubException as error:
            if error.status == 403:
                raise Forbidden from None
            raise
        return found.html_url


def _find(issue: "Issue", marker: str, me: str) -> "IssueComment | None":
    return next((one for one in issue.get_comments() if author(one) == me and marker in one.body), None)


@dataclass(frozen=True)
class OpenIssue:
    number: int
    url: str
    since: datetime


def open_issue(repository: "Repository", label: str) -> OpenIssue | None:
    """Our newest open one with that label; one that somebody else opened is none. Raises ProviderError."""
    with failures():
        me = login(repository)
        for issue in repository.get_issues(state="open", labels=[label]):
            if author(issue) == me and issue.pull_request is None:
                return OpenIssue(issue.number, issue.html_url, issue.created_at.astimezone(UTC))
    return None


def is_any_open(repository: "Repository", label: str) -> bool:
    with failures():
        return any(True for _ in repository.get_issues(state="open", labels=[label]))


def keep_issue(repository: "Repository", label: str, title: str, body: str) -> OpenIssue:
    """Opened, or edited where its text is another. Raises ProviderError."""
    there = open_issue(repository, label)
    with failures():
        if there is None:
            made = repository.create_issue(title, body, labels=[label])
            return OpenIssue(made.number, made.html_url, made.created_at.astimezone(UTC))
        issue = repository.get_issue(there.number)
        if (issue.body or "").strip() != body.strip():
            issue.edit(body=body)
        return there


def close_issue(repository: "Repository", number: int, text: str) -> None:
    with failures():
        issue = repository.get_issue(number)
        issue.create_comment(text)
        issue.edit(state="closed")
