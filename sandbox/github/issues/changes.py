"""Changes of issues, labels, comments and reactions, with events, deliveries and mentions.

Markdown mentions people by `@login`, and issues by `#7`, `owner/name#7` or an address. Code and HTML comments mention
nothing. Escapes and entities are decoded first, so they do not prevent a mention.
docs.github.com/get-started/writing-on-github/working-with-advanced-formatting/autolinked-references-and-urls
"""

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sandbox.github.issues import serializers
from sandbox.github.issues.state import (
    ContentEdit,
    FakeComment,
    FakeIssue,
    FakeIssueEvent,
    FakeLabel,
    FakePullRequest,
    Reaction,
)
from sandbox.github.payloads import deliver, deliver_issue
from sandbox.github.repository import Repository
from sandbox.github.users import serializers as users
from sandbox.github.users.state import GitHubActor, User

_NO_MENTIONS = re.compile(
    r"(?=[ `~<])(?:"  # first, because it fails fast
    r"^ {0,3}(?P<fence>`{3,}|~{3,}).*?(?:^ {0,3}(?P=fence)[`~]*[ \t]*$|\Z)"  # a fenced block, or the rest of the text
    r"|(?<!`)(?P<ticks>`+)(?!`).*?(?<!`)(?P=ticks)(?!`)"
    r"|<!--.*?(?:-->|\Z)"
    r"|<code>.*?</code>)",
    re.DOTALL | re.MULTILINE,
)
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")


def _without_code(text: str | None) -> str:
    return html.unescape(_ESCAPE.sub(r"\1", _NO_MENTIONS.sub(" ", text or "")))


def mentioned_logins(text: str | None) -> Iterator[str]:
    for match in re.finditer(r"@(?<![\w/@`]@)([A-Za-z0-9][A-Za-z0-9-]*)", _without_code(text)):
        yield match[1]


def mentioned_numbers(text: str | None, full_name: str) -> Iterator[int]:
    """Yield the numbers of issues in this repository that the text mentions."""
    name = re.escape(full_name)
    short, address = rf"(?:(?<![\w/&#])|(?<=\b{name}))#(\d+)\b", rf"//[^/\s]+/{name}/(?:issues|pull)/(\d+)\b"
    pattern = rf"(?=[#/G])(?:{short}|{address}|(?<![\w/])GH-(\d+)\b)"
    for match in re.finditer(pattern, _without_code(text), re.IGNORECASE):
        yield int(next(filter(None, match.groups())))


def open_issue(
    repository: Repository,
    by: GitHubActor,
    *,
    title: str,
    body: str | None,
    labels: Iterable[str] = (),
    assignees: Iterable[User] = (),
    pull: FakePullRequest | None = None,
    number: int | None = None,
) -> FakeIssue:
    """Open an issue. Delivers `opened`, then an event for each label and assignee. `number` may be a reserved one."""
    at = repository.now(by)
    issue = FakeIssue(
        id=repository.new_id(),
        number=number or repository.new_number(),
        title=title,
        body=body,
        user=by.user,
        app=by.app,
        created_at=at,
        updated_at=at,
        pull=pull,
    )
    repository.threads[issue.number] = issue
    record_references(repository, issue, by, body)
    names = list(labels)
    issue.labels = [find_or_make_label(repository, by, name) for name in dict.fromkeys(names)]
    issue.assignees = list(assignees)
    deliver_issue(repository, by, "opened", issue)
    for label in issue.labels:
        _record_label(repository, issue, by, "labeled", label)
    for assignee in issue.assignees:
        _record_assignment(repository, issue, by, "assigned", assignee)
    return issue


