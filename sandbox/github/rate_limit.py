"""The primary rate limit: so many requests of a token in each hour of the sandbox's clock.

docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
"""

from collections import Counter
from datetime import datetime

from sandbox.clock import Clock
from sandbox.github.users.tokens import Token

_HOUR = 3600


class Rates:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._used: Counter[tuple[str, int]] = Counter()

    def count(self, token: Token) -> bool:
        """Whether the token had this request left."""
        key = (token.secret, self._hour())
        if self._used[key] >= token.limit:
            return False
        self._used[key] += 1
        return True

    def of(self, token: Token) -> dict[str, int | str]:
        used = self._used[token.secret, self._hour()]
        reset = (self._hour() + 1) * _HOUR
        remaining = token.limit - used
        return {"limit": token.limit, "remaining": remaining, "reset": reset, "used": used, "resource": "core"}

    def _hour(self) -> int:
        now: datetime = self._clock.now()
        return int(now.timestamp()) // _HOUR
