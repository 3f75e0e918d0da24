"""Fixtures: the sandbox's GitHub with users and clients, checked with GitHub's schemas."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import github as pygithub
import httpx
import pytest
from github.Repository import Repository

from sandbox import Sandbox
from sandbox.github import GitHub
from tests.support.github import conformity

WORKFLOW = ".github/workflows/rollback-worker.yml"
DISPATCHED = """\
name: Roll back a Worker
on:
  workflow_dispatch:
    inputs:
      service: {type: choice, required: true, options: [api, web]}
      reason: {default: none}
      dry_run: {type: boolean, default: true}
      percent: {type: number}
"""


@pytest.fixture
def github(sandbox: Sandbox) -> Iterator[GitHub]:
    """Yield GitHub with four users: alice writes, tina triages, rita reads, zoe is a stranger. Checks deliveries."""
    hub = sandbox.github
    hub.switches.lists_lag_seconds = 0.0  # `test_list_lag.py` sets it
    hub.add_user("alice")
    hub.add_user("tina", "triage")
    hub.add_user("rita", "read")
    hub.add_user("zoe", None)
    yield hub
    problems = {
        f"{event}.{payload.get('action')}": found
        for event, payload in hub.deliveries
        if (found := list(conformity.payload(event, payload)))
    }
    assert problems == {}


@dataclass(frozen=True)
class Api:
    """Paths are below the repository unless they begin with a slash."""

    github: GitHub
    http: httpx.Client

    def __call__(self, method: str, path: str, *, token: str | None = None, **options: Any) -> httpx.Response:
        url = path if path.startswith("/") else f"/repos/{self.github.repository}/{path}"
        headers = {"authorization": f"Bearer {token or self.github.token}"} | options.pop("headers", {})
        response = self.http.request(method, self.github.api_url + url, headers=headers, **options)
        assert list(conformity.exchange(response)) == []
        return response

    def get(self, path: str, **options: Any) -> Any:
        return self.ok("GET", path, **options)

    def ok(self, method: str, path: str, **options: Any) -> Any:
        """Return the body of a successful response."""
        response = self(method, path, **options)
        assert response.status_code < 400, response.text
        return response.json() if response.content else None

    def refusal(self, method: str, path: str, **options: Any) -> tuple[int, str]:
        """Return the status and the message, or that of the first error."""
        response = self(method, path, **options)
        assert response.status_code >= 400, response.text
        body = response.json()
        errors = [error.get("message") or f"{error['field']} {error['code']}" for error in body.get("errors", [])]
        return response.status_code, errors[0] if errors else body["message"]


@pytest.fixture
def api(github: GitHub) -> Iterator[Api]:
    with httpx.Client(verify=False) as http:  # there is no TLS here, and loading certificates takes 7 ms
        yield Api(github, http)


@pytest.fixture
def alice(github: GitHub) -> str:
    """Return the token of alice."""
    return github.add_token("ghp_alice", "alice")


@pytest.fixture
def tina(github: GitHub) -> str:
    return github.add_token("ghp_tina", "tina")


@pytest.fixture
def rita(github: GitHub) -> str:
    return github.add_token("ghp_rita", "rita")


@pytest.fixture
def incident(github: GitHub) -> int:
    return github.open_issue("API answers 500", "Since 10:00.", ["incident"], "alice")


@pytest.fixture
def workflow(github: GitHub) -> str:
    """Return the path of a workflow with a button."""
    github.add_commit("Add the button", "alice", files={WORKFLOW: DISPATCHED})
    return WORKFLOW


def client(github: GitHub, token: str) -> pygithub.Github:
    """Return PyGithub without pauses and retries."""
    return pygithub.Github(
        auth=pygithub.Auth.Token(token),
        base_url=github.api_url,
        seconds_between_requests=0,
        seconds_between_writes=0,
        retry=None,
    )


@pytest.fixture
def repository(github: GitHub) -> Iterator[Repository]:
    """Yield PyGithub's repository, with GITHUB_TOKEN."""
    with client(github, github.token) as opened:
        yield opened.get_repo(github.repository)
