"""Read what an address serves, as a digest: to tell whether two addresses serve the same."""

import time
from hashlib import sha256
from urllib.parse import urljoin, urlsplit

import httpx

from ops.core.clock import Clock
from ops.core.observations import Page
from ops.probes.challenge import stopped
from ops.probes.http import Web
from ops.probes.page_html import hashed_assets, normalized

CLOSED = {401, 403, 407, 429}
"""An answer with such a status shows nothing of the content: Access before previews, a firewall, a limit."""
PAUSES = (0.0, 0.0, 0.05, 0.1, 0.1, 0.1, 0.2, 0.2, 0.2)
"""Seconds before another try: one failed request of many must not stop a recovery."""
LONGEST = 3.0
"""Real seconds of answers and pauses, after which nothing is tried again."""


def look(web: Web, clock: Clock, url: str) -> Page:
    """Return what the address serves, after up to ten tries if the server fails, limits or drops the request."""
    latest = time.monotonic() + LONGEST
    page, is_final = _look(web, url)
    for pause in PAUSES:
        if is_final or time.monotonic() + pause > latest:
            break
        clock.sleep(pause)
        page, is_final = _look(web, url)
    return page


def _look(web: Web, url: str) -> tuple[Page, bool]:
    """The page, and whether another try would show the same. The text of a server's failure may name a time."""
    try:
        response, body = web.look(url)
    except httpx.RequestError as error:
        return Page(why=f"{url} could not be reached ({type(error).__name__})"), False
    status = response.status_code
    if challenged := stopped(status, response.headers, body):
        return Page(why=f"{url} could not be read: {challenged.detail}"), status == 403
    if status in CLOSED:
        return Page(why=f"{url} is closed to this machine (status {status})"), status != 429
    if status >= 500:
        return Page(_digest(status, b""), failure=status), False
    if 300 <= status < 400:
        elsewhere = urlsplit(urljoin(url, response.headers.get("location", "")))
        if elsewhere.netloc != urlsplit(url).netloc:
            return Page(why=f"{url} leads to another host, {elsewhere.netloc[:80]}"), True
        body = f"{elsewhere.path}?{elsewhere.query}".encode()
    is_html = "html" in response.headers.get("content-type", "")
    assets = hashed_assets(body) if is_html and status == 200 else ()
    digest = _digest(status, normalized(body) if is_html else body)
    return Page(digest, absent=status == 404, assets=_digest(200, "\n".join(assets).encode()) if assets else ""), True


def _digest(status: int, content: bytes) -> str:
    return sha256(f"{status} ".encode() + content).hexdigest()[:32]
