"""D1 databases of an account (developers.cloudflare.com/d1).

API and Workers share this data: a D1 binding on the workerd edge sends its queries here
(`sandbox/edge/workerd/options.py`).
"""

import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from sandbox.clock import FakeClock
from sandbox.cloudflare.d1.sqlite import D1Sqlite, SqlError, Statement, StatementResult
from sandbox.cloudflare.d1.time_travel import History, RecordedState
from sandbox.switches import Switches

T = TypeVar("T")
EXPORT_BLOCKS = timedelta(seconds=30)
"""Time of the sandbox's clock after which an export that is not polled is canceled."""
_RESET = "Internal error in D1 DB storage caused object to be reset."
_EXPORTING = "Currently processing a long-running export."


@dataclass(frozen=True, kw_only=True)
class QueryAnswer:
    results: list[StatementResult]
    bytes_after: int
    by_primary: bool = True


@dataclass(frozen=True, kw_only=True)
class RestoreAnswer:
    bookmark: str
    """Of the state after the restore."""
    previous_bookmark: str


def _begins_as_read(statement: Statement) -> bool:
    """Return whether a statement may be a read; a write on a stale state could fail there, and would not tell."""
    return statement[0].lstrip().upper().startswith(("SELECT", "WITH", "PRAGMA", "EXPLAIN", "VALUES"))


class DatabaseStore:
    """Content and history of a database. It runs one query after the other."""

    def __init__(
        self,
        id: str,  # noqa: A002
        clock: FakeClock,
        switches: Switches,
        record: Callable[[str, str, StatementResult], None] = lambda *_: None,
    ) -> None:
        """`record` gets the ID of the database, and each statement that ran with its result."""
        self._id = id
        self._clock = clock
        self._switches = switches
        self._record = record
        self._lock = threading.Lock()
        self._at: datetime | None = None
        """Time of a backdated write while it runs."""
        self._sqlite = D1Sqlite(self._now)
        self._restores = 0
        self._stale_reads = 0
        """Number of coming reads through the API that still see the state before the latest change."""
        self.history = History(id, self._sqlite.content(), self._now, switches)
        self.exporting_since: datetime | None = None
        self.has_replicas = False
        """Whether read replication is on."""

    def run(self, statements: Sequence[Statement], *, at: datetime | None = None) -> QueryAnswer:
        """Run the statements as one transaction. `at` backdates it without moving the clock.

        Raises:
            SqlError: a statement was refused or failed, a restore canceled it, or an export is running.
        """
        seen = self._restores
        with self._lock:
            self._sqlite.allow()  # a restore counts itself before it cancels, so this look misses none
            if self._restores != seen:
                raise SqlError(_RESET)
            if self._is_exporting():
                raise SqlError(_EXPORTING)
            self._at = at
            try:
                return self._run(statements)
            finally:
                self._at = None

    def run_through_api(self, statements: Sequence[Statement]) -> QueryAnswer:
        """Run the statements as `run` does, or on a stale state if they only read (switch `d1_stale_reads`)."""
        with self._lock:  # parallel reads count down together
            if self._stale_reads > 0 and len(self.history.states) > 1 and all(map(_begins_as_read, statements)):
                try:
                    stale = self.read(statements, self._before_latest_change())
                except SqlError:
                    self._stale_reads -= 1
                    raise
                if stale is not None:
                    self._stale_reads -= 1
                    return stale
        return self.run(statements)

    def run_in_session(self, statements: Sequence[Statement], bookmark: str) -> QueryAnswer:
        """Run the statements on a replica that lags, if there is one and they only read; else as `run` does.

        The replica is never older than the bookmark of the session
        (developers.cloudflare.com/d1/best-practices/read-replication).
        """
        lagging = self._clock.now() - timedelta(seconds=self._switches.d1_replica_lag_seconds)
        arrived = [state for state in self.history.states if state.at <= lagging] or self.history.states[:1]
        state = arrived[-1]
        if not self.has_replicas or bookmark > state.bookmark:
            return self.run(statements)
        return self.read(statements, state, by_primary=False) or self.run(statements)

    def read(
        self, statements: Sequence[Statement], state: RecordedState | None = None, *, by_primary: bool = True
    ) -> QueryAnswer | None:
        """Run the statements on a copy of a state, by default the current one. None if they could write.

        Raises:
            SqlError: a statement was refused or failed.
        """
        state = state or self.history.current
        with closing(D1Sqlite(self._clock.now, state.content)) as copy:
            results = copy.run(statements)
            written = copy.wrote
        return None if written else QueryAnswer(results=results, bytes_after=state.size, by_primary=by_primary)

    def restore(self, target: RecordedState) -> RestoreAnswer:
        """Bring a state back. Queries that run or wait are canceled.

        Raises:
            TimeTravelError: there were too many restores.
        """
        self.history.check_restores()
        self._restores += 1
        self._sqlite.cancel()
        with self._lock:
            previous, new = self.history.restore(target)
            self._sqlite.replace(target.content)
            self._stale_reads = self._switches.d1_stale_reads
        return RestoreAnswer(bookmark=new.bookmark, previous_bookmark=previous.bookmark)

    def inspect(self, read: Callable[[D1Sqlite], T]) -> T:
        """Return the result of `read`, which may change nothing. No query runs meanwhile."""
        with self._lock:
            try:
                return read(self._sqlite)
            except sqlite3.OperationalError:  # a restore canceled the queries that it met, and this one
                return read(self._sqlite)

    def close(self) -> None:
        self._sqlite.cancel()
        with self._lock:
            self._sqlite.close()

    def _run(self, statements: Sequence[Statement]) -> QueryAnswer:
        results = self._sqlite.run(statements)
        for (sql, _), result in zip(statements, results, strict=True):
            self._record(self._id, sql, result)
        if self._sqlite.wrote:
            before = self.history.current
            if self.history.record(self._sqlite.content()) is not before:
                self._stale_reads = self._switches.d1_stale_reads
        return QueryAnswer(results=results, bytes_after=self.history.current.size)

    def _now(self) -> datetime:
        return self._at or self._clock.now()

    def _is_exporting(self) -> bool:
        since = self.exporting_since
        return since is not None and self._clock.now() - since < EXPORT_BLOCKS

    def _before_latest_change(self) -> RecordedState:
        """Return the state before the current one; a restore added two."""
        current = self.history.current
        return self.history.states[current.number - (1 if current.restored is None else 2)]


