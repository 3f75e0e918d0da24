"""The rate limits of the Cloudflare API: per user, and per account-owned token.

developers.cloudflare.com/fundamentals/api/reference/limits
"""

from collections import defaultdict, deque
from datetime import datetime, timedelta

from sandbox.clock import FakeClock
from sandbox.cloudflare.call import CloudflareRefusal
from sandbox.cloudflare.tokens.state import FakeCloudflareToken
from sandbox.switches import Switches

_PERIOD = timedelta(minutes=5)
_CODE = 971  # github.com/cloudflare/workers-sdk/issues/10025
_GRAPHQL_CALLS = 320
"""Most GraphQL queries in the same time. Costly ones count more, which the sandbox leaves out."""
Headers = tuple[tuple[str, str], ...]


class RateLimit:
    """Counts calls by the sandbox's clock. Who is beyond a limit is refused for five minutes."""

    def __init__(self, clock: FakeClock, switches: Switches) -> None:
        self._clock, self._switches = clock, switches
        self._calls: dict[str, deque[datetime]] = defaultdict(deque)
        self._refused_until: dict[str, datetime] = {}

    def count(self, token: FakeCloudflareToken, *, is_graphql: bool = False) -> Headers:
        """Count a call, and return the headers about the limit. Raises CloudflareRefusal."""
        caller, most = token.email if token.owner == "user" else token.id, self._switches.calls_per_five_minutes
        if most is None:
            return ()
        if is_graphql:
            self._count(f"{caller} graphql", min(most, _GRAPHQL_CALLS))
        return self._count(caller, most)

    def _count(self, caller: str, most: int) -> Headers:
        now, calls = self._clock.now(), self._calls[caller]
        while calls and calls[0] <= now - _PERIOD:
            calls.popleft()
        calls.append(now)
        until = self._refused_until.get(caller, now)
        if until <= now and len(calls) > most:
            until = self._refused_until[caller] = now + _PERIOD
        reset = _seconds(until - now if until > now else calls[0] + _PERIOD - now)
        shown = (
            ("ratelimit", f'"default";r={max(0, most - len(calls))};t={reset}'),
            ("ratelimit-policy", f'"default";q={most};w={_seconds(_PERIOD)}'),
        )
        if until > now:
            text = "Please wait and consider throttling your request speed"
            raise CloudflareRefusal(_CODE, text, status=429, headers=(*shown, ("retry-after", str(reset))))
        return shown


def _seconds(time: timedelta) -> int:
    """Return whole seconds, rounded up."""
    return -int(-time.total_seconds() // 1)
