"""Renew the comment with the state of an incident. A failure is a line, and ends nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app.configuration import load_config
from ops.core.errors import ConfigError, OpsError
from ops.core.incident_fold import fold_incident
from ops.core.incident_state import IncidentState
from ops.core.redaction import Redactor
from ops.core.run_record import STATE_SOURCE
from ops.github import actions
from ops.github.client import connect, provider_errors
from ops.publish.state_comment import save_state
from ops.status.incident import find_environments, read_journal_of, read_live_held

if TYPE_CHECKING:
    from ops.config import Config
    from ops.core.incident_journal import IncidentJournal


def publish_state(
    journal: "IncidentJournal", state: IncidentState, config: "Config", environ: Mapping[str, str], redactor: Redactor
) -> str:
    """Write the comment. Return the problem, or an empty text."""
    docs = actions.docs_base(environ, config.github.actions)
    try:
        with provider_errors():
            save_state(connect(environ, redactor), journal, redactor.redact_value(state), environ, docs=docs)
    except OpsError as error:
        return _describe_problem(state.number, error)
    return ""


def refresh_state(number: int, config_path: Path, environ: Mapping[str, str], redactor: Redactor) -> str:
    """Read the incident and write its comment. Return the problem, or an empty text.

    A laptop only edits a comment that is there. An issue that is no incident has none, and nor has one without a valid
    ops.yml, which other commands name.
    """
    try:
        config = load_config(config_path, environ, redactor)
        journal = read_journal_of(number, config, environ, redactor)
    except ConfigError:
        return ""
    except OpsError as error:
        return _describe_problem(number, error)
    if not actions.is_job(environ) and not any(one.record.source == STATE_SOURCE for one in journal.records):
        return ""
    live = read_live_held(config, config_path, environ, number, find_environments(journal, config))
    return publish_state(journal, fold_incident(journal, live, config.places), config, environ, redactor)


def _describe_problem(number: int, error: OpsError) -> str:
    return f"the comment with the state of #{number} is not up to date: {error.message}"
