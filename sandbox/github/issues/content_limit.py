"""The secondary rate limit of requests that generate content.

docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits. The page does not say
which requests count, so each write of an issue, comment, label or pull request does [unsure: content-limit].
"""

import re
from collections import defaultdict, deque
from datetime import datetime, timedelta

from sandbox.clock import FakeClock
from sandbox.switches import GitHubSwitches

MESSAGE = (
    "You have exceeded a secondary rate limit and have been temporarily blocked from content creation. Please retry "
    "your request again later."
)
_CONTENT = re.compile(r"/repos/[^/]+/[^/]+/(?:issues|labels|pulls)(?:/|$)")
_MINUTE, _HOUR = timedelta(minutes=1), timedelta(hours=1)


class ContentLimit:
    """Counts the writes of each user by the sandbox's clock."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._writes: dict[int, deque[datetime]] = defaultdict(deque)

    def count(self, user: int, method: str, path: str, switches: GitHubSwitches) -> bool:
        """Count a request, and return whether the limit allows it."""
        if method in {"GET", "HEAD"} or not _CONTENT.match(path):
            return True
        now, writes = self._clock.now(), self._writes[user]
        while writes and writes[0] <= now - _HOUR:
            writes.popleft()
        recent = sum(1 for at in writes if at > now - _MINUTE)
        if len(writes) >= switches.content_writes_per_hour or recent >= switches.content_writes_per_minute:
            return False
        writes.append(now)
        return True
