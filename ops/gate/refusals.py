"""Refuse a request by its event alone, and render the text of a refusal.

On the issue, text of other people is quoted without effect; in the job log, the text is one line.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ops.app import registry
from ops.app.scope import fitting_services, laptop_variables
from ops.core import next_step
from ops.core.approval import APPROVE_BUTTON, COPY_DIGEST, DIGEST_DIGITS
from ops.core.clock import MAX_CLOCK_SKEW, REQUEST_LIFETIME, format_age, format_duration, format_utc
from ops.core.errors import Decision, Reason
from ops.core.names import nearest_name, quote_name
from ops.core.next_step import SuggestedCommand
from ops.core.responders import ResponderList, describe_permitted
from ops.core.run_record import RecordRow, RunRecord
from ops.gate import payload as fields
from ops.gate.outcomes import (
    ApprovalEvent,
    GateJob,
    IncidentEvent,
    RecoveryRequest,
    RefusedRequest,
)
from ops.render import button_text, code_span, escape_markdown, linked

if TYPE_CHECKING:
    from ops.config import Config
    from ops.github.permissions import PermissionCheck
    from ops.github.triggers import TriggerIssue


CLOSED_LABEL_PERIOD = timedelta(days=7)
"""How long a closed incident accepts the label that resets its switches."""
PRESS_AGAIN = "Put the label on again, or press the button again: that is a new request."
APPROVE_AGAIN = "Read the plan on the incident, and approve it again."
SYNC = "Run `ops workflows sync` and merge the workflow files that it writes."
WORKFLOWS = ".github/workflows/"
_ON_THE_DEFAULT_BRANCH = "Start the workflow on the default branch: only merged code may act."


def refuse_sender(payload: Any) -> RefusedRequest | None:
    """Refuse a sender that is no person: agents and apps can add labels too."""
    kind = fields.payload_text(payload, "sender", "type")
    if kind == "User":
        return None
    return RefusedRequest(
        reason=Reason.NOT_A_PERSON,
        message="{sender} is a bot or an app, and only people may start a recovery",
        hint="Ask a person with write access to put the label on or to press the button.",
        values={"sender": fields.payload_text(payload, "sender", "login")},
    )


def refuse_ref(payload: Any, job: GateJob) -> RefusedRequest | None:
    branch = fields.payload_text(payload, "repository", "default_branch")
    if job.ref != f"refs/heads/{branch}":
        return RefusedRequest(
            reason=Reason.OTHER_REF,
            message="the workflow ran on {ref}, not on the default branch {branch}",
            hint=_ON_THE_DEFAULT_BRANCH,
            values={"ref": job.ref, "branch": branch},
        )
    return None


def refuse_job(payload: Any, job: GateJob, file: str) -> RefusedRequest | None:
    """Refuse a run of another file or ref than that of the workflow that `ops workflows sync` writes for the event.

    `file` is its name without `.yml`.
    """
    is_ours = job.workflow_ref == f"{job.repository}/{WORKFLOWS}{file}.yml@{job.ref}"
    return refuse_ref(payload, job) or (None if is_ours else other_workflow(job))


def other_workflow(job: GateJob) -> RefusedRequest:
    return RefusedRequest(
        reason=Reason.OTHER_REF,
        message="this run started from {workflow}, which `ops workflows sync` does not write for such a request",
        hint="Use a label or a button that `ops workflows sync` wrote, and delete the other workflow.",
        values={"workflow": job.workflow_ref.removeprefix(f"{job.repository}/")},
    )


def refuse_files(request: RecoveryRequest, config: "Config", environ: Mapping[str, str]) -> RefusedRequest | None:
    """Refuse a request that no job of this workflow can run. OPS_CALLED and OPS_JOBS stand in its own text."""
    return (
        _refuse_without_job(request, config)
        or _refuse_called(request, environ.get("OPS_CALLED", ""))
        or _refuse_older_files(request, environ.get("OPS_JOBS", ""))
    )


def _refuse_called(request: RecoveryRequest, called: str) -> RefusedRequest | None:
    """Refuse a runbook whose jobs are not in this called workflow; "" is a workflow that calls none.

    That happens if a label of ops.yml got another runbook, or somebody edited a caller.
    """
    needed = registry.called_workflow(registry.load_runbook(request.runbook))
    if called in {"", needed}:
        return None
    return RefusedRequest(
        reason=Reason.OTHER_REF,
        message=f"{called}.yml, which this run called, has no jobs for {request.runbook}: {needed}.yml has them",
        hint=SYNC,
        incident=request.incident,
        label=request.label,
        request=request,
    )


def _refuse_older_files(request: RecoveryRequest, jobs: str) -> RefusedRequest | None:
    """Refuse a request without a job in this workflow: GitHub would skip all of them, and nobody would answer.

    That happens if ops.yml got an environment without `ops workflows sync`. `jobs`: ids of the acting jobs, separated
    by spaces; "" for files of an older version.
    """
    runbook = registry.load_runbook(request.runbook)
    if not jobs or registry.runbook_job_id(runbook, request.environment) in jobs.split():
        return None
    return RefusedRequest(
        reason=Reason.OTHER_REF,
        message=f"the workflow files are older than ops.yml: no job runs {request.runbook} in {request.environment}",
        hint=SYNC,
        incident=request.incident,
        label=request.label,
        request=request,
    )


def _refuse_without_job(request: RecoveryRequest, config: "Config") -> RefusedRequest | None:
    """Refuse a runbook that no job can run: GitHub would skip all jobs, and nobody would answer.

    A label of ops.yml can name one, such as redeploy-pages for a site without `build`.
    """
    runbook = registry.load_runbook(request.runbook)
    job = registry.runbook_job_id(runbook, request.environment)
    is_placed = bool(runbook.github_environment)
    places = [config.environments[request.environment]] if is_placed else config.environments.values()
    if any(fitting_services(place, runbook) for place in places):
        return None
    for each in registry.button_runbooks().values():  # one that shares the job: the run itself then refuses
        is_of_job = registry.runbook_job_id(each, request.environment) == job
        if is_of_job and any(fitting_services(place, each) for place in places):
            return None
    return RefusedRequest(
        reason=Reason.UNKNOWN_NAME,
        message=f"no service in {request.environment} fits {request.runbook}, so no job can run it",
        hint="Correct the label in ops.yml, or add what the runbook needs to the service. " + SYNC,
        incident=request.incident,
        label=request.label,
        request=request,
    )


def refuse_unknown_press(job: GateJob) -> RefusedRequest | None:
    """Refuse the button of an approval if nothing shows that it was pressed after the plan."""
    if job.started_at is not None:
        return None
    return RefusedRequest(
        reason=Reason.PERMISSION_UNKNOWN,
        message="GitHub does not say when the button was pressed",
        hint=APPROVE_AGAIN,
    )


def label_of_approval(label: str, incident: int, job: GateJob) -> RefusedRequest:
    """Return the answer to the label, which approves nothing: everybody with write access can exchange the comments."""
    button = f"{job.page}/actions/workflows/{APPROVE_BUTTON}.yml" if job.page else f"Actions → {APPROVE_BUTTON}"
    return RefusedRequest(
        reason=Reason.LABEL_CHANGED,
        message=f"the label {{label}} approves nothing, because it names no request: use the button {APPROVE_BUTTON}",
        hint=f"Open {button} and press *Run workflow* with incident {incident} and the digest. {COPY_DIGEST}",
        values={"label": label},
        incident=incident,
        label=label,
    )


def unusable_digest(digest: str) -> RefusedRequest:
    return RefusedRequest(
        reason=Reason.NO_REQUEST,
        message=f"the digest {{digest}} does not have the {DIGEST_DIGITS} digits 0-9 and a-f of a request",
        hint=COPY_DIGEST,
        values={"digest": digest},
    )


def refuse_age(at: datetime, now: datetime) -> RefusedRequest | None:
    if -MAX_CLOCK_SKEW <= now - at <= REQUEST_LIFETIME:
        return None
    late = format_duration(REQUEST_LIFETIME.total_seconds())
    return RefusedRequest(
        reason=Reason.REQUEST_TOO_OLD,
        message=f"the request was made at {format_utc(at)}, {format_age(now - at)}; a request is valid for {late}",
        hint=PRESS_AGAIN,
    )


def closed_incident(request: RecoveryRequest | None = None) -> RefusedRequest:
    """Return the refusal of a request on a closed incident. `request` is given for a button only."""
    return RefusedRequest(
        reason=Reason.INCIDENT_CLOSED,
        message="the incident is closed",
        hint=f"Reopen it, or open a new one, and {'press the button' if request else 'put the label on'} again.",
        incident=request.incident if request else None,
        request=request,
    )


def refuse_on_closed(request: RecoveryRequest | None, issue: Mapping[str, Any], job: GateJob) -> RefusedRequest | None:
    """Refuse a label on a closed incident, unless its runbook may end an incident's states for some days more."""
    if request is None or not job.allows_closed_incident(request.runbook):
        return closed_incident()
    closed_at = fields.payload_time(issue, "closed_at", of="issue.")
    if job.now - closed_at <= CLOSED_LABEL_PERIOD:
        return None
    return RefusedRequest(
        reason=Reason.INCIDENT_CLOSED,
        message=f"the incident was closed at {format_utc(closed_at)}, more than {CLOSED_LABEL_PERIOD.days} days ago",
        hint="Reopen it and put the label on again, or press the button: it names the incident.",
    )


