"""The commands of switches beside their runbooks, and what is on at present."""

import json
import os
from pathlib import Path

import click

from ops.commands import CONFIG, PROBE_WAIT, plan_shower, say, show_result, text_event
from ops.engine import Options
from ops.interrupt import Signals
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
@CONFIG
@click.pass_obj
def ai_failback(redactor: Redactor, /, *, environment: str, config: Path) -> int:
    """Take an override of the AI providers back, once the preferred one is healthy. For a schedule."""
    from ops import app, failing_back

    found, override = failing_back.judged(environment, config, os.environ, redactor)
    say(redactor.text(f"{'taken back' if found.restore else 'nothing to do'}: {found.why}"))
    if override is None or not found.restore:
        return 0
    request = failing_back.request(environment, config, found, override)
    options = Options(
        dry_run=False,
        confirm=lambda _plan: False,
        show_plan=plan_shower(f"Plan: {request.runbook.name} in {environment}", redactor),
        probe_wait=PROBE_WAIT,
    )
    with Signals().watched() as signals:
        result, settings = app.run(request, os.environ, redactor, sink=text_event, options=options, signals=signals)
        show_result(result, settings, redactor)
    return result.exit_code
