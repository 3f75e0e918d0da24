"""What a person may press next: a command to be pasted, and the same by a button of GitHub Actions."""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SuggestedCommand:
    command: str
    button: str = ""
    """Where it is, and what to fill in there."""


def shorten_ids(text: str) -> str:
    """Return the text with each UUID cut to its first 8 characters, which `--to` takes: people type them on a phone."""
    return re.sub(r"\b([0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", r"\1", text)


def build_command(program: str, runbook: str, options: Mapping[str, Any], *more: str) -> str:
    """Options without a value are left out, True is a flag, one with many is repeated; `more` comes last, as it is."""
    given = [
        f"--{name.replace('_', '-')}" + ("" if options[name] is True else f" {shlex.quote(each)}")
        for name, values in _given(options)
        for each in values
    ]
    return " ".join([program, runbook, *given, *more])


def describe_button(runbook: str, options: Mapping[str, Any]) -> str:
    """A button has one field where a command line repeats an option: commas divide it."""
    given = "; ".join(f"{name} = {','.join(values)}" for name, values in _given(options))
    return f"Actions → {runbook} → Run workflow: {given}"


def button_fields(text: str) -> tuple[str, list[tuple[str, str]]] | None:
    """Return the workflow and the fields of a button's text; None if the text is of another form."""
    found = re.fullmatch("Actions → ([a-z][a-z-]*) → Run workflow: (.*)", text)
    if found is None:
        return None
    parts = re.split("; (?=[a-z_]+ = )", found[2])
    fields = [(name, value) for name, is_field, value in (part.partition(" = ") for part in parts) if is_field]
    return found[1], fields


def build_gh_command(runbook: str, options: Mapping[str, Any]) -> str:
    """The same button by the command line of GitHub."""
    fields = [f"{name}={','.join(values)}" for name, values in _given(options)]
    return " ".join([f"gh workflow run {runbook}.yml", *(f"-f {shlex.quote(field)}" for field in fields)])


def _given(options: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    for name, value in options.items():
        values = [_text(each) for each in (value if isinstance(value, list | tuple) else [value]) if each]
        if values:
            yield name, values


def _text(value: Any) -> str:
    return "true" if value is True else str(value)
