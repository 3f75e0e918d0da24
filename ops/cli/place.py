"""Defaults of --service and --environment: the only ones in ops.yml that fit."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ops.cli.completion import complete_environment
from ops.cli.output import echo
from ops.core.next_step import build_command
from ops.core.redaction import Redactor
from ops.engine.runbook import Runbook

if TYPE_CHECKING:
    from ops.app.place import Place

DEFAULT = "default: the only one that fits"
ENVIRONMENT = click.option(
    "--environment",
    default="",
    shell_complete=complete_environment,
    help="Environment in ops.yml (default: the only one)",
)


def choose_environment(name: str, environment: str, config: Path, **options: Any) -> str:
    """Return the environment of a command, or the only one. `options` are the other ones. Raises ConfigError."""
    if environment:
        return environment
    from ops.app.configuration import read_config
    from ops.app.place import Place

    places = [Place(each) for each in read_config(config)[0].environments]
    return _choose(name, Place(), places, options, config).environment


def choose_service_place(
    name: str,
    service: str,
    environment: str,
    config: Path,
    options: Mapping[str, Any],
    *,
    is_argument: bool = True,
) -> "Place":
    """Return the place of a command for a service, or the only one. Raises ConfigError.

    `options` are the other ones. `is_argument`: the service is an argument of the command, not an option.
    """
    from ops.app.configuration import read_config
    from ops.app.place import Place

    given = Place(environment, service)
    if environment and service:
        return given
    environments = read_config(config)[0].environments.values()
    places = [Place(each.name, service) for each in environments for service in each.services]
    return _choose(name, given, places, options, config, is_argument=is_argument)


def choose_runbook_place(runbook: Runbook[Any, Any], options: Mapping[str, Any], config: Path) -> "Place":
    """Return environment and service as given in the options of a run, or the only ones. Raises ConfigError."""
    from ops.app.configuration import read_config
    from ops.app.place import NEEDS, Place, runbook_places

    given = Place(options["environment"], options.get("service", ""))
    has_service = "service" in options
    if given.environment and (given.service or not has_service):
        return given
    places = runbook_places(read_config(config)[0], runbook, with_service=has_service)
    return _choose(runbook.name, given, places, options, config, needs=NEEDS[runbook.kind])


def github_environ(config: Path, redactor: Redactor, *, is_quiet: bool = False) -> Mapping[str, str]:
    """Return the environment with GitHub's repository and token, and print which repository was found on a laptop."""
    from ops.app.github_login import log_in

    environ, found = log_in(os.environ, config.resolve().parent, redactor)
    if found and not is_quiet:
        echo(found, err=True)
    return environ


def _choose(
    name: str,
    given: "Place",
    places: "list[Place]",
    options: Mapping[str, Any],
    config: Path,
    *,
    is_argument: bool = False,
    needs: str = "",
) -> "Place":
    """`is_argument`: the service is an argument of the command, not an option."""
    from ops.app.configuration import command_prefix
    from ops.app.place import choose_place

    program, *extra = command_prefix(os.environ, config)

    def command(place: "Place") -> str:
        where = {"service": "" if is_argument else place.service, "environment": place.environment}
        full_name = f"{name} {place.service}" if is_argument else name
        return build_command(program, full_name, where | {**options, **where}, *extra)

    return choose_place(name, given, places, command, needs=needs)
