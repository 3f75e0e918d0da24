"""Send a restore once, and see whether it took effect.

A bookmark that is read after a restore proves nothing: it may still be the one from before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ops.cloudflare.types.d1 import D1Restore, Migration, session_of
from ops.core.clock import format_rounded_up
from ops.core.errors import ProviderError, UnclearWrite
from ops.core.names import quote_name
from ops.core.threads import run_parallel_mixed
from ops.core.timeline import EventKind
from ops.core.verdict import Verdict
from ops.database.applies import RESTORE, RESTORE_UNDO, TABLE, RecordedApply, make_apply, record_apply
from ops.database.checks import DatabaseCheckResult
from ops.database.state import (
    MAX_TABLES,
    DatabaseState,
    RowsAt,
    TableRows,
    count_rows_at,
    read_agreeing_state,
    read_database_clock,
    read_state,
)
from ops.database.time_travel import RestorePoint
from ops.engine.context import Context
from ops.engine.step import ChangeState, ObservedState

if TYPE_CHECKING:
    from ops.config.sections import Database

READS_AFTER_UNCLEAR = 4
"""Reads that must show the state from before, until a restore without an answer counts as not applied."""
READS_WITHOUT_DIFFERENCE = 3
"""Reads that must show the state from before, until an answered restore counts as one without a visible difference."""
ROW_TIMEOUT = 10.0
"""Seconds to wait for the row of a restore, which may be missing."""
NOT_COUNTED = "not counted"
TAKEN_BACK = "migrations taken back"
"""Name of the check of a restore that the checks of its database do not have."""
PLANNED_PREFIX = "D1 database "
"""Start of the summary of a plan, before the name."""
UNDO_PREFIX = "undo of the restore of "
"""Start of the event right before a restore is sent."""
TARGET_PREFIX = "target of the restore of "
"""Start of the event before that one. A later run finds there whether it repeats the restore."""
ANSWERED = "Cloudflare restored "
"""Start of the event of a restore that D1 answered."""
NO_ROW = "another run with an older plan may not notice this restore"
"""Start of the event after a restore that left no row."""


@dataclass
class DatabaseRestore:
    """The restore of a plan, and what is known of it."""

    name: str
    """Name of the database in ops.yml."""
    database: "Database"
    point: RestorePoint
    bookmark: str
    """Target."""
    before: DatabaseState
    planned_at: datetime
    undo_bookmark: str
    """State right before the restore, as it was read last; the answer replaces it."""
    taken_back: Sequence[Migration] = ()
    rows_at_target: Mapping[str, RowsAt] = field(default_factory=dict)
    """Table → its rows at the target, where a column tells it."""
    is_closed: bool = False
    """Whether maintenance keeps every known writer away while the restore runs."""
    sent: bool = False
    answer: D1Restore | None = None
    is_unclear: bool = False
    """Whether an attempt got no answer."""
    reads: int = 0
    """Reads since the last attempt."""
    after: DatabaseState | None = None
    row: RecordedApply | None = None
    """Row that this restore left in the database."""
    applied_again: str = ""
    """First migration that it took back, and that somebody applied again since."""

    @property
    def latest(self) -> datetime:
        """Return the latest time at which a migration of the target was applied."""
        return self.point.moment or self.planned_at

    @property
    def expected(self) -> Mapping[str, int]:
        """Return table → number of rows at the target, where the column of each row tells it."""
        return {table: rows.certain for table, rows in self.rows_at_target.items() if not rows.undated}

    @property
    def kept(self) -> tuple[Migration, ...]:
        """Return the migrations that remain applied."""
        return tuple(each for each in self.before.migrations if each not in self.taken_back)


def check_restore(ctx: Context[Any], restore: DatabaseRestore) -> ObservedState:
    """Compare before the restore, and read the current bookmark as its undo; afterwards find out whether it is done."""
    d1 = ctx.cloudflare.d1
    now = _read_restored_state(ctx, restore)
    if restore.sent:
        restore.after, restore.reads = now, restore.reads + 1
        return _settle_restore(restore, now)
    if now.structure != restore.before.structure:
        text = f"the schema or the migrations of {restore.name} changed"
        return ObservedState(ChangeState.CHANGED_ELSEWHERE, text)
    if now.restored != restore.before.restored:
        return ObservedState(ChangeState.CHANGED_ELSEWHERE, _describe_rival(restore.name, now.restored))
    restore.before, restore.undo_bookmark = now, d1.read_bookmark(restore.database.id)
    text = f"{restore.name} has the planned schema and migrations; bookmark {restore.undo_bookmark}"
    return ObservedState(ChangeState.PLANNED, text)


def read_loss(ctx: Context[Any], restore: DatabaseRestore) -> tuple[datetime, Mapping[str, RowsAt]]:
    """Return D1's time, and table → its present rows that were there at the target, where that can be counted."""
    d1, moment = ctx.cloudflare.d1, restore.point.moment
    at, rows = run_parallel_mixed(
        [
            lambda: read_database_clock(d1, restore.database.id),
            lambda: count_rows_at(d1, restore.database, restore.before, moment) if moment else {},
        ]
    )
    return at, rows


