"""Judge the approval of a waiting request by a second person, when its event arrives."""

from typing import TYPE_CHECKING

from ops.app import registry
from ops.core.approval_request import ApprovalEvent, WaitingRequest, choose_request, refuse_approval
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
    """Return the request that the event approves, or a refusal. The acting job verifies the request's signature."""
    try:
        recorded = approvals.read_approvals(repository, given.incident)
        waiting = choose_request(recorded.requests, recorded.uses, given.at, given.code)
        event = ApprovalEvent(waiting.run, given.sender, given.sender_id, given.at)
        refuse_approval(waiting, event, recorded.uses)
        if given.label is not None:
            _refuse_app(repository, given, given.label)
        return _as_recovery(config, waiting, given), event
    except Refused as refused:
        return _refusal(given, refused.reason, refused.message, refused.hint)
    except ProviderError as error:
        text = f"the approval cannot be verified, because of GitHub: {error.message}"
        return _refusal(given, Reason.PERMISSION_UNKNOWN, text, APPROVE_AGAIN)


def _refuse_app(repository: "Repository", given: GivenApproval, label: str) -> None:
    """Raise Refused if an App added the label on behalf of the person, or if GitHub does not show who did.

    The payload of the event does not say it. A button has no such record at all.
    """
    through_app = approvals.is_through_app(repository, given.incident, label, given.at, given.sender_id)
    if through_app is None:
        text = f"GitHub does not show that {given.sender} added the label {label}"
        raise Refused(text, reason=Reason.LABEL_TAKEN, hint="Take the label off if it is there, and put it on again.")
    if through_app:
        raise Refused(
            f"an app added the label in the name of {given.sender}, and only a person may approve",
            reason=Reason.NOT_A_PERSON,
            hint="Add the label yourself, on github.com or in GitHub's own app.",
        )


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
        label=given.label,
    )


def _refusal(given: GivenApproval, reason: Reason, message: str, hint: str) -> RefusedRequest:
    message, hint = (text.replace("{", "{{").replace("}", "}}") for text in (message, hint))
    return RefusedRequest(reason=reason, message=message, hint=hint, incident=given.incident, label=given.label)
