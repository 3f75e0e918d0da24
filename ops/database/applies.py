"""Applies: which migrations a guard applied together, and the bookmark before them.

They are rows in the database itself, beside the holds. A restore to before the last apply takes back all of its
migrations, also if they took longer than the rule by time allows. Two more rows name the newest restore and its undo:
by them, a run whose plan is older notices that restore, and a repeated one finds it done.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ops.cloudflare.types.d1 import SqlStatement
from ops.core.clock import format_rfc3339, parse_utc
from ops.core.errors import ProviderError, Reason

if TYPE_CHECKING:
    from ops.cloudflare.d1 import D1Api

TABLE = "backout_applies"
RESTORE = "restore"
"""Name in the row of the newest restore, in the place of a migration: those end in .sql."""
RESTORE_UNDO = "restore-undo"
"""Name in the row with the bookmark that undoes the newest restore."""
CREATE_TABLE = SqlStatement(
    f"CREATE TABLE IF NOT EXISTS {TABLE} (migration TEXT PRIMARY KEY, bookmark TEXT NOT NULL, run TEXT NOT NULL, "
    "at TEXT NOT NULL)"
)

READ_RESTORE = SqlStatement(f"SELECT run FROM {TABLE} WHERE migration = '{RESTORE}'")  # noqa: S608
"""Run of the newest restore. In the batch of another read, it shows whether that read is newer."""


@dataclass(frozen=True)
class RecordedApply:
    bookmark: str
    """State before its first migration; for a restore, its target."""
    run: str
    """Id of the workflow run, which a second attempt has too; for a restore, that of Backout's run."""
    at: str
    """Time of the bookmark, or of the restore: UTC, as RFC 3339."""


def read_applies(d1: "D1Api", database_id: str) -> Mapping[str, RecordedApply]:
    """Return migration → its apply; without rows that no guard writes. Raises ProviderError, also without the table.

    A table of others has no record.
    """
    try:
        (result,) = d1.query(database_id, [SqlStatement(f"SELECT migration, bookmark, run, at FROM {TABLE}")])  # noqa: S608
    except ProviderError as error:
        if error.reason == Reason.PROVIDER_REFUSED and "no such column" in error.message:
            return {}
        raise
    applies = {
        str(row["migration"]): RecordedApply(*(str(row[name] or "") for name in ("bookmark", "run", "at")))
        for row in result.rows
    }
    return {name: each for name, each in applies.items() if _is_apply_record(each)}


def _is_apply_record(apply: RecordedApply) -> bool:
    """Return whether a guard can have written it: everyone who may write the database can write a row."""
    try:
        parse_utc(apply.at)
    except ValueError:
        return False
    return re.fullmatch("[0-9a-f-]{1,80}", apply.bookmark) is not None


def record_apply(names: Iterable[str], apply: RecordedApply) -> Iterator[SqlStatement]:
    """Yield the batch that records migrations as one apply, before they are applied; it may run twice."""
    yield CREATE_TABLE
    sql = f"INSERT OR REPLACE INTO {TABLE} (migration, bookmark, run, at) VALUES (?, ?, ?, ?)"  # noqa: S608
    yield from (SqlStatement(sql, (name, apply.bookmark, apply.run, apply.at)) for name in names)


def make_apply(bookmark: str, run: str, now: datetime) -> RecordedApply:
    return RecordedApply(bookmark, run, format_rfc3339(now))