def _describe_rival(name: str, row: RecordedApply | None) -> str:
    if row is None:
        return f"{name} was probably restored by something else: {TABLE} no longer names the last restore"
    return f"another run restored {name}: {quote_name(row.run)} at {quote_name(row.at)}"


def _read_restored_state(ctx: Context[Any], restore: DatabaseRestore) -> DatabaseState:
    """Return the present state. In maintenance, counts are exact only if two reads agree; else something writes."""
    d1, name = ctx.cloudflare.d1, restore.name
    uncounted = [table for table, rows in restore.before.rows.items() if rows.count is None]
    if not restore.is_closed or (restore.sent and restore.answer is None):
        return read_state(d1, restore.database, uncounted)
    now, restore.is_closed = read_agreeing_state(d1, restore.database, uncounted)
    if not restore.is_closed:
        ctx.timeline.record(EventKind.WARNING, f"{name} changes in maintenance, so its counts are a minimum")
    return now


def send_restore(ctx: Context[Any], restore: DatabaseRestore) -> str:
    """Record target and undo, then send the restore.

    Raises:
        NotApplied, CloudflareApiError: nothing was changed.
        UnclearWrite: it is unknown whether D1 restored the state.
    """
    takes_back = f"; takes back {restore.taken_back[-1].name}" if restore.taken_back else ""
    text = f"{TARGET_PREFIX}{restore.name}: bookmark {restore.bookmark}{takes_back}"
    ctx.timeline.record(EventKind.PREPARED, text)
    ctx.timeline.record(EventKind.PREPARED, f"{UNDO_PREFIX}{restore.name}: bookmark {restore.undo_bookmark}")
    restore.sent, restore.reads = True, 0
    try:
        restore.answer = ctx.cloudflare.d1.restore(restore.database.id, restore.bookmark)
    except UnclearWrite:
        restore.is_unclear = True
        raise
    except ProviderError:
        restore.sent = restore.is_unclear
        raise
    if not restore.is_unclear:  # after an unclear attempt, this may be the restored state already
        read, restore.undo_bookmark = restore.undo_bookmark, restore.answer.previous_bookmark
        if session_of(read) != session_of(restore.undo_bookmark):
            text = f"{restore.name} had another restore since its last read, or D1 named an old bookmark then"
            ctx.timeline.record(EventKind.WARNING, f"{text}. The state of that read is bookmark {read}")
    leave_row(ctx, restore)
    return f"{ANSWERED}{restore.name} to {restore.point}; undo: bookmark {restore.undo_bookmark}"


def leave_row(ctx: Context[Any], restore: DatabaseRestore) -> None:
    """Record the restore and its undo in the database, unless that is done: a later run reads them before its own one.

    A failure is a warning.
    """
    if restore.row is not None:
        return
    row = make_apply(restore.bookmark, ctx.run_id, ctx.clock.now())
    rows = [*record_apply([RESTORE], row), *record_apply([RESTORE_UNDO], replace(row, bookmark=restore.undo_bookmark))]
    try:
        ctx.cloudflare.d1.run_batch(restore.database.id, rows, timeout=ROW_TIMEOUT)
        restore.row = row
    except ProviderError as error:
        ctx.timeline.record(EventKind.WARNING, f"{NO_ROW}: {error.message}")


