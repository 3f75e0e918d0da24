"""Close an incident from the command line, and find what it leaves active."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.app.configuration import load_config, program_name
from ops.app.session import Session
from ops.core.clock import current_time, format_utc
from ops.core.errors import OpsError, Reason, Refused
from ops.core.names import ALL_CLEAR
from ops.core.next_step import build_command
from ops.core.redaction import Redactor
from ops.github.client import CHECK_HINT, connect, provider_errors
from ops.incident.commands import add_note
from ops.status import text as rendering
from ops.status.status import EnvironmentStatus, read_status

if TYPE_CHECKING:
    from ops.config import Config, Environment
    from ops.core.incident_journal import IssueRecord

OPEN_RUN = timedelta(minutes=30)
"""A run without a result counts as open for so long. A killed one never gets a result."""


@dataclass(frozen=True)
class Leftovers:
    """Active or unknown states of an incident, and how to reset them."""

    lines: tuple[str, ...] = ()
    reset_commands: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    """Environments that were read or tried. Without one, empty `lines` prove nothing."""


def find_leftovers(config: "Config", environ: Mapping[str, str], number: int, environments: Iterable[str]) -> Leftovers:
    """Read these environments. One that ops.yml does not have, or that cannot be read, is a line."""
    lines, reset_commands, names = list[str](), list[str](), tuple(filter(None, dict.fromkeys(environments)))
    for name in names:
        environment = config.environments.get(name)
        if environment is None:
            lines.append(f"unknown in {name}: ops.yml has no such environment")
            continue
        try:
            status = _read_status(environment, environ, number)
        except OpsError as error:
            lines.append(f"unknown in {name}: {error.message}")
            continue
        lines += rendering.leftover_lines(status)
        reset_commands += _list_reset_commands(status, config, environ, number)
    return Leftovers(tuple(lines), tuple(reset_commands), names)


def _read_status(environment: "Environment", environ: Mapping[str, str], number: int) -> EnvironmentStatus:
    with ExitStack() as ending:
        session = Session(environment, environ, ending)
        return read_status(session, program_name(environ), with_services=False).of_incident(number)


def _list_reset_commands(
    status: EnvironmentStatus, config: "Config", environ: Mapping[str, str], number: int
) -> Iterator[str]:
    """Yield the label or command that resets the switches, and a command per maintenance window."""
    name, program = status.environment, program_name(environ)
    where = {"environment": name, "incident": number}
    if status.switches:
        labels = [
            put for put, label in config.labels.items() if (label.runbook, label.environment) == (ALL_CLEAR, name)
        ]
        put = f"the label {labels[0]} on the incident, within 7 days of its closing; or " if labels else ""
        yield f"{put}{build_command(program, ALL_CLEAR, where)}"
    for block in status.windows:
        options = {"state": "off", "service": block.service, "path": block.path, **where}
        yield build_command(program, "maintenance", options)


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
    repository, now = connect(environ, redactor), current_time(environ)
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
