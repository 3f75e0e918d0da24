"""Run calls in daemon threads, so that a hanging read cannot delay an interrupted run."""

import _thread
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import copy_context
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

K = TypeVar("K")
T = TypeVar("T")


def start_call(call: Callable[[], T]) -> Future[T]:
    """Start the call in a daemon thread with the context variables of this one, and return its future."""
    future: Future[T] = Future()
    context = copy_context()

    def fulfil_call() -> None:
        try:
            future.set_result(context.run(call))
        except BaseException as error:  # noqa: BLE001  `result()` raises it again
            future.set_exception(error)

    run_in_background(fulfil_call)
    return future


def start_timed_call(call: Callable[[], T], seconds: float) -> Callable[[], T]:
    """Start the call. The returned function waits for it, at most until so many real seconds from now.

    It raises what the call raised, or TimeoutError.
    """
    pending, until = start_call(call), time.monotonic() + seconds
    return lambda: pending.result(timeout=max(0.0, until - time.monotonic()))


def result_so_far(future: Future[T]) -> T | None:
    """Return the result of a call without waiting; None if it is not there yet, or the call failed."""
    return future.result() if future.done() and future.exception() is None else None


def run_in_background(work: Callable[[], None]) -> None:
    """Call `work` in an idle daemon thread, or in a new one, which takes longer.

    It uses neither `threading.Thread` nor a lock, because a signal may raise an exception at any point. Inside
    `Thread.start` that leaves incomplete state, and the thread ends with a KeyError (CPython 3.11, `Thread.start` and
    `Thread._bootstrap_inner`). Here the worst case is one idle thread that is not used again.
    """
    try:
        _IDLE.get_nowait()
    except Empty:
        _thread.start_new_thread(_work_in_thread, (work,))
    else:
        _WORK.put(work)


_IDLE: SimpleQueue[None] = SimpleQueue()
"""One entry per thread that waits for work."""
_WORK: SimpleQueue[Callable[[], None]] = SimpleQueue()


def _work_in_thread(work: Callable[[], None]) -> None:
    while True:
        work()
        del work  # frees everything that it references
        _IDLE.put(None)
        work = _WORK.get()


def run_parallel(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Run the calls in parallel and return their results in order, or raise the first error in order.

    Each call gets a thread: the caller limits their number.
    """
    if len(calls) == 1:
        return [calls[0]()]
    return [future.result() for future in [start_call(call) for call in calls]]


def run_in_batches(calls: Sequence[Callable[[], T]], size: int) -> list[T]:
    """Run the calls like `run_parallel`, at most `size` at the same time."""
    batches = (calls[at : at + size] for at in range(0, len(calls), size))
    return [result for batch in batches for result in run_parallel(batch)]


def run_in_time(calls: Mapping[K, Callable[[], T]], size: int, seconds: float) -> dict[K, T]:
    """Run the calls in `size` threads, and return the results that are there after these real seconds.

    A call that fails, or that began too late, has none.
    """
    results, waiting, until = dict[K, T](), deque(calls.items()), time.monotonic() + seconds

    def work_off_calls() -> None:
        while waiting:
            with suppress(Exception):  # also the IndexError of the last call, which another thread took
                key, call = waiting.popleft()
                results[key] = call()

    for future in [start_call(work_off_calls) for _ in range(min(size, len(calls)))]:
        with suppress(TimeoutError):
            future.result(timeout=max(0.0, until - time.monotonic()))
    waiting.clear()
    return results.copy()


def run_parallel_mixed(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run calls with different result types in parallel, like `run_parallel`."""
    return run_parallel(calls)


class CallTracker:
    """Closes a resource that threads share, at once or after the last call that still uses it.

    Closing a connection pool while a thread connects would leak that connection.
    """

    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end
        self._lock = threading.Lock()
        self._calls = 0
        self._closing = False

    @contextmanager
    def call(self) -> Iterator[None]:
        """Mark the resource as used inside the block. Raises RuntimeError after `close`."""
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
        """Close the resource now, or let the last call close it."""
        with self._lock:
            self._closing = True
            idle = not self._calls
        if idle:
            self._end()


class TimeBudget:
    """Real seconds that several waits share, counted from the first call of `rest`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: float | None = None

    def rest(self) -> float:
        """Return the seconds that are left, at least 0."""
        now = time.monotonic()
        if self._until is None:
            self._until = now + self._seconds
        return max(0.0, self._until - now)
