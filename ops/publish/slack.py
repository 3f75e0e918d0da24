"""Format messages for Slack webhooks.

docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
"""

from typing import Any

from ops.publish.chat_sender import ChatService

_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
"""Every character that Slack wants escaped: `<!channel>`, `<@U1>` and `<url|text>` then have no effect.

docs.slack.dev/messaging/formatting-message-text#escaping
"""


def _body(text: str, links: tuple[str, ...]) -> dict[str, Any]:
    lines = [text.translate(_ESCAPES), *(f"<{link}>" for link in links)]
    return {"text": "\n".join(lines), "unfurl_links": False, "unfurl_media": False}


def _is_accepted(status: int, answer: str) -> bool:
    return status == 200 and answer.strip() == "ok"


SLACK = ChatService("Slack", {"hooks.slack.com"}, _body, _is_accepted)
