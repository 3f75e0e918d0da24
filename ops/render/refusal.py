"""A refusal for the issue, where what others wrote is inert, and for the job log, where it is one line."""

import shlex
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ops.model.nearest import shown
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


def commands(program: str, runbook: str, options: Mapping[str, Any], flags: Collection[str]) -> dict[str, str]:
    """What to type for the same without GitHub's help: on a laptop, where `flags` take no value, and for the button."""
    given = [(name, value) for name, value in _pairs(options) if name not in flags or value == "true"]
    typed = [
        (f"--{name.replace('_', '-')}", "" if name in flags else f" {shlex.quote(value)}") for name, value in given
    ]
    laptop = [program, runbook, *(f"{option}{value}" for option, value in typed)]
    button = [f"gh workflow run {runbook}.yml", *(f"-f {shlex.quote(f'{name}={value}')}" for name, value in given)]
    return {"on a laptop": " ".join(laptop), "by the button": " ".join(button)}


def _pairs(options: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for name, value in options.items():
        values = value if isinstance(value, list | tuple) else [value]
        texts = (str(each).lower() if isinstance(each, bool) else str(each) for each in values if each is not None)
        yield from ((name, text) for text in texts if text)


def _sentence(text: str) -> str:
    return text if text.endswith("?") else f"{text}."
