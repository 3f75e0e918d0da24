"""Labels of the repository, and labels on an issue."""

import re
from typing import Any

from sandbox.github.call import (
    NO_CONTENT,
    REPO,
    TEXT,
    GitHubAnswer,
    GitHubCall,
    GitHubRefusal,
    Routes,
    custom,
    fields,
    invalid,
    not_found,
    parse,
    validation_failed,
)
from sandbox.github.issues import changes, serializers
from sandbox.github.issues.state import MAX_LABEL, FakeIssue, FakeLabel

ROUTES = Routes()
_LABELS = REPO + "/labels"
_ON_ISSUE = REPO + "/issues/{issue_number}/labels"
_LONGEST_DESCRIPTION = 100


def label_names(value: Any) -> list[str]:
    """Return the names in a list of strings or objects. Suggested labels are left out. Raises GitHubRefusal."""
    if not isinstance(value, list):
        raise validation_failed("For 'properties/labels', it is not an array.")
    names = []
    for item in value:
        name = item.get("name") if isinstance(item, dict) else item
        if not isinstance(name, str):
            raise validation_failed("For 'items/labels', it is not a string or an object with a name.")
        _require_name(name)
        if not (isinstance(item, dict) and item.get("suggest")):
            names.append(name)
    return names


def _require_name(name: str) -> None:
    if not name.strip():
        raise invalid("Label", "name", "missing_field")
    if len(name) > MAX_LABEL:
        raise custom("Label", "name", f"name is too long (maximum is {MAX_LABEL} characters)")


def _find(call: GitHubCall) -> FakeLabel:
    label = call.repository.labels.get(call.parameters["name"].lower())
    if label is None:
        raise not_found()
    return label


@ROUTES.add("GET", _LABELS)
def list_labels(call: GitHubCall) -> GitHubAnswer:
    found = sorted(call.listed(call.repository.labels.values()), key=lambda label: label.name.lower())
    return call.page(found, lambda label: serializers.label(label, call.urls))


@ROUTES.add("POST", _LABELS)
def create_label(call: GitHubCall) -> GitHubAnswer:
    body = fields(call, required={"name": str}, optional={"color": str, "description": TEXT})
    _check(body)
    if body["name"].lower() in call.repository.labels:
        raise invalid("Label", "name", "already_exists")
    label = changes.make_label(call.repository, call.by, **body)
    return GitHubAnswer(status=201, body=serializers.label(label, call.urls))


@ROUTES.add("GET", _LABELS + "/{name}")
def get_label(call: GitHubCall) -> GitHubAnswer:
    return GitHubAnswer(body=serializers.label(_find(call), call.urls))


@ROUTES.add("PATCH", _LABELS + "/{name}")
def update_label(call: GitHubCall) -> GitHubAnswer:
    """Edit a label. `new_name` renames it; older clients send `name`."""
    label = _find(call)
    body = fields(call, optional={"new_name": str, "name": str, "color": str, "description": TEXT})
    name = body.pop("new_name", body.pop("name", label.name))
    kept = {"name": name, "color": label.color, "description": label.description} | body
    _check(kept)
    if call.repository.labels.get(name.lower(), label) is not label:
        raise invalid("Label", "name", "already_exists")
    changes.edit_label(call.repository, call.by, label, **kept)
    return GitHubAnswer(body=serializers.label(label, call.urls))


@ROUTES.add("DELETE", _LABELS + "/{name}")
def delete_label(call: GitHubCall) -> GitHubAnswer:
    changes.delete_label(call.repository, call.by, _find(call))
    return NO_CONTENT


def _check(body: dict[str, Any]) -> None:
    _require_name(body["name"])
    if not re.fullmatch("[0-9a-fA-F]{6}", body.get("color", "ededed")):
        raise invalid("Label", "color", "invalid")
    if len(body.get("description") or "") > _LONGEST_DESCRIPTION:
        message = f"description is too long (maximum is {_LONGEST_DESCRIPTION} characters)"
        raise custom("Label", "description", message)


def _on(issue: FakeIssue, call: GitHubCall) -> GitHubAnswer:
    return GitHubAnswer(body=[serializers.label(label, call.urls) for label in issue.labels])


@ROUTES.add("GET", _ON_ISSUE)
def list_labels_on_issue(call: GitHubCall) -> GitHubAnswer:
    return call.page(call.issue.labels, lambda label: serializers.label(label, call.urls))


@ROUTES.add("POST", _ON_ISSUE)
def add_labels(call: GitHubCall) -> GitHubAnswer:
    changes.add_labels(call.repository, call.issue, call.by, _names(call))
    return _on(call.issue, call)


@ROUTES.add("PUT", _ON_ISSUE)
def set_labels(call: GitHubCall) -> GitHubAnswer:
    changes.replace_labels(call.repository, call.issue, call.by, _names(call))
    return _on(call.issue, call)


@ROUTES.add("DELETE", _ON_ISSUE)
def remove_all_labels(call: GitHubCall) -> GitHubAnswer:
    changes.replace_labels(call.repository, call.issue, call.by, [])
    return NO_CONTENT


@ROUTES.add("DELETE", _ON_ISSUE + "/{name}")
def remove_label(call: GitHubCall) -> GitHubAnswer:
    label = call.issue.find_label(call.parameters["name"])
    if label is None:
        raise GitHubRefusal(404, "Label does not exist")
    changes.remove_label(call.repository, call.issue, call.by, label)
    return _on(call.issue, call)


def _names(call: GitHubCall) -> list[str]:
    """Return the names in the body, which is an array, or an object with one."""
    body = parse(call)
    return label_names(body if isinstance(body, list) else fields(call, required={"labels": list})["labels"])
