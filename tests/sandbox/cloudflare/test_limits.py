"""Limits of the Cloudflare API: calls of a user or token, and variables of a Worker."""

import json
from typing import Any

import httpx
import pytest

from sandbox import Sandbox
from tests.conftest import ACCOUNT


def get(sandbox: Sandbox, token: str) -> httpx.Response:
    return httpx.get(f"{sandbox.api_url}/zones", headers={"authorization": f"Bearer {token}"})


def test_user_beyond_the_limit_is_refused_for_five_minutes(sandbox: Sandbox) -> None:
    """All tokens of a user count: developers.cloudflare.com/fundamentals/api/reference/limits"""
    one, other = (sandbox.add_token(name, ["Zone Read"]) for name in ("one", "other"))
    sandbox.switches.calls_per_five_minutes = 2
    assert [get(sandbox, token).status_code for token in (one, other)] == [200, 200]

    refused = get(sandbox, other)

    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (429, 971)
    assert 299 <= int(refused.headers["retry-after"]) <= 301
    assert refused.headers["ratelimit"].startswith('"default";r=0;t=')
    sandbox.clock.advance(200)
    assert get(sandbox, one).status_code == 429
    sandbox.clock.advance(101)
    assert get(sandbox, other).status_code == 200


def test_each_token_of_the_account_has_a_limit_of_its_own(sandbox: Sandbox) -> None:
    one, other = (sandbox.add_token(name, ["Zone Read"], owner="account") for name in ("one", "other"))
    sandbox.switches.calls_per_five_minutes = 2

    answers = [get(sandbox, token) for token in (one, one, other, one)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[0].headers["ratelimit-policy"] == '"default";q=2;w=300'
    assert answers[0].headers["ratelimit"].startswith('"default";r=1;t=')
    assert "retry-after" not in answers[0].headers


def test_graphql_has_a_lower_limit(sandbox: Sandbox) -> None:
    token = sandbox.add_token("one", ["Zone Read", "Account Analytics Read"])

    def query() -> int:
        url, headers = f"{sandbox.api_url}/graphql", {"authorization": f"Bearer {token}"}
        return httpx.post(url, headers=headers, json={"query": "{ viewer { budget } }"}).status_code

    assert {query() for _ in range(320)} == {200}
    assert query() == 429
    assert get(sandbox, token).status_code == 200


@pytest.mark.parametrize(
    "bindings",
    [
        [{"type": "json", "name": "LARGE", "json": ["x" * 4999]}],
        [{"type": "plain_text", "name": "LARGE", "text": "x" * 5001}],
        [{"type": "plain_text", "name": f"MANY_{number}", "text": "x"} for number in range(65)],
    ],
    ids=["json", "text", "many"],
)
def test_worker_with_large_or_many_variables_is_refused(sandbox: Sandbox, bindings: list[dict[str, Any]]) -> None:
    """developers.cloudflare.com/workers/platform/limits/#environment-variables"""
    metadata = {"main_module": "index.js", "bindings": bindings, "compatibility_date": "2026-09-01"}
    module = ("index.js", b"export default {}", "application/javascript+module")
    files = {"metadata": (None, json.dumps(metadata).encode(), "application/json"), "index.js": module}
    headers = {"authorization": f"Bearer {sandbox.token}"}
    url = f"{sandbox.api_url}/accounts/{ACCOUNT}/workers/scripts/shop"

    assert httpx.put(url, headers=headers, files=files).status_code == 400
    assert "shop" not in sandbox.account.workers
