"""Seeding methods for issues, labels and comments."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sandbox.github.issues import changes
from sandbox.github.issues.state import FakeIssue
from sandbox.github.users.fixtures import Seeds
from sandbox.github.users.state import ACTIONS_BOT, App

Payload = Mapping[str, Any]


class IssueSeeds(Seeds):
    def open_issue(
        self,
        title: str,
        body: str | None = None,
        labels: Iterable[str] = (),
        author: str = ACTIONS_BOT,
        at: datetime | None = None,
    ) -> int:
        """Open an issue and return its number."""
        with self._repository.lock:
            return changes.open_issue(
                self._repository, self._by(author, at), title=title, body=body, labels=labels
            ).number

    def edit_issue(self, number: int, body: str, by: str, at: datetime | None = None) -> None:
        """Replace the text of an issue."""
        with self._repository.lock:
            issue = self.issue(number)
            changes.edit_issue(self._repository, issue, self._by(by, at), title=issue.title, body=body)

    def add_label(self, name: str, description: str | None = None, color: str = "") -> None:
        """Add a label to the repository, if it is missing, and describe it."""
        with self._repository.lock:
            found = changes.find_or_make_label(self._repository, self._by(self._repository.owner_login), name)
            found.description = description or found.description
            found.color = color or found.color

    @property
    def labels(self) -> list[str]:
        """Names of the labels of the repository."""
        return [each.name for each in self._repository.labels.values()]

    def remove_label(self, name: str) -> None:
        """Delete a label of the repository."""
        with self._repository.lock:
            label = self._repository.labels[name.lower()]
            changes.delete_label(self._repository, self._by(self._repository.owner_login), label)

    def label(self, number: int, label: str, by: str, at: datetime | None = None, app: App | None = None) -> Payload:
        """Add a label, and return the payload of `issues` `labeled`. `app`: it acts in the name of the person.

        Raises:
            ValueError: the issue already has the label.
        """
        with self._repository.lock:
            actor = replace(self._by(by, at), app=app) if app else self._by(by, at)
            added = changes.add_labels(self._repository, self.issue(number), actor, [label])
        if not added:
            raise ValueError(f'issue #{number} already has the label "{label}"')
        return added[0]

    def label_at_once(self, number: int, labels: Sequence[str], by: str) -> list[Payload]:
        """Add several labels, as one click in the label picker does, and return their payloads."""
        with self._repository.lock:
            return changes.add_labels(self._repository, self.issue(number), self._by(by), labels)

    def unlabel(self, number: int, label: str, by: str, at: datetime | None = None) -> Payload:
        with self._repository.lock:
            issue = self.issue(number)
            carried = issue.find_label(label)
            if carried is None:
                raise ValueError(f'issue #{number} does not have the label "{label}"')
            return changes.remove_label(self._repository, issue, self._by(by, at), carried)

    def close(self, number: int, by: str, reason: str = "completed", at: datetime | None = None) -> Payload:
        """Close an issue and return the payload; empty if it was already closed."""
        return self._set_state(number, by, at, "closed", reason)

    def reopen(self, number: int, by: str, at: datetime | None = None) -> Payload:
        return self._set_state(number, by, at, "open", None)

    def _set_state(self, number: int, by: str, at: datetime | None, state: str, reason: str | None) -> Payload:
        with self._repository.lock:
            issue = self.issue(number)
            return changes.set_state(self._repository, issue, self._by(by, at), state=state, reason=reason)

    def comment(self, number: int, body: str, by: str, at: datetime | None = None) -> int:
        """Add a comment and return its ID."""
        with self._repository.lock:
            return changes.create_comment(self._repository, self.issue(number), self._by(by, at), body).id

    def edit_comment(self, number: int, comment_id: int, body: str, by: str, at: datetime | None = None) -> None:
        """Replace the text of a comment, as its author or a person with write access can."""
        with self._repository.lock:
            issue = self.issue(number)
            comment = next(each for each in issue.comments if each.id == comment_id)
            changes.edit_comment(self._repository, issue, self._by(by, at), comment, body)

    def delete_comment(self, number: int, comment_id: int, by: str) -> None:
        """Delete a comment, as its author or a person with write access can."""
        with self._repository.lock:
            issue = self.issue(number)
            comment = next(each for each in issue.comments if each.id == comment_id)
            changes.delete_comment(self._repository, issue, self._by(by), comment)

    def issue(self, number: int) -> FakeIssue:
        """Return the live issue, not a copy."""
        return self._repository.threads[number]

    @property
    def issues(self) -> list[FakeIssue]:
        """Issues without pull requests, oldest first."""
        return [issue for issue in self._repository.threads.values() if issue.pull is None]
