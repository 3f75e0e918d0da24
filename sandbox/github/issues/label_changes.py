"""Labels of the repository, and labels on issues."""

from collections.abc import Iterable, Mapping
from typing import Any

from sandbox.github.issues import serializers
from sandbox.github.issues.event_changes import record
from sandbox.github.issues.state import Issue, Label
from sandbox.github.payloads import deliver, deliver_issue
from sandbox.github.repository import Repository
from sandbox.github.users.state import By


def make(repository: Repository, by: By, *, name: str, color: str = "ededed", description: str | None = None) -> Label:
    label = Label(id=repository.new_id(), name=name, color=color, description=description)
    repository.labels[name.lower()] = label
    _deliver(repository, by, "created", label)
    return label


def find_or_make(repository: Repository, by: By, name: str) -> Label:
    """A label that is put on an issue is made when there is none of that name, in whichever case."""
    return repository.labels.get(name.lower()) or make(repository, by, name=name)


def edit(repository: Repository, by: By, label: Label, *, name: str, color: str, description: str | None) -> None:
    del repository.labels[label.name.lower()]
    repository.labels[name.lower()] = label
    label.name, label.color, label.description = name, color, description
    _deliver(repository, by, "edited", label, changes={})


def delete(repository: Repository, by: By, label: Label) -> None:
    """It is taken off every issue, without an event."""
    del repository.labels[label.name.lower()]
    for issue in repository.threads.values():
        issue.labels = [one for one in issue.labels if one is not label]
    _deliver(repository, by, "deleted", label)


def add(repository: Repository, issue: Issue, by: By, names: Iterable[str]) -> list[Mapping[str, Any]]:
    """The payloads of `labeled`, one for each label that the issue did not carry yet."""
    return [_add(repository, issue, by, name) for name in dict.fromkeys(names) if not issue.carries(name)]


def _add(repository: Repository, issue: Issue, by: By, name: str) -> Mapping[str, Any]:
    label = find_or_make(repository, by, name)
    issue.labels.append(label)
    return tell(repository, issue, by, "labeled", label)


def remove(repository: Repository, issue: Issue, by: By, label: Label) -> Mapping[str, Any]:
    issue.labels.remove(label)
    return tell(repository, issue, by, "unlabeled", label)


def replace(repository: Repository, issue: Issue, by: By, names: Iterable[str]) -> None:
    """These and no others."""
    wanted = list(names)
    for label in list(issue.labels):
        if label.name.lower() not in {name.lower() for name in wanted}:
            remove(repository, issue, by, label)
    add(repository, issue, by, wanted)


def tell(repository: Repository, issue: Issue, by: By, event: str, label: Label) -> Mapping[str, Any]:
    record(repository, issue, event, by, label=label)
    return deliver_issue(repository, by, event, issue, label=serializers.label(label, repository.urls))


def _deliver(repository: Repository, by: By, action: str, label: Label, **fields: Any) -> None:
    shown = {"action": action, "label": serializers.label(label, repository.urls), **fields}
    deliver(repository, by, "label", shown)
