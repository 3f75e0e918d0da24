"""Read the content of a URL as a digest, without what the edge adds; judge cached answers.

A zone may add the Web Analytics script, hide e-mail addresses, or defer scripts; the deployment's own URL serves the
page as it was built. developers.cloudflare.com: web-analytics, waf/tools/scrape-shield/email-address-obfuscation,
speed/optimization/content/rocket-loader, cloudflare-challenges/challenge-types/javascript-detections.

Files of a site answer `HIT` also right after a deployment. Content that the wanted deployment has, and the replaced
one has not, proves which of them is live. A deployment's own URL always shows its own content.
"""

import functools
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import httpx

from ops.core.clock import Clock
from ops.core.verdict import PageContent
from ops.probes.edge_answer import (
    CachedContent,
    add_cache_buster,
    describe_no_proof,
    judge_answer,
    remove_cache_buster,
    remove_unique_value,
)
from ops.probes.http import MAX_BYTES, ProbeClient

if TYPE_CHECKING:
    from ops.core.verdict import WantedContent

INJECTED_SCRIPT_MARKS = (
    b"static.cloudflareinsights.com/beacon",
    b"/cdn-cgi/scripts/",
    b"/cdn-cgi/challenge-platform/",
    b"/cdn-cgi/zaraz/",
    b"__CF$cv$params",
)
"""Texts that identify a script added by Cloudflare."""
COMMENTS = (
    b"<!-- Cloudflare Pages Analytics -->",
    b"<!-- Cloudflare Web Analytics -->",
    b"<!-- End Cloudflare Web Analytics -->",
)
ROCKET_LOADER_GUARD = b"if (!window.__cfRLUnblockHandlers) return false; "
"""Text that Rocket Loader adds before the code of an event attribute."""
_HIDDEN_TEXT = re.compile(
    rb'<(?:a|span)\b[^<>]{0,200}\bdata-cfemail="([0-9a-f]{4,600})"[^<>]{0,100}>\[email&#160;protected\]</(?:a|span)>'
)
_HIDDEN_LINK = re.compile(rb'href="/cdn-cgi/l/email-protection#([0-9a-f]{4,600})"')
_SCRIPT_TYPE = re.compile(rb" type=(?:[0-9a-f]{8,64}-)?text/javascript(?=[ >])")
_MODULE_TYPE = re.compile(rb" type=[0-9a-f]{8,64}-module(?=[ >])")
_MODIFIED = re.compile(rb" data-cf-modified-[0-9a-f]{0,64}-=?")
_NONCE = re.compile(rb" nonce=[A-Za-z0-9+/=_-]{0,200}(?=[ >])")
_REFERENCE = re.compile(rb"[ \n](?:src|href|data-rocketsrc)=[\"']?([^\"'\s<>]{1,500})")
_HASH = re.compile(r"(?:^|[-._/=])(?=([A-Za-z0-9_-]{8,64})(?:[.?&]|$))")
UNREAD_HINT = "Let this machine read the deployments' own URLs. Then run the same command again."
PURGE_HINT = "Purge the cache of the zone (dashboard → Caching → Configuration). Then run the same command again."


def normalize_html(html: bytes) -> bytes:
    """Return the page without additions of the edge and without insignificant quotes and white space."""
    for comment in COMMENTS:
        html = html.replace(comment, b"")
    html = _HIDDEN_TEXT.sub(lambda found: _decode_hidden_email(found[1]), _without_injected_scripts(html))
    html = _HIDDEN_LINK.sub(lambda found: b'href="mailto:' + _decode_hidden_email(found[1]) + b'"', html)
    html = b" ".join(html.replace(ROCKET_LOADER_GUARD, b"").replace(b'"', b"").replace(b"'", b"").split())
    html = html.replace(b"http://", b"https://").replace(b"> <", b"><")  # Automatic HTTPS Rewrites
    for pattern, instead in ((_SCRIPT_TYPE, b""), (_MODULE_TYPE, b" type=module"), (_MODIFIED, b""), (_NONCE, b"")):
        html = pattern.sub(instead, html)
    return html


def find_hashed_assets(html: bytes) -> tuple[str, ...]:
    """Return the references whose names contain a content hash, sorted, without those of the edge."""
    references = {reference[1].decode("latin-1") for reference in _REFERENCE.finditer(html)}
    return tuple(sorted(each for each in references if not _is_cloudflares(each) and _is_hashed(each)))


