"""Choose the point in time of a restore, and find its bookmark and later migrations.

Also the retention of Time Travel.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from ops.cloudflare.types.d1 import Migration, is_bookmark, session_of
from ops.core.clock import MAX_CLOCK_SKEW, format_rfc3339, format_utc, parse_duration, parse_utc
from ops.core.errors import ConfigError, ProviderError, Reason, Refused
from ops.core.names import quote_name
from ops.core.threads import run_parallel

if TYPE_CHECKING:
    from ops.cloudflare.d1 import D1Api

BEFORE_MIGRATION = "before-migration:"
BEFORE_LAST_MIGRATION = "before-last-migration"
FORMS = (
    f"Use -15m (s, m, h or d), a UTC time such as 2026-11-24T03:05:00Z, a bookmark, {BEFORE_MIGRATION}NAME or "
    f"{BEFORE_LAST_MIGRATION}."
)
ONE_APPLY = timedelta(seconds=60)
"""Migrations less than this apart count as one apply: wrangler applies its files one by one."""
SECOND = timedelta(seconds=1)
"""Resolution of `applied_at` in the table of migrations."""
_AGO = re.compile("-([0-9]+[a-z]+)")
_DAYS_AGO = re.compile("-([1-9][0-9]?)d")


@dataclass(frozen=True)
class RestorePoint:
    """The requested state: that of a bookmark, or the latest at a time."""

    bookmark: str = ""
    at: datetime | None = None
    """UTC, in whole seconds; None for a bookmark."""
    bookmark_at: datetime | None = None
    """Second of a bookmark's state; None if Time Travel does not show it."""

    @property
    def moment(self) -> datetime | None:
        """Return the time of the state in UTC; None if it is unknown."""
        return self.at or self.bookmark_at

    def __str__(self) -> str:
        return format_utc(self.at) if self.at else f"bookmark {self.bookmark}"


def parse_restore_point(to: str, now: datetime, migrations: Sequence[Migration]) -> RestorePoint | None:
    """Parse the parameter `to`; None if it names a migration that is not applied, so nothing is to be taken back.

    `migrations` are those applied, oldest first. A relative time counts from `now`, the time of the request.

    Raises:
        ConfigError: the text has none of the known forms.
        Refused: there is no such point, or it lies between two states that its time cannot tell apart.
    """
    if is_bookmark(to):
        return RestorePoint(bookmark=to)
    if to == BEFORE_LAST_MIGRATION or to.startswith(BEFORE_MIGRATION):
        migration = _find_migration(to, migrations)
        return RestorePoint(at=_time_before(migration, migrations)) if migration else None
    moment = _parse_restore_time(to, now).replace(microsecond=0)
    if moment > now:
        raise Refused(
            f"{format_utc(moment)} is in the future",
            reason=Reason.NO_TARGET,
            hint=f"Use a time before {format_rfc3339(now)}.",
        )
    if same := [each.name for each in migrations if each.applied_at == moment]:
        raise Refused(
            f"{', '.join(same)} was applied in the second {format_utc(moment)}, so that time does not say whether the "
            "restore takes it back",
            reason=Reason.NO_TARGET,
            hint=f"Use {format_rfc3339(moment - SECOND)} or {format_rfc3339(moment + SECOND)}.",
        )
    return RestorePoint(at=moment)


def is_relative_time(to: str) -> bool:
    """Return whether a point counts back from now, such as -15m."""
    return _AGO.fullmatch(to) is not None


def _parse_restore_time(to: str, now: datetime) -> datetime:
    try:
        if days := _DAYS_AGO.fullmatch(to):
            return now - timedelta(days=int(days[1]))
        if ago := _AGO.fullmatch(to):
            return now - timedelta(seconds=parse_duration(ago[1]))
        moment = parse_utc(to)
        has_zone = to.endswith(" UTC") or datetime.fromisoformat(to).tzinfo is not None
    except (ValueError, OverflowError):
        raise ConfigError(f'"{quote_name(to)}" is no point to restore', hint=FORMS) from None
    if not has_zone:
        raise ConfigError(f"{quote_name(to)} has no time zone", hint=f"Write {format_rfc3339(moment)} for UTC.")
    return moment


