"""Command `ops messages`: texts about an incident, ready to copy."""

from pathlib import Path

import click

from ops.cli.help import ExampleCommand
from ops.cli.options import AS_JSON, CONFIG, INCIDENT, github_environ
from ops.cli.output import echo, echo_json
from ops.core.redaction import Redactor
from ops.core.standard_texts import STATES, Audience


@click.command(
    "messages",
    cls=ExampleCommand,
    epilog="""
    ops messages --incident 42
    ops messages --incident 42 --state identified --audience social
    ops messages --incident 42 --json
    """,
)
@click.option("--incident", "number", type=INCIDENT, required=True, help="Issue number")
@click.option("--state", "states", type=click.Choice(STATES), multiple=True, help="Public state (default: four states)")
@click.option(
    "--audience",
    "audiences",
    type=click.Choice([each.value for each in Audience]),
    multiple=True,
    help="Audience (default: all)",
)
@AS_JSON
@CONFIG
@click.pass_obj
def messages(
    redactor: Redactor,
    /,
    *,
    number: int,
    states: tuple[str, ...],
    audiences: tuple[str, ...],
    as_json: bool,
    config: Path,
) -> None:
    """Print the texts about an incident, ready to copy (read-only).

    For the team, status page, social media, e-mail and banner, in each public state of an incident; a maintenance has
    the states scheduled, in_progress and completed. `messages` in ops.yml overrides single texts. Nothing is published.
    """
    from ops.report import messages as work

    environ = github_environ(config, redactor, is_quiet=as_json)
    found = work.read_texts(number, config, environ, redactor, states=states, audiences=audiences)
    if as_json:
        echo_json(found.to_json())
        return
    for line in work.text_lines(found):
        echo(line)