@dataclass(frozen=True, kw_only=True)
class FakeDatabase:
    id: str
    name: str
    created_on: datetime
    store: DatabaseStore
    jurisdiction: str | None = None
    region: str = "WEUR"
    transfers: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Bookmark → final answer of an import or export."""


class D1Databases:
    """The D1 databases of an account."""

    def __init__(
        self,
        clock: FakeClock,
        switches: Switches,
        new_id: Callable[[], UUID],
        record: Callable[[str, str, StatementResult], None],
    ) -> None:
        self._record = record
        self._clock = clock
        self._switches = switches
        self._new_id = new_id
        self._lock = threading.Lock()
        self._stores: dict[str, DatabaseStore] = {}
        self.databases: dict[str, FakeDatabase] = {}
        self.files: dict[str, bytes] = {}
        """File name → content of a file uploaded for an import, or made by an export."""

    def add(self, name: str, id: str | None = None, *, at: datetime | None = None, **fields: Any) -> str:  # noqa: A002
        """Add a database and return its ID. It is empty unless Workers wrote to that ID before."""
        id_ = id or str(self._new_id())
        created = at or self._clock.now()
        self.databases[id_] = FakeDatabase(id=id_, name=name, created_on=created, store=self.store(id_), **fields)
        return id_

    def find(self, id_or_name: str) -> FakeDatabase | None:
        found = (each for each in list(self.databases.values()) if id_or_name in {each.id, each.name})
        return next(found, None)

    def delete(self, database: FakeDatabase) -> None:
        """Delete a database with its history."""
        del self.databases[database.id]
        with self._lock:
            self._stores.pop(database.id).close()

    def store(self, id: str) -> DatabaseStore:  # noqa: A002
        """Return the content of a database, also of one that only a Worker's binding names."""
        with self._lock:
            if id not in self._stores:
                self._stores[id] = DatabaseStore(id, self._clock, self._switches, self._record)
            return self._stores[id]

    def query(self, id: str, sql: str, *params: Any, at: datetime | None = None) -> list[dict[str, Any]]:  # noqa: A002
        """Run one statement and return its rows. `at` backdates it without moving the clock. Raises SqlError."""
        return self.store(id).run([(sql, params)], at=at).results[-1].objects()

    def close(self) -> None:
        for store in self._stores.values():
            store.close()
