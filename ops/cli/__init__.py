"""Define the click commands; the only code that prints and exits.

Commands of runbooks come from the registry. No other module prints an error or exits.

Subjects: also the options, tables and texts that only a command prints.

Examples: plan_printer, show_error, due_command.
"""

import errno
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import NoReturn

import click
from click.exceptions import NoArgsIsHelpError

from ops.app.registry import discover_runbooks, find_runbook_file, runbook_names, scheduled_files
from ops.cli.adopt import adopt
from ops.cli.database import database
from ops.cli.drill import drill, sandbox
from ops.cli.guard import guard
from ops.cli.help import HelpLine, sections_of
from ops.cli.hold import hold
from ops.cli.incident import evidence, incident, labels, stats
from ops.cli.messages import messages
from ops.cli.options import CONFIG, CONFIG_OPTION, answer_shell, completion
from ops.cli.output import (
    BAD,
    annotate,
    discard_output,
    echo,
    hide_secrets_of,
    show_progress,
    take_lost_output,
    to_masked_line,
    use_ascii_where_needed,
)
from ops.cli.pages_build import site
from ops.cli.publish_update import publish_update, status_page
from ops.cli.recover import label_command, recover_command
from ops.cli.runbook_group import RunbookGroup, limits
from ops.cli.setup import doctor, init, on_call_card, setup
from ops.cli.staging_drill import staging_drill
from ops.cli.status import check_outage, hand_over, last, status, targets, versions, watch
from ops.cli.stop import stop
from ops.cli.verify_platform import TOKEN as VERIFICATION_TOKEN
from ops.cli.verify_platform import verify_platform
from ops.core.errors import ConfigError, Interrupted, OpsError, Reason, page_of
from ops.core.names import DRILL_TOKEN, RECOVERY_TOKEN, quote_name
from ops.core.redaction import Redactor
from ops.core.version import __version__
from ops.engine.signals import PROCESS_SIGNALS, ignore_signals, unwrap_signal
from ops.tools import own_program
from ops.tools.own_program import hide_environment

BUG = "BUG: this program failed; neither your command nor Cloudflare is the cause"
REPORT_HINT = (
    "Afterwards report it in an issue of the operations repository, with the command that you typed and the whole "
    "output below. Secrets that ops.yml names are masked in it."
)
CLOSED_PIPE = 128 + signal.SIGPIPE
"""The exit code that a shell reports for a program that wrote to a closed pipe."""
CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EIO}
READ_ONLY_COMMANDS = {
    *(
        "status",
        "versions",
        "targets",
        "hand-over",
        "last",
        "check-outage",
        "watch",
        "guard",
        "doctor",
        "config check",
        "config schema",
        "hold check",
        "status-page compare",
    ),
    *("incident show", "recover", "stats", "limits plan", "limits propose"),
    *scheduled_files(),
}
"""Commands without a button that change nothing outside of a run."""
SILENT_COMMANDS = {
    *("status", "versions", "check-outage", "hand-over", "evidence", "stats"),
    *("incident list", "incident show", "incident changes", "incident report", "limits plan"),
}
"""Commands that read for a while, print at their end, and ask nothing."""
ALWAYS_SECRET = ("CLOUDFLARE_API_TOKEN", RECOVERY_TOKEN, DRILL_TOKEN, VERIFICATION_TOKEN, "GITHUB_TOKEN", "GH_TOKEN")
"""Variables whose values are redacted in the arguments before parsing: a parser may print part of a value. ops.yml
names the other secrets.
"""


