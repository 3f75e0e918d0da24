"""Wait until ENDS_AT (UTC), with the standard library only."""

import os
import time
from datetime import datetime, timezone

MARGIN = 15.0
"""Seconds to wait longer: the clock of the next job's runner may be behind."""
STEP = 60.0
"""Seconds. A clock that is corrected during the wait delays the end by at most this long."""


def left() -> float:
    """Return the seconds left to wait."""
    now = datetime.now(timezone.utc)
    return (datetime.fromisoformat(os.environ["ENDS_AT"]) - now).total_seconds() + MARGIN


while (seconds := left()) > 0:
    print(f"{seconds / 60:.0f} minutes left", flush=True)
    time.sleep(min(STEP, seconds + 0.5))
