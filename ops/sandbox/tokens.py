"""API tokens and what each may do."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

SCRIPTS_READ = "Workers Scripts Read"
SCRIPTS_WRITE = "Workers Scripts Write"
PAGES_READ = "Pages Read"
PAGES_WRITE = "Pages Write"


@dataclass(frozen=True, kw_only=True)
class Token:
    secret: str
    permissions: frozenset[str]
    expired: bool = False
    owner: Literal["user", "account"] = "user"
    email: str = "ci@example.com"

    @property
    def id(self) -> str:
        return hashlib.sha256(self.secret.encode()).hexdigest()[:32]

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

    def __iter__(self) -> Iterator[Token]:
        return iter(self._by_secret.values())

    def of(self, authorization: str | None) -> Token | None:
        """The valid token in an Authorization header."""
        scheme, _, secret = (authorization or "").partition(" ")
        token = self._by_secret.get(secret) if scheme == "Bearer" else None
        return None if token is None or token.expired else token
