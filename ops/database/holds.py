"""Holds: migrations that were taken back and must not be applied again as they are.

They are rows in the database itself, so that `ops hold migrate` needs nothing else to find them.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ops.cloudflare.types.d1 import SqlStatement, SqlValue
from ops.core.clock import format_rfc3339, parse_utc
from ops.core.errors import ProviderError, Reason, Refused
from ops.core.names import quote_name

if TYPE_CHECKING:
    from ops.cloudflare.d1 import D1Api

TABLE = "backout_holds"
_COLUMNS = ("migration", "hash", "incident", "run", "held_at", "undo")
LONGEST_NAME, LONGEST_TEXT = 4096, 200
"""Limits of a hold in characters: the path of its migration, and each other text."""
RECENT = timedelta(hours=1)
"""Age of a hold until which the words for the last migration are not clear."""
NOT_LAST = f"NOT NULL constraint failed: {TABLE}.migration"
"""Error of a batch of `hold_last_migration` for another migration than the last one."""
CREATE_TABLE = SqlStatement(
    f"CREATE TABLE IF NOT EXISTS {TABLE} (migration TEXT NOT NULL, hash TEXT NOT NULL, incident TEXT NOT NULL, "
    "run TEXT NOT NULL, held_at TEXT NOT NULL, undo TEXT NOT NULL, PRIMARY KEY (migration, hash))"
)


@dataclass(frozen=True)
class Hold:
    """A migration that must not be applied again."""

    migration: str
    hash: str
    """`hash_migration` of the content that is refused; empty: each content, until the hold is lifted."""
    incident: str
    """Number of the incident; empty if the run had none."""
    run: str
    held_at: str
    """UTC, as RFC 3339."""
    undo: str = ""
    """Bookmark whose restore undoes the run, and so removes this hold."""

    def __str__(self) -> str:
        why = f"incident #{quote_name(self.incident)}" if self.incident else f"run {quote_name(self.run)}"
        return f"{quote_name(self.migration)}, held since {quote_name(self.held_at)} ({why})"


def make_hold(
    migration: str, content_hash: str, *, incident: int | None, run: str, now: datetime, undo: str = ""
) -> Hold:
    return Hold(migration, content_hash, str(incident or ""), run, format_rfc3339(now), undo)


def find_hold(holds: Iterable[Hold], migration: str, content_hash: str) -> Hold | None:
    """Return the hold that refuses a migration with this content."""
    return next((each for each in holds if each.migration == migration and each.hash in {"", content_hash}), None)


def read_holds(d1: "D1Api", database_id: str) -> tuple[Hold, ...]:
    """Return the holds of a database, oldest first, without rows that Backout cannot have written.

    Raises ProviderError, and Refused for a table of others.
    """
    try:
        (result,) = d1.query(database_id, [SqlStatement(f"SELECT {', '.join(_COLUMNS)} FROM {TABLE} ORDER BY held_at")])  # noqa: S608
    except ProviderError as error:
        if error.reason == Reason.PROVIDER_REFUSED and f"no such table: {TABLE}" in error.message:
            return ()
        if error.reason == Reason.PROVIDER_REFUSED and "no such column" in error.message:
            text = f"the database has a table {TABLE} that Backout did not make"
            hint = f"Rename it: ALTER TABLE {TABLE} RENAME TO other_holds (a view: drop it). Then run this again."
            raise Refused(text, reason=Reason.UNKNOWN_VALUE, hint=hint) from None
        raise
    return tuple(hold for hold in map(_parse_hold, result.rows) if is_hold(hold))


def refuse_second_step_back(
    held: Iterable[Hold], words: str, hint: str, *, incident: int | None, now: datetime
) -> None:
    """Refuse `words` for the last migration after one was taken back: repeated, they would take back one more."""
    for hold in held:
        if (incident and hold.incident == str(incident)) or _is_recent(hold, now):
            text = f"{hold}, so {words} is not clear: it would take back one more"
            raise Refused(text, reason=Reason.NO_TARGET, hint=hint)


def _is_recent(hold: Hold, now: datetime) -> bool:
    try:
        return now - parse_utc(hold.held_at) < RECENT
    except ValueError:
        return True


def holds_after_restore(holds: Iterable[Hold], target: str, new: Iterable[Hold]) -> tuple[Hold, ...]:
    """Return the holds that a database must have after a restore to the bookmark `target`.

    A restore that undoes a run removes the holds of that run only. Without a target all are kept.
    """
    kept = {(each.migration, each.hash): each for each in holds if not target or each.undo != target}
    return tuple((kept | {(each.migration, each.hash): each for each in new}).values())


def replace_holds(holds: Iterable[Hold]) -> Iterator[SqlStatement]:
    """Yield the batch after which a database has exactly these holds, also those that a restore took away.

    It makes the table again: one that others made may lack the key, or have triggers.
    """
    yield SqlStatement(f"DROP TABLE IF EXISTS {TABLE}")
    yield CREATE_TABLE
    yield from map(_insert, holds)


def hold_last_migration(hold: Hold, migrations_table: str) -> Iterator[SqlStatement]:
    """Yield the start of a batch that takes back a migration. D1 refuses it unless that is the last one applied.

    A second copy of the batch fails too, since the first one took the row of the migration away.
    """
    table = '"' + migrations_table.replace('"', '""') + '"'
    last = f"SELECT name FROM {table} WHERE name = ? AND id = (SELECT max(id) FROM {table})"  # noqa: S608
    yield CREATE_TABLE
    yield _insert(hold, migration=f"({last})")


def lift_holds(migration: str) -> SqlStatement:
    """Return the statement that lifts all holds of a migration."""
    return SqlStatement(f"DELETE FROM {TABLE} WHERE migration = ?", (migration,))  # noqa: S608


def _insert(hold: Hold, migration: str = "?") -> SqlStatement:
    values = ", ".join([migration, *"?" * (len(_COLUMNS) - 1)])
    sql = (
        f"INSERT INTO {TABLE} ({', '.join(_COLUMNS)}) VALUES ({values}) ON CONFLICT (migration, hash) DO UPDATE SET "  # noqa: S608
        "incident = excluded.incident, run = excluded.run, held_at = excluded.held_at, undo = excluded.undo"
    )
    return SqlStatement(sql, (hold.migration, hold.hash, hold.incident, hold.run, hold.held_at, hold.undo))


def is_hold(hold: Hold) -> bool:
    """Return whether Backout can have written a hold: everyone who may write the database can write a row."""
    name, *others = vars(hold).values()
    is_short = 0 < len(name) <= LONGEST_NAME and max(map(len, others)) <= LONGEST_TEXT
    return is_short and all(text.isprintable() for text in (name, *others))


def _parse_hold(row: Mapping[str, SqlValue]) -> Hold:
    return Hold(*(str(row[name] or "") for name in _COLUMNS))
