"""The commands of switches beside their runbooks, and what is on at present."""

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import click

from ops.cli.runbook_command import CONFIG, say
from ops.cli.schedule import AS_JSON, DRY_RUN, YES, Scheduled
from ops.core.errors import worst
from ops.core.redaction import Redactor

ENVIRONMENT = click.option("--environment", required=True, help="the environment of ops.yml; there is no default")


@click.command()
@ENVIRONMENT
@click.option("--json", "as_json", is_flag=True, help="one JSON result")
@CONFIG
@click.pass_obj
def status(redactor: Redactor, /, *, environment: str, as_json: bool, config: Path) -> None:
    """What is live, and what is on: switches, temporary limits, maintenance. It reads, and changes nothing."""
    from ops.status import read as work
    from ops.status import text

    found = work.of_environment(environment, config, os.environ, redactor)
    if as_json:
        click.echo(json.dumps(redactor.data(found.to_json()), ensure_ascii=False))
        return
    for line in text.lines(found):
        say(redactor.text(line))


@click.command("ai-failback")
@click.option("--environment", default="", help="default: every one of ops.yml that has AI providers and a token here")
@DRY_RUN
@YES
@AS_JSON
@CONFIG
@click.pass_obj
def ai_failback(
    redactor: Redactor, /, *, environment: str, dry_run: bool, yes: bool, as_json: bool, config: Path
) -> int:
    """Take an override of the AI providers back, once the preferred one is healthy. For a schedule."""
    from ops.scheduled import ai_failback as work

    scheduled = Scheduled(redactor, dry_run=dry_run, yes=yes, as_json=as_json, config=config)

    def failed_back(name: str) -> Iterator[int]:
        found, override = work.judged(name, config, os.environ, redactor)
        what = "to be taken back" if found.restore else "nothing to do"
        scheduled.note(f"{name}: {what}: {found.why}")
        if override is not None and found.restore:
            yield scheduled.run(work.AiFailback(), work.asked(found, override), name, override.incident)

    names = [environment] if environment else work.environments(config, os.environ)
    return worst(scheduled.all(partial(failed_back, name) for name in names))
