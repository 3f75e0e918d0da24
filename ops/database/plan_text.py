"""Texts of a plan that restores a database: loss, rows, migrations, writers and retention."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ops.core.clock import MAX_CLOCK_SKEW, format_duration, format_utc
from ops.core.names import quote_name
from ops.core.plan import PlanSection
from ops.database.checks import TIME_LIMIT
from ops.database.losses import describe_share, shorten_statement
from ops.database.restore import NOT_COUNTED, DatabaseRestore, describe_loss
from ops.database.state import COUNT_TIMEOUT, MAX_TABLES, RowsAt, TableRows
from ops.database.time_travel import splits_an_apply

if TYPE_CHECKING:
    from ops.config import Environment
    from ops.config.sections import Database

ROWS_SECTION = "Rows at the target"
POINT_SECTION = "Point of the restore"
TAKEN_BACK_SECTION = "Migrations taken back"

APPLIED_AGAIN = (
    "the next deployment applies the migrations again: revert their files first, or let deployments run "
    "`ops hold migrate`, which refuses them"
)
MAX_STATEMENTS, MAX_STATEMENT = 10, 300
"""Statements that a plan shows, and characters of one. A comment shows ten lines of a section."""
CANCELED = "queries and transactions that run at that moment are canceled with an error"
NOT_UNDONE = (
    "rows that were written after the target; the undo brings them back, and removes later ones",
    "anything outside this database: other stores, mails, payments",
)
REUSED_IDS = "new rows get the ids of deleted ones, also with AUTOINCREMENT: old links may lead to them"
KEEP_CODE_ORDER = "with a code rollback, keep this order: maintenance on, code back, data back, maintenance off"


@dataclass(frozen=True)
class WorkerUse:
    """A Worker that uses the database."""

    service: str
    newer_uploads: tuple[str, ...] | None
    """Ids of the versions uploaded after the target; None if its time is unknown."""
    crons: tuple[str, ...] = ()
    handlers: frozenset[str] = frozenset()

    @property
    def writers(self) -> tuple[str, ...]:
        """Return what maintenance does not stop."""
        crons = (f"cron triggers of {self.service}: {', '.join(self.crons)}",) if self.crons else ()
        others = sorted(self.handlers & {"queue", "email"})
        return (*crons, *(f"{handler} handler of {self.service}" for handler in others))


def restore_sections(
    restore: DatabaseRestore,
    uses: Sequence[WorkerUse],
    checks: Sequence[str],
    now: datetime,
    more: Sequence[PlanSection] = (),
) -> tuple[PlanSection, ...]:
    after = [f"{each.service}: {_describe_newer_uploads(each.newer_uploads)} uploaded since" for each in uses]
    sections = (
        PlanSection(POINT_SECTION, tuple(_point_lines(restore, now))),
        PlanSection(TAKEN_BACK_SECTION, tuple(map(str, restore.taken_back)) or ("none",)),
        PlanSection(ROWS_SECTION, tuple(_row_count_lines(restore.before.rows, restore.rows_at_target))),
        PlanSection("Worker versions since the target", tuple(after)),
        *more,
        PlanSection(
            "Checks after the restore", (f"{', '.join(checks)}; at most {format_duration(TIME_LIMIT)} together",)
        ),
    )
    return tuple(each for each in sections if each.lines)


def _describe_newer_uploads(uploads: Sequence[str] | None) -> str:
    if uploads is None:
        return "an unknown number of versions"
    number = len(uploads)
    return "no version" if number == 0 else "1 version" if number == 1 else f"{number} versions"


def _point_lines(restore: DatabaseRestore, now: datetime) -> Iterator[str]:
    yield f"now: bookmark {restore.undo_bookmark}"
    point = restore.point
    more = f", bookmark {restore.bookmark}" if point.at else f", {format_utc(point.moment)}" if point.moment else ""
    yield f"target: {point}{more}"
    yield f"writes lost: {describe_loss(point.moment, now)}"


def _row_count_lines(rows: Mapping[str, TableRows], at_target: Mapping[str, RowsAt]) -> Iterator[str]:
    limit = f"limit: {MAX_TABLES} tables, {format_duration(COUNT_TIMEOUT)} each"
    left = [table for table, each in rows.items() if each.count is None]
    for table in left if len(left) <= MAX_TABLES else []:
        yield f"{quote_name(table)}: {NOT_COUNTED} ({limit})"
    for table, each in rows.items():
        if each.count is not None:
            newest = f", newest {format_utc(each.newest)}" if each.newest else ""
            yield f"{quote_name(table)}: {_describe_deleted(each.count, at_target.get(table))}{newest}"
    if len(left) > MAX_TABLES:
        yield f"{len(left)} more tables, such as {quote_name(left[0])}: {NOT_COUNTED} ({limit})"


def _describe_deleted(total: int, rows: RowsAt | None) -> str:
    """Return how many of the present rows the restore deletes: those that were added after the target."""
    if rows is None:
        return f"{describe_share(None, total)} deleted"
    most = total - rows.certain
    if not rows.undated:
        return f"{describe_share(most, total)} deleted"
    least = most - rows.undated
    share = f"{least} to {describe_share(most, total)}" if least > 0 else describe_share(None, total)
    return f"{share} deleted, {rows.undated} without a readable time"


def statement_lines(statements: Sequence[str], page: str) -> Iterator[str]:
    """Yield the statements of a file without their comments, each on one line; of many or long ones the start.

    `page` is the address of the file; empty if it is unknown.
    """
    shown = statements if len(statements) <= MAX_STATEMENTS else statements[: MAX_STATEMENTS - 1]
    for number, sql in enumerate(shown, start=1):
        text = shorten_statement(sql)
        cut = f"… ({len(sql)} characters)" if len(text) > MAX_STATEMENT else ""
        yield f"{number}: {text[:MAX_STATEMENT]}{cut}"
    if len(shown) < len(statements):
        yield f"{len(statements) - len(shown)} more statements{f': {page}' if page else ''}"


def restore_warnings(restore: DatabaseRestore, uses: Sequence[WorkerUse]) -> Iterator[str]:
    kept, taken_back = restore.kept, restore.taken_back
    if restore.point.moment is None:
        yield "only D1 knows whether this bookmark exists: if it refuses the restore, nothing was changed"
    if splits_an_apply(kept, taken_back):
        names = f"{quote_name(kept[-1].name)} and {quote_name(taken_back[0].name)}"
        yield f"the target lies between {names}, which were applied together"
    if taken_back and not restore.database.guard:
        yield APPLIED_AGAIN
    for use in uses:
        if taken_back and use.newer_uploads:
            yield f"{use.service} may run code that needs them: roll it back, too"
    for writer in (writer for use in uses for writer in use.writers):
        yield f"writes go on: {writer}"


def sharing_warnings(
    environments: "Mapping[str, Environment]", environment: str, database: "Database"
) -> Iterator[str]:
    """Yield a warning for each other environment of ops.yml that has the same database."""
    for other in environments.values():
        for name, each in other.databases.items():
            if each.id == database.id and other.name != environment:
                text = f"{other.name} has the same database, as {name}: {', '.join(each.services)}"
                yield f"{text} stays open, and its data changes too"


def clock_warnings(by_d1: datetime, here: datetime) -> Iterator[str]:
    """Yield a warning if this machine's clock differs from D1's, by which migrations and bookmarks have their times."""
    if abs(here - by_d1) > MAX_CLOCK_SKEW:
        yield f"D1's clock shows {format_utc(by_d1)}, and that of this machine {format_utc(here)}: D1's counts"


def describe_next_deployment(database: "Database", taken_back: Sequence[object]) -> str:
    """Return the last sentence of a run that took migrations back, if no guard refuses them."""
    return APPLIED_AGAIN if taken_back and not database.guard else ""
