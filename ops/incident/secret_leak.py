"""`ops incident leak`: open the incident of a leaked secret, or add to it, and propose its replacement.

It starts nothing. In a job it prints no word of what was sent. A runbook replaces the secret where there is one for it;
else the issue says what a person does.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app import run as app
from ops.core import system_clock
from ops.core.errors import ConfigError, Reason, Refused
from ops.core.redaction import Redactor
from ops.core.run_record import RecordRow, RunRecord, embed_record
from ops.gate import outcomes
from ops.gate.leak import LeakReport, read_leak
from ops.gate.refusals import laptop_commands
from ops.github import actions
from ops.github.client import CHECK_HINT, connect, provider_errors
from ops.render.markdown import collapse_blank_lines, load_templates

if TYPE_CHECKING:
    from ops.config import Config
    from ops.github.client import Repository

PROGRAM = "./run ops"
RUNBOOK = "rotate-secrets"
SEVERITY = "sev1"
UNDECLARED = "an undeclared secret"

NEVER = "ops.yml says rotate: never. Decide who replaces it, and what is lost by that."
LOGIN = "Change the password of the account with which the probes log in, then the secret."
BY_DASHBOARD = (
    "Roll the token at dash.cloudflare.com → Manage account → API tokens, "
    "then set the secret anew in every GitHub environment that has it."
)
WEBHOOK = "Delete the webhook in the chat's settings, make a new one, then set the secret anew."


@dataclass(frozen=True)
class Told:
    number: int
    url: str
    is_new: bool


def told(config_path: Path, environ: Mapping[str, str], redactor: Redactor) -> Told | None:
    """None where the event reports no leak. Raises ConfigError where it cannot be read, Refused, ProviderError."""
    config, _ = app.read_config(config_path)
    app.register_secrets(environ, config, redactor)
    now = system_clock.current_time(environ)
    leak = _read(config, environ, now)
    if leak is None:
        return None
    repository = connect(environ, redactor)
    leak = redactor.value(leak) if _is_private(repository) else LeakReport(secret=leak.secret)
    with provider_errors(CHECK_HINT):
        return _told(repository, config, leak, environ, now)


def _read(config: "Config", environ: Mapping[str, str], now: datetime) -> LeakReport | None:
    event = actions.variable(environ, "GITHUB_EVENT_NAME")
    job = outcomes.GateJob(
        repository=actions.variable(environ, "GITHUB_REPOSITORY"),
        ref=actions.variable(environ, "GITHUB_REF"),
        run_attempt=actions.attempt(environ),
        actor=actions.variable(environ, "GITHUB_TRIGGERING_ACTOR", "GITHUB_ACTOR"),
        now=now,
    )
    outcome = read_leak(event, actions.read_payload(environ), names(config), job)
    if isinstance(outcome, outcomes.MalformedEvent):
        hint = "Send it again, with an object that has `secret`, and `seen`, `url` and `source` if you know them."
        raise ConfigError(f"the report cannot be read: {outcome.cause}", reason=Reason.EVENT_MALFORMED, hint=hint)
    if isinstance(outcome, outcomes.RefusedRequest):
        hint = "Start the workflow on the default branch: only merged code may act."
        raise Refused("this did not run on the default branch", reason=outcome.reason, hint=hint)
    return outcome if isinstance(outcome, LeakReport) else None


def _is_private(repository: "Repository") -> bool:
    from ops.github import environments

    return environments.is_private(repository)


def _told(
    repository: "Repository", config: "Config", leak: LeakReport, environ: Mapping[str, str], now: datetime
) -> Told:
    from ops.github import issues

    key = _key(leak.secret)
    what = leak.secret or UNDECLARED
    if found := issues.open_with_record(repository, key):
        return _again(repository, found, leak, environ, now)
    replacing = list(replacements(config, leak.secret)) if leak.secret else []
    run_page = actions.run_links(environ, None).get("run", "")

    def body(number: str) -> str:
        text = incident(leak, what, replacing, list(config.environments), at=now, number=number, page=run_page)
        return embed_record(text, RunRecord(key, source="leak"))

    number, url = issues.open_incident(repository, f"Leaked secret: {what}", body, [SEVERITY])
    return Told(number, url, is_new=True)


def _again(repository: "Repository", number: int, leak: LeakReport, environ: Mapping[str, str], now: datetime) -> Told:
    """One comment for each run of the workflow, so that a run which is started again adds none."""
    from ops.github.comments import RunComments

    text = f"{leak.secret or UNDECLARED} was reported as leaked once more"
    run = f"leak-{environ.get('GITHUB_RUN_ID') or f'{now:%Y%m%dT%H%M%S}'}"[:64]
    comments = RunComments(repository, number, run, look=True)
    block = RunRecord(run, source="note", rows=(RecordRow(now, "note", text),))
    comments.put(1, embed_record(again(leak, text, at=now), block))
    return Told(number, comments.url, is_new=False)


def _key(secret: str) -> str:
    """One incident for each secret of ops.yml at a time, and one for all others."""
    return f"leak-{hashlib.sha256(secret.encode()).hexdigest()[:16]}" if secret else "leak-undeclared"


@dataclass(frozen=True)
class Replacement:
    """`service` is one for which the runbook replaces it; without one, `by_hand` says what a person does."""

    environment: str
    service: str = ""
    by_hand: str = ""


def names(config: "Config") -> frozenset[str]:
    """Every secret that ops.yml names."""
    found = {*config.notify.webhooks.values(), *config.login_variables}
    for environment in config.environments.values():
        found |= {environment.token, *environment.secrets}
    return frozenset(found)


def replacements(config: "Config", name: str) -> Iterator[Replacement]:
    """In the order of ops.yml."""
    for environment in config.environments.values():
        declared = environment.secrets.get(name)
        if declared is not None and declared.rotate == "never":
            yield Replacement(environment.name, by_hand=NEVER)
        elif declared is not None:
            yield Replacement(environment.name, service=declared.consumers[0])
        if environment.token == name:
            yield Replacement(environment.name, by_hand=BY_DASHBOARD)
    if name in config.notify.webhooks.values():
        yield Replacement("", by_hand=WEBHOOK)
    if name in config.login_variables:
        yield Replacement("", by_hand=LOGIN)


def incident(
    leak: LeakReport,
    what: str,
    replacing: Sequence[Replacement],
    environments: Sequence[str],
    *,
    at: datetime,
    number: str,
    page: str,
) -> str:
    """`number` is the word NUMBER as long as it is not known; `page` is that of the workflow's run."""
    shown = [(each, _rotation(each, what, number)) for each in replacing]
    touched = dict.fromkeys(each.environment for each in replacing if each.environment) or dict.fromkeys(environments)
    collecting = [f"{PROGRAM} evidence --since 24h --environment {name} --incident {number}" for name in touched]
    template = load_templates().get_template("leak.md.j2")
    values = {"what": what, "where": where(leak), "at": at, "number": number, "page": page}
    return collapse_blank_lines(template.render(**values, replacing=shown, collecting=collecting))


def _rotation(each: Replacement, secret: str, number: str) -> dict[str, str]:
    options = {"service": each.service, "environment": each.environment, "only": secret, "incident": number}
    return laptop_commands(PROGRAM, RUNBOOK, options) if each.service else {}


def again(leak: LeakReport, text: str, *, at: datetime) -> str:
    return collapse_blank_lines(
        load_templates().get_template("leak_again.md.j2").render(at=at, text=text, where=where(leak))
    )


def where(leak: LeakReport) -> list[tuple[str, str]]:
    told = (("Seen", leak.location), ("Page", leak.url), ("Found by", leak.source))
    return [(name, said) for name, said in told if said]
