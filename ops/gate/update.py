"""Authorize a public update: a label `status:STATE`, or the button *publish-update*.

It starts no recovery and holds no secret of Cloudflare. Its job has a workflow of its own.
"""

import re
from collections.abc import Mapping
from typing import Any

from ops.core.errors import Reason
from ops.core.names import PUBLISH_UPDATE, STATUS_LABEL
from ops.core.public_update import PublicState
from ops.gate import outcomes, refusals
from ops.gate import payload as fields
from ops.gate.attempts import refuse_unknown_time
from ops.gate.gate import Gate
from ops.gate.outcomes import GateJob, IgnoredEvent, MalformedEvent, RefusedRequest, UpdateRequest
from ops.github import triggers
from ops.github.client import provider_errors

LABELS = {each.label: each for each in PublicState}
BY_STATE = "by state"
"""Entry of the button's list for no condition."""
_TEXTS = ("components", "condition", "text", "corrects", "starts", "ends")
_LONGEST = 12_000
"""Characters of a field that are read: enough to say how long a text is."""


def read_update(
    event: str, payload: Any, job: GateJob
) -> UpdateRequest | RefusedRequest | IgnoredEvent | MalformedEvent:
    """Return the meaning of the event. Never raises, for any payload."""
    readers = {"issues": _read_update_label, "workflow_dispatch": _read_button}
    if event not in readers:
        return IgnoredEvent(cause="events of this name publish nothing")
    try:
        fields.payload_mapping(payload, "the payload")
        if fields.payload_text(payload, "repository", "full_name").lower() != job.repository.lower():
            return IgnoredEvent(cause="it happened in another repository")
        return readers[event](payload, job)
    except fields.MalformedFieldError as error:
        return MalformedEvent(cause=str(error))


def _read_update_label(payload: Any, job: GateJob) -> UpdateRequest | RefusedRequest | IgnoredEvent:
    label = fields.payload_text(payload, "label", "name") if payload.get("label") is not None else ""
    if fields.payload_text(payload, "action") != "labeled" or not label.lower().startswith(STATUS_LABEL):
        return IgnoredEvent(cause="the label publishes nothing")
    issue = fields.payload_mapping(fields.payload_value(payload, "issue"), "issue")
    if "pull_request" in issue:
        return IgnoredEvent(cause="the label is on a pull request")
    incident, at = (
        fields.payload_number(issue, "number", of="issue."),
        fields.payload_time(issue, "updated_at", of="issue."),
    )
    state = LABELS.get(label.lower())
    refused = (
        refusals.refuse_sender(payload)
        or refusals.refuse_job(payload, job, PUBLISH_UPDATE)
        or (refusals.unknown_label(label, LABELS) if state is None else None)
        or (None if fields.payload_text(issue, "state", of="issue.") == "open" else refusals.closed_incident())
        or refusals.refuse_age(at, job.now)
    )
    if refused is not None:
        return refusals.replace_refusal_fields(refused, incident=incident, label=label)
    assert state is not None
    return UpdateRequest(**_read_people(payload, job), incident=incident, state=state, at=at, label=label)


def _read_button(payload: Any, job: GateJob) -> UpdateRequest | RefusedRequest | IgnoredEvent:
    inputs = fields.payload_mapping(fields.payload_value(payload, "inputs"), "inputs")
    incident = fields.issue_number(fields.input_text({"incident": "", **inputs}, "incident"), job.repository)
    if incident is None:
        raise fields.MalformedFieldError("inputs.incident is empty")
    at, typed = job.started_at or job.now, fields.input_text({"state": "", **inputs}, "state")
    state = next((each for each in PublicState if typed.lower() in {each.value, each.words}), None)
    refused = (
        refusals.refuse_sender(payload)
        or refusals.refuse_job(payload, job, PUBLISH_UPDATE)
        or refuse_unknown_time(job)
        or (_unknown_public_state(typed) if state is None else None)
        or refusals.refuse_age(at, job.now)
    )
    if refused is not None:
        return refusals.replace_refusal_fields(refused, incident=incident)
    assert state is not None
    texts: dict[str, Any] = {name: _read_update_text(inputs, name) for name in _TEXTS}
    if texts["condition"] == BY_STATE:
        texts["condition"] = ""
    return UpdateRequest(**_read_people(payload, job), incident=incident, state=state, at=at, **texts)


def _read_people(payload: Any, job: GateJob) -> dict[str, Any]:
    return {
        "sender": fields.payload_text(payload, "sender", "login"),
        "sender_id": fields.payload_number(payload, "sender", "id"),
        "actor": job.actor,
    }


def _read_update_text(inputs: Mapping[str, Any], name: str) -> str:
    """Return the field as typed. The rule of public texts judges its length and characters, and answers."""
    value = inputs.get(name, "")
    if not isinstance(value, str):
        raise fields.MalformedFieldError(f"inputs.{name} is no text")
    return value.strip()[:_LONGEST]


def _unknown_public_state(typed: str) -> RefusedRequest:
    return RefusedRequest(
        reason=Reason.NOT_PUBLISHABLE,
        message="there is no public state {state}",
        hint=f"Choose one of: {', '.join(each.words for each in PublicState)}.",
        values={"state": typed},
    )


class UpdateGate(Gate):
    """The gate of public updates. Each refusal is answered on the issue."""

    def check(self, event: str, payload: Any) -> UpdateRequest | int:
        """Return the request of a person who may publish, or the exit code. Raises ConfigError."""
        outcome = read_update(event, payload, self._gate_job(event))
        match outcome:
            case outcomes.IgnoredEvent():
                return self._ignore_event(outcome, payload)
            case outcomes.MalformedEvent():
                return self._refuse_malformed_event(outcome)
            case outcomes.RefusedRequest():
                return self._refuse_request(outcome, takes_label=outcome.reason != Reason.OTHER_REF)
        answer, login = self._check_sender(outcome)
        if answer.reason is not None:
            return self._refuse_request(refusals.no_permission(answer, login, outcome, self._responders))
        refused = self._refuse_issue(outcome)
        return outcome if refused is None else self.refuse(outcome, refused)

    def _refuse_issue(self, request: UpdateRequest) -> RefusedRequest | None:
        """Refuse a number that is no open issue here. GitHub's answer decides, also if the label's event is older."""
        with provider_errors():
            issue = triggers.read_issue(self.repository, request.incident)
        if issue.state == "open":
            return None
        if issue.state == "closed":
            return refusals.closed_incident()
        return RefusedRequest(
            reason=Reason.UNKNOWN_INCIDENT,
            message="the number is no incident of this repository",
            hint="Enter the number of an open incident.",
        )

    def refuse(self, request: UpdateRequest, refused: RefusedRequest) -> int:
        """Answer on the issue, take the label off, and return the exit code."""
        place = None if refused.reason == Reason.UNKNOWN_INCIDENT and not request.label else request.incident
        return self._refuse_request(refusals.replace_refusal_fields(refused, incident=place, label=request.label))


def split_update_components(text: str) -> list[tuple[str, str]]:
    """Return name and condition of each typed component; the condition is empty if it has no own one."""
    parts = (part.partition("=") for part in re.split(r"[,\n]", text))
    return [(name.strip(), condition.strip()) for name, _, condition in parts if name.strip() or condition.strip()]
