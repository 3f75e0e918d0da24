"""Lists that are behind a write, and the limit of requests that generate content."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.sandbox.github.conftest import Api

COMMENTS = """query { repository(owner: "acme", name: "operations") {
  issue(number: %d) { comments(first: 9) { nodes { body } } timelineItems(last: 9, itemTypes: [LABELED_EVENT]) {
    nodes { ... on LabeledEvent { label { name } } } } }
  issues(first: 9, labels: ["late"], orderBy: {field: CREATED_AT, direction: ASC}) { nodes { number } }
} }"""


def by_graphql(api: Api, incident: int) -> dict[str, Any]:
    answer = api("POST", "/graphql", json={"query": COMMENTS % incident}).json()
    found: dict[str, Any] = answer["data"]["repository"]
    return found


LISTS: dict[str, Callable[[Api, int], Any]] = {
    "comments": lambda api, incident: api.get(f"issues/{incident}/comments"),
    "comments of all": lambda api, _: api.get("issues/comments"),
    "timeline": lambda api, incident: [each for each in api.get(f"issues/{incident}/timeline") if "body" in each],
    "events": lambda api, incident: api.get(f"issues/{incident}/events"),
    "issues": lambda api, _: api.get("issues?labels=late"),
    "labels": lambda api, _: [each for each in api.get("labels") if each["name"] == "late"],
    "comments by GraphQL": lambda api, incident: by_graphql(api, incident)["issue"]["comments"]["nodes"],
    "labels by GraphQL": lambda api, incident: by_graphql(api, incident)["issue"]["timelineItems"]["nodes"],
}


@pytest.mark.parametrize("name", LISTS)
def test_list_is_behind_a_write_for_some_seconds(api: Api, incident: int, name: str) -> None:
    api.github.switches.lists_lag_seconds = 2.0
    before = len(LISTS[name](api, incident))
    written = api("POST", f"issues/{incident}/comments", json={"body": "late"}).json()
    api("POST", f"issues/{incident}/labels", json={"labels": ["late"]})

    behind = len(LISTS[name](api, incident))

    assert behind == before
    assert api.get(f"issues/comments/{written['id']}")["body"] == "late", "a single read is never behind"
    api.github.clock.advance(2)
    assert len(LISTS[name](api, incident)) == before + 1


def test_what_people_wrote_is_listed_at_once(api: Api, incident: int) -> None:
    api.github.switches.lists_lag_seconds = 2.0

    api.github.comment(incident, "by a person", by="alice")

    assert [each["body"] for each in api.get(f"issues/{incident}/comments")] == ["by a person"]


def test_job_that_starts_finds_lists_up_to_date(api: Api, incident: int) -> None:
    api.github.switches.lists_lag_seconds = 2.0
    api("POST", f"issues/{incident}/comments", json={"body": "late"})

    api.github.add_run("rollback-worker.yml")

    assert len(api.get(f"issues/{incident}/comments")) == 1


@pytest.mark.parametrize("status", [403, 429])
def test_user_beyond_the_content_limit_is_refused_for_a_while(api: Api, incident: int, status: int) -> None:
    """docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits"""
    api.github.switches.content_writes_per_minute, api.github.switches.content_writes_per_hour = 2, 3
    api.github.switches.content_limit_status = status

    def write(token: str = "") -> int:
        # Not by `api`: the schemas know no answer 429.
        url = f"{api.github.api_url}/repos/{api.github.repository}/issues/{incident}/comments"
        headers = {"authorization": f"Bearer {token or api.github.token}"}
        return api.http.post(url, headers=headers, json={"body": "x"}).status_code

    assert [write() for _ in range(3)] == [201, 201, status]
    assert write(api.github.add_token("of-alice", "alice")) == 201
    assert len(api.get(f"issues/{incident}/comments")) == 3
    api.github.clock.advance(61)
    assert [write() for _ in range(2)] == [201, status]
    api.github.clock.advance(3600)
    assert write() == 201
