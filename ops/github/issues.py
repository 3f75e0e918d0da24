"""The incident issues, and the labels of the repository."""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops.github.comments import BOT, WRITERS, blocks
from ops.model.block import Block, is_edited

if TYPE_CHECKING:
    from github.Issue import Issue
    from github.Repository import Repository

INCIDENT = "incident"
LONGEST_TITLE = 256
"""docs.github.com/rest/issues/issues: a longer one is refused."""


def open_incident(
    repository: "Repository", title: str, body: Callable[[str], str], labels: Iterable[str] = ()
) -> "tuple[int, str]":
    """Number and address. Sent once: where the answer is lost, two incidents would be worse than none.

    `body` gets the number, which is known afterwards only, so that the text is written twice.
    """
    from github import GithubException

    title = "".join(c if c.isprintable() else " " for c in title)[:LONGEST_TITLE]
    issue = repository.create_issue(title, body("NUMBER"), labels=[INCIDENT, *labels])
    with contextlib.suppress(GithubException, OSError):  # it stands there, and says that the number is to be put in
        issue.edit(body=body(str(issue.number)))
    return issue.number, issue.html_url


@dataclass(frozen=True)
class Found:
    block: Block
    author: str
    is_edited: bool
    url: str


def believed(repository: "Repository", number: int) -> list[Found]:
    """The blocks of the bot, and of people who may write here; those of others are as good as none."""
    issue: Issue = repository.get_issue(number)
    roles: dict[str, str] = {}

    def may_write(author: str) -> bool:
        if author not in roles:
            roles[author] = _role(repository, author)
        return author == BOT or roles[author] in WRITERS

    return [
        Found(block, comment.user.login, is_edited(comment.body), comment.html_url)
        for comment, block in blocks(issue)
        if may_write(comment.user.login)
    ]


def _role(repository: "Repository", author: str) -> str:
    """`none` also where GitHub does not know: an app, a user who is gone, a token that may not ask."""
    from github import GithubException

    if author == BOT:
        return "none"
    try:
        return repository.get_collaborator_role_name(author)
    except GithubException as error:
        if error.status in {403, 404}:
            return "none"
        raise


@dataclass(frozen=True)
class Label:
    color: str
    description: str


LABELS = {
    "incident": Label("b60205", "Something is broken for users"),
    "post-incident": Label("5319e7", "The report after an incident"),
    "sev1": Label("b60205", "Down, or data at risk"),
    "sev2": Label("d93f0b", "Broken for many users"),
    "sev3": Label("fbca04", "Broken for some users"),
}
"""Beside those of ops.yml. None of them starts anything."""


def sync_labels(repository: "Repository", wanted: Mapping[str, Label], say: Callable[[str], None]) -> None:
    """Create what is missing and change what differs. Names are the same whatever their case; others stay."""
    present = {label.name.lower(): label for label in repository.get_labels()}
    for name, label in wanted.items():
        there = present.get(name.lower())
        if there is None:
            repository.create_label(name, label.color, label.description)
            say(f"created {name}")
        elif (there.name, there.color, there.description or "") != (name, label.color, label.description):
            there.edit(name, label.color, label.description)
            say(f"changed {name}")
