"""End a state, such as maintenance mode, by a later job of the same workflow run.

The gate says until when that job may start, the acting job whether it waits, and the job itself refuses a late start.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ops.core.clock import current_time, format_utc
from ops.core.errors import Reason, Refused
from ops.engine.runbook import params_type

if TYPE_CHECKING:
    from ops.config import Environment
    from ops.engine.runbook import Runbook

LONGEST_WAIT = timedelta(hours=5)
"""A job may run six hours at most: docs.github.com/actions/reference/limits"""
START_PERIOD = timedelta(minutes=30)
"""The job that ends the state may start until this long after the planned end."""


def planned_end(
    runbook: "Runbook[Any]", params: Mapping[str, Any], environment: "Environment", now: datetime
) -> datetime | None:
    """Return the time at which a later command must end the state of such a run; None if it never must."""
    known = {field.name: field.default is MISSING for field in fields(params_type(runbook))}
    required = {name for name, is_required in known.items() if is_required}
    if runbook.job.timed_end is None or not required <= params.keys() <= known.keys():  # the run reports what is wrong
        return None
    return runbook.job.timed_end.find(params_type(runbook)(**params), environment, now)


def latest_start(
    runbook: "Runbook[Any]", params: Mapping[str, Any], environment: "Environment", now: datetime
) -> datetime | None:
    """Return the latest time at which the job that ends the state may start; None if no job waits for it.

    The job belongs to the request that passed the gate. It checks the requester's permission again.
    """
    end = planned_end(runbook, params, environment, now)
    return end + START_PERIOD if end is not None and end - now <= LONGEST_WAIT else None


def has_job(end: datetime, latest: datetime | None) -> bool:
    """Return whether a job of the same workflow run ends the state. `latest`: its `latest_start`, from the gate."""
    return latest is not None and end <= latest


def refuse_late_start(environ: Mapping[str, str], latest: datetime | None, command: str) -> None:
    """Raise Refused if the job that ends a state starts too late: somebody may have decided otherwise since."""
    if latest is not None and current_time(environ) > latest:
        raise Refused(
            f"this job may start until {format_utc(latest)}, which has passed",
            reason=Reason.REQUEST_TOO_OLD,
            hint=f"Check what is off now (`ops status`). To end it, run: {command}",
        )
