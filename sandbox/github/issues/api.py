"""Issues API: list, open, read, edit, assign; events and timeline."""

from datetime import datetime
from typing import Any

from sandbox.github.call import (
    REPO,
    TEXT,
    Fields,
    GitHubAnswer,
    GitHubCall,
    GitHubRefusal,
    Routes,
    check_fields,
    custom,
    fields,
    invalid,
    not_found,
    parse,
    parse_strings,
    require_short,
    validation_failed,
)
from sandbox.github.issues import changes, serializers
from sandbox.github.issues.labels_api import label_names
from sandbox.github.issues.state import MAX_BODY, MAX_TITLE, FakeIssue, FakeIssueEvent
from sandbox.github.users.state import User

ROUTES = Routes()
ISSUE = REPO + "/issues/{issue_number}"
_REASONS = (None, "completed", "not_planned", "duplicate", "reopened")


@ROUTES.add("GET", REPO + "/issues")
def list_issues(call: GitHubCall) -> GitHubAnswer:
    """Return the issues, including pull requests, which are issues for this endpoint."""
    state = call.choice("state", "open", "closed", "all")
    sort = call.choice("sort", "created", "updated", "comments")
    newest_first = call.choice("direction", "desc", "asc") == "desc"
    since = query_time(call, "since")
    wanted = [name for name in call.query.get("labels", "").split(",") if name]
    found = [
        issue
        for issue in call.listed(call.repository.threads.values())
        if state in {"all", issue.state}
        and all(_shows_label(call, issue, name) for name in wanted)
        and (since is None or issue.updated_at >= since)
        and _matches_people(issue, call)
    ]
    key = {"created": "created_at", "updated": "updated_at"}.get(sort)
    found.sort(key=lambda issue: (getattr(issue, key) if key else len(issue.comments), issue.number))
    return call.page(
        found[::-1] if newest_first else found, lambda issue: serializers.issue_with_body(issue, call.urls)
    )


def _shows_label(call: GitHubCall, issue: FakeIssue, name: str) -> bool:
    """Return whether the issue has the label, and a list shows that already."""
    label = issue.find_label(name)
    added = [event for event in issue.events if event.event == "labeled" and event.label is label]
    return label is not None and len(call.listed(added[-1:])) == len(added[-1:])


def _matches_people(issue: FakeIssue, call: GitHubCall) -> bool:
    creator, assignee = (call.query.get(name, "").lower() for name in ("creator", "assignee"))
    assigned = {user.login.lower() for user in issue.assignees}
    by_assignee = {"": True, "*": bool(assigned), "none": not assigned}.get(assignee, assignee in assigned)
    return by_assignee and creator in {"", issue.user.login.lower()}


def query_time(call: GitHubCall, name: str) -> datetime | None:
    """Return a time in the query, which must have a time zone; None if it is missing. Raises GitHubRefusal."""
    try:
        text = call.query.get(name)
        value = None if text is None else datetime.fromisoformat(text)
    except ValueError as error:
        raise invalid("Search", name, "invalid") from error
    if value is not None and value.tzinfo is None:
        raise invalid("Search", name, "invalid")
    return value


_OPTIONAL: Fields = {"body": TEXT, "labels": list, "assignees": list, "assignee": TEXT, "milestone": type(None)}


@ROUTES.add("POST", REPO + "/issues")
def create_issue(call: GitHubCall) -> GitHubAnswer:
    """Open an issue. Labels and assignees are silently dropped without push access."""
    body = fields(call, required={"title": (str, int)}, optional=_OPTIONAL)
    title = _title(body)
    require_short("Issue", body.get("body"))
    names, people = label_names(body.get("labels", [])), _assignees(call, body) or []
    if not call.may("write"):
        names, people = [], []
    issue = changes.open_issue(
        call.repository, call.by, title=title, body=body.get("body"), labels=names, assignees=people
    )
    location = ("location", call.urls.repo(f"/issues/{issue.number}"))
    return GitHubAnswer(status=201, body=serializers.issue_with_body(issue, call.urls), headers=[location])


@ROUTES.add("GET", ISSUE)
def get_issue(call: GitHubCall) -> GitHubAnswer:
    return GitHubAnswer(body=serializers.issue_with_body(call.issue, call.urls))


