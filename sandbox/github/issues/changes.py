"""Issues are opened, edited, closed, reopened and assigned, and what their texts mention.

Markdown mentions people by `@login`, and issues by `#7`, `owner/name#7` or an address. Code and HTML comments mention
nothing, while an escape or an entity changes nothing: it is undone before.
docs.github.com/get-started/writing-on-github/working-with-advanced-formatting/autolinked-references-and-urls
"""

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sandbox.github.issues import label_changes
from sandbox.github.issues.event_changes import record
from sandbox.github.issues.state import Issue, Pull
from sandbox.github.payloads import deliver_issue
from sandbox.github.repository import Repository
from sandbox.github.users import serializers
from sandbox.github.users.state import By, User

_INERT = re.compile(
    r"^ {0,3}(?P<fence>`{3,}|~{3,}).*?(?:^ {0,3}(?P=fence)[`~]*[ \t]*$|\Z)"  # a fenced block, or the rest of the text
    r"|(?<!`)(?P<ticks>`+)(?!`).*?(?<!`)(?P=ticks)(?!`)"
    r"|<!--.*?(?:-->|\Z)"
    r"|<code>.*?</code>",
    re.DOTALL | re.MULTILINE,
)
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")


def _live(text: str | None) -> str:
    return html.unescape(_ESCAPE.sub(r"\1", _INERT.sub(" ", text or "")))


def logins(text: str | None) -> Iterator[str]:
    for match in re.finditer(r"(?<![\w/@`])@([A-Za-z0-9][A-Za-z0-9-]*)", _live(text)):
        yield match[1]


def numbers(text: str | None, full_name: str) -> Iterator[int]:
    """Of issues in this repository."""
    name = re.escape(full_name)
    pattern = rf"(?:(?<![\w/&#])|\b{name})#(\d+)\b|//[^/\s]+/{name}/(?:issues|pull)/(\d+)\b|(?<![\w/])GH-(\d+)\b"
    for match in re.finditer(pattern, _live(text), re.IGNORECASE):
        yield int(next(filter(None, match.groups())))


def open_issue(
    repository: Repository,
    by: By,
    *,
    title: str,
    body: str | None,
    labels: Iterable[str] = (),
    assignees: Iterable[User] = (),
    pull: Pull | None = None,
    number: int | None = None,
) -> Issue:
    """Delivered as `opened`, and once more for each label and assignee. `number` is one that was taken for it."""
    at = repository.now(by)
    issue = Issue(
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
    refer(repository, issue, by, body)
    names = list(labels)
    issue.labels = [label_changes.find_or_make(repository, by, name) for name in dict.fromkeys(names)]
    issue.assignees = list(assignees)
    deliver_issue(repository, by, "opened", issue)
    for label in issue.labels:
        label_changes.tell(repository, issue, by, "labeled", label)
    for assignee in issue.assignees:
        _tell_assigned(repository, issue, by, "assigned", assignee)
    return issue


def edit(repository: Repository, issue: Issue, by: By, *, title: str, body: str | None) -> None:
    changes: dict[str, Mapping[str, str]] = {}
    if title != issue.title:
        changes["title"] = {"from": issue.title}
        record(repository, issue, "renamed", by, rename={"from": issue.title, "to": title})
        issue.title = title
    if body != issue.body:
        changes["body"] = {"from": issue.body or ""}
        refer(repository, issue, by, body, before=issue.body)
        issue.body = body
        issue.updated_at = repository.now(by)
    if changes:
        deliver_issue(repository, by, "edited", issue, changes=changes)


def set_state(repository: Repository, issue: Issue, by: By, *, state: str, reason: str | None) -> Mapping[str, Any]:
    """The payload of `closed` or `reopened`; nothing happens where it is in that state already."""
    if state == issue.state:
        return {}
    closed = state == "closed"
    issue.state = state
    issue.state_reason = (None if issue.pull else reason or "completed") if closed else "reopened"
    issue.closed_at = repository.now(by) if closed else None
    issue.closed_by = by.user if closed else None
    shown = issue.state_reason if closed else None
    record(repository, issue, "closed" if closed else "reopened", by, state_reason=shown)
    return deliver_issue(repository, by, "closed" if closed else "reopened", issue)


def assign(repository: Repository, issue: Issue, by: By, assignees: Sequence[User]) -> None:
    """These and no others."""
    before, issue.assignees = issue.assignees, list(dict.fromkeys(assignees))
    for user in before:
        if user not in assignees:
            _tell_assigned(repository, issue, by, "unassigned", user)
    for user in issue.assignees:
        if user not in before:
            _tell_assigned(repository, issue, by, "assigned", user)


def _tell_assigned(repository: Repository, issue: Issue, by: By, event: str, user: User) -> None:
    record(repository, issue, event, by, assignee=user)
    deliver_issue(repository, by, event, issue, assignee=serializers.user(user, repository.urls))


def refer(repository: Repository, issue: Issue, by: By, text: str | None, *, before: str | None = None) -> None:
    """What a text that was written or edited refers to is told of it, once."""
    told = set(numbers(before, repository.urls.full_name))
    for number in dict.fromkeys(numbers(text, repository.urls.full_name)):
        other = repository.threads.get(number)
        if other is None or other is issue or number in told:
            continue
        if all(event.source is not issue for event in other.events):
            record(repository, other, "cross-referenced", by, source=issue)
    greeted = {login.lower() for login in logins(before)}
    for login in dict.fromkeys(logins(text)):
        user = repository.user(login)
        if user is not None and login.lower() not in greeted:
            record(repository, issue, "mentioned", By(user=user, at=by.at))
            record(repository, issue, "subscribed", By(user=user, at=by.at))