def edit_issue(repository: Repository, issue: FakeIssue, by: GitHubActor, *, title: str, body: str | None) -> None:
    changes: dict[str, Mapping[str, str]] = {}
    if title != issue.title:
        changes["title"] = {"from": issue.title}
        record_event(repository, issue, "renamed", by, rename={"from": issue.title, "to": title})
        issue.title = title
    if body != issue.body:
        changes["body"] = {"from": issue.body or ""}
        record_references(repository, issue, by, body, before=issue.body)
        issue.body = body
        issue.updated_at = repository.now(by)
        created = [] if issue.edits else [ContentEdit(editor=issue.user, edited_at=issue.created_at)]
        issue.edits += [*created, ContentEdit(editor=by.user, edited_at=issue.updated_at)]
    if changes:
        deliver_issue(repository, by, "edited", issue, changes=changes)


def set_state(
    repository: Repository, issue: FakeIssue, by: GitHubActor, *, state: str, reason: str | None
) -> Mapping[str, Any]:
    """Close or reopen an issue, and return the payload; empty if the state does not change."""
    if state == issue.state:
        return {}
    closed = state == "closed"
    issue.state = state
    issue.state_reason = (None if issue.pull else reason or "completed") if closed else "reopened"
    issue.closed_at = repository.now(by) if closed else None
    issue.closed_by = by.user if closed else None
    shown = issue.state_reason if closed else None
    record_event(repository, issue, "closed" if closed else "reopened", by, state_reason=shown)
    return deliver_issue(repository, by, "closed" if closed else "reopened", issue)


def assign(repository: Repository, issue: FakeIssue, by: GitHubActor, assignees: Sequence[User]) -> None:
    """Replace all assignees of the issue."""
    before, issue.assignees = issue.assignees, list(dict.fromkeys(assignees))
    for user in before:
        if user not in assignees:
            _record_assignment(repository, issue, by, "unassigned", user)
    for user in issue.assignees:
        if user not in before:
            _record_assignment(repository, issue, by, "assigned", user)


def _record_assignment(repository: Repository, issue: FakeIssue, by: GitHubActor, event: str, user: User) -> None:
    record_event(repository, issue, event, by, assignee=user)
    deliver_issue(repository, by, event, issue, assignee=users.user(user, repository.urls))


def record_references(
    repository: Repository, issue: FakeIssue, by: GitHubActor, text: str | None, *, before: str | None = None
) -> None:
    """Record the new references of a text on the issues and for the people that it mentions, once each."""
    numbers = dict.fromkeys(mentioned_numbers(text, repository.urls.full_name))
    already_mentioned = set(mentioned_numbers(before, repository.urls.full_name)) if numbers else set()
    for number in numbers:
        other = repository.threads.get(number)
        if other is None or other is issue or number in already_mentioned:
            continue
        if all(event.source is not issue for event in other.events):
            record_event(repository, other, "cross-referenced", by, source=issue)
    logins = dict.fromkeys(mentioned_logins(text))
    already_notified = {login.lower() for login in mentioned_logins(before)} if logins else set()
    for login in logins:
        user = repository.user(login)
        if user is not None and login.lower() not in already_notified:
            record_event(repository, issue, "mentioned", GitHubActor(user=user, at=by.at))
            record_event(repository, issue, "subscribed", GitHubActor(user=user, at=by.at))


def make_label(
    repository: Repository, by: GitHubActor, *, name: str, color: str = "ededed", description: str | None = None
) -> FakeLabel:
    label = FakeLabel(id=repository.new_id(), name=name, color=color, description=description)
    repository.labels[name.lower()] = label
    _deliver_label(repository, by, "created", label)
    return label


def find_or_make_label(repository: Repository, by: GitHubActor, name: str) -> FakeLabel:
    """Return the label, created if it is missing. Names ignore case."""
    return repository.labels.get(name.lower()) or make_label(repository, by, name=name)


def edit_label(
    repository: Repository, by: GitHubActor, label: FakeLabel, *, name: str, color: str, description: str | None
) -> None:
    del repository.labels[label.name.lower()]
    repository.labels[name.lower()] = label
    label.name, label.color, label.description = name, color, description
    _deliver_label(repository, by, "edited", label, changes={})


def delete_label(repository: Repository, by: GitHubActor, label: FakeLabel) -> None:
    """Delete a label, and remove it from every issue without an event."""
    del repository.labels[label.name.lower()]
    for issue in repository.threads.values():
        issue.labels = [one for one in issue.labels if one is not label]
    _deliver_label(repository, by, "deleted", label)


