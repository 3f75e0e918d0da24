"""The chat services, and posting one message to a webhook of one.

The URL is the credential: no text of ours contains it, and redirects are not followed.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ops.core.loopback import is_loopback
from ops.core.redaction import Secret

TIMEOUT = 3.0
"""Real seconds for one message, in all."""
MAX_CHARACTERS = 900
"""Characters of a message: as much as a phone shows, and half of Discord's limit even if each one is escaped."""

_SLACK_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
"""Every character that Slack wants escaped: `<!channel>`, `<@U1>` and `<url|text>` then have no effect.

docs.slack.dev/messaging/formatting-message-text#escaping
"""

LONGEST_OF_DISCORD, SUPPRESS_EMBEDS = 2000, 4
"""docs.discord.com/developers/resources/webhook#execute-webhook"""


@dataclass(frozen=True)
class ChatService:
    """A chat service: its webhook hosts, its message format, and its sign of success."""

    name: str
    hosts: Collection[str]
    body: Callable[[str, tuple[str, ...]], dict[str, Any]]
    """Build the body from the text, which is escaped, and the links, which stay links."""
    is_accepted: Callable[[int, str], bool]
    """Return whether the message was accepted, from status and text of the response."""
    query: str = ""


class NotSentError(Exception):
    """The message was not sent. The text holds the status or the kind of failure only."""


def is_webhook_url(service: ChatService, url: str) -> bool:
    """Return whether the URL is HTTPS on a host of the service, without user information, or is on this machine."""
    try:
        parts = urlsplit(url)
        is_of_service = parts.scheme == "https" and parts.hostname in service.hosts and parts.port in {None, 443}
    except ValueError:
        return False
    return "@" not in parts.netloc and (is_of_service or is_loopback(url))


def send(service: ChatService, url: Secret, text: str, links: tuple[str, ...]) -> None:
    """Post the message. Each step is limited in time; the caller limits the total. Raises NotSentError."""
    import httpx

    address = url.reveal()
    trust = not is_loopback(address)
    verify: Any = httpx.create_ssl_context(trust_env=trust) if trust else False
    body = service.body(text[:MAX_CHARACTERS], links)
    try:
        with httpx.Client(timeout=TIMEOUT, follow_redirects=False, trust_env=trust, verify=verify) as http:
            answer = http.post(address + service.query, json=body)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise NotSentError(type(error).__name__) from None
    if not service.is_accepted(answer.status_code, answer.text):
        raise NotSentError(f"it answered {answer.status_code}")


def _slack_body(text: str, links: tuple[str, ...]) -> dict[str, Any]:
    """Return the message (docs.slack.dev/messaging/sending-messages-using-incoming-webhooks)."""
    lines = [text.translate(_SLACK_ESCAPES), *(f"<{link}>" for link in links)]
    return {"text": "\n".join(lines), "unfurl_links": False, "unfurl_media": False}


def _is_accepted_by_slack(status: int, answer: str) -> bool:
    return status == 200 and answer.strip() == "ok"


SLACK = ChatService("Slack", {"hooks.slack.com"}, _slack_body, _is_accepted_by_slack)


def _discord_body(text: str, links: tuple[str, ...]) -> dict[str, Any]:
    """Return the message. Escaped Markdown cannot hide where a link leads, and no text can mention anybody."""
    plain = re.sub(r"([\\*_~`|<>\[\]()#])", r"\\\1", text)
    after = "".join(f"\n<{link}>" for link in links)
    return {
        "content": plain[: LONGEST_OF_DISCORD - len(after)] + after,
        "allowed_mentions": {"parse": []},
        "flags": SUPPRESS_EMBEDS,
    }


def _is_accepted_by_discord(status: int, _answer: str) -> bool:
    return status in {200, 204}


DISCORD = ChatService(
    "Discord", {"discord.com", "discordapp.com"}, _discord_body, _is_accepted_by_discord, query="?wait=true"
)
"""Without `wait`, Discord's response does not say whether it saved the message."""
