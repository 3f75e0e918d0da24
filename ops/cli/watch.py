"""Watch a service after a recovery: `ops watch`."""

import gc
import os
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.cli.completion import complete_service
from ops.cli.help import ExampleCommand
from ops.cli.output import echo, echo_json, show_headline
from ops.cli.place import ENVIRONMENT, choose_service_place, github_environ
from ops.cli.runbook_command import CONFIG, INCIDENT
from ops.core.clock import format_rfc3339, parse_duration
from ops.core.errors import EXIT_CODES, ConfigError, Decision, OpsError
from ops.core.redaction import Redactor
from ops.github import actions

if TYPE_CHECKING:
    from ops.watch.judgment import WatchResult
    from ops.watch.start import WatchPlace

SHORTEST, LONGEST = timedelta(minutes=2), timedelta(hours=2)
"""The longest one is `ops.watch.state.LONGEST`, which this module loads only for a watch."""
GARBAGE_THRESHOLD = 700
"""Objects between two collections, Python's default: a watch of two hours would keep the garbage of all its rounds."""


@click.command(
    cls=ExampleCommand,
    epilog="""
    ops watch --service api --environment production
    ops watch --service api --environment production --for 1h --incident 42
    ops watch --service api --environment production --closed --incident 42
    """,
)
@click.option("--service", default="", shell_complete=complete_service, help="Service (default: the only one)")
@ENVIRONMENT
@click.option("--for", "duration", default="", help="Length, 2m to 2h (default: `watch` of ops.yml, 30m if it is off)")
@click.option("--incident", type=INCIDENT, help="Issue that shows the watch, and from which it continues")
@click.option("--closed", is_flag=True, help="Check every minute that a closed service stays closed, not its health")
@click.option("--stopped", is_flag=True, help="Continue the watches that lost their runner, and start none")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON result")
@CONFIG
@click.pass_obj
def watch(
    redactor: Redactor,
    /,
    *,
    service: str,
    environment: str,
    duration: str,
    incident: int | None,
    closed: bool,
    stopped: bool,
    as_json: bool,
    config: Path,
) -> int:
    """Watch a service after a recovery, and find a relapse.

    It probes every 30 seconds and reads error rates. It never changes anything at Cloudflare. With an incident it
    continues the watch there, also one of another runner. Exit code 7: relapsed, or open although closed.
    """
    from ops.watch.start import WatchPlace, find_stopped

    gc.set_threshold(GARBAGE_THRESHOLD)
    try:
        length = _parse_length(duration) if duration else _configured_length(config)
        environ = github_environ(config, redactor, is_quiet=as_json)
        if stopped:
            watches = find_stopped(config, environ, redactor, incident)
        else:
            given = {"for": duration, "incident": incident, "closed": closed, "json": as_json}
            place = choose_service_place("watch", service, environment, config, given, is_argument=False)
            watches = [WatchPlace(place, incident, closed)]
        codes = [_watch(each, length, config, environ, redactor, as_json=as_json) for each in watches]
        if stopped and incident is None:
            _complete_reports([each.incident for each in watches if each.incident], config, environ, redactor)
    except OpsError as error:
        actions.write_job_outputs(os.environ, redactor.redact_value(actions.failure_outputs(error)))
        raise
    if not codes:
        echo("No watch has lost its runner.", err=as_json)
    return max(codes, default=0, key=lambda code: (code == EXIT_CODES[Decision.RELAPSED], code))


def _watch(
    watched: "WatchPlace",
    length: timedelta,
    config: Path,
    environ: Mapping[str, str],
    redactor: Redactor,
    *,
    as_json: bool,
) -> int:
    """Watch one service, show the result, and return the exit code. Raises OpsError."""
    from ops.watch.start import command_names, watch_service
    from ops.watch.text import detail_lines, headline, next_step, round_line

    incident = watched.incident
    found = watch_service(
        watched.place,
        config,
        environ,
        redactor,
        duration=length,
        incident=incident,
        is_closed=watched.is_closed,
        on_round=lambda result: None if as_json else echo(round_line(result)),
    )
    step = next_step(found, command_names(config, environ, incident))
    actions.write_job_outputs(os.environ, {key: redactor.redact_text(text) for key, text in _outputs(found, step)})
    if as_json:
        echo_json({**found.to_json(), "next": step})
        return found.exit_code
    show_headline(found.decision or "", headline(found), exit_code=found.exit_code)
    for line in (*detail_lines(found), *filter(None, [step])):
        echo(f"  {line}")
    return found.exit_code


def _complete_reports(incidents: list[int], config: Path, environ: Mapping[str, str], redactor: Redactor) -> None:
    """Renew the reports after their watches; a failure is shown and ends nothing."""
    from ops.report.build import write_report

    for number in dict.fromkeys(incidents):
        try:
            write_report(number, config, environ, redactor, only_if_recorded=False)
        except OpsError as error:
            echo(f"the report of #{number} is not renewed: {error.message}", err=True)


def _outputs(found: "WatchResult", step: str) -> Iterator[tuple[str, str]]:
    """Yield the outputs for later jobs of the same workflow run."""
    from ops.watch.text import headline

    yield from (("decision", found.decision or ""), ("reason", found.reason or ""))
    yield from (("message", headline(found)), ("hint", step))
    yield "answered", "true" if found.is_published else ""
    yield "deployment", found.state.deployment
    yield "ended_at", format_rfc3339(found.ended_at) if found.ended_at else ""


def _configured_length(path: Path) -> timedelta:
    """Return the length in ops.yml, or the default. Raises ConfigError."""
    from ops.app.configuration import read_config
    from ops.config.watch import WatchConfig

    return timedelta(seconds=(read_config(path)[0].watch or WatchConfig()).duration)


def _parse_length(text: str) -> timedelta:
    """Return the length of the watch. Raises ConfigError."""
    try:
        length = timedelta(seconds=parse_duration(text))
    except (ValueError, OverflowError):
        length = timedelta(0)
    if not SHORTEST <= length <= LONGEST:
        raise ConfigError(f'"{text[:40]}" is no length of a watch', hint="Use 2m to 2h, such as `--for 30m`.")
    return length
