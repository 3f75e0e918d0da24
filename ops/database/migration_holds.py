"""Holds: migrations that were taken back and must not be applied again as they are.

They are rows in the database itself, so that `ops hold migrate` needs nothing else to find them. A restore takes their
table back too, so its run writes them again.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ops.cloudflare.types.d1 import SqlStatement, SqlValue
from ops.core.clock import format_rfc3339, parse_utc
from ops.core.errors import ProviderError, Reason, Refused
from ops.core.names import quote_name
from ops.core.plan import PlanSection
from ops.core.run_record import RunRecord
from ops.core.timeline import EventKind
from ops.engine.context import Context
from ops.engine.step import ChangeState, ObservedState, Step

if TYPE_CHECKING:
    from ops.cloudflare.d1 import D1Api

HOLDS_SECTION = "Holds after the restore"

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
class MigrationHold:
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


def make_migration_hold(
    migration: str, content_hash: str, *, incident: int | None, run: str, now: datetime, undo: str = ""
) -> MigrationHold:
    return MigrationHold(migration, content_hash, str(incident or ""), run, format_rfc3339(now), undo)


def find_migration_hold(holds: Iterable[MigrationHold], migration: str, content_hash: str) -> MigrationHold | None:
    """Return the hold that refuses a migration with this content."""
    return next((each for each in holds if each.migration == migration and each.hash in {"", content_hash}), None)


def read_migration_holds(d1: "D1Api", database_id: str) -> tuple[MigrationHold, ...]:
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
            hint = f"Rename it: `ALTER TABLE {TABLE} RENAME TO other_holds` (a view: drop it). Then run this again."
            raise Refused(text, reason=Reason.UNKNOWN_VALUE, hint=hint) from None
        raise
    return tuple(hold for hold in map(_parse_hold, result.rows) if is_hold(hold))


def refuse_second_step_back(
    held: Iterable[MigrationHold], words: str, hint: str, *, incident: int | None, now: datetime
) -> None:
    """Refuse `words` for the last migration after one was taken back: repeated, they would take back one more."""
    for hold in held:
        if (incident and hold.incident == str(incident)) or _is_recent(hold, now):
            text = f"{hold}, so {words} is not clear: it would take back one more"
            raise Refused(text, reason=Reason.NO_TARGET, hint=hint)


def _is_recent(hold: MigrationHold, now: datetime) -> bool:
    try:
        return now - parse_utc(hold.held_at) < RECENT
    except ValueError:
        return True


def migration_holds_after_restore(
    holds: Iterable[MigrationHold], target: str, new: Iterable[MigrationHold]
) -> tuple[MigrationHold, ...]:
    """Return the holds that a database must have after a restore to the bookmark `target`.

    A restore that undoes a run removes the holds of that run only. Without a target all are kept.
    """
    kept = {(each.migration, each.hash): each for each in holds if not target or each.undo != target}
    return tuple((kept | {(each.migration, each.hash): each for each in new}).values())


def replace_migration_holds(holds: Iterable[MigrationHold]) -> Iterator[SqlStatement]:
    """Yield the batch after which a database has exactly these holds, also those that a restore took away.

    It makes the table again: one that others made may lack the key, or have triggers.
    """
    yield SqlStatement(f"DROP TABLE IF EXISTS {TABLE}")
    yield CREATE_TABLE
    yield from map(_insert_hold, holds)


def hold_last_migration(hold: MigrationHold, migrations_table: str) -> Iterator[SqlStatement]:
    """Yield the start of a batch that takes back a migration. D1 refuses it unless that is the last one applied.

    A second copy of the batch fails too, since the first one took the row of the migration away.
    """
    table = '"' + migrations_table.replace('"', '""') + '"'
    last = f"SELECT name FROM {table} WHERE name = ? AND id = (SELECT max(id) FROM {table})"  # noqa: S608
    yield CREATE_TABLE
    yield _insert_hold(hold, migration=f"({last})")


def lift_migration_holds(migration: str) -> SqlStatement:
    """Return the statement that lifts all holds of a migration."""
    return SqlStatement(f"DELETE FROM {TABLE} WHERE migration = ?", (migration,))  # noqa: S608


def _insert_hold(hold: MigrationHold, migration: str = "?") -> SqlStatement:
    values = ", ".join([migration, *"?" * (len(_COLUMNS) - 1)])
    sql = (
        f"INSERT INTO {TABLE} ({', '.join(_COLUMNS)}) VALUES ({values}) ON CONFLICT (migration, hash) DO UPDATE SET "  # noqa: S608
        "incident = excluded.incident, run = excluded.run, held_at = excluded.held_at, undo = excluded.undo"
    )
    return SqlStatement(sql, (hold.migration, hold.hash, hold.incident, hold.run, hold.held_at, hold.undo))


def is_hold(hold: MigrationHold) -> bool:
    """Return whether Backout can have written a hold: everyone who may write the database can write a row."""
    name, *others = vars(hold).values()
    is_short = 0 < len(name) <= LONGEST_NAME and max(map(len, others)) <= LONGEST_TEXT
    return is_short and all(text.isprintable() for text in (name, *others))


def _parse_hold(row: Mapping[str, SqlValue]) -> MigrationHold:
    return MigrationHold(*(str(row[name] or "") for name in _COLUMNS))


RESTORED = "hold to write back to "
"""Start of an event with a hold of a restored database, for a run that continues after an interruption."""
HELD_UNTIL = "held until its content changes, or a responder lifts the hold with lift-hold"


@dataclass
class RestoredHolds:
    """Holds of a database that a run restores."""

    name: str
    """Name of the database in ops.yml."""
    database_id: str
    found: tuple[MigrationHold, ...]
    """Holds as read last before the restore."""
    new: tuple[MigrationHold, ...]
    """Holds of the migrations that the restore takes back."""
    target: str = ""
    """Bookmark that is restored."""
    undo: str = ""
    """Bookmark whose restore undoes the run."""
    is_sent: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.new = tuple(filter(is_hold, self.new))  # the guard applies no file of another name

    @property
    def steps(self) -> "tuple[WriteMigrationHolds, ...]":
        """Return the step that writes the holds, if there are holds."""
        if not (self.found or self.new):
            return ()
        target, names = (
            f"Holds of D1 database {self.name}",
            ", ".join(quote_name(each.migration) for each in self.desired),
        )
        return (
            WriteMigrationHolds(target, "as restored", names or "none", "the database shows them", None, holds=self),
        )

    @property
    def desired(self) -> tuple[MigrationHold, ...]:
        """Return the holds that the database must have after the restore."""
        return migration_holds_after_restore(
            self.found, self.target, [replace(each, undo=self.undo) for each in self.new]
        )

    @property
    def sections(self) -> tuple[PlanSection, ...]:
        """Return the section of the plan, if there are holds."""
        new, desired = {each.migration for each in self.new}, self.desired
        lines = [f"{quote_name(name)}: {HELD_UNTIL}" for name in sorted(new)]
        for each in self.found:
            ends = "kept" if each in desired else "removed, because this restore undoes its run"
            lines += [] if each.migration in new else [f"{each}: {ends}"]
        return (PlanSection(HOLDS_SECTION, tuple(lines)),) if lines else ()

    def read_again(self, ctx: Context[Any]) -> None:
        """Read the holds right before the restore."""
        self.found = read_migration_holds(ctx.cloudflare.d1, self.database_id)

    def record(self, ctx: Context[Any]) -> None:
        """Record the holds before the restore, which takes the earlier ones away."""
        for each in self.desired:
            ctx.timeline.record(EventKind.PREPARED, f"{RESTORED}{self.name}: {each.migration}")

    def check(self, ctx: Context[Any]) -> ObservedState:
        """Compare the holds with those that the database must have. A read before the write may be a stale one."""
        live = read_migration_holds(ctx.cloudflare.d1, self.database_id)
        is_done = {*live} == {*self.desired} and (self.is_sent or not live)
        names = ", ".join(quote_name(each.migration) for each in live) or "no migration"
        return ObservedState(ChangeState.DONE if is_done else ChangeState.PLANNED, f"{self.name} holds {names}")

    def apply(self, ctx: Context[Any]) -> str:
        """Write the holds; repeating it does no harm. Raises NotApplied, CloudflareApiError and UnclearWrite."""
        self.is_sent = True
        ctx.cloudflare.d1.run_batch(self.database_id, [*replace_migration_holds(self.desired)])
        return f"{self.name} holds {', '.join(map(str, self.desired)) or 'no migration'}"


@dataclass(frozen=True, kw_only=True, eq=False)
class WriteMigrationHolds(Step):
    """Write the holds that the database must have after the restore."""

    holds: RestoredHolds

    def check(self, ctx: Context[Any]) -> ObservedState:
        return self.holds.check(ctx)

    def apply(self, ctx: Context[Any]) -> str:
        return self.holds.apply(ctx)


def find_lost_migration_holds(records: Iterable[RunRecord], name: str) -> Iterator[str]:
    """Yield the migrations whose holds an interrupted restore may have taken away from a database, or not written."""
    for run in records:
        for row in run.rows:
            head, found, migration = row.text.partition(f"{RESTORED}{name}: ")
            if row.kind == EventKind.PREPARED and found and not head:
                yield migration
