"""Who there is, what each may do in the repository, and in whose name a change is made."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Role = Literal["read", "triage", "write", "maintain", "admin"]
Kind = Literal["User", "Bot", "Organization"]

_ROLES: tuple[Role, ...] = ("read", "triage", "write", "maintain", "admin")


@dataclass(eq=False, kw_only=True)
class User:
    login: str
    id: int
    type: Kind = "User"
    role: Role | None = None
    """In the repository; None: no collaborator."""


def reaches(role: Role | None, needed: Role) -> bool:
    """Whether it is that role or a higher one."""
    return role is not None and _ROLES.index(role) >= _ROLES.index(needed)


def permission(role: Role | None) -> str:
    """The role as the older field `permission` knows it: triage reads as read, maintain as write.

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
        """What GITHUB_TOKEN does starts none.

        docs.github.com/actions/concepts/security/github_token#when-github_token-triggers-workflow-runs
        """
        return self.slug != GITHUB_ACTIONS.slug


GITHUB_ACTIONS = App(id=15368, slug="github-actions", name="GitHub Actions")
ACTIONS_BOT = "github-actions[bot]"


@dataclass(frozen=True, kw_only=True)
class By:
    """Who changes something, through which app, and when if not now."""

    user: User
    app: App | None = None
    at: datetime | None = None
