"""Judge an approval: by a second person when its event arrives, by a reviewer in the job.

The acting job also verifies the former with the plan: `ops.app.second_person`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ops.app import registry
from ops.app.scope import AnyRunbook, scope_of
from ops.config.labels import format_params
from ops.core.approval import (
    Approval,
    WaitingRequest,
    find_waiting_request,
    refuse_approval,
    refuse_review,
    refuse_unreviewed,
)
from ops.core.clock import current_time
from ops.core.errors import ProviderError, Reason, Refused
from ops.core.redaction import Redactor
from ops.gate.attempts import refuse_requester
from ops.gate.outcomes import ApprovalEvent, RecoveryRequest, RefusedRequest
from ops.gate.refusals import APPROVE_AGAIN, PRESS_AGAIN
from ops.github import actions, approvals
from ops.github.client import connect
from ops.render import code_span

if TYPE_CHECKING:
    from ops.config import Config, Environment
    from ops.github.client import Repository


def judge_approval(
    repository: "Repository", config: "Config", event: ApprovalEvent
) -> RecoveryRequest | RefusedRequest:
    """Return the request whose digest the person entered, or a refusal. The acting job verifies its signature."""
    try:
        recorded = approvals.read_approvals(repository, event.incident, registry.record_rules(config))
        waiting = find_waiting_request(recorded.requests, event.incident, event.approval.digest)
        refuse_approval(waiting, event.approval, recorded.uses)
        return _as_recovery(config, waiting, event)
    except Refused as refused:
        return _approval_refusal(event, refused.reason, refused.message, refused.hint)
    except ProviderError as error:
        text = f"the approval cannot be verified, because of GitHub: {error.message}"
        return _approval_refusal(event, Reason.PERMISSION_UNKNOWN, text, APPROVE_AGAIN)


def _as_recovery(config: "Config", waiting: WaitingRequest, event: ApprovalEvent) -> RecoveryRequest:
    """Return the run to start. Raises Refused if the record names one that cannot be: somebody edited it."""
    known = waiting.runbook in registry.runbook_names() and waiting.environment in config.environments
    if not known or not registry.load_runbook(waiting.runbook).incident_use.needs_approval:
        text = f"the request {waiting.code} was edited, or ops.yml changed since"
        raise Refused(text, reason=Reason.REQUEST_CHANGED, hint="Make the request again.")
    return RecoveryRequest(
        runbook=waiting.runbook,
        params=waiting.params,
        environment=waiting.environment,
        incident=event.incident,
        sender=event.approval.login,
        sender_id=event.approval.id,
        actor=event.actor,
        requested_at=event.approval.at,
    )


def _approval_refusal(event: ApprovalEvent, reason: Reason, message: str, hint: str) -> RefusedRequest:
    message, hint = (text.replace("{", "{{").replace("}", "}}") for text in (message, hint))
    return RefusedRequest(reason=reason, message=message, hint=hint, incident=event.incident)


def require_review(
    environment: "Environment",
    runbook: AnyRunbook,
    params: Mapping[str, Any],
    environ: Mapping[str, str],
    redactor: Redactor,
    *,
    requester: str,
    is_next: bool = False,
) -> Approval | None:
    """Return the approval by a reviewer for which a job of this attempt waited; None if `ops.yml` requires none here.

    `is_next`: for the automatic step after a relapse, which has a waiting job of its own.

    GitHub waits up to 30 days for a reviewer, so the requester's permission is checked again.

    Raises:
        Refused: nobody else approved it, the approval is too old, the requester has lost access, or GitHub gives no
            answer.
        ConfigError: the job's variables cannot be used.
    """
    if runbook.github_environment not in environment.approval:
        return None
    name = environment.approval_environment
    requesters = {requester.lower(), environ.get("GITHUB_ACTOR", "").lower()}  # of this attempt, and of the first
    try:
        repository, run_id = connect(environ, redactor), int(actions.run_id(environ))
        attempt = actions.run_attempt(environ)
        review = approvals.find_review(repository, run_id, attempt, name, requesters=requesters, is_next=is_next)
    except (ProviderError, ValueError) as error:
        why = error.message if isinstance(error, ProviderError) else "this is no job of GitHub Actions"
        raise refuse_unreviewed(f"GitHub does not say whether it was approved ({why})") from None
    if review is None:
        raise refuse_unreviewed(f'nobody approved it in the GitHub environment "{name}", or that has no reviewers')
    refuse_review(review, requesters, name, current_time(environ))
    refuse_requester(environ, redactor, requester, PRESS_AGAIN, scope_of(environment, runbook.name, params))
    return review


def text_for_reviewers(request: RecoveryRequest, name: str, command: str) -> str:
    """Return the request as Markdown, for a reviewer of that GitHub environment.

    `command` is the laptop command. It shows the plan, which the gate cannot read.
    """
    requested = code_span(f"{request.runbook} {format_params(request.params)}".strip())
    dry = ", as a dry run" if request.dry_run else ""
    return (
        f"**Waits for a reviewer of `{name}`:** {requested} in {code_span(request.environment)}{dry}, requested by "
        f"{code_span('@' + request.actor)}.\n\nSee the plan, which only reads: {code_span(command + ' --dry-run')}\n"
    )
