"""Entries of an issue's `events` and `timeline`.

docs.github.com/rest/using-the-rest-api/issue-event-types
"""

from typing import Any

from sandbox.github.issues import serializers
from sandbox.github.issues.state import Comment, Event
from sandbox.github.urls import Urls, node_id, timestamp
from sandbox.github.users import serializers as users


def event(event: Event, urls: Urls) -> dict[str, Any]:
    """In `events`; only there is an `assigner`."""
    shown = _event(event, urls)
    return {**shown, "assigner": shown["actor"]} if event.assignee else shown


def entry(entry: Event | Comment, urls: Urls) -> dict[str, Any]:
    """In `timeline`."""
    if isinstance(entry, Comment):
        comment = serializers.comment(entry, urls)
        return {**comment, "event": "commented", "actor": comment["user"]}
    return _cross_reference(entry, urls) if entry.source else _event(entry, urls)


def _cross_reference(event: Event, urls: Urls) -> dict[str, Any]:
    """It has no id."""
    assert event.source is not None
    at = timestamp(event.created_at)
    return {
        "actor": users.user(event.user, urls),
        "created_at": at,
        "updated_at": at,
        "source": {"type": "issue", "issue": serializers.full(event.source, urls)},
        "event": event.event,
    }


def _event(event: Event, urls: Urls) -> dict[str, Any]:
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


def _details(event: Event, urls: Urls) -> dict[str, Any]:
    if event.label:
        return {"label": {"name": event.label.name, "color": event.label.color}}
    if event.assignee:
        return {"assignee": users.user(event.assignee, urls)}
    if event.rename:
        return {"rename": dict(event.rename)}
    return {"state_reason": event.state_reason} if event.event in {"closed", "reopened"} else {}
