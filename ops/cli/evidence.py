"""Collect and post evidence of a period: `ops evidence`."""

from pathlib import Path

import click

from ops.cli.help import ExampleCommand
from ops.cli.output import echo
from ops.cli.place import ENVIRONMENT, choose_environment, github_environ
from ops.cli.runbook_command import CONFIG, INCIDENT
from ops.core.redaction import Redactor


@click.command(
    cls=ExampleCommand,
    epilog="""
    ops evidence --since 2h
    ops evidence --since '2026-11-24 13:05' --until 30m --environment production --incident 42
    """,
)
@click.option("--since", required=True, help="Start of the period, such as 24h or 2026-11-24 13:05 (UTC)")
@click.option("--until", default="", help="End of the period, such as 2h or 2026-11-24 13:05 (default: now)")
@ENVIRONMENT
@click.option("--incident", type=INCIDENT, help="Issue to post the evidence on, as one comment")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="File to write all rows to")
@CONFIG
@click.pass_obj
def evidence(
    redactor: Redactor,
    /,
    *,
    since: str,
    until: str,
    environment: str,
    incident: int | None,
    file: Path | None,
    config: Path,
) -> None:
    """Collect what Cloudflare and GitHub recorded in a period (read-only).

    Prints one line per source, with the missing permission if it cannot be read. The rows are in the JSON file, on the
    incident issue, and in the job summary.
    """
    from ops.evidence import collect, tables

    options = {"since": since, "until": until, "incident": incident, "json": file}
    environment = choose_environment("evidence", environment, config, **options)
    environ = github_environ(config, redactor)
    found = collect.collect_evidence(environment, (since, until), config, environ, redactor)
    if file is not None:
        collect.write_json(found, file)
    for line in tables.evidence_lines(found):
        echo(line)
    if url := collect.publish_evidence(found, incident, environ, redactor):
        echo(url)
    collect.require_any_source(found)
