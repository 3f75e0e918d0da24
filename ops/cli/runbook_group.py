"""Group commands with those of runbooks, imported on demand; the group `ops limits`."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ops.app.registry import RunbookFile, find_runbook_file
from ops.cli.help import ExampleGroup, HelpLine, first_line, section_of_command
from ops.cli.options import CONFIG, complete_environment
from ops.cli.output import annotate, echo
from ops.cli.runbook_command import runbook_command
from ops.cli.schedule import due_command
from ops.core.redaction import Redactor

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class RunbookGroup(ExampleGroup):
    """A group that imports a runbook when its command is used, not when it is listed."""

    group_class = ExampleGroup

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._runbooks: dict[str, RunbookFile] = {}
        self._commands: dict[str, click.Command] = {}

    def add_runbook(self, name: str, file: RunbookFile) -> None:
        """Add the command of a runbook. A name of two words goes to the group of the first word, if there is one."""
        first, _, second = name.partition(" ")
        group = self.commands.get(first)
        if isinstance(group, RunbookGroup):
            group.add_runbook(second, file)
        else:
            self._runbooks[name] = file
            self._commands.pop(name, None)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *self._runbooks})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._runbooks:
            return super().get_command(ctx, cmd_name)
        if cmd_name not in self._commands:
            runbook = self._runbooks[cmd_name].load()
            due = runbook.schedule.due if runbook.schedule else None
            self._commands[cmd_name] = due_command(runbook, due) if due else runbook_command(runbook)
        return self._commands[cmd_name]

    def help_lines(self, ctx: click.Context) -> Iterator[HelpLine]:
        """Yield the line of each command, also of hidden ones. It imports no runbook."""
        for name in self.list_commands(ctx):
            if file := self._runbooks.get(name):
                yield HelpLine(name, first_line(file.help_line), file.section)
            else:
                yield HelpLine(name, first_line(self.commands[name].help), section_of_command(name))

    def visible_lines(self, ctx: click.Context) -> list[HelpLine]:
        return list(self.help_lines(ctx))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        """Complete a command, or the second word of one. It imports at most the runbook that was typed."""
        first, *_ = [*ctx._protected_args, *ctx.args, ""]  # noqa: SLF001  click has no public name for these words
        names = {line.name.partition(" ")[::2]: line.text for line in self.visible_lines(ctx)}
        if not first:
            words = {word: names.get((word, ""), "") for word, _ in names}
            options = click.Command.shell_complete(self, ctx, incomplete)
        else:
            words = {second: text for (word, second), text in names.items() if word == first and second}
            command = self.get_command(ctx, first)
            options = command.shell_complete(click.Context(command, ctx, first), incomplete) if command else []
        items = [_item(word, text) for word, text in words.items() if word.startswith(incomplete)]
        return [*items, *options]


def _item(word: str, text: str) -> "CompletionItem":
    from click.shell_completion import CompletionItem

    return CompletionItem(word, help=text)


@click.group(cls=RunbookGroup)
def limits() -> None:
    """Plan, apply and reconcile rate limits in limits.yml."""


@limits.command("plan", epilog="ops limits plan --base main")
@click.option(
    "--base", default="", metavar="REF", help="Commit to compare with (default: merge base with the default branch)"
)
@click.option(
    "--environment",
    default="",
    shell_complete=complete_environment,
    help="Environment in ops.yml (default: the first one with limits)",
)
@click.option("--file", type=click.Path(path_type=Path), help="Proposed file (default: limits.yml beside ops.yml)")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON result")
@CONFIG
@click.pass_obj
def plan(redactor: Redactor, /, *, base: str, environment: str, file: Path | None, as_json: bool, config: Path) -> int:
    """Compare limits.yml with Git and with the live limits."""
    from ops.scheduled import plan_limits as work

    return work.plan_limits(
        config, environment, os.environ, redactor, base=base, file=file, as_json=as_json, say=echo, annotate=annotate
    )


limits.add_runbook("propose", find_runbook_file("propose-limits"))
