"""Restores of a database that runs on the incident recorded, and refusals by them."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from ops.core.clock import format_duration, format_rfc3339
from ops.core.errors import Reason, Refused
from ops.core.run_record import ENDED_KIND, PreviousRuns, RecordRow
from ops.core.timeline import EventKind
from ops.database.restore import UNDO_PREFIX
from ops.database.target import BEFORE_LAST_MIGRATION, BEFORE_MIGRATION

MAX_RESTORES, RESTORES_WITHIN = 10, timedelta(minutes=10)
"""Limit of D1 per database: developers.cloudflare.com/d1/platform/limits"""
LONGEST_RESTORE = timedelta(minutes=1)
"""Time after which a restore without an answer has ended. Its request waits 35 s."""
_SETTLED = frozenset({EventKind.WRITTEN, EventKind.FAILED, ENDED_KIND})
"""Kinds of rows after which a restore is no longer under way."""


def describe_restores(previous: PreviousRuns | None, name: str, now: datetime) -> str:
    """Describe the limit of D1, with our own restores on the incident; None: there is no incident."""
    limit = f"D1 allows {MAX_RESTORES} restores of a database in {format_duration(RESTORES_WITHIN.total_seconds())}"
    if previous is None:
        return f"{limit}; recent ones are unknown without an incident"
    recent = sum(now - restore.at <= RESTORES_WITHIN for restore, _ in _find_restores(previous, name))
    return f"{limit}; {recent} recorded on the incident"


def refuse_concurrent_restore(previous: PreviousRuns, name: str, now: datetime) -> None:
    """Refuse while a restore by another run may be under way at D1, also if that run was killed."""
    for restore, later in _find_restores(previous, name):
        end = restore.at + LONGEST_RESTORE
        if now < end and not any(row.kind in _SETTLED for row in later):
            raise Refused(
                f"another run restores {name} since {format_rfc3339(restore.at)}",
                reason=Reason.WORLD_MOVED,
                hint=f"Wait for its end. If it was killed, start the same command again at {format_rfc3339(end)}.",
            )


def refuse_second_step_back(previous: PreviousRuns, name: str, to: str) -> None:
    """Refuse to take back one more migration by the same words, as after a run that was interrupted."""
    if to != BEFORE_LAST_MIGRATION or not any(True for _ in _find_restores(previous, name)):
        return
    raise Refused(
        f"a restore on this incident may have taken the last migration back, so {BEFORE_LAST_MIGRATION} is not clear",
        reason=Reason.NO_TARGET,
        hint=f"Name the migration with {BEFORE_MIGRATION}NAME, which takes back nothing else if it is repeated.",
    )


def _find_restores(previous: PreviousRuns, name: str) -> Iterator[tuple[RecordRow, tuple[RecordRow, ...]]]:
    """Yield the row right before each restore that runs on the incident sent, with the later rows of that run."""
    for run in previous.runs:
        for n, row in enumerate(run.rows):
            if row.kind == EventKind.PREPARED and row.text.startswith(f"{UNDO_PREFIX}{name}: "):
                yield row, run.rows[n + 1 :]
