"""Read approvals and uses of GitHub environments, and whether the repository is private.

GitHub creates a deployment for each job with an `environment`, unless the job sets `deployment: false`. The statuses of
the deployment link to the job log.
docs.github.com/rest/deployments/deployments, …/deployments/statuses,
…/actions/workflow-runs#get-the-review-history-for-a-workflow-run
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
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
NEXT = "next-"
"""Start of the names of jobs for the automatic step after a relapse."""


@dataclass(frozen=True)
class EnvironmentReview:
    reviewer: str
    began: datetime
    """When the job that waited for the review began, by GitHub's clock: GitHub stores no time of the review itself."""
    is_own: bool = False
    """Whether a requester may be the only person who approved it."""


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


def find_review(
    repository: "Repository",
    run_id: int,
    attempt: int,
    environment: str,
    *,
    requesters: Collection[str],
    prefix: str = "",
) -> EnvironmentReview | None:
    """Return the newest approval of the environment, if the job that waits for it began in this attempt; else None.

    The job has the environment's name, behind `prefix`: NEXT for the automatic step. `requesters`: lower-case logins.

    GitHub does not store the attempt of an approval. Each start of such a job uses one up, so that no earlier approval
    is left. GitHub creates a missing environment, without a rule, when a job names it: no approval is found then.
    GitHub ignores case in the names of environments; `environment` is in lower case. Raises ProviderError.
    """
    names = (environment, NEXT + environment)
    with provider_errors():
        reviews = read_json(repository, f"/actions/runs/{run_id}/approvals")
        waits = [_waiting_jobs(repository, run_id, each, names) for each in range(attempt, 0, -1)]
    began = waits[0].pop(prefix + environment, None)
    approved = [
        review["user"]["login"] if review["user"] else "a deleted account"
        for review in reviews
        if review["state"] == "approved" and environment in [each["name"].lower() for each in review["environments"]]
    ]
    used = sum(job["conclusion"] == "success" for found in waits for job in found.values())
    if began is None or began["started_at"] is None or len(approved) <= used:
        return None
    others = [login for login in approved if login.lower() not in requesters]
    is_own = len(others) <= used  # an earlier attempt may have used each of them
    return EnvironmentReview((approved if is_own else others)[-1], parse_utc(began["started_at"]), is_own)


def _waiting_jobs(repository: "Repository", run_id: int, attempt: int, names: Sequence[str]) -> dict[str, Any]:
    """Return name → GitHub's entry of each job with one of the names."""
    found = read_json(repository, f"/actions/runs/{run_id}/attempts/{attempt}/jobs?per_page=100")
    return {job["name"]: job for job in reversed(found["jobs"]) if job["name"] in names}


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
