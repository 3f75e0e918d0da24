"""Issues in GitHub's API."""

from datetime import timedelta
from typing import Any

import pytest

from sandbox.github import GitHub
from tests.sandbox.github.conftest import Api


def test_issue_is_opened_read_and_listed(api: Api, alice: str) -> None:
    made = api("POST", "issues", token=alice, json={"title": "Down", "body": "All of it", "labels": ["incident"]})
    issue = made.json()
    assert (made.status_code, made.headers["location"]) == (201, issue["url"])
    assert issue["url"] == f"{api.github.api_url}/repos/acme/operations/issues/1"
    assert issue == api.get("issues/1")
    assert api.get("issues") == [issue]
    assert (issue["user"]["login"], issue["performed_via_github_app"], issue["author_association"]) == (
        "alice",
        None,
        "COLLABORATOR",
    )
    assert [label["name"] for label in issue["labels"]] == ["incident"]


def test_github_token_issue_belongs_to_bot(api: Api) -> None:
    issue = api.ok("POST", "issues", json={"title": "Post-incident report"})
    assert (issue["user"]["login"], issue["user"]["type"]) == ("github-actions[bot]", "Bot")
    assert issue["performed_via_github_app"]["slug"] == "github-actions"


@pytest.mark.slow
@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("", [4, 1]),
        ("state=all", [4, 3, 1]),
        ("state=closed", [3]),
        ("labels=incident", [1]),
        ("labels=INCIDENT,sev1", [1]),
        ("labels=incident,sev2", []),
        ("creator=tina&state=all", [3]),
        ("assignee=alice", [4]),
        ("assignee=none", [1]),
        ("direction=asc", [1, 4]),
        ("sort=comments", [1, 4]),
        ("sort=updated&state=all", [3, 1, 4]),
    ],
)
def test_issues_are_filtered_and_sorted(api: Api, alice: str, query: str, numbers: list[int]) -> None:
    hub = api.github
    hub.open_issue("One", None, ["incident", "sev1"], "alice")
    hub.add_commit("Fix", "alice", branch="fix", files={"a": "1"})
    hub.merge(hub.open_pull("Two", "fix", "alice"), "alice")
    hub.issue(2).updated_at -= timedelta(days=1)
    hub.open_issue("Three", author="tina")
    hub.open_issue("Four", author="alice")
    api.ok("PATCH", "issues/4", token=alice, json={"assignees": ["alice"]})
    hub.clock.advance(60)
    hub.comment(1, "me too", "rita")
    hub.clock.advance(60)
    hub.close(3, "tina")
    found = [issue["number"] for issue in api.get(f"issues?{query}")]
    assert [number for number in found if number != 2] == numbers


def test_pull_requests_are_listed_as_issues(api: Api) -> None:
    api.github.add_commit("Fix", "alice", branch="fix", files={"a": "1"})
    api.github.open_pull("Fix", "fix", "alice")
    (listed,) = api.get("issues")
    assert listed["pull_request"]["url"].endswith("/pulls/1")


def test_issues_are_filtered_by_last_update(api: Api, incident: int) -> None:
    hub = api.github
    hub.clock.advance(60)
    since = hub.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    assert api.get(f"issues?since={since}") == []
    hub.comment(incident, "still down", "rita")
    assert len(api.get(f"issues?since={since}")) == 1


def test_time_is_utc_in_whole_seconds(api: Api, incident: int) -> None:
    now = api.github.clock.now()
    assert api.get(f"issues/{incident}")["created_at"] == now.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_issue_is_edited_closed_and_reopened(api: Api, incident: int, alice: str) -> None:
    edits = {"title": "API is down", "body": None, "state": "closed", "state_reason": "not_planned"}
    closed = api.ok("PATCH", f"issues/{incident}", token=alice, json=edits)
    assert {name: closed[name] for name in edits} == edits
    assert (closed["closed_by"]["login"], closed["closed_at"]) == ("alice", closed["updated_at"])
    opened = api.ok("PATCH", f"issues/{incident}", json={"state": "open"})
    assert (opened["state"], opened["state_reason"], opened["closed_at"]) == ("open", "reopened", None)


