"""Post to the team's chat before a run writes and when it has ended: Slack or Discord.

The sink only queues; each webhook has its own thread. A failure becomes one warning and does not change the run. The
URL is the credential: no text of ours contains it, and redirects are not followed.
"""

import re
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ops.core.client_guards import is_loopback
from ops.core.errors import UNFINISHED, Decision
from ops.core.redaction import Secret
from ops.core.run import Run
from ops.core.threads import run_in_background, start_call
from ops.core.timeline import EventKind, EventSink, RunEvent
from ops.github import actions
from ops.render import sentence, to_one_line

if TYPE_CHECKING:
    from ops.config.types import NotifyConfig

TIMEOUT = 3.0
"""Real seconds for one message, in all."""
MAX_ANSWER = 10_000
"""Bytes of an answer that are read."""
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


def send_to_chat(service: ChatService, url: Secret, text: str, links: tuple[str, ...]) -> None:
    """Post the message within TIMEOUT. Raises NotSentError."""
    import httpx

    from ops.core.bounded_http import open_client, read_answer

    address = url.reveal()
    trust = not is_loopback(address)
    verify: Any = httpx.create_ssl_context(trust_env=trust) if trust else False
    body = service.body(text[:MAX_CHARACTERS], links)
    try:
        with open_client(timeout=TIMEOUT, follow_redirects=False, trust_env=trust, verify=verify) as http:
            answer, said = read_answer(
                http, "POST", address + service.query, within=TIMEOUT, most=MAX_ANSWER, is_cut=True, json=body
            )
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise NotSentError(type(error).__name__) from None
    if not service.is_accepted(answer.status_code, said.decode(errors="replace")):
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


CHATS: dict[str, ChatService] = {"slack": SLACK, "discord": DISCORD}
"""Key under `notify` in ops.yml → chat service."""
SILENT = {Decision.PLANNED}
UNPROVED = {Decision.STILL_UNHEALTHY, Decision.NO_EVIDENCE}
"""Decisions that do not judge a change that was made: decision and change are two sentences."""


def chat_message(run: Run) -> str:
    """Return the message for the latest event: to a second person, before the first write, at the end; else ""."""
    match run.events[-1].kind:
        case EventKind.CONFIRMED:
            return to_one_line(f"Started: {_requested_by(run)}. {sentence(run.plan.summary if run.plan else '')}")
        case EventKind.AWAITING_APPROVAL:
            waits = f"Waits for a second person: {_requested_by(run)}. {sentence(run.events[-1].text)}"
            return to_one_line(f"{waits} Press {run.approval_button.button}")
        case EventKind.ENDED if run.decision not in SILENT:
            # Only a change that was read back is reported as done.
            is_made = run.last_event(EventKind.READ_BACK) is not None
            done = run.done_text if is_made else _requested_by(run)
            stop = "." if is_made and run.decision in UNPROVED else ":"
            lead = f"{run.state}{stop} {done}."
            if run.decision in UNFINISHED and run.live:
                lead = f"{run.headline}, in {run.environment}{run.reason_text}."
            parts = [lead, sentence(run.message), sentence(run.hint)]
            parts += (
                [f"The button: {run.suggested_command.button}"]
                if run.suggested_command and run.suggested_command.button
                else []
            )
            return to_one_line(" ".join(part for part in parts if part))
        case _:
            return ""


def _requested_by(run: Run) -> str:
    return f"{run.runbook} on {run.service} in {run.environment}{run.reason_text}"


Warn = Callable[[str], object]
DRILL = "[DRILL] "
"""Prefix of each message of a sandbox run."""


