"""Meanings that an event of GitHub can have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ops.core.errors import Reason


@dataclass(frozen=True, kw_only=True)
class GateJob:
    """What GitHub Actions says of the job beside the event.

    `actor` started this attempt: a further one perhaps somebody else than the event's sender.
    """

    repository: str
    ref: str
    run_attempt: int
    actor: str
    now: datetime
    started_at: datetime | None = None
    """When the workflow run was created; None where nobody could say."""
    allows_closed_incident: Callable[[str], bool] = lambda _: False
    """Whether people may request a runbook on an incident that is closed."""


@dataclass(frozen=True, kw_only=True)
class RecoveryRequest:
    """A recovery that somebody asked for, before it is known whether they may."""

    runbook: str
    params: Mapping[str, Any]
    environment: str
    incident: int | None
    sender: str
    sender_id: int
    actor: str
    requested_at: datetime
    """The event's own time, by GitHub's clock."""
    label: str | None = None
    other_labels: tuple[str, ...] = ()
    """Further labels on the issue that start a recovery."""
    dry_run: bool = False
    began: datetime | None = None
    """When the incident began, as its form says: it may warn somebody, and chooses nothing."""


@dataclass(frozen=True, kw_only=True)
class ReportDue:
    """An incident was closed, or its report asked for by a label: nothing is recovered."""

    incident: int
    sender: str
    sender_id: int
    actor: str
    at: datetime
    label: str | None = None


@dataclass(frozen=True, kw_only=True)
class RefusedRequest:
    """`message` and `hint` are our words; `{name}` in them stands for somebody else's, in `values`."""

    reason: Reason
    message: str
    hint: str
    values: Mapping[str, str] = field(default_factory=dict)
    incident: int | None = None
    label: str | None = None
    request: RecoveryRequest | None = None
    """What was asked for, where that much is known: the command for a laptop is made of it."""


@dataclass(frozen=True, kw_only=True)
class IgnoredEvent:
    cause: str


@dataclass(frozen=True, kw_only=True)
class MalformedEvent:
    cause: str
    incident: int | None = None
    label: str | None = None


Outcome = RecoveryRequest | ReportDue | RefusedRequest | IgnoredEvent | MalformedEvent