@ROUTES.add("PATCH", ISSUE)
def update_issue(call: GitHubCall) -> GitHubAnswer:
    """Edit an issue, as its author or with the triage role.

    Labels and assignees are silently dropped without push access.
    """
    issue, repository, by = call.issue, call.repository, call.by
    if not call.may("triage") and call.user is not issue.user:
        raise GitHubRefusal(403, "Must have admin rights to Repository.")
    body = fields(call, optional={"title": (str, int), "state": str, "state_reason": TEXT, **_OPTIONAL})
    title = _title(body) if "title" in body else issue.title
    text = _body_to_keep(call, issue, body)
    state, reason = _state(issue, body)
    people = _assignees(call, body)
    names = label_names(body["labels"]) if "labels" in body else None
    changes.edit_issue(repository, issue, by, title=title, body=text)
    if call.may("write") and names is not None:
        changes.replace_labels(repository, issue, by, names)
    if call.may("write") and people is not None:
        changes.assign(repository, issue, by, people)
    changes.set_state(repository, issue, by, state=state, reason=reason)
    return GitHubAnswer(body=serializers.issue_with_body(issue, call.urls))


def _title(body: dict[str, Any]) -> str:
    title = str(body["title"])
    if not title.strip():
        raise invalid("Issue", "title", "missing_field")
    if len(title) > MAX_TITLE:
        raise custom("Issue", "title", f"title is too long (maximum is {MAX_TITLE} characters)")
    return title


def _body_to_keep(call: GitHubCall, issue: FakeIssue, body: dict[str, Any]) -> str | None:
    """Return the new body. With the switch off, an oversized body is silently ignored."""
    text: str | None = body.get("body", issue.body)
    if call.repository.switches.over_long_issue_body_is_refused:
        require_short("Issue", text)
    return issue.body if text is not None and len(text) > MAX_BODY else text


def _state(issue: FakeIssue, body: dict[str, Any]) -> tuple[str, str | None]:
    """Return the new state and its reason."""
    state, reason = body.get("state", issue.state), body.get("state_reason")
    if state not in {"open", "closed"}:
        raise invalid("Issue", "state", "invalid", value=state)
    if state == "open" and issue.pull and issue.pull.merged_at:
        raise custom("PullRequest", "state", "state cannot be changed. The pull request is merged.")
    if reason not in _REASONS:
        raise invalid("Issue", "state_reason", "invalid", value=reason)
    return state, reason


def _assignees(call: GitHubCall, body: dict[str, Any]) -> list[User] | None:
    if "assignees" in body:
        return _people(call, parse_strings(body["assignees"], "assignees"))
    return _people(call, [body["assignee"]] if body["assignee"] else []) if "assignee" in body else None


def _people(call: GitHubCall, logins: list[str]) -> list[User]:
    found = [(login, call.repository.user(login)) for login in logins]
    for login, user in found:
        if user is None or call.repository.collaborator_role(user) is None:
            raise invalid("Issue", "assignees", "invalid", value=login)
    return [user for _, user in found if user]


@ROUTES.add("POST", ISSUE + "/assignees")
def add_assignees(call: GitHubCall) -> GitHubAnswer:
    people = _people(call, parse_strings(_assignee_body(call)["assignees"], "assignees"))
    changes.assign(call.repository, call.issue, call.by, [*call.issue.assignees, *people])
    return GitHubAnswer(status=201, body=serializers.issue_with_body(call.issue, call.urls))


@ROUTES.add("DELETE", ISSUE + "/assignees")
def remove_assignees(call: GitHubCall) -> GitHubAnswer:
    people = _people(call, parse_strings(_assignee_body(call)["assignees"], "assignees"))
    kept = [user for user in call.issue.assignees if user not in people]
    changes.assign(call.repository, call.issue, call.by, kept)
    return GitHubAnswer(body=serializers.issue_with_body(call.issue, call.urls))


def _assignee_body(call: GitHubCall) -> dict[str, Any]:
    body = check_fields(parse(call), required={"assignees": (list, str)}, optional={})
    if isinstance(body["assignees"], str):
        raise validation_failed("For 'properties/assignees', a string is not an array.")
    return body


@ROUTES.add("GET", ISSUE + "/timeline")
def list_timeline(call: GitHubCall) -> GitHubAnswer:
    """Return the timeline, oldest first."""
    return call.page(call.listed(call.issue.timeline), lambda entry: serializers.timeline_entry(entry, call.urls))


@ROUTES.add("GET", ISSUE + "/events")
def list_events(call: GitHubCall) -> GitHubAnswer:
    """Return the events, oldest first, without comments and cross-references."""
    return call.page(call.listed(_events(call.issue.events)), lambda event: serializers.event(event, call.urls))


@ROUTES.add("GET", REPO + "/issues/events/{event_id}")
def get_event(call: GitHubCall) -> GitHubAnswer:
    wanted = call.number("event_id")
    for issue in call.repository.threads.values():
        for event in _events(issue.events):
            if event.id == wanted:
                return GitHubAnswer(body=serializers.event(event, call.urls))
    raise not_found()


def _events(events: list[FakeIssueEvent]) -> list[FakeIssueEvent]:
    return [event for event in events if event.source is None]
