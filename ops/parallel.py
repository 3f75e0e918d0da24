"""Calls beside each other, in daemon threads: a read that hangs must not hold up the end of an interrupted run."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def start(call: Callable[[], T]) -> Future[T]:
    future: Future[T] = Future()

    def fulfil() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001  it is raised again where the result is asked for
            future.set_exception(error)

    threading.Thread(target=fulfil, daemon=True).start()
    return future


def in_parallel(calls: Sequence[Callable[[], T]]) -> list[T]:
    """All results in order, or the first error in order. The caller bounds how many."""
    return [future.result() for future in [start(call) for call in calls]]
