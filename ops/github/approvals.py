"""Read the requests that wait for a second person, and record the use of an approval."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops.core.approval_request import RECORD_SOURCE, ApprovalUse, WaitingRequest, parse_request, parse_use
from ops.core.errors import ProviderError, Reason
from ops.github.client import provider_errors, write_errors
from ops.github.issues import trusted_records

if TYPE_CHECKING:
    from github.Repository import Repository

TRIES = 2


@dataclass(frozen=True)
class RecordedApprovals:
    """Requests and used approvals on an incident, oldest first.

    Everyone with write access can write a record: only the signature shows that a request is unchanged.
    """

    requests: Sequence[WaitingRequest]
    uses: Sequence[ApprovalUse]


def read_approvals(repository: "Repository", number: int) -> RecordedApprovals:
    """Return the requests and used approvals of the issue. Raises ProviderError."""
    with provider_errors():
        records = [each.record for each in trusted_records(repository, number) if each.record.approval]
    requests = (parse_request(each.approval) for each in records if each.source != RECORD_SOURCE)
    uses = (parse_use(each.approval) for each in records if each.source == RECORD_SOURCE)
    return RecordedApprovals([each for each in requests if each], [each for each in uses if each])


def save_use(repository: "Repository", number: int, use: ApprovalUse, body: str) -> ApprovalUse:
    """Write the comment of a used approval, and return the first use of that request as GitHub shows it then.

    After a lost answer it reads before it writes again. Raises ProviderError if the comment is not there.
    """
    failed: ProviderError | None = None
    for _ in range(TRIES):
        try:
            with write_errors():
                repository.get_issue(number).create_comment(body)
        except ProviderError as error:
            failed = error
        with contextlib.suppress(ProviderError):
            found = read_approvals(repository, number).uses
            if first := next((each for each in found if each.uses == use.uses), None):
                return first
    text = "GitHub does not show the comment of the approval"
    raise failed or ProviderError(text, reason=Reason.PROVIDER_UNAVAILABLE)
