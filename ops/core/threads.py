"""Calls beside each other, in daemon threads: a read that hangs must not hold up the end of an interrupted run."""

import _thread
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


def start_call(call: Callable[[], T]) -> Future[T]:
    future: Future[T] = Future()

    def fulfil() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001  it is raised again where the result is asked for
            future.set_exception(error)

    run_in_background(fulfil)
    return future


def run_in_background(work: Callable[[], None]) -> None:
    """Call `work` in a daemon thread: in one that has ended its work, or in a new one, which takes longer.

    Not by `threading.Thread`, and without a lock: a signal may raise in between. Within `Thread.start` that leaves its
    books half written, and the thread then ends with a KeyError (CPython 3.11, `Thread.start` and
    `Thread._bootstrap_inner`). Here one thread less is used again.
    """
    try:
        _IDLE.get_nowait()
    except Empty:
        _thread.start_new_thread(_work, (work,))
    else:
        _WORK.put(work)


_IDLE: SimpleQueue[None] = SimpleQueue()
"""One entry for each thread that waits for work."""
_WORK: SimpleQueue[Callable[[], None]] = SimpleQueue()


def _work(work: Callable[[], None]) -> None:
    while True:
        work()
        del work  # and all that it holds
        _IDLE.put(None)
        work = _WORK.get()


def run_parallel(calls: Sequence[Callable[[], T]]) -> list[T]:
    """All results in order, or the first error in order. The caller bounds how many."""
    if len(calls) == 1:
        return [calls[0]()]
    return [future.result() for future in [start_call(call) for call in calls]]


def run_parallel_mixed(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Do the same for calls whose results have different types."""
    return run_parallel(calls)


class CallTracker:
    """Ends what several threads share: at once, or where a call of theirs still goes on, with the last of them.

    A pool that is closed while a thread connects would leave that connection open.
    """

    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end
        self._lock = threading.Lock()
        self._calls = 0
        self._closing = False

    @contextmanager
    def call(self) -> Iterator[None]:
        with self._lock:
            if self._closing:
                raise RuntimeError("the run has ended")
            self._calls += 1
        try:
            yield
        finally:
            with self._lock:
                self._calls -= 1
                last = self._closing and not self._calls
            if last:
                self._end()

    def close(self) -> None:
        with self._lock:
            self._closing = True
            idle = not self._calls
        if idle:
            self._end()


class TimeBudget:
    """Real seconds that several waits share, counted from the first of them."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: float | None = None

    def rest(self) -> float:
        now = time.monotonic()
        if self._until is None:
            self._until = now + self._seconds
        return max(0.0, self._until - now)
