"""Environments and their protection rules."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from sandbox.github.secrets.state import Vault
from sandbox.github.users.state import Team, User


@dataclass(frozen=True, kw_only=True)
class EnvironmentProtection:
    """Protection rules of an environment.

    docs.github.com/actions/reference/workflows-and-actions/deployments-and-environments
    """

    reviewers: tuple[User, ...] = ()
    """One of them must approve each job; without people and teams, no approval is needed."""
    teams: tuple[Team, ...] = ()
    """Teams whose members may approve too."""
    prevents_self_review: bool = False
    """Whether the person who started the run may not approve it."""
    policy: Literal["all", "protected", "custom"] = "all"
    """Refs that may use it. Here, the default branch is the only protected one."""
    branches: tuple[str, ...] = ()
    """Patterns of the policy `custom`."""
    tags: tuple[str, ...] = ()
    """Patterns of the policy `custom` for tags."""
    wait_timer: int = 0
    """Minutes that each job waits. The local runner does not wait."""

    @property
    def approvers(self) -> tuple[User, ...]:
        return (*self.reviewers, *(member for team in self.teams for member in team.members))


@dataclass(eq=False, kw_only=True)
class FakeEnvironment:
    id: int
    name: str
    created_at: datetime
    updated_at: datetime
    vault: Vault = field(default_factory=Vault)
    protection: EnvironmentProtection = EnvironmentProtection()
