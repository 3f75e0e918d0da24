"""Post a change of an incident's state to the team's chat, outside of a run.

A message that failed becomes a note on the incident, so that it is on its timeline and in the report. Nothing here
raises, and each wait has a limit.
"""

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from ops.core.clock import current_time
from ops.core.names import DRILL_LABEL
from ops.core.redaction import Redactor
from ops.core.run_record import make_note
from ops.core.threads import start_call
from ops.github import actions, client
from ops.publish.chat import ChatIncident, ChatOutcome, find_chat_threads, post_to_chats
from ops.publish.chat_services import ChatMessage, PagingAction

if TYPE_CHECKING:
    from ops.config.notify import NotifyConfig

NOTE_SECONDS = 5.0
"""Real seconds for the note about a message that failed."""


def incident_chat_message(number: int, state: str, about: str = "") -> ChatMessage:
    """Return the message about an incident that was opened, reopened or closed. `about`: services, in plain text."""
    actions_of = {"closed": PagingAction.RESOLVE}
    return ChatMessage(
        f"Incident #{number} {state}{f': {about}' if about else ''}.",
        state,
        actions_of.get(state, PagingAction.TRIGGER),
    )


def update_chat_message(state: str, text: str) -> ChatMessage:
    """Return the message about a public update. `state`: its public state."""
    words = state.replace("_", " ")
    return ChatMessage(f"Public update, {words}: {text}", words, PagingAction.ACKNOWLEDGE)


def post_message(
    environ: Mapping[str, str],
    notify: "NotifyConfig",
    redactor: Redactor,
    message: ChatMessage,
    incident: int | None,
    *,
    notes_failure: bool = True,
) -> ChatOutcome:
    """Post one message to each chat, to the incident's thread where the chat has threads. Never raises.

    `notes_failure`: a failure becomes a note on the incident; else the caller shows it there.
    """
    message = replace(message, text=redactor.redact_text(message.text))
    links = actions.run_links(environ, incident)
    outcome = post_to_chats(
        environ,
        notify,
        message,
        links,
        read_incident=lambda has_threads: _read_incident(environ, redactor, incident, has_threads=has_threads),
    )
    if outcome.failures and notes_failure and incident is not None:
        add_failure_note(environ, redactor, incident, message.state, outcome.failures, wait=NOTE_SECONDS)
    return outcome


def describe_chat_failures(state: str, failures: tuple[str, ...]) -> str:
    """Return the sentence about a message that chats did not accept."""
    return f'{" and ".join(failures)} did not get the message "{state}": inform the team yourself'


def _read_incident(
    environ: Mapping[str, str], redactor: Redactor, number: int | None, *, has_threads: bool
) -> ChatIncident:
    """Read the labels of the incident, and its threads from the records that the bot wrote on it."""
    from ops.github.comments import BOT, author_login, run_records

    if number is None:
        return ChatIncident()
    issue = client.connect(environ, redactor).get_issue(number)
    is_drill = any(label.name == DRILL_LABEL for label in issue.labels)
    records = run_records(issue) if has_threads and not is_drill else ()
    return ChatIncident(
        is_drill, find_chat_threads(record for comment, record in records if author_login(comment) == BOT)
    )


def add_failure_note(
    environ: Mapping[str, str], redactor: Redactor, number: int, state: str, failures: Iterable[str], *, wait: float
) -> None:
    """Note on the incident which chats did not accept the message about this state. Wait at most so many seconds.

    It never raises: the message counts, and the log of the job shows the failure.
    """
    with suppress(Exception):
        start_call(lambda: _save_chat_failures(environ, redactor, number, state, failures)).result(timeout=wait)


def _save_chat_failures(
    environ: Mapping[str, str], redactor: Redactor, number: int, state: str, failures: Iterable[str]
) -> None:
    from ops.github.comments import save_record
    from ops.publish.comment import render_note

    at: datetime = current_time(environ)
    text = redactor.redact_text(describe_chat_failures(state, tuple(failures)))
    run = f"chat-{hashlib.sha256(f'{at.isoformat()} {text}'.encode()).hexdigest()[:16]}"
    record = make_note(run, at, text, actions.job_number(environ))
    save_record(client.connect(environ, redactor), number, render_note(at, text), record, may_exist=False)
