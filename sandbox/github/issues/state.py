"""Issues, pull requests (which are issues with more), and what hangs on them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sandbox.github.users.state import App, User

LONGEST_BODY = 65_536
"""In characters; of issues and comments."""
LONGEST_TITLE = 256
LONGEST_LABEL = 50


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


@dataclass(eq=False, kw_only=True)
class FakeComment:
    id: int
    number: int
    """Of its issue."""
    user: User
    app: App | None
    body: str
    created_at: datetime
    updated_at: datetime
    reactions: list[Reaction] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class FakeIssueEvent:
    """An entry of `events` and of `timeline`. A comment stands in the timeline itself, and is no Event."""

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
    """Of `cross-referenced`: the issue that mentions this one."""
    commit_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Fork:
    """Another repository of the same name. Only what it asks to be pulled is here."""

    id: int
    owner: User


@dataclass(eq=False, kw_only=True)
class FakePullRequest:
    """What a pull request has beyond an issue."""

    id: int
    head: str
    """A branch, as is `base`."""
    base: str
    head_sha: str
    """Of the branch at the end: a closed pull request keeps it."""
    base_sha: str
    """Of the branch when it was opened. It does not follow the branch, as on GitHub."""
    parted: str | None = None
    """The sha where head and base parted, until it was merged; None where they have nothing in common."""
    fork: Fork | None = None
    """Where the head is, None for the repository itself."""
    draft: bool = False
    merged_at: datetime | None = None
    merged_by: User | None = None
    merge_commit_sha: str | None = None
    """Until then that of the test merge, and None where the two are in conflict."""


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
    reactions: list[Reaction] = field(default_factory=list)
    pull: FakePullRequest | None = None

    def has_label(self, name: str) -> FakeLabel | None:
        """The label of that name, in whichever case."""
        return next((label for label in self.labels if label.name.lower() == name.lower()), None)

    @property
    def timeline(self) -> list[FakeIssueEvent | FakeComment]:
        """Oldest first."""
        entries: list[Any] = [*self.events, *self.comments]
        return sorted(entries, key=lambda entry: (entry.created_at, entry.id))
