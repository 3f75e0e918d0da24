"""The rate limit of the Cloudflare API, which all tokens of a user share.

developers.cloudflare.com/fundamentals/api/reference/limits
"""

from collections import defaultdict, deque
from datetime import datetime, timedelta

from sandbox.clock import FakeClock
from sandbox.cloudflare.call import CloudflareRefusal
from sandbox.switches import Switches

_PERIOD = timedelta(minutes=5)
_CODE = 971  # github.com/cloudflare/workers-sdk/issues/10025


class RateLimit:
    """Counts the calls of each user by the sandbox's clock. A user beyond the limit is refused for five minutes."""

    def __init__(self, clock: FakeClock, switches: Switches) -> None:
        self._clock, self._switches = clock, switches
        self._calls: dict[str, deque[datetime]] = defaultdict(deque)
        self._refused_until: dict[str, datetime] = {}

    def count(self, user: str) -> None:
        """Count a call. Raises CloudflareRefusal."""
        now, calls, most = self._clock.now(), self._calls[user], self._switches.calls_per_five_minutes
        while calls and calls[0] <= now - _PERIOD:
            calls.popleft()
        calls.append(now)
        until = self._refused_until.get(user, now)
        if until <= now and most is not None and len(calls) > most:
            until = self._refused_until[user] = now + _PERIOD
        if until > now:
            left = str(int((until - now).total_seconds()) + 1)
            text = "Please wait and consider throttling your request speed"
            raise CloudflareRefusal(_CODE, text, status=429, headers=(("retry-after", left),))
