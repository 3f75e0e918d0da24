"""Commands that read the state: `status`, `versions`, `targets`, `last`, `watch` and others."""

import gc
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ops.cli.help import ExampleCommand
from ops.cli.options import (
    AS_JSON,
    AS_MARKDOWN,
    CONFIG,
    ENVIRONMENT,
    ENVIRONMENT_FILTER,
    INCIDENT,
    ask_read_only_tokens,
    choose_environment_option,
    choose_service_place,
    complete_service,
    github_environ,
)
from ops.cli.output import (
    echo,
    echo_json,
    echo_line,
    is_for_machine,
    print_result,
    show_headline,
    show_progress,
    silent,
    to_masked_line,
)
from ops.core.clock import format_rfc3339, parse_duration
from ops.core.errors import EXIT_CODES, ConfigError, Decision, OpsError
from ops.core.names import quote_name
from ops.core.redaction import Redactor
from ops.github import actions

if TYPE_CHECKING:
    from ops.app.scope import Place
    from ops.watch.judgment import WatchResult
    from ops.watch.start import WatchPlace

SHOWN_VERSIONS = 10
"""Versions that are shown without --all."""
SHORTEST_WATCH, LONGEST_WATCH = timedelta(minutes=2), timedelta(hours=2)
"""The longest one is `ops.watch.state.LONGEST`, which this module loads only for a watch."""
GARBAGE_THRESHOLD = 700
"""Objects between two collections, Python's default: a watch of two hours would keep the garbage of all its rounds."""


@click.command(
    cls=ExampleCommand,
    epilog="""
    ops status
    ops status --environment production
    """,
)
@ENVIRONMENT
@AS_JSON
@CONFIG
@click.pass_obj
def status(redactor: Redactor, /, *, environment: str, as_json: bool, config: Path) -> None:
    """Show live versions, everything that is held, and the open incidents.

    A section that could not be read says `unknown`, and the exit code is 4; 2 without a usable token. The incidents
    need GITHUB_TOKEN and GITHUB_REPOSITORY; without them, the exit code is the same.
    """
    from ops.status import last_runs, text
    from ops.status.open_incidents import start_reading_overview
    from ops.status.status import environment_status

    environment = choose_environment_option("status", environment, config)
    environ = github_environ(config, redactor, is_quiet=True)
    finish_reading = start_reading_overview(config, environ, redactor)
    finish_drills = last_runs.start_reading_drills(config, environ, redactor)
    environment_state = environment_status(environment, config, os.environ, redactor)
    incidents, trend = finish_reading(), finish_drills()
    if as_json:
        shown = {"staging_drills": trend.to_json()} if trend else {}
        echo_json(environment_state.to_json() | incidents.to_json() | shown)
    else:
        for line in text.status_lines(environment_state, incidents, trend):
            echo_line(line)
    if environment_state.error:
        raise environment_state.error


@click.command(
    cls=ExampleCommand,
    epilog="""
    ops versions api --environment production
    ops versions frontend --environment production --all
    """,
)
@click.argument("service", default="", metavar="[SERVICE]", shell_complete=complete_service)
@click.option("--service", "named", default="", shell_complete=complete_service, help="Same as the argument SERVICE")
@ENVIRONMENT
@click.option("--incident", type=INCIDENT, help="Count the runs on this incident, as a rollback for it does")
@click.option("--all", "show_all", is_flag=True, help=f"Show all versions (default: the newest {SHOWN_VERSIONS})")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON result with all versions")
@CONFIG
@click.pass_obj
def versions(
    redactor: Redactor,
    /,
    *,
    service: str,
    named: str,
    environment: str,
    incident: int | None,
    show_all: bool,
    as_json: bool,
    config: Path,
) -> None:
    """Show the versions of a service, and which one a rollback chooses.

    It reads what a plan of rollback-worker or rollback-pages reads, and changes nothing.
    """
    from ops.status.versions import service_versions, version_lines

    options = {"incident": incident, "all": show_all, "json": as_json}
    if service and named and service != named:
        raise click.UsageError(f'two services are given: "{quote_name(service)}" and "{quote_name(named)}"')
    place = choose_service_place("versions", service or named, environment, config, options)
    state = service_versions(place, incident, config, github_environ(config, redactor, is_quiet=as_json), redactor)
    if as_json:
        echo_json(state.to_json())
        return
    for line in version_lines(state, most=len(state.candidates) if show_all else SHOWN_VERSIONS):
        echo_line(line)