def not_an_incident(request: RecoveryRequest, why: str) -> RefusedRequest:
    """Return the refusal of a number that is no incident.

    It gets no comment there: it may be another person's issue.
    """
    return RefusedRequest(
        reason=Reason.UNKNOWN_INCIDENT,
        message=f"#{request.incident} {why}",
        hint="Enter the number of an incident issue, or leave it empty: the run then opens one.",
        request=replace(request, incident=None),
    )


def moved_issue(request: RecoveryRequest) -> RefusedRequest:
    """Return the refusal of a label on an issue that was transferred or deleted. No comment can be written there."""
    return RefusedRequest(
        reason=Reason.UNKNOWN_INCIDENT,
        message=f"#{request.incident} was transferred or deleted",
        hint="Put the label on the incident's issue in this repository.",
        request=replace(request, incident=None),
    )


def unknown_label(label: str, known: Collection[str]) -> RefusedRequest:
    names = {f"known{number}": name for number, name in enumerate(sorted(known), 1)}
    hint = f"Put on one of: {', '.join(f'{{{name}}}' for name in names)}." if names else "Add it to ops.yml."
    by_suffix = {name.rpartition(":")[2]: name for name in known}  # the shared prefix would make any label look near
    near = by_suffix.get(nearest_name(label.rpartition(":")[2], by_suffix), "")
    suggestion = "; did you mean {near}?" if near else ""
    return RefusedRequest(
        reason=Reason.UNKNOWN_LABEL,
        message="ops.yml has no label {label}" + suggestion,
        hint=hint,
        values={"label": label, **names, **({"near": near} if near else {})},
    )


