"""Help texts: commands in sections, each with examples."""

import inspect
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import click

from ops.core.names import quote_name

SECTIONS: dict[str, tuple[str, ...]] = {
    "Recover": ("status", "versions", "targets", "last", "hand-over", "check-outage", "watch", "guard", "label"),
    "Limits and switches": ("limits",),
    "Incident": ("incident", "publish-update", "messages", "stats", "evidence", "stop"),
    "Set-up": (
        "adopt",
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


class UnknownCommand(click.UsageError):
    """A group has no command with the typed name."""

    def __init__(self, name: str, known: Iterable[str], ctx: click.Context) -> None:
        super().__init__(f'no command "{quote_name(name)}"', ctx)
        self.name, self.known = name, tuple(known)


class UnexpectedWords(click.UsageError):
    """Words that are neither an option nor an argument of the command."""

    def __init__(self, words: Iterable[str], ctx: click.Context) -> None:
        self.words = tuple(words)
        super().__init__(f'unexpected "{" ".join(map(quote_name, self.words))}"', ctx)


class ExampleCommand(click.Command):
    """A command whose help ends with examples: each line of its `epilog` is one, such as `ops config check`."""

    allow_extra_args = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        super().parse_args(ctx, args)
        if ctx.args and not ctx.resilient_parsing:
            raise UnexpectedWords(ctx.args, ctx)
        return ctx.args

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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not (ctx.resilient_parsing or args[0].startswith("-") or self.get_command(ctx, args[0])):
            raise UnknownCommand(args[0], [line.name for line in self.visible_lines(ctx)], ctx)
        return super().resolve_command(ctx, args)

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
