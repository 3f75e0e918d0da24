"""The files of a GitHub Actions job: the event that started it, and its outputs. The only code that touches them.

docs.github.com/actions/reference/workflows-and-actions/variables,
docs.github.com/actions/reference/workflows-and-actions/workflow-commands#multiline-strings
"""

import contextlib
import json
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ops.model.errors import ConfigError

UNREADABLE = object()
"""Instead of a payload: the file is no JSON."""


def variable(environ: Mapping[str, str], *names: str) -> str:
    """The first that is set. Raises ConfigError where none is."""
    for name in names:
        if value := environ.get(name):
            return value
    hint = "Run it in a job of GitHub Actions, which sets it; on a laptop, type the runbook's own command."
    raise ConfigError(f"{names[0]} is not set", hint=hint)


def attempt(environ: Mapping[str, str]) -> int:
    text = variable(environ, "GITHUB_RUN_ATTEMPT")
    if not re.fullmatch("[1-9][0-9]{0,5}", text):
        raise ConfigError("GITHUB_RUN_ATTEMPT is no number", hint="Leave it as GitHub Actions sets it.")
    return int(text)


def payload(environ: Mapping[str, str]) -> Any:
    """What the webhook said, or UNREADABLE. Raises ConfigError where there is no such file."""
    path = Path(variable(environ, "GITHUB_EVENT_PATH"))
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        hint = "Leave GITHUB_EVENT_PATH as GitHub Actions sets it."
        raise ConfigError(f"the event cannot be read ({error.strerror})", hint=hint) from None
    except (ValueError, RecursionError):
        return UNREADABLE


def write_outputs(
    environ: Mapping[str, str], values: Mapping[str, str], *, token: Callable[[], str] = lambda: secrets.token_hex(16)
) -> None:
    """Appends each value between delimiters that nobody can guess, so that no value can end itself and add another."""
    lines = []
    for name, value in values.items():
        delimiter = _delimiter(value, token)
        lines.append(f"{name}<<{delimiter}\n{value}\n{delimiter}\n")
    path = Path(variable(environ, "GITHUB_OUTPUT"))
    try:
        with path.open("a", encoding="utf-8", errors="replace", newline="") as file:
            file.write("".join(lines))
    except OSError as error:
        hint = "Leave GITHUB_OUTPUT as GitHub Actions sets it."
        raise ConfigError(f"the job's outputs cannot be written ({error.strerror})", hint=hint) from None


def write_job_outputs(environ: Mapping[str, str], values: Mapping[str, str]) -> None:
    """The same after a run, where a job wants them: the recovery is over, so a file that cannot be written is no error.

    The next job then finds nothing, and does nothing.
    """
    if environ.get("GITHUB_OUTPUT"):
        with contextlib.suppress(ConfigError):
            write_outputs(environ, values)


def _delimiter(value: str, token: Callable[[], str]) -> str:
    while (delimiter := f"ops_{token()}") in value:
        continue
    return delimiter
