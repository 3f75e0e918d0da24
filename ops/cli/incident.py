"""Commands of an incident: `ops incident …`, `ops labels …` and `ops evidence`."""

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import click

from ops.cli.help import ExampleCommand, ExampleGroup
from ops.cli.options import (
    AS_JSON,
    AS_MARKDOWN,
    CONFIG,
    ENVIRONMENT,
    INCIDENT,
    choose_environment_option,
    complete_environment,
    complete_service,
    github_environ,
)
from ops.cli.output import echo, echo_json, echo_line, is_for_machine, print_result, to_masked_line
from ops.core.clock import current_time
from ops.core.errors import EXIT_CODES, Decision
from ops.core.redaction import Redactor

SEVERITIES = ("sev1", "sev2", "sev3")


@click.group(cls=ExampleGroup)
def incident() -> None:
    """List, open and close incidents; add to a timeline, or show it."""


def _renew_state(number: int, config: Path, environ: Mapping[str, str], redactor: Redactor, *, after: str = "") -> None:
    """Renew the comment with the state of the incident; a failure is a warning. `after`: URL of our new comment."""
    from ops.report.state_comment import refresh_state

    if problem := refresh_state(number, config, environ, redactor, after=after):
        _print_warning(problem)


def _print_warning(problem: str) -> None:
    echo(f"warning: {to_masked_line(problem)}", err=True)


@incident.command("import", epilog="ops incident import .ops/runs/20261124T031220-4f0a --incident 42")
@click.argument("source", metavar="FILE|RUN")
@click.option("--incident", "number", type=INCIDENT, required=True, help="Issue number")
@CONFIG
@click.pass_obj
def import_(redactor: Redactor, /, *, source: str, number: int, config: Path) -> None:
    """Post the record of a run that is missing on GitHub."""
    from ops.incident import commands as work

    environ = github_environ(config, redactor)
    url = work.import_record(source, number, config, environ, redactor)
    echo(url)
    _renew_state(number, config, environ, redactor, after=url)


@incident.command(
    epilog="""
    ops incident note 42 'called the provider'
    ops incident note 42 '13:05 restarted the queue by hand'
    """
)
@click.argument("number", type=INCIDENT)
@click.argument("text", metavar='"[13:05] TEXT"')
@CONFIG
@click.pass_obj
def note(redactor: Redactor, /, *, number: int, text: str, config: Path) -> None:
    """Add what a person did or saw, with its time in UTC (default: now).

    Secrets that ops.yml names and this machine holds are masked.
    """
    from ops.incident import commands as work

    environ = github_environ(config, redactor)
    if problem := work.mask_secrets(config, environ, redactor):
        echo(f"warning: {problem}", err=True)
    stored, url = work.add_note(number, text, environ, redactor, now=current_time(environ))
    echo(stored)
    echo(url)
    _renew_state(number, config, environ, redactor, after=url)


@incident.command(
    "open",
    epilog="""
    ops incident open
    ops incident open --service api --severity sev2 --title 'HTTP 500 since the release'
    """,
)
@click.argument("text", default="", metavar="[TITLE]")
@click.option("--service", shell_complete=complete_service, help="Service in ops.yml")
@click.option("--severity", type=click.Choice(SEVERITIES, case_sensitive=False))
@click.option("--title", help="Symptom, as the title of the issue; or the argument TITLE")
@CONFIG
@click.pass_obj
def open_(
    redactor: Redactor,
    /,
    *,
    text: str,
    service: str | None,
    severity: str | None,
    title: str | None,
    config: Path,
) -> None:
    """Open the incident issue; on a terminal, ask for missing values."""
    from ops.incident import commands as work

    if text and title:
        raise click.UsageError("the title is given twice: as the argument TITLE and with --title")
    given = _complete_fields({"service": service, "severity": severity, "title": title or text or None}, config)
    opened = work.open_incident(**given, config=config, environ=github_environ(config, redactor), redactor=redactor)
    echo(f"#{opened.number} {opened.url}")
    if not opened.has_menu:
        echo(f"warning: #{opened.number} has no recovery menu; remove and add its label `incident`", err=True)


