"""Judge a cached answer of a site by its content.

Files of a site answer `HIT` also right after a deployment. Content that the wanted deployment has, and the replaced
one has not, proves which of them is live. A deployment's own URL always shows its own content.
"""

import functools
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ops.core.observations import PageContent
from ops.probes import page_content
from ops.probes.cache import CachedContent, describe_no_proof, remove_cache_buster
from ops.probes.http import MAX_BYTES

if TYPE_CHECKING:
    import httpx

    from ops.core.verdict import WantedContent
    from ops.probes.http import ProbeClient


UNREAD_HINT = "Let this machine read the deployments' own URLs. Then run the same command again."
PURGE_HINT = "Purge the cache of the zone (dashboard → Caching → Configuration). Then run the same command again."


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
        wanted = self._find()
        seen, _ = page_content.describe_response(url, response, body)
        if wanted is None or not seen.digest or len(body) >= MAX_BYTES:
            return CachedContent.UNKNOWN
        parts = urlsplit(remove_cache_buster(url))
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        found = self._classify(wanted, target, seen)
        return CachedContent.WANTED if found == CachedContent.IN_BOTH and self._is_shown(wanted) else found

    def _classify(self, wanted: "WantedContent", target: str, seen: PageContent) -> CachedContent:
        own, *others = (self._read(each.rstrip("/") + target) for each in (wanted.url, *wanted.others))
        return classify(seen, own, others)

    def _is_shown(self, wanted: "WantedContent") -> bool:
        with self._lock:
            return self._is_live_now(wanted)

    def _is_live(self, wanted: "WantedContent") -> bool:
        """Return whether a compared path of the site shows the wanted deployment now, and none another one."""
        pages = ((path, page_content.read_once(self._web, wanted.site.rstrip("/") + path)) for path in wanted.paths)
        found = {self._classify(wanted, path, page) for path, page in pages}
        return CachedContent.WANTED in found and CachedContent.REPLACED not in found

    def explain(self, content: CachedContent, cached: str) -> tuple[str, str]:
        """Return why a cached answer does not count, and the hint. `cached`: its headers."""
        wanted = self._find()
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

    def _find(self) -> "WantedContent | None":
        with self._lock:
            return self._wanted()

    def _read(self, url: str) -> PageContent:
        if url not in self._known:
            page = page_content.read_once(self._web, url)
            if not page.digest or page.failure_status:
                return page_content.read_once(self._web, url)
            self._known[url] = page
        return self._known[url]


def classify(seen: PageContent, wanted: PageContent, others: Sequence[PageContent]) -> CachedContent:
    """Return which deployments have the content; by the hashed assets if the edge changed the rest of the page.

    A replaced deployment that fails has other content.
    """
    if seen.failure_status or wanted.failure_status or not all(page.digest for page in (seen, wanted, *others)):
        return CachedContent.UNKNOWN
    for by_assets in (False, True) if seen.assets_digest else (False,):
        found = seen.comparison_digest(by_assets=by_assets)
        is_wanted = wanted.comparison_digest(by_assets=by_assets) == found
        is_replaced = any(each.comparison_digest(by_assets=by_assets) == found for each in others)
        if is_wanted and is_replaced:
            return CachedContent.IN_BOTH
        if is_wanted or is_replaced:
            return CachedContent.WANTED if is_wanted else CachedContent.REPLACED
    return CachedContent.OTHER
