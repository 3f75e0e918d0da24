"""Judge whether trouble is a provider's outage or our own fault: `ops check-outage`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ops.cli.completion import complete_service
from ops.cli.help import ExampleCommand
from ops.cli.output import echo, echo_json
from ops.cli.place import ENVIRONMENT, choose_environment, choose_service_place, github_environ
from ops.cli.runbook_command import CONFIG, INCIDENT
from ops.core.redaction import Redactor

if TYPE_CHECKING:
    from ops.app.place import Place


@click.command(
    "check-outage",
    cls=ExampleCommand,
    epilog="""
    ops check-outage --environment production --incident 42
    ops check-outage api --environment production
    """,
)
@click.argument("service", default="", metavar="[SERVICE]", shell_complete=complete_service)
@ENVIRONMENT
@click.option("--incident", type=INCIDENT, help="Issue to post the verdict on, as one comment")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON result")
@CONFIG
@click.pass_obj
def check_outage(
    redactor: Redactor, /, *, service: str, environment: str, incident: int | None, as_json: bool, config: Path
) -> None:
    """Judge whether trouble is a provider's outage or our fault.

    The verdict is theirs, ours or unclear, with its signs: the status pages of Cloudflare and GitHub, Cloudflare's API,
    probes, deployments of the last hour, AI providers. Without SERVICE, it judges all services together. It changes
    nothing; with --incident it posts the verdict.
    """
    from ops.app.configuration import published_prefix, read_config
    from ops.status.outage import outage_lines, publish_outage, read_outage

    place = _choose_place(service, environment, config, {"incident": incident, "json": as_json})
    environ = github_environ(config, redactor, is_quiet=as_json)
    found = read_outage(place, config, environ, redactor)
    if as_json:
        echo_json(found.to_json())
    else:
        for line in outage_lines(found):
            echo(line)
    program = published_prefix(environ, config, read_config(config)[0])
    if url := publish_outage(found, incident, program, environ, redactor):
        echo(url, err=as_json)


def _choose_place(service: str, environment: str, config: Path, options: Mapping[str, Any]) -> "Place":
    """Return the place to judge; without a service, all services of the environment count."""
    from ops.app.place import Place

    if service:
        return choose_service_place("check-outage", service, environment, config, options)
    return Place(choose_environment("check-outage", environment, config, **options))
