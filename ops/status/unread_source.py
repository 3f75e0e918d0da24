"""A source of `ops status` that could not be read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ops.core.errors import OpsError, Reason

T = TypeVar("T")


@dataclass(frozen=True)
class UnreadSource:
    """A source that could not be read, or whose answer is uncertain: its sections may have more than they show."""

    sections: tuple[str, ...]
    """Keys of the JSON result."""
    name: str
    message: str
    hint: str = ""
    exit_code: int = 0
    """That of the error; 0 if the source was read."""
    reason: Reason = Reason.LIVE_UNKNOWN

    def __str__(self) -> str:
        return f"{self.name}: {self.message}{f'. {self.hint}' if self.hint else ''}"


def try_read(ask: Callable[[], T], name: str, sections: tuple[str, ...]) -> tuple[T | None, UnreadSource | None]:
    """Return the result, or why it could not be read."""
    try:
        return ask(), None
    except OpsError as error:
        return None, UnreadSource(sections, name, error.message, error.hint, error.exit_code, error.reason)
