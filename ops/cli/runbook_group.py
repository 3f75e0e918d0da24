"""Group commands with those of runbooks, which are imported on demand."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ops.app.registry import RunbookFile
from ops.cli.help import ExampleGroup, HelpLine, first_line, section_of_command
from ops.cli.runbook_command import runbook_command
from ops.cli.schedule import due_command

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
            self._commands[cmd_name] = due_command(runbook) if runbook.starts_due_runs else runbook_command(runbook)
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
        found = [_item(word, text) for word, text in words.items() if word.startswith(incomplete)]
        return [*found, *options]


def _item(word: str, text: str) -> "CompletionItem":
    from click.shell_completion import CompletionItem

    return CompletionItem(word, help=text)
