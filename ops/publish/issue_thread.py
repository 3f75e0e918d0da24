"""The timeline on the incident issue: a sink that only queues, and a thread that writes behind the run's back.

PyGithub is loaded in that thread. Whatever fails there is told once, by its type, and changes nothing of the run.
"""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from ops.core.clock import Clock
from ops.core.run_summary import STATES
from ops.core.threads import in_background
from ops.core.timeline import Event
from ops.github.client import cause
from ops.github.comments import RunComments

if TYPE_CHECKING:
    from github.Repository import Repository

FIRST_MINUTE = 60.0
EARLY, LATE = 5.0, 20.0
"""Seconds from one edit to the next, in the first minute and later: GitHub counts what is written.

docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
"""
LAST_TRIES = 3
REFUSALS = range(400, 500)
"""Statuses that a second try at once does not change."""


class Journal:
    """A sink of the timeline. `begin` starts it, `close` ends it."""

    def __init__(
        self,
        connect: "Callable[[], Repository]",
        render: Callable[[tuple[Event, ...]], tuple[str, ...]],
        *,
        number: int,
        run: str,
        clock: Clock,
        rest: Callable[[], float],
    ) -> None:
        """`rest`: real seconds that `close` may still wait."""
        self._connect = connect
        self._render = render
        self._number, self._run = number, run
        self._clock, self._rest = clock, rest
        self._changed = threading.Condition()
        self._events: list[Event] = []
        self._is_due = self._closing = False
        self._began, self._next = clock.monotonic(), 0.0
        self._comments: RunComments | None = None
        self._done = threading.Event()
        self._tell: Callable[[str], object] | None = None

    def __call__(self, event: Event) -> None:
        with self._changed:
            self._events.append(event)
            self._is_due |= event.kind in STATES
            self._changed.notify()

    def begin(self, tell: Callable[[str], object]) -> None:
        """`tell` gets the one failure."""
        self._tell = tell
        in_background(self._work)

    def close(self) -> str:
        """Wait for the last edit, within bounds. The comment's address, or nothing where it was never written."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if not self._done.wait(self._rest()):
            self._fail(TimeoutError())
        self._tell = None
        return self._comments.url if self._comments else ""

    def _work(self) -> None:
        try:
            while not self._done.is_set():
                events, last = self._wait()
                self._write(events, tries=LAST_TRIES if last else 1)
                if last:
                    self._done.set()
        except Exception as error:  # noqa: BLE001  a thread has nobody to raise to, and the clock may be gone
            self._fail(error)
            self._done.set()

    def _wait(self) -> tuple[tuple[Event, ...], bool]:
        """What is to be written once it is time; and whether it is the last."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._is_due)
            while not self._closing and (rest := self._next - self._clock.monotonic()) > 0:
                self._changed.wait(rest)
            now = self._clock.monotonic()
            first = not self._next and not self._closing
            self._next = now + (EARLY if now - self._began < FIRST_MINUTE else LATE)
            events = tuple(self._events[:1] if first else self._events)
            self._is_due = any(event.kind in STATES for event in self._events[len(events) :])
            return events, self._closing

    def _write(self, events: tuple[Event, ...], *, tries: int) -> None:
        for _ in range(tries):
            try:
                self._publish(events)
            except Exception as error:  # noqa: BLE001  GitHub, the network, a template: the run goes on
                with self._changed:
                    self._is_due = True
                self._fail(error)
                if getattr(error, "status", 0) in REFUSALS:
                    return
            else:
                return

    def _publish(self, events: tuple[Event, ...]) -> None:
        if self._comments is None:
            self._comments = RunComments(self._connect(), self._number, self._run)
        for part, body in enumerate(self._render(events), start=1):
            self._comments.put(part, body)

    def _fail(self, error: Exception) -> None:
        tell, self._tell = self._tell, None
        if tell is not None:
            advice = f"; issue #{self._number} does not exist there" if getattr(error, "status", 0) == 404 else ""
            tell(f"the journal on the incident issue failed ({cause(error)}{advice})")
