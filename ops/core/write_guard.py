"""What may write only while somebody holds it open."""

from collections.abc import Iterator
from contextlib import contextmanager


class Door:
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
