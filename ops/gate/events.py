"""Read a GitHub event: which request, or report of a leaked secret, it makes of Backout.

All text of a report of a leak, from `repository_dispatch` or a button, is untrusted and may contain the secret itself.
The secret's name must be one of `ops.yml`. From other text, anything that looks like a key, or is long, is removed.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ops.app.registry import find_button_runbook
from ops.core.approval import APPROVE_BUTTON, APPROVE_LABEL, Approval, is_digest
from ops.core.json_fields import text_in
from ops.core.names import ACTIONS_LABEL, CHECK_OUTAGE, LEAD_LABEL, RECOVERY_PREFIX, RESUME_LABEL, STOP_LABEL
from ops.gate import payload as fields
from ops.gate import refusals
from ops.gate.attempts import refuse_approval_again, refuse_unknown_time
from ops.gate.outcomes import (
    ActionsDue,
    ApprovalEvent,
    GateJob,
    IgnoredEvent,
    LeadChange,
    MalformedEvent,
    OutageCheck,
    Outcome,
    RecoveryRequest,
    RefusedRequest,
    ReportDue,
    StopEvent,
)
from ops.github.issues import parse_began

if TYPE_CHECKING:
    from ops.config import Config


LABELS = "incident"
"""Name of the workflow file that reads labels."""
REPORT_LABEL = "report"
"""The label that creates or updates the report, at any time, also on a closed incident."""
_COMMON_INPUTS = {"environment", "incident", "dry_run"}
"""Inputs of a button besides the runbook's own parameters."""
_OTHER_REPOSITORY = "it happened in another repository"


Runbooks = Mapping[str, Mapping[str, tuple[type, bool]]]
"""Runbook → parameter → its type (str, bool, or tuple of texts) and whether it is required."""
LEAK_DISPATCH = "secret-leak"
MAX_LEAK_CHARACTERS = 200
OMITTED = "[left out]"
_PUNCTUATION = ".,;:!?()[]{}<>\"'`|"
"""Characters to strip from the ends of a word. Inside a word they may belong to a key."""
_KEY_PREFIXES = ("sk-", "gsk_", "csk-", "ghp_", "gho_", "ghs_", "github_pat_", "cfut_", "cfat_", "xox", "AKIA", "eyJ")
"""Prefixes of keys of well-known services."""


def added_labels(payload: Any) -> tuple[str, ...]:
    """Return the name of the label in the event, or nothing."""
    try:
        return (fields.payload_text(payload, "label", "name"),)
    except fields.MalformedFieldError:
        return ()


def read_event(event_name: str, payload: Any, config: "Config", runbooks: Runbooks, job: GateJob) -> Outcome:
    """Return the meaning of the event. Never raises, for any payload."""
    readers = {"issues": _read_issue_event, "workflow_dispatch": _read_button}
    if event_name not in readers:
        return IgnoredEvent(cause="events of this name start nothing here")
    try:
        fields.payload_mapping(payload, "the payload")
        return readers[event_name](payload, config, runbooks, job)
    except fields.MalformedFieldError as error:
        return _malformed_event(payload, str(error), config)


def _read_issue_event(payload: Any, config: "Config", _: Runbooks, job: GateJob) -> Outcome:
    action = fields.payload_text(payload, "action")
    if action == "labeled":
        return _read_labeled(payload, config, job)
    if action == "closed":
        return _read_closed(payload, job)
    return IgnoredEvent(cause="only labels and closing of an issue count")


def _read_labeled(payload: Any, config: "Config", job: GateJob) -> Outcome:
    """Read `issues.labeled`. GitHub omits `label` if it was deleted since; then there is nothing to do."""
    if payload.get("label") is None:
        return IgnoredEvent(cause="the label is not named")
    label = fields.payload_text(payload, "label", "name")
    if not _is_our_label(label, config):
        return IgnoredEvent(cause="the label starts no recovery")
    if _is_other_repository(payload, job):
        return IgnoredEvent(cause=_OTHER_REPOSITORY)
    issue = fields.payload_mapping(fields.payload_value(payload, "issue"), "issue")
    if "pull_request" in issue:
        return IgnoredEvent(cause="the label is on a pull request")
    if label.lower() == CHECK_OUTAGE:
        return OutageCheck(**_read_issue_fields(payload, issue, job), label=label)
    if label.lower() == ACTIONS_LABEL:
        return ActionsDue(**_read_issue_fields(payload, issue, job), label=label)
    if label.lower() == REPORT_LABEL:
        return _report_due(payload, job, "updated_at", label=label)
    if label.lower() == APPROVE_LABEL:
        return refusals.label_of_approval(label, fields.payload_number(issue, "number", of="issue."), job)
    if label.lower().startswith(LEAD_LABEL):
        return _read_hand_over(payload, issue, label, config, job)
    if label.lower() in {STOP_LABEL, RESUME_LABEL}:
        return _read_stop(payload, issue, label, job)
    return _read_recovery_label(payload, issue, label, config, job)


