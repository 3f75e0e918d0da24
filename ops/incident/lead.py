"""Hand over the lead of an incident from a laptop: `ops incident lead`."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from ops.app.configuration import load_config
from ops.core.clock import current_time, format_utc
from ops.core.errors import Reason, Refused
from ops.core.redaction import Redactor
from ops.core.responders import RequestScope, find_lists
from ops.gate.lead import HandOverRecord, refuse_lead, save_lead
from ops.gate.refusals import plain_text
from ops.github.client import CHECK_HINT, connect, provider_errors
from ops.github.comments import own_login
from ops.github.issues import get_incident


def hand_over(
    number: int,
    login: str,
    *,
    config: Path,
    environ: Mapping[str, str],
    redactor: Redactor,
    warn: Callable[[str], object],
) -> str:
    """Record who leads the incident now, and return a line for people.

    Raises Refused if the incident is closed, or if one of both people may not start a recovery; ConfigError and
    ProviderError.
    """
    lists = find_lists(load_config(config, environ, redactor), RequestScope())
    now = current_time(environ)
    with provider_errors(CHECK_HINT):
        repository = connect(environ, redactor)
        is_closed = get_incident(repository, number).state == "closed"
        by = own_login(repository)
    if is_closed:
        hint = f"Reopen #{number} first, or write a note: `ops incident note {number} TEXT`."
        raise Refused(f"#{number} is closed, so nobody leads it", reason=Reason.INCIDENT_CLOSED, hint=hint)
    for person in dict.fromkeys((by, login)):
        if (refusal := refuse_lead(repository, number, person, lists)) is not None:
            message, hint = (plain_text(text, refusal.values) for text in (refusal.message, refusal.hint))
            raise Refused(message, reason=refusal.reason, hint=hint)
    run = f"lead-{hashlib.sha256(f'{now.isoformat()} {login}'.encode()).hexdigest()[:16]}"
    url = save_lead(repository, number, HandOverRecord(run, login, by, now), warn)
    return f"{login} leads #{number} since {format_utc(now)}: {url}"
