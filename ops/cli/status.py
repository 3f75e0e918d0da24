"""Show live versions and active states: `ops status`."""

import os
from pathlib import Path

import click

from ops.cli.help import ExampleCommand
from ops.cli.output import echo, echo_json
from ops.cli.place import ENVIRONMENT, choose_environment
from ops.cli.runbook_command import CONFIG
from ops.core.redaction import Redactor


@click.command(
    cls=ExampleCommand,
    epilog="""
    ops status
    ops status --environment production
    """,
)
@ENVIRONMENT
@click.option("--json", "as_json", is_flag=True, help="Print one JSON result")
@CONFIG
@click.pass_obj
def status(redactor: Redactor, /, *, environment: str, as_json: bool, config: Path) -> None:
    """Show live versions, switches, temporary limits and maintenance.

    A section that could not be read says `unknown`, and the exit code is 4; 2 without a usable token.
    """
    from ops.status import text
    from ops.status.status import environment_status

    environment = choose_environment("status", environment, config)
    found = environment_status(environment, config, os.environ, redactor)
    if as_json:
        echo_json(found.to_json())
    else:
        for line in text.status_lines(found):
            echo(line)
    if found.error:
        raise found.error
