"""Timelines, mentions and cross-references of issues."""

import pytest

from sandbox.github import GitHub
from tests.sandbox.github.conftest import Api


def timeline(api: Api, number: int) -> list[str]:
    return [entry["event"] for entry in api.get(f"issues/{number}/timeline?per_page=100")]


def test_issue_changes_are_in_its_timeline(api: Api, incident: int, alice: str) -> None:
    issue = f"issues/{incident}"
    api.ok("PATCH", issue, token=alice, json={"title": "Down", "assignees": ["tina"]})
    api.ok("POST", f"{issue}/comments", json={"body": "received"})
    api.ok("DELETE", f"{issue}/labels/incident")
    api.ok("PATCH", issue, token=alice, json={"state": "closed", "assignees": []})
    api.ok("PATCH", issue, token=alice, json={"state": "open"})
    events = ["labeled", "renamed", "assigned", "unlabeled", "unassigned", "closed", "reopened"]
    assert [event["event"] for event in api.get(f"{issue}/events")] == events
    assert timeline(api, incident) == [*events[:3], "commented", *events[3:]]


def test_timeline_event_has_actor_and_details(api: Api, incident: int, alice: str) -> None:
    api.ok("PATCH", f"issues/{incident}", token=alice, json={"title": "Down", "assignees": ["tina"], "state": "closed"})
    labeled, renamed, assigned, closed = api.get(f"issues/{incident}/timeline")
    assert labeled["label"] == {"name": "incident", "color": "ededed"}
    assert renamed["rename"] == {"from": "API answers 500", "to": "Down"}
    assert assigned["assignee"]["login"] == "tina"
    assert "assigner" not in assigned
    assert api.get(f"issues/{incident}/events")[2]["assigner"]["login"] == "alice"
    assert (closed["state_reason"], closed["actor"]["login"]) == ("completed", "alice")
    assert api.get(f"issues/events/{closed['id']}") == closed


def test_timeline_comment_shows_current_text(api: Api, incident: int) -> None:
    comment = api.github.comment(incident, "down", "alice")
    api.github.clock.advance(60)
    api.ok("PATCH", f"issues/comments/{comment}", json={"body": "up"})
    entry = api.get(f"issues/{incident}/timeline")[-1]
    assert (entry["event"], entry["body"], entry["user"]["login"]) == ("commented", "up", "alice")
    assert entry["created_at"] < entry["updated_at"]


def test_past_events_are_in_order(api: Api, incident: int) -> None:
    hub = api.github
    now = hub.clock.now()
    hub.clock.advance(3600)
    hub.comment(incident, "late", "alice")
    hub.comment(incident, "early", "alice", at=now)
    assert [entry.get("body") for entry in api.get(f"issues/{incident}/timeline")] == [None, "early", "late"]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "text", ["see #1", "acme/operations#1", "(#1)", "\\#1", "&#35;1", "{server}/acme/operations/issues/1", "GH-1"]
)
def test_mentioned_issue_gets_one_cross_reference(api: Api, incident: int, text: str) -> None:
    other = api.ok("POST", "issues", json={"title": "Report", "body": text.format(server=api.github.urls.html)})
    api.github.comment(other["number"], "again #1", "alice")
    referenced = [entry for entry in api.get("issues/1/timeline") if entry["event"] == "cross-referenced"]
    assert [entry["source"]["issue"]["number"] for entry in referenced] == [other["number"]]
    assert all(event["event"] != "cross-referenced" for event in api.get("issues/1/events"))


@pytest.mark.parametrize(
    "text", ["`#1`", "```\n#1 @alice\n```", "~~~\n#1\n", "<!-- #1 @alice -->", "``#1 ` @alice``", "a#1", "other/repo#1"]
)
def test_code_and_other_repositories_create_no_mention(api: Api, incident: int, text: str) -> None:
    api.ok("POST", "issues", json={"title": "Report", "body": text})
    assert timeline(api, incident) == ["labeled"]
    assert timeline(api, 2) == []


def test_mentioned_user_is_subscribed(api: Api, github: GitHub) -> None:
    github.open_issue("Down", "@alice, look! mail@zoe.example @nobody @acme/team", author="rita")
    entries = api.get("issues/1/timeline")
    assert [(entry["event"], entry["actor"]["login"]) for entry in entries] == [
        ("mentioned", "alice"),
        ("subscribed", "alice"),
        ("mentioned", "acme"),
        ("subscribed", "acme"),
    ]


def test_timeline_is_paginated(api: Api, incident: int) -> None:
    for number in range(12):
        api.github.comment(incident, str(number), "alice")
    first = api("GET", f"issues/{incident}/timeline?per_page=10")
    second = api("GET", first.links["next"]["url"].removeprefix(api.github.api_url))
    assert (len(first.json()), len(second.json())) == (10, 3)
    assert "next" not in second.links
