"""Reviews of a workflow run: who approved the GitHub environment of one of its jobs, and when that job began.

docs.github.com/rest/actions/workflow-runs#get-the-review-history-for-a-workflow-run
"""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ops.core.clock import parse_utc
from ops.github.client import failures

if TYPE_CHECKING:
    from github.Repository import Repository


@dataclass(frozen=True)
class Review:
    reviewer: str
    began: datetime
    """When the job began that waited for it, by GitHub's clock: GitHub keeps no time of the review itself."""


def find_review(repository: "Repository", run_id: int, attempt: int, environment: str) -> Review | None:
    """Return the newest approval of that environment, if the job of that name began in this attempt.

    None also where nobody was asked: GitHub makes a missing environment, without a rule, when a job names it.
    Raises ProviderError.
    """
    run = f"{repository.url}/actions/runs/{run_id}"
    with failures():
        _, reviews = repository.requester.requestJsonAndCheck("GET", f"{run}/approvals")
        _, found = repository.requester.requestJsonAndCheck("GET", f"{run}/attempts/{attempt}/jobs?per_page=100")
    approved = [
        review["user"]["login"]
        for review in reviews
        if review["state"] == "approved" and environment in [each["name"] for each in review["environments"]]
    ]
    began = next((job["started_at"] for job in found["jobs"] if job["name"] == environment), None)
    return Review(approved[-1], parse_utc(began)) if approved and began else None
