"""Handle SIGINT, SIGTERM and SIGHUP: they end a run between steps, never during a write.

The kernel sends SIGHUP when the terminal closes or its connection is lost; `nohup` starts a program that ignores it.
GitHub cancels with SIGINT, then SIGTERM after 7.5 seconds, then SIGKILL
(docs.github.com/actions: workflow cancellation reference): only the first counts.
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

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


IMPORT_TAKES = 0.01
"""Seconds after which a signal that came during an import is handled again."""


def _is_in_import(frame: FrameType | None) -> bool:
    """Return whether Python imports a module here.

    An exception then may leave its lock of all imports locked, and each thread that imports waits without an end.
    """
    while frame is not None and frame.f_code.co_filename != "<frozen importlib._bootstrap>":
        frame = frame.f_back
    return frame is not None


def _end_timer() -> None:
    """End the wait for the end of an import: at the end of the process SIGALRM has no handler, and would kill it."""
    if threading.current_thread() is threading.main_thread():
        signal.setitimer(signal.ITIMER_REAL, 0)


def _handled_signals() -> tuple[signal.Signals, ...]:
    """Return the signals to handle: not SIGHUP if `nohup` or a parent made this process ignore it."""
    return tuple(each for each in SIGNALS if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN)


class SignalReceived(KeyboardInterrupt):
    """A signal outside of a run.

    It is a subclass, because CPython ends the process by SIGINT at its exit if KeyboardInterrupt itself left code that
    `exec` runs, even if it was caught (`unhandled_keyboard_interrupt` in Python/pythonrun.c).
    """


class SignalHandler:
    """Turns the first signal into an exception in the main thread: Interrupted in a run, else SignalReceived."""

    def __init__(self) -> None:
        self._delaying = 0
        self._pending: int | None = None
        self._raised = False
        self._unanswered: int | None = None
        """Signal that was raised but perhaps not caught: Python ignores exceptions in places such as `__del__`."""
        self._in_run = False

    def install(self) -> None:
        """Install the handlers until the end of the process."""
        for number in _handled_signals():
            signal.signal(number, self._handle_signal)

    @contextmanager
    def in_run(self) -> Iterator["SignalHandler"]:
        """Handle signals of a run inside the block. Outside the main thread Python delivers none."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        self._raised, self._unanswered = False, None
        former = {number: signal.signal(number, self._handle_signal) for number in _handled_signals()}
        report, sys.unraisablehook = sys.unraisablehook, _without_signals(sys.unraisablehook)
        try:
            self._in_run = True  # last: until here a signal ends the command, and not a run
            yield self
        finally:
            _end_timer()
            sys.unraisablehook = report
            self._in_run = False
            for number, handler in former.items():
                signal.signal(number, handler)

    @contextmanager
    def delay(self) -> Iterator[None]:
        """Delay a signal to the end of the outermost block; an exception of the block goes first."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._delaying += 1
        try:
            yield
        finally:
            self._delaying -= 1
        self.raise_pending()

    def stop_raising(self) -> None:
        """Raise no more exceptions, because the run or command is ending. The next run ends at its first step."""
        self._raised, self._unanswered = True, None
        _end_timer()

    def raise_pending(self) -> None:
        """Raise a signal that was delayed, or that was raised where Python ignored it."""
        number = self._unanswered if self._raised else self._pending
        if number is not None and not self._delaying:
            self._raise_signal(number)

    def _handle_signal(self, number: int, frame: FrameType | None) -> None:
        if self._delaying or self._raised:
            self._pending = number
        elif _is_in_import(frame):
            self._pending = number
            signal.signal(signal.SIGALRM, self._handle_later)
            signal.setitimer(signal.ITIMER_REAL, IMPORT_TAKES)
        else:
            self._raise_signal(number)

    def _handle_later(self, _number: int, frame: FrameType | None) -> None:
        """Handle a signal that came during an import, unless a step has raised it meanwhile."""
        if self._pending is not None:
            self._handle_signal(self._pending, frame)

    def _raise_signal(self, number: int) -> None:
        _end_timer()
        self._raised, self._unanswered, self._pending = True, number, None
        name = signal.Signals(number).name
        if not self._in_run:
            raise SignalReceived(name)
        raise Interrupted(
            f"{name} ended the run",
            reason=Reason.SIGNAL,
            hint="Start the same command again: it reads the state and continues.",
        )


def _without_signals(report: "UnraisableHook") -> "UnraisableHook":
    """Return a hook that does not report our own ignored exceptions: they are raised again at the next step."""

    def report_in_handler(unraisable: "sys.UnraisableHookArgs") -> None:
        if not isinstance(unraisable.exc_value, Interrupted | KeyboardInterrupt):
            report(unraisable)

    return report_in_handler


def unwrap_signal(error: BaseException) -> BaseException:
    """Return the signal that other exceptions replaced, or the exception itself.

    Code that a signal interrupts may raise an exception of its own on its way out: a lock of the standard library
    RuntimeError, and so Python 3.11 for each exception of `__set_name__`; a cleanup what its half-made state causes.
    """
    replaced: BaseException | None = error
    while replaced is not None and not isinstance(replaced, Interrupted | KeyboardInterrupt):
        replaced = replaced.__context__
    return replaced or error


PROCESS_SIGNALS = SignalHandler()
"""The handler of this process."""


def ignore_signals() -> None:
    """Ignore signals at the end of the process. At exit Python restores the default action of its own handlers only."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
