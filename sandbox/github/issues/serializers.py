"""JSON of issues, comments, labels, reactions, events and timeline entries.

docs.github.com/rest/issues/issues#get-an-issue, docs.github.com/rest/using-the-rest-api/issue-event-types
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from sandbox.github.issues.state import FakeComment, FakeIssue, FakeIssueEvent, FakeLabel, Reaction
from sandbox.github.urls import Urls, node_id, timestamp, timestamp_or_none
from sandbox.github.users import serializers as users

CONTENTS = ("+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes")
_DEFAULT_LABELS = frozenset(
    {"bug", "documentation", "duplicate", "enhancement", "good first issue", "help wanted", "invalid", "question"}
)


def label(label: FakeLabel, urls: Urls) -> dict[str, Any]:
    return {
        "id": label.id,
        "node_id": node_id("LA", label.id),
        "url": urls.repo(f"/labels/{quote(label.name, safe='')}"),
        "name": label.name,
        "color": label.color,
        "default": label.name in _DEFAULT_LABELS,
        "description": label.description,
    }


def reaction(reaction: Reaction, urls: Urls) -> dict[str, Any]:
    return {
        "id": reaction.id,
        "node_id": node_id("REA", reaction.id),
        "user": users.user(reaction.user, urls),
        "content": reaction.content,
        "created_at": timestamp(reaction.created_at),
    }


def _rollup(reactions: Sequence[Reaction], url: str) -> dict[str, Any]:
    counts = {content: sum(one.content == content for one in reactions) for content in CONTENTS}
    return {"url": f"{url}/reactions", "total_count": len(reactions), **counts}


def comment(comment: FakeComment, urls: Urls) -> dict[str, Any]:
    url = urls.repo(f"/issues/comments/{comment.id}")
    return {
        "url": url,
        "html_url": urls.page(f"/issues/{comment.number}#issuecomment-{comment.id}"),
        "issue_url": urls.repo(f"/issues/{comment.number}"),
        "id": comment.id,
        "node_id": node_id("IC", comment.id),
        "user": users.user(comment.user, urls),
        "created_at": timestamp(comment.created_at),
        "updated_at": timestamp(comment.updated_at),
        "author_association": users.association(comment.user, urls),
        "body": comment.body,
        "reactions": _rollup(comment.reactions, url),
        "performed_via_github_app": users.app(comment.app, urls),
    }


def issue(issue: FakeIssue, urls: Urls) -> dict[str, Any]:
    """Return an issue as in payloads."""
    url, kind = urls.repo(f"/issues/{issue.number}"), "issues" if issue.pull is None else "pull"
    assignees = [users.user(one, urls) for one in issue.assignees]
    shown = {
        "url": url,
        "repository_url": urls.repo(),
        "labels_url": f"{url}/labels{{/name}}",
        "comments_url": f"{url}/comments",
        "events_url": f"{url}/events",
        "html_url": urls.page(f"/{kind}/{issue.number}"),
        "id": issue.id,
        "node_id": node_id("I", issue.id),
        "number": issue.number,
        "title": issue.title,
        "user": users.user(issue.user, urls),
        "labels": [label(one, urls) for one in issue.labels],
        "state": issue.state,
        "locked": False,
        "assignee": next(iter(assignees), None),
        "assignees": assignees,
        "milestone": None,
        "comments": len(issue.comments),
        "created_at": timestamp(issue.created_at),
        "updated_at": timestamp(issue.updated_at),
        "closed_at": timestamp_or_none(issue.closed_at),
        "author_association": users.association(issue.user, urls),
        "active_lock_reason": None,
        "body": issue.body,
        "reactions": _rollup(issue.reactions, url),
        "timeline_url": f"{url}/timeline",
        "performed_via_github_app": users.app(issue.app, urls),
        "state_reason": issue.state_reason,
    }
    return shown if issue.pull is None else {**shown, **_pull_links(issue, urls)}


def _pull_links(issue: FakeIssue, urls: Urls) -> dict[str, Any]:
    assert issue.pull is not None
    page = urls.page(f"/pull/{issue.number}")
    links = {"html_url": page, "diff_url": f"{page}.diff", "patch_url": f"{page}.patch"}
    merged_at = timestamp_or_none(issue.pull.merged_at)
    pull_request = {"url": urls.repo(f"/pulls/{issue.number}"), **links, "merged_at": merged_at}
    return {"draft": issue.pull.draft, "pull_request": pull_request}


def issue_with_body(issue_: FakeIssue, urls: Urls) -> dict[str, Any]:
    """Return an issue as in API responses."""
    return issue(issue_, urls) | {"closed_by": users.user_or_none(issue_.closed_by, urls)}


def event(event: FakeIssueEvent, urls: Urls) -> dict[str, Any]:
    """Return an entry of `events`; only there it has `assigner`."""
    shown = _event(event, urls)
    return {**shown, "assigner": shown["actor"]} if event.assignee else shown


def timeline_entry(entry: FakeIssueEvent | FakeComment, urls: Urls) -> dict[str, Any]:
    """Return an entry of the timeline."""
    if isinstance(entry, FakeComment):
        shown = comment(entry, urls)
        return {**shown, "event": "commented", "actor": shown["user"]}
    return _cross_reference(entry, urls) if entry.source else _event(entry, urls)


def _cross_reference(event: FakeIssueEvent, urls: Urls) -> dict[str, Any]:
    """Return a cross-reference, which has no ID."""
    assert event.source is not None
    at = timestamp(event.created_at)
    return {
        "actor": users.user(event.user, urls),
        "created_at": at,
        "updated_at": at,
        "source": {"type": "issue", "issue": issue_with_body(event.source, urls)},
        "event": event.event,
    }


def _event(event: FakeIssueEvent, urls: Urls) -> dict[str, Any]:
    commit_url = event.commit_id and urls.repo(f"/commits/{event.commit_id}")
    shown = {
        "id": event.id,
        "node_id": node_id("EV", event.id),
        "url": urls.repo(f"/issues/events/{event.id}"),
        "actor": users.user(event.user, urls),
        "event": event.event,
        "commit_id": event.commit_id,
        "commit_url": commit_url,
        "created_at": timestamp(event.created_at),
        "performed_via_github_app": users.app(event.app, urls),
    }
    return shown | _details(event, urls)


def _details(event: FakeIssueEvent, urls: Urls) -> dict[str, Any]:
    if event.label:
        return {"label": {"name": event.label.name, "color": event.label.color}}
    if event.assignee:
        return {"assignee": users.user(event.assignee, urls)}
    if event.rename:
        return {"rename": dict(event.rename)}
    return {"state_reason": event.state_reason} if event.event in {"closed", "reopened"} else {}
