"""Help texts: commands in sections, each with examples."""

import inspect
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import click

SECTIONS: dict[str, tuple[str, ...]] = {
    "Recover": ("status", "versions", "last"),
    "Limits and switches": ("limits",),
    "Incident": ("incident", "evidence"),
    "Set-up": (
        "init",
        "config",
        "setup",
        "doctor",
        "workflows",
        "labels",
        "drill",
        "sandbox",
        "new-runbook",
        "completion",
    ),
}
"""Section → its commands without a runbook, in order. The runbooks follow them.

A command in no section is hidden: it works, but only jobs and schedules use it.
"""
PROGRAM = "ops"
EXAMPLE_ENVIRONMENT = "production"


class ExampleCommand(click.Command):
    """A command whose help ends with examples: each line of its `epilog` is one, such as `ops config check`."""

    def examples(self) -> list[str]:
        return inspect.cleandoc(self.epilog or "").splitlines()

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as this shell can run them: with the name by which the program was called."""
        program = os.environ.get("OPS_PROGRAM") or PROGRAM
        if examples := self.examples():
            with formatter.section("Examples"):
                for line in examples:
                    formatter.write(f"{'':{formatter.current_indent}}{program}{line.removeprefix(PROGRAM)}\n")


class ExampleGroup(click.Group):
    """A group of commands with examples."""

    command_class = ExampleCommand


class HelpLine(NamedTuple):
    """Line of a command in the help of a group; `section` is empty for a hidden command."""

    name: str
    text: str
    section: str


def sections_of(lines: Iterable[HelpLine]) -> Iterator[tuple[str, list[HelpLine]]]:
    """Yield each section with its lines: first those in SECTIONS, in its order."""
    lines = list(lines)
    for section, first in SECTIONS.items():
        order = {name: number for number, name in enumerate(first)}
        found = [line for line in lines if line.section == section]
        yield section, sorted(found, key=lambda line: order.get(line.name, len(order)))


def section_of_command(name: str) -> str:
    """Return the section of a command without a runbook."""
    return next((section for section, names in SECTIONS.items() if name in names), "")


def first_line(text: str | None) -> str:
    """Return the first line of a help text, without its full stop."""
    return next(iter((text or "").strip().splitlines()), "").removesuffix(".")
