"""Post to the team's chat before a run writes, at its end, and as an incident changes.

The sink only queues; each chat has its own thread. A failure becomes one warning and does not change the run. Messages
of an incident share a thread where the chat has threads: the record of the run that began it holds its id.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING

from ops.core.client_guards import is_loopback
from ops.core.errors import PROVED, UNFINISHED, Decision, needs_people
from ops.core.names import cut_text
from ops.core.run import Run
from ops.core.threads import run_in_background, start_call
from ops.core.timeline import EventKind, EventSink, RunEvent
from ops.publish.chat_services import MESSAGE_ID, TIMEOUT, ChatMessage, NotSentError, PagingAction, Sender, find_senders
from ops.render import sentence, to_one_line

if TYPE_CHECKING:
    from ops.config.notify import NotifyConfig
    from ops.core.run_record import RunRecord

LONGEST_MESSAGE = 400
"""Most characters of a run's message: an error of a provider leaves room for the next step."""
SILENT = {Decision.PLANNED}
UNPROVED = {Decision.STILL_UNHEALTHY, Decision.NO_EVIDENCE}
"""Decisions that do not judge a change that was made: decision and change are two sentences."""


def chat_message(run: Run) -> ChatMessage | None:
    """Return the message for the latest event: to a second person, before the first write, at the end; else None."""
    match run.events[-1].kind:
        case EventKind.CONFIRMED:
            text = f"Started: {_requested_by(run)}. {sentence(run.plan.summary if run.plan else '')}"
            return ChatMessage(to_one_line(text), "started", PagingAction.ACKNOWLEDGE)
        case EventKind.AWAITING_APPROVAL:
            waits = f"Waits for a second person: {_requested_by(run)}. {sentence(run.events[-1].text)}"
            text = f"{waits} Press {run.approval_button.button}"
            return ChatMessage(to_one_line(text), "waits for a second person", PagingAction.TRIGGER)
        case EventKind.ENDED if run.decision not in SILENT:
            return ChatMessage(_describe_run_end(run), run.state.lower(), paging_action(run.decision))
        case _:
            return None


def paging_action(decision: str) -> PagingAction:
    """Return the meaning of a decision for a service that pages people.

    A proved recovery resolves: PagerDuty pages nobody for an alert that is only acknowledged, so a relapse would be
    silent. developer.pagerduty.com/docs/send-alert-event
    """
    if decision in {*PROVED, Decision.MITIGATED}:
        return PagingAction.RESOLVE
    return PagingAction.TRIGGER if needs_people(decision) else PagingAction.ACKNOWLEDGE


def _describe_run_end(run: Run) -> str:
    # Only a change that was read back is reported as done.
    is_made = run.last_event(EventKind.READ_BACK) is not None
    done = run.done_text if is_made else _requested_by(run)
    stop = "." if is_made and run.decision in UNPROVED else ":"
    lead = f"{run.state}{stop} {done}."
    if run.decision in UNFINISHED and run.live:
        lead = f"{run.headline}, in {run.environment}{run.reason_text}."
    parts = [lead, sentence(cut_text(run.message, LONGEST_MESSAGE)), sentence(run.hint)]
    if run.suggested_command and run.suggested_command.button:
        parts.append(f"The button: {run.suggested_command.button}")
    return to_one_line(" ".join(part for part in parts if part))


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
        links: Mapping[str, str],
        remaining: Callable[[], float],
    ) -> None:
        self._run, self._remaining, self._is_drill_plan = run, remaining, False
        self._events: list[RunEvent] = []
        self.failures: list[str] = []
        """Chats that did not accept a message, with the reason."""
        self._form = _ChatMessageForm(environ, links, run)
        senders, self._problems = find_senders(environ, notify, is_drill=self._form.is_drill)
        self._channels = [_ChatChannel(each) for each in senders]

    def sinks(self) -> tuple[EventSink, ...]:
        return (self,) if self._channels else ()

    def __call__(self, event: RunEvent) -> None:
        self._events.append(event)
        run = Run(self._run, tuple(self._events))
        self._is_drill_plan = bool(run.plan and run.plan.is_drill)
        if (message := chat_message(run)) is not None and not self._is_drill_plan:
            for channel in self._channels:
                channel.put(self._form.complete(message))

    def begin(self, warn: Warn, exit_stack: ExitStack) -> None:
        """Start the threads. They end with the run, also if a bug ends it."""
        for problem in self._problems:
            warn(f"no chat message is sent: {problem}")
        for channel in self._channels:
            channel.begin(partial(self._note_chat_failure, warn))
        exit_stack.callback(self.end)

    def _note_chat_failure(self, warn: Warn, failure: str) -> None:
        self.failures.append(failure)
        warn(f"cannot send a message to {failure}; the run goes on, so inform the team yourself")

    @property
    def is_delivered(self) -> bool:
        """Whether a chat accepted a message."""
        return any(channel.is_delivered for channel in self._channels)

    @property
    def threads(self) -> dict[str, str]:
        """Channel → id of the message that began the thread of the incident."""
        return {channel.key: channel.thread for channel in self._channels if channel.thread}

    def continue_threads(self, records: "Iterable[RunRecord]") -> None:
        """Post the following messages to the threads that these records name."""
        threads = find_chat_threads(records)
        for channel in self._channels:
            channel.thread = channel.thread or threads.get(channel.key, "")

    def report_opened(self, number: int, decision: str, address: str) -> None:
        """Post the incident that was opened for this run."""
        if self._is_drill_plan:
            return
        self._form = replace(self._form, links={"incident": address, **self._form.links})
        action = paging_action(decision)
        for channel in self._channels:
            channel.put(self._form.complete(ChatMessage(f"Incident #{number} opened for this run.", "opened", action)))

    def settle(self, seconds: float) -> None:
        """Wait for the messages until now, so that the comment of the run can show those that failed."""
        markers = [channel.mark() for channel in self._channels]
        deadline = time.monotonic() + seconds
        for marker in markers:
            with suppress(TimeoutError):
                marker.result(timeout=max(0.0, deadline - time.monotonic()))

    def end(self) -> None:
        for channel in self._channels:
            channel.finish()
        for channel in self._channels:
            channel.wait(self._remaining())


