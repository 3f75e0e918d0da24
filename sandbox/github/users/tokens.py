"""Tokens of the GitHub API: owner, permissions and rate limit."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sandbox.clock import FakeClock
from sandbox.github.users.state import App, RegisteredApp, User, identify, is_jwt

Kind = Literal["installation", "fine-grained", "classic", "app"]

GRANTABLE = frozenset({"actions", "checks", "contents", "deployments", "issues", "pages", "pull_requests", "statuses"})
"""Permissions that a workflow can grant to GITHUB_TOKEN. Secrets, variables, environments, workflow files and
administration are not among them.

docs.github.com/actions/reference/workflows-and-actions/workflow-syntax#permissions
"""


@dataclass(frozen=True, kw_only=True)
class FakeGitHubToken:
    secret: str
    user: User
    kind: Kind
    app: App | None = None
    scopes: tuple[str, ...] = ()
    """Scopes of a classic token, as in X-OAuth-Scopes."""
    permissions: Mapping[str, str]
    """Name → read or write."""
    repository_id: int | None = None
    """The repository that it may use; None: all of its user (classic)."""
    expires_at: datetime | None = None
    """None: it does not expire."""

    def may(self, permission: str) -> bool:
        """Return whether it has a permission such as `issues:write`.

        Write includes read, and every token can read metadata.
        """
        name, _, level = permission.partition(":")
        if self.kind == "classic":
            return "repo" in self.scopes
        return permission == "metadata:read" or self.permissions.get(name) in {level, "write"}

    def is_for(self, repository_id: int) -> bool:
        """Return whether it may use the repository. It may read a public one without that."""
        return self.kind in {"classic", "app"} or self.repository_id == repository_id

    @property
    def refusal(self) -> str:
        """GitHub's message for a missing permission."""
        return f"Resource not accessible by {'integration' if self.app else 'personal access token'}"

    @property
    def limit(self) -> int:
        """Maximum requests per hour.

        docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
        """
        return 1000 if self.kind == "installation" else 5000


class GitHubTokens:
    def __init__(self) -> None:
        self._by_secret: dict[str, FakeGitHubToken] = {}
        self.apps: dict[str, RegisteredApp] = {}
        """Issuer of a JSON Web Token → App."""

    def add(
        self,
        secret: str,
        user: User,
        scopes: Iterable[str],
        app: App | None = None,
        *,
        repository_id: int | None,
        expires_at: datetime | None = None,
    ) -> FakeGitHubToken:
        """Add a token. Scopes with a level (`issues:write`) make it fine-grained; others (`repo`) make it classic.

        A classic one may use all repositories of its user, and any other the one with that ID.
        """
        scopes = tuple(scopes)
        levels = dict(scope.split(":") for scope in scopes if scope.endswith((":read", ":write")))
        kind: Kind = "installation" if app else "fine-grained" if levels else "classic"
        token = FakeGitHubToken(
            secret=secret,
            user=user,
            kind=kind,
            app=app,
            scopes=scopes,
            permissions=levels,
            repository_id=None if kind == "classic" else repository_id,
            expires_at=expires_at,
        )
        self._by_secret[secret] = token
        return token

    def remove(self, secret: str) -> None:
        self._by_secret.pop(secret, None)

    def __iter__(self) -> Iterator[FakeGitHubToken]:
        return iter(self._by_secret.values())

    def find(self, authorization: str, now: datetime, bot_of: Callable[[App], User]) -> FakeGitHubToken | None:
        """Return the token in an Authorization header; None if it is unknown or has expired.

        The header is `token …` or `Bearer …`.

        Raises:
            IdentityError: the JSON Web Token of an App is invalid.
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
    """The primary rate limit: requests per token and hour of the sandbox's clock."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._used: Counter[tuple[str, int]] = Counter()

    def count(self, token: FakeGitHubToken) -> bool:
        """Count a request, and return whether the limit allows it."""
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
