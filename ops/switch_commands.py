"""The commands of switches beside their runbooks, and what is on at present."""

import json
import os
from pathlib import Path

import click

from ops.commands import CONFIG, run, say
from ops.model.redact import Redactor
from ops.runbooks.all_clear import AllClear

ENVIRONMENT = click.option("--environment", required=True, help="the environment of ops.yml; there is no default")


class ClearSwitches(AllClear):
    """Set every switch that an incident set back to its normal state: the same as all-clear."""

    name = "switches clear"


@click.command()
@ENVIRONMENT
@click.option("--json", "as_json", is_flag=True, help="one JSON result")
@CONFIG
@click.pass_obj
def status(redactor: Redactor, /, *, environment: str, as_json: bool, config: Path) -> None:
    """What is live, and what is on: switches, temporary limits, maintenance. It reads, and changes nothing."""
    from ops import status as work
    from ops.render import status as rendering

    found = work.of_environment(environment, config, os.environ, redactor)
    if as_json:
        click.echo(json.dumps(redactor.data(found.to_json()), ensure_ascii=False))
        return
    for line in rendering.lines(found):
        say(redactor.text(line))


@click.command("ai-failback")
@ENVIRONMENT
@click.option("--dry-run", is_flag=True, help="read, show the plan, change nothing")
@click.option("--yes", is_flag=True, help="do not ask; without a terminal and without it, a dry run")
@CONFIG
@click.pass_obj
def ai_failback(redactor: Redactor, /, *, environment: str, dry_run: bool, yes: bool, config: Path) -> int:
    """Take an override of the AI providers back, once the preferred one is healthy. For a schedule."""
    from ops import failing_back as work

    found, override = work.judged(environment, config, os.environ, redactor)
    say(redactor.text(f"{'to be taken back' if found.restore else 'nothing to do'}: {found.why}"))
    if override is None or not found.restore:
        return 0
    return run(
        work.FailBack(),
        work.asked(found, override),
        redactor,
        environment=environment,
        incident=override.incident,
        began=None,
        requested_at=None,
        permission="",
        dry_run=dry_run,
        yes=yes,
        as_json=False,
        config=config,
    )
