"""Read the state of one incident: its records on GitHub, and what it holds at Cloudflare."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app.configuration import load_config, program_name
from ops.app.registry import record_rules
from ops.app.session import Session
from ops.core.clock import current_time, format_utc
from ops.core.errors import ConfigError, OpsError
from ops.core.incident_fold import fold_incident
from ops.core.incident_state import HeldItem, IncidentJournal, IncidentState, LiveHeld
from ops.core.names import ALL_CLEAR, LIMITS_FILE
from ops.core.next_step import build_command
from ops.core.redaction import Redactor
from ops.core.standing_rollback import StandingRollback
from ops.core.threads import run_parallel
from ops.github.client import CHECK_HINT, connect, provider_errors
from ops.github.journal import read_journal
from ops.status.held_states import HeldState, UnreadSource, list_held_states, name_incidents, try_status_read
from ops.status.live import read_rollback
from ops.status.status import EnvironmentStatus, read_status
from ops.status.text import HELD_KINDS, warning_lines

if TYPE_CHECKING:
    from ops.config import Config, Service


def read_incident(
    number: int, config_path: Path, environ: Mapping[str, str], redactor: Redactor
) -> "tuple[IncidentJournal, IncidentState]":
    """Return what was read of an incident, and its state; also without a valid ops.yml, which is then named.

    Raises ConfigError and ProviderError.
    """
    try:
        config, problem = load_config(config_path, environ, redactor), ""
    except ConfigError as error:
        config, problem = None, error.message
    journal = read_journal_of(number, config, environ, redactor)
    if config is None:
        live, places = LiveHeld(unread=(f"ops.yml cannot be used: {problem}",)), tuple[tuple[str, str], ...]()
    else:
        environments = find_environments(journal, config)
        live, places = read_live_held(config, config_path, environ, number, environments), config.places
    folded: tuple[IncidentJournal, IncidentState] = redactor.redact_value(
        (journal, fold_incident(journal, live, places))
    )
    return folded


def read_journal_of(
    number: int, config: "Config | None", environ: Mapping[str, str], redactor: Redactor
) -> "IncidentJournal":
    """Return what was read of an incident. Raises ConfigError if it is none, and ProviderError."""
    with provider_errors(CHECK_HINT):
        repository = connect(environ, redactor, read_only=True)
        return read_journal(repository, number, record_rules(config), read_at=current_time(environ))


def find_environments(journal: "IncidentJournal", config: "Config") -> list[str]:
    """Return the environments of the runs, else those that have the service of the form, else all of ops.yml."""
    acted = [one.record.environment for one in journal.records if one.record.is_run and one.record.environment]
    named = [name for name, service in config.places if service == journal.form.service]
    return list(dict.fromkeys(acted or named or config.environments))


def read_live_held(
    config: "Config", config_path: Path, environ: Mapping[str, str], number: int, environments: Iterable[str]
) -> LiveHeld:
    """Read what the incident holds in these environments. What cannot be read is named."""
    live = LiveHeld(environments=tuple(filter(None, dict.fromkeys(environments))))
    for name in live.environments:
        read = _try_environment(config, config_path, environ, number, name)
        live = replace(
            live,
            items=(*live.items, *read.items),
            others=(*live.others, *read.others),
            warnings=(*live.warnings, *read.warnings),
            unread=(*live.unread, *read.unread),
            unread_kinds=live.unread_kinds | read.unread_kinds,
            reset_commands=(*live.reset_commands, *read.reset_commands),
            rollbacks=(*live.rollbacks, *read.rollbacks),
            unread_rollbacks=(*live.unread_rollbacks, *read.unread_rollbacks),
        )
    return live


def _try_environment(
    config: "Config", config_path: Path, environ: Mapping[str, str], number: int, environment: str
) -> LiveHeld:
    """Return what one incident holds in an environment, or why that is unknown."""
    problem = "ops.yml has no such environment"
    if environment in config.environments:
        try:
            return _read_environment(config, config_path, environ, number, environment)
        except OpsError as error:
            problem = error.message
    kinds = frozenset((environment, kind) for kind in HELD_KINDS)
    return LiveHeld(unread=(f"unknown in {environment}: {problem}",), unread_kinds=kinds)


def _read_environment(
    config: "Config", config_path: Path, environ: Mapping[str, str], number: int, environment: str
) -> LiveHeld:
    """Read what one incident holds in an environment. Raises OpsError."""
    with ExitStack() as ending:
        session = Session(config, environment, environ, ending)
        read = read_status(session, program_name(environ), with_services=False)
        rollbacks, lacks = _read_rollbacks(session)
    whole = replace(read, limits=tuple(name_incidents(read.limits, config_path.with_name(LIMITS_FILE))))
    status = whole.of_incident(number)
    held = [
        each for each in list_held_states(status) if not each.owners or number in {one.incident for one in each.owners}
    ]
    others = [
        each for each in list_held_states(whole) if each.owners and number not in {one.incident for one in each.owners}
    ]
    return LiveHeld(
        items=tuple(_held_item(status, each) for each in held),
        others=tuple(_held_item(whole, each) for each in others),
        warnings=tuple(warning_lines(status)),
        unread=tuple(f"unknown in {environment}: {lack}" for lack in status.unread),
        unread_kinds=frozenset((environment, kind) for kind in HELD_KINDS if status.unread_in(kind)),
        reset_commands=tuple(_list_reset_commands(status, config, environ, number)),
        rollbacks=tuple((environment, each) for each in rollbacks),
        unread_rollbacks=tuple((environment, lack.name, lack.message) for lack in lacks),
    )


def _read_rollbacks(session: Session) -> tuple[list[StandingRollback], list[UnreadSource]]:
    """Return the rollbacks that stand in an environment, and why others are unknown."""
    services = session.environment.services.values()
    reads = [partial(_try_rollback, session, each) for each in services]
    results = run_parallel(reads)
    return [found for found, _ in results if found], [lack for _, lack in results if lack]


def _try_rollback(session: Session, service: "Service") -> tuple[StandingRollback | None, UnreadSource | None]:
    return try_status_read(lambda: read_rollback(session, service), service.name, ())


def _held_item(status: EnvironmentStatus, held: HeldState) -> HeldItem:
    return HeldItem(
        held.kind,
        status.environment,
        held.name,
        f"{held.what}: {held.state}",
        tuple(each.describe() for each in held.owners),
        held.until,
        f"live, read at {format_utc(status.read_at)}",
        f"{HELD_KINDS[held.kind]}{held.describe(status.read_at, f'in {status.environment}')}",
    )


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
