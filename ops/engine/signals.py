"""Signals: SIGINT and SIGTERM end a run between steps; during a write they wait for its answer.

GitHub cancels with SIGINT, then SIGTERM after 7.5 seconds, then SIGKILL
(docs.github.com/actions: workflow cancellation reference): the first one counts, the rest is the same wish.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from ops.core.errors import Interrupted, Reason

if TYPE_CHECKING:
    UnraisableHook = Callable[[sys.UnraisableHookArgs], object]

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class SignalReceived(KeyboardInterrupt):
    """A signal outside of a run.

    A subclass on purpose: if KeyboardInterrupt itself leaves code that `exec` runs, CPython ends the process by SIGINT
    at its exit, even if it was caught (`unhandled_keyboard_interrupt` in Python/pythonrun.c).
    """


class SignalHandler:
    """Turns the first signal into an exception in the main thread: Interrupted in a run, else SignalReceived."""

    def __init__(self) -> None:
        self._holding = 0
        self._pending: int | None = None
        self._raised = False
        self._unanswered: int | None = None
        """Raised, and nobody has caught it yet: Python ignores exceptions in some places, such as `__del__`."""
        self._in_run = False

    def install(self) -> None:
        """Handle signals from here to the end of the process."""
        for number in SIGNALS:
            signal.signal(number, self._handle)

    @contextmanager
    def in_run(self) -> Iterator["SignalHandler"]:
        """A run. Outside the main thread Python delivers no signal, and nothing is installed."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        self._in_run, self._raised, self._unanswered = True, False, None
        former = {number: signal.signal(number, self._handle) for number in SIGNALS}
        report, sys.unraisablehook = sys.unraisablehook, _without_signals(sys.unraisablehook)
        try:
            yield self
        finally:
            sys.unraisablehook = report
            self._in_run = False
            for number, handler in former.items():
                signal.signal(number, handler)

    @contextmanager
    def hold(self) -> Iterator[None]:
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

    def stop_raising(self) -> None:
        """Raise no more: the run or the command is ending. A next run of this process ends at its first step."""
        self._raised, self._unanswered = True, None

    def raise_pending(self) -> None:
        """Raise a signal that was held, or that was raised where Python ignores exceptions."""
        number = self._unanswered if self._raised else self._pending
        if number is not None and not self._holding:
            self._raise(number)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._holding or self._raised:
            self._pending = number
        else:
            self._raise(number)

    def _raise(self, number: int) -> None:
        self._raised, self._unanswered, self._pending = True, number, None
        name = signal.Signals(number).name
        if not self._in_run:
            raise SignalReceived(name)
        raise Interrupted(
            f"{name} ended the run",
            reason=Reason.SIGNAL,
            hint="Start the same command again: it sees what was done and goes on from there.",
        )


def _without_signals(report: "UnraisableHook") -> "UnraisableHook":
    """Report what Python ignores, but for our own exceptions: they are raised again at the next step."""

    def reporting(found: "sys.UnraisableHookArgs") -> None:
        if not isinstance(found.exc_value, Interrupted | KeyboardInterrupt):
            report(found)

    return reporting


def unwrap_signal(error: Exception) -> BaseException:
    """Return the signal that another exception hides, or the exception itself.

    A lock of the standard library complains that it was not acquired. Python 3.11 makes a RuntimeError of everything
    that `__set_name__` raises, as during an import.
    """
    return error.__context__ if isinstance(error.__context__, Interrupted | KeyboardInterrupt) else error


PROCESS_SIGNALS = SignalHandler()
"""The signals of this process, which has one handler for each."""


def ignore_signals() -> None:
    """For the end of the process: Python puts the default action back in place of a handler of its own, not of this."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
