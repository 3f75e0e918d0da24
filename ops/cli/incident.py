"""Commands of the incident issue: `ops incident …` and `ops labels …`."""

import os
from datetime import UTC, datetime
from pathlib import Path

import click

from ops.cli.help import ExampleGroup
from ops.cli.runbook_command import CONFIG, INCIDENT
from ops.core.redaction import Redactor

SEVERITIES = ("sev1", "sev2", "sev3")


@click.group(cls=ExampleGroup)
def incident() -> None:
    """Open an incident, add to its timeline, or show it."""


@incident.command("import", epilog="ops incident import .ops/runs/20261124T031220-4f0a --incident 42")
@click.argument("source", metavar="FILE|RUN")
@click.option("--incident", "number", type=INCIDENT, required=True, help="Issue number")
@CONFIG
@click.pass_obj
def import_(redactor: Redactor, /, *, source: str, number: int, config: Path) -> None:
    """Post the record of a run that is missing on GitHub."""
    from ops.incident import commands as work

    click.echo(work.import_record(source, number, config, os.environ, redactor))


@incident.command(epilog="ops incident note 42 '13:05 restarted the queue by hand'")
@click.argument("number", type=INCIDENT)
@click.argument("text", metavar='"13:05 TEXT"')
@click.pass_obj
def note(redactor: Redactor, /, *, number: int, text: str) -> None:
    """Add what a person did or saw, with its time in UTC."""
    from ops.incident import commands as work

    stored, url = work.add_note(number, text, os.environ, redactor, now=datetime.now(UTC))
    click.echo(redactor.redact_text(stored))
    click.echo(url)


@incident.command("open", epilog="ops incident open --service api --severity sev2 --title 'HTTP 500 since the release'")
@click.option("--service", required=True, help="Service in ops.yml")
@click.option("--severity", type=click.Choice(SEVERITIES, case_sensitive=False), required=True)
@click.option("--title", required=True, help="Symptom, as the title of the issue")
@CONFIG
@click.pass_obj
def open_(redactor: Redactor, /, *, service: str, severity: str, title: str, config: Path) -> None:
    """Open the incident issue."""
    from ops.incident import commands as work

    number, url = work.open_incident(service, severity, title, config=config, environ=os.environ, redactor=redactor)
    click.echo(f"#{number} {url}")


@incident.command(epilog="ops incident leak")
@CONFIG
@click.pass_obj
def leak(redactor: Redactor, /, *, config: Path) -> None:
    """Open the incident of a leaked secret, from a GitHub Actions event."""
    from ops.incident import secret_leak as work

    opened = work.report_leak(config, os.environ, redactor)
    if opened is None:
        click.echo("not for us: this event reports no leak")
        return
    click.echo(f"#{opened.number} {opened.url} {'opened' if opened.is_new else 'already open: added to it'}")


@incident.command(epilog="ops incident report 42")
@click.argument("number", type=INCIDENT)
@click.option("--only-if-recorded", is_flag=True, help="Do nothing unless a run of a runbook is on the incident")
@CONFIG
@click.pass_obj
def report(redactor: Redactor, /, *, number: int, only_if_recorded: bool, config: Path) -> None:
    """Create the post-incident report, or update its generated parts."""
    from ops.report import build as work

    written = work.write_report(number, config, os.environ, redactor, only_if_recorded=only_if_recorded)
    if written is None:
        click.echo(f"no report: no run of a runbook is on incident {number}, and who closed it may not write here")
        return
    click.echo(f"#{written.number} {written.url} {'created' if written.is_new else 'renewed'}")
    for item in written.open_items:
        click.echo(f"  still to be written or ticked: {item}")


@incident.command(epilog="ops incident show 42")
@click.argument("number", type=INCIDENT)
@click.pass_obj
def show(redactor: Redactor, /, *, number: int) -> None:
    """Print the timeline of all runs and notes, in UTC."""
    from ops.incident import commands as work

    for line in work.timeline_lines(number, os.environ, redactor):
        click.echo(redactor.redact_text(line))


@click.group(cls=ExampleGroup)
def labels() -> None:
    """Manage the labels of the repository."""


@labels.command(epilog="ops labels sync")
@CONFIG
@click.pass_obj
def sync(redactor: Redactor, /, *, config: Path) -> None:
    """Create and correct the labels of ops.yml; print what changed."""
    from ops.incident import commands as work

    work.sync_labels(config, os.environ, redactor, click.echo)