def _read_stop(payload: Any, issue: Mapping[str, Any], label: str, job: GateJob) -> StopEvent | RefusedRequest:
    incident, at = (
        fields.payload_number(issue, "number", of="issue."),
        fields.payload_time(issue, "updated_at", of="issue."),
    )
    refused = (
        refusals.refuse_sender(payload)
        or refusals.refuse_job(payload, job, LABELS)
        or (None if fields.payload_text(issue, "state", of="issue.") == "open" else refusals.closed_incident())
        or refusals.refuse_age(at, job.now)
    )
    if refused is not None:
        return refusals.replace_refusal_fields(refused, incident=incident, label=label)
    return StopEvent(
        **_read_issue_fields(payload, issue, job),
        lifts=label.lower() == RESUME_LABEL,
        at=at,
        label=label,
    )


def _read_hand_over(
    payload: Any, issue: Mapping[str, Any], label: str, config: "Config", job: GateJob
) -> LeadChange | RefusedRequest:
    incident, at = (
        fields.payload_number(issue, "number", of="issue."),
        fields.payload_time(issue, "updated_at", of="issue."),
    )
    names = {f"{LEAD_LABEL}{login}": login for login in config.github.leads}
    login = next((login for name, login in names.items() if name.lower() == label.lower()), "")
    refused = (
        refusals.refuse_sender(payload)
        or refusals.refuse_job(payload, job, LABELS)
        or (None if login else refusals.unknown_label(label, names))
        or (None if fields.payload_text(issue, "state", of="issue.") == "open" else refusals.closed_incident())
        or refusals.refuse_age(at, job.now)
    )
    if refused is not None:
        return refusals.replace_refusal_fields(refused, incident=incident, label=label)
    return LeadChange(
        **_read_issue_fields(payload, issue, job),
        login=login,
        at=at,
        label=label,
    )


def _read_issue_fields(payload: Any, issue: Mapping[str, Any], job: GateJob) -> dict[str, Any]:
    """Return the fields of an event on an issue."""
    return {
        "incident": fields.payload_number(issue, "number", of="issue."),
        "sender": fields.payload_text(payload, "sender", "login"),
        "sender_id": fields.payload_number(payload, "sender", "id"),
        "actor": job.actor,
    }


def _read_recovery_label(payload: Any, issue: Mapping[str, Any], label: str, config: "Config", job: GateJob) -> Outcome:
    incident = fields.payload_number(issue, "number", of="issue.")
    # The payload has no time of its own. Adding a label sets `updated_at` of the issue, and the payload holds that
    # value.
    at = fields.payload_time(issue, "updated_at", of="issue.")
    state = fields.payload_text(issue, "state", of="issue.")
    name = next((name for name in config.labels if name.lower() == label.lower()), "")
    request = (
        None
        if not name
        else RecoveryRequest(
            runbook=config.labels[name].runbook,
            params=dict(config.labels[name].params),
            environment=config.labels[name].environment,
            incident=incident,
            sender=fields.payload_text(payload, "sender", "login"),
            sender_id=fields.payload_number(payload, "sender", "id"),
            actor=job.actor,
            requested_at=at,
            label=label,
            other_labels=_other_labels(issue, label, config),
            began=parse_began(issue.get("body"), now=job.now),
        )
    )
    refused = (
        refusals.refuse_sender(payload)
        or refusals.refuse_job(payload, job, LABELS)
        or (refusals.unknown_label(label, config.labels) if request is None else None)
        or (refusals.misspelled_label(label, name) if name != label else None)
        or (None if state == "open" else refusals.refuse_on_closed(request, issue, job))
        or refusals.refuse_age(at, job.now)
    )
    if refused is not None:
        return refusals.replace_refusal_fields(refused, incident=incident, label=label, request=request)
    assert request is not None
    return request


def _other_labels(issue: Mapping[str, Any], label: str, config: "Config") -> tuple[str, ...]:
    """Return the other labels on the issue that `ops.yml` has, as spelled there."""
    labels_field = issue.get("labels")
    labels = [each for each in labels_field if isinstance(each, dict)] if isinstance(labels_field, list) else []
    present = {str(each.get("name")).lower() for each in labels}
    return tuple(name for name in config.labels if name.lower() in present - {label.lower()})


