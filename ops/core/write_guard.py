"""Guards that let a client write only inside `with client.writing():`."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

D = TypeVar("D", bound="WriteGuard")


class WriteGuard:
    """Base of clients that can write. Only the engine enters `writing`, around the write of one change."""

    _may_write = False

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Permit writes inside the block."""
        self._may_write = True
        try:
            yield
        finally:
            self._may_write = False


class WriteGuards:
    """All write guards of a run, opened together. A client that is made while they are open is opened too."""

    def __init__(self) -> None:
        self._all: list[WriteGuard] = []
        self._open: ExitStack | None = None

    def add(self, door: D) -> D:
        self._all.append(door)
        if self._open is not None:
            self._open.enter_context(door.writing())
        return door

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Permit writes of all clients inside the block."""
        with ExitStack() as opened:
            for door in self._all:
                opened.enter_context(door.writing())
            self._open = opened
            try:
                yield
            finally:
                self._open = None
