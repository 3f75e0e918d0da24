"""Until when something is meant to last, as people write it. Pure."""

import re
from datetime import datetime, timedelta

from ops.core.clock import parse_utc, utc_text
from ops.core.errors import ConfigError


def ending(text: str, now: datetime) -> datetime | None:
    """`2h` from now, or a moment; None where nothing was written. Raises ConfigError."""
    if not text:
        return None
    from ops.core import duration  # with it comes pydantic, which costs a tenth of a second

    try:
        ahead = re.fullmatch("[0-9]+[a-z]+", text)
        moment = now + timedelta(seconds=duration.seconds(text)) if ahead else parse_utc(text)
    except (ValueError, OverflowError):
        raise ConfigError(f'"{text[:40]}" is no end', hint="Write 2h or 2026-11-24T05:00Z, in UTC.") from None
    if moment <= now:
        raise ConfigError(f"{utc_text(moment)} is over", hint="Name a moment to come, in UTC.")
    return moment
