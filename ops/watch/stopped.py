"""Find the watches that lost their runner, so that another one continues them."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app import run
from ops.app.place import Place
from ops.core import system_clock
from ops.core.redaction import Redactor
from ops.github.client import CHECK_HINT, connect, provider_errors
from ops.github.issues import IssueRecord, TrustedAuthors, list_recent_incidents, records_of
from ops.watch.record import RECENT, WATCH
from ops.watch.state import MAX_PAUSE, parse_state

if TYPE_CHECKING:
    from ops.config import Config


def find_stopped(
    config_path: Path, environ: Mapping[str, str], redactor: Redactor, incident: int | None
) -> "list[tuple[Place, int | None]]":
    """Return place and incident of each stopped watch: on this incident, or on all that changed since it could start.

    Raises OpsError.
    """
    config, _ = run.read_config(config_path)
    run.register_secrets(environ, config, redactor)
    now = system_clock.current_time(environ)
    found: dict[tuple[Place, int | None], None] = {}
    with provider_errors(CHECK_HINT):
        repository = connect(environ, redactor)
        trusted = TrustedAuthors(repository)
        issues = (
            list_recent_incidents(repository, now - RECENT) if incident is None else [repository.get_issue(incident)]
        )
        for issue in issues:
            for each in records_of(issue, trusted):
                if _is_stopped(each, config, now):
                    found[Place(each.record.environment, each.record.service), issue.number] = None
    return list(found)


def _is_stopped(recorded: IssueRecord, config: "Config", now: datetime) -> bool:
    """Return whether this is a watch of a service in ops.yml, without a result and without a recent round."""
    record = recorded.record
    environment = config.environments.get(record.environment)
    if record.source != WATCH or record.decision or environment is None or record.service not in environment.services:
        return False
    state = parse_state(record.watch, now)
    return state is not None and now - state.seen_at > MAX_PAUSE