class Commands(RunbookGroup):
    """The commands of runbooks and the fixed commands. Some names have two words."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] == "help" and not ctx.resilient_parsing:
            if args[1:]:
                return self.resolve_command(ctx, [*args[1:], "--help"])
            echo(ctx.get_help())
            ctx.exit()
        if args[1:] and (two := self.get_command(ctx, " ".join(args[:2]))) is not None:
            return two.name, two, args[2:]
        known = self.list_commands(ctx)
        may_have_second = len(args) == 1 and any(name.startswith(f"{args[0]} ") for name in known)
        if ctx.resilient_parsing and (may_have_second or args[0] not in known):
            return None, None, args  # a shell asks: `shell_complete` gets the words
        return super().resolve_command(ctx, args)

    def visible_lines(self, ctx: click.Context) -> list[HelpLine]:
        return [line for line in self.help_lines(ctx) if line.section]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, lines in sections_of(self.visible_lines(ctx)):
            with formatter.section(section):
                formatter.write_dl([(line.name, line.text) for line in lines])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="ops")
def cli() -> None:
    """Recovery as code for applications on Cloudflare.

    Every runbook plans by reading, shows the plan, and asks before it writes: type the service's name, or give --yes.
    """


cli.add_command(adopt)
cli.add_command(doctor)
cli.add_command(on_call_card)
cli.add_command(publish_update)
cli.add_command(completion)
cli.add_command(database)
cli.add_command(drill)
cli.add_command(evidence)
cli.add_command(guard)
cli.add_command(hold)
cli.add_command(incident)
cli.add_command(init)
cli.add_command(labels)
cli.add_command(last)
cli.add_command(limits)
cli.add_command(messages)
cli.add_command(sandbox)
cli.add_command(setup)
cli.add_command(site)
cli.add_command(staging_drill)
cli.add_command(stats)
cli.add_command(status)
cli.add_command(status_page)
cli.add_command(targets)
cli.add_command(hand_over)
cli.add_command(versions)
cli.add_command(check_outage)
cli.add_command(stop)
cli.add_command(verify_platform)
cli.add_command(watch)
for _name in (*runbook_names(), *scheduled_files()):
    cli.add_runbook(_name, find_runbook_file(_name))


@cli.command("new-runbook", epilog="ops new-runbook turn-off-address")
@click.argument("name")
@click.option("--into", type=click.Path(path_type=Path), default=Path(), help="Repository to write to (default: here)")
def new_runbook(name: str, into: Path) -> None:
    """Write the file, the test and the how-to page of a new runbook.

    They work as they are: change them into the runbook that you need.
    """
    from ops.app.registry import FIXED_WORKFLOWS
    from ops.setup.new_runbook import scaffold

    for path in scaffold(into, name, {*cli.list_commands(click.get_current_context()), *FIXED_WORKFLOWS}):
        echo(f"wrote {path}")
    update = "./run pytest tests/static/test_docs.py tests/test_contract.py --update-golden"
    echo(f"next: ./run ops workflows sync, then {update}")


def main() -> NoReturn:
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"  # saves a search for plugins (8 ms)
    hide_environment()
    if (code := answer_shell(cli)) is not None:
        sys.exit(code)
    use_ascii_where_needed()
    code = run(sys.argv[1:], install_signals=PROCESS_SIGNALS.install)
    ignore_signals()
    sys.exit(code)


def run(arguments: Sequence[str], *, install_signals: Callable[[], object] = lambda: None) -> int:
    """Run one command line and return its exit code (table: docs/reference/results.md).

    `install_signals` turns signals into exceptions. Only this function catches them outside of a run.
    """
    redactor = Redactor()
    for name in ALWAYS_SECRET:
        redactor.add_secret(os.environ.get(name, ""))
    with hide_secrets_of(redactor):
        return _run_arguments([redactor.redact_text(each) for each in arguments], redactor, install_signals)


def _run_arguments(arguments: Sequence[str], redactor: Redactor, install_signals: Callable[[], object]) -> int:
    try:
        try:
            install_signals()
            with show_progress("reading") if _command_words(arguments) & SILENT_COMMANDS else nullcontext():
                code = cli.main(arguments, prog_name="ops", standalone_mode=False, obj=redactor)
        finally:
            PROCESS_SIGNALS.stop_raising()
    except click.UsageError as error:
        return show_usage_error(error, arguments)
    except click.ClickException as error:
        with suppress(OSError):  # the terminal is gone
            error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        return show_error(interruption_error(error, arguments))
    except OpsError as error:
        return show_error(error)
    except SystemExit:  # click exits like this if the reader of a pipe is gone
        discard_output()
        return CLOSED_PIPE
    except Exception as error:  # noqa: BLE001  the one place for what nobody foresaw
        return handle_unexpected_error(error, arguments)
    code = code if isinstance(code, int) else 0
    if (lost := take_lost_output()) is not None and code == 0:
        return CLOSED_PIPE if isinstance(lost, BrokenPipeError) else show_error(output_error(lost, arguments))
    return code


def _command_words(arguments: Sequence[str]) -> set[str]:
    """Return the first word and the first two words, one of which is the name of the command."""
    return {" ".join(arguments[:count]) for count in (1, 2)}


def handle_unexpected_error(error: Exception, arguments: Sequence[str]) -> int:
    """Print the error that ended the command. Return its exit code."""
    if isinstance(original := unwrap_signal(error), KeyboardInterrupt):
        return show_error(interruption_error(original, arguments))
    if isinstance(original, Interrupted):
        return show_error(original)
    is_run = bool(getattr(error, "__notes__", ()))  # the notes say which changes a run made
    if isinstance(error, OSError) and error.errno in CANNOT_WRITE and not is_run:
        discard_output()
        return show_error(output_error(error, arguments))
    show_bug(error)
    return 1


def interruption_error(error: BaseException, arguments: Sequence[str]) -> Interrupted:
    """Return the error for a signal outside of a run. A run reports its own changes."""
    name = str(error.__cause__ or error) or "SIGINT"
    typed, changed, hint = describe_interrupted(arguments)
    return Interrupted(f"{name} ended `{typed}`; {changed}", reason=Reason.SIGNAL, hint=hint)


def output_error(error: OSError, arguments: Sequence[str]) -> ConfigError:
    """Return the error for output or a file that cannot be written."""
    typed, changed, hint = describe_interrupted(arguments)
    return ConfigError(
        f"`{typed}` cannot write its output or a file ({error.strerror}); {changed}",
        hint=f"Free disk space, or send the output elsewhere. {hint}",
    )


def describe_interrupted(arguments: Sequence[str]) -> tuple[str, str, str]:
    """Return the command as typed, the known changes, and the next step."""
    words = list(takewhile(lambda word: not word.startswith("-"), arguments[:2]))
    typed = quote_name(" ".join(["ops", *words]))
    if words[:1] == ["drill"]:
        return typed, "nothing outside this machine was changed", "Run the same command again."
    is_read_only = " ".join(words) in READ_ONLY_COMMANDS and "--fix" not in arguments
    if not words or words[0] in {*discover_runbooks(), "label"} or is_read_only:
        return typed, "nothing was changed", "Run the same command again."
    return typed, "some of its changes may have been made", "Check what was changed, then run the same command again."


def show_bug(error: Exception) -> None:
    """Print the known changes first, then the traceback for the developers."""
    from ops.app.run import AFTER_A_BUG

    notes = getattr(error, "__notes__", [])
    changes = notes or ["no run of a runbook was under way, and nothing was changed at Cloudflare"]
    lines = [BUG, *(f"  {note}" for note in changes), f"  next step: {f'{AFTER_A_BUG} ' if notes else ''}{REPORT_HINT}"]
    trace = "".join(traceback.format_exception(error))
    echo("\n".join([*lines, f"ops {__version__}", trace]), err=True)
    annotate("error", "ops", "; ".join([BUG, *changes]))


def show_error(error: OpsError) -> int:
    """Print the error and its hint. Return its exit code."""
    problems = error.problems if isinstance(error, ConfigError) else ()
    lines = [f"error: {error.message}", *(f"  {problem}" for problem in problems)]
    if error.hint:
        lines.append(f" hint: {error.hint}")
    if page := _find_page(error):
        lines.append(f" docs: {page}")
    first, *rest = map(to_masked_line, lines)
    echo(first, err=True, fg=BAD)
    for line in rest:
        echo(line, err=True)
    annotate("error", "ops", error.message)
    return error.exit_code


def _find_page(error: OpsError) -> str:
    """Return the path of the page about an error in this checkout, or its address; empty if no release is known."""
    page = page_of(error.reason)
    if (own_program.ROOT / "docs").is_dir():
        return page
    from ops.setup.action_pins import find_releases

    release = next(find_releases(os.environ), None)
    return f"https://github.com/{release.repository}/blob/{release.sha}/{page}" if release else ""


def show_usage_error(error: click.UsageError, arguments: Sequence[str]) -> int:
    """Print why the command line is refused, and one that is accepted. Return the exit code."""
    if isinstance(error, NoArgsIsHelpError):
        echo(error.format_message(), err=True)
        return error.exit_code
    from ops.cli.usage import answer_usage_error  # here, because only a mistake needs it

    first, *rest = map(to_masked_line, answer_usage_error(error, cli, arguments))
    echo(first, err=True, fg=BAD)
    for line in rest:
        echo(line, err=True)
    annotate("error", "ops", first.removeprefix("error: "))
    return error.exit_code


@cli.command(epilog="ops gate")
@CONFIG
@click.pass_obj
def gate(redactor: Redactor, *, config: Path) -> int:
    """Authorize the GitHub event that started this job."""
    from ops.gate import gate as gates

    return gates.authorize_event(
        os.environ, config, redactor, say=echo, warn=partial(echo, err=True), annotate=annotate
    )


@cli.group()
def config() -> None:
    """Check ops.yml, or print its JSON Schema."""


@config.command(epilog="ops config check")
@click.option("--config", "path", **CONFIG_OPTION)
def check(path: Path) -> None:
    """Report every problem in ops.yml and in issue templates, with its line."""
    from ops.app.configuration import read_config
    from ops.setup.labels import check_template_labels

    configuration, warnings = read_config(path, labels=None)
    check_template_labels(path.resolve().parent, configuration)
    for warning in warnings:
        echo(f"warning: {warning}", err=True)
    environments = configuration.environments.values()
    counts = {"environment": len(environments), "service": sum(len(each.services) for each in environments)}
    databases = sum(len(each.databases) for each in environments)
    counts |= {"database": databases} if databases else {}
    shown = ", ".join(f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items())
    echo(f"{path} is valid: {shown}.")
    if databases:
        token = "the token of the GitHub environment `database`" if configuration.github.environments else "one token"
        echo(f"D1 Write can delete a database: give it only to {token}.")


@config.command(epilog="ops config schema")
def schema() -> None:
    """Print the JSON Schema of ops.yml, for editors."""
    from ops import config as model

    echo(json.dumps(model.config_schema(), indent=2))


@cli.group()
def workflows() -> None:
    """Write the files in .github from ops.yml and the runbooks."""


@workflows.command(
    epilog="""
    ops workflows sync --check
    ops workflows sync
    """
)
@click.option("--check", is_flag=True, help="Write nothing; show the differences, and exit with 2 if there are any")
@click.option("--force", is_flag=True, help="Also overwrite files that a person changed")
@click.option("--actions", default="", metavar="OWNER/NAME@SHA", help="Commit of our actions (default: the one in use)")
@click.option("--config", "path", **CONFIG_OPTION)
def sync(path: Path, *, check: bool, force: bool, actions: str) -> int:
    """Write the workflows and the issue form from ops.yml and the runbooks.

    A button that ops.yml has no use for is removed. A file that a person changed is shown and kept, without --force.
    Versions of actions (`uses:`) are kept as they are, and not compared. All our actions must have one commit.
    """
    from ops.app.configuration import read_config
    from ops.setup.sync import sync_files

    configuration, _ = read_config(path, labels=None)
    return sync_files(
        path.resolve().parent,
        configuration,
        check=check,
        force=force,
        echo=echo,
        environ=os.environ,
        actions=actions,
    )


@workflows.command(epilog="ops workflows environments")
@click.option("--config", "path", **CONFIG_OPTION)
def environments(path: Path) -> None:
    """Print the GitHub environments to create, as a Markdown table."""
    from ops.app.configuration import read_config
    from ops.setup.github_environments import render_environments_table

    configuration, _ = read_config(path, labels=None)
    echo("\n".join(render_environments_table(configuration, discover_runbooks())))


cli.add_command(recover_command(discover_runbooks()))
cli.add_command(label_command(discover_runbooks()))
