"""Decide whether a response is an answer of the service, and from which data center.

Every probe and every read of a page or endpoint decides it here. A cached answer proves neither health nor failure, and
neither does that of a challenge, a login, maintenance mode or a proxy of our own network.
developers.cloudflare.com/cache/concepts/cache-responses, developers.cloudflare.com/workers/cache/debugging,
rfc-editor.org/rfc/rfc9111#name-age, developers.cloudflare.com/fundamentals/reference/cloudflare-ray-id,
developers.cloudflare.com/cloudflare-challenges/challenge-types/challenge-pages/detect-response
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
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
ACCESS_HEADERS = "cf-access-domain", "cf-access-aud"
"""Headers of a refusal by Access. Not documented: a refusal without them counts as an answer of the service
[unsure: access-refusal]."""
ACCESS_HINT = (
    "Send a valid Access service token with `request_headers` of the probe (docs/reference/ops-yml.md). `ops doctor` "
    "says when it ends. Then run the same command again."
)
UNREACHABLE = "could not be reached"
MAINTENANCE_HEADER = "ops-maintenance"
SWITCH_VALUE = "switch"
MAINTENANCE = "maintenance"
"""Name of the assertion about maintenance mode."""
PROXY_STATUSES, GATEWAY_STATUSES = {407, 511}, {403, 502, 503, 504}
"""Statuses that only a network before Cloudflare sends; and those of a gateway, if Cloudflare did not send them."""
PROXY_HINT = "Let this machine reach the service without a proxy that answers itself. Then run the same command again."
_RAY = re.compile(r"[0-9a-zA-Z]{1,40}-([A-Z]{3})")
"""Value of `cf-ray`, which each response of Cloudflare has: an ID, and the airport code of the data center."""


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


@dataclass(frozen=True)
class EdgeAnswer:
    """How far a response is evidence about the service."""

    obstacle: Assertion | None = None
    """Why the service did not answer: a challenge, a login, a proxy, or maintenance mode. Always inconclusive."""
    cached: str = ""
    """Headers that show that a cache answered, such as `cf-cache-status: HIT, age 40 s`; else empty."""
    is_stored: bool = False
    """Whether the cached answer has an age. Static files also answer `HIT` right after a deployment, without one."""
    place: str = ""
    """Airport code of the data center that answered, such as FRA; empty if the response names none."""

    @property
    def places(self) -> tuple[str, ...]:
        return (self.place,) if self.place else ()

    @property
    def is_maintenance(self) -> bool:
        return self.obstacle is not None and self.obstacle.name == MAINTENANCE

    @property
    def blocker(self) -> Assertion | None:
        """Return the obstacle, unless it is maintenance mode."""
        return None if self.is_maintenance else self.obstacle

    @property
    def doubt(self) -> str:
        """Return why it proves nothing, for people; empty if it is an answer of the service."""
        return self.obstacle.detail if self.obstacle else describe_no_proof(self.cached) if self.cached else ""

    def cached_assertion(self, hint: str) -> Assertion | None:
        """Return an inconclusive assertion if a cache answered; None otherwise."""
        if not self.cached:
            return None
        return Assertion("cached", Verdict.INCONCLUSIVE, f"answer ({self.cached}): proves nothing", hint)


def judge_answer(
    status: int,
    headers: Mapping[str, str],
    body: bytes = b"",
    *,
    expected_status: int = 0,
    is_at_cloudflare: bool = True,
) -> EdgeAnswer:
    """Return how far a response is evidence. The names in `headers` are in lower case.

    `expected_status`: the wanted one. A block with it is accepted, and with 503 also maintenance mode.
    `is_at_cloudflare`: whether the service is behind Cloudflare, whose responses all have `cf-ray`.
    """
    obstacle = None if expected_status == 503 else _detect_maintenance(status, headers)
    place, (cached, is_stored) = _find_edge_place(headers), _describe_cache(headers)
    is_proxy = status in PROXY_STATUSES or (status in GATEWAY_STATUSES and is_at_cloudflare and not place)
    obstacle = obstacle or _detect_blocker(status, headers, body, expected_status=expected_status, is_proxy=is_proxy)
    return EdgeAnswer(obstacle, cached, is_stored, place)


def judge_error(error: Exception) -> Assertion:
    """Return the assertion on a request of httpx without a response.

    Only a service that accepted the request and stayed silent is unhealthy. DNS, TLS, a proxy or a lost connection may
    be a fault of our own network.
    """
    import httpx  # a tenth of a second, and the browser's program does not need it

    if isinstance(error, httpx.ReadTimeout):
        return Assertion("answer", Verdict.UNHEALTHY, "no answer within 10 s")
    return Assertion("answer", Verdict.INCONCLUSIVE, f"{UNREACHABLE} ({type(error).__name__})")


def judge_version(echoed: str | None, versions: frozenset[str]) -> Assertion:
    """Return the assertion on the version that a response names; `versions` are those that may answer, empty for any.

    An old version may not name itself: then it is inconclusive, and fails nothing.
    """
    if echoed is None:
        text = "the response has no version ID, so its version is not proved"
        return Assertion("version", Verdict.INCONCLUSIVE, text)
    if not versions or echoed in versions:
        return Assertion("version", Verdict.HEALTHY, echoed[:8])
    return Assertion("version", Verdict.UNHEALTHY, f"{echoed[:8]} still answers")


def _find_edge_place(headers: Mapping[str, str]) -> str:
    found = _RAY.fullmatch(headers.get("cf-ray", "").strip())
    return found[1] if found else ""


def _describe_cache(headers: Mapping[str, str]) -> tuple[str, bool]:
    """Return the headers of an answer that a cache gave, and whether it has an age.

    Any age but 0 counts, also with another status: a Worker may return what it read from the Cache API.
    """
    status, age = headers.get("cf-cache-status", "").strip().upper(), headers.get("age", "0").strip()
    is_old = age.strip("0") != ""
    if not is_old and status not in CACHED_STATUSES:
        return "", False
    parts = [f"cf-cache-status: {status}"] if _SHOWN_STATUS.fullmatch(status) else []
    if is_old:
        parts.append(f"age {age} s" if _SHOWN_AGE.fullmatch(age) else "an unreadable age")
    return ", ".join(parts), is_old


def describe_no_proof(cached: str) -> str:
    """Return the text for people about an answer with these headers."""
    return f"cached answer ({cached}): proves nothing"


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


def _detect_maintenance(status: int, headers: Mapping[str, str]) -> Assertion | None:
    if status != 503 or MAINTENANCE_HEADER not in headers:
        return None
    who = "its switch" if headers[MAINTENANCE_HEADER] == SWITCH_VALUE else MAINTENANCE_HEADER
    text = f"in maintenance mode: {who} answers with status 503, so the state of the service is unknown"
    return Assertion(MAINTENANCE, Verdict.INCONCLUSIVE, text)


def _detect_blocker(
    status: int, headers: Mapping[str, str], body: bytes, *, expected_status: int, is_proxy: bool
) -> Assertion | None:
    is_wanted = status == expected_status
    who, hint = _find_blocker(status, headers, body[:MAX_BYTES_READ], is_wanted=is_wanted), CHALLENGE_HINT
    if not who and (access := _find_access(status, headers, is_wanted=is_wanted)):
        who, hint = access, ACCESS_HINT
    if not who and is_proxy and not is_wanted:
        who, hint = "a proxy before Cloudflare", PROXY_HINT
    if not who:
        return None
    text = f"{who} answered with status {status}, so the state of the service is unknown"
    return Assertion("challenge", Verdict.INCONCLUSIVE, text, hint)


def _find_blocker(status: int, headers: Mapping[str, str], body: bytes, *, is_wanted: bool) -> str:
    """Return who at Cloudflare answered instead of the service; empty if the service did."""
    if "challenge" in headers.get("cf-mitigated", "") or (status in {403, 429, 503} and CHALLENGE_PAGE in body):
        return "a Cloudflare bot challenge"
    if status in {403, 429} and not is_wanted and (BLOCK_PAGES[0] in body or body.startswith(BLOCK_PAGES[1])):
        return "a Cloudflare firewall rule"
    return ""


def _find_access(status: int, headers: Mapping[str, str], *, is_wanted: bool) -> str:
    if 300 <= status < 400 and redirect_host(headers.get("location", "")).endswith(ACCESS_DOMAIN):
        return "a login page of Cloudflare Access"
    is_refused = status in {401, 403} and not is_wanted and any(name in headers for name in ACCESS_HEADERS)
    return "a refusal of Cloudflare Access" if is_refused else ""


def redirect_host(location: str) -> str:
    """Return the host of a `location` header; empty if it has none, or one with unusual characters."""
    try:
        host = urlsplit(location).hostname or ""
    except ValueError:
        return ""
    return host if host.isascii() and host.isprintable() else ""
