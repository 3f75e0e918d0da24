"""Tokens: the owner, the rights and the rate limit of each."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sandbox.clock import FakeClock
from sandbox.github.users.state import App, RegisteredApp, User, identify, is_jwt

Kind = Literal["installation", "fine-grained", "classic", "app"]

GRANTABLE = frozenset({"actions", "checks", "contents", "deployments", "issues", "pages", "pull_requests", "statuses"})
"""What `permissions:` in a workflow can give to GITHUB_TOKEN. Secrets, variables, environments, workflow files and
administration are not among it.

docs.github.com/actions/reference/workflows-and-actions/workflow-syntax#permissions
"""


@dataclass(frozen=True, kw_only=True)
class FakeGitHubToken:
    secret: str
    user: User
    kind: Kind
    app: App | None = None
    scopes: tuple[str, ...] = ()
    """Of a classic token: its X-OAuth-Scopes."""
    permissions: Mapping[str, str]
    """Name → read or write."""
    expires_at: datetime | None = None
    """None: never."""

    def may(self, permission: str) -> bool:
        """`issues:write` and the like. A right to write is one to read; metadata can be read by every token."""
        name, _, level = permission.partition(":")
        if self.kind == "classic":
            return "repo" in self.scopes
        return permission == "metadata:read" or self.permissions.get(name) in {level, "write"}

    @property
    def refusal(self) -> str:
        """What GitHub says when it may not."""
        return f"Resource not accessible by {'integration' if self.app else 'personal access token'}"

    @property
    def limit(self) -> int:
        """How many requests an hour.

        docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
        """
        return 1000 if self.kind == "installation" else 5000


class GitHubTokens:
    def __init__(self) -> None:
        self._by_secret: dict[str, FakeGitHubToken] = {}
        self.apps: dict[str, RegisteredApp] = {}
        """By the id that a JSON Web Token names as its issuer."""

    def add(
        self,
        secret: str,
        user: User,
        scopes: Iterable[str],
        app: App | None = None,
        *,
        expires_at: datetime | None = None,
    ) -> FakeGitHubToken:
        """Scopes with a level (`issues:write`) make a fine-grained token, and others (`repo`) a classic one."""
        scopes = tuple(scopes)
        levels = dict(scope.split(":") for scope in scopes if scope.endswith((":read", ":write")))
        kind: Kind = "installation" if app else "fine-grained" if levels else "classic"
        token = FakeGitHubToken(
            secret=secret, user=user, kind=kind, app=app, scopes=scopes, permissions=levels, expires_at=expires_at
        )
        self._by_secret[secret] = token
        return token

    def remove(self, secret: str) -> None:
        self._by_secret.pop(secret, None)

    def __iter__(self) -> Iterator[FakeGitHubToken]:
        return iter(self._by_secret.values())

    def find(self, authorization: str, now: datetime, bot_of: Callable[[App], User]) -> FakeGitHubToken | None:
        """The token in an Authorization header, `token …` or `Bearer …`; None where it is unknown or has expired.

        Raises IdentityError for the JSON Web Token of an App that it does not prove.
        """
        scheme, _, secret = authorization.partition(" ")
        if scheme.lower() not in {"token", "bearer"}:
            return None
        if is_jwt(secret):
            app = identify(secret, self.apps, now).app
            return FakeGitHubToken(secret=secret, user=bot_of(app), kind="app", app=app, permissions={})
        found = self._by_secret.get(secret)
        return found if found and (found.expires_at is None or now < found.expires_at) else None


_HOUR = 3600


class RateLimits:
    """The primary rate limit: so many requests of a token in each hour of the sandbox's clock."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._used: Counter[tuple[str, int]] = Counter()

    def count(self, token: FakeGitHubToken) -> bool:
        """Whether the token had this request left."""
        key = (token.secret, self._hour())
        if self._used[key] >= token.limit:
            return False
        self._used[key] += 1
        return True

    def usage(self, token: FakeGitHubToken) -> dict[str, int | str]:
        used = self._used[token.secret, self._hour()]
        reset = (self._hour() + 1) * _HOUR
        remaining = token.limit - used
        return {"limit": token.limit, "remaining": remaining, "reset": reset, "used": used, "resource": "core"}

    def _hour(self) -> int:
        now: datetime = self._clock.now()
        return int(now.timestamp()) // _HOUR
