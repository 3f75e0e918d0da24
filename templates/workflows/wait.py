"""Wait for the moment in ENDS_AT, in UTC, with the standard library alone."""

import os
import time
from datetime import datetime, timezone

MARGIN = 15.0
"""Seconds after it: the clock of the next job's runner may be behind."""
STEP = 60.0
"""Seconds: a clock that is set meanwhile makes it at most this late."""


def left() -> float:
    """Return the seconds to wait."""
    now = datetime.now(timezone.utc)
    return (datetime.fromisoformat(os.environ["ENDS_AT"]) - now).total_seconds() + MARGIN


while (seconds := left()) > 0:
    print(f"{seconds / 60:.0f} minutes left", flush=True)
    time.sleep(min(STEP, seconds + 0.5))
