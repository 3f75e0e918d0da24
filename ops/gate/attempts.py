"""Attempts of a workflow run: pass of a job, requester, changes since the request.

GitHub offers a re-run for 30 days. If all jobs are re-run, the gate checks again. It keeps the outputs of the gate when
somebody re-runs only a later job, so that job compares them with itself. Hours or days can pass after the gate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ops.config.strict_yaml import read_yaml
from ops.core.clock import MAX_CLOCK_SKEW, format_utc
from ops.core.errors import ProviderError, Reason, Refused
from ops.core.names import quote_name
from ops.core.redaction import Redactor
from ops.core.responders import RequestScope, ResponderList, describe_permitted, find_lists
from ops.core.run_record import RecordRules
from ops.gate.outcomes import GateJob, RecoveryRequest, RefusedRequest
from ops.gate.refusals import APPROVE_AGAIN, PRESS_AGAIN, SYNC
from ops.github import actions, permissions
from ops.github.client import connect, provider_errors

if TYPE_CHECKING:
    from ops.github.client import Repository
    from ops.github.records import JudgedRecord


_CHANGES = {"writing", "written"}
NO_ENVIRONMENT = "none"
"""In place of a GitHub environment: the job has none."""


def refuse_unknown_time(job: GateJob) -> RefusedRequest | None:
    """Refuse a further attempt of a button if the time of the click is not known."""
    if job.run_attempt == 1 or job.started_at is not None:
        return None
    return RefusedRequest(
        reason=Reason.RERUN,
        message=f"this is attempt {job.run_attempt}, and GitHub does not say when the button was pressed",
        hint=PRESS_AGAIN,
    )


def refuse_approval_again(job: GateJob) -> RefusedRequest | None:
    """Refuse a further attempt of an approval: one event approves one run."""
    if job.run_attempt == 1:
        return None
    return RefusedRequest(
        reason=Reason.RERUN,
        message=f"this is attempt {job.run_attempt} of an approval, and an approval counts once",
        hint=APPROVE_AGAIN,
    )


def check_people(
    repository: "Repository",
    sender: permissions.Requester,
    actor: str,
    attempt: int,
    lists: Sequence[ResponderList],
) -> tuple[permissions.PermissionCheck, str]:
    """Check the sender and the person who started this attempt; return the decisive result and its login.

    A later attempt is a request of its own: only the person who started it counts.
    """
    is_same = actor.lower() == sender.login.lower()
    requesters = [sender] if is_same or attempt == 1 else []
    if not is_same:
        requesters.append(permissions.Requester(actor))
    answers = []
    for requester in requesters:
        answer = permissions.check_permission(repository, requester, lists)
        if answer.reason is not None:
            return answer, requester.login
        answers.append(answer)
    return next((answer for answer in answers if not answer.checked), answers[0]), requesters[0].login


def refuse_further_attempt(
    repository: "Repository", request: RecoveryRequest, attempt: int, rules: RecordRules
) -> RefusedRequest | None:
    """Return a refusal of a re-run if a run changed something after the request, or if that is not known.

    Raises ProviderError.
    """
    from ops.github.records import Trust, judge_records

    if request.incident is None:
        return _rerun_refusal(
            request, attempt, "it names no incident, so it is not known what changed since the request"
        )
    with provider_errors():
        judged = judge_records(repository.get_issue(request.incident), rules)
    if unknown := next((each for each in judged if each.is_unreadable), None):
        return refuse_unknown_changes(request, attempt, f"record {quote_name(unknown.record.run)}: {unknown.doubt}")
    for run in (each for each in judged if each.trust != Trust.NONE):
        if run.record.environment == request.environment and _has_changed_since(run, request.requested_at):
            at = format_utc(request.requested_at)
            return _rerun_refusal(
                request, attempt, f"{{run}} of {{runbook}} changed something after the request ({at})", run
            )
    return None


def _has_changed_since(run: "JudgedRecord", at: datetime) -> bool:
    """Return whether the run changed something after that time. The clocks of runner and GitHub may differ."""
    rows = run.record.rows
    is_change = bool(run.record.versions) or any(row.kind in _CHANGES for row in rows)
    return run.record.is_run and is_change and max((row.at for row in rows), default=at) > at - MAX_CLOCK_SKEW


def refuse_unknown_changes(request: RecoveryRequest, attempt: int, why: str) -> RefusedRequest:
    return _rerun_refusal(request, attempt, f"it is not known what changed since the request ({why})")


def _rerun_refusal(
    request: RecoveryRequest, attempt: int, why: str, run: "JudgedRecord | None" = None
) -> RefusedRequest:
    return RefusedRequest(
        reason=Reason.RERUN,
        message=f"this is attempt {attempt} of an old request, and {why}",
        hint=PRESS_AGAIN,
        values={"run": run.record.run, "runbook": run.record.runbook} if run else {},
        incident=request.incident,
        label=request.label,
        request=request,
    )


@dataclass(frozen=True, kw_only=True)
class GatePass:
    """The gate's pass and the purpose of this job, as the workflow states them.

    None: the workflow does not state it. A job must have all four.
    """

    attempt: str | None = None
    """Attempt of the gate."""
    runbook: str | None = None
    """Runbook, from the gate."""
    environment: str | None = None
    """Environment of `ops.yml`, from the gate."""
    github_environment: str | None = None
    """GitHub environment of the job itself."""


def refuse_without_pass(
    gate_pass: GatePass, environ: Mapping[str, str], *, environment: str, github_environment: str, runbook: str
) -> None:
    """Raise Refused if the pass is for another job than this one. Pure.

    `environment` and `runbook` are those of the job. `github_environment` is the one that the runbook needs.
    """
    if actions.is_job(environ) and None in vars(gate_pass).values():
        raise _no_pass("the workflow does not hand on the gate's pass", hint=SYNC)
    attempt = environ.get("GITHUB_RUN_ATTEMPT", "")
    if gate_pass.attempt is not None and gate_pass.attempt != attempt:
        given = f"the gate's pass is for attempt {gate_pass.attempt}" if gate_pass.attempt else "the gate gave no pass"
        raise _no_pass(f"{given}, and this is attempt {attempt}")
    if gate_pass.runbook is not None and gate_pass.runbook != runbook:
        raise _no_pass(f'the gate\'s pass is for "{quote_name(gate_pass.runbook)}", and this job runs {runbook}')
    if gate_pass.environment is not None and gate_pass.environment != environment:
        there = quote_name(gate_pass.environment)
        raise _no_pass(f'the gate\'s pass is for "{there}", and this job is for "{environment}"')
    needed = github_environment or NO_ENVIRONMENT
    if gate_pass.github_environment is not None and gate_pass.github_environment != needed:
        there = quote_name(gate_pass.github_environment)
        raise _no_pass(f'{runbook} needs the GitHub environment "{needed}", and this job is for "{there}"')


def _no_pass(message: str, *, hint: str = PRESS_AGAIN) -> Refused:
    return Refused(message, reason=Reason.RERUN, hint=hint)


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


def current_lists(repository: "Repository", scope: RequestScope) -> tuple[ResponderList, ...]:
    """Return the current lists of ops.yml on the default branch that apply. Sends one request. Raises ProviderError."""
    problem = "the responders of ops.yml on the default branch are not known"
    try:
        data = read_yaml(permissions.read_config_text(repository)).data
    except ProviderError as error:
        raise ProviderError(f"{problem}: {error.message}", reason=error.reason) from None
    try:
        if isinstance(data, dict):
            return find_lists(data, scope)
    except (TypeError, AttributeError):
        pass
    raise ProviderError(problem, reason=Reason.MALFORMED_ANSWER)


def refuse_requester(
    environ: Mapping[str, str], redactor: Redactor, login: str, hint: str, scope: RequestScope
) -> None:
    """Raise Refused if the requester may no longer start this recovery.

    This job has the `ops.yml` of the request's commit, so the responders are read from the default branch.
    """
    repository = connect(environ, redactor)
    try:
        lists = current_lists(repository, scope)
    except ProviderError as error:
        raise Refused(error.message, reason=Reason.PERMISSION_UNKNOWN, hint=hint) from None
    answer = permissions.check_permission(repository, permissions.Requester(login), lists)
    if answer.reason is not None:
        names = {"requester": login or "nobody", "responders": describe_permitted(lists)}
        raise Refused(
            f"{login or 'nobody'} requested this: {answer.message.format_map(names)}", reason=answer.reason, hint=hint
        )
