"""Terms that a second person approves, and the command that restores."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from ops.core.approval import ASK_AGAIN, ApprovalTerms
from ops.core.clock import format_rfc3339
from ops.core.errors import Reason, Refused
from ops.core.next_step import SuggestedCommand, build_gh_command
from ops.core.plan import PlanSection
from ops.database.plan_text import WorkerUse
from ops.database.restore import DatabaseRestore, read_loss
from ops.database.revert import MigrationRevert
from ops.database.state import RowsAt
from ops.engine.context import Context
from ops.engine.step import Step

LOSS_SECTION = "Greatest loss"

RESTORE = "restore-database"
PLAN_AGAIN = "Start the same command again: its new plan has the present numbers. Read it before you confirm."


def restore_terms(
    restore: DatabaseRestore,
    options: Mapping[str, str],
    changes: Sequence[Step],
    uses: Sequence[WorkerUse],
    now: datetime,
) -> ApprovalTerms:
    """Return the terms of a restore, with an absolute target.

    `options` are the other parameters. Bookmark and counts change with every write, so they are no part.
    """
    point = restore.point
    to = format_rfc3339(point.at) if point.at else point.bookmark
    settling = sum(each.wait_after for each in changes)
    return ApprovalTerms(
        params={"database": restore.name, "to": to, **options},
        content=(
            restore.database.id,
            to,
            *(f"change {each.target}" for each in changes),
            *(f"migration {each.name}" for each in restore.taken_back),
            *(f"version {upload}" for use in uses for upload in sorted(use.newer_uploads or ())),
        ),
        target=f"the restore of {restore.name} to {point}",
        lost_seconds=int((now - point.moment).total_seconds() + settling) if point.moment else None,
        lost_rows=_restore_rows(restore, restore.rows_at_target),
    )


def _restore_rows(restore: DatabaseRestore, at_target: Mapping[str, RowsAt]) -> dict[str, int | None]:
    """Return table → rows that the restore removes at most; None if it was not counted in time.

    A table without `created` is left out: its number is never known.
    """
    tables = [table for table in restore.before.rows if table in restore.database.created]
    return {table: at_target[table].added if table in at_target else None for table in tables}


def refuse_restore_growth(
    ctx: Context[Any], restore: DatabaseRestore, planned: ApprovalTerms, *, is_closed: bool
) -> None:
    """Count the rows that the restore loses again. Raises Refused if people accepted fewer, or less time.

    `is_closed`: maintenance is on, so that time loses no writes.
    """
    at, rows = read_loss(ctx, restore)
    limit, lost, seconds = planned.limit, _restore_rows(restore, rows), planned.lost_seconds
    if is_closed or seconds is None:
        refuse_growth(ctx, limit.find_more_rows(lost))
    else:
        refuse_growth(ctx, limit.find_growth(seconds + int((at - restore.planned_at).total_seconds()), lost))


def revert_terms(revert: MigrationRevert, reason: str) -> ApprovalTerms:
    """Return the terms of a revert: the migration, each statement of its down file, and the content that is held."""
    name, down = revert.migration.name, revert.down
    return ApprovalTerms(
        params={"database": revert.name, "name": name, **({"reason": reason} if reason else {})},
        content=(
            *(revert.database.id, name, *down.statements, f"held content {revert.hold.hash}"),
            *(f"version {upload}" for upload in sorted(revert.newer_uploads)),
        ),
        target=f"the revert of {name} on {revert.name}",
        lost_rows=revert_rows(revert),
        uncounted="the rows and columns that its down file deletes",
    )


def revert_rows(revert: MigrationRevert) -> dict[str, int | None]:
    """Return table → rows that the down file loses at most, as they were counted last; None if that is unknown."""
    losses, counts = revert.down.all_losses, revert.down.counts
    return {table: counts.find_most(losses, table) for table in dict.fromkeys(each.origin for each in losses)}


def limit_section(ctx: Context[Any], terms: ApprovalTerms) -> tuple[PlanSection, ...]:
    """Return the section with the greatest loss; none after an approval, whose request has the number that counts."""
    if ctx.request.approval:
        return ()
    return (PlanSection(LOSS_SECTION, (f"{terms.limit.describe(terms.uncounted)}: a run that finds more stops",)),)


def refuse_growth(ctx: Context[Any], growth: str) -> None:
    """Raise Refused for a loss that exceeds its limit; `growth` describes it, and is empty without one."""
    if growth:
        raise Refused(growth, reason=Reason.LOSS_GREW, hint=ASK_AGAIN if ctx.request.approval else PLAN_AGAIN)


def suggest_restore(
    ctx: Context[Any], database: str, to: str, accept_loss_since: str = "", accept_not_kept: str = ""
) -> SuggestedCommand:
    """Return the button and the command; with `two_people: strict`, that of the button.

    One person alone is no default: the command has --one-person only if the command of this run had it.
    """
    more = {"accept_loss_since": accept_loss_since, "accept_not_kept": accept_not_kept}
    asked = {"database": database, "to": to, **{name: value for name, value in more.items() if value}}
    if ctx.environment.database(database).two_people == "strict":
        where = {"environment": ctx.environment.name, "incident": ctx.request.incident}
        command = build_gh_command(RESTORE, {**asked, **where})
    else:
        alone = {"one_person": True} if getattr(ctx.params, "one_person", False) else {}
        command = ctx.suggest(RESTORE, **asked, **alone).command
    return replace(ctx.suggest(RESTORE, **asked), command=command)