def _settle_restore(restore: DatabaseRestore, now: DatabaseState) -> ObservedState:
    before, name = restore.before, restore.name
    if _has_newer_row(restore.row, now.restored):
        return ObservedState(ChangeState.CHANGED_ELSEWHERE, _describe_rival(name, now.restored))
    if any(each.applied_at > restore.latest for each in now.migrations if each not in before.migrations):
        return ObservedState(ChangeState.CHANGED_ELSEWHERE, f"a newer migration was applied to {name}")
    if now.migrations != before.migrations:
        return _restore_done(restore, now)
    if restore.taken_back:
        text = f"{name} still has the migrations that the restore takes back"
        waits = restore.answer is None and restore.reads < READS_AFTER_UNCLEAR
        return ObservedState(ChangeState.PLANNED, text, is_uncertain=waits)
    if restore.answer is not None:
        is_stale = restore.reads < READS_WITHOUT_DIFFERENCE and (now.schema, now.counts) == (
            before.schema,
            before.counts,
        )
        text = f"{name} shows no difference yet"
        return ObservedState(ChangeState.PLANNED, text) if is_stale else _restore_done(restore, now)
    if _differs_by_restore(restore, now):
        return _restore_done(restore, now)
    text = f"neither schema, migrations nor rows of {name} show whether the restore took effect"
    return ObservedState(ChangeState.PLANNED, text, is_uncertain=True)


def _has_newer_row(own: RecordedApply | None, live: RecordedApply | None) -> bool:
    """Return whether another run restored after this one. A stale read shows an older row, or none."""
    return own is not None and live is not None and live.run != own.run and live.at >= own.at


def _differs_by_restore(restore: DatabaseRestore, now: DatabaseState) -> bool:
    """Return whether only the restore explains the present rows or schema."""
    before, rows, planned = restore.before.counts, now.counts, restore.expected
    is_at_target = all(rows.get(table) == number for table, number in planned.items())
    loses_rows = any(number < before.get(table, number) for table, number in planned.items())
    differs = any(rows[table] != before[table] for table in rows.keys() & before.keys())
    return (loses_rows and is_at_target) or (restore.is_closed and (differs or now.schema != restore.before.schema))


def _restore_done(restore: DatabaseRestore, now: DatabaseState) -> ObservedState:
    text = f"{restore.name} shows the restored state; {'; '.join(describe_difference(restore, now))}"
    return ObservedState(ChangeState.DONE, text)


def describe_difference(restore: DatabaseRestore, now: DatabaseState) -> list[str]:
    """Return a line for each table whose number of rows differs. Updated and deleted rows are not counted."""
    before, after = restore.before.rows, now.rows
    tables, uncounted = [], []
    for table in sorted({*before, *after}):
        was, is_now = before.get(table, TableRows(0)).count, after.get(table, TableRows(0)).count
        if was is None or is_now is None:
            uncounted.append(table)
        elif was != is_now:
            gone = "removed" if was > is_now else "added"
            how_many = f"{abs(was - is_now)} rows {gone}"
            how_many = how_many if restore.is_closed else f"at least {how_many}"
            tables.append(f"{quote_name(table)}: {was} → {is_now} rows, {how_many}")
    few = len(uncounted) <= MAX_TABLES
    names = list(map(quote_name, uncounted)) if few else [f"{len(uncounted)} tables"]
    left = [f"{name}: {NOT_COUNTED}" for name in names]
    more = [f"{len(tables) - MAX_TABLES} more tables differ"] if len(tables) > MAX_TABLES else []
    shown = [*tables[:MAX_TABLES], *more, *left] or ["no table has another number of rows"]
    return [*shown, "updated and deleted rows are not counted"]


def describe_loss(at: datetime | None, now: datetime) -> str:
    """Describe the time whose writes a restore to this time loses, rounded up."""
    if at is None:
        return "unknown: a bookmark has no time"
    seconds = (now - at).total_seconds()
    return format_rounded_up(seconds) if seconds >= 60 else "less than 1 min"


def check_taken_back(ctx: Context[Any], restore: DatabaseRestore) -> tuple[DatabaseCheckResult, ...]:
    """Check that the migrations stay taken back: a deployment may apply them again before they are held."""
    if not (restore.sent and restore.taken_back):
        return ()
    taken_back = {each.name for each in restore.taken_back}
    try:
        applied = ctx.cloudflare.d1.list_migrations(restore.database.id, restore.database.migrations_table)
    except ProviderError as error:
        return (DatabaseCheckResult(TAKEN_BACK, Verdict.INCONCLUSIVE, error.message),)
    again = [each.name for each in applied if each.name in taken_back]
    restore.applied_again = next(iter(again), "")
    text = f"{', '.join(map(quote_name, again))} applied again after the restore" if again else ""
    return (DatabaseCheckResult(TAKEN_BACK, Verdict.UNHEALTHY if again else Verdict.HEALTHY, text),)
