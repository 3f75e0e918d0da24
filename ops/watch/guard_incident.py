"""Open the incident of a bad deployment once, however many guards find it.

The body of the incident names the deployment in its hidden record, which counts only in an issue of the bot, of the
owner of this token, or of a person with write access.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app.configuration import load_config, published_prefix
from ops.app.menu import build_menu
from ops.core.errors import OpsError, ProviderError, UnclearWrite
from ops.core.redaction import Redactor
from ops.core.run_record import RunRecord, embed_record
from ops.github.actions import job_number, repository_page
from ops.github.client import CHECK_HINT, connect, provider_errors, write_errors
from ops.github.issues import close_duplicate, find_recorded_incidents, open_incident, save_menu
from ops.publish.chat import post_message
from ops.publish.comment import render_incident
from ops.watch.guard import GuardResult
from ops.watch.guard_text import headline, incident_link, incident_symptom, incident_title

if TYPE_CHECKING:
    from ops.github.client import Repository

SOURCE = "guard"
"""Source of the record."""
SEVERITY = "sev2"


@dataclass(frozen=True)
class GuardIncident:
    number: int
    url: str
    is_new: bool = False
    is_closed: bool = False


def marker(deployment: str) -> str:
    """Return the run ID of the record that names the deployment."""
    return f"{SOURCE}-{deployment}"


def find_guard_incident(repository: "Repository", result: GuardResult) -> GuardIncident | None:
    """Return the oldest incident of the deployment, also a closed one. Raises ProviderError."""
    with provider_errors(CHECK_HINT):
        found = find_recorded_incidents(repository, marker(result.deployment.id), since=result.deployment.created_on)
    oldest = min(found, key=lambda each: each.number, default=None)
    return GuardIncident(oldest.number, oldest.html_url, is_closed=oldest.state == "closed") if oldest else None


def open_guard_incident(
    result: GuardResult, config_path: Path, environ: Mapping[str, str], redactor: Redactor, *, job: str
) -> GuardIncident:
    """Open the incident of the deployment, or find it. `job`: URL of this job; empty on a laptop.

    Two guards may open one at the same time: the older one stays.

    Raises:
        ConfigError: no token, or no repository.
        UnclearWrite: GitHub gave no answer, and shows no incident now: it may be open.
        ProviderError: GitHub failed or refused, and none is open.
    """
    config, repository = load_config(config_path, environ, redactor), connect(environ, redactor)
    if known := find_guard_incident(repository, result):
        return known
    program, page = published_prefix(environ, config_path, config), repository_page(environ)
    record = RunRecord(marker(result.deployment.id), source=SOURCE, job=job_number(environ))
    body = embed_record(incident_body(result, redactor, job=job), record)

    def menu(number: str) -> str:
        return build_menu(config, program, number, page).render([result.service])

    title = redactor.redact_text(incident_title(result))
    try:
        with write_errors(CHECK_HINT):
            opened = open_incident(repository, title, lambda _: body, menu, [SEVERITY])
    except UnclearWrite:
        found = _find_or_none(repository, result)
        if found is None:
            raise
        with suppress(OpsError), provider_errors():
            save_menu(repository, found.number, menu(str(found.number)))
    else:
        found = GuardIncident(opened.number, opened.url)
        first = _find_or_none(repository, result)
        if first is not None and first.number < found.number:
            with suppress(ProviderError), provider_errors():
                close_duplicate(repository, found.number, first.number)
            return first
    post_message(environ, config.notify, redactor.redact_text(headline(result)), found.number)
    return replace(found, is_new=True)


def _find_or_none(repository: "Repository", result: GuardResult) -> GuardIncident | None:
    """Return the oldest incident of the deployment; None also if GitHub does not show it now."""
    with suppress(ProviderError):
        return find_guard_incident(repository, result)
    return None


def incident_body(result: GuardResult, redactor: Redactor, *, job: str) -> str:
    """Return the visible body of the incident."""
    text = render_incident(
        service=result.service,
        environment=result.environment,
        severity=SEVERITY,
        symptom=incident_symptom(result, job),
        began=f"{result.deployment.created_on:%Y-%m-%d %H:%M}",
    )
    return redactor.redact_text(text)


def prefilled_link(result: GuardResult, environ: Mapping[str, str], redactor: Redactor, *, job: str) -> str:
    """Return the address where a person opens the incident; empty if the operations repository is unknown."""
    page = repository_page(environ)
    title = redactor.redact_text(incident_title(result))
    return incident_link(page, title, incident_body(result, redactor, job=job)) if page else ""
