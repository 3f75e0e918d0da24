"""Events: what an issue's timeline tells besides its comments."""

from typing import Any

from sandbox.github.issues.state import Event, Issue
from sandbox.github.repository import Repository
from sandbox.github.users.state import By


def record(repository: Repository, issue: Issue, event: str, by: By, **details: Any) -> None:
    """An event, which also makes the issue an updated one."""
    at = repository.now(by)
    entry = Event(
        id=repository.new_id(),
        number=issue.number,
        event=event,
        user=by.user,
        app=by.app,
        created_at=at,
        **details,
    )
    issue.events.append(entry)
    issue.updated_at = max(issue.updated_at, at)
