"""Close an incident from the command line."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.app.configuration import load_config
from ops.core import system_clock
from ops.core.clock import format_utc
from ops.core.errors import Reason, Refused
from ops.core.redaction import Redactor
from ops.github.client import CHECK_HINT, connect, provider_errors
from ops.incident.commands import add_note
from ops.report.leftovers import Leftovers, find_leftovers

if TYPE_CHECKING:
    from ops.github.issues import IssueRecord

OPEN_RUN = timedelta(minutes=30)
"""A run without a result counts as open for so long. A killed one never gets a result."""


@dataclass(frozen=True)
class ClosedIncident:
    number: int
    url: str
    was_open: bool
    leftovers: Leftovers

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "number": self.number,
            "url": self.url,
            "was_open": self.was_open,
            "leftovers": list(self.leftovers.lines),
            "environments": list(self.leftovers.environments),
            "reset_commands": list(self.leftovers.reset_commands),
        }


def close_incident(
    number: int, note: str, config_path: Path, environ: Mapping[str, str], redactor: Redactor, *, anyway: bool
) -> ClosedIncident:
    """Add the note and close the incident. Return its active switches, limits and maintenance, which stay.

    Raises:
        Refused: a run on it has no result yet. `anyway` closes it all the same.
    """
    from ops.github.issues import TrustedAuthors, records_of, require_incident

    config = load_config(config_path, environ, redactor)
    repository, now = connect(environ, redactor), system_clock.current_time(environ)
    with provider_errors(CHECK_HINT):
        issue = repository.get_issue(number)
        require_incident(issue)
        if issue.state == "closed":
            return ClosedIncident(number, issue.html_url, was_open=False, leftovers=Leftovers())
        runs = [found for found in records_of(issue, TrustedAuthors(repository)) if found.is_run]
    if not anyway:
        _refuse_open_run(number, runs, now)
    left = find_leftovers(config, environ, number, (found.record.environment for found in runs))
    add_note(number, f"{now:%Y-%m-%d %H:%M:%S} {note.strip() or 'closed'}", environ, redactor, now=now)
    with provider_errors(CHECK_HINT):
        issue.edit(state="closed", state_reason="completed")
    return ClosedIncident(number, issue.html_url, was_open=True, leftovers=redactor.redact_value(left))


def _refuse_open_run(number: int, runs: "list[IssueRecord]", now: datetime) -> None:
    for found in runs:
        record, began = found.record, found.record.rows[0].at if found.record.rows else None
        if not record.decision and began is not None and now - began < OPEN_RUN:
            raise Refused(
                f"{record.runbook} of {format_utc(began)} has no result yet, so #{number} was not closed",
                reason=Reason.RUN_OPEN,
                hint="Wait for its comment, or close the incident with --anyway.",
            )
