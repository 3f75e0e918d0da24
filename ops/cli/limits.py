"""Plan, apply and reconcile limits.yml: `ops limits …`."""

import os
from pathlib import Path

import click

from ops.app.registry import find_runbook_file
from ops.cli.completion import complete_environment
from ops.cli.output import annotate, echo
from ops.cli.runbook_command import CONFIG
from ops.cli.runbook_group import RunbookGroup
from ops.core.redaction import Redactor


@click.group(cls=RunbookGroup)
def limits() -> None:
    """Plan, apply and reconcile rate limits in limits.yml."""


@limits.command("plan", epilog="ops limits plan --base main")
@click.option(
    "--base", default="", metavar="REF", help="Commit to compare with (default: merge base with the default branch)"
)
@click.option(
    "--environment",
    default="",
    shell_complete=complete_environment,
    help="Environment in ops.yml (default: the first one with limits)",
)
@click.option("--file", type=click.Path(path_type=Path), help="Proposed file (default: limits.yml beside ops.yml)")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON result")
@CONFIG
@click.pass_obj
def plan(redactor: Redactor, /, *, base: str, environment: str, file: Path | None, as_json: bool, config: Path) -> int:
    """Compare limits.yml with Git and with the live limits."""
    from ops.scheduled import plan_limits as work

    return work.plan_limits(
        config, environment, os.environ, redactor, base=base, file=file, as_json=as_json, say=echo, annotate=annotate
    )


limits.add_runbook("propose", find_runbook_file("propose-limits"))