def _without_injected_scripts(html: bytes) -> bytes:
    return b"".join(part for part in _html_parts(html) if not _is_injected(part))


def _html_parts(html: bytes) -> Iterator[bytes]:
    """Yield each script element, and the text between them."""
    at, lower = 0, html.lower()
    while (start := lower.find(b"<script", at)) >= 0 and (end := lower.find(b"</script>", start)) >= 0:
        yield html[at:start]
        at = end + len(b"</script>")
        yield html[start:at]
    yield html[at:]


def _is_injected(part: bytes) -> bool:
    return part[:7].lower() == b"<script" and any(mark in part for mark in INJECTED_SCRIPT_MARKS)


def _decode_hidden_email(hidden: bytes) -> bytes:
    """Decode a hidden e-mail address: the first byte is the key, and the others are XORed with it."""
    if len(hidden) % 2:
        return hidden
    key, *text = bytes.fromhex(hidden.decode())
    return bytes(each ^ key for each in text)


def _is_cloudflares(reference: str) -> bool:
    return "/cdn-cgi/" in reference or "cloudflareinsights.com/" in reference


def _is_hashed(reference: str) -> bool:
    """Return whether a part of the name has eight or more characters and mixes digits, capitals and small letters."""
    name = reference.rpartition("/")[2]
    return any(_is_mixed(found[1]) for found in _HASH.finditer(name))


def _is_mixed(part: str) -> bool:
    kinds = [any(map(test, part)) for test in (str.isdigit, str.islower, str.isupper)]
    return sum(kinds) > 1


CLOSED_STATUSES = {401, 403, 407, 429}
"""Statuses that hide the content: Access on previews, a firewall, a rate limit."""
RETRY_DELAYS = (0.0, 0.0, 0.05, 0.1, 0.1, 0.1, 0.2, 0.2, 0.2)
"""Seconds before each retry, since one failed request of many must not stop a recovery."""
RETRY_SECONDS = 3.0
"""Real seconds after which no retry starts."""


def read_page(web: "ProbeClient", clock: Clock, url: str) -> PageContent:
    """Return the content of a URL, with up to ten attempts if the server fails, limits or drops the request."""
    latest = time.monotonic() + RETRY_SECONDS
    page, is_final = _look_at_page(web, url)
    for pause in RETRY_DELAYS:
        if is_final or time.monotonic() + pause > latest:
            break
        clock.sleep(pause)
        page, is_final = _look_at_page(web, url)
    return page


def read_once(web: "ProbeClient", url: str) -> PageContent:
    """Return the content of a URL after one request."""
    return _look_at_page(web, url)[0]


def _look_at_page(web: "ProbeClient", url: str) -> tuple[PageContent, bool]:
    """Return the content, and whether a retry is useless. No cache that honors the query answers."""
    asked = add_cache_buster(url)
    try:
        response, body = web.fetch(asked)
    except httpx.RequestError as error:
        return PageContent(error=f"{url} could not be reached ({type(error).__name__})"), False
    return describe_response(asked, response, body)


def describe_response(asked: str, response: httpx.Response, body: bytes) -> tuple[PageContent, bool]:
    """Return the content of a response, and whether a retry is useless.

    The text of a server error is ignored: it may hold a time. So is the unique value of the request.
    """
    status, url = response.status_code, remove_cache_buster(asked)
    if blocker := judge_answer(status, response.headers, body).blocker:
        return PageContent(error=f"{url} could not be read: {blocker.detail}"), status not in {429, 502, 503, 504}
    if status in CLOSED_STATUSES:
        return PageContent(error=f"{url} is closed to this machine (status {status})"), status != 429
    if status >= 500:
        return PageContent(_content_digest(status, b""), failure_status=status), False
    if 300 <= status < 400:
        elsewhere = urlsplit(urljoin(url, remove_cache_buster(response.headers.get("location", ""))))
        if elsewhere.netloc != urlsplit(url).netloc:
            return PageContent(error=f"{url} redirects to another host, {elsewhere.netloc[:80]}"), True
        body = f"{elsewhere.path}?{elsewhere.query}".encode()
    body = remove_unique_value(asked, body)
    is_html = "html" in response.headers.get("content-type", "")
    assets = find_hashed_assets(body) if is_html and status == 200 else ()
    digest = _content_digest(status, normalize_html(body) if is_html else body)
    return PageContent(
        digest,
        is_absent=status == 404,
        assets_digest=_content_digest(200, "\n".join(assets).encode()) if assets else "",
    ), True


