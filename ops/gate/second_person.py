"""Judge the approval of a waiting request by a second person, when its event arrives."""

from typing import TYPE_CHECKING

from ops.app import registry
from ops.core.approval_request import ApprovalEvent, WaitingRequest, find_request, refuse_approval
from ops.core.errors import ProviderError, Reason, Refused
from ops.gate.outcomes import GivenApproval, RecoveryRequest, RefusedRequest
from ops.gate.refusals import APPROVE_AGAIN
from ops.github import approvals, permissions
from ops.github.client import provider_errors

if TYPE_CHECKING:
    from ops.config import Config
    from ops.github.client import Repository


def requester_ids(repository: "Repository", request: RecoveryRequest) -> tuple[int, ...]:
    """Return the numeric ids of the sender and of the person who started this attempt; none if one is unknown."""
    if request.actor.lower() == request.sender.lower():
        return (request.sender_id,)
    try:
        with provider_errors():
            answer = permissions.read_permission(repository, request.actor)
        return (request.sender_id, int(answer["user"]["id"]))
    except (ProviderError, KeyError, TypeError):
        return ()


def judge_approval(
    repository: "Repository", config: "Config", given: GivenApproval
) -> tuple[RecoveryRequest, ApprovalEvent] | RefusedRequest:
    """Return the request whose digest the person entered, or a refusal. The acting job verifies its signature."""
    try:
        recorded = approvals.read_approvals(repository, given.incident)
        waiting = find_request(recorded.requests, given.incident, given.digest)
        event = ApprovalEvent(given.digest, given.sender, given.sender_id, given.at)
        refuse_approval(waiting, event, recorded.uses)
        return _as_recovery(config, waiting, given), event
    except Refused as refused:
        return _refusal(given, refused.reason, refused.message, refused.hint)
    except ProviderError as error:
        text = f"the approval cannot be verified, because of GitHub: {error.message}"
        return _refusal(given, Reason.PERMISSION_UNKNOWN, text, APPROVE_AGAIN)


def _as_recovery(config: "Config", waiting: WaitingRequest, given: GivenApproval) -> RecoveryRequest:
    """Return the run to start. Raises Refused if the record names one that cannot be: somebody edited it."""
    known = waiting.runbook in registry.runbook_names() and waiting.environment in config.environments
    if not known or not registry.load_runbook(waiting.runbook).needs_approval:
        text = f"the request {waiting.code} was edited, or ops.yml changed since"
        raise Refused(text, reason=Reason.REQUEST_CHANGED, hint="Make the request again.")
    return RecoveryRequest(
        runbook=waiting.runbook,
        params=waiting.params,
        environment=waiting.environment,
        incident=given.incident,
        sender=given.sender,
        sender_id=given.sender_id,
        actor=given.actor,
        requested_at=given.at,
    )


def _refusal(given: GivenApproval, reason: Reason, message: str, hint: str) -> RefusedRequest:
    message, hint = (text.replace("{", "{{").replace("}", "}}") for text in (message, hint))
    return RefusedRequest(reason=reason, message=message, hint=hint, incident=given.incident)
