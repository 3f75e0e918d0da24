"""Hand over the lead of an incident: who may get it, and the record of it.

Each hand-over has a comment of its own, so that two at once keep both. The later one counts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ops.core.errors import ProviderError
from ops.core.responders import ResponderList, describe_permitted
from ops.core.run_record import RecordRow, RunRecord
from ops.gate.outcomes import RefusedRequest
from ops.github.client import provider_errors
from ops.github.comments import save_record
from ops.github.permissions import Requester, check_permission
from ops.render import load_templates

if TYPE_CHECKING:
    from ops.github.client import Repository

SOURCE = "lead"
"""Source of the record. The text of its row is the login of the person who leads from then on."""


@dataclass(frozen=True)
class HandOverRecord:
    """A hand-over to record. `run` is the same if it is tried again; `job` is empty on a laptop."""

    run: str
    login: str
    by: str
    at: datetime
    job: str = ""


def refuse_lead(
    repository: "Repository", number: int, login: str, lists: Sequence[ResponderList]
) -> RefusedRequest | None:
    """Return the refusal of a person who may not start a recovery; None if they may. Sends at most one request."""
    answer = check_permission(repository, Requester(login), lists)
    if answer.reason is None:
        return None
    return RefusedRequest(
        reason=answer.reason,
        message=f"{{requester}} cannot lead: {answer.message}",
        hint=f"Name a responder with write access: `ops incident lead {number} --to LOGIN`.",
        values={"requester": login, "responders": describe_permitted(lists)},
    )


def save_lead(repository: "Repository", number: int, lead: HandOverRecord, warn: Callable[[str], object]) -> str:
    """Record the lead on the incident, assign the issue to them, and return the URL of the comment.

    GitHub notifies an assigned person. If it refuses that, the record counts all the same. Raises ProviderError.
    """
    row = RecordRow(lead.at, SOURCE, lead.login)
    record = RunRecord(lead.run, source=SOURCE, rows=(row,), job=lead.job)
    text = load_templates().get_template("lead.md.j2").render(lead=lead)
    with provider_errors():
        url = save_record(repository, number, text, record)
    try:
        with provider_errors():
            repository.get_issue(number).add_to_assignees(lead.login)
    except ProviderError as error:
        warn(f"warning: the issue was not assigned to {lead.login} ({error.message}): tell them")
    return url