def _read_closed(payload: Any, job: GateJob) -> Outcome:
    """Read `issues.closed`. It starts no recovery, so person and time are not checked; the report checks both."""
    if _is_other_repository(payload, job):
        return IgnoredEvent(cause=_OTHER_REPOSITORY)
    issue = fields.payload_mapping(fields.payload_value(payload, "issue"), "issue")
    if "pull_request" in issue:
        return IgnoredEvent(cause="a pull request was closed")
    return _report_due(payload, job, "closed_at")


def _report_due(payload: Any, job: GateJob, at: str, label: str | None = None) -> ReportDue:
    issue = fields.payload_mapping(fields.payload_value(payload, "issue"), "issue")
    return ReportDue(
        **_read_issue_fields(payload, issue, job),
        at=fields.payload_time(issue, at, of="issue."),
        label=label,
    )


def _read_button(payload: Any, config: "Config", runbooks: Runbooks, job: GateJob) -> Outcome:
    """Read `workflow_dispatch`: the file of the workflow names the runbook, and its inputs are the parameters."""
    if _is_other_repository(payload, job):
        return IgnoredEvent(cause=_OTHER_REPOSITORY)
    path = re.fullmatch(re.escape(refusals.WORKFLOWS) + r"([a-z0-9-]+)\.yml", fields.payload_text(payload, "workflow"))
    file = path[1] if path else ""
    if file == APPROVE_BUTTON:
        return _read_approval_button(payload, job)
    inputs = {} if payload.get("inputs") is None else fields.payload_mapping(payload["inputs"], "inputs")
    incident = fields.issue_number(fields.input_text({"incident": "", **inputs}, "incident"), job.repository)
    runbook = find_button_runbook(file)
    if runbook not in runbooks:
        return refusals.replace_refusal_fields(refusals.other_workflow(job), incident=incident)
    given = {name: fields.input_text(inputs, name) for name in inputs if name in {*runbooks[runbook], *_COMMON_INPUTS}}
    request = RecoveryRequest(
        runbook=runbook,
        params={
            name: _parse_input(value, runbooks[runbook][name][0])
            for name, value in given.items()
            if name not in _COMMON_INPUTS and value
        },
        environment=given.get("environment", ""),
        incident=incident,
        sender=fields.payload_text(payload, "sender", "login"),
        sender_id=fields.payload_number(payload, "sender", "id"),
        actor=job.actor,
        # The payload has no time. The run's creation time is the time of the click, also in a later attempt.
        requested_at=job.started_at or job.now,
        dry_run=fields.parse_button_boolean(given.get("dry_run", "false")),
    )
    refused = (
        refusals.refuse_sender(payload)
        or refusals.refuse_job(payload, job, file)
        or refuse_unknown_time(job)
        or (refusals.unknown_environment(request, config) if request.environment not in config.environments else None)
        or refusals.refuse_age(request.requested_at, job.now)
    )
    return (
        request
        if refused is None
        else refusals.replace_refusal_fields(refused, incident=request.incident, request=request)
    )


def _read_approval_button(payload: Any, job: GateJob) -> Outcome:
    inputs = fields.payload_mapping(fields.payload_value(payload, "inputs"), "inputs")
    digest = fields.payload_text(inputs, "digest", of="inputs.").strip().lower()
    incident = fields.issue_number(fields.payload_text(inputs, "incident", of="inputs.").strip(), job.repository)
    if incident is None:
        raise fields.MalformedFieldError("inputs.incident is no number")
    approval = Approval(
        digest=digest,
        login=fields.payload_text(payload, "sender", "login"),
        id=fields.payload_number(payload, "sender", "id"),
        at=job.started_at or job.now,
    )
    refused = (
        refusals.refuse_sender(payload)
        or refusals.refuse_job(payload, job, APPROVE_BUTTON)
        or refuse_approval_again(job)
        or refusals.refuse_unknown_press(job)
        or (None if is_digest(digest) else refusals.unusable_digest(digest))
        or refusals.refuse_age(approval.at, job.now)
    )
    if refused is not None:
        return refusals.replace_refusal_fields(refused, incident=incident)
    return ApprovalEvent(incident=incident, actor=job.actor, approval=approval)


def _parse_input(value: str, kind: type) -> str | bool | tuple[str, ...]:
    """Parse one input. A button has one field for a repeatable option, so commas and spaces separate its values."""
    if kind is bool:
        return fields.parse_button_boolean(value)
    return tuple(each for each in re.split(r"[,\s]+", value) if each) if kind is tuple else value