def _find_migration(to: str, migrations: Sequence[Migration]) -> Migration | None:
    """Return the first migration to take back; None if it is not applied.

    Raises:
        Refused: the name is not that of a file, an applied migration has its number, or there is no last one.
    """
    if to == BEFORE_LAST_MIGRATION and not migrations:
        raise Refused("no migration is applied", reason=Reason.NO_TARGET, hint="Use a time or a bookmark.")
    if to == BEFORE_LAST_MIGRATION:
        return last_apply(migrations)[0]
    name = to.removeprefix(BEFORE_MIGRATION)
    if migration := next((each for each in migrations if each.name == name), None):
        return migration
    numbers, is_file = {_number_of(name), _number_of(name.rpartition("/")[2])}, name.endswith(".sql")
    near = next((each.name for each in migrations if _number_of(each.name) in numbers), "")
    if near or not is_file:
        meant = f'; did you mean "{quote_name(near)}"?' if near else ""
        raise Refused(
            f"no migration {quote_name(name)} is applied{meant}",
            reason=Reason.UNKNOWN_NAME,
            hint=f"Use the name of its file. The latest applied migration is {migrations[-1].name}."
            if migrations
            else "Use a time or a bookmark.",
        )
    return None


def _number_of(migration: str) -> str:
    """Return what is before the name of a migration: its folder, and its number without leading zeros."""
    folder, slash, number = migration.partition("_")[0].rpartition("/")
    return f"{folder}{slash}{number.lstrip('0')}"


def last_apply(migrations: Sequence[Migration]) -> Sequence[Migration]:
    """Return the migrations of the last apply, oldest first."""
    first = len(migrations) - 1
    while first > 0 and _is_one_apply(migrations[first - 1], migrations[first]):
        first -= 1
    return migrations[first:]


def _is_one_apply(earlier: Migration, later: Migration) -> bool:
    """Return whether a guard recorded one apply of both; without its record, whether they are close together."""
    if earlier.apply or later.apply:
        return earlier.apply == later.apply
    return later.applied_at - earlier.applied_at < ONE_APPLY


def _time_before(migration: Migration, migrations: Sequence[Migration]) -> datetime:
    """Return the second before a migration. Raises Refused if it also takes back an earlier one."""
    place = first = migrations.index(migration)
    while first > 0 and migrations[first].applied_at - migrations[first - 1].applied_at <= SECOND:
        first -= 1
    if first < place:
        earliest = migrations[first]
        together = ", ".join(each.name for each in migrations[first:place])
        raise Refused(
            f"{together} was applied within a second before {migration.name}, so no time separates them",
            reason=Reason.NO_TARGET,
            hint=f"The earliest point that works is {BEFORE_MIGRATION}{earliest.name}. It takes back all of them.",
        )
    return migration.applied_at - SECOND


def splits_an_apply(kept: Sequence[Migration], taken_back: Sequence[Migration]) -> bool:
    """Return whether the restore lands between two migrations of one apply."""
    return bool(kept and taken_back) and _is_one_apply(kept[-1], taken_back[0])


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


def locate_restore_point(d1: "D1Api", database: str, point: RestorePoint, current: str, now: datetime) -> RestorePoint:
    """Return the point with the second of its bookmark, if the last state of a second has it.

    D1 has no request that validates a bookmark, so this compares it with the `current` one and those of times.

    Raises:
        Refused: it is no bookmark of this database, or older than every state that Time Travel keeps.
    """
    wanted = point.bookmark
    if not wanted:
        return point
    if _is_later(wanted, current, now):
        raise _unknown_bookmark(wanted, "it is later than the current state")
    (_, before), (end, at) = _search_bookmark(
        partial(_bookmark_at, d1, database, now=now), wanted, now.replace(microsecond=0)
    )
    if not before and at not in {wanted, _LATEST}:
        raise _unknown_bookmark(wanted, "it is older than every state that Time Travel keeps")
    if any(each != wanted and each[:_PLACE] == wanted[:_PLACE] for each in (before, at)):
        raise _unknown_bookmark(wanted, f"the database has another one at {format_utc(end)}")
    return replace(point, bookmark_at=end - SECOND) if at == wanted else point


def find_session_start(d1: "D1Api", database: str, current: str, now: datetime) -> tuple[datetime, str]:
    """Return the second in which the session of the `current` bookmark began, and the latest bookmark before it."""
    read = partial(_bookmark_at, d1, database, now=now)
    (_, before), (at, _) = _search_bookmark(read, f"{session_of(current)}-", now.replace(microsecond=0))
    return at, before


def _search_bookmark(
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


def _unknown_bookmark(bookmark: str, why: str) -> Refused:
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
