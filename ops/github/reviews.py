"""Read who approved the GitHub environment of a job, and when that job began.

docs.github.com/rest/actions/workflow-runs#get-the-review-history-for-a-workflow-run
"""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ops.core.clock import parse_utc
from ops.github.client import provider_errors

if TYPE_CHECKING:
    from github.Repository import Repository


@dataclass(frozen=True)
class EnvironmentReview:
    reviewer: str
    began: datetime
    """When the job that waited for the review began, by GitHub's clock: GitHub stores no time of the review itself."""


def find_review(repository: "Repository", run_id: int, attempt: int, environment: str) -> EnvironmentReview | None:
    """Return the newest approval of the environment, if the job of that name began in this attempt; else None.

    GitHub does not store the attempt of an approval. Each start of the job uses one up, so that no approval of an
    earlier attempt is left. GitHub creates a missing environment, without a rule, when a job names it: no approval is
    found then. GitHub ignores case in the names of environments; `environment` is in lower case. Raises ProviderError.
    """
    with provider_errors():
        _, reviews = repository.requester.requestJsonAndCheck(
            "GET", f"{repository.url}/actions/runs/{run_id}/approvals"
        )
        began, *earlier = (_waiting_job(repository, run_id, each, environment) for each in range(attempt, 0, -1))
    approved = [
        review["user"]["login"] if review["user"] else "a deleted account"
        for review in reviews
        if review["state"] == "approved" and environment in [each["name"].lower() for each in review["environments"]]
    ]
    used = sum(job is not None and job["conclusion"] == "success" for job in earlier)
    if began is None or began["started_at"] is None or len(approved) <= used:
        return None
    return EnvironmentReview(approved[-1], parse_utc(began["started_at"]))


def _waiting_job(repository: "Repository", run_id: int, attempt: int, environment: str) -> Any:
    """Return GitHub's entry of the job that waits for a reviewer of the environment, or None."""
    jobs = f"{repository.url}/actions/runs/{run_id}/attempts/{attempt}/jobs?per_page=100"
    _, found = repository.requester.requestJsonAndCheck("GET", jobs)
    return next((job for job in found["jobs"] if job["name"] == environment), None)
