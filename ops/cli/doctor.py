"""Check the whole set-up: `ops doctor`."""

import json
import os
from contextlib import ExitStack
from pathlib import Path

import click

from ops.cli.help import ExampleCommand
from ops.cli.output import echo
from ops.cli.runbook_command import CONFIG
from ops.core.redaction import Redactor


@click.command(
    cls=ExampleCommand, epilog="ops doctor\nops doctor --fix\nops doctor --only token-valid --environment production"
)
@click.option("--environment", default="", help="Environment in ops.yml (default: all)")
@click.option("--only", multiple=True, metavar="ID", help="Check to run; repeat it for several (default: all)")
@click.option("--github-environment", default="", hidden=True, help="GitHub environment of this job")
@click.option("--fix", is_flag=True, help="Also create missing labels and write the workflows")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON result")
@CONFIG
@click.pass_obj
def doctor(
    redactor: Redactor,
    /,
    *,
    environment: str,
    only: tuple[str, ...],
    github_environment: str,
    fix: bool,
    as_json: bool,
    config: Path,
) -> int:
    """Check the set-up: configuration, tokens, services, GitHub and this machine.

    It changes nothing without --fix, and nothing at Cloudflare. Exit code 2: an answer is wrong.
    """
    from ops.setup.doctor import fixes, text
    from ops.setup.doctor.examination import examine
    from ops.setup.doctor.facts import Facts

    def read() -> Facts:
        return Facts(
            config, os.environ, redactor, ending, environment=environment, github_environment=github_environment
        )

    with ExitStack() as ending:
        results = examine(read(), only)
        if fix and fixes.apply(read(), results, echo):
            results = examine(read(), only)
    code = text.exit_code(results)
    if as_json:
        found = {"schema": 1, "exit_code": code, "checks": [each.to_json() for each in results]}
        click.echo(json.dumps(redactor.redact_json(found), ensure_ascii=False))
        return code
    for line in text.lines(results):
        echo(redactor.redact_text(line))
    return code
