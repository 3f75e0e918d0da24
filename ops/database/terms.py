"""Terms that a second person approves, and the command that restores."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from ops.core.approval import ApprovalTerms
from ops.core.clock import format_rfc3339
from ops.core.next_step import SuggestedCommand, build_gh_command
from ops.database.plan_text import WorkerUse
from ops.database.restore import DatabaseRestore
from ops.database.revert import MigrationRevert
from ops.engine.context import Context
from ops.engine.step import Step

RESTORE = "restore-database"


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
    point, counts = restore.point, restore.before.counts
    to = format_rfc3339(point.at) if point.at else point.bookmark
    settling = sum(each.wait_after for each in changes)
    certain = {table: rows.certain for table, rows in restore.rows_at_target.items()}
    lost = {table: counts[table] - then for table, then in certain.items() if counts.get(table, 0) > then}
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
        lost_rows=lost,
    )


def revert_terms(revert: MigrationRevert, reason: str) -> ApprovalTerms:
    """Return the terms of a revert: the migration, each statement of its down file, and the content that is held."""
    name, down = revert.migration.name, revert.down
    lost = dict.fromkeys(each.origin for each in down.all_losses)
    return ApprovalTerms(
        params={"database": revert.name, "name": name, **({"reason": reason} if reason else {})},
        content=(
            *(revert.database.id, name, *down.statements, f"held content {revert.hold.hash}"),
            *(f"version {upload}" for upload in sorted(revert.newer_uploads)),
        ),
        target=f"the revert of {name} on {revert.name}",
        lost_rows={table: most for table in lost if (most := down.counts.find_most(down.all_losses, table))},
        uncounted="the rows and columns that its down file deletes",
    )


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
