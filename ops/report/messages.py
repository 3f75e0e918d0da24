"""Texts about an incident for each audience: printed to copy, and folded on the incident.

Nothing here publishes. The job that posts the recovery menu also posts to the chat that an incident was opened.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.app.configuration import load_config
from ops.core.clock import current_time, format_rfc3339
from ops.core.errors import OpsError
from ops.core.incident_fold import fold_incident
from ops.core.incident_state import IncidentJournal, LiveHeld
from ops.core.names import first_of
from ops.core.redaction import Redactor
from ops.core.run_record import MESSAGES_SOURCE, RecordRow, RunRecord
from ops.core.standard_texts import STATES, Audience, TextFacts, fill_texts
from ops.github import actions
from ops.github.client import CHECK_HINT, connect, provider_errors
from ops.github.comments import save_record
from ops.publish.chat import ChatOutcome
from ops.publish.incident_chat import describe_chat_failures, incident_chat_message, post_message
from ops.render import collapse_blank_lines, load_templates
from ops.status.incident import read_journal_of

if TYPE_CHECKING:
    from ops.config import Config

INCIDENT_STATES = STATES[:4]
"""Public states of an incident; the others are those of a maintenance."""
OPENED = "opened"


@dataclass(frozen=True)
class IncidentTexts:
    """Filled texts of an incident."""

    number: int
    components: tuple[str, ...]
    """Public names, or services without a status page; empty if they are unknown."""
    at: datetime
    texts: Mapping[str, Mapping[Audience, str]]
    """Public state → audience → text."""

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "incident": self.number,
            "components": list(self.components),
            "at": format_rfc3339(self.at),
            "messages": {state: {str(key): text for key, text in each.items()} for state, each in self.texts.items()},
        }


def read_texts(
    number: int,
    config_path: Path,
    environ: Mapping[str, str],
    redactor: Redactor,
    *,
    states: Sequence[str] = (),
    audiences: Sequence[str] = (),
) -> IncidentTexts:
    """Return the texts of an incident in these states for these audiences (default: those of an incident, all).

    Raises ConfigError and ProviderError.
    """
    config = load_config(config_path, environ, redactor)
    journal = read_journal_of(number, config, environ, redactor)
    found = _fill_all(journal, config, current_time(environ), states or INCIDENT_STATES)
    wanted = {
        state: {key: text for key, text in each.items() if not audiences or key in audiences}
        for state, each in found.texts.items()
    }
    texts: IncidentTexts = redactor.redact_value(IncidentTexts(number, found.components, found.at, wanted))
    return texts


def _fill_all(journal: IncidentJournal, config: "Config", at: datetime, states: Sequence[str]) -> IncidentTexts:
    services = affected_services(journal, config)
    page = config.status_page
    components = page.names_of(services) if page else services
    facts = TextFacts(components, at, page.title if page else "", page.url if page else "")
    texts = {state: fill_texts(state, facts, config.messages.texts) for state in states}
    return IncidentTexts(journal.number, components, at, texts)


def affected_services(journal: IncidentJournal, config: "Config") -> tuple[str, ...]:
    """Return the services of ops.yml that the form or the runs of the incident name."""
    state = fold_incident(journal, LiveHeld(), config.places)
    return tuple(dict.fromkeys(each.service for each in state.services if each.service in config.service_names))


def text_lines(found: IncidentTexts) -> list[str]:
    """Return the texts as lines for a terminal: a heading, then the text as it is."""
    lines = list[str]()
    for state, texts in found.texts.items():
        for audience, text in texts.items():
            lines += [f"== {state}, {audience.replace('_', ' ')}", text, ""]
    return lines


def announce_incident(number: int, config_path: Path, environ: Mapping[str, str], redactor: Redactor) -> str:
    """Post to the chat that the incident was opened, once, and write the comment with the texts.

    Return the problem, or an empty text: the menu must not fail with it.
    """
    try:
        config = load_config(config_path, environ, redactor)
        has_chat = any(environ.get(name) for name in config.notify.secret_names)
        if not (has_chat or config.status_page or config.messages.texts):
            return ""
        journal = read_journal_of(number, config, environ, redactor)
        earlier = next((one.record for one in journal.records if one.record.source == MESSAGES_SOURCE), None)
        outcome = ChatOutcome()
        if earlier is None and journal.closed_at is None:
            about = ", ".join(first_of([*affected_services(journal, config)]))
            message = incident_chat_message(number, OPENED, about)
            outcome = post_message(environ, config.notify, redactor, message, number, notes_failure=False)
        is_sent = outcome.is_delivered or bool(outcome.failures)
        if earlier is not None or is_sent or config.status_page or config.messages.texts:
            _save_message_comment(journal, config, environ, redactor, outcome=outcome, earlier=earlier)
    except OpsError as error:
        return f"the messages of #{number} are not on the incident: {error.message}"
    return ""


def add_missing_texts(
    journal: IncidentJournal, config: "Config", environ: Mapping[str, str], redactor: Redactor
) -> None:
    """Write the comment with the texts if it is missing: a run opened the incident. Raises ProviderError."""
    has_texts = any(one.record.source == MESSAGES_SOURCE for one in journal.records)
    if (config.status_page or config.messages.texts) and not has_texts and journal.closed_at is None:
        _save_message_comment(journal, config, environ, redactor, outcome=ChatOutcome(), earlier=None)


def _save_message_comment(
    journal: IncidentJournal,
    config: "Config",
    environ: Mapping[str, str],
    redactor: Redactor,
    *,
    outcome: ChatOutcome,
    earlier: RunRecord | None,
) -> None:
    found = _fill_all(journal, config, current_time(environ), INCIDENT_STATES)
    rows = earlier.rows if earlier else ()
    if outcome.failures:
        rows = (RecordRow(found.at, "note", redactor.redact_text(describe_chat_failures(OPENED, outcome.failures))),)
    program = config.github.laptop_program
    template = load_templates().get_template("messages.md.j2")
    text = template.render(found=found, program=program, failures=[row.text for row in rows])
    run = f"{MESSAGES_SOURCE}-{journal.number}"
    record = RunRecord(
        run,
        source=MESSAGES_SOURCE,
        rows=rows,
        notified=outcome.is_delivered or (earlier is not None and earlier.notified),
        chat=dict(outcome.threads) or (earlier.chat if earlier else {}),
        job=actions.job_number(environ),
    )
    text = redactor.redact_text(collapse_blank_lines(text).strip())
    with provider_errors(CHECK_HINT):
        save_record(connect(environ, redactor), journal.number, text, record)
