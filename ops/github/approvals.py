"""Read and record approvals on GitHub: by reviewers, and by a second person on an incident.

docs.github.com/rest/actions/workflow-runs#get-the-review-history-for-a-workflow-run
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.core.approval import RECORD_SOURCE, Approval, ApprovalUse, WaitingRequest, parse_request, parse_use
from ops.core.clock import Clock, parse_utc
from ops.core.errors import ProviderError, Reason, UnclearWrite
from ops.core.run_record import RecordRules
from ops.github.actions import job_id
from ops.github.client import provider_errors, read_json, write_errors
from ops.github.list_lag import await_listed
from ops.github.records import Trust, judge_records

if TYPE_CHECKING:
    from github.Repository import Repository

TRIES = 2
NEXT = "next-"
"""Start of the names of jobs for the automatic step after a relapse."""


def find_review(
    repository: "Repository",
    run_id: int,
    attempt: int,
    environment: str,
    *,
    requesters: Collection[str],
    is_next: bool,
) -> Approval | None:
    """Return the newest approval of the environment, if the job that waits for it began in this attempt; else None.

    The job has the environment's name; behind NEXT, if it waits for the automatic step (`is_next`).
    `requesters`: lower-case logins. One of them is returned only if no approval of another person is left.

    GitHub does not store the attempt of an approval. Each start of such a job uses one up, so that no earlier approval
    is left. GitHub creates a missing environment, without a rule, when a job names it: no approval is found then.
    GitHub ignores case in the names of environments; `environment` is in lower case. Raises ProviderError.
    """
    names = (environment, after_relapse := NEXT + environment)
    with provider_errors():
        reviews = read_json(repository, f"/actions/runs/{run_id}/approvals")
        waits = [_waiting_jobs(repository, run_id, each, names) for each in range(attempt, 0, -1)]
    began = waits[0].pop(after_relapse if is_next else environment, None)
    approved = [
        review["user"]["login"] if review["user"] else "a deleted account"
        for review in reviews
        if review["state"] == "approved" and environment in [each["name"].lower() for each in review["environments"]]
    ]
    used = sum(job["conclusion"] == "success" for found in waits for job in found.values())
    if began is None or began["started_at"] is None or len(approved) <= used:
        return None
    own = [login for login in approved if login.lower() in requesters]
    others = [login for login in approved if login.lower() not in requesters]
    left = others if len(others) > used else own  # an earlier attempt may have used each of the others
    return Approval(login=left[-1], id=0, at=parse_utc(began["started_at"]))


def _waiting_jobs(repository: "Repository", run_id: int, attempt: int, names: Sequence[str]) -> dict[str, Any]:
    """Return id → GitHub's entry of each job with one of the ids in `names`."""
    answer = read_json(repository, f"/actions/runs/{run_id}/attempts/{attempt}/jobs?per_page=100")
    jobs = ((job_id(job["name"]), job) for job in reversed(answer["jobs"]))
    return {name: job for name, job in jobs if name in names}


@dataclass(frozen=True)
class RecordedApprovals:
    """Requests and used approvals on an incident, oldest first.

    Everyone with write access can write a record: only the signature shows that a request is unchanged.
    """

    requests: Sequence[WaitingRequest]
    uses: Sequence[ApprovalUse]


def read_approvals(repository: "Repository", number: int, rules: RecordRules) -> RecordedApprovals:
    """Return the requests and used approvals of the issue. Raises ProviderError, also if GitHub hides their authors.

    Requests are signed, so any author may have written them. A use only counts if a workflow of ours recorded it.
    """
    with provider_errors():
        judged = judge_records(repository.get_issue(number), rules, lambda record: bool(record.approval))
    requests = [each.record for each in judged if each.record.source != RECORD_SOURCE]
    if denied := next((each for each in judged if each.is_denied), None):
        hint = "Run `ops workflows sync`, merge that, then make the request again. Or use --one-person on a laptop."
        raise ProviderError(denied.doubt, reason=Reason.PERMISSION_UNREADABLE, hint=hint)
    uses = [each for each in judged if each.record.source == RECORD_SOURCE]
    if unknown := next((each for each in uses if each.is_unreadable), None):
        text = f"whether the approval was used before is unknown: {unknown.doubt}"
        raise ProviderError(text, reason=Reason.PROVIDER_UNAVAILABLE)
    return RecordedApprovals(
        [request for each in requests if (request := parse_request(each.approval))],
        [use for each in uses if each.trust == Trust.OURS and (use := parse_use(each.record.approval))],
    )


def save_use(
    repository: "Repository", number: int, use: ApprovalUse, body: str, rules: RecordRules, *, clock: Clock
) -> ApprovalUse:
    """Write the comment of a used approval, and return the first use of that request as GitHub shows it then.

    After a lost answer it reads before it writes again. A refused write and a failed read are not waited for.

    Raises ProviderError if the comment is not there.
    """

    def find_first() -> ApprovalUse | None:
        uses = read_approvals(repository, number, rules).uses
        return next((each for each in uses if each.uses == use.uses), None)

    failed: ProviderError | None = None
    is_written = False
    for _ in range(TRIES):
        try:
            if not is_written:
                with write_errors():
                    repository.get_issue(number).create_comment(body)
                is_written = True
        except UnclearWrite as error:
            failed = error
        try:
            if first := await_listed(find_first, clock):
                return first
        except ProviderError as error:
            failed = failed or error
        else:
            if is_written:
                break
    text = "GitHub does not show the comment of the approval"
    raise failed or ProviderError(text, reason=Reason.PROVIDER_UNAVAILABLE)
