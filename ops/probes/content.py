"""What an address holds, as a digest: to see whether two addresses answer with the same."""

from hashlib import sha256
from urllib.parse import urljoin, urlsplit

import httpx

from ops.model.pages_seen import Page
from ops.probes.challenge import stopped
from ops.probes.http import Web

CLOSED = {401, 403, 407, 429}
"""Whoever answers so shows nothing of what it holds: Access before previews, a firewall, a limit."""


def look(web: Web, url: str) -> Page:
    """Ask once. A failure of the server is one whatever its text says, which may name a time or a request."""
    try:
        response, body = web.look(url)
    except httpx.RequestError as error:
        return Page(why=f"{url} could not be reached ({type(error).__name__})")
    status = response.status_code
    if challenged := stopped(status, response.headers, body):
        return Page(why=f"{url} could not be read: {challenged.detail}")
    if status in CLOSED:
        return Page(why=f"{url} is closed to this machine (status {status})")
    if 300 <= status < 400:
        elsewhere = urlsplit(urljoin(url, response.headers.get("location", "")))
        if elsewhere.netloc != urlsplit(url).netloc:
            return Page(why=f"{url} leads to another host, {elsewhere.netloc[:80]}")
        body = f"{elsewhere.path}?{elsewhere.query}".encode()
    held = b"" if status >= 500 else body
    return Page(sha256(f"{status} ".encode() + held).hexdigest()[:32], absent=status == 404)
