"""D1 databases, results of SQL, and restores, as Cloudflare's API returns them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ops.core.clock import format_utc
from ops.core.names import quote_name

_BOOKMARK = re.compile("[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{32}")

SqlValue = str | int | float | list[int] | None
"""Value of a column. A list holds the bytes of a BLOB; numbers have the precision of JavaScript."""


@dataclass(frozen=True)
class SqlStatement:
    sql: str
    params: tuple[str, ...] = ()
    """Values of the question marks. The API takes texts only."""


def is_bookmark(text: str) -> bool:
    """Return whether a text has the form of a bookmark: session, place in it, day and hash."""
    return _BOOKMARK.fullmatch(text) is not None


def session_of(bookmark: str) -> str:
    """Return the first part of a bookmark, which a restore changes."""
    return bookmark.partition("-")[0]


def quote_identifier(name: str) -> str:
    """Return the name of a table or column for SQL."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, kw_only=True)
class SqlResult:
    """Result of one statement."""

    rows: tuple[Mapping[str, SqlValue], ...]
    changes: int
    """Number of changed rows, as SQLite counts them."""
    duration_ms: float
    """Time in the database, without the network."""
    size_after: int | None
    """Bytes of the database afterwards; None if Cloudflare does not say so."""


@dataclass(frozen=True, kw_only=True)
class D1Database:
    id: str
    name: str
    """People choose it, so it is untrusted text."""
    created_on: datetime
    size: int | None
    """Bytes; None if Cloudflare does not say so."""
    has_replicas: bool
    """Whether read replication is on."""


@dataclass(frozen=True)
class D1Restore:
    """Answer to a restore."""

    bookmark: str
    """State after the restore."""
    previous_bookmark: str
    """State before the restore; restoring it undoes the restore."""


@dataclass(frozen=True)
class Migration:
    """An applied migration, as the table of migrations names it."""

    name: str
    applied_at: datetime
    """UTC, in whole seconds."""
    apply: str = field(default="", compare=False)
    """The guard's bookmark before the apply to which it belongs; empty if the guard did not apply it."""

    def __str__(self) -> str:
        return f"{quote_name(self.name)}, applied {format_utc(self.applied_at)}"