def _content_digest(status: int, content: bytes) -> str:
    return sha256(f"{status} ".encode() + content).hexdigest()[:32]


class DeploymentComparison:
    """Compares answers of a site with its deployments, each of which is read once per path."""

    def __init__(
        self, web: "ProbeClient", find_content: "Callable[[], WantedContent | None]", known: dict[str, PageContent]
    ) -> None:
        """`find_content` is called for the first cached answer. `known`: URL → content, shared by all rounds."""
        self._web, self._known = web, known
        self._wanted = functools.cache(find_content)
        self._is_live_now = functools.cache(self._is_live)
        self._lock = threading.Lock()

    def compare(self, url: str, response: "httpx.Response", body: bytes) -> CachedContent:
        wanted = self._find_wanted_content()
        seen, _ = describe_response(url, response, body)
        if wanted is None or not seen.digest or len(body) >= MAX_BYTES:
            return CachedContent.UNKNOWN
        parts = urlsplit(remove_cache_buster(url))
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        content = self._classify_page(wanted, target, seen)
        return CachedContent.WANTED if content == CachedContent.IN_BOTH and self._is_shown(wanted) else content

    def _classify_page(self, wanted: "WantedContent", target: str, seen: PageContent) -> CachedContent:
        own, *others = (self._read_page(each.rstrip("/") + target) for each in (wanted.url, *wanted.others))
        return classify_content(seen, own, others)

    def _is_shown(self, wanted: "WantedContent") -> bool:
        with self._lock:
            return self._is_live_now(wanted)

    def _is_live(self, wanted: "WantedContent") -> bool:
        """Return whether a compared path of the site shows the wanted deployment now, and none another one."""
        pages = ((path, read_once(self._web, wanted.site.rstrip("/") + path)) for path in wanted.paths)
        contents = {self._classify_page(wanted, path, page) for path, page in pages}
        return CachedContent.WANTED in contents and CachedContent.REPLACED not in contents

    def explain(self, content: CachedContent, cached: str) -> tuple[str, str]:
        """Return why a cached answer does not count, and the hint. `cached`: its headers."""
        wanted = self._find_wanted_content()
        if wanted is None:
            return describe_no_proof(cached), ""
        answer, name = f"cached answer ({cached})", wanted.name
        match content:
            case CachedContent.REPLACED:
                return f"{answer} of a replaced deployment, not of {name}", PURGE_HINT
            case CachedContent.IN_BOTH:
                return f"{answer}, equal in {name} and a replaced deployment: proves nothing", ""
            case CachedContent.OTHER:
                return f"{answer} with other content than {name}: proves nothing", PURGE_HINT
            case _:
                return f"{answer}, and it cannot be compared with {name}: proves nothing", UNREAD_HINT

    def _find_wanted_content(self) -> "WantedContent | None":
        with self._lock:
            return self._wanted()

    def _read_page(self, url: str) -> PageContent:
        if url not in self._known:
            page = read_once(self._web, url)
            if not page.digest or page.failure_status:
                return read_once(self._web, url)
            self._known[url] = page
        return self._known[url]


def classify_content(seen: PageContent, wanted: PageContent, others: Sequence[PageContent]) -> CachedContent:
    """Return which deployments have the content; by the hashed assets if the edge changed the rest of the page.

    A replaced deployment that fails has other content.
    """
    if seen.failure_status or wanted.failure_status or not all(page.digest for page in (seen, wanted, *others)):
        return CachedContent.UNKNOWN
    for by_assets in (False, True) if seen.assets_digest else (False,):
        digest = seen.comparison_digest(by_assets=by_assets)
        is_wanted = wanted.comparison_digest(by_assets=by_assets) == digest
        is_replaced = any(each.comparison_digest(by_assets=by_assets) == digest for each in others)
        if is_wanted and is_replaced:
            return CachedContent.IN_BOTH
        if is_wanted or is_replaced:
            return CachedContent.WANTED if is_wanted else CachedContent.REPLACED
    return CachedContent.OTHER
