"""The incident issues, and the labels of the repository."""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ops.core.errors import Decision, ProviderError
from ops.core.run_record import RunRecord, is_edited, parse_job_run, read_record
from ops.github.comments import BOT, author, run_records
from ops.github.permissions import may_write, permission_of

if TYPE_CHECKING:
    from github.Repository import Repository

INCIDENT = "incident"
LONGEST_TITLE = 256
"""docs.github.com/rest/issues/issues: a longer one is refused."""


@dataclass(frozen=True)
class IssueRecord:
    """A block of ours on the issue, by somebody who may write here."""

    record: RunRecord
    author: str
    is_edited: bool
    url: str

    @property
    def is_run(self) -> bool:
        return self.record.source in {"run", "laptop"} and self.record.part == 1

    def first_event_at(self, kind: str) -> datetime | None:
        """The first row of that kind."""
        return next((row.at for row in self.record.rows if row.kind == kind), None)

    @property
    def decision_text(self) -> str:
        """Its decision, in words."""
        said = self.record.decision
        return said.replace("_", " ") if said in set(Decision) else "without an end"

    @property
    def origin(self) -> str:
        return "GitHub Actions" if self.actions_run else "a laptop"

    @property
    def actions_run(self) -> tuple[int, int] | None:
        """GitHub's run and attempt; None for a laptop's."""
        return parse_job_run(self.record.run)


def clean_title(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:LONGEST_TITLE]


def open_incident(
    repository: "Repository", title: str, body: Callable[[str], str], labels: Iterable[str] = ()
) -> "tuple[int, str]":
    """Number and address. Sent once: where the answer is lost, two incidents would be worse than none.

    `body` gets the number, which is known afterwards only, so that the text is written twice.
    """
    from github import GithubException

    issue = repository.create_issue(clean_title(title), body("NUMBER"), labels=[INCIDENT, *labels])
    with contextlib.suppress(GithubException, ProviderError, OSError):  # the body then says NUMBER
        issue.edit(body=body(str(issue.number)))
    return issue.number, issue.html_url


def open_with_record(repository: "Repository", run: str) -> int | None:
    """The newest open incident whose body carries that block, by the bot or by somebody who may write here."""
    writers = TrustedAuthors(repository)
    for issue in repository.get_issues(state="open", labels=[INCIDENT]):
        block = read_record(issue.body or "")
        if block is not None and block.run == run and writers.includes(author(issue)):
            return issue.number
    return None


def trusted_records(repository: "Repository", number: int) -> list[IssueRecord]:
    """The blocks of the bot, and of people who may write here; those of others are as good as none."""
    writers = TrustedAuthors(repository)
    return [
        IssueRecord(block, author(comment), is_edited(comment.body), comment.html_url)
        for comment, block in run_records(repository.get_issue(number))
        if writers.includes(author(comment))
    ]


class TrustedAuthors:
    """Who may write to the repository, or is the bot that speaks for its workflows. Each is asked for once."""

    def __init__(self, repository: "Repository") -> None:
        self._repository = repository
        self._may: dict[str, bool] = {}

    def includes(self, login: str) -> bool:
        """Whether that user is one of them. A user without a login is gone, and none."""
        if login == BOT:
            return True
        if login not in self._may:
            self._may[login] = bool(login) and _may_write(self._repository, login)
        return self._may[login]


def _may_write(repository: "Repository", login: str) -> bool:
    """False also where GitHub does not know: an app, a user who is gone, a token that may not ask."""
    from github import GithubException

    try:
        found = permission_of(repository, login)
    except GithubException as error:
        if error.status in {403, 404}:
            return False
        raise
    return may_write(found["role_name"], found["permission"])


@dataclass(frozen=True)
class LabelStyle:
    color: str
    description: str


LABELS = {
    "drill": LabelStyle("bfd4f2", "An exercise: nothing is broken for users"),
    "report": LabelStyle("c5def5", "Makes the post-incident report, and renews it"),
    "incident": LabelStyle("b60205", "Something is broken for users"),
    "post-incident": LabelStyle("5319e7", "The report after an incident"),
    "limits-drift": LabelStyle("fbca04", "What applies differs from limits.yml"),
    "sev1": LabelStyle("b60205", "Down, or data at risk"),
    "sev2": LabelStyle("d93f0b", "Broken for many users"),
    "sev3": LabelStyle("fbca04", "Broken for some users"),
}
"""Beside those of ops.yml. None of them changes anything outside of GitHub."""


def sync_labels(repository: "Repository", wanted: Mapping[str, LabelStyle], say: Callable[[str], None]) -> None:
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
