"""The commands that are shown to people, written so that they can be pasted as they stand."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any


def on_a_laptop(program: str, runbook: str, options: Mapping[str, Any], *more: str) -> str:
    """Options without a value are left out, one with several is repeated; `more` comes last, as it is."""
    given = [f"--{name.replace('_', '-')} {shlex.quote(value)}" for name, value in _pairs(options)]
    return " ".join([program, runbook, *given, *more])


def by_the_button(runbook: str, options: Mapping[str, Any]) -> str:
    given = [f"-f {shlex.quote(f'{name}={value}')}" for name, value in _pairs(options)]
    return " ".join([f"gh workflow run {runbook}.yml", *given])


def _pairs(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in options.items():
        values = value if isinstance(value, list | tuple) else [value]
        yield from ((name, str(each)) for each in values if each not in {None, ""})
