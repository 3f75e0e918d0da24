"""Suggested next steps: a command to paste, and the same run as a GitHub Actions button."""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ops.core.json_fields import text_in


@dataclass(frozen=True)
class SuggestedCommand:
    """A command that a person may run next, and the button that does the same."""

    command: str
    button: str = ""
    """Where the button is and how to fill in its fields; empty if there is none."""


def command_to_json(name: str, command: SuggestedCommand | None) -> dict[str, str]:
    """Return the command under this name, and its button under NAME_button."""
    return {name: command.command if command else "", f"{name}_button": command.button if command else ""}


def command_from_json(name: str, data: Mapping[str, Any]) -> SuggestedCommand | None:
    """Return the command that `command_to_json` wrote; None if there is none."""
    command, button = text_in(data, name), text_in(data, f"{name}_button")
    return SuggestedCommand(command, button) if command else None


def refer_below(hint: str) -> str:
    """Return a hint that names the command below it in the place of the one that was typed."""
    return re.sub("([Ss]tart|[Rr]un) the (?:same )?command again", r"\1 the command below", hint)


def shorten_ids(text: str) -> str:
    """Return the text with each UUID cut to its first 8 characters, which `--to` takes: people type them on a phone."""
    return re.sub(r"\b([0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", r"\1", text)


def build_command(program: str, runbook: str, options: Mapping[str, Any], *more: str) -> str:
    """Build a command line.

    Options without a value are omitted, True becomes a flag, and a list repeats its option. `more` comes last.
    """
    given = [
        f"--{name.replace('_', '-')}" + ("" if options[name] is True else f" {shlex.quote(each)}")
        for name, values in _given_options(options)
        for each in values
    ]
    return " ".join([program, runbook, *given, *more])


_CHECKOUT = re.compile(r"(?<![^\s\"'`(])[^\s\"'`(]*/run ops(?= )")


def replace_checkout(text: str, program: str) -> str:
    """Return the text with `program` in place of each `PATH/run ops`, which is a checkout of one laptop."""
    return _CHECKOUT.sub(lambda _: program, text)


def describe_button(runbook: str, options: Mapping[str, Any]) -> str:
    """Describe the button of a runbook and its fields. A list becomes one field, separated by commas."""
    given = "; ".join(f"{name} = {','.join(values)}" for name, values in _given_options(options))
    return f"Actions → {runbook} → Run workflow: {given}"


def button_fields(text: str) -> tuple[str, list[tuple[str, str]]] | None:
    """Return the workflow and the fields of a button's text; None if the text is of another form."""
    match = re.fullmatch("Actions → ([a-z][a-z-]*) → Run workflow: (.*)", text)
    if match is None:
        return None
    parts = re.split("; (?=[a-z_]+ = )", match[2])
    fields = [(name, value) for name, is_field, value in (part.partition(" = ") for part in parts) if is_field]
    return match[1], fields


def build_gh_command(runbook: str, options: Mapping[str, Any]) -> str:
    """Build the `gh workflow run` command that presses the button."""
    fields = [f"{name}={','.join(values)}" for name, values in _given_options(options)]
    return " ".join([f"gh workflow run {runbook}.yml", *(f"-f {shlex.quote(field)}" for field in fields)])


def _given_options(options: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    for name, value in options.items():
        values = [_option_text(each) for each in (value if isinstance(value, list | tuple) else [value]) if each]
        if values:
            yield name, values


def _option_text(value: Any) -> str:
    return "true" if value is True else str(value)