def test_issue_edit_replaces_labels_and_assignees(api: Api, incident: int) -> None:
    edited = api.ok("PATCH", f"issues/{incident}", json={"labels": ["sev1"], "assignees": ["tina", "alice"]})
    assert [label["name"] for label in edited["labels"]] == ["sev1"]
    assert [user["login"] for user in edited["assignees"]] == ["tina", "alice"]
    assert (
        api.ok("DELETE", f"issues/{incident}/assignees", json={"assignees": ["tina"]})["assignee"]["login"] == "alice"
    )
    assert len(api.ok("POST", f"issues/{incident}/assignees", json={"assignees": ["rita"]})["assignees"]) == 2


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({}, '"title" wasn\'t supplied.'),
        ({"title": " "}, "title missing_field"),
        ({"title": "x" * 257}, "title is too long (maximum is 256 characters)"),
        ({"title": "x", "body": "x" * 65_537}, "body is too long (maximum is 65536 characters)"),
        ({"title": ["x"]}, "For 'properties/title', [\"x\"] is not a string or an integer."),
        ({"title": "x", "surprise": 1}, '"surprise" is not a permitted key.'),
        ({"title": "x", "labels": "bug"}, "For 'properties/labels', \"bug\" is not an array."),
        ({"title": "x", "labels": ["x" * 51]}, "name is too long (maximum is 50 characters)"),
        ({"title": "x", "assignees": ["nobody"]}, "assignees invalid"),
        ({"title": "x", "assignees": ["zoe"]}, "assignees invalid"),
    ],
)
def test_invalid_issue_is_refused(api: Api, body: Any, refusal: str) -> None:
    assert api.refusal("POST", "issues", json=body) == (422, refusal)
    assert api.github.issues == []


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({"state": "shut"}, "state invalid"),
        ({"state": "closed", "state_reason": "done"}, "state_reason invalid"),
        ({"title": ""}, "title missing_field"),
        ({"number": 7}, '"number" is not a permitted key.'),
    ],
)
def test_invalid_edit_is_refused(api: Api, incident: int, body: Any, refusal: str) -> None:
    before = api.get(f"issues/{incident}")
    assert api.refusal("PATCH", f"issues/{incident}", json=body) == (422, refusal)
    assert api.get(f"issues/{incident}") == before


def test_overlong_body_edit_is_silently_ignored(api: Api, incident: int) -> None:
    answer = api("PATCH", f"issues/{incident}", json={"body": "x" * 65_537, "title": "New"})
    assert (answer.status_code, answer.json()["body"], answer.json()["title"]) == (200, "Since 10:00.", "New")


def test_overlong_body_edit_is_refused_with_switch(api: Api, incident: int) -> None:
    api.github.switches.over_long_issue_body_is_refused = True
    status, message = api.refusal("PATCH", f"issues/{incident}", json={"body": "x" * 65_537})
    assert (status, message) == (422, "body is too long (maximum is 65536 characters)")


@pytest.mark.parametrize("path", ["issues/99", "issues/99/comments", "issues/x", "pulls/1"])
def test_missing_resource_returns_404(api: Api, incident: int, path: str) -> None:
    assert api.refusal("GET", path) == (404, "Not Found")


def test_reader_opens_issue_without_labels(api: Api, rita: str, incident: int) -> None:
    body = {"title": "Also down", "labels": ["incident", "recover:rollback-worker"], "assignees": ["alice"]}
    issue = api.ok("POST", "issues", token=rita, json=body)
    assert (issue["labels"], issue["assignees"]) == ([], [])
    assert api.ok("PATCH", issue["url"].removeprefix(api.github.api_url), token=rita, json={"title": "Mine"})
    assert api.refusal("PATCH", f"issues/{incident}", token=rita, json={"title": "Not mine"})[0] == 403


def test_issues_are_paginated(api: Api, github: GitHub) -> None:
    for number in range(5):
        github.open_issue(f"{number}", author="alice")
    first = api("GET", "issues?per_page=2&state=open")
    assert [issue["number"] for issue in first.json()] == [5, 4]
    links = first.links
    assert set(links) == {"next", "last"}
    second = api("GET", links["next"]["url"].removeprefix(github.api_url))
    assert [issue["number"] for issue in second.json()] == [3, 2]
    assert set(second.links) == {"prev", "next", "last", "first"}
    last = api("GET", links["last"]["url"].removeprefix(github.api_url))
    assert ([issue["number"] for issue in last.json()], set(last.links)) == ([1], {"prev", "first"})
    assert api.get("issues?per_page=2&page=9") == []
    assert "link" not in api("GET", "issues?per_page=1000").headers