class ChatPublisher:
    """Posts the events of one run. `remaining` returns the real seconds that its end may still wait."""

    def __init__(
        self,
        environ: Mapping[str, str],
        notify: "NotifyConfig",
        run: str,
        *,
        is_drill: bool,
        links: tuple[str, ...],
        remaining: Callable[[], float],
    ) -> None:
        self._is_drill, self._run, self._remaining = is_drill, run, remaining
        self._events: list[RunEvent] = []
        self._channels, self._problems = _find_channels(environ, notify, links, is_drill=is_drill)

    def sinks(self) -> tuple[EventSink, ...]:
        return (self,) if self._channels else ()

    def __call__(self, event: RunEvent) -> None:
        self._events.append(event)
        run = Run(self._run, tuple(self._events))
        if (text := chat_message(run)) and not (run.plan and run.plan.is_drill):
            for channel in self._channels:
                channel.put(f"{DRILL if self._is_drill else ''}{text}")

    def begin(self, warn: Warn, exit_stack: ExitStack) -> None:
        """Start the threads. They end with the run, also if a bug ends it."""
        for problem in self._problems:
            warn(f"no chat message is sent: {problem}")
        for channel in self._channels:
            channel.begin(warn)
        exit_stack.callback(self.end)

    @property
    def is_delivered(self) -> bool:
        """Whether a chat accepted a message."""
        return any(channel.is_delivered for channel in self._channels)

    def end(self) -> None:
        for channel in self._channels:
            channel.finish()
        for channel in self._channels:
            channel.wait(self._remaining())


def post_message(environ: Mapping[str, str], notify: "NotifyConfig", text: str, incident: int | None) -> None:
    """Post one message outside of a run to each chat, each with a time limit. A failure ends nothing."""
    is_drill = is_loopback(environ.get("CLOUDFLARE_API_BASE_URL", ""))
    links = tuple(actions.run_links(environ, incident).values())
    channels, _ = _find_channels(environ, notify, links, is_drill=is_drill)
    for channel in channels:
        channel.put(f"{DRILL if is_drill else ''}{to_one_line(text)}")
        channel.begin(lambda _: None)
        channel.finish()
    for channel in channels:
        channel.wait(TIMEOUT)


def _find_channels(
    environ: Mapping[str, str], notify: "NotifyConfig", links: tuple[str, ...], *, is_drill: bool
) -> "tuple[list[_Channel], list[str]]":
    """Return the chats whose webhook is set, and problems of others. A drill reaches only those of a sandbox."""
    channels, problems = list[_Channel](), list[str]()
    for chat, secret in notify.webhooks.items():
        service, url = CHATS[chat], environ.get(secret, "").strip()
        if not url:
            continue
        if is_webhook_url(service, url) and is_loopback(url) == is_drill:
            channels.append(_Channel(service, Secret(url), links))
        elif not is_drill:
            problems.append(f"{secret} is not the address of a {service.name} webhook")
    return channels, problems


class _Channel:
    """Posts to one webhook: messages in order, each with a time limit."""

    def __init__(self, service: ChatService, url: Secret, links: tuple[str, ...]) -> None:
        self._service, self._url, self._links = service, url, links
        self._texts: SimpleQueue[str | None] = SimpleQueue()
        self._done = threading.Event()
        self._warn: Warn | None = None
        self.is_delivered = False

    def put(self, text: str) -> None:
        self._texts.put(text)

    def begin(self, warn: Warn) -> None:
        self._warn = warn
        run_in_background(self._work)

    def finish(self) -> None:
        self._texts.put(None)

    def wait(self, seconds: float) -> None:
        if not self._done.wait(seconds):
            self._fail("timeout")
        self._warn = None

    def _work(self) -> None:
        while (text := self._texts.get()) is not None:
            self._send(text)
        self._done.set()

    def _send(self, text: str) -> None:
        sending = start_call(lambda: send_to_chat(self._service, self._url, text, self._links))
        try:
            sending.result(timeout=TIMEOUT)
            self.is_delivered = True
        except NotSentError as error:
            self._fail(str(error))
        except Exception as error:  # noqa: BLE001  a thread has nobody to raise to, and the run goes on
            self._fail(type(error).__name__)

    def _fail(self, why: str) -> None:
        warn, self._warn = self._warn, None
        if warn is not None:
            warn(f"cannot send a message to {self._service.name} ({why}); the run goes on, so inform the team yourself")
