"""Comments are written, edited and deleted; reactions are set and taken back."""

from typing import Any

from sandbox.github.issues import serializers
from sandbox.github.issues.changes import refer
from sandbox.github.issues.state import Comment, Issue, Reaction
from sandbox.github.payloads import deliver
from sandbox.github.repository import Repository
from sandbox.github.users.state import By


def create(repository: Repository, issue: Issue, by: By, body: str) -> Comment:
    at = repository.now(by)
    comment = Comment(
        id=repository.new_id(),
        number=issue.number,
        user=by.user,
        app=by.app,
        body=body,
        created_at=at,
        updated_at=at,
    )
    issue.comments.append(comment)
    issue.updated_at = max(issue.updated_at, at)
    refer(repository, issue, by, body)
    _deliver(repository, issue, by, "created", comment)
    return comment


def edit(repository: Repository, issue: Issue, by: By, comment: Comment, body: str) -> None:
    before, comment.body = comment.body, body
    comment.updated_at = issue.updated_at = repository.now(by)
    refer(repository, issue, by, body, before=before)
    _deliver(repository, issue, by, "edited", comment, changes={"body": {"from": before}})


def delete(repository: Repository, issue: Issue, by: By, comment: Comment) -> None:
    """No event tells of it."""
    issue.comments.remove(comment)
    _deliver(repository, issue, by, "deleted", comment)


def react(repository: Repository, thing: Issue | Comment, by: By, content: str) -> tuple[Reaction, bool]:
    """The reaction, and whether it is new."""
    for reaction in thing.reactions:
        if reaction.user is by.user and reaction.content == content:
            return reaction, False
    reaction = Reaction(id=repository.new_id(), user=by.user, content=content, created_at=repository.now(by))
    thing.reactions.append(reaction)
    return reaction, True


def _deliver(repository: Repository, issue: Issue, by: By, action: str, comment: Comment, **fields: Any) -> None:
    urls = repository.urls
    shown = {"issue": serializers.issue(issue, urls), "comment": serializers.comment(comment, urls)}
    deliver(repository, by, "issue_comment", {"action": action, **shown, **fields})
