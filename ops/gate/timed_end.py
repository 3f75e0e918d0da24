"""End a temporary state in a later job of the same workflow run.

The job belongs to the approved request. The gate therefore sets the latest time of its start, and the requester's
permission is checked again then (`approval.refuse_requester`).
"""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ops.app import registry
from ops.core import system_clock
from ops.core.clock import format_utc
from ops.core.errors import Reason, Refused
from ops.gate.outcomes import RecoveryRequest

if TYPE_CHECKING:
    from ops.config import Config

LONGEST_WAIT = timedelta(hours=5)
"""A job may run six hours at most: docs.github.com/actions/reference/limits"""
START_PERIOD = timedelta(minutes=30)
"""The job that ends the state may start until this long after the planned end."""


def latest_end(request: RecoveryRequest, config: "Config", now: datetime) -> datetime | None:
    """Return the latest time at which the job that ends the state may start; None if no job waits for it."""
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
