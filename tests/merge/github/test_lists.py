"""Lists of GitHub cost one request a page."""

import json

import httpx
import pytest

from ops.core.redaction import Redactor
from ops.github.client import connect, newest_first
from ops.github.issues import list_open_incidents
from sandbox import Sandbox
from sandbox.github import GitHub


@pytest.fixture
def hub(sandbox: Sandbox) -> GitHub:
    sandbox.github.add_user("alice")
    return sandbox.github


def test_list_of_incidents_is_one_request(hub: GitHub) -> None:
    opened = [hub.open_issue(title, "", ["incident"], "alice") for title in ("one", "two", "three")]
    hub.add_commit("Typo", "alice", files={"a": "b"}, branch="typo")
    hub.label(hub.open_pull("four", "typo", "alice"), "incident", "alice")

    found = list_open_incidents(connect(hub.environ(), Redactor()))

    assert [each.number for each in found] == opened[::-1]
    assert len(hub.requests) == 1


@pytest.mark.parametrize(("comments", "requests"), [(0, 1), (3, 1), (100, 1), (101, 4)])
def test_newest_comment_is_first(hub: GitHub, comments: int, requests: int) -> None:
    number = hub.open_issue("one", "", [], "alice")
    for at in range(comments):
        hub.comment(number, f"comment {at}", "alice")
    issue = connect(hub.environ(), Redactor()).get_issue(number)
    before = len(hub.requests)

    found = [each.body for each in newest_first(issue.get_comments())]

    assert found == [f"comment {at}" for at in range(comments)][::-1]
    assert len(hub.requests) - before == requests


def test_page_with_a_hidden_comment_is_not_the_last_one(hub: GitHub) -> None:
    """GitHub hides comments of spammers after it cuts a list into pages, so a page may be short."""
    number = hub.open_issue("one", "", [], "alice")
    for at in range(101):
        hub.comment(number, f"comment {at}", "alice")
    environ = hub.environ()
    issue = connect(environ, Redactor()).get_issue(number)
    token = {"authorization": f"Bearer {environ['GITHUB_TOKEN']}"}
    address = f"{environ['GITHUB_API_URL']}/repos/{environ['GITHUB_REPOSITORY']}/issues/{number}/comments"
    page = httpx.get(address, params={"per_page": 100}, headers=token)
    link = {"link": page.headers["link"]}
    hub.fault(path="/**/comments", body=json.dumps(page.json()[1:]), content_type="application/json", headers=link)

    newest = next(newest_first(issue.get_comments()))

    assert newest.body == "comment 100"