def _complete_fields(given: dict[str, str | None], config: Path) -> dict[str, str]:
    """Return the values, and ask for those that are missing. Raises MissingParameter without a terminal."""
    missing = [name for name, value in given.items() if value is None]
    if missing and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.MissingParameter(param_type="option", param_hint=[f"--{name}" for name in missing])
    return {name: value if value is not None else _ask_field(name, config, given) for name, value in given.items()}


def _ask_field(name: str, config: Path, given: dict[str, str | None]) -> str:
    from ops.app.configuration import read_config

    if name == "service":
        services = read_config(config)[0].service_names
        given[name] = click.prompt("Service", default=services[0], type=click.Choice(services))
    elif name == "severity":
        echo("sev1: down, or data at risk. sev2: broken for many users. sev3: broken for some users.")
        given[name] = click.prompt("Severity", default=SEVERITIES[1], type=click.Choice(SEVERITIES))
    else:
        given[name] = click.prompt("Symptom, as the title of the issue", default=f"{given['service']} is broken")
    return str(given[name])


@incident.command(epilog="ops incident menu 42")
@click.argument("number", type=INCIDENT)
@CONFIG
@click.pass_obj
def menu(redactor: Redactor, /, *, number: int, config: Path) -> None:
    """Post the recovery menu of an incident, or renew it.

    It probes the services of the form for a few seconds: those that fail or changed within the hour come first. A menu
    that somebody else posted stays as it is.
    """
    from ops.report.messages import announce_incident
    from ops.status import incident_menu as work

    environ = github_environ(config, redactor)
    echo(work.post_menu(number, config, environ, redactor))
    if problem := announce_incident(number, config, environ, redactor):
        _print_warning(problem)


@incident.command("list", epilog="ops incident list")
@AS_JSON
@CONFIG
@click.pass_obj
def list_(redactor: Redactor, /, *, as_json: bool, config: Path) -> None:
    """List the open incidents with their state and last run, newest first."""
    from ops.status import open_incidents as work

    overview = work.read_overview(config, github_environ(config, redactor, is_quiet=as_json), redactor)
    if as_json:
        echo_json(overview.to_json())
        return
    for line in work.overview_lines(overview):
        echo(line)


@incident.command(epilog='ops incident close 42 "reverted the release"')
@click.argument("number", type=INCIDENT)
@click.argument("text", default="", metavar="[TEXT]")
@click.option("--anyway", is_flag=True, help="Close it although a run on it has no result yet")
@AS_JSON
@CONFIG
@click.pass_obj
def close(redactor: Redactor, /, *, number: int, text: str, anyway: bool, as_json: bool, config: Path) -> None:
    """Add TEXT as a last note, close the incident, and list what stays active."""
    from ops.report import close as work

    environ = github_environ(config, redactor, is_quiet=as_json)
    closed = work.close_incident(number, text, config, environ, redactor, anyway=anyway)
    if closed.was_open:
        _renew_state(number, config, environ, redactor)
    if as_json:
        echo_json(closed.to_json())
        return
    echo(f"#{number} {closed.url} {'closed' if closed.was_open else 'was closed already'}")
    if closed.was_open and not closed.leftovers:
        echo(f"  nothing stays on in {to_masked_line(', '.join(closed.live.environments))}")
    for line in closed.leftovers:
        echo(f"  still active, or unknown: {to_masked_line(line)}")
    for command in closed.live.reset_commands:
        echo(f"  to reset: {to_masked_line(command)}")


@incident.command(epilog="ops incident leak")
@CONFIG
@click.pass_obj
def leak(redactor: Redactor, /, *, config: Path) -> None:
    """Open the incident of a leaked secret, from a GitHub Actions event."""
    from ops.incident import secret_leak as work

    opened = work.report_leak(config, github_environ(config, redactor), redactor)
    if opened is None:
        echo("not for us: this event reports no leak")
        return
    echo(f"#{opened.number} {opened.url} {'opened' if opened.is_new else 'already open: added to it'}")


@incident.command(epilog="ops incident report 42")
@click.argument("number", type=INCIDENT)
@click.option("--only-if-recorded", is_flag=True, help="Do nothing unless a run of a runbook is on the incident")
@CONFIG
@click.pass_obj
def report(redactor: Redactor, /, *, number: int, only_if_recorded: bool, config: Path) -> None:
    """Create the post-incident report, or update its generated parts."""
    from ops.report import build as work

    written = work.write_report(
        number, config, github_environ(config, redactor), redactor, only_if_recorded=only_if_recorded
    )
    if written is None:
        echo(f"no report: incident {number} has no run")
        return
    echo(f"#{written.number} {written.url} {'created' if written.is_new else 'updated'}")
    for item in written.open_items:
        echo(f"  to write or tick: {item}")
    for problem in (*written.notes, *filter(None, [written.state_problem])):
        _print_warning(problem)


