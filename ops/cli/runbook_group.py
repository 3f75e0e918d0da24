"""Group commands with those of runbooks, which are imported on demand."""

from typing import Any

import click

from ops.app.registry import RunbookFile
from ops.cli.runbook_command import runbook_command
from ops.cli.schedule import due_command


class RunbookGroup(click.Group):
    """A group that imports a runbook when its command is used, not when it is listed."""

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

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        listed = {name: click.Command(name, help=file.help_line) for name, file in self._runbooks.items()}
        click.Group(commands={**self.commands, **listed}).format_commands(ctx, formatter)
