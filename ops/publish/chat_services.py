"""Chat services: the request that posts a message, and the answer that accepts it.

A webhook's URL or a token is the credential: no text of ours contains it, and redirects are not followed. A sandbox
run reaches only services on this machine.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ops.core.client_guards import is_loopback
from ops.core.names import cut_text
from ops.core.redaction import Secret

if TYPE_CHECKING:
    from ops.config.notify import GenericWebhook, NotifyConfig

TIMEOUT = 3.0
"""Real seconds for one message, in all."""
MAX_ANSWER = 10_000
"""Bytes of an answer that are read."""
MAX_CHARACTERS = 900
"""Characters of a message: as much as a phone shows, and half of Discord's limit even if each one is escaped."""
SLACK_API, SLACK_API_VARIABLE = "https://slack.com/api", "SLACK_API_BASE_URL"

_SLACK_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
"""Every character that Slack wants escaped: `<!channel>`, `<@U1>` and `<url|text>` then have no effect.

docs.slack.dev/messaging/formatting-message-text#escaping
"""
MESSAGE_ID = re.compile(r"[0-9]{1,12}\.[0-9]{6}")
"""Id of a message of Slack, by which a reply names its thread."""
_SLACK_ERROR = re.compile(r"[a-z_]{1,60}")
_MAYBE_POSTED = {"fatal_error", "internal_error", "request_timeout", "service_unavailable"}
"""Errors after which the message may be there all the same: docs.slack.dev/reference/methods/chat.postMessage"""

LONGEST_OF_DISCORD, SUPPRESS_EMBEDS = 2000, 4
"""docs.discord.com/developers/resources/webhook#execute-webhook"""


class PagingAction(StrEnum):
    """Meaning of a message for a service that pages people, in the words of PagerDuty's Events API v2."""

    TRIGGER = "trigger"
    """People are needed."""
    ACKNOWLEDGE = "acknowledge"
    """Somebody works on it."""
    RESOLVE = "resolve"


@dataclass(frozen=True)
class ChatMessage:
    """A message to the team: one line, and links."""

    text: str
    state: str
    """State of run or incident in one or two words, such as "opened"."""
    action: PagingAction
    links: tuple[str, ...] = ()
    """That of the incident first, if there is one."""
    key: str = ""
    """The same for all messages of an incident: its address, else the id of the run."""


@dataclass(frozen=True)
class ChatService:
    """A chat service with incoming webhooks: their hosts, the message format, and the sign of success."""

    name: str
    hosts: Collection[str]
    body: Callable[[str, tuple[str, ...]], dict[str, Any]]
    """Build the body from the text, which is escaped, and the links, which stay links."""
    is_accepted: Callable[[int, str], bool]
    """Return whether the message was accepted, from status and text of the response."""
    query: str = ""


@dataclass(frozen=True)
class Sender:
    """A configured chat: posts a message to a thread, and returns the id of the message, "" if there is none."""

    name: str
    send: Callable[[ChatMessage, str], str]
    thread_key: str = ""
    """Channel whose messages have ids, so that they can start a thread; "" if they have none."""


class NotSentError(Exception):
    """The message was not sent. The text holds the status or the kind of failure only."""


def find_senders(
    environ: Mapping[str, str], notify: "NotifyConfig", *, is_drill: bool
) -> tuple[list[Sender], list[str]]:
    """Return the chats whose secrets are set, and problems of others. A drill reaches only those of a sandbox."""
    senders, problems = list[Sender](), list[str]()
    finders = (_find_webhooks, _find_slack_bot, _find_generic)
    for sender, problem, is_local in (each for find in finders for each in find(environ, notify)):
        if sender is not None and is_local == is_drill:
            senders.append(sender)
        elif not is_drill:
            problems.append(problem)
    return senders, problems


_Found = tuple[Sender | None, str, bool]
"""A chat or None, the problem if it cannot be used, and whether it is on this machine."""


def _find_webhooks(environ: Mapping[str, str], notify: "NotifyConfig") -> Iterator[_Found]:
    for chat, secret in notify.webhook_names.items():
        if url := environ.get(secret, "").strip():
            service = CHATS[chat]
            is_valid = is_webhook_url(service, url)
            sender = Sender(service.name, partial(_send_to_webhook, service, Secret(url))) if is_valid else None
            yield sender, f"{secret} is not the address of a {service.name} webhook", is_loopback(url)


def _find_slack_bot(environ: Mapping[str, str], notify: "NotifyConfig") -> Iterator[_Found]:
    bot = notify.slack_bot
    if bot is None or not (token := environ.get(bot.token, "").strip()):
        return
    base = environ.get(SLACK_API_VARIABLE, "").rstrip("/") or SLACK_API
    is_valid = re.fullmatch(r"xoxb-[!-~]+", token) is not None and (base == SLACK_API or is_loopback(base))
    send = partial(_send_to_slack, base, Secret(token), bot.channel)
    problem = f"{bot.token} is not the token of a Slack bot"
    yield Sender("Slack", send, bot.channel) if is_valid else None, problem, is_loopback(base)


def _find_generic(environ: Mapping[str, str], notify: "NotifyConfig") -> Iterator[_Found]:
    for webhook in notify.webhooks:
        if not (url := environ.get(webhook.url, "").strip()):
            continue
        value = environ.get(webhook.secret, "").strip() if webhook.secret else ""
        is_valid = _is_webhook_https(url) or is_loopback(url)
        lacks = f"{webhook.secret} is not set" if webhook.secret and not value else ""
        send = partial(_send_to_generic, webhook, Secret(url), Secret(value))
        problem = lacks or f"{webhook.url} is not an https address without user and password"
        yield Sender(webhook.name, send) if is_valid and not lacks else None, problem, is_loopback(url)


