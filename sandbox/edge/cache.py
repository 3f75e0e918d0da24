"""Caches of the edge: zone, Workers Caching, Cache API and `fetch`.

All honor the query string. None honors `cache-control` of a request, as Cloudflare does not.
developers.cloudflare.com/cache/concepts/cache-responses, developers.cloudflare.com/workers/cache/configuration.
"""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from sandbox.clock import FakeClock
from sandbox.server import HttpRequest, HttpResponse

DEFAULT_SECONDS = {200: 7200, 203: 7200, 204: 7200, 300: 1200, 301: 1200, 404: 180, 405: 60, 410: 180, 414: 60, 501: 60}
"""Status → seconds that Workers Caching stores an answer without `cache-control`."""

Key = tuple[str, ...]
Produce = Callable[[], HttpResponse]


@dataclass(frozen=True)
class CacheRule:
    """Rule of a zone: store each answer with status 200 for these seconds, without regard to its headers."""

    seconds: float
    ignores_query: bool = False


@dataclass(frozen=True)
class _Entry:
    response: HttpResponse
    stored_at: datetime
    seconds: float
    stale_while_revalidate: float = 0.0
    stale_if_error: float = float("inf")


class ResponseCache:
    """Stored answers, by keys of several caches."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._entries: dict[Key, _Entry] = {}
        self._lock = threading.Lock()

    def purge(self) -> None:
        with self._lock:
            self._entries.clear()

    def answer_for(self, key: Key, seconds: float, produce: Produce, *, names_miss: bool = False) -> HttpResponse:
        """Return the stored answer while it is fresh, else a new one, which is stored if its status is 200."""
        entry, age = self._find(key)
        if entry is not None and age < entry.seconds:
            return _labeled(entry.response, "HIT", age)
        response = produce()
        if response.status == 200:
            self._store(key, _Entry(response, self._clock.now(), seconds))
        return _labeled(response, "MISS") if names_miss else response

    def answer_by_headers(self, key: Key, request: HttpRequest, produce: Produce) -> HttpResponse:
        """Answer as Workers Caching does: by `cache-control` of the stored answer."""
        if request.method not in {"GET", "HEAD"}:
            return _labeled(produce(), "BYPASS")
        entry, age = self._find(key)
        if entry is not None and age < entry.seconds:
            return _labeled(entry.response, "HIT", age)
        response = produce()
        is_stored = self._store_by_headers(key, request, response)
        if entry is None:
            return _labeled(response, "MISS" if is_stored else "BYPASS")
        if age < entry.seconds + entry.stale_while_revalidate:
            return _labeled(entry.response, "UPDATING", age)
        if response.status >= 500 and age < entry.seconds + entry.stale_if_error:
            return _labeled(entry.response, "STALE", age)
        return _labeled(response, "EXPIRED")

    def _find(self, key: Key) -> tuple[_Entry | None, float]:
        with self._lock:
            entry = self._entries.get(key)
        return entry, (self._clock.now() - entry.stored_at).total_seconds() if entry else 0.0

    def _store(self, key: Key, entry: _Entry) -> None:
        with self._lock:
            self._entries[key] = entry

    def _store_by_headers(self, key: Key, request: HttpRequest, response: HttpResponse) -> bool:
        """Store the answer if its headers allow it, and return whether they do."""
        headers = {name.lower(): value for name, value in response.headers}
        rule = headers.get("cache-control", "").lower()
        seconds = _seconds(rule, "s-maxage", _seconds(rule, "max-age", -1.0))
        if not rule:
            seconds = float(DEFAULT_SECONDS.get(response.status, -1))
        is_private = any(word in rule for word in ("private", "no-store")) or "set-cookie" in headers
        is_shared = any(word in rule for word in ("public", "must-revalidate", "s-maxage"))
        if is_private or seconds < 0 or 520 <= response.status <= 526:
            return False
        if "authorization" in request.headers and not is_shared:
            return False
        may_be_stale = not any(word in rule for word in ("s-maxage", "must-revalidate", "proxy-revalidate"))
        revalidate = _seconds(rule, "stale-while-revalidate", 0.0) if may_be_stale else 0.0
        on_error = _seconds(rule, "stale-if-error", float("inf")) if may_be_stale else 0.0
        self._store(key, _Entry(response, self._clock.now(), seconds, revalidate, on_error))
        return True


def _seconds(rule: str, name: str, default: float) -> float:
    found = re.search(rf"(?:^|[ ,]){name}=(\d+)", rule)
    return float(found[1]) if found else default


def _labeled(response: HttpResponse, status: str, age: float | None = None) -> HttpResponse:
    """Return a copy with `cf-cache-status`, and with `age` if it comes from a cache."""
    kept = [(name, value) for name, value in response.headers if name.lower() not in {"cf-cache-status", "age"}]
    aged = [] if age is None else [("age", f"{int(age)}")]
    return replace(response, headers=[*kept, ("cf-cache-status", status), *aged])
