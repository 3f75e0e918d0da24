"""The person who adopts: their GitHub token, and the questions."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.app.configuration import find_person_token
from ops.core.client_guards import is_loopback, uses_one_sandbox
from ops.core.errors import ConfigError, Reason
from ops.core.redaction import Redactor, Secret
from ops.github.client import server_host, token_command
from ops.github.repositories import RIGHTS
from ops.setup.github_setup import require_laptop
from ops.setup.init.command import CONTACT_QUESTION, LOCATION_QUESTION, OWNER_QUESTION
from ops.tools import process

if TYPE_CHECKING:
    from ops.config import RecoveryLabel
    from ops.setup.github_secrets import MissingSecret
    from ops.setup.init.questions import Questions

LEFT_OUT = frozenset({OWNER_QUESTION, LOCATION_QUESTION, CONTACT_QUESTION})
"""Questions of `ops init` whose answers can be added to the files later."""
GH_TIMEOUT = 10.0
GH_VARIABLES = ("GH_CONFIG_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "DBUS_SESSION_BUS_ADDRESS")


@dataclass(frozen=True)
class Person:
    """Questions, hidden answers and the drill, as the command line gives them."""

    questions: "Questions"
    paste_readers: Callable[[], Mapping[str, str]]
    """Return variable → read-only Cloudflare token; none if the person types names, or if services are known."""
    paste_token: "Callable[[MissingSecret], Secret | None]"
    """Return the checked token for a secret; None if there is none now."""
    drill: "Callable[[Path, RecoveryLabel], Mapping[str, Any]] | None"
    """Drill the recovery of a label in the sandbox; None to skip it, or without the sandbox's package."""


def person_environ(environ: Mapping[str, str], folder: Path, redactor: Redactor) -> dict[str, str]:
    """Return the variables with the person's token as GITHUB_TOKEN: of a variable, else of `gh`. Raises ConfigError."""
    environ = require_laptop(environ, folder, redactor)
    if not uses_one_sandbox(environ):
        text = "one of Cloudflare and GitHub is a sandbox, and the other one is not"
        hint = "Set the variables of both that `ops sandbox` prints, or of none."
        raise ConfigError(text, reason=Reason.NOT_LOOPBACK, hint=hint)
    token = find_person_token(environ) or _read_gh_token(environ, redactor)
    if not token:
        hint = f"Run `{token_command(environ)}`. {RIGHTS}"
        raise ConfigError("no token of GitHub was found", reason=Reason.TOKEN_MISSING, hint=hint)
    redactor.add_secret(token)
    return {**environ, "GITHUB_TOKEN": token}


def _read_gh_token(environ: Mapping[str, str], redactor: Redactor) -> str:
    """Return the token that `gh` keeps for the server; empty without one. A sandbox never gets it."""
    if is_loopback(environ.get("GITHUB_API_URL", "")) or shutil.which("gh", path=environ.get("PATH")) is None:
        return ""
    done = process.run_program(
        ["gh", "auth", "token", "--hostname", server_host(environ)],
        environ=process.clean_environment(environ, names=GH_VARIABLES),
        timeout=GH_TIMEOUT,
        redactor=redactor,
        folder=Path.cwd(),
    )
    return done.output.strip() if done.code == 0 else ""
