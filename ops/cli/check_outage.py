"""Judge whether trouble is a provider's outage or our own fault: `ops check-outage`."""

from pathlib import Path

import click

from ops.cli.completion import complete_service
from ops.cli.help import ExampleCommand
from ops.cli.output import echo, echo_json
from ops.cli.place import ENVIRONMENT, choose_service_place, github_environ
from ops.cli.runbook_command import CONFIG
from ops.core.redaction import Redactor


@click.command(
    "check-outage",
    cls=ExampleCommand,
    epilog="""
    ops check-outage api --environment production
    """,
)
@click.argument("service", default="", metavar="[SERVICE]", shell_complete=complete_service)
@ENVIRONMENT
@click.option("--json", "as_json", is_flag=True, help="Print one JSON result")
@CONFIG
@click.pass_obj
def check_outage(redactor: Redactor, /, *, service: str, environment: str, as_json: bool, config: Path) -> None:
    """Judge whether trouble is a provider's outage or our fault.

    The verdict is theirs, ours or unclear, with its signs: Cloudflare's status page and API, probes of the service, a
    deployment of the last hour, AI providers. It only reads.
    """
    from ops.status import text
    from ops.status.outage import read_outage

    place = choose_service_place("check-outage", service, environment, config, {"json": as_json})
    found = read_outage(place, config, github_environ(config, redactor, is_quiet=as_json), redactor)
    if as_json:
        echo_json(redactor.redact_json(found.to_json()))
        return
    for line in text.outage_lines(found):
        echo(redactor.redact_text(line))
