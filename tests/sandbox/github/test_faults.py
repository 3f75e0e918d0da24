"""Faults, rate limits and invalid requests of GitHub's API."""

import httpx
import pytest

from tests.sandbox.github.conftest import Api

SECONDARY = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."


def test_fault_responds_like_github(api: Api, incident: int) -> None:
    path = "/repos/*/*/issues/*/comments"
    headers = {"retry-after": "60"}
    rule = api.github.fault(method="POST", path=path, status=403, message=SECONDARY, headers=headers)
    answer = api("POST", f"issues/{incident}/comments", json={"body": "x"})
    assert (answer.status_code, answer.json()["message"]) == (403, SECONDARY)
    assert (answer.headers["retry-after"], rule.hits) == ("60", 1)
    assert api("POST", f"issues/{incident}/comments", json={"body": "x"}).status_code == 201


def test_response_can_be_lost_after_comment_write(api: Api, incident: int) -> None:
    api.github.fault(method="POST", lost="after")
    with pytest.raises(httpx.RemoteProtocolError):
        api("POST", f"issues/{incident}/comments", json={"body": "x"})
    assert len(api.github.issue(incident).comments) == 1
    assert api.github.requests[-1].status is None


def test_error_can_hide_written_comment(api: Api, incident: int) -> None:
    api.github.fault(method="POST", status=502, applied=True, times=2)
    headers = {"authorization": f"token {api.github.token}"}
    url = f"{api.github.api_url}/repos/acme/operations/issues/{incident}/comments"
    answers = [api.http.post(url, json={"body": "x"}, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [502, 502]
    assert len(api.github.issue(incident).comments) == 2


def test_unknown_route_returns_404_and_is_recorded(api: Api) -> None:
    assert api.refusal("GET", "releases") == (404, "Not Found")
    assert api.refusal("PUT", "issues") == (404, "Not Found")
    assert api.refusal("GET", "/repos/acme/other") == (404, "Not Found")
    assert [(record.method, record.path) for record in api.github.unknown_requests] == [
        ("GET", "/repos/acme/operations/releases"),
        ("PUT", "/repos/acme/operations/issues"),
    ]
    assert [record.status for record in api.github.requests] == [404, 404, 404]


@pytest.mark.parametrize(
    ("content", "refusal"),
    [("{", "Problems parsing JSON"), ('"x"', "Body should be a JSON object"), ("[]", "Body should be a JSON object")],
)
def test_body_without_json_object_is_refused(api: Api, content: str, refusal: str) -> None:
    assert api.refusal("POST", "issues", content=content) == (400, refusal)


@pytest.mark.parametrize("query", ["state=shut", "since=yesterday", "since=2026-11-20T10:00:00", "sort=age"])
def test_invalid_query_is_refused(api: Api, query: str) -> None:
    status, message = api.refusal("GET", f"issues?{query}")
    assert (status, message) == (422, f"{query.partition('=')[0]} invalid")


def test_requests_are_counted_per_token(api: Api, alice: str) -> None:
    for token, limit in ((api.github.token, 1000), (alice, 5000)):
        for used in (1, 2):
            headers = api("GET", "issues", token=token).headers
            counted = tuple(headers[f"x-ratelimit-{name}"] for name in ("limit", "used", "remaining"))
            assert counted == (str(limit), str(used), str(limit - used))


@pytest.mark.slow
def test_rate_limit_resets_hourly(api: Api, alice: str) -> None:
    api.github.clock.set(api.github.clock.now().replace(minute=0))
    assert api("GET", "issues").status_code == 200
    for _ in range(999):
        api.http.get(f"{api.github.api_url}/", headers={"authorization": f"token {api.github.token}"})
    status, message = api.refusal("GET", "issues")
    assert (status, message.startswith("API rate limit exceeded")) == (403, True)
    assert api.get("/rate_limit")["rate"]["remaining"] == 0
    assert api("GET", "issues", token=alice).status_code == 200
    api.github.clock.advance(3600)
    assert api("GET", "issues").status_code == 200


def test_date_header_follows_clock(api: Api) -> None:
    at = api.github.clock.now().strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert api("GET", "issues").headers["date"] == at
