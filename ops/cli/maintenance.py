"""`ops maintenance due`: what a schedule starts. It is no runbook's command, since one call may be several runs."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.cli.runbook_command import CONFIG, YES_HELP, annotate, say
from ops.cli.schedule import Scheduled
from ops.core.errors import worst
from ops.core.redaction import Redactor

if TYPE_CHECKING:
    from ops.config import Environment


@click.command("maintenance due")
@click.option("--dry-run", is_flag=True, help="read, show the plans, change nothing")
@click.option("--yes", is_flag=True, help=YES_HELP)
@CONFIG
@click.pass_obj
def due(redactor: Redactor, /, *, dry_run: bool, yes: bool, config: Path) -> int:
    """Open what was taken offline with --reopen-at-end and whose end is over.

    In every environment of ops.yml whose token is there. Each is a run of its own, told on its incident; where one
    fails, the others follow all the same; where one is interrupted, none does.
    """
    from ops.app import run
    from ops.scheduled import reopen_maintenance

    configuration, _ = run.read_config(config)
    run.register_secrets(os.environ, configuration, redactor)
    scheduled = Scheduled(redactor, dry_run=dry_run, yes=yes, config=config)
    environments = [each for each in configuration.environments.values() if _is_held(each)]

    def opened(environment: "Environment") -> Iterator[int]:
        for block in reopen_maintenance.due(environment, os.environ):
            yield scheduled.run(
                reopen_maintenance.AtItsEnd(), reopen_maintenance.opening(block), environment.name, block.incident
            )

    codes = scheduled.all(partial(opened, environment) for environment in environments)
    if not codes:
        say("nothing is due to open")
    return worst(codes)


def _is_held(environment: "Environment") -> bool:
    """Whether its token is here; where it is not, that is said."""
    if os.environ.get(environment.token):
        return True
    text = f"{environment.name} is passed over: {environment.token} is not set"
    say(f"warning: {text}", err=True)
    annotate("warning", "maintenance due", text)
    return False
