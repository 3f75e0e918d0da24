"""Recognize an answer that a cache gave for the service, or Cloudflare with a challenge.

A cached answer proves neither health nor failure. Every probe and every read of a page decides it here.
developers.cloudflare.com/cache/concepts/cache-responses, developers.cloudflare.com/workers/cache/debugging,
rfc-editor.org/rfc/rfc9111#name-age,
developers.cloudflare.com/cloudflare-challenges/challenge-types/challenge-pages/detect-response
"""

import re
import secrets
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from ops.core.verdict import Assertion, Verdict

if TYPE_CHECKING:
    import httpx

CACHED_STATUSES = {"HIT", "STALE", "UPDATING", "REVALIDATED"}
"""Values of `cf-cache-status` of a stored answer. For REVALIDATED the service answered only 304: status and body are
the stored ones. Of the others, MISS, EXPIRED, BYPASS, DYNAMIC and NONE/UNKNOWN come from the service."""
PARAMETER = "backout-probe"
"""Query parameter with a unique value. Caches of Cloudflare have the query string in their keys."""
_SHOWN_STATUS = re.compile(r"[A-Z]{1,20}")
_SHOWN_AGE = re.compile(r"[0-9]{1,10}")

STILL_CACHED = (
    "A cache answers although each request has a unique query value. Set `path` of the probe to one that the code "
    "answers each time, with `cache-control: no-store`."
)
UNBUSTED = (
    "Remove `cache_buster: false` from the probe, or let the application answer its path with "
    "`cache-control: no-store`."
)
CHALLENGE_HINT = (
    "Let this machine through: add a WAF skip rule or an Access service token, and send it with `request_headers` of "
    "the probe (docs/reference/ops-yml.md). Then run the same command again."
)
BROWSER_HINT = "Let this machine through with a WAF skip rule. Then run the same command again."
CHALLENGE_PAGE = b"_cf_chl_opt"
"""Text of every challenge page. Normal pages may contain `/cdn-cgi/challenge-platform/`, so that is not used."""
BLOCK_PAGES = b"cf-error-details", b"error code: 10"
"""Texts of a block page, in HTML and plain text. Codes from 1100 are errors of the Worker."""
MAX_BYTES_READ = 50_000
ACCESS_DOMAIN = ".cloudflareaccess.com"


class CachedContent(Enum):
    """Origin of a cached answer."""

    WANTED = "wanted"
    """Only the wanted deployment has it; or both have it, and other paths of the site show the wanted one."""
    IN_BOTH = "in both"
    REPLACED = "replaced"
    """Only a replaced deployment has it."""
    OTHER = "other"
    """Neither has it: the edge changed it, or it is of a third deployment."""
    UNKNOWN = "unknown"
    """It cannot be compared."""

    @property
    def is_proof(self) -> bool:
        return self is CachedContent.WANTED


class ContentComparison(Protocol):
    """Compares cached answers of a site with its deployments."""

    def compare(self, url: str, response: "httpx.Response", body: bytes) -> CachedContent: ...

    def explain(self, content: CachedContent, cached: str) -> tuple[str, str]:
        """Return why a cached answer does not count, and the hint. `cached`: its headers."""
        ...


def describe_cache(headers: Mapping[str, str]) -> str:
    """Return the headers of an answer that a cache gave, such as `cf-cache-status: HIT, age 40 s`; else empty.

    Any age but 0 counts, also with another status: a Worker may return what it read from the Cache API.
    """
    status, age = headers.get("cf-cache-status", "").strip().upper(), headers.get("age", "0").strip()
    is_old = age.strip("0") != ""
    if not is_old and status not in CACHED_STATUSES:
        return ""
    parts = [f"cf-cache-status: {status}"] if _SHOWN_STATUS.fullmatch(status) else []
    if is_old:
        parts.append(f"age {age} s" if _SHOWN_AGE.fullmatch(age) else "an unreadable age")
    return ", ".join(parts)


def describe_no_proof(cached: str) -> str:
    """Return the text for people about an answer with these headers."""
    return f"cached answer ({cached}): proves nothing"


def detect_cached(headers: Mapping[str, str], *, hint: str = "") -> Assertion | None:
    """Return an inconclusive assertion if a cache answered; None otherwise."""
    if not (cached := describe_cache(headers)):
        return None
    return Assertion("cached", Verdict.INCONCLUSIVE, f"answer ({cached}): proves nothing", hint)


def add_cache_buster(url: str) -> str:
    """Return the URL with a unique value at the end of its query, so that no cache can have an answer to it."""
    return f"{url}{'&' if '?' in url else '?'}{PARAMETER}={secrets.token_hex(8)}"


def remove_cache_buster(url: str) -> str:
    """Return the URL without the unique value, as of a redirect that repeats the query."""
    path, _, query = url.partition("?")
    kept = "&".join(part for part in query.split("&") if not part.startswith(f"{PARAMETER}="))
    return f"{path}?{kept}" if kept else path


def remove_unique_value(asked: str, body: bytes) -> bytes:
    """Return the body of an answer without the unique value of its request, which a page may repeat."""
    value = asked.rpartition(f"{PARAMETER}=")[2]
    return body.replace(value.encode(), b"") if f"{PARAMETER}=" in asked and value else body


def detect_challenge(
    status: int, headers: Mapping[str, str], body: bytes = b"", *, expected_status: int = 0
) -> Assertion | None:
    """Return an inconclusive assertion if Cloudflare answered instead of the service; None otherwise.

    A block is accepted if the probe expects its status.
    """
    who = _find_blocker(status, headers, body[:MAX_BYTES_READ], is_wanted=status == expected_status)
    if not who:
        return None
    text = f"{who} answered with status {status}, so the state of the service is unknown"
    return Assertion("challenge", Verdict.INCONCLUSIVE, text, CHALLENGE_HINT)


def _find_blocker(status: int, headers: Mapping[str, str], body: bytes, *, is_wanted: bool) -> str:
    if "challenge" in headers.get("cf-mitigated", "") or (status in {403, 429, 503} and CHALLENGE_PAGE in body):
        return "a Cloudflare bot challenge"
    if status in {403, 429} and not is_wanted and (BLOCK_PAGES[0] in body or body.startswith(BLOCK_PAGES[1])):
        return "a Cloudflare firewall rule"
    if 300 <= status < 400 and redirect_host(headers.get("location", "")).endswith(ACCESS_DOMAIN):
        return "a login page of Cloudflare Access"
    return ""


def redirect_host(location: str) -> str:
    """Return the host of a `location` header; empty if it has none, or one with unusual characters."""
    try:
        host = urlsplit(location).hostname or ""
    except ValueError:
        return ""
    return host if host.isascii() and host.isprintable() else ""
