"""Help texts: commands in sections, each with examples."""

import inspect
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import click

SECTIONS: dict[str, tuple[str, ...]] = {
    "Recover": ("status", "versions", "targets", "last", "hand-over", "check-outage", "watch", "guard", "label"),
    "Limits and switches": ("limits",),
    "Incident": ("incident", "publish-update", "messages", "stats", "evidence", "stop"),
    "Set-up": (
        "init",
        "config",
        "setup",
        "doctor",
        "on-call-card",
        "workflows",
        "labels",
        "database",
        "hold",
        "drill",
        "staging-drill",
        "status-page",
        "verify-platform",
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


class HelpLine(NamedTuple):
    """Line of a command in a help text. Only `ops --help` has sections, and hides a command without one."""

    name: str
    text: str
    section: str


class ExampleGroup(click.Group):
    """A group of commands with examples. Its help has the whole first line of each."""

    command_class = ExampleCommand

    def visible_lines(self, ctx: click.Context) -> list[HelpLine]:
        """Return the lines of the commands for people."""
        return [HelpLine(name, first_line(self.commands[name].help), "") for name in self.list_commands(ctx)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(line.name, line.text) for line in self.visible_lines(ctx)])


def sections_of(lines: Iterable[HelpLine]) -> Iterator[tuple[str, list[HelpLine]]]:
    """Yield each section with its lines: first those in SECTIONS, in its order."""
    lines = list(lines)
    for section, first in SECTIONS.items():
        order = {name: number for number, name in enumerate(first)}
        section_lines = [line for line in lines if line.section == section]
        yield section, sorted(section_lines, key=lambda line: order.get(line.name, len(order)))


def section_of_command(name: str) -> str:
    """Return the section of a command without a runbook."""
    return next((section for section, names in SECTIONS.items() if name in names), "")


def first_line(text: str | None) -> str:
    """Return the first line of a help text, without its full stop."""
    return next(iter((text or "").strip().splitlines()), "").removesuffix(".")
