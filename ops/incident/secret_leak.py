"""`ops incident leak`: open or extend the incident of a leaked secret.

It starts no runbook. A job prints nothing of the report. The issue has the command of the runbook that rotates the
secret, or instructions for a person.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app.configuration import load_config, program_name
from ops.app.menu import build_menu
from ops.config import durable_object_token_names
from ops.config.status_page import page_keys
from ops.core.clock import current_time
from ops.core.errors import ConfigError, Reason, Refused
from ops.core.redaction import Redactor
from ops.core.run_record import RunRecord, embed_record, make_note
from ops.gate import outcomes
from ops.gate.events import LeakReport, read_leak
from ops.gate.refusals import build_request_commands
from ops.github import actions
from ops.github.client import CHECK_HINT, connect, provider_errors
from ops.render import collapse_blank_lines, load_templates

if TYPE_CHECKING:
    from ops.config import Config
    from ops.github.client import Repository

RUNBOOK = "rotate-secrets"
SEVERITY = "sev1"
UNDECLARED = "an undeclared secret"
MAY_BE_ANOTHER = "A secret that ops.yml does not name was reported as leaked: the same one, or another"
"""Its name is not repeated, because people have sent the value as the name."""

NEVER_ROTATED = "ops.yml says `rotate: never`. Decide who replaces it, and which data that loses."
LOGIN_INSTRUCTION = "Change the password of the account that the probes use, then update the secret."
DASHBOARD_INSTRUCTION = (
    "Roll the token at dash.cloudflare.com → Manage account → API tokens, "
    "then update the secret in every GitHub environment that has it."
)
OBJECTS_INSTRUCTION = (
    "Give the secret a new value in the Worker whose endpoints of Durable Objects it opens, "
    "then update it in every GitHub environment that has it."
)
WEBHOOK_INSTRUCTION = "Replace the webhook or token in the settings of the chat, then update the secret."

PAGE_KEY_INSTRUCTION = "Create a new key at the provider of the status page, delete this one, then update the secret."


@dataclass(frozen=True)
class LeakIncident:
    number: int
    url: str
    is_new: bool


def report_leak(config_path: Path, environ: Mapping[str, str], redactor: Redactor) -> LeakIncident | None:
    """Report the leak in the event; None if there is none. Raises ConfigError, Refused and ProviderError."""
    config = load_config(config_path, environ, redactor)
    now = current_time(environ)
    leak = _read_event(config, environ, now)
    if leak is None:
        return None
    repository = connect(environ, redactor)
    leak = redactor.redact_value(leak) if _is_private(repository) else LeakReport(secret=leak.secret)
    with provider_errors(CHECK_HINT):
        return _open_or_extend(repository, config, leak, environ, now)


def _read_event(config: "Config", environ: Mapping[str, str], now: datetime) -> LeakReport | None:
    event = actions.require_variable(environ, "GITHUB_EVENT_NAME")
    job = outcomes.GateJob(
        repository=actions.require_variable(environ, "GITHUB_REPOSITORY"),
        ref=actions.require_variable(environ, "GITHUB_REF"),
        workflow_ref=environ.get("GITHUB_WORKFLOW_REF", ""),
        run_attempt=actions.run_attempt(environ),
        actor=actions.require_variable(environ, "GITHUB_TRIGGERING_ACTOR", "GITHUB_ACTOR"),
        now=now,
    )
    outcome = read_leak(event, actions.read_payload(environ), declared_secrets(config), job)
    if isinstance(outcome, outcomes.MalformedEvent):
        hint = "Send an object with `secret`, and `seen`, `url` and `source` if known."
        raise ConfigError(f"cannot read the report: {outcome.cause}", reason=Reason.EVENT_MALFORMED, hint=hint)
    if isinstance(outcome, outcomes.RefusedRequest):
        hint = "Run the workflow on the default branch: only merged code may act."
        raise Refused("the workflow does not run on the default branch", reason=outcome.reason, hint=hint)
    return outcome if isinstance(outcome, LeakReport) else None


def _is_private(repository: "Repository") -> bool:
    from ops.github import protection

    return protection.is_private(repository)


def _open_or_extend(
    repository: "Repository", config: "Config", leak: LeakReport, environ: Mapping[str, str], now: datetime
) -> LeakIncident:
    from ops.github import issues

    key = _leak_incident_key(leak.secret)
    what = leak.secret or UNDECLARED
    if open_number := issues.find_open_incident(repository, key):
        return _add_comment(repository, open_number, leak, environ, now)
    replacing = list(list_replacements(config, leak.secret)) if leak.secret else []
    run_page = actions.run_links(environ, None).get("run", "")

    def leak_body(number: str) -> str:
        environments, program = list(config.environments), program_name(environ)
        text = render_leak_incident(
            leak, what, replacing, environments, at=now, number=number, page=run_page, program=program
        )
        return embed_record(text, RunRecord(key, source="leak"))

    def leak_menu(number: str) -> str:
        parts = build_menu(config, (program_name(environ),), number, actions.repository_page(environ))
        return parts.render([each.service for each in replacing])

    opened = issues.open_incident_issue(repository, f"Leaked secret: {what}", leak_body, leak_menu, [SEVERITY])
    return LeakIncident(opened.number, opened.url, is_new=True)


def _add_comment(
    repository: "Repository", number: int, leak: LeakReport, environ: Mapping[str, str], now: datetime
) -> LeakIncident:
    """Add one comment per workflow run, so that a re-run adds none."""
    from ops.github.comments import save_record

    text = f"{leak.secret} was reported as leaked again" if leak.secret else MAY_BE_ANOTHER
    run = f"leak-{environ.get('GITHUB_RUN_ID') or f'{now:%Y%m%dT%H%M%S}'}"[:64]
    note = make_note(run, now, text, actions.job_number(environ))
    url = save_record(repository, number, render_repeat(leak, text, at=now), note)
    return LeakIncident(number, url, is_new=False)


def _leak_incident_key(secret: str) -> str:
    """Return the key of the incident: one per secret in ops.yml, and one for all others."""
    return f"leak-{hashlib.sha256(secret.encode()).hexdigest()[:16]}" if secret else "leak-undeclared"


@dataclass(frozen=True)
class Replacement:
    """How to replace a secret: a runbook for `service`, or without a service the instructions `by_hand`."""

    environment: str
    service: str = ""
    by_hand: str = ""


def declared_secrets(config: "Config") -> frozenset[str]:
    """Return the names of all secrets in ops.yml."""
    names = {*config.notify.secret_names, *config.login_variables, *durable_object_token_names(config)}
    names |= {*page_keys(config.status_page)}
    for environment in config.environments.values():
        names |= {environment.token, *environment.secrets}
    return frozenset(names)


def list_replacements(config: "Config", name: str) -> Iterator[Replacement]:
    """Yield the replacements of a secret, in the order of ops.yml."""
    for environment in config.environments.values():
        declared = environment.secrets.get(name)
        if declared is not None and declared.rotate == "never":
            yield Replacement(environment.name, by_hand=NEVER_ROTATED)
        elif declared is not None:
            service = next(each for each in declared.consumers if environment.services[each].worker)
            yield Replacement(environment.name, service=service)
        if environment.token == name:
            yield Replacement(environment.name, by_hand=DASHBOARD_INSTRUCTION)
        objects = [each for service in environment.services.values() for each in service.durable_objects.values()]
        if any(each.token == name for each in objects):
            yield Replacement(environment.name, by_hand=OBJECTS_INSTRUCTION)
    if name in config.notify.secret_names:
        yield Replacement("", by_hand=WEBHOOK_INSTRUCTION)
    if name in page_keys(config.status_page):
        yield Replacement("", by_hand=PAGE_KEY_INSTRUCTION)
    if name in config.login_variables:
        yield Replacement("", by_hand=LOGIN_INSTRUCTION)


def render_leak_incident(
    leak: LeakReport,
    what: str,
    replacing: Sequence[Replacement],
    environments: Sequence[str],
    *,
    at: datetime,
    number: str,
    page: str,
    program: str,
) -> str:
    """Render the incident body. `number` is `NUMBER` until it is known; `page` is the URL of the workflow run."""
    shown = [(each, _rotation_commands(program, each, what, number)) for each in replacing]
    touched = dict.fromkeys(each.environment for each in replacing if each.environment) or dict.fromkeys(environments)
    collecting = [f"{program} evidence --since 24h --environment {name} --incident {number}" for name in touched]
    template = load_templates().get_template("leak.md.j2")
    values = {"what": what, "where": list_leak_facts(leak), "at": at, "number": number, "page": page}
    return collapse_blank_lines(template.render(**values, replacing=shown, collecting=collecting))


def _rotation_commands(program: str, each: Replacement, secret: str, number: str) -> dict[str, str]:
    options = {"service": each.service, "environment": each.environment, "only": secret, "incident": number}
    return build_request_commands(program, RUNBOOK, options) if each.service else {}


def render_repeat(leak: LeakReport, text: str, *, at: datetime) -> str:
    return collapse_blank_lines(
        load_templates().get_template("leak_again.md.j2").render(at=at, text=text, where=list_leak_facts(leak))
    )


def list_leak_facts(leak: LeakReport) -> list[tuple[str, str]]:
    facts = (("Seen", leak.location), ("Page", leak.url), ("Found by", leak.source))
    return [(name, said) for name, said in facts if said]
