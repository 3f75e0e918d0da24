"""Issues, comments, labels and reactions.

docs.github.com/rest/issues/issues#get-an-issue
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from sandbox.github.issues.state import Comment, Issue, Label, Reaction
from sandbox.github.urls import Urls, maybe, node_id, timestamp
from sandbox.github.users import serializers

CONTENTS = ("+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes")
_DEFAULT_LABELS = frozenset(
    {"bug", "documentation", "duplicate", "enhancement", "good first issue", "help wanted", "invalid", "question"}
)


def label(label: Label, urls: Urls) -> dict[str, Any]:
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
        "user": serializers.user(reaction.user, urls),
        "content": reaction.content,
        "created_at": timestamp(reaction.created_at),
    }


def _rollup(reactions: Sequence[Reaction], url: str) -> dict[str, Any]:
    counts = {content: sum(one.content == content for one in reactions) for content in CONTENTS}
    return {"url": f"{url}/reactions", "total_count": len(reactions), **counts}


def comment(comment: Comment, urls: Urls) -> dict[str, Any]:
    url = urls.repo(f"/issues/comments/{comment.id}")
    return {
        "url": url,
        "html_url": urls.page(f"/issues/{comment.number}#issuecomment-{comment.id}"),
        "issue_url": urls.repo(f"/issues/{comment.number}"),
        "id": comment.id,
        "node_id": node_id("IC", comment.id),
        "user": serializers.user(comment.user, urls),
        "created_at": timestamp(comment.created_at),
        "updated_at": timestamp(comment.updated_at),
        "author_association": serializers.association(comment.user),
        "body": comment.body,
        "reactions": _rollup(comment.reactions, url),
        "performed_via_github_app": serializers.app(comment.app, urls),
    }


def issue(issue: Issue, urls: Urls) -> dict[str, Any]:
    """As payloads have it."""
    url, kind = urls.repo(f"/issues/{issue.number}"), "issues" if issue.pull is None else "pull"
    assignees = [serializers.user(one, urls) for one in issue.assignees]
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
        "user": serializers.user(issue.user, urls),
        "labels": [label(one, urls) for one in issue.labels],
        "state": issue.state,
        "locked": False,
        "assignee": next(iter(assignees), None),
        "assignees": assignees,
        "milestone": None,
        "comments": len(issue.comments),
        "created_at": timestamp(issue.created_at),
        "updated_at": timestamp(issue.updated_at),
        "closed_at": maybe(issue.closed_at),
        "author_association": serializers.association(issue.user),
        "active_lock_reason": None,
        "body": issue.body,
        "reactions": _rollup(issue.reactions, url),
        "timeline_url": f"{url}/timeline",
        "performed_via_github_app": serializers.app(issue.app, urls),
        "state_reason": issue.state_reason,
    }
    return shown if issue.pull is None else {**shown, **_pull_links(issue, urls)}


def _pull_links(issue: Issue, urls: Urls) -> dict[str, Any]:
    assert issue.pull is not None
    page = urls.page(f"/pull/{issue.number}")
    links = {"html_url": page, "diff_url": f"{page}.diff", "patch_url": f"{page}.patch"}
    merged_at = maybe(issue.pull.merged_at)
    pull_request = {"url": urls.repo(f"/pulls/{issue.number}"), **links, "merged_at": merged_at}
    return {"draft": issue.pull.draft, "pull_request": pull_request}


def full(issue_: Issue, urls: Urls) -> dict[str, Any]:
    """As the API answers."""
    return issue(issue_, urls) | {"closed_by": serializers.maybe_user(issue_.closed_by, urls)}