def is_webhook_url(service: ChatService, url: str) -> bool:
    """Return whether the URL is HTTPS on a host of the service, without user information, or is on this machine."""
    return (_is_webhook_https(url, (443,)) and urlsplit(url).hostname in service.hosts) or is_loopback(url)


def _is_webhook_https(url: str, ports: Collection[int] = ()) -> bool:
    try:
        parts = urlsplit(url)
        is_port = not ports or parts.port in {None, *ports}
    except ValueError:
        return False
    return parts.scheme == "https" and bool(parts.hostname) and "@" not in parts.netloc and is_port


def _send_to_webhook(service: ChatService, url: Secret, message: ChatMessage, _thread: str) -> str:
    status, answer = _post_chat_json(
        url.reveal() + service.query, service.body(cut_text(message.text, MAX_CHARACTERS), message.links)
    )
    if not service.is_accepted(status, answer):
        raise NotSentError(f"it answered {status}")
    return ""


def _post_chat_json(address: str, body: Any, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Post JSON within TIMEOUT, and return status and text of the answer. Raises NotSentError."""
    import httpx

    from ops.core.bounded_http import open_client, read_answer

    trust = not is_loopback(address)
    verify: Any = httpx.create_ssl_context(trust_env=trust) if trust else False
    try:
        with open_client(timeout=TIMEOUT, follow_redirects=False, trust_env=trust, verify=verify) as http:
            answer, said = read_answer(
                http, "POST", address, within=TIMEOUT, most=MAX_ANSWER, is_cut=True, json=body, headers=headers
            )
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise NotSentError(type(error).__name__) from None
    return answer.status_code, said.decode(errors="replace")


def _slack_text(text: str, links: tuple[str, ...]) -> str:
    return "\n".join([text.translate(_SLACK_ESCAPES), *(f"<{link}>" for link in links)])


def _slack_body(text: str, links: tuple[str, ...]) -> dict[str, Any]:
    """Return the message (docs.slack.dev/messaging/sending-messages-using-incoming-webhooks)."""
    return {"text": _slack_text(text, links), "unfurl_links": False, "unfurl_media": False}


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


CHATS: dict[str, ChatService] = {"slack": SLACK, "discord": DISCORD}
"""Key under `notify` in ops.yml → chat service with incoming webhooks."""


def _send_to_slack(base: str, token: Secret, channel: str, message: ChatMessage, thread: str) -> str:
    """Post as a bot, in the thread if there is one, and return the id of the message.

    A reply for which people are needed is shown in the channel too. A thread that Slack refuses does not cost the
    message: it is posted beside the thread. docs.slack.dev/reference/methods/chat.postMessage
    """
    body = {"channel": channel, **_slack_body(cut_text(message.text, MAX_CHARACTERS), message.links)}
    if not thread:
        return _post_to_slack(base, token, body)
    reply = {"thread_ts": thread, "reply_broadcast": message.action is PagingAction.TRIGGER}
    try:
        return _post_to_slack(base, token, {**body, **reply})
    except _ThreadRefusedError:
        return _post_to_slack(base, token, body)


class _ThreadRefusedError(NotSentError):
    """Slack answered with an error, after which the message is not in the channel."""


def _post_to_slack(base: str, token: Secret, body: Mapping[str, Any]) -> str:
    status, said = _post_chat_json(f"{base}/chat.postMessage", body, {"authorization": f"Bearer {token.reveal()}"})
    if status != 200:
        raise NotSentError(f"it answered {status}")
    try:
        answer = json.loads(said)
        is_posted, posted, error = answer["ok"] is True, str(answer.get("ts", "")), str(answer.get("error", ""))
    except (ValueError, TypeError, LookupError, AttributeError):
        raise NotSentError("its answer cannot be read") from None
    if not is_posted:
        why = f"it answered {error}" if _SLACK_ERROR.fullmatch(error) else "it refused the message"
        raise (NotSentError if error in _MAYBE_POSTED else _ThreadRefusedError)(why)
    return posted if MESSAGE_ID.fullmatch(posted) else ""


def _send_to_generic(webhook: "GenericWebhook", url: Secret, value: Secret, message: ChatMessage, _thread: str) -> str:
    values = {
        "text": cut_text(message.text, MAX_CHARACTERS),
        "state": message.state,
        "action": message.action.value,
        "link": next(iter(message.links), ""),
        "key": message.key,
        "secret": value.reveal(),
    }
    headers = {name: str(_fill_webhook_body(text, values)) for name, text in webhook.headers.items()}
    status, _ = _post_chat_json(url.reveal(), _fill_webhook_body(json.loads(webhook.body), values), headers)
    if not 200 <= status < 300:
        raise NotSentError(f"it answered {status}")
    return ""


def _fill_webhook_body(value: Any, values: Mapping[str, str]) -> Any:
    """Return the JSON value with the placeholders in its texts filled. A filled value is never read again."""
    if isinstance(value, str):
        return re.sub(r"\{([a-z]+)\}", lambda match: values.get(match[1], match[0]), value)
    if isinstance(value, list):
        return [_fill_webhook_body(each, values) for each in value]
    if isinstance(value, dict):
        return {key: _fill_webhook_body(each, values) for key, each in value.items()}
    return value