def add_labels(
    repository: Repository, issue: FakeIssue, by: GitHubActor, names: Iterable[str]
) -> list[Mapping[str, Any]]:
    """Add labels, and return the payload of `labeled` for each new one. GitHub adds all of them, and then tells."""
    added = []
    for name in names:
        if not issue.find_label(name):
            added.append(find_or_make_label(repository, by, name))
            issue.labels.append(added[-1])
    return [_record_label(repository, issue, by, "labeled", label) for label in added]


def remove_label(repository: Repository, issue: FakeIssue, by: GitHubActor, label: FakeLabel) -> Mapping[str, Any]:
    issue.labels.remove(label)
    return _record_label(repository, issue, by, "unlabeled", label)


def replace_labels(repository: Repository, issue: FakeIssue, by: GitHubActor, names: Iterable[str]) -> None:
    """Replace all labels on the issue."""
    wanted = list(names)
    for label in list(issue.labels):
        if label.name.lower() not in {name.lower() for name in wanted}:
            remove_label(repository, issue, by, label)
    add_labels(repository, issue, by, wanted)


def _record_label(
    repository: Repository, issue: FakeIssue, by: GitHubActor, event: str, label: FakeLabel
) -> Mapping[str, Any]:
    record_event(repository, issue, event, by, label=label)
    return deliver_issue(repository, by, event, issue, label=serializers.label(label, repository.urls))


def _deliver_label(repository: Repository, by: GitHubActor, action: str, label: FakeLabel, **fields: Any) -> None:
    shown = {"action": action, "label": serializers.label(label, repository.urls), **fields}
    deliver(repository, by, "label", shown)


def create_comment(repository: Repository, issue: FakeIssue, by: GitHubActor, body: str) -> FakeComment:
    at = repository.now(by)
    comment = FakeComment(
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
    record_references(repository, issue, by, body)
    _deliver_comment(repository, issue, by, "created", comment)
    return comment


def edit_comment(repository: Repository, issue: FakeIssue, by: GitHubActor, comment: FakeComment, body: str) -> None:
    before, comment.body = comment.body, body
    comment.updated_at = issue.updated_at = repository.now(by)
    created = [] if comment.edits else [ContentEdit(editor=comment.user, edited_at=comment.created_at)]
    comment.edits += [*created, ContentEdit(editor=by.user, edited_at=comment.updated_at)]
    record_references(repository, issue, by, body, before=before)
    _deliver_comment(repository, issue, by, "edited", comment, changes={"body": {"from": before}})


def delete_comment(repository: Repository, issue: FakeIssue, by: GitHubActor, comment: FakeComment) -> None:
    """Delete a comment. The timeline gets no event."""
    issue.comments.remove(comment)
    _deliver_comment(repository, issue, by, "deleted", comment)


def react(
    repository: Repository, thing: FakeIssue | FakeComment, by: GitHubActor, content: str
) -> tuple[Reaction, bool]:
    """Add a reaction. Return it, and whether it is new."""
    for reaction in thing.reactions:
        if reaction.user is by.user and reaction.content == content:
            return reaction, False
    reaction = Reaction(id=repository.new_id(), user=by.user, content=content, created_at=repository.now(by))
    thing.reactions.append(reaction)
    return reaction, True


def _deliver_comment(
    repository: Repository, issue: FakeIssue, by: GitHubActor, action: str, comment: FakeComment, **fields: Any
) -> None:
    urls = repository.urls
    shown = {"issue": serializers.issue(issue, urls), "comment": serializers.comment(comment, urls)}
    deliver(repository, by, "issue_comment", {"action": action, **shown, **fields})


def record_event(repository: Repository, issue: FakeIssue, event: str, by: GitHubActor, **details: Any) -> None:
    """Record an event, which also updates the issue's `updated_at`."""
    at = repository.now(by)
    entry = FakeIssueEvent(
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
