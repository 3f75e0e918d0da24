"""The guard of a deployment: its database, its result at any moment, and its tools."""

import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from ops.cloudflare.marks import MAX_MESSAGE_BYTES, SchemaMark, without_schema_marks
from ops.core.clock import Clock, format_utc
from ops.core.names import quote_name
from ops.database import row_counts
from ops.database.losses import FileLosses, LossCounts, describe_losses
from ops.database.migrations import MigrationFile

if TYPE_CHECKING:
    from ops.cloudflare.d1 import D1Api
    from ops.config.sections import RowBounds


@dataclass(frozen=True)
class OwnCheck:
    """A SELECT whose first value must be 0."""

    name: str
    sql: str
    expect: int = 0


@dataclass(frozen=True)
class GuardedDatabase:
    name: str
    """Name or binding in the wrangler file, or the name that wrangler gave it."""
    id: str
    """Empty until it is found by its name, if the wrangler file has none."""
    table: str
    """Table of applied migrations."""
    files: tuple[MigrationFile, ...]
    queries: tuple[OwnCheck, ...] = ()
    rows: "Mapping[str, RowBounds]" = field(default_factory=dict)
    wrangler_options: tuple[str, ...] = ()
    """Options with which wrangler finds this database, such as --env."""
    known_as: str = ""
    """Name in the ops.yml of the operations repository."""

    def way_back(self, bookmark: str, at: datetime) -> str:
        """Return the commands that restore a bookmark, with the loss."""
        words = ("npx", "wrangler", "d1", "time-travel", "restore", self.name, "--bookmark", bookmark)
        restore = shlex.join(["ops", "restore-database", "--database", self.known_as or self.name, "--to", bookmark])
        return (
            f"To go back, and lose the writes since {format_utc(at)}: `{restore}`. Without ops.yml: "
            f"`{shlex.join([*words, *self.wrangler_options])}`."
        )


@dataclass
class MigrationGuardResult:
    """What is known of a guard's work, at any moment."""

    database: GuardedDatabase
    pending: tuple[str, ...] = ()
    """Migrations to apply, in order."""
    applied: list[str] = field(default_factory=list)
    """Migrations that this guard applied."""
    last: str = ""
    """Migration that was applied last, by anyone."""
    bookmark: str = ""
    """State right before the first write; empty if there was none."""
    way_back: str = ""
    """Commands that restore the bookmark."""
    losses: tuple[FileLosses, ...] = ()
    """Losses of the pending migrations that their files accept."""
    counts: LossCounts = field(default_factory=lambda: LossCounts({}, {}))
    """Rows before the first write, and those that the migrations lose."""
    rows_after: row_counts.RowCounts = field(default_factory=dict)
    """Counts after all migrations; empty before."""
    warnings: list[str] = field(default_factory=list)

    def describe_rows(self) -> Iterator[str]:
        """Yield the accepted losses, and the counts of rows."""
        for each in self.losses:
            yield f"accepted by {quote_name(each.file)}: {'; '.join(describe_losses(each.losses, self.counts))}"
        if self.rows_after:
            yield f"rows after: {row_counts.describe_changes(self.counts.tables, self.rows_after)}"
        elif self.counts.tables:
            yield f"rows before: {row_counts.describe_counts(self.counts.tables)}"

    @property
    def mark(self) -> SchemaMark:
        """Return the mark for the message of the deployment that follows."""
        return SchemaMark(self.database.id, self.last, tuple(self.applied), self.bookmark)

    def deployment_message(self, text: str) -> str:
        """Return the message for the deployment that follows: the text, cut to the space that the mark leaves.

        A mark that does not fit is left out: the schema is then unknown, and never wrong.
        """
        mark = str(self.mark)
        mark = mark if len(mark) <= MAX_MESSAGE_BYTES else ""
        line = without_schema_marks(text.partition("\n")[0]).strip()
        room = max(0, MAX_MESSAGE_BYTES - len(mark) - 1)
        return f"{line.encode()[:room].decode(errors='ignore')} {mark}".strip()


@dataclass(frozen=True)
class GuardTools:
    """Everything that a guard uses besides the database's description."""

    d1: "D1Api"
    clock: Clock
    run: str
    """Id of the workflow run; empty on a laptop."""
    say: Callable[[str], None]
    writing: Callable[[], AbstractContextManager[None]]
    """Permits writes inside the block."""
    delay: Callable[[], AbstractContextManager[None]]
    """Delays signals to the end of the block: a write gets its answer, and is noted."""
    keep: Callable[[], None]
    """Called before the first write, so that the way back survives a kill."""
