"""Which workflow runs used a GitHub environment, and with it its secrets; and who may read the repository. Reads only.

GitHub makes a deployment for each job with an `environment`, unless the job says `deployment: false`; the deployment's
statuses lead to the job's log. docs.github.com/rest/deployments/deployments and …/deployments/statuses
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ops.cloudflare.types.records import EnvironmentUse, Period
from ops.core.clock import parse_utc
from ops.core.redaction import Redactor

if TYPE_CHECKING:
    from github.Repository import Repository

MOST = 100
"""Deployments, and requests for their statuses, of one period."""
PER_PAGE, MOST_PAGES = 100, 20


def environment_uses(repository: "Repository", period: Period) -> tuple[EnvironmentUse, ...]:
    """Of every environment, newest first, MOST of them at most. Raises what PyGithub raises."""
    return tuple(_use(repository, row) for row in _deployments(repository, period))


def _deployments(repository: "Repository", period: Period) -> Iterator[Mapping[str, Any]]:
    """GitHub lists the newest first and takes no moment to list from."""
    count = 0
    for page in range(1, MOST_PAGES + 1):
        path = f"{repository.url}/deployments?per_page={PER_PAGE}&page={page}"
        _, rows = repository.requester.requestJsonAndCheck("GET", path)
        for row in rows:
            at = parse_utc(row["created_at"])
            if at < period.since or count == MOST:
                return
            if at < period.until:
                count += 1
                yield row
        if len(rows) < PER_PAGE:
            return


def _use(repository: "Repository", row: Mapping[str, Any]) -> EnvironmentUse:
    path = f"{repository.url}/deployments/{int(row['id'])}/statuses?per_page=1"
    _, statuses = repository.requester.requestJsonAndCheck("GET", path)
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
    """Whether GitHub says so; False also where it cannot be asked or says nothing, and never an exception."""
    from ops.core.errors import ProviderError
    from ops.github.client import provider_errors

    try:
        with provider_errors():
            _, found = repository.requester.requestJsonAndCheck("GET", repository.url)
    except ProviderError:
        return False
    return isinstance(found, dict) and found.get("private") is True and found.get("visibility") != "internal"


def source_exposure(environ: Mapping[str, str], redactor: Redactor, application: str) -> str:
    """Why others could read an artifact with the application's source; "" where they cannot, or can read it anyway."""
    from ops.github.client import connect, is_configured

    own = environ.get("GITHUB_REPOSITORY", "")
    if own and own.lower() == (application or own).lower():
        return ""
    if is_configured(environ) and is_private(connect(environ, redactor)):
        return ""
    return f"GitHub does not say that {own or 'the operations repository'} is private, and its artifacts are readable"