@incident.command(
    epilog="""
    ops incident changes 42
    ops incident changes 42 --json
    """
)
@click.argument("number", type=INCIDENT)
@AS_JSON
@CONFIG
@click.pass_obj
def changes(redactor: Redactor, /, *, number: int, as_json: bool, config: Path) -> None:
    """List what changed in the hour before an incident began, newest first (read-only).

    It reads Cloudflare's audit logs and the runs of our workflows, with four requests at most. What cannot be read is
    named.
    """
    from ops.status.recent_changes import read_changes_before

    found = read_changes_before(number, config, github_environ(config, redactor, is_quiet=as_json), redactor)
    if as_json:
        echo_json(found.to_json())
        return
    for line in found.lines():
        echo_line(line)


@incident.command(
    epilog="""
    ops incident actions 42
    ops incident actions 42 --create
    """
)
@click.argument("number", type=INCIDENT)
@click.option("--create", is_flag=True, help="Create the missing issues, and link each in its row")
@AS_JSON
@CONFIG
@click.pass_obj
def actions(redactor: Redactor, /, *, number: int, create: bool, as_json: bool, config: Path) -> int:
    """List the action items of a report with the state of their issues.

    NUMBER is that of the incident or of its report. With the section `action_items` of ops.yml, the label
    `actions:create` on the report creates the issues too.
    """
    from ops.report import action_commands as work
    from ops.report.action_items import describe_item_count

    environ = github_environ(config, redactor, is_quiet=as_json)
    read = work.create_actions(number, config, environ, redactor) if create else None
    found = read or work.list_actions(number, config, environ, redactor)
    if as_json:
        echo_json(found.to_json())
    else:
        echo(f"#{found.report} {found.url}: {describe_item_count(found.tracked)}")
        for line in work.action_lines(found):
            echo(f"  {to_masked_line(line)}")
    if found.is_unclear:
        return EXIT_CODES[Decision.UNKNOWN_OUTCOME]
    return EXIT_CODES[Decision.FAILED] if found.problem else 0


@incident.command(
    epilog="""
    ops incident remind --dry-run
    ops incident remind
    """
)
@click.option("--dry-run", is_flag=True, help="Only list what is open")
@CONFIG
@click.pass_obj
def remind(redactor: Redactor, /, *, dry_run: bool, config: Path) -> None:
    """Remind of required action items, at most once a week for each incident.

    It needs `required_from` under `action_items`. The scheduled doctor runs it.
    """
    from ops.report import action_reminder as work

    lacking = work.remind_of_action_items(config, github_environ(config, redactor), redactor, dry_run=dry_run)
    for each in lacking:
        echo_line(each.describe())
    if not lacking:
        echo("no required action item is open")


@incident.command(
    epilog="""
    ops incident show 42
    ops incident show 42 --json
    """
)
@click.argument("number", type=INCIDENT)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON result: the state")
@CONFIG
@click.pass_obj
def show(redactor: Redactor, /, *, number: int, as_json: bool, config: Path) -> None:
    """Show the timeline of an incident, and the state of its services.

    It reads GitHub, and with a Cloudflare token what the incident holds. It changes nothing.
    """
    from ops.incident.commands import incident_timeline_lines
    from ops.status.incident import read_incident
    from ops.status.text import incident_lines

    environ = github_environ(config, redactor, is_quiet=as_json)
    journal, state = read_incident(number, config, environ, redactor)
    if as_json:
        echo_json(state.to_json())
        return
    for line in (*incident_timeline_lines(journal), *incident_lines(state)):
        echo_line(line)


