"""`ops incident leak`: opens the incident for a leaked secret, or adds to the open one, and proposes what replaces it.

It starts nothing. In a job it prints no word of what was sent.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app import run as app
from ops.core import system_clock
from ops.core.errors import ConfigError, Reason, Refused
from ops.core.redaction import Redactor
from ops.core.run_record import Block, Row, sealed
from ops.gate import outcomes
from ops.gate.leak import Leak, read_leak
from ops.github import actions
from ops.github.client import CHECK, connect, failures
from ops.incident import leak_choice as model

if TYPE_CHECKING:
    from ops.config import Config
    from ops.github.client import Repository

SEVERITY = "sev1"
UNDECLARED = "an undeclared secret"


@dataclass(frozen=True)
class Told:
    number: int
    url: str
    is_new: bool


def told(config_path: Path, environ: Mapping[str, str], redactor: Redactor) -> Told | None:
    """None where the event reports no leak. Raises ConfigError where it cannot be read, Refused, ProviderError."""
    config, _ = app.read_config(config_path)
    app.register_secrets(environ, config, redactor)
    now = system_clock.now(environ)
    leak = _read(config, environ, now)
    if leak is None:
        return None
    repository = connect(environ, redactor)
    leak = redactor.value(leak) if _is_private(repository) else Leak(secret=leak.secret)
    with failures(CHECK):
        return _told(repository, config, leak, environ, now)


def _read(config: "Config", environ: Mapping[str, str], now: datetime) -> Leak | None:
    event = actions.variable(environ, "GITHUB_EVENT_NAME")
    job = outcomes.Job(
        repository=actions.variable(environ, "GITHUB_REPOSITORY"),
        ref=actions.variable(environ, "GITHUB_REF"),
        run_attempt=actions.attempt(environ),
        actor=actions.variable(environ, "GITHUB_TRIGGERING_ACTOR", "GITHUB_ACTOR"),
        now=now,
    )
    outcome = read_leak(event, actions.payload(environ), model.names(config), job)
    if isinstance(outcome, outcomes.Malformed):
        hint = "Send it again, with an object that has `secret`, and `seen`, `url` and `source` if you know them."
        raise ConfigError(f"the report cannot be read: {outcome.why}", reason=Reason.EVENT_MALFORMED, hint=hint)
    if isinstance(outcome, outcomes.Refusal):
        hint = "Start the workflow on the default branch: only what was merged there may act."
        raise Refused("this did not run on the default branch", reason=outcome.reason, hint=hint)
    return outcome if isinstance(outcome, Leak) else None


def _is_private(repository: "Repository") -> bool:
    from ops.github import environments

    return environments.is_private(repository)


def _told(repository: "Repository", config: "Config", leak: Leak, environ: Mapping[str, str], now: datetime) -> Told:
    from ops.github import issues
    from ops.incident import leak_text as rendering

    key = _key(leak.secret)
    what = leak.secret or UNDECLARED
    if found := issues.open_with_block(repository, key):
        return _again(repository, found, leak, environ, now)
    replacing = list(model.replacements(config, leak.secret)) if leak.secret else []
    run_page = actions.links(environ, None).get("run", "")

    def body(number: str) -> str:
        text = rendering.incident(
            leak, what, replacing, list(config.environments), at=now, number=number, page=run_page
        )
        return sealed(text, Block(key, source="leak"))

    number, url = issues.open_incident(repository, f"Leaked secret: {what}", body, [SEVERITY])
    return Told(number, url, is_new=True)


def _again(repository: "Repository", number: int, leak: Leak, environ: Mapping[str, str], now: datetime) -> Told:
    """One comment for each run of the workflow, so that a run which is started again adds none."""
    from ops.github.comments import RunComments
    from ops.incident import leak_text as rendering

    text = f"{leak.secret or UNDECLARED} was reported as leaked once more"
    run = f"leak-{environ.get('GITHUB_RUN_ID') or f'{now:%Y%m%dT%H%M%S}'}"[:64]
    comments = RunComments(repository, number, run, look=True)
    block = Block(run, source="note", rows=(Row(now, "note", text),))
    comments.put(1, sealed(rendering.again(leak, text, at=now), block))
    return Told(number, comments.url, is_new=False)


def _key(secret: str) -> str:
    """One incident for each secret of ops.yml at a time, and one for all others."""
    return f"leak-{hashlib.sha256(secret.encode()).hexdigest()[:16]}" if secret else "leak-undeclared"
