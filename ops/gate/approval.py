"""Check that a job acts on an approval of the same workflow run and attempt.

GitHub keeps the outputs of the gate when somebody re-runs only a later job. If all jobs are re-run, the gate checks
again, and nothing may have changed since the request: GitHub offers a re-run for 30 days.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ops.app import registry
from ops.config.labels import format_params
from ops.config.strict_yaml import read_yaml
from ops.core import system_clock
from ops.core.clock import MAX_CLOCK_SKEW, REQUEST_LIFETIME, format_duration, format_utc
from ops.core.errors import ProviderError, Reason, Refused
from ops.core.redaction import Redactor
from ops.core.suggestions import quote_name
from ops.gate.outcomes import RecoveryRequest, RefusedRequest
from ops.github import actions, permissions
from ops.render.markdown import code_span

if TYPE_CHECKING:
    from ops.config import Config
    from ops.github.client import Repository
    from ops.github.environments import EnvironmentReview
    from ops.github.issues import IssueRecord

PRESS_AGAIN = "Put the label on again, or press the button again: that is a new request."
APPROVAL_HOLDS = REQUEST_LIFETIME
"""From the start of the job that waited for a reviewer to the start of the job that acts."""
SYNC = "Run `ops workflows sync` and merge the workflow files that it writes."
NO_ENVIRONMENT = "none"
"""In place of a GitHub environment: the job has none."""
_CHANGES = {"writing", "written"}

LONGEST_WAIT = timedelta(hours=5)
"""A job may run six hours at most: docs.github.com/actions/reference/limits"""
START_PERIOD = timedelta(minutes=30)
"""The job that ends the state may start until this long after the planned end."""


@dataclass(frozen=True, kw_only=True)
class Approval:
    """The gate's approval and the purpose of this job, as the workflow states them.

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


def refuse_unapproved(
    approval: Approval, environ: Mapping[str, str], *, environment: str, github_environment: str, runbook: str
) -> None:
    """Raise Refused if this job is not the approved one. Pure.

    `environment` and `runbook` are those of the job. `github_environment` is the one that the runbook needs.
    """
    if actions.is_job(environ) and None in vars(approval).values():
        raise _not_approved("the workflow does not pass on what the gate approved", hint=SYNC)
    attempt = environ.get("GITHUB_RUN_ATTEMPT", "")
    if approval.attempt is not None and approval.attempt != attempt:
        raise _not_approved(f"the gate approved attempt {approval.attempt or 'none'}, and this is attempt {attempt}")
    if approval.runbook is not None and approval.runbook != runbook:
        raise _not_approved(f'the gate approved "{quote_name(approval.runbook)}", and this job runs {runbook}')
    if approval.environment is not None and approval.environment != environment:
        raise _not_approved(
            f'the gate approved "{quote_name(approval.environment)}", and this job is for "{environment}"'
        )
    needed = github_environment or NO_ENVIRONMENT
    if approval.github_environment is not None and approval.github_environment != needed:
        there = quote_name(approval.github_environment)
        raise _not_approved(f'{runbook} needs the GitHub environment "{needed}", and this job is for "{there}"')


def find_approval(
    config: "Config",
    github_environment: str,
    environ: Mapping[str, str],
    redactor: Redactor,
    *,
    environment: str,
    requester: str,
    prefix: str = "",
) -> "EnvironmentReview | None":
    """Return the review for which a job of this attempt waited; None if `ops.yml` requires none here.

    `prefix`: that of the name of the waiting job.

    GitHub waits up to 30 days for a reviewer, so the requester's permission is checked again.

    Raises:
        Refused: nobody else approved it, the approval is too old, the requester has lost access, or GitHub gives no
            answer.
        ConfigError: the job's variables cannot be used.
    """
    from ops.github.client import connect
    from ops.github.environments import find_review

    environment_config = config.environment(environment)
    if github_environment not in environment_config.approval:
        return None
    name = environment_config.approval_environment
    requesters = {requester.lower(), environ.get("GITHUB_ACTOR", "").lower()}  # of this attempt, and of the first
    try:
        repository, run_id = connect(environ, redactor), int(actions.run_id(environ))
        attempt = actions.run_attempt(environ)
        found = find_review(repository, run_id, attempt, name, requesters=requesters, prefix=prefix)
    except (ProviderError, ValueError) as error:
        why = error.message if isinstance(error, ProviderError) else "this is no job of GitHub Actions"
        raise _not_reviewed(f"GitHub does not say whether it was approved ({why})") from None
    if found is None:
        raise _not_reviewed(f'nobody approved it in the GitHub environment "{name}", or that has no reviewers')
    if found.is_own:
        raise _own_review(name)
    age = system_clock.current_time(environ) - found.began
    if not -MAX_CLOCK_SKEW <= age <= APPROVAL_HOLDS:
        late = f"{APPROVAL_HOLDS // timedelta(minutes=1)} minutes"
        ago = format_duration(age.total_seconds())
        raise _not_reviewed(f"{found.reviewer} approved it {ago} ago, and an approval holds for {late}")
    refuse_requester(environ, redactor, requester, PRESS_AGAIN)
    return found


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