def misspelled_label(label: str, known: str) -> RefusedRequest:
    """Return the refusal of another spelling. GitHub ignores case, so somebody created or renamed the label by hand."""
    return RefusedRequest(
        reason=Reason.UNKNOWN_LABEL,
        message="the label {label} is spelled {near} in ops.yml",
        hint="Run `ops labels sync`, which corrects it, or rename it to {near}. Then put it on again.",
        values={"label": label, "near": known},
    )


def labels_at_once(request: RecoveryRequest, labels: Collection[str]) -> RefusedRequest:
    """Return the refusal of labels added together: their order is unknown, and their runs may conflict."""
    names = {f"label{number}": name for number, name in enumerate(sorted(labels), 1)}
    return RefusedRequest(
        reason=Reason.LABELS_AT_ONCE,
        message=f"{' and '.join(f'{{{name}}}' for name in names)} were put on within one second",
        hint="Put one label on, wait for its answer, and then put on the next.",
        values=names,
        incident=request.incident,
        label=request.label,
        request=request,
    )


def unknown_environment(request: RecoveryRequest, config: "Config") -> RefusedRequest:
    return RefusedRequest(
        reason=Reason.UNKNOWN_NAME,
        message="ops.yml has no environment {environment}",
        hint=f"Choose one of: {', '.join(sorted(config.environments))}.",
        values={"environment": request.environment},
    )


def no_permission(
    answer: "PermissionCheck",
    login: str,
    asked: RecoveryRequest | IncidentEvent,
    lists: Sequence[ResponderList],
) -> RefusedRequest:
    assert answer.reason is not None
    return RefusedRequest(
        reason=answer.reason,
        message=answer.message,
        hint=answer.hint,
        values={"requester": login, "responders": describe_permitted(lists)},
        incident=asked.incident,
        label=asked.label,
        request=asked if isinstance(asked, RecoveryRequest) else None,
    )


def no_second_person(
    answer: "PermissionCheck", login: str, event: ApprovalEvent, lists: Sequence[ResponderList]
) -> RefusedRequest:
    """Return the refusal of an approval by somebody without the permission, or whose permission is not known."""
    return RefusedRequest(
        reason=answer.reason or Reason.PERMISSION_UNREADABLE,
        message=answer.message or "the permission of {requester} is not known: GitHub answered 403 to our own token",
        hint=answer.hint or APPROVE_AGAIN,
        values={"requester": login, "responders": describe_permitted(lists)},
        incident=event.incident,
    )


def list_laptop_variables(config: "Config", request: RecoveryRequest | None) -> str:
    """Return the variables that the command of a refused request needs on a laptop; empty if it has none."""
    if request is None or request.runbook not in registry.runbook_names():
        return ""
    if request.environment not in config.environments:
        return ""
    service, environment = str(request.params.get("service", "")), config.environments[request.environment]
    return laptop_variables(registry.load_runbook(request.runbook), environment, service)


