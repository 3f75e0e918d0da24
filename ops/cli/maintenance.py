"""`ops maintenance due`: what a schedule starts. It is no runbook's command, since one call may be several runs."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.cli.runbook_command import CONFIG, annotate, say
from ops.cli.schedule import AS_JSON, DRY_RUN, YES, Scheduled
from ops.core.errors import worst
from ops.core.redaction import Redactor

if TYPE_CHECKING:
    from ops.config import Environment


@click.command("maintenance due")
@click.option("--environment", default="", help="default: every one of ops.yml that has a token here")
@DRY_RUN
@YES
@AS_JSON
@CONFIG
@click.pass_obj
def due(redactor: Redactor, /, *, environment: str, dry_run: bool, yes: bool, as_json: bool, config: Path) -> int:
    """Open what was taken offline with --reopen-at-end and whose end is over.

    Each is a run of its own, told on its incident; where one fails, the others follow all the same; where one is
    interrupted, none does.
    """
    from ops.app import run
    from ops.scheduled import reopen_maintenance as work

    configuration, _ = run.read_config(config)
    run.register_secrets(os.environ, configuration, redactor)
    scheduled = Scheduled(redactor, dry_run=dry_run, yes=yes, as_json=as_json, config=config)
    if environment:
        places = [configuration.environment(environment)]
    else:
        places = [each for each in configuration.environments.values() if _is_held(each)]

    def opened(place: "Environment") -> Iterator[int]:
        for block in work.due(place, os.environ):
            yield scheduled.run(work.ReopenMaintenance(), work.opening(block), place.name, block.incident)

    codes = scheduled.all(partial(opened, place) for place in places)
    if not codes:
        scheduled.note("nothing is due to open")
    return worst(codes)


def _is_held(environment: "Environment") -> bool:
    """Whether its token is here; where it is not, that is said."""
    if os.environ.get(environment.token):
        return True
    text = f"{environment.name} is passed over: {environment.token} is not set"
    say(f"warning: {text}", err=True)
    annotate("warning", "maintenance due", text)
    return False
