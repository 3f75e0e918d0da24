"""Outcomes of a GitHub event."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ops.core.approval import Approval
from ops.core.errors import Reason
from ops.core.public_update import PublicState


@dataclass(frozen=True, kw_only=True)
class GateJob:
    """Facts that GitHub Actions gives about the job, besides the event.

    `actor` started this attempt. In a later attempt that may be somebody else than the event's sender.
    """

    repository: str
    ref: str
    workflow_ref: str
    """Repository, file and ref from which GitHub started the run: in a called workflow, those of its caller."""
    run_attempt: int
    actor: str
    now: datetime
    started_at: datetime | None = None
    """When the workflow run was created; None if GitHub gave no answer."""
    page: str = ""
    """URL of the repository."""
    allows_closed_incident: Callable[[str], bool] = lambda _: False
    """Returns whether people may request the runbook on a closed incident."""


@dataclass(frozen=True, kw_only=True)
class RecoveryRequest:
    """A requested recovery, before the requester's permission is checked."""

    runbook: str
    params: Mapping[str, Any]
    environment: str
    incident: int | None
    sender: str
    sender_id: int
    actor: str
    requested_at: datetime
    """Time of the event, by GitHub's clock."""
    label: str | None = None
    other_labels: tuple[str, ...] = ()
    """Other labels on the issue that start a recovery."""
    dry_run: bool = False
    began: datetime | None = None
    """When the incident began, by its form. It may only make a run stricter."""


@dataclass(frozen=True, kw_only=True)
class IncidentEvent:
    """An event on an incident, with its sender, and the person who started this attempt. It starts no recovery."""

    incident: int
    sender: str
    sender_id: int
    actor: str
    label: str | None = None
    """Label that requested it; None for a button, or for an issue that was closed."""


@dataclass(frozen=True, kw_only=True)
class ApprovalEvent:
    """The button by which somebody approves a waiting request, before anything is checked."""

    incident: int
    actor: str
    """The person who started this attempt."""
    approval: Approval


@dataclass(frozen=True, kw_only=True)
class LeadChange(IncidentEvent):
    """The label `lead:LOGIN`: that person leads the incident from `at` on. Nothing is recovered."""

    login: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class StopEvent(IncidentEvent):
    """The label that stops all recoveries, or lifts the stop. Nothing is recovered."""

    lifts: bool
    at: datetime


@dataclass(frozen=True, kw_only=True)
class ReportDue(IncidentEvent):
    """A report is due because an incident was closed or labeled. Nothing is recovered."""

    at: datetime


@dataclass(frozen=True, kw_only=True)
class OutageCheck(IncidentEvent):
    """A label that requests a check for an outage. The check only reads."""


@dataclass(frozen=True, kw_only=True)
class ActionsDue(IncidentEvent):
    """A label on a report that requests issues for its action items. Nothing is recovered."""


@dataclass(frozen=True, kw_only=True)
class UpdateRequest(IncidentEvent):
    """A label or the button that publishes an update. Nothing is recovered. The texts are as typed."""

    state: PublicState
    at: datetime
    components: str = ""
    """Names, separated by commas, each with `=CONDITION` if it has its own; empty: by the incident."""
    condition: str = ""
    """Condition of the components without an own one; empty: by the state."""
    text: str = ""
    """Empty: the standard text."""
    corrects: str = ""
    """Id of a former update, or `last`; empty: none."""
    starts: str = ""
    ends: str = ""


@dataclass(frozen=True, kw_only=True)
class RefusedRequest:
    """A refused request. `message` and `hint` are our text; `{name}` in them stands for untrusted text in `values`."""

    reason: Reason
    message: str
    hint: str
    values: Mapping[str, str] = field(default_factory=dict)
    incident: int | None = None
    label: str | None = None
    request: RecoveryRequest | None = None
    """The refused request, as far as it is known: the laptop command is built from it."""


@dataclass(frozen=True, kw_only=True)
class IgnoredEvent:
    cause: str


@dataclass(frozen=True, kw_only=True)
class MalformedEvent:
    cause: str
    incident: int | None = None
    label: str | None = None


Outcome = (
    RecoveryRequest
    | ApprovalEvent
    | ReportDue
    | OutageCheck
    | ActionsDue
    | LeadChange
    | StopEvent
    | RefusedRequest
    | IgnoredEvent
    | MalformedEvent
)
