"""D1 databases, and SQL on them as the API runs it (developers.cloudflare.com/d1)."""

import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sandbox.clock import FakeClock

Statement = tuple[str, Sequence[Any]]
"""SQL, and the values of its question marks."""
Query = Callable[[str, Sequence[Statement]], list[dict[str, Any]]]
"""Runs statements on the database with that ID as one transaction; returns a result per statement. Raises SqlError."""

_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)


class SqlError(Exception):
    """SQLite rejected the statements; nothing was changed."""


@dataclass(frozen=True, kw_only=True)
class FakeDatabase:
    id: str
    name: str
    created_on: datetime
    imports: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Bookmark → result of an import."""


class D1Databases:
    """The D1 databases of an account. The runtime sets `query`, so that Workers see the same data."""

    query: Query

    def __init__(self, clock: FakeClock, new_id: Callable[[], UUID]) -> None:
        self._clock = clock
        self._new_id = new_id
        self.databases: dict[str, FakeDatabase] = {}
        self.files: dict[str, bytes] = {}
        """File name → content of a file uploaded for an import."""

    def add(self, name: str, id: str | None = None) -> str:  # noqa: A002
        """Add a database and return its ID. It is empty unless Workers wrote to that ID before."""
        id_ = id or str(self._new_id())
        self.databases[id_] = FakeDatabase(id=id_, name=name, created_on=self._clock.now())
        return id_

    def find(self, id_or_name: str) -> FakeDatabase | None:
        found = (each for each in self.databases.values() if id_or_name in {each.id, each.name})
        return next(found, None)


class InMemoryDatabases:
    """Databases in this process, for a runtime that runs no code."""

    def __init__(self) -> None:
        self._connections: dict[str, sqlite3.Connection] = {}

    def query(self, database: str, statements: Sequence[Statement]) -> list[dict[str, Any]]:
        if database not in self._connections:
            self._connections[database] = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        connection = self._connections[database]
        connection.execute("BEGIN")
        try:
            results = [_result(connection, sql, params) for sql, params in statements]
        except sqlite3.Error as error:
            connection.execute("ROLLBACK")
            raise SqlError(f"{error}: SQLITE_ERROR") from None
        connection.execute("COMMIT")
        return results

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()


def split_statements(sql: str) -> Iterator[str]:
    """Yield the statements of a text, except those with only a comment."""
    statement = ""
    for part in sql.split(";"):
        statement += f"{part};"
        if sqlite3.complete_statement(statement):
            if _COMMENT.sub("", statement).strip(" \n\r\t;"):
                yield statement.strip()
            statement = ""
    if _COMMENT.sub("", statement).strip(" \n\r\t;"):
        yield statement.strip()


def _result(connection: sqlite3.Connection, sql: str, params: Sequence[Any]) -> dict[str, Any]:
    # developers.cloudflare.com/d1/worker-api/return-object
    before = connection.total_changes
    cursor = connection.execute(sql, params)
    names = [column[0] for column in cursor.description or ()]
    rows = [dict(zip(names, row, strict=True)) for row in cursor]
    changes = connection.total_changes - before
    meta = {"changed_db": changes > 0, "changes": changes, "last_row_id": cursor.lastrowid or 0, "duration": 0.1}
    return {"results": rows, "success": True, "meta": {**meta, "rows_read": len(rows), "rows_written": changes}}
