"""The commands of switches beside their runbooks, and what is on at present."""

import json
import os
from pathlib import Path

import click

from ops.commands import CONFIG, run, say
from ops.model.errors import EXIT_CODES, Decision, OpsError
from ops.model.redact import Redactor
from ops.runbooks.all_clear import AllClear

INTERRUPTED = EXIT_CODES[Decision.INTERRUPTED]
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
@click.option("--environment", default="", help="default: every one of ops.yml that has AI providers and a token here")
@click.option("--dry-run", is_flag=True, help="read, show the plan, change nothing")
@click.option("--yes", is_flag=True, help="do not ask; without a terminal and without it, a dry run")
@CONFIG
@click.pass_obj
def ai_failback(redactor: Redactor, /, *, environment: str, dry_run: bool, yes: bool, config: Path) -> int:
    """Take an override of the AI providers back, once the preferred one is healthy. For a schedule."""
    from ops import failing_back as work

    codes, failed = [0], list[OpsError]()
    for name in [environment] if environment else work.environments(config, os.environ):
        try:
            codes.append(_failed_back(name, redactor, dry_run=dry_run, yes=yes, config=config))
            if codes[-1] == INTERRUPTED:
                return INTERRUPTED
        except OpsError as error:
            failed.append(error)
    for other in failed[1:]:
        say(redactor.text(f"error: {other.message}"), err=True)
    if failed:
        raise failed[0]
    return max(codes, default=0)


def _failed_back(environment: str, redactor: Redactor, *, dry_run: bool, yes: bool, config: Path) -> int:
    """The exit code of its run; 0 where there is nothing to do. Raises OpsError."""
    from ops import failing_back as work

    found, override = work.judged(environment, config, os.environ, redactor)
    what = "to be taken back" if found.restore else "nothing to do"
    say(redactor.text(f"{environment}: {what}: {found.why}"))
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
