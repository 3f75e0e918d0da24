"""What somebody asks of maintenance, understood, or what is wrong with it. Pure."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from ops.core.duration import ending
from ops.core.errors import ConfigError
from ops.maintenance.state import LONGEST_MESSAGE

PATH = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~!$&'()+,;=:@-]+)+")
MOMENT = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Asked:
    is_on: bool
    path: str
    """Without a slash at its end; nothing for the whole service."""
    message: str
    until: str
    """A moment as `MOMENT` writes it, or nothing."""
    reopen_at_end: bool

    @classmethod
    def of(cls, *, state: str, path: str, message: str, until: str, reopen_at_end: bool, now: datetime) -> Self:
        """Raises ConfigError."""
        if state not in {"on", "off"}:
            raise ConfigError(f'no state "{state[:40]}"', hint="Write --state on, or --state off.")
        if state == "off" and (message or until or reopen_at_end):
            raise ConfigError(
                "a message and an end are for --state on", hint="Leave --message, --until and --reopen-at-end out."
            )
        if reopen_at_end and not until:
            raise ConfigError(
                "--reopen-at-end is given, and no end is", hint="Add --until 2h, or --until 2026-11-24T05:00Z, in UTC."
            )
        if path and not PATH.fullmatch(path.rstrip("/")):
            hint = "Write it plainly, such as /api/ai: no host, query, * or %. Leave it out for the whole service."
            raise ConfigError(f'"{path[:80]}" is no path that a route can have', hint=hint)
        if len(message) > LONGEST_MESSAGE:
            raise ConfigError(f"the message has {len(message)} characters, and at most {LONGEST_MESSAGE} fit")
        return cls(state == "on", path.rstrip("/"), message, _until(until, now), reopen_at_end)


def _until(text: str, now: datetime) -> str:
    moment = ending(text, now)
    return f"{moment:{MOMENT}}" if moment else ""
