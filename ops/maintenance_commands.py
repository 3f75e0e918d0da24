"""`ops maintenance due`: what a schedule starts. It is no runbook's command, since one call may be several runs."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.commands import CONFIG, annotate, run, say
from ops.model.errors import EXIT_CODES, Decision, OpsError
from ops.model.redact import Redactor

if TYPE_CHECKING:
    from ops.model.maintenance import Block

INTERRUPTED = EXIT_CODES[Decision.INTERRUPTED]


@click.command("maintenance due")
@click.option("--dry-run", is_flag=True, help="read, show the plans, change nothing")
@click.option("--yes", is_flag=True, help="do not ask; without a terminal and without it, dry runs")
@CONFIG
@click.pass_obj
def due(redactor: Redactor, /, *, dry_run: bool, yes: bool, config: Path) -> int:
    """Open what was taken offline with --reopen-at-end and whose end is over.

    In every environment of ops.yml whose token is there. Each is a run of its own, told on its incident; where one
    fails, the others follow all the same; where one is interrupted, none does.
    """
    from ops import app
    from ops import due as work

    configuration, _ = app.read_config(config)
    app.register_secrets(os.environ, configuration, redactor)
    codes: list[int] = []
    failed: list[OpsError] = []
    for environment in configuration.environments.values():
        if not os.environ.get(environment.token):
            text = f"{environment.name} is passed over: {environment.token} is not set"
            say(f"warning: {text}", err=True)
            annotate("warning", "maintenance due", text)
            continue
        try:
            for block in work.due(environment, os.environ):
                codes += [_opened(environment.name, block, redactor, dry_run=dry_run, yes=yes, config=config)]
                if codes[-1] == INTERRUPTED:
                    return INTERRUPTED
        except OpsError as error:
            failed.append(error)
    for other in failed[1:]:
        say(redactor.text(f"error: {other.message}"), err=True)
    if failed:
        raise failed[0]
    if not codes:
        say("nothing is due to open")
    return max(codes, default=0)


def _opened(environment: str, block: "Block", redactor: Redactor, *, dry_run: bool, yes: bool, config: Path) -> int:
    """The exit code of its run. Raises ConfigError."""
    from ops import due as work

    return run(
        work.AtItsEnd(),
        work.opening(block),
        redactor,
        environment=environment,
        incident=block.incident,
        began=None,
        requested_at=None,
        permission="",
        dry_run=dry_run,
        yes=yes,
        as_json=False,
        config=config,
    )
