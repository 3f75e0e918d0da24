"""The calls of a run to Cloudflare's API, which limits all users of a token together.

developers.cloudflare.com/fundamentals/api/reference/limits
"""

import threading
from collections import deque

from ops.core.clock import Clock

PERIOD = 300.0
MOST_CALLS, CALLS_FOR_OTHERS = 1200, 300
"""Calls that all users of a token may make in PERIOD seconds, and those that a run leaves to others. Beyond the limit
Cloudflare refuses each call for the next PERIOD."""
OWN_CALLS = MOST_CALLS - CALLS_FOR_OTHERS


class CallBudget:
    """Counts the calls of one client; thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._times: deque[float] = deque(maxlen=MOST_CALLS)
        self._lock = threading.Lock()
        self.made = 0

    def note_call(self) -> None:
        with self._lock:
            self.made += 1
            self._times.append(self._clock.monotonic())

    def find_pause(self, calls: int, *, reserved: int = 0) -> float:
        """Return the seconds to wait so that this many calls fit, and `reserved` later ones too; 0 if they do now.

        After a wait half of the budget is free, so that a run waits seldom, and not before each call.
        """
        most, now = limit_calls(reserved), self._clock.monotonic()
        with self._lock:
            recent = [time for time in self._times if time > now - PERIOD]
        last_over = len(recent) - most // 2 - 1
        if len(recent) + calls <= most or last_over < 0:
            return 0.0
        return max(0.0, recent[last_over] + PERIOD - now)


def limit_calls(reserved: int) -> int:
    """Return the calls that a run makes in PERIOD while it reserves some, which never take more than two thirds."""
    return max(OWN_CALLS - reserved, OWN_CALLS // 3)
