"""Find what an incident leaves active: switches, temporary limits and maintenance."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops.app.configuration import program_name
from ops.app.session import Session
from ops.core.errors import OpsError
from ops.core.next_step import build_command
from ops.status import text as rendering
from ops.status.status import EnvironmentStatus, read_status

if TYPE_CHECKING:
    from ops.config import Config, Environment

ALL_CLEAR = "all-clear"
"""Runbook that resets the switches of an incident."""


@dataclass(frozen=True)
class Leftovers:
    """Active or unknown states of an incident, and how to reset them."""

    lines: tuple[str, ...] = ()
    reset_commands: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    """Environments that were read or tried. Without one, empty `lines` prove nothing."""


def find_leftovers(config: "Config", environ: Mapping[str, str], number: int, environments: Iterable[str]) -> Leftovers:
    """Read these environments. One that ops.yml does not have, or that cannot be read, is a line."""
    lines, reset_commands, names = list[str](), list[str](), tuple(filter(None, dict.fromkeys(environments)))
    for name in names:
        environment = config.environments.get(name)
        if environment is None:
            lines.append(f"unknown in {name}: ops.yml has no such environment")
            continue
        try:
            found = _read_status(environment, environ, number)
        except OpsError as error:
            lines.append(f"unknown in {name}: {error.message}")
            continue
        lines += rendering.leftover_lines(found)
        reset_commands += _list_reset_commands(found, config, environ, number)
    return Leftovers(tuple(lines), tuple(reset_commands), names)


def _read_status(environment: "Environment", environ: Mapping[str, str], number: int) -> EnvironmentStatus:
    with ExitStack() as ending:
        session = Session(environment, environ, ending)
        return read_status(session, program_name(environ), with_services=False).of_incident(number)


def _list_reset_commands(
    found: EnvironmentStatus, config: "Config", environ: Mapping[str, str], number: int
) -> Iterator[str]:
    """Yield the label or command that resets the switches, and a command per maintenance window."""
    name, program = found.environment, program_name(environ)
    where = {"environment": name, "incident": number}
    if found.switches:
        labels = [
            put for put, label in config.labels.items() if (label.runbook, label.environment) == (ALL_CLEAR, name)
        ]
        put = f"the label {labels[0]} on the incident, within 7 days of its closing; or " if labels else ""
        yield f"{put}{build_command(program, ALL_CLEAR, where)}"
    for block in found.windows:
        options = {"state": "off", "service": block.service, "path": block.path, **where}
        yield build_command(program, "maintenance", options)
