"""Read the state of one incident: its records on GitHub, and what it holds at Cloudflare."""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app.configuration import load_config, program_name
from ops.app.registry import record_rules
from ops.app.session import Session
from ops.core.clock import current_time
from ops.core.errors import ConfigError, OpsError
from ops.core.incident_fold import LiveHeld, fold_incident
from ops.core.names import LIMITS_FILE
from ops.core.redaction import Redactor
from ops.github.client import CHECK_HINT, connect, provider_errors
from ops.github.journal import read_journal
from ops.status.held import list_held, name_incidents
from ops.status.status import EnvironmentStatus, read_status

if TYPE_CHECKING:
    from ops.config import Config
    from ops.core.incident_journal import IncidentJournal
    from ops.core.incident_state import IncidentState


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
    with provider_errors(CHECK_HINT):
        repository = connect(environ, redactor, read_only=True)
        journal = read_journal(repository, number, record_rules(config), read_at=current_time(environ))
    if config is None:
        live, places = LiveHeld(unread=(f"ops.yml cannot be used: {problem}",)), tuple[tuple[str, str], ...]()
    else:
        environments = find_environments(journal, config)
        live, places = read_live_held(config, config_path, environ, number, environments), config.places
    folded: tuple[IncidentJournal, IncidentState] = redactor.redact_value(
        (journal, fold_incident(journal, live, places))
    )
    return folded


def find_environments(journal: "IncidentJournal", config: "Config") -> list[str]:
    """Return the environments of the runs, else those that have the service of the form, else all of ops.yml."""
    acted = [one.record.environment for one in journal.our_runs if one.record.environment]
    named = [name for name, service in config.places if service == journal.form.service]
    return list(dict.fromkeys(acted or named or config.environments))


def read_live_held(
    config: "Config", config_path: Path, environ: Mapping[str, str], number: int, environments: Iterable[str]
) -> LiveHeld:
    """Read what the incident holds in these environments. What cannot be read is named."""
    live = LiveHeld()
    for name in environments:
        if name not in config.environments:
            lack: tuple[str, ...] = (f"ops.yml has no environment {name}",)
            live = replace(live, unread=(*live.unread, *lack))
            continue
        try:
            status = read_incident_status(config, config_path, environ, number, name)
        except OpsError as error:
            live = replace(live, unread=(*live.unread, f"{name}: {error.message}"))
            continue
        held = [each for each in list_held(status) if not each.owners or number in {o.incident for o in each.owners}]
        lacks = (f"{name}: {lack}" for lack in status.unread)
        live = LiveHeld((*live.items, *held), (*live.unread, *lacks))
    return live


def read_incident_status(
    config: "Config", config_path: Path, environ: Mapping[str, str], number: int, environment: str
) -> EnvironmentStatus:
    """Read what one incident holds in an environment. Raises OpsError."""
    with ExitStack() as ending:
        session = Session(config.environment(environment), environ, ending)
        read = read_status(session, program_name(environ), with_services=False).of_incident(number)
    return replace(read, limits=tuple(name_incidents(read.limits, config_path.with_name(LIMITS_FILE))))
