"""Pages projects and deployments, as Cloudflare returns them."""

from dataclasses import dataclass
from datetime import datetime

PRODUCTION = "production"


@dataclass(frozen=True)
class PagesDeployment:
    """A deployment of a project. It does not show whether it is live.

    `commit`: free text of the deployer and no proof of what was built; empty if unknown.
    """

    id: str
    url: str
    """Own URL of the deployment, which a rollback never changes."""
    created_on: datetime
    environment: str
    stage: str = ""
    """Latest stage: queued, initialize, clone_repo, build or deploy."""
    status: str = ""
    """Status of that stage: success, idle, active, failure, canceled or skipped."""
    is_skipped: bool = False
    trigger: str = ""
    """Origin, such as ad_hoc (an upload) or github:push."""
    branch: str = ""
    commit: str = ""
    message: str = ""
    has_uncommitted_changes: bool = False
    """Whether it was built with uncommitted changes."""
    aliases: tuple[str, ...] = ()
    has_functions: bool | None = None
    env_vars: frozenset[str] | None = None
    """Names of its variables; None if Cloudflare does not report them."""

    @property
    def can_serve_production(self) -> bool:
        """Return whether it can be rolled back to (developers.cloudflare.com/pages/configuration/rollbacks)."""
        deployed = (self.stage, self.status) == ("deploy", "success")
        return self.environment == PRODUCTION and deployed and not self.is_skipped


@dataclass(frozen=True)
class PagesProject:
    name: str
    production_branch: str
    """Empty if Cloudflare does not report it."""
    canonical: PagesDeployment | None
    """Cloudflare's canonical deployment; None before the first production deployment.

    The reference describes it as the most recent one, so it is not certain that it follows a rollback.
    """
    env_vars: frozenset[str] = frozenset()
    """Names of the production variables of the next deployment."""
    domains: tuple[str, ...] = ()
    """Production hosts: custom domains and the pages.dev host. Empty if Cloudflare names none."""
    deploys_on_push: bool = False
    """Whether a push to the production branch replaces a rollback."""
    bindings: tuple[str, ...] = ()
    """Production bindings and variable names, for people; used by the next deployment without a wrangler file."""

    @property
    def canonical_id(self) -> str:
        """Return the ID of the canonical deployment; empty if there is none."""
        return self.canonical.id if self.canonical else ""
