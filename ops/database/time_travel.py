"""Find the bookmark of a target, the migrations after it, and the retention of Time Travel."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from ops.cloudflare.types.d1 import Migration, is_bookmark, session_of
from ops.core.clock import MAX_CLOCK_SKEW, format_utc
from ops.core.errors import ProviderError, Reason, Refused
from ops.core.threads import run_parallel
from ops.database.target import BEFORE_MIGRATION, SECOND, RestorePoint

if TYPE_CHECKING:
    from ops.cloudflare.d1 import D1Api

SHORT_RETENTION, LONG_RETENTION = 7, 30
"""Days that Time Travel keeps on Workers Free and Paid: developers.cloudflare.com/d1/reference/time-travel"""
POINTS = 16
"""Times whose bookmarks are read in parallel. Four rounds find a second of the last hour, seven any other."""
_LATEST = "g"
"""Greater than every bookmark."""
_PLACE = 26
"""Length of session, place and day, which start a bookmark."""
_SESSION_END = "f" * 8
"""Place of the bookmark that a restore returns as `previous_bookmark`."""
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


def locate(d1: "D1Api", database: str, point: RestorePoint, current: str, now: datetime) -> RestorePoint:
    """Return the point with the second of its bookmark, if the last state of a second has it.

    D1 has no request that validates a bookmark, so this compares it with the `current` one and those of times.

    Raises:
        Refused: it is no bookmark of this database, or older than every state that Time Travel keeps.
    """
    wanted = point.bookmark
    if not wanted:
        return point
    if _is_later(wanted, current, now):
        raise _unknown(wanted, "it is later than the current state")
    (_, before), (end, at) = _search(partial(_bookmark_at, d1, database, now=now), wanted, now.replace(microsecond=0))
    if not before and at not in {wanted, _LATEST}:
        raise _unknown(wanted, "it is older than every state that Time Travel keeps")
    if any(each != wanted and each[:_PLACE] == wanted[:_PLACE] for each in (before, at)):
        raise _unknown(wanted, f"the database has another one at {format_utc(end)}")
    return replace(point, bookmark_at=end - SECOND) if at == wanted else point


def find_session_start(d1: "D1Api", database: str, current: str, now: datetime) -> tuple[datetime, str]:
    """Return the second in which the session of the `current` bookmark began, and the latest bookmark before it."""
    read = partial(_bookmark_at, d1, database, now=now)
    (_, before), (at, _) = _search(read, f"{session_of(current)}-", now.replace(microsecond=0))
    return at, before


def _search(
    read: Callable[[datetime], str], wanted: str, now: datetime
) -> tuple[tuple[datetime, str], tuple[datetime, str]]:
    """Return the two seconds, with their bookmarks, between which the bookmark appears."""
    left, right = (now - timedelta(days=LONG_RETENTION, hours=1), ""), (now, _LATEST)
    times = [now - 4**n * SECOND for n in range(10, -1, -1)]  # most bookmarks are recent: an undo
    while times:
        seen = [left, *zip(times, run_parallel([partial(read, each) for each in times]), strict=True), right]
        place = next(n for n, (_, bookmark) in enumerate(seen) if n and bookmark >= wanted)
        left, right = seen[place - 1], seen[place]
        seconds = int((right[0] - left[0]).total_seconds())
        step = -(-seconds // (POINTS + 1))
        times = [left[0] + n * SECOND for n in range(step, seconds, step)]
    return left, right


def _is_later(bookmark: str, current: str, now: datetime) -> bool:
    """Return whether a bookmark is of a future day, or of a later write in the current session.

    A later session is possible: after a restore the current bookmark may still be the previous one.
    """
    session, place, day, _ = bookmark.split("-")
    if not is_bookmark(current):
        return False
    now_session, now_place, now_day, _ = current.split("-")
    today = f"{int(now.timestamp()) // 86400:08x}"
    return day > max(now_day, today) or (session == now_session and now_place < place != _SESSION_END)


def _unknown(bookmark: str, why: str) -> Refused:
    return Refused(
        f"bookmark {bookmark} is none that D1 can restore: {why}",
        reason=Reason.NO_TARGET,
        hint="Copy the whole bookmark, or use a UTC time.",
    )


def _bookmark_at(d1: "D1Api", database: str, at: datetime, *, now: datetime) -> str:
    """Return the bookmark of a time. One beyond retention sorts first; one in the future of D1's clock sorts last."""
    try:
        return d1.read_bookmark(database, at)
    except ProviderError as error:
        if error.reason != Reason.PROVIDER_REFUSED:
            raise
        return _LATEST if now - at < 2 * MAX_CLOCK_SKEW else ""


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
    left, taken_back = list(migrations), list[Migration]()
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
        taken_back = newer + taken_back
        if len(newer) < len(batch):
            break
    return tuple(taken_back)


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
