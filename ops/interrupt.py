"""Signals: SIGINT and SIGTERM end a run between steps; during a write they wait for its answer.

GitHub cancels with SIGINT, then SIGTERM after 7.5 seconds, then SIGKILL
(docs.github.com/actions: workflow cancellation reference): the first one counts, the rest is the same wish.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ops.model.errors import Interrupted, Reason

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """Turns the first signal into Interrupted, raised in the main thread."""

    def __init__(self) -> None:
        self._holding = 0
        self._pending: int | None = None
        self._raised = False

    @contextmanager
    def watched(self) -> Iterator["Signals"]:
        """Outside the main thread Python delivers no signal, and nothing is installed."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        former = {number: signal.signal(number, self._handle) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """A signal that comes now is raised at the end of the outermost block, unless the block itself raised."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._holding += 1
        try:
            yield
        finally:
            self._holding -= 1
        self.raise_pending()

    def ignore(self) -> None:
        """From here on the run is ending anyhow."""
        self._raised = True

    def raise_pending(self) -> None:
        if self._pending is not None and not self._raised and not self._holding:
            self._raise(self._pending)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._holding:
            self._pending = number
        elif not self._raised:
            self._raise(number)

    def _raise(self, number: int) -> None:
        self._raised = True
        name = signal.Signals(number).name
        raise Interrupted(
            f"{name} ended the run",
            reason=Reason.SIGNAL,
            hint="Start the same command again: it sees what was done and goes on from there.",
        )
