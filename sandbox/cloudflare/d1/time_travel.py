"""Time Travel: every state of a D1 database with its bookmark.

developers.cloudflare.com/d1/reference/time-travel
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sandbox.switches import Switches

_PAGE_BYTES = 4096
_END = 0xFFFFFFFF
"""Position of the last state of a session, as in the bookmarks that a restore names as `previous_bookmark`."""
MAX_RESTORES, RESTORES_WITHIN = 10, timedelta(minutes=10)
"""developers.cloudflare.com/d1/platform/limits"""


class TimeTravelError(Exception):
    """The bookmark, the time or the restore is refused; nothing was changed."""


@dataclass(frozen=True, kw_only=True)
class RecordedState:
    number: int
    """Index in the history."""
    bookmark: str
    at: datetime
    pages: tuple[bytes, ...]
    """Content of the database; states share the pages that are equal."""
    restored: int | None = None
    """Number of the state that a restore brought back."""

    @property
    def content(self) -> bytes:
        return b"".join(self.pages)

    @property
    def size(self) -> int:
        return sum(map(len, self.pages))


class History:
    """All states of a database, oldest first. A restore adds a state, and removes none.

    A bookmark has the session, the position in it, the day, and a hash, all hexadecimal. A restore starts a session.
    """

    def __init__(self, database: str, content: bytes, now: Callable[[], datetime], switches: Switches) -> None:
        self._database = database
        self._now = now
        self._switches = switches
        self._session, self._position = 1, 0
        self._restores: list[datetime] = []
        self.states: list[RecordedState] = []
        self._append(_split_pages(content, ()))

    @property
    def current(self) -> RecordedState:
        return self.states[-1]

    def record(self, content: bytes) -> RecordedState:
        """Add the state after a write, unless the write changed nothing."""
        pages = _split_pages(content, self.current.pages)
        if pages != self.current.pages:
            self._position += 1
            self._append(pages)
        return self.current

    def shown(self) -> RecordedState:
        """Return the state that the endpoint for bookmarks names as the current one."""
        state = self.current
        while state.restored is not None and not self._switches.d1_bookmark_shows_restore:
            state = self.states[state.number - 2]  # the one between has the bookmark for the undo
        return state

    def at(self, instant: datetime) -> RecordedState:
        """Return the latest state at or before a time.

        Raises:
            TimeTravelError: the time is in the future, before the database, or beyond retention.
        """
        if instant > self._now():
            raise TimeTravelError("The timestamp must not be in the future.")
        if instant < self._oldest():
            days = self._switches.d1_time_travel_days
            raise TimeTravelError(f"The timestamp is older than {days} days.")
        found = [state for state in self.states if state.at <= instant]
        if not found:
            raise TimeTravelError("The database did not exist at this timestamp.")
        return found[-1]

    def find(self, bookmark: str) -> RecordedState:
        """Return the state of a bookmark that can be restored.

        Raises:
            TimeTravelError: the bookmark is unknown, beyond retention, or lost in a restore.
        """
        state = next((each for each in self.states if each.bookmark == bookmark), None)
        if state is None:
            raise TimeTravelError(f"The bookmark {bookmark} is invalid.")
        newer = self.states[state.number + 1 : state.number + 2]
        if newer and newer[0].at < self._oldest():
            raise TimeTravelError(f"The bookmark {bookmark} is too old.")
        if self._is_lost(state):
            raise TimeTravelError(f"The bookmark {bookmark} does not exist any more.")
        return state

    def restore(self, target: RecordedState) -> tuple[RecordedState, RecordedState]:
        """Add the restored state. Returns the state before it, under a bookmark of its own, and the new state.

        Raises:
            TimeTravelError: there were too many restores.
        """
        self.check_restores()
        self._restores.append(self._now())
        self._position = _END
        previous = self._append(self.current.pages)
        self._session, self._position = self._session + 1, 0
        return previous, self._append(target.pages, restored=target.number)

    def begin_session(self) -> None:
        """Begin a session without a restore, as a restart may: the next write gets a bookmark of it."""
        self._session, self._position = self._session + 1, 0

    def check_restores(self) -> None:
        """Raise TimeTravelError if there were too many restores."""
        now = self._now()
        self._restores = [each for each in self._restores if now - RESTORES_WITHIN < each <= now]
        if len(self._restores) == MAX_RESTORES:
            raise TimeTravelError(f"A database can be restored {MAX_RESTORES} times per 10 minutes.")

    def _is_lost(self, state: RecordedState) -> bool:
        """Return whether a restore went back beyond this state; the state right before a restore is never lost."""
        if self._switches.d1_later_bookmarks_kept:
            return False
        return any(
            new.restored is not None
            and new.restored < state.number < new.number
            and state.pages != self.states[new.number - 1].pages
            for new in self.states
        )

    def _oldest(self) -> datetime:
        return self._now() - timedelta(days=self._switches.d1_time_travel_days)

    def _append(self, pages: tuple[bytes, ...], *, restored: int | None = None) -> RecordedState:
        now = self._now()
        place = f"{self._session:08x}-{self._position:08x}-{int(now.timestamp()) // 86400:08x}"
        digest = hashlib.sha256(f"{self._database} {place}".encode()).hexdigest()[:32]
        state = RecordedState(
            number=len(self.states), bookmark=f"{place}-{digest}", at=now, pages=pages, restored=restored
        )
        self.states.append(state)
        return state


def _split_pages(content: bytes, previous: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Return the pages, each the same object as before if it is equal, so that a state costs its changes only."""
    pages = [content[at : at + _PAGE_BYTES] for at in range(0, len(content), _PAGE_BYTES)]
    pages[: len(previous)] = [old if old == new else new for old, new in zip(previous, pages, strict=False)]
    return tuple(pages)
