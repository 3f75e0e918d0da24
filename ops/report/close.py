"""Close an incident from the command line, and list what it leaves active."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ops.app.configuration import load_config
from ops.core.clock import current_time, format_utc
from ops.core.errors import Reason, Refused
from ops.core.incident_fold import fold_incident
from ops.core.incident_state import IssueRecord, LiveHeld
from ops.core.redaction import Redactor
from ops.github.client import CHECK_HINT, connect, provider_errors
from ops.incident.commands import add_note
from ops.status.incident import find_environments, read_journal_of, read_live_held

OPEN_RUN = timedelta(minutes=30)
"""A run without a result counts as open for so long. A killed one never gets a result."""


@dataclass(frozen=True)
class ClosedIncident:
    number: int
    url: str
    was_open: bool
    leftovers: tuple[str, ...] = ()
    """What stays active, or is unknown."""
    live: LiveHeld = field(default_factory=LiveHeld)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "number": self.number,
            "url": self.url,
            "was_open": self.was_open,
            "leftovers": list(self.leftovers),
            "environments": list(self.live.environments),
            "reset_commands": list(self.live.reset_commands),
        }


def close_incident(
    number: int, note: str, config_path: Path, environ: Mapping[str, str], redactor: Redactor, *, anyway: bool
) -> ClosedIncident:
    """Add the note and close the incident. Return its active switches, limits and maintenance, which stay.

    Raises:
        Refused: a run on it has no result yet. `anyway` closes it all the same.
    """
    config = load_config(config_path, environ, redactor)
    now = current_time(environ)
    journal = read_journal_of(number, config, environ, redactor)
    if journal.closed_at is not None:
        return ClosedIncident(number, journal.url, was_open=False)
    if not anyway:
        _refuse_open_run(number, journal.records, now)
    live = read_live_held(config, config_path, environ, number, find_environments(journal, config))
    left = fold_incident(journal, live, config.places).leftovers
    add_note(number, f"{now:%Y-%m-%d %H:%M:%S} {note.strip() or 'closed'}", environ, redactor, now=now)
    with provider_errors(CHECK_HINT):
        connect(environ, redactor).get_issue(number).edit(state="closed", state_reason="completed")
    closed: ClosedIncident = redactor.redact_value(ClosedIncident(number, journal.url, True, left, live))  # noqa: FBT003
    return closed


def _refuse_open_run(number: int, records: "Iterable[IssueRecord]", now: datetime) -> None:
    for found in (each for each in records if each.record.is_run):
        record, began = found.record, found.record.rows[0].at if found.record.rows else None
        if not record.decision and began is not None and now - began < OPEN_RUN:
            raise Refused(
                f"{record.runbook} of {format_utc(began)} has no result yet, so #{number} was not closed",
                reason=Reason.RUN_OPEN,
                hint="Wait for its comment, or close the incident with --anyway.",
            )
