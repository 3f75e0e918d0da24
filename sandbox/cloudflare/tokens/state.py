"""API tokens and their permissions, and the tokens that the API signs for uploads."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sandbox.clock import FakeClock

DEFAULT_PERMISSIONS = frozenset({"Workers Scripts Write", "Pages Write", "Workers KV Storage Write", "D1 Write"})
"""Permissions of the default token of a sandbox."""

Owner = Literal["user", "account"]


@dataclass(kw_only=True)
class FakeCloudflareToken:
    secret: str = field(repr=False)
    permissions: frozenset[str]
    expired: bool = False
    expires_on: str = ""
    """RFC 3339; empty for a token without an end. `expired` alone decides whether it is valid."""
    disabled: bool = False
    owner: Owner = "user"
    email: str = "ci@example.com"
    name: str = "ci"
    id: str = ""

    def __post_init__(self) -> None:
        """Keep an ID that stays the same when the value is rolled."""
        self.id = self.id or hashlib.sha256(self.secret.encode()).hexdigest()[:32]

    def may(self, permission: str) -> bool:
        """Return whether the token has the permission. Write includes read; an empty one accepts any token.

        developers.cloudflare.com/fundamentals/api/reference/permissions
        """
        wanted = {permission, permission.replace(" Read", " Write")}
        return not permission or not wanted.isdisjoint(self.permissions)


class CloudflareTokens:
    def __init__(self, *tokens: FakeCloudflareToken) -> None:
        self._by_secret = {token.secret: token for token in tokens}

    def add(self, token: FakeCloudflareToken) -> None:
        self._by_secret[token.secret] = token

    def remove(self, token: FakeCloudflareToken) -> None:
        del self._by_secret[token.secret]

    def roll(self, token: FakeCloudflareToken, secret: str) -> None:
        self.remove(token)
        token.secret = secret
        self.add(token)

    def __iter__(self) -> Iterator[FakeCloudflareToken]:
        return iter(list(self._by_secret.values()))

    def find(self, authorization: str | None) -> FakeCloudflareToken | None:
        """Return the valid token in an Authorization header; None if there is none."""
        scheme, _, secret = (authorization or "").partition(" ")
        token = self._by_secret.get(secret) if scheme == "Bearer" else None
        return None if token is None or token.expired or token.disabled else token


_SIGNED_LIFETIME = 3600
"""Seconds of the sandbox's clock."""
_SIGNING_KEY = b"a key of the sandbox"


def sign_claims(clock: FakeClock, claims: Mapping[str, Any]) -> str:
    """Return a JWT with these claims, signed by the sandbox."""
    expires = int(clock.now().timestamp()) + _SIGNED_LIFETIME
    parts = ({"alg": "HS256", "typ": "JWT"}, {"exp": expires, **claims})
    signed = ".".join(_base64url(json.dumps(part).encode()) for part in parts)
    return f"{signed}.{_signature(signed)}"


def signed_claims(clock: FakeClock, jwt: str) -> dict[str, Any] | None:
    """Return the claims of an unexpired token that the sandbox signed; None for any other token."""
    signed, _, signature = jwt.rpartition(".")
    if not hmac.compare_digest(signature.encode(), _signature(signed).encode()):
        return None
    try:
        claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(signed.partition(".")[2] + "=="))
    except (binascii.Error, ValueError):
        return None
    return claims if claims["exp"] > clock.now().timestamp() else None


def _signature(signed: str) -> str:
    return _base64url(hmac.digest(_SIGNING_KEY, signed.encode(), hashlib.sha256))


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")
