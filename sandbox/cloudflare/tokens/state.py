"""API tokens and what each may do."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

SCRIPTS_READ = "Workers Scripts Read"
SCRIPTS_WRITE = "Workers Scripts Write"
ZONE_READ = "Zone Read"
ROUTES_READ = "Workers Routes Read"
ROUTES_WRITE = "Workers Routes Write"
AUDIT_READ = "Account Settings Read"
ANALYTICS_READ = "Analytics Read"
ACCOUNT_ANALYTICS_READ = "Account Analytics Read"
OBSERVABILITY_READ = "Workers Observability Read"
PAGES_READ = "Pages Read"
PAGES_WRITE = "Pages Write"
D1_READ = "D1 Read"
D1_WRITE = "D1 Write"
KV_READ = "Workers KV Storage Read"
KV_WRITE = "Workers KV Storage Write"
PERMISSIONS = (
    *(
        f"{area} {right}"
        for area in ("Workers Scripts", "Workers Routes", "Workers KV Storage", "D1", "Pages", "Zone")
        for right in ("Read", "Write")
    ),
    *(f"{area} {right}" for area in ("API Tokens", "Account API Tokens") for right in ("Read", "Write")),
    AUDIT_READ,
    ANALYTICS_READ,
    ACCOUNT_ANALYTICS_READ,
    OBSERVABILITY_READ,
)
"""All that some route of the sandbox asks for."""
DEFAULT = frozenset({SCRIPTS_WRITE, PAGES_WRITE, KV_WRITE, D1_WRITE})
"""What the token may that a sandbox begins with."""

Owner = Literal["user", "account"]


@dataclass(kw_only=True)
class Token:
    secret: str = field(repr=False)
    permissions: frozenset[str]
    expired: bool = False
    disabled: bool = False
    owner: Owner = "user"
    email: str = "ci@example.com"
    name: str = "ci"
    id: str = ""

    def __post_init__(self) -> None:
        """The id outlives a value that is rolled."""
        self.id = self.id or hashlib.sha256(self.secret.encode()).hexdigest()[:32]

    def may(self, permission: str) -> bool:
        """A right to write is one to read.

        developers.cloudflare.com/fundamentals/api/reference/permissions
        """
        return not {permission, permission.replace(" Read", " Write")}.isdisjoint(self.permissions)


class Tokens:
    def __init__(self, *tokens: Token) -> None:
        self._by_secret = {token.secret: token for token in tokens}

    def add(self, token: Token) -> None:
        self._by_secret[token.secret] = token

    def remove(self, token: Token) -> None:
        del self._by_secret[token.secret]

    def roll(self, token: Token, secret: str) -> None:
        self.remove(token)
        token.secret = secret
        self.add(token)

    def __iter__(self) -> Iterator[Token]:
        return iter(list(self._by_secret.values()))

    def of(self, authorization: str | None) -> Token | None:
        """The valid token in an Authorization header."""
        scheme, _, secret = (authorization or "").partition(" ")
        token = self._by_secret.get(secret) if scheme == "Bearer" else None
        return None if token is None or token.expired or token.disabled else token