def _is_other_repository(payload: Any, job: GateJob) -> bool:
    return fields.payload_text(payload, "repository", "full_name").lower() != job.repository.lower()


def _malformed_event(payload: Any, why: str, config: "Config") -> MalformedEvent:
    """Return the outcome.

    It names issue and label if they can be read and the label is ours, so that the requester gets an answer.
    """
    try:
        label = fields.payload_text(payload, "label", "name")
        incident = fields.payload_number(payload, "issue", "number")
    except fields.MalformedFieldError:
        return MalformedEvent(cause=why)
    return (
        MalformedEvent(cause=why, incident=incident, label=label)
        if _is_our_label(label, config)
        else MalformedEvent(cause=why)
    )


def _is_our_label(label: str, config: "Config") -> bool:
    optional = {ACTIONS_LABEL} if config.action_items else set[str]()
    fixed = {APPROVE_LABEL, CHECK_OUTAGE, REPORT_LABEL, STOP_LABEL, RESUME_LABEL, *optional}
    known = {*fixed, *(name.lower() for name in config.labels)}
    # A label with the prefix is meant for Backout, even if `ops.yml` does not have it.
    prefixes = (RECOVERY_PREFIX, LEAD_LABEL) if config.github.leads else (RECOVERY_PREFIX,)
    return label.lower().startswith(prefixes) or label.lower() in known


@dataclass(frozen=True, kw_only=True)
class LeakReport:
    """A report that a secret leaked, for private repositories only.

    `secret` is "" if `ops.yml` does not have the name.
    """

    secret: str
    location: str = ""
    url: str = ""
    source: str = ""


def read_leak(
    event_name: str, payload: Any, declared: Collection[str], job: GateJob
) -> LeakReport | IgnoredEvent | MalformedEvent | RefusedRequest:
    """Return the meaning of the event. Never raises, for any payload.

    Only LeakReport contains text of the payload.
    """
    try:
        fields.payload_mapping(payload, "the payload")
        if event_name == "repository_dispatch" and payload.get("action") == LEAK_DISPATCH:
            fields_sent = payload.get("client_payload")
        elif event_name == "workflow_dispatch":
            fields_sent = payload.get("inputs")
        else:
            return IgnoredEvent(cause="this event reports no leak")
        fields_sent = fields.payload_mapping({} if fields_sent is None else fields_sent, "what was sent")
        refused = refusals.refuse_ref(payload, job)
        return refused if refused is not None else _read_report(fields_sent, declared)
    except fields.MalformedFieldError as error:
        return MalformedEvent(cause=str(error))


def _read_report(fields_sent: Mapping[str, Any], declared: Collection[str]) -> LeakReport:
    name, seen, url, source = (text_in(fields_sent, each).strip() for each in ("secret", "seen", "url", "source"))
    return LeakReport(
        secret=name if name in declared else "",
        location=remove_keys(seen),
        url=strip_report_url(url),
        source=remove_keys(source),
    )


def remove_keys(text: str) -> str:
    """Return the text without words that look like a key.

    It is cut to MAX_LEAK_CHARACTERS last: half of a key does not look like one.
    """
    kept = re.sub(r"\S+", lambda found: OMITTED if is_like_key(found[0].strip(_PUNCTUATION)) else found[0], text)
    return kept if len(kept) <= MAX_LEAK_CHARACTERS else f"{kept[:MAX_LEAK_CHARACTERS].rpartition(' ')[0]} …"


def strip_report_url(url: str) -> str:
    """Return host and path of an https URL, without query. In the path only plain words and short numbers stay.

    A key may contain slashes, so that no part of it looks like a key. A part with a capital letter is always removed.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return ""
    if parts.scheme != "https" or not re.fullmatch(r"[a-z0-9.-]{1,100}", host) or is_like_key(host, longest=60):
        return ""
    names = [each for each in parts.path.split("/")[:12] if each]
    shown = [each if re.fullmatch(r"[a-z][a-z._-]{0,22}|[0-9]{1,9}", each) else "…" for each in names]
    return "/".join([f"https://{host}", *shown])


def is_like_key(word: str, *, longest: int = 23) -> bool:
    """Return whether the word has a key's prefix, is long, or is less long with digits or mixed case.

    A word of a language, or a path of such words, does not match.
    """
    if word.startswith(_KEY_PREFIXES) or len(word) > longest:
        return True
    has_digit, mixed = re.search("[0-9]", word), re.search("[a-z]", word) and re.search("[A-Z]", word[1:])
    return len(word) >= 12 and bool(has_digit or mixed)
