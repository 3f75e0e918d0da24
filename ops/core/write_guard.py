"""What may write only while somebody holds it open."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

D = TypeVar("D", bound="WriteGuard")


class WriteGuard:
    """A client of something that can be written to. Only the engine opens it, around the one write of a change."""

    _may_write = False

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Let writes through."""
        self._may_write = True
        try:
            yield
        finally:
            self._may_write = False


class WriteGuards:
    """Those of one run, opened and closed together. One may be made on its first use, while the others are open."""

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
        """Let writes through."""
        with ExitStack() as opened:
            for door in self._all:
                opened.enter_context(door.writing())
            self._open = opened
            try:
                yield
            finally:
                self._open = None
