"""Read the uses of GitHub environments, and whether the repository is private.

GitHub creates a deployment for each job with an `environment`, unless the job sets `deployment: false`. The statuses of
the deployment link to the job log.
docs.github.com/rest/deployments/deployments, …/deployments/statuses
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ops.core.clock import Period, parse_utc
from ops.core.errors import ConfigError, ProviderError
from ops.core.redaction import Redactor
from ops.github.client import connect, is_configured, provider_errors, read_json

if TYPE_CHECKING:
    from github.Repository import Repository

MOST = 100
"""The limit of deployments in one period; each needs one request for its statuses."""
PER_PAGE, MOST_PAGES = 100, 20


@dataclass(frozen=True)
class EnvironmentUse:
    """Use of a GitHub environment by a job. `at`: GitHub's clock. `actor`: the person who started the run."""

    at: datetime
    environment: str
    actor: str
    ref: str
    sha: str
    state: str
    url: str
    """URL of the job's log."""


def environment_uses(repository: "Repository", period: Period) -> tuple[EnvironmentUse, ...]:
    """Return the uses of all environments in the period, newest first, at most MOST. Raises what PyGithub raises."""
    return tuple(_environment_use(repository, row) for row in _deployments(repository, period))


def _deployments(repository: "Repository", period: Period) -> Iterator[Mapping[str, Any]]:
    """Yield the deployments of the period. GitHub lists the newest first and has no filter by time."""
    count = 0
    for page in range(1, MOST_PAGES + 1):
        rows = read_json(repository, f"/deployments?per_page={PER_PAGE}&page={page}")
        for row in rows:
            at = parse_utc(row["created_at"])
            if at < period.since or count == MOST:
                return
            if at < period.until:
                count += 1
                yield row
        if len(rows) < PER_PAGE:
            return


def _environment_use(repository: "Repository", row: Mapping[str, Any]) -> EnvironmentUse:
    statuses = read_json(repository, f"/deployments/{int(row['id'])}/statuses?per_page=1")
    last = statuses[0] if statuses else {}
    return EnvironmentUse(
        at=parse_utc(row["created_at"]),
        environment=row["environment"],
        actor=(row.get("creator") or {}).get("login", "ghost"),
        ref=row["ref"],
        sha=row["sha"],
        state=last.get("state") or "",
        url=last.get("log_url") or last.get("target_url") or "",
    )


def is_private(repository: "Repository") -> bool:
    """Return whether GitHub confirms that the repository is private.

    False if GitHub fails or does not say; never raises.
    """
    try:
        with provider_errors():
            found = read_json(repository, "")
    except ProviderError:
        return False
    return isinstance(found, dict) and found.get("private") is True and found.get("visibility") != "internal"


def is_own_private(environ: Mapping[str, str], redactor: Redactor) -> bool:
    """Return whether the operations repository is private; False if it cannot be read. Never raises."""
    try:
        return is_configured(environ) and is_private(connect(environ, redactor))
    except ConfigError:  # the token is for another server
        return False


def source_exposure(environ: Mapping[str, str], redactor: Redactor, application: str) -> str:
    """Return why others could read an artifact with the application's source; "" if it exposes nothing new."""
    own = environ.get("GITHUB_REPOSITORY", "")
    if own and own.lower() == (application or own).lower():
        return ""
    if is_own_private(environ, redactor):
        return ""
    return f"GitHub does not say that {own or 'the operations repository'} is private, and its artifacts are readable"
