"""Groups of commands that runbooks make, and those that find due runs and start them.

Due runs run one after the other. A failed run does not hold up the others.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ops.app.registry import RunbookFile, find_runbook_file
from ops.cli.help import EXAMPLE_ENVIRONMENT, ExampleCommand, ExampleGroup, HelpLine, first_line, section_of_command
from ops.cli.options import AS_JSON, CONFIG, CONFIG_OPTION, YES_HELP, UtcTime, complete_environment
from ops.cli.output import annotate, echo
from ops.cli.runbook_command import run_and_show, runbook_command
from ops.core.due_notice import DueNotice
from ops.core.errors import EXIT_CODES, Decision, Interrupted, OpsError, most_urgent_exit_code
from ops.core.redaction import Redactor
from ops.engine.runbook import DueRuns, Runbook

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from ops.config import Config, Environment

INTERRUPTED = EXIT_CODES[Decision.INTERRUPTED]


def due_command(runbook: Runbook[Any], due: DueRuns) -> click.Command:
    """Return the command of a runbook that finds `due` runs: one call may start several runs, or none."""

    @click.pass_obj
    def command(
        redactor: Redactor,
        /,
        environment: str,
        requested_by: str | None,
        latest: datetime | None,
        config: Path,
        **given: bool,
    ) -> int:
        from ops.app.configuration import load_config, program_name
        from ops.core.responders import RequestScope
        from ops.engine.runbook import refuse_late_start
        from ops.gate.attempts import refuse_requester

        configuration = load_config(config, os.environ, redactor)
        chosen = f" --environment {environment}" if environment else ""
        same = f"{program_name(os.environ)} {runbook.name}{chosen}"
        refuse_late_start(os.environ, latest, same)
        if requested_by is not None:
            hint = f"Somebody else has to run: {same}"
            refuse_requester(os.environ, redactor, requested_by, hint, RequestScope(environment))
        scheduled = ScheduledRuns(redactor, config=config, **given)
        if environment:
            places = [configuration.environment(environment)]
        else:
            watched = [each for each in configuration.environments.values() if due.may_exist(each)]
            places = [each for each in watched if _has_token(runbook.name, each)]
        codes = scheduled.run_all(
            partial(scheduled.start_due_runs, runbook, due, configuration, place) for place in places
        )
        if not codes:
            scheduled.note("nothing is due")
        return most_urgent_exit_code(codes)

    return ExampleCommand(
        runbook.name,
        params=_due_options(),
        callback=command,
        help=runbook.__doc__,
        epilog=f"ops {runbook.name} --environment {EXAMPLE_ENVIRONMENT} --dry-run",
    )


def _due_options() -> list[click.Parameter]:
    return [
        click.Option(
            ["--environment"],
            default="",
            shell_complete=complete_environment,
            help="Environment in ops.yml (default: all with a token here)",
        ),
        click.Option(["--requested-by"], metavar="LOGIN", help="Refuse if this person may not start a recovery"),
        click.Option(["--latest"], type=UtcTime(), help="Refuse after this moment, in UTC"),
        click.Option(["--dry-run"], is_flag=True, help="Read and show the plans; change nothing"),
        click.Option(["--yes"], is_flag=True, help=YES_HELP),
        click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON result per run on stdout"),
        click.Option(["--config"], **CONFIG_OPTION),
    ]


def _has_token(command: str, environment: "Environment") -> bool:
    """Return whether the environment's token is set; print a warning if not."""
    if os.environ.get(environment.token):
        return True
    text = f"{environment.name} is passed over: {environment.token} is not set"
    echo(f"warning: {text}", err=True)
    annotate("warning", command, text)
    return False


@dataclass(frozen=True)
class ScheduledRuns:
    redactor: Redactor
    dry_run: bool
    yes: bool
    as_json: bool
    config: Path

    def run(self, runbook: Runbook[Any], params: Any, environment: str, incident: int | None) -> int:
        """Run the runbook, with its events on the incident, and return the exit code. Raises ConfigError."""
        from ops.app.run import RunRequest

        request = RunRequest(
            runbook=runbook, params=params, environment=environment, config=self.config, incident=incident
        )
        return run_and_show(
            request, self.redactor, dry_run=self.dry_run, yes=self.yes, as_json=self.as_json, verbose=True
        )

    def start_due_runs(
        self, runbook: Runbook[Any], due: DueRuns, config: "Config", environment: "Environment"
    ) -> Iterator[int]:
        """Start each due run of an environment, publish its notices, and yield their exit codes. Raises OpsError."""
        for due_run in due.find(config, environment, os.environ, self.redactor):
            if isinstance(due_run, str):
                self.note(due_run)
            elif isinstance(due_run, DueNotice):
                self.note(due_run.text)
                if due_run.publish and self.yes and not self.dry_run:
                    self.note(due_run.publish())
                yield due_run.exit_code
            else:
                yield self.run(runbook, due_run.params, environment.name, due_run.incident)

    def note(self, text: str) -> None:
        """Print a line about due runs; with --json on stderr, because stdout holds only results."""
        echo(text, err=self.as_json)

    def run_all(self, groups: Iterable[Callable[[], Iterator[int]]]) -> list[int]:
        """Run all groups and return the exit codes.

        A group ends at its first error, and an interruption ends all. After the last group, the first OpsError is
        raised and the others are printed.
        """
        codes, failed = list[int](), list[OpsError]()
        for group in groups:
            try:
                for code in group():
                    codes.append(code)
                    if code == INTERRUPTED:
                        return codes
            except Interrupted as error:
                echo(f"error: {error.message}", err=True)
                return [*codes, INTERRUPTED]
            except OpsError as error:
                failed.append(error)
        for other in failed[1:]:
            echo(f"error: {other.message}", err=True)
        if failed:
            raise failed[0]
        return codes


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
            due = runbook.job.due
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
        items = [_completion_item(word, text) for word, text in words.items() if word.startswith(incomplete)]
        return [*items, *options]


def _completion_item(word: str, text: str) -> "CompletionItem":
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
@AS_JSON
@CONFIG
@click.pass_obj
def plan(redactor: Redactor, /, *, base: str, environment: str, file: Path | None, as_json: bool, config: Path) -> int:
    """Compare limits.yml with Git and with the live limits."""
    from ops.scheduled import plan_limits as work

    return work.plan_limits(
        config, environment, os.environ, redactor, base=base, file=file, as_json=as_json, say=echo, annotate=annotate
    )


limits.add_runbook("propose", find_runbook_file("propose-limits"))
