"""A finding of a command that looks for due work, which people must see."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class DueNotice:
    """A finding that people must see."""

    text: str
    exit_code: int
    publish: Callable[[], str] | None = None
    """Publishes it, and returns a line about that. Not called in a dry run."""
