"""Format messages for Discord webhooks.

docs.discord.com/developers/resources/webhook#execute-webhook
"""

import re
from typing import Any

from ops.publish.chat_sender import ChatService

LONGEST = 2000
SUPPRESS_EMBEDS = 4


def _body(text: str, links: tuple[str, ...]) -> dict[str, Any]:
    """Return the message. Escaped Markdown cannot hide where a link leads, and no text can mention anybody."""
    plain = re.sub(r"([\\*_~`|<>\[\]()#])", r"\\\1", text)
    after = "".join(f"\n<{link}>" for link in links)
    return {
        "content": plain[: LONGEST - len(after)] + after,
        "allowed_mentions": {"parse": []},
        "flags": SUPPRESS_EMBEDS,
    }


def _is_accepted(status: int, _answer: str) -> bool:
    return status in {200, 204}


DISCORD = ChatService("Discord", {"discord.com", "discordapp.com"}, _body, _is_accepted, query="?wait=true")
"""Without `wait`, Discord's response does not say whether it saved the message."""