@click.command(
    cls=ExampleCommand,
    epilog="""
    ops targets
    ops targets --environment production --markdown
    """,
)
@ENVIRONMENT_FILTER
@AS_MARKDOWN
@AS_JSON
@CONFIG
@click.pass_obj
def targets(redactor: Redactor, /, *, environment: str, as_markdown: bool, as_json: bool, config: Path) -> None:
    """Show for each service what a rollback would deploy now, or what blocks it.

    It plans the rollback of every service, probes each one once, and changes nothing. Without an ops.yml, it lists
    every Worker and Pages project that CLOUDFLARE_API_TOKEN can read, and requests its URL. Exit code 4: a service
    could not be read.
    """
    from ops.setup.init import account_targets
    from ops.status.targets import read_targets, render_targets, target_lines

    is_quiet = is_for_machine(as_markdown=as_markdown, as_json=as_json)
    is_given = click.get_current_context().get_parameter_source("config") is ParameterSource.COMMANDLINE
    if not (is_given or environment) and account_targets.is_without_config(config):
        environ = _with_tokens(redactor, is_quiet=is_quiet)
        with show_progress("reading"):
            found = account_targets.read_token_targets(environ, redactor)
        lines, render = account_targets.token_target_lines, account_targets.render_token_targets
        print_result(found, lines, render, as_markdown=as_markdown, as_json=as_json)
        if found.error:
            raise found.error
        return
    with show_progress("reading"):
        table = read_targets(environment, config, github_environ(config, redactor, is_quiet=is_quiet), redactor)
    print_result(table, target_lines, render_targets, as_markdown=as_markdown, as_json=as_json)
    if table.error:
        raise table.error


def _with_tokens(redactor: Redactor, *, is_quiet: bool) -> Mapping[str, str]:
    """Return the variables, with the Cloudflare tokens that a person pastes if there is none."""
    from ops.setup.init.accounts import token_variables
    from ops.setup.init.command import read_only_token_url

    if token_variables(os.environ, ()) or is_quiet or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return os.environ
    return {**os.environ, **ask_read_only_tokens(read_only_token_url(), redactor, without="stop")}


@click.command(
    cls=ExampleCommand,
    epilog="""
    ops last
    ops last --count 5
    """,
)
@click.option("--count", type=click.IntRange(1, 50), metavar="N", default=1, help="Number of runs to show (default: 1)")
@AS_JSON
@CONFIG
@click.pass_obj
def last(redactor: Redactor, /, *, count: int, as_json: bool, config: Path) -> None:
    """Show the newest runs: decision, change, undo and link.

    It reads the records in .ops/runs and, with GITHUB_TOKEN and GITHUB_REPOSITORY, the open incidents.
    """
    from ops.status.last_runs import NO_RESULT, read_last_runs, run_lines

    last_runs = read_last_runs(count, config, github_environ(config, redactor, is_quiet=as_json), redactor)
    if as_json:
        echo_json(last_runs.to_json())
        return
    for run in last_runs.runs:
        show_headline(run.state or NO_RESULT, run.headline, exit_code=run.exit_code)
        for line in run_lines(run, last_runs.read_at):
            echo_line(line)
    if not last_runs.runs:
        echo("No run is recorded here." if last_runs.has_read_local else "No run was read.")
    for note in last_runs.notes:
        echo_line(note, err=True)


@click.command(
    "check-outage",
    cls=ExampleCommand,
    epilog="""
    ops check-outage --environment production --incident 42
    ops check-outage api --environment production
    """,
)
@click.argument("service", default="", metavar="[SERVICE]", shell_complete=complete_service)
@ENVIRONMENT
@click.option("--incident", type=INCIDENT, help="Issue to post the verdict on, as one comment")
@AS_JSON
@CONFIG
@click.pass_obj
def check_outage(
    redactor: Redactor, /, *, service: str, environment: str, incident: int | None, as_json: bool, config: Path
) -> None:
    """Judge whether trouble is a provider's outage or our fault.

    The verdict is theirs, ours or unclear, with its signs: the status pages of Cloudflare and GitHub, Cloudflare's API,
    probes, deployments of the last hour, AI providers. Without SERVICE, it judges all services together. It changes
    nothing; with --incident it posts the verdict.
    """
    from ops.app.configuration import published_prefix, read_config
    from ops.status.outage import outage_lines, publish_outage, read_outage

    place = _choose_outage_place(service, environment, config, {"incident": incident, "json": as_json})
    environ = github_environ(config, redactor, is_quiet=as_json)
    report = read_outage(place, config, environ, redactor)
    if as_json:
        echo_json(report.to_json())
    else:
        for line in outage_lines(report):
            echo_line(line)
    program = published_prefix(environ, config, read_config(config)[0])
    if url := publish_outage(report, incident, program, environ, redactor):
        echo(url, err=as_json)
    if incident is not None:
        _renew_states([incident], config, environ, redactor)


