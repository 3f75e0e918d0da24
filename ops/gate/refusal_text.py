"""A refusal for the issue, where what others wrote is inert, and for the job log, where it is one line."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ops.core import next_step
from ops.core.suggestions import shown
from ops.render.markdown import inert

Values = Mapping[str, str]


def plain(text: str, values: Values) -> str:
    return text.format_map({name: f'"{shown(value)}"' for name, value in values.items()})


def comment(*, message: str, hint: str, values: Values, reason: str, commands: Mapping[str, str]) -> str:
    """Why, what to do, and what to type instead; `commands` are shown to be copied, by how each is run."""
    safe = {name: inert(value) for name, value in values.items()}
    lines = [
        f"**Refused, and nothing was changed:** {_sentence(message.format_map(safe))}",
        f"**What to do:** {hint.format_map(safe)}",
        "\n".join(f"- {where}: {inert(command)}" for where, command in commands.items()),
        f"Reason: `{reason}`",
    ]
    return "\n\n".join(line for line in lines if line) + "\n"


def latest(body: str, at: datetime, count: int) -> str:
    """The comment on an issue where that many requests were refused."""
    if count == 1:
        return body
    return f"{body}\nThis is the latest of {count} refused requests on this issue: {at:%Y-%m-%d %H:%M:%S} UTC.\n"


def commands(program: str, runbook: str, options: Mapping[str, Any]) -> dict[str, str]:
    """The same by other ways: on a laptop, by the button, and by the button from a command line."""
    return {
        "on a laptop": next_step.command(program, runbook, options),
        "by the button": next_step.button(runbook, options),
        "with gh": next_step.gh(runbook, options),
    }


def _sentence(text: str) -> str:
    return text if text.endswith("?") else f"{text}."
