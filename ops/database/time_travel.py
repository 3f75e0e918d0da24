"""Find the bookmark of a target, the migrations after it, and the retention of Time Travel."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from ops.cloudflare.types.d1 import Migration
from ops.core.errors import ProviderError, Reason, Refused
from ops.core.threads import run_parallel
from ops.database.target import BEFORE_MIGRATION, SECOND, RestorePoint

if TYPE_CHECKING:
    from ops.cloudflare.d1 import D1Api

SHORT_RETENTION, LONG_RETENTION = 7, 30
"""Days that Time Travel keeps on Workers Free and Paid: developers.cloudflare.com/d1/reference/time-travel"""
BATCH = 8
"""Migrations whose bookmarks are read in parallel, newest first."""


def read_target(d1: "D1Api", database: str, point: RestorePoint) -> str:
    """Return the bookmark of the point. Raises Refused if its time is beyond retention."""
    if point.at is None:
        return point.bookmark
    try:
        return d1.read_bookmark(database, point.at)
    except ProviderError as error:
        if error.reason != Reason.PROVIDER_REFUSED:
            raise
        raise Refused(
            f"D1 has no state for {point}: {error.message}",
            reason=Reason.NO_TARGET,
            hint=f"Use a later time. Time Travel keeps {SHORT_RETENTION} days on Free and {LONG_RETENTION} on Paid.",
        ) from None


def describe_retention(d1: "D1Api", database: str, now: datetime) -> str:
    """Describe how far Time Travel reaches back, by a bookmark that only the longer retention has."""
    probe = now - timedelta(days=SHORT_RETENTION + 1)
    try:
        d1.read_bookmark(database, probe)
    except ProviderError as error:
        if error.reason != Reason.PROVIDER_REFUSED:
            raise
        is_younger = d1.read_database(database).created_on > probe
        days = f"{SHORT_RETENTION} or {LONG_RETENTION}" if is_younger else str(SHORT_RETENTION)
    else:
        days = str(LONG_RETENTION)
    return f"Time Travel keeps {days} days, and the undo works as long"


def find_taken_back(
    d1: "D1Api", database: str, point: RestorePoint, migrations: Sequence[Migration], now: datetime
) -> tuple[Migration, ...]:
    """Return the migrations after the point, oldest first. A later state has a greater bookmark, compared as text.

    developers.cloudflare.com/durable-objects/api/sqlite-storage-api

    Raises:
        Refused: a migration was applied in the same second as the bookmark.
    """
    if point.at is not None:
        return tuple(each for each in migrations if each.applied_at > point.at)
    left, found = list(migrations), list[Migration]()
    while left:
        batch, left = left[-BATCH:], left[:-BATCH]
        around = run_parallel([partial(_read_around, d1, database, each, now) for each in batch])
        for migration, (start, end) in zip(batch, around, strict=True):
            if start < point.bookmark < end:
                raise Refused(
                    f"{migration.name} was applied in the second of this bookmark, so it may be taken back or not",
                    reason=Reason.NO_TARGET,
                    hint=f"Use {BEFORE_MIGRATION}{migration.name}, or a UTC time.",
                )
        newer = [each for each, (start, _) in zip(batch, around, strict=True) if start >= point.bookmark]
        found = newer + found
        if len(newer) < len(batch):
            break
    return tuple(found)


def _read_around(d1: "D1Api", database: str, migration: Migration, now: datetime) -> tuple[str, str]:
    """Return the bookmarks at the start and end of the second in which a migration was applied.

    Both are empty beyond retention: such a migration is older than every bookmark that can be restored.
    """
    try:
        start = d1.read_bookmark(database, migration.applied_at)
        return start, d1.read_bookmark(database, min(migration.applied_at + SECOND, now))
    except ProviderError as error:
        if error.reason != Reason.PROVIDER_REFUSED:
            raise
        return "", ""