def _choose_outage_place(service: str, environment: str, config: Path, options: Mapping[str, Any]) -> "Place":
    """Return the place to judge; without a service, all services of the environment count."""
    from ops.app.scope import Place

    if service:
        return choose_service_place("check-outage", service, environment, config, options)
    return Place(choose_environment_option("check-outage", environment, config, **options))


@click.command(
    cls=ExampleCommand,
    epilog="""
    ops watch --service api --environment production
    ops watch --service api --environment production --for 1h --incident 42
    ops watch --service api --service web --environment production
    ops watch --service api --environment production --closed --incident 42
    """,
)
@click.option(
    "--service", multiple=True, shell_complete=complete_service, help="Service, also several (default: the only one)"
)
@ENVIRONMENT
@click.option("--for", "duration", default="", help="Length, 2m to 2h (default: `watch` of ops.yml, 30m if it is off)")
@click.option("--incident", type=INCIDENT, help="Issue that shows the watch, and from which it continues")
@click.option("--closed", is_flag=True, help="Check every minute that a closed service stays closed, not its health")
@click.option("--stopped", is_flag=True, help="Continue the watches that lost their runner, and start none")
@AS_JSON
@CONFIG
@click.pass_obj
def watch(
    redactor: Redactor,
    /,
    *,
    service: tuple[str, ...],
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
        length = _parse_watch_length(duration) if duration else _configured_length(config)
        environ = github_environ(config, redactor, is_quiet=as_json)
        if stopped:
            watches = find_stopped(config, environ, redactor, incident)
        else:
            given = {"for": duration, "incident": incident, "closed": closed, "json": as_json}
            names = dict.fromkeys(each for names in service for each in names.split()) or [""]
            choose = partial(choose_service_place, "watch", is_argument=False)
            watches = [WatchPlace(choose(each, environment, config, given), incident, closed) for each in names]
        codes = _watch_places(watches, length, config, environ, redactor, as_json=as_json)
        if stopped and incident is None:
            _complete_reports([each.incident for each in watches if each.incident], config, environ, redactor)
    except OpsError as error:
        actions.write_job_outputs(os.environ, redactor.redact_value(actions.failure_outputs(error)))
        raise
    if not codes:
        echo("No watch has lost its runner.", err=as_json)
    _renew_states([each.incident for each in watches if each.incident], config, environ, redactor)
    return max(codes, default=0, key=_exit_code_urgency)


def _watch_places(
    watches: "list[WatchPlace]",
    length: timedelta,
    config: Path,
    environ: Mapping[str, str],
    redactor: Redactor,
    *,
    as_json: bool,
) -> list[int]:
    """Watch services, those of one environment side by side, show the results, and return exit codes. Raises OpsError.

    The outputs of the job are those of the most urgent result.
    """
    from ops.watch.start import watch_command_names, watch_services
    from ops.watch.text import next_step, watch_round_line

    def show_round(result: "WatchResult") -> None:
        echo_line(watch_round_line(result, is_one=len(watches) == 1))

    environments = dict.fromkeys(each.place.environment for each in watches)
    ended: list[tuple[WatchResult, str]] = []
    for environment in environments:
        here = [each for each in watches if each.place.environment == environment]
        results = watch_services(
            here,
            config,
            environ,
            redactor,
            duration=length,
            on_round=silent if as_json else show_round,
        )
        for each, result in zip(here, results, strict=True):
            names = watch_command_names(config, environ, each.incident)
            step = next_step(result, names)
            ended.append((result, step))
            _show_watch(result, step, docs=names.page(result), as_json=as_json)
    if ended:
        result, step = max(ended, key=lambda each: _exit_code_urgency(each[0].exit_code))
        is_published = all(each.is_published for each, _ in ended)
        outputs = _watch_outputs(replace(result, is_published=is_published), step)
        actions.write_job_outputs(os.environ, {key: redactor.redact_text(text) for key, text in outputs})
    return [result.exit_code for result, _ in ended]


def _exit_code_urgency(code: int) -> tuple[bool, bool, int]:
    """Return the key by which codes are ordered: a service that fails is more urgent than one without evidence."""
    return code == EXIT_CODES[Decision.RELAPSED], code == EXIT_CODES[Decision.STILL_UNHEALTHY], code


def _show_watch(result: "WatchResult", step: str, *, docs: str, as_json: bool) -> None:
    from ops.watch.text import watch_detail_lines, watch_headline

    if as_json:
        echo_json({**result.to_json(), "next": step, "docs": docs})
        return
    show_headline(result.decision or "", watch_headline(result), exit_code=result.exit_code)
    meaning = f"meaning of {result.reason}: {docs}" if docs else ""
    for line in (*watch_detail_lines(result), *filter(None, [step, meaning])):
        echo_line(f"  {line}")


def _complete_reports(incidents: list[int], config: Path, environ: Mapping[str, str], redactor: Redactor) -> None:
    """Renew the reports after their watches; a failure is shown and ends nothing."""
    from ops.report.build import write_report

    for number in dict.fromkeys(incidents):
        try:
            write_report(number, config, environ, redactor, only_if_recorded=False)
        except OpsError as error:
            echo(f"the report of #{number} is not renewed: {to_masked_line(error.message)}", err=True)


def _renew_states(incidents: list[int], config: Path, environ: Mapping[str, str], redactor: Redactor) -> None:
    """Renew the comments with the state of the incidents; a failure is shown and ends nothing."""
    from ops.report.state_comment import refresh_state

    for number in dict.fromkeys(incidents):
        if problem := refresh_state(number, config, environ, redactor):
            echo_line(problem, err=True)


def _watch_outputs(result: "WatchResult", step: str) -> Iterator[tuple[str, str]]:
    """Yield the outputs for later jobs of the same workflow run."""
    from ops.watch.text import watch_headline

    yield from (("decision", result.decision or ""), ("reason", result.reason or ""))
    yield from (("message", watch_headline(result)), ("hint", step))
    yield "answered", "true" if result.is_published else ""
    yield "deployment", result.state.deployment
    yield "ended_at", format_rfc3339(result.ended_at) if result.ended_at else ""


def _configured_length(path: Path) -> timedelta:
    """Return the length in ops.yml, or the default. Raises ConfigError."""
    from ops.app.configuration import read_config
    from ops.config.types import WatchConfig

    return timedelta(seconds=(read_config(path)[0].watch or WatchConfig()).duration)


def _parse_watch_length(text: str) -> timedelta:
    """Return the length of the watch. Raises ConfigError."""
    try:
        length = timedelta(seconds=parse_duration(text))
    except (ValueError, OverflowError):
        length = timedelta(0)
    if not SHORTEST_WATCH <= length <= LONGEST_WATCH:
        raise ConfigError(f'"{text[:40]}" is no length of a watch', hint="Use 2m to 2h, such as `--for 30m`.")
    return length


@click.command(
    "hand-over",
    cls=ExampleCommand,
    epilog="""
    ops hand-over
    ops hand-over --markdown
    """,
)
@ENVIRONMENT_FILTER
@AS_MARKDOWN
@AS_JSON
@CONFIG
@click.pass_obj
def hand_over(redactor: Redactor, /, *, environment: str, as_markdown: bool, as_json: bool, config: Path) -> None:
    """Show what the next person on call must know (read-only).

    Open incidents, watches, a stop, rollbacks, closed services, switches, temporary limits, holds and their ends, and
    when a drill is due. What could not be read says `unknown`, with exit code 4; 2 without a usable token.
    """
    from ops.report.hand_over import hand_over_lines, read_hand_over, render_hand_over

    is_quiet = is_for_machine(as_markdown=as_markdown, as_json=as_json)
    read = read_hand_over(environment, config, github_environ(config, redactor, is_quiet=is_quiet), redactor)
    print_result(read, hand_over_lines, render_hand_over, as_markdown=as_markdown, as_json=as_json)
    if read.error:
        raise read.error