def build_refusal_record(refusal: RefusedRequest, message: str, run: str, at: datetime) -> RunRecord:
    """Return the record that shows the request and its refusal in the report."""
    return RunRecord(
        run=run,
        source="gate",
        runbook=refusal.request.runbook if refusal.request else "",
        environment=refusal.request.environment if refusal.request else "",
        decision=Decision.REFUSED.value,
        reason=refusal.reason.value,
        rows=(RecordRow(at, "refused", message),),
    )


def refuse_on_issue(request: RecoveryRequest, issue: "TriggerIssue") -> RefusedRequest | None:
    """Return a refusal if the number is no open incident of this repository."""
    if issue.state == "closed" and not registry.allows_closed_incident(request.runbook):
        closed = closed_incident(None if request.label else request)
        return replace_refusal_fields(closed, incident=request.incident, label=request.label, request=request)
    if issue.state in {"open", "closed"}:
        return None
    why = "is a pull request" if issue.state == "pull_request" else "is no issue of this repository"
    return not_an_incident(request, why)


def missing_label(request: RecoveryRequest, label: str) -> RefusedRequest:
    return RefusedRequest(
        reason=Reason.LABEL_TAKEN,
        message="the label {label} is no longer on the issue: another run or a person removed or renamed it",
        hint="Check the issue for that run. If there is none, add the label again. If the repository no longer has it, "
        "run `ops labels sync` first.",
        values={"label": label},
        incident=request.incident,
        label=label,
        request=request,
    )


def replace_refusal_fields(refusal: RefusedRequest, **changes: Any) -> RefusedRequest:
    return RefusedRequest(**{**vars(refusal), **changes})


Values = Mapping[str, str]
LAPTOP = "on a laptop"
BUTTON = "by the button"
"""The entry of the command list that is a workflow button with its fields."""


def fill_refusal_text(text: str, values: Values) -> str:
    return text.format_map({name: f'"{quote_name(value)}"' for name, value in values.items()})


def render_refusal_comment(
    refusal: RefusedRequest, *, page: str, commands: Mapping[str, str], variables: str = ""
) -> str:
    """Return the refusal comment: the reason, then the next step, then `commands` (place → command) to copy.

    `page` is the URL of the reason's page, empty if it is unknown; `variables` are those that the command on a laptop
    needs.
    """
    more = {LAPTOP: f", which needs {escape_markdown(variables)}"} if variables else {}
    safe = {name: code_span(value) for name, value in refusal.values.items()}
    lines = [
        f"**Refused, and nothing was changed:** {_end_refusal_sentence(refusal.message.format_map(safe))}",
        f"**Next step:** {refusal.hint.format_map(safe)}",
        "\n".join(
            f"- {where}: {_format_suggestion(where, command)}{more.get(where, '')}"
            for where, command in commands.items()
        ),
        f"Reason: {linked(f'`{refusal.reason}`', page)}",
    ]
    return "\n\n".join(line for line in lines if line) + "\n"


def _format_suggestion(where: str, command: str) -> str:
    return button_text(SuggestedCommand("", command), "") if where == BUTTON else code_span(command)


def with_refusal_count(body: str, at: datetime, count: int) -> str:
    """Return the comment with the number of refused requests on the issue."""
    if count == 1:
        return body
    return f"{body}\nThis is the latest of {count} refused requests on this issue: {at:%Y-%m-%d %H:%M:%S} UTC.\n"


def build_request_commands(program: str, runbook: str, options: Mapping[str, Any]) -> dict[str, str]:
    """Return the commands of the same request in other places: on a laptop, by the button, and with `gh`."""
    return {
        LAPTOP: next_step.build_command(program, runbook, options),
        BUTTON: next_step.describe_button(runbook, options),
        "with gh": next_step.build_gh_command(runbook, options),
    }


def list_commands(program: str, request: RecoveryRequest | None) -> dict[str, str]:
    """Return the refused request for other places; nothing if it is not known."""
    if request is None:
        return {}
    where = {"environment": request.environment, "incident": request.incident}
    return build_request_commands(program, request.runbook, {**request.params, **where})


def list_ways_on(program: str, refusal: RefusedRequest) -> dict[str, str]:
    """Return the places where the refused request may work. A stop refuses the button too."""
    commands = list_commands(program, refusal.request)
    return {LAPTOP: commands[LAPTOP]} if commands and refusal.reason == Reason.STOPPED else commands


def _end_refusal_sentence(text: str) -> str:
    return text if text.endswith("?") else f"{text}."
