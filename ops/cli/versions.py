"""Show the versions to which a service can roll back: `ops versions`."""

from pathlib import Path

import click

from ops.cli.completion import complete_service
from ops.cli.help import ExampleCommand
from ops.cli.output import echo, echo_json
from ops.cli.place import ENVIRONMENT, choose_service_place, github_environ
from ops.cli.runbook_command import CONFIG, INCIDENT
from ops.core.redaction import Redactor
from ops.core.suggestions import quote_name

SHOWN = 10
"""Versions that are shown without --all."""


@click.command(
    cls=ExampleCommand,
    epilog="""
    ops versions api --environment production
    ops versions frontend --environment production --all
    """,
)
@click.argument("service", default="", metavar="[SERVICE]", shell_complete=complete_service)
@click.option("--service", "named", default="", shell_complete=complete_service, help="Same as the argument SERVICE")
@ENVIRONMENT
@click.option("--incident", type=INCIDENT, help="Count the runs on this incident, as a rollback for it does")
@click.option("--all", "show_all", is_flag=True, help=f"Show all versions (default: the newest {SHOWN})")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON result with all versions")
@CONFIG
@click.pass_obj
def versions(
    redactor: Redactor,
    /,
    *,
    service: str,
    named: str,
    environment: str,
    incident: int | None,
    show_all: bool,
    as_json: bool,
    config: Path,
) -> None:
    """Show the versions of a service, and which one a rollback chooses.

    It reads what a plan of rollback-worker or rollback-pages reads, and changes nothing.
    """
    from ops.status.versions import service_versions, version_lines

    options = {"incident": incident, "all": show_all, "json": as_json}
    if service and named and service != named:
        raise click.UsageError(f'two services are given: "{quote_name(service)}" and "{quote_name(named)}"')
    place = choose_service_place("versions", service or named, environment, config, options)
    found = service_versions(place, incident, config, github_environ(config, redactor, is_quiet=as_json), redactor)
    if as_json:
        echo_json(found.to_json())
        return
    for line in version_lines(found, most=len(found.candidates) if show_all else SHOWN):
        echo(line)
