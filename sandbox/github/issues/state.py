"""Issues and pull requests with labels, comments, reactions and events."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sandbox.github.users.state import App, User

MAX_BODY = 65_536
"""Maximum characters of an issue or comment."""
MAX_TITLE = 256
MAX_LABEL = 50


@dataclass(eq=False, kw_only=True)
class FakeLabel:
    id: int
    name: str
    color: str = "ededed"
    description: str | None = None


@dataclass(frozen=True, kw_only=True)
class Reaction:
    id: int
    user: User
    content: str
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class ContentEdit:
    """One entry of the edit history of a comment. The first one of an edited comment is its creation.

    docs.github.com/graphql/reference/objects#usercontentedit
    """

    editor: User | None
    """None: the account was deleted."""
    edited_at: datetime


@dataclass(eq=False, kw_only=True)
class FakeComment:
    id: int
    number: int
    """Number of its issue."""
    user: User
    app: App | None
    body: str
    created_at: datetime
    updated_at: datetime
    reactions: list[Reaction] = field(default_factory=list)
    edits: list[ContentEdit] = field(default_factory=list)
    """Oldest first; empty without an edit."""


@dataclass(frozen=True, kw_only=True)
class FakeIssueEvent:
    """An entry of `events` and of `timeline`. A comment is in the timeline itself, and has no event."""

    id: int
    number: int
    event: str
    user: User
    app: App | None
    created_at: datetime
    label: FakeLabel | None = None
    assignee: User | None = None
    rename: Mapping[str, str] | None = None
    state_reason: str | None = None
    source: "FakeIssue | None" = None
    """For `cross-referenced`: the issue that mentions this one."""
    commit_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Fork:
    """A fork with the same name. It holds only the heads of pull requests."""

    id: int
    owner: User


@dataclass(eq=False, kw_only=True)
class FakePullRequest:
    """Fields of a pull request that an issue does not have."""

    id: int
    head: str
    """Branch name, as is `base`."""
    base: str
    head_sha: str
    """Sha of the head branch; for a closed pull request, its last one."""
    base_sha: str
    """Sha of the base branch at the time of opening. As on GitHub, it does not follow the branch."""
    merge_base_sha: str | None = None
    """Sha of the merge base, until the merge; None without a common ancestor."""
    fork: Fork | None = None
    """Fork that holds the head; None if it is in the repository itself."""
    draft: bool = False
    merged_at: datetime | None = None
    merged_by: User | None = None
    merge_commit_sha: str | None = None
    """Before the merge, the sha of the test merge; None in case of a conflict."""


@dataclass(eq=False, kw_only=True)
class FakeIssue:
    id: int
    number: int
    title: str
    body: str | None
    user: User
    app: App | None
    created_at: datetime
    updated_at: datetime
    state: str = "open"
    state_reason: str | None = None
    closed_at: datetime | None = None
    closed_by: User | None = None
    labels: list[FakeLabel] = field(default_factory=list)
    assignees: list[User] = field(default_factory=list)
    comments: list[FakeComment] = field(default_factory=list)
    events: list[FakeIssueEvent] = field(default_factory=list)
    edits: list[ContentEdit] = field(default_factory=list)
    """Oldest first; empty without an edit of the text."""
    reactions: list[Reaction] = field(default_factory=list)
    pull: FakePullRequest | None = None

    def find_label(self, name: str) -> FakeLabel | None:
        """Return the label with that name, in any case; None if it is missing."""
        return next((label for label in self.labels if label.name.lower() == name.lower()), None)

    @property
    def timeline(self) -> list[FakeIssueEvent | FakeComment]:
        """Events and comments, oldest first."""
        entries: list[Any] = [*self.events, *self.comments]
        return sorted(entries, key=lambda entry: (entry.created_at, entry.id))
