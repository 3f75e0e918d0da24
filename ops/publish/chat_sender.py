"""One POST to a webhook. Its URL is the credential: no text of ours holds it, and no redirect carries it on."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ops.core.loopback import is_loopback
from ops.core.redaction import Secret

LIMIT = 3.0
"""Real seconds for one notice, all of it."""
LONGEST = 900
"""Characters of a notice's text: what a phone shows, and half of what Discord takes even where each one is escaped."""


@dataclass(frozen=True)
class ChatService:
    """Where a service's webhooks live, what it wants to be sent, and how it says that it took it."""

    name: str
    hosts: Collection[str]
    body: Callable[[str, tuple[str, ...]], dict[str, Any]]
    """From the text, which is inert afterwards, and the links, which stay links."""
    is_accepted: Callable[[int, str], bool]
    """From the status and the text of the answer."""
    query: str = ""


class NotSentError(Exception):
    """The text says why, by status or by the kind of failure alone."""


def is_address(service: ChatService, url: str) -> bool:
    """Https and a host of the service's, and nothing that could lead elsewhere; or this machine."""
    try:
        parts = urlsplit(url)
        own = parts.scheme == "https" and parts.hostname in service.hosts and parts.port in {None, 443}
    except ValueError:
        return False
    return "@" not in parts.netloc and (own or is_loopback(url))


def send(service: ChatService, url: Secret, text: str, links: tuple[str, ...]) -> None:
    """Raises NotSentError. The caller bounds the time in all; each step is bounded here."""
    import httpx

    address = url.reveal()
    trust = not is_loopback(address)
    verify: Any = httpx.create_ssl_context(trust_env=trust) if trust else False
    body = service.body(text[:LONGEST], links)
    try:
        with httpx.Client(timeout=LIMIT, follow_redirects=False, trust_env=trust, verify=verify) as http:
            answer = http.post(address + service.query, json=body)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise NotSentError(type(error).__name__) from None
    if not service.is_accepted(answer.status_code, answer.text):
        raise NotSentError(f"it answered {answer.status_code}")
