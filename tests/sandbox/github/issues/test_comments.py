"""Comments and reactions in GitHub's API."""

from typing import Any

import pytest

from tests.sandbox.github.conftest import Api


def test_github_token_comment_names_bot_and_app(api: Api, incident: int) -> None:
    made = api("POST", f"issues/{incident}/comments", json={"body": "received"})
    comment = made.json()
    assert (made.status_code, made.headers["location"]) == (201, comment["url"])
    assert comment["user"]["login"] == "github-actions[bot]"
    assert comment["performed_via_github_app"]["slug"] == "github-actions"
    assert api.get(f"issues/{incident}/comments") == [comment]
    assert api.get("issues/comments") == [comment]
    assert api.get(f"issues/{incident}")["comments"] == 1


def test_comment_edit_updates_body_and_time(api: Api, incident: int) -> None:
    comment = api.ok("POST", f"issues/{incident}/comments", json={"body": "received"})
    path = comment["url"].removeprefix(api.github.api_url)
    api.github.clock.advance(5)
    edited = api.ok("PATCH", path, json={"body": "recovered"})
    assert edited["body"] == "recovered"
    assert edited["created_at"] == comment["created_at"] < edited["updated_at"]
    assert api.get(path) == edited


def test_comment_is_deleted(api: Api, incident: int) -> None:
    comment = api.github.comment(incident, "oops", "alice")
    assert api("DELETE", f"issues/comments/{comment}").status_code == 204
    assert api.refusal("GET", f"issues/comments/{comment}") == (404, "Not Found")


def test_comments_are_filtered_by_since(api: Api, incident: int) -> None:
    api.github.comment(incident, "before", "alice")
    api.github.clock.advance(60)
    api.github.comment(incident, "after", "alice")
    since = api.github.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    assert [comment["body"] for comment in api.get(f"issues/{incident}/comments?since={since}")] == ["after"]


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({}, '"body" wasn\'t supplied.'),
        ({"body": "\n"}, "Body cannot be blank"),
        ({"body": None}, "For 'properties/body', null is not a string."),
        ({"body": "é" * 65_537}, "body is too long (maximum is 65536 characters)"),
    ],
)
def test_invalid_comment_is_refused(api: Api, incident: int, body: Any, refusal: str) -> None:
    comment = api.github.comment(incident, "stays", "alice")
    assert api.refusal("POST", f"issues/{incident}/comments", json=body) == (422, refusal)
    assert api.refusal("PATCH", f"issues/comments/{comment}", json=body) == (422, refusal)
    assert [one.body for one in api.github.issue(incident).comments] == ["stays"]


def test_longest_comment_is_stored_whole(api: Api, incident: int) -> None:
    body = "é" * 65_536
    assert api.ok("POST", f"issues/{incident}/comments", json={"body": body})["body"] == body


def test_comment_edit_requires_author_or_writer(api: Api, incident: int, tina: str, rita: str) -> None:
    comment = api.github.comment(incident, "mine", "rita")
    assert api.refusal("PATCH", f"issues/comments/{comment}", token=tina, json={"body": "x"})[0] == 403
    assert api.ok("PATCH", f"issues/comments/{comment}", token=rita, json={"body": "still mine"})


@pytest.mark.parametrize("on", ["issue", "comment"])
def test_reactions_are_added_listed_and_deleted(api: Api, incident: int, alice: str, on: str) -> None:
    path = f"issues/{incident}" if on == "issue" else f"issues/comments/{api.github.comment(incident, 'x', 'alice')}"
    made = api("POST", f"{path}/reactions", json={"content": "eyes"})
    again = api("POST", f"{path}/reactions", json={"content": "eyes"})
    assert (made.status_code, again.status_code, again.json()) == (201, 200, made.json())
    api.ok("POST", f"{path}/reactions", token=alice, json={"content": "+1"})
    assert [one["content"] for one in api.get(f"{path}/reactions")] == ["eyes", "+1"]
    assert [one["user"]["login"] for one in api.get(f"{path}/reactions?content=%2B1")] == ["alice"]
    assert api.get(path)["reactions"]["total_count"] == 2
    assert api.refusal("DELETE", f"{path}/reactions/{made.json()['id']}", token=alice)[0] == 404
    assert api("DELETE", f"{path}/reactions/{made.json()['id']}").status_code == 204
    assert api.refusal("POST", f"{path}/reactions", json={"content": "meh"}) == (422, "content invalid")


HISTORY = """query($owner: String!, $name: String!, $number: Int!) { repository(owner: $owner, name: $name) {
  issue(number: $number) { comments(first: 1) { nodes { lastEditedAt includesCreatedEdit
    userContentEdits(first: 2) { totalCount pageInfo { hasNextPage } nodes { editor { __typename login } } } } } } } }"""
"""docs.github.com/graphql/reference/objects#usercontentedit"""


def test_edit_history_has_the_creation_and_each_editor_newest_first(api: Api, incident: int) -> None:
    """GraphQL spells the login of a bot without `[bot]`, and answers errors with 200 too."""
    comment = api.ok("POST", f"issues/{incident}/comments", json={"body": "received"})
    owner, _, name = api.github.repository.partition("/")
    where = {"owner": owner, "name": name, "number": incident}
    given = {"query": HISTORY, "variables": where}
    before = api.ok("POST", "/graphql", json=given)["data"]["repository"]["issue"]["comments"]["nodes"][0]
    assert (before["lastEditedAt"], before["userContentEdits"]["nodes"]) == (None, [])
    for login in ("alice", "alice"):
        api.github.edit_comment(incident, comment["id"], "edited", login)

    after = api.ok("POST", "/graphql", json=given)["data"]["repository"]["issue"]["comments"]["nodes"][0]

    edits = after["userContentEdits"]
    assert (edits["totalCount"], edits["pageInfo"]["hasNextPage"], after["includesCreatedEdit"]) == (3, True, True)
    assert [each["editor"]["login"] for each in edits["nodes"]] == ["alice", "alice"]
    unknown = api.ok("POST", "/graphql", json={**given, "variables": {**where, "number": 99}})
    assert (unknown["data"], unknown["errors"][0]["type"]) == (None, "NOT_FOUND")
    assert "errors" in api.ok("POST", "/graphql", json={"query": "query { repository(owner: 1, name: 2) { nothing } }"})
