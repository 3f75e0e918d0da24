"""What Cloudflare says of Pages: a project and its deployments, as values."""

from dataclasses import dataclass
from datetime import datetime

PRODUCTION = "production"


@dataclass(frozen=True)
class PagesDeployment:
    """One row of a project's deployments. Nothing in it tells whether it serves now.

    `commit` is what the deployer wrote, free text and no proof of what was built; "" where it is not known.
    """

    id: str
    url: str
    """Its own address, which a rollback never changes."""
    created_on: datetime
    environment: str
    stage: str = ""
    """Of the latest stage: queued, initialize, clone_repo, build or deploy."""
    status: str = ""
    """Of that stage: success, idle, active, failure, canceled or skipped."""
    is_skipped: bool = False
    trigger: str = ""
    """What made it: ad_hoc (an upload) or github:push, and others."""
    branch: str = ""
    commit: str = ""
    message: str = ""
    has_uncommitted_changes: bool = False
    """Whether it was built with changes that are in no commit."""
    aliases: tuple[str, ...] = ()
    has_functions: bool | None = None
    env_vars: frozenset[str] | None = None
    """Names alone, of those that it was built with; None where Cloudflare does not say."""

    @property
    def can_serve_production(self) -> bool:
        """Whether it can be rolled back to (developers.cloudflare.com/pages/configuration/rollbacks)."""
        deployed = (self.stage, self.status) == ("deploy", "success")
        return self.environment == PRODUCTION and deployed and not self.is_skipped


@dataclass(frozen=True)
class PagesProject:
    name: str
    production_branch: str
    """Empty where Cloudflare does not say."""
    canonical: PagesDeployment | None
    """What Cloudflare calls canonical; None before the first deployment of production.

    Its reference words it as the most recent one: that it follows a rollback is not known for sure.
    """
    env_vars: frozenset[str] = frozenset()
    """Names alone, of production: those of the next deployment."""
    domains: tuple[str, ...] = ()
    """The hosts where production is served: custom domains, and that of pages.dev. Empty if Cloudflare names none."""
    deploys_on_push: bool = False
    """Whether the next push to the production branch deploys over a rollback."""
    bindings: tuple[str, ...] = ()
    """Of production, for people, with the names of variables: those of the next deployment without a wrangler file."""

    @property
    def canonical_id(self) -> str:
        """Empty where there is none."""
        return self.canonical.id if self.canonical else ""
