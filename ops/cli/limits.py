"""`ops limits …`: plan a change of limits.yml, apply what was merged, keep what is live as it says."""

import os
from functools import partial
from pathlib import Path

import click

from ops.app.registry import find_runbook_file
from ops.cli.runbook_command import CONFIG, annotate, echo
from ops.cli.runbook_group import RunbookGroup
from ops.core.redaction import Redactor


@click.group(cls=RunbookGroup)
def limits() -> None:
    """Rate limits by pull request: what limits.yml changes, applies, and keeps."""


@limits.command("plan")
@click.option("--base", default="", metavar="REF", help="a commit; default: where this branch left the default branch")
@click.option("--environment", default="", help="default: the first one with limits in ops.yml")
@click.option("--file", type=click.Path(path_type=Path), help="the proposed file; default: limits.yml beside ops.yml")
@click.option("--json", "as_json", is_flag=True, help="one JSON result")
@CONFIG
@click.pass_obj
def plan(redactor: Redactor, /, *, base: str, environment: str, file: Path | None, as_json: bool, config: Path) -> int:
    """Show what limits.yml changes: against Git, and against what is live. It writes nothing at Cloudflare."""
    from ops.scheduled import plan_limits as work

    show = partial(click.echo) if as_json else echo
    return work.plan(
        config, environment, os.environ, redactor, base=base, file=file, as_json=as_json, say=show, annotate=annotate
    )


limits.add_runbook("propose", find_runbook_file("propose-limits"))
