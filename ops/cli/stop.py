"""Stop all recoveries, or lift the stop: `ops stop`."""

from functools import partial
from pathlib import Path

import click

from ops.cli.help import ExampleCommand
from ops.cli.options import CONFIG, INCIDENT, github_environ
from ops.cli.output import echo
from ops.core.redaction import Redactor


@click.command(
    cls=ExampleCommand,
    epilog="""
    ops stop --reason 'a migration is being repaired by hand'
    ops stop --reason 'the provider asks us to wait' --incident 42
    ops stop --lift
    """,
)
@click.option("--reason", default="", metavar="TEXT", help="Reason, shown on the issue")
@click.option("--incident", "number", type=INCIDENT, help="Issue for the stop (default: a new one)")
@click.option("--lift", is_flag=True, help="Lift the stop")
@CONFIG
@click.pass_obj
def stop(redactor: Redactor, /, *, reason: str, number: int | None, lift: bool, config: Path) -> None:
    """Stop all recoveries by label and button for four hours.

    Reopening a service, all-clear and dry runs are still allowed. A recovery on a laptop asks for an override.
    """
    from ops.incident.commands import StopCommand

    if lift and reason:
        raise click.UsageError("--lift takes no --reason")
    if not lift and not reason.strip():
        raise click.UsageError("give --reason TEXT, or --lift")
    environ, warn = github_environ(config, redactor), partial(echo, err=True)
    change = StopCommand(config, environ, redactor, warn)
    echo(change.lift() if lift else change.stop(reason, number))