def current_responders(repository: "Repository") -> tuple[str, ...]:
    """Return the current `responders` of ops.yml on the default branch. Sends one request. Raises ProviderError."""
    problem = "the responders of ops.yml on the default branch are not known"
    try:
        data = read_yaml(permissions.read_config_text(repository)).data
    except ProviderError as error:
        raise ProviderError(f"{problem}: {error.message}", reason=error.reason) from None
    listed = data.get("responders", ()) if isinstance(data, dict) else None
    if not isinstance(listed, tuple) or not all(isinstance(login, str) for login in listed):
        raise ProviderError(problem, reason=Reason.MALFORMED_ANSWER)
    return listed


def refuse_requester(environ: Mapping[str, str], redactor: Redactor, login: str, hint: str) -> None:
    """Raise Refused if the requester may no longer start a recovery: hours or days can pass after the gate.

    This job has the `ops.yml` of the request's commit, so the responders are read from the default branch.
    """
    from ops.github.client import connect

    repository = connect(environ, redactor)
    try:
        responders = current_responders(repository)
    except ProviderError as error:
        raise Refused(error.message, reason=Reason.PERMISSION_UNKNOWN, hint=hint) from None
    answer = permissions.check_permission(repository, permissions.Requester(login), responders)
    if answer.reason is not None:
        names = {"requester": login or "nobody", "responders": ", ".join(responders)}
        raise Refused(
            f"{login or 'nobody'} requested this: {answer.message.format_map(names)}", reason=answer.reason, hint=hint
        )


def _not_reviewed(message: str) -> Refused:
    hint = "Add the label or press the button again, and let a reviewer approve the run in time."
    return Refused(f"not approved: {message}", reason=Reason.NOT_REVIEWED, hint=hint)


def _own_review(name: str) -> Refused:
    return Refused(
        f'not approved: the person who requested it approved it in the GitHub environment "{name}"',
        reason=Reason.SAME_PERSON,
        hint="Request it again, and let another reviewer approve it. Alone: run it on a laptop, without a reviewer.",
    )


def _not_approved(message: str, *, hint: str = PRESS_AGAIN) -> Refused:
    return Refused(f"not approved: {message}", reason=Reason.RERUN, hint=hint)


def refuse_further_attempt(repository: "Repository", request: RecoveryRequest, attempt: int) -> RefusedRequest | None:
    """Return a refusal of a re-run if a run changed something after the request, or if that is not known.

    Raises ProviderError.
    """
    from ops.github.client import provider_errors
    from ops.github.issues import trusted_records

    if request.incident is None:
        return _rerun_refusal(
            request, attempt, "it names no incident, so it is not known what changed since the request"
        )
    with provider_errors():
        runs = trusted_records(repository, request.incident)
    for run in runs:
        if run.record.environment == request.environment and _has_changed_since(run, request.requested_at):
            at = format_utc(request.requested_at)
            return _rerun_refusal(
                request, attempt, f"{{run}} of {{runbook}} changed something after the request ({at})", run
            )
    return None


def _has_changed_since(run: "IssueRecord", at: datetime) -> bool:
    """Return whether the run changed something after that time. The clocks of runner and GitHub may differ."""
    rows = run.record.rows
    is_change = bool(run.record.versions) or any(row.kind in _CHANGES for row in rows)
    return run.is_run and is_change and max((row.at for row in rows), default=at) > at - MAX_CLOCK_SKEW


def refuse_unknown_changes(request: RecoveryRequest, attempt: int, why: str) -> RefusedRequest:
    return _rerun_refusal(request, attempt, f"it is not known what changed since the request ({why})")


def _rerun_refusal(
    request: RecoveryRequest, attempt: int, why: str, run: "IssueRecord | None" = None
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


def latest_end(request: RecoveryRequest, config: "Config", now: datetime) -> datetime | None:
    """Return the latest time at which the job that ends the state may start; None if no job waits for it.

    The job belongs to the approved request. The requester's permission is checked again then (`refuse_requester`).
    """
    runbook, environment = registry.load_runbook(request.runbook), config.environments.get(request.environment)
    known = {field.name for field in fields(runbook.params)}
    if not runbook.end_command or environment is None or request.dry_run or not known >= request.params.keys():
        return None
    try:
        end = runbook.ends_at(runbook.params(**request.params), environment, now)
    except TypeError:  # a parameter is missing: the run reports it
        return None
    return end + START_PERIOD if end is not None and end - now <= LONGEST_WAIT else None


def refuse_late_end(environ: Mapping[str, str], latest: datetime | None, command: str) -> None:
    """Raise Refused if the job that ends a state starts too late: somebody may have decided otherwise since."""
    if latest is not None and system_clock.current_time(environ) > latest:
        raise Refused(
            f"this job may start until {format_utc(latest)}, which has passed",
            reason=Reason.REQUEST_TOO_OLD,
            hint=f"Check what is off now (`ops status`). To end it, run: {command}",
        )
