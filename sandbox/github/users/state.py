"""Users and GitHub Apps: roles, and the author of a change.

docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

Role = Literal["read", "triage", "write", "maintain", "admin"]
Kind = Literal["User", "Bot", "Organization"]

_ROLES: tuple[Role, ...] = ("read", "triage", "write", "maintain", "admin")


@dataclass(eq=False, kw_only=True)
class User:
    login: str
    id: int
    type: Kind = "User"
    roles: dict[str, Role | None] = field(default_factory=dict)
    """Repository, as `owner/name` → role there; None: not a collaborator."""


@dataclass(eq=False, kw_only=True)
class Team:
    """A team of the repository's owner that has access to the repository."""

    id: int
    slug: str
    members: tuple[User, ...] = ()


def includes_role(role: Role | None, needed: Role) -> bool:
    """Return whether the role includes the needed one."""
    return role is not None and _ROLES.index(role) >= _ROLES.index(needed)


def permission(role: Role | None) -> str:
    """Return the role as the older field `permission` shows it: triage as read, maintain as write.

    docs.github.com/rest/collaborators/collaborators#get-repository-permissions-for-a-user
    """
    return {"triage": "read", "maintain": "write"}.get(role, role) if role else "none"


@dataclass(frozen=True, kw_only=True)
class App:
    """A GitHub App; its user is `SLUG[bot]`."""

    id: int
    slug: str
    name: str

    @property
    def starts_workflows(self) -> bool:
        """Whether changes by the app start workflows; those by GITHUB_TOKEN do not.

        docs.github.com/actions/concepts/security/github_token#when-github_token-triggers-workflow-runs
        """
        return self.slug != GITHUB_ACTIONS.slug


GITHUB_ACTIONS = App(id=15368, slug="github-actions", name="GitHub Actions")
ACTIONS_BOT = "github-actions[bot]"


@dataclass(frozen=True, kw_only=True)
class GitHubActor:
    """Author of a change: user, app, and time (`at`; None for now)."""

    user: User
    app: App | None = None
    at: datetime | None = None


LIFETIME = timedelta(hours=1)
"""Lifetime of an installation token."""
_LONGEST_JWT = 600
"""Maximum seconds from now to `exp`."""
_NOT_DECODED = "A JSON web token could not be decoded"


class IdentityError(Exception):
    """The JSON Web Token names no known App, or its signature or times are invalid."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, kw_only=True)
class RegisteredApp:
    app: App
    public_key: str
    """In PEM. Only the owner has the private key."""
    permissions: Mapping[str, str]
    """Name → read or write, as accepted by its installation."""
    installation_id: int
    repository_id: int | None
    """The repository on which it is installed; None: only on others of the account."""


def is_jwt(secret: str) -> bool:
    return secret.count(".") == 2 and not secret.startswith("ghs_")


def identify(encoded: str, apps: Mapping[str, RegisteredApp], now: datetime) -> RegisteredApp:
    """Return the App that signed the token. Raises IdentityError."""
    import jwt

    try:
        issuer = str(jwt.decode(encoded, options={"verify_signature": False}).get("iss"))
        if (found := apps.get(issuer)) is None:
            raise IdentityError(404, "Integration not found")
        claims = jwt.decode(
            encoded, found.public_key, algorithms=["RS256"], options={"verify_exp": False, "verify_iat": False}
        )
    except jwt.PyJWTError:
        raise IdentityError(401, _NOT_DECODED) from None
    _check_times(claims, int(now.timestamp()))
    return found


def _check_times(claims: Mapping[str, Any], now: int) -> None:
    issued, ends = claims.get("iat"), claims.get("exp")
    if not isinstance(issued, int) or issued > now:
        text = "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"
        raise IdentityError(401, text)
    if not isinstance(ends, int) or ends <= now:
        text = "'Expiration time' claim ('exp') must be a numeric value representing the future time"
        raise IdentityError(401, f"{text} at which the assertion expires")
    if ends > now + _LONGEST_JWT:
        raise IdentityError(401, "'Expiration time' claim ('exp') is too far in the future")