def find_chat_threads(records: "Iterable[RunRecord]") -> dict[str, str]:
    """Return channel → id of the message that began the thread, from the oldest record that has one.

    A record of somebody else can only lead messages to another thread of the same channel.
    """
    threads = dict[str, str]()
    for record in records:
        for key, thread in record.chat.items():
            if isinstance(thread, str) and MESSAGE_ID.fullmatch(thread):
                threads.setdefault(key, thread)
    return threads


@dataclass(frozen=True)
class ChatIncident:
    """Facts about the incident that a message belongs to."""

    is_drill: bool = False
    """Whether it is one of a staging drill: no chat gets a message of it."""
    threads: Mapping[str, str] = field(default_factory=dict)
    """Channel → id of the message that began the thread."""


@dataclass(frozen=True)
class ChatOutcome:
    """Result of a message outside of a run."""

    is_delivered: bool = False
    failures: tuple[str, ...] = ()
    """Chats that did not accept it, with the reason."""
    threads: Mapping[str, str] = field(default_factory=dict)
    """Channel → id of the message that began the thread."""


def post_to_chats(
    environ: Mapping[str, str],
    notify: "NotifyConfig",
    message: ChatMessage,
    links: Mapping[str, str],
    *,
    read_incident: Callable[[bool], ChatIncident],
) -> ChatOutcome:
    """Post one message outside of a run to each chat, each with a time limit. Never raises.

    `read_incident` is called only if there is a chat, and gets whether one has threads. The message does not wait for
    it longer than the time limit, and goes out without its facts then.
    """
    form = _ChatMessageForm(environ, links, "")
    senders, problems = find_senders(environ, notify, is_drill=form.is_drill)
    failures = list(problems)
    channels = [_ChatChannel(each) for each in senders]
    has_threads = any(channel.key for channel in channels)
    incident = _read_in_time(lambda: read_incident(has_threads)) if channels else ChatIncident()
    if incident.is_drill:
        return ChatOutcome()
    for channel in channels:
        channel.thread = incident.threads.get(channel.key, "")
        channel.put(form.complete(message))
        channel.begin(failures.append)
        channel.finish()
    for channel in channels:
        channel.wait(TIMEOUT)
    began = {channel.key: channel.thread for channel in channels if channel.thread}
    return ChatOutcome(any(channel.is_delivered for channel in channels), tuple(failures), began)


def _read_in_time(read: Callable[[], ChatIncident]) -> ChatIncident:
    """Return the facts; none if they cannot be read in time: a message beside the thread is better than none."""
    try:
        return start_call(read).result(timeout=TIMEOUT)
    except Exception:  # noqa: BLE001  GitHub may be down
        return ChatIncident()


@dataclass(frozen=True)
class _ChatMessageForm:
    """Links and marks that all messages of a process share."""

    environ: Mapping[str, str]
    links: Mapping[str, str]
    """`incident` and `run`, as far as they are known."""
    run: str

    @property
    def is_drill(self) -> bool:
        return is_loopback(self.environ.get("CLOUDFLARE_API_BASE_URL", ""))

    def complete(self, message: ChatMessage) -> ChatMessage:
        """Return the message with its links, its key, and the mark of a drill."""
        text = f"{DRILL if self.is_drill else ''}{to_one_line(message.text)}"
        key = self.links.get("incident", "") or self.run
        return replace(message, text=text, links=tuple(self.links.values()), key=key)


class _ChatChannel:
    """Posts to one chat: messages in order, each with a time limit."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._queue: SimpleQueue[ChatMessage | Future[None] | None] = SimpleQueue()
        self._done = Future[None]()
        self._warn: Warn | None = None
        self.is_delivered = False
        self.key, self.thread = sender.thread_key, ""

    def put(self, message: ChatMessage) -> None:
        self._queue.put(message)

    def mark(self) -> Future[None]:
        """Return a future that is done once the messages until now were sent, or failed."""
        marker = Future[None]()
        self._queue.put(marker)
        return marker

    def begin(self, warn: Warn) -> None:
        self._warn = warn
        run_in_background(self._send_queued_messages)

    def finish(self) -> None:
        self._queue.put(None)

    def wait(self, seconds: float) -> None:
        try:
            self._done.result(timeout=seconds)
        except TimeoutError:
            self._warn_of_channel("timeout")
        self._warn = None

    def _send_queued_messages(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, Future):
                item.set_result(None)
            else:
                with suppress(BaseException):  # also of the warning: `settle` and `wait` wait for this thread
                    self._send_chat_message(item)
        self._done.set_result(None)

    def _send_chat_message(self, message: ChatMessage) -> None:
        sending = start_call(lambda: self._sender.send(message, self.thread))
        try:
            posted = sending.result(timeout=TIMEOUT)
            self.is_delivered = True
            self.thread = self.thread or posted
        except NotSentError as error:
            self._warn_of_channel(str(error))
        except Exception as error:  # noqa: BLE001  a thread has nobody to raise to, and the run goes on
            self._warn_of_channel(type(error).__name__)

    def _warn_of_channel(self, why: str) -> None:
        warn, self._warn = self._warn, None
        if warn is not None:
            warn(f"{self._sender.name} ({why})")
