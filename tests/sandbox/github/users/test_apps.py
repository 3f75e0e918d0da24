"""GitHub Apps: invalid JSON Web Tokens, and installation tokens and their limits."""

from typing import Any

import jwt
import pytest

from tests.sandbox.github.conftest import Api
from tests.support.apps import APP_ID, add_app, private_key

MINT = "/app/installations/{}/access_tokens"
NARROW = {"repositories": ["operations"], "permissions": {"environments": "write"}}


def sign_jwt(api: Api, *, number: int = 0, **claims: Any) -> str:
    now = int(api.github.clock.now().timestamp())
    claims = {"iat": now - 60, "exp": now + 300, "iss": str(APP_ID), **claims}
    return jwt.encode(claims, private_key(number), algorithm="RS256")


@pytest.fixture
def mint(api: Api) -> str:
    """Return the path at which the App gets its tokens."""
    add_app(api.github)
    return MINT.format(api.get("installation", token=sign_jwt(api))["id"])


def test_installation_token_has_its_permissions_until_revoked(api: Api, mint: str) -> None:
    made = api.ok("POST", mint, token=sign_jwt(api), json=NARROW)
    token = made["token"]
    assert (made["permissions"], made["repository_selection"]) == (
        {"environments": "write", "metadata": "read"},
        "selected",
    )
    path = "environments/production/secrets/public-key"
    assert api("GET", path, token=token).status_code == 200
    assert api.refusal("GET", "actions/secrets/public-key", token=token)[0] == 403
    assert api("DELETE", "/installation/token", token=token).status_code == 204
    assert api.refusal("GET", path, token=token) == (401, "Bad credentials")
    assert api.refusal("DELETE", "/installation/token", token=token)[0] == 401


def test_installation_token_expires_after_an_hour(api: Api, mint: str) -> None:
    token = api.ok("POST", mint, token=sign_jwt(api), json=NARROW)["token"]
    api.github.clock.advance(3599)
    assert api("GET", "", token=token).status_code == 200
    api.github.clock.advance(1)
    assert api.refusal("GET", "", token=token)[0] == 401


@pytest.mark.parametrize(
    "body",
    [
        {"permissions": {"environments": "write", "contents": "read"}},
        {"permissions": {"environments": "admin"}},
        {"permissions": {"actions": "write"}},
        {"repositories": ["operations", "other"]},
        {"repository_ids": [1]},
    ],
)
def test_token_beyond_installation_is_refused(api: Api, mint: str, body: dict[str, Any]) -> None:
    assert api.refusal("POST", mint, token=sign_jwt(api), json=body)[0] == 422


def test_token_defaults_to_all_installation_permissions(api: Api, mint: str) -> None:
    made = api.ok("POST", mint, token=sign_jwt(api))
    assert made["repository_selection"] == "all"
    assert made["permissions"].keys() == {"environments", "secrets", "actions", "metadata"}


def test_missing_installation_returns_404(api: Api, mint: str) -> None:
    token = api.ok("POST", mint, token=sign_jwt(api))["token"]
    add_app(api.github, installed=False)
    assert token
    assert api.refusal("GET", "installation", token=sign_jwt(api))[0] == 404
    assert api.refusal("GET", "/repos/acme/other/installation", token=sign_jwt(api))[0] == 404


@pytest.mark.parametrize(
    ("claims", "status", "message"),
    [
        ({"exp": 601}, 401, "too far in the future"),
        ({"exp": 0}, 401, "must be a numeric value"),
        ({"iat": 1}, 401, "'Issued at' claim"),
        ({"iss": "31415"}, 404, "Integration not found"),
        ({"number": 1}, 401, "could not be decoded"),
    ],
)
def test_invalid_jwt_is_refused(api: Api, mint: str, claims: dict[str, Any], status: int, message: str) -> None:
    now = int(api.github.clock.now().timestamp())
    moments = {name: now + value for name, value in claims.items() if name in {"exp", "iat"}}

    for method, path in (("GET", "installation"), ("POST", mint)):
        refused = api.refusal(method, path, token=sign_jwt(api, **claims | moments))
        assert refused[0] == status
        assert message in refused[1]


def test_jwt_only_creates_installation_tokens(api: Api, mint: str) -> None:
    assert api.refusal("POST", mint)[0] == 401
    assert api.refusal("GET", "installation")[0] == 401
    assert api.refusal("GET", "issues", token=sign_jwt(api))[0] == 403
    assert api.refusal("DELETE", "/installation/token", token=sign_jwt(api))[0] == 403
    assert api.refusal("POST", MINT.format(1), token=sign_jwt(api))[0] == 404
