"""Choose the point in time of a restore, and the migrations that it takes back."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ops.cloudflare.types.d1 import Migration, is_bookmark
from ops.core.clock import format_rfc3339, format_utc, parse_duration, parse_utc
from ops.core.errors import ConfigError, Reason, Refused
from ops.core.names import quote_name

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
    moment = _parse_time(to, now).replace(microsecond=0)
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


def _parse_time(to: str, now: datetime) -> datetime:
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
    number, is_file = name.partition("_")[0], name.endswith(".sql")
    near = next((each.name for each in migrations if each.name.partition("_")[0] == number), "")
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
