"""Terms of a restore that a second person approves."""

from collections.abc import Sequence
from datetime import datetime

from ops.core.approval_request import ApprovalTerms
from ops.core.clock import format_rfc3339
from ops.core.plan import Change
from ops.database.plan_text import WorkerUse
from ops.database.restore import DatabaseRestore


def build_terms(
    restore: DatabaseRestore, reason: str, changes: Sequence[Change], uses: Sequence[WorkerUse], now: datetime
) -> ApprovalTerms:
    """Return the terms, with an absolute target. Bookmark and counts change with every write, so they are no part."""
    point, counts = restore.point, restore.before.counts
    to = format_rfc3339(point.at) if point.at else point.bookmark
    settling = sum(each.wait_after for each in changes)
    lost = {table: counts[table] - then for table, then in restore.expected.items() if counts.get(table, 0) > then}
    return ApprovalTerms(
        params={"database": restore.name, "to": to, **({"reason": reason} if reason else {})},
        content=(
            restore.database.id,
            to,
            *(f"change {each.target}" for each in changes),
            *(f"migration {each.name}" for each in restore.taken_back),
            *(f"version {upload}" for use in uses for upload in sorted(use.newer_uploads or ())),
        ),
        target=f"{restore.name} to {point}",
        lost_seconds=int((now - point.moment).total_seconds() + settling) if point.moment else None,
        lost_rows=lost,
    )