@incident.command(epilog="ops incident lead 42 --to alice")
@click.argument("number", type=INCIDENT)
@click.option("--to", "login", required=True, metavar="LOGIN", help="GitHub login of the person who leads from now on")
@CONFIG
@click.pass_obj
def lead(redactor: Redactor, /, *, number: int, login: str, config: Path) -> None:
    """Hand the lead of an incident over to a person who may start recoveries."""
    from ops.incident import commands as work

    warn = partial(echo, err=True)
    environ = github_environ(config, redactor)
    echo(work.hand_over_lead(number, login, config=config, environ=environ, redactor=redactor, warn=warn))
    _renew_state(number, config, environ, redactor)


@click.group(cls=ExampleGroup)
def labels() -> None:
    """Manage the labels of the repository."""


@labels.command(epilog="ops labels sync")
@CONFIG
@click.pass_obj
def sync(redactor: Redactor, /, *, config: Path) -> None:
    """Create and correct the labels of ops.yml; print what changed."""
    from ops.setup.labels import sync_repository_labels

    sync_repository_labels(config, github_environ(config, redactor), redactor, echo)


@click.command(
    cls=ExampleCommand,
    epilog="""
    ops evidence --since 2h
    ops evidence --since '2026-11-24 13:05' --until 30m --environment production --incident 42
    ops evidence --since 30d --audit audit.jsonl
    """,
)
@click.option("--since", required=True, help="Start of the period, such as 24h or 2026-11-24 13:05 (UTC)")
@click.option("--until", default="", help="End of the period, such as 2h or 2026-11-24 13:05 (default: now)")
@ENVIRONMENT
@click.option("--incident", type=INCIDENT, help="Issue to post the evidence on, as one comment")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="File to write all rows to")
@click.option(
    "--audit",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for requests, approvals, plans, writes and results, as JSON lines",
)
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
    audit: Path | None,
    config: Path,
) -> None:
    """Collect what Cloudflare and GitHub recorded in a period (read-only).

    Prints one line per source, with the missing permission if it cannot be read. The rows are in the JSON file, on the
    incident issue, and in the job summary.
    """
    from ops.evidence import collect, tables
    from ops.evidence.audit import read_audit

    if audit is not None:
        if file is not None:
            raise click.UsageError("--audit and --json are two exports: use one of them.")
        environ = github_environ(config, redactor)
        lines = read_audit((since, until), environ, redactor, incident=incident, environment=environment)
        collect.write_evidence_file("".join(f"{line}\n" for line in lines), audit)
        echo(f"{len(lines) - 2} entries in {audit}")
        return
    options = {"since": since, "until": until, "incident": incident, "json": file}
    environment = choose_environment_option("evidence", environment, config, **options)
    environ = github_environ(config, redactor)
    collection = collect.collect_evidence(environment, (since, until), config, environ, redactor)
    if file is not None:
        collect.write_evidence_json(collection, file)
    for line in tables.evidence_lines(collection):
        echo(line)
    if url := collect.publish_evidence(collection, incident, environ, redactor):
        echo(url)
    collect.require_any_source(collection)


@click.command(
    cls=ExampleCommand,
    epilog="""
    ops stats
    ops stats --since 2026-10-01 --until 2026-11-01 --environment production --markdown
    """,
)
@click.option("--since", default="90d", help="Start of the period, such as 30d or 2026-10-01 (default: 90d)")
@click.option("--until", default="", help="End of the period, such as 2026-11-01 (default: now)")
@click.option(
    "--environment",
    default="",
    shell_complete=complete_environment,
    help="Environment whose changes count for the failure rate (default: all)",
)
@AS_MARKDOWN
@click.option("--json", "as_json", is_flag=True, help="Print one JSON result with each point")
@CONFIG
@click.pass_obj
def stats(
    redactor: Redactor, /, *, since: str, until: str, environment: str, as_markdown: bool, as_json: bool, config: Path
) -> None:
    """Show statistics of the incidents of a period (read-only).

    Times to detect, acknowledge, decide, write, recover and restore, with median and p90. Relapses, repeated causes,
    open action items, change failure rate. Drills are counted apart, and an unknown time is never 0.
    """
    from ops.report.statistics import render_statistics, statistics_lines
    from ops.report.statistics_reads import read_statistics

    is_quiet = is_for_machine(as_markdown=as_markdown, as_json=as_json)
    environ = github_environ(config, redactor, is_quiet=is_quiet)
    statistics = read_statistics(config, environ, redactor, since=since, until=until, environment=environment)
    print_result(statistics, statistics_lines, render_statistics, as_markdown=as_markdown, as_json=as_json)
