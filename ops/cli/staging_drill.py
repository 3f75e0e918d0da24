"""Rehearse a recovery on staging: `ops staging-drill`."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.cli.help import ExampleGroup
from ops.cli.options import AS_JSON, CONFIG, YES_HELP, github_environ
from ops.cli.output import echo_json, echo_line, json_event, text_event
from ops.cli.runbook_command import confirm_name, run_and_show
from ops.core.errors import EXIT_CODES, IMPLICIT_DRY_RUN, Decision, OpsError
from ops.core.redaction import Redactor

if TYPE_CHECKING:
    from ops.scheduled.staging_drill.drill import DrillEnd, StagingDrill


@click.group("staging-drill", cls=ExampleGroup)
def staging_drill() -> None:
    """Rehearse a recovery on staging: break it harmlessly, recover it, undo all."""


@staging_drill.command(
    "run",
    epilog="""
    ops staging-drill run --dry-run
    ops staging-drill run
    ops staging-drill run --yes
    """,
)
@click.option("--dry-run", is_flag=True, help="Check and show the plan, change nothing")
@click.option("--yes", "-y", is_flag=True, help=YES_HELP)
@click.option("--again", is_flag=True, help="Start although somebody stopped the last drill")
@AS_JSON
@CONFIG
@click.pass_obj
def run_drill(redactor: Redactor, /, *, dry_run: bool, yes: bool, again: bool, as_json: bool, config: Path) -> int:
    """Deploy a harmless bad version on staging, wait for its recovery, and undo.

    It refuses what may be production's, and while an incident is open. Exit code 0: passed; 6: failed; 8: no evidence.
    """
    is_interactive = sys.stdin.isatty() and sys.stdout.isatty() and not as_json
    with _open_drill(config, redactor, as_json=as_json) as drill:
        for line in drill.describe():
            drill.say(line)
        drill.check(again=again)
        if dry_run or not (yes or is_interactive):
            drill.say("nothing was changed" if dry_run else "nothing was changed: add --yes to start the drill")
            return 0 if dry_run else IMPLICIT_DRY_RUN
        if not yes:
            confirm_name(drill.place.service, f" in {drill.place.environment}")
        end = drill.run(partial(_run_recovery, drill, redactor, as_json=as_json))
        _publish_end(drill, end, redactor)
        if as_json:
            echo_json(end.to_json())
        return end.exit_code


@staging_drill.command(
    "resume",
    epilog="""
    ops staging-drill resume
    ops staging-drill resume --now
    """,
)
@click.option("--now", is_flag=True, help="End running drills too (default: those older than 40 minutes)")
@click.option("--own", is_flag=True, help="In a job: also end the drill that this workflow run started")
@AS_JSON
@CONFIG
@click.pass_obj
def resume_drill(redactor: Redactor, /, *, now: bool, own: bool, as_json: bool, config: Path) -> int:
    """Undo and close drills that were left open, such as by a killed job."""
    with _open_drill(config, redactor, as_json=as_json) as drill:
        return _end_all(drill, redactor, "own" if own else "all" if now else "old", as_json=as_json)


@staging_drill.command("stop", epilog="ops staging-drill stop --reason 'staging is needed for a release'")
@click.option("--reason", default="", metavar="TEXT", help="Reason, shown on the drill's incident")
@AS_JSON
@CONFIG
@click.pass_obj
def stop_drill(redactor: Redactor, /, *, reason: str, as_json: bool, config: Path) -> int:
    """End the running drill now, and start no other one until `run --again`."""
    with _open_drill(config, redactor, as_json=as_json) as drill:
        return _end_all(
            drill,
            redactor,
            "all",
            stop=redactor.redact_text(reason.strip()) or "no reason was given",
            as_json=as_json,
        )


@contextmanager
def _open_drill(config: Path, redactor: Redactor, *, as_json: bool) -> "Iterator[StagingDrill]":
    from ops.scheduled.staging_drill.drill import open_staging_drill

    environ = github_environ(config, redactor, is_quiet=as_json)
    say: Callable[[str], object] = partial(echo_line, err=as_json)
    with open_staging_drill(config, environ, redactor, say=say, sink=json_event if as_json else text_event) as drill:
        yield drill


def _run_recovery(drill: "StagingDrill", redactor: Redactor, number: int, *, as_json: bool) -> int:
    """Run the command of the recovery, as a person would."""
    from ops.app.registry import load_runbook
    from ops.app.run import RunRequest
    from ops.engine.runbook import params_type
    from ops.scheduled.staging_drill.drill import RECOVERY

    runbook = load_runbook(RECOVERY)
    params = params_type(runbook)(service=drill.section.service, reason="staging drill")
    request = RunRequest(
        runbook=runbook,
        params=params,
        environment=drill.section.environment,
        config=drill.path,
        incident=number,
        is_part=True,
    )
    return run_and_show(request, redactor, dry_run=False, yes=True, as_json=as_json, verbose=True)


def _end_all(drill: "StagingDrill", redactor: Redactor, which: str, *, stop: str = "", as_json: bool) -> int:
    """End the drills, publish the ends, and return the exit code: 5 if one is not undone, 4 if GitHub lacks an end."""
    from ops.core.drill_result import DrillOutcome
    from ops.scheduled.staging_drill.drill import WhichDrills

    stopped = (DrillOutcome.STOPPED, f"it was stopped: {stop}") if stop else None
    ends, is_undone = drill.end_left(WhichDrills(which), stopped)
    is_published = [_publish_end(drill, end, redactor, is_stopped=bool(stop)) for end in ends]
    if not ends:
        drill.say(_describe_next(drill) if stop else "no drill is left to end")
    if as_json:
        echo_json({"schema": 1, "undone": is_undone, "drills": [end.to_json() for end in ends]})
    if not is_undone:
        return EXIT_CODES[Decision.UNKNOWN_OUTCOME]
    return 0 if all(is_published) else EXIT_CODES[Decision.FAILED]


def _describe_next(drill: "StagingDrill") -> str:
    """Return whether the next drill starts, after a stop that ended none."""
    if stopped := drill.find_stopped():
        return f"no drill is open; #{stopped.number} was stopped, so none starts until `ops staging-drill run --again`"
    return "no drill is open; the next one still starts: to prevent it, remove `staging_drill.schedule` from ops.yml"


def _publish_end(drill: "StagingDrill", end: "DrillEnd", redactor: Redactor, *, is_stopped: bool = False) -> bool:
    """Report the end on GitHub, and print it. Return whether GitHub has all of it.

    After a failure there, the incident stays open for another try.
    """
    is_published, again = True, "stop" if is_stopped else "resume --now"
    for name, publish in _list_publications(drill, end, redactor, is_stopped=is_stopped).items():
        try:
            publish()
        except OpsError as error:
            drill.say(f"warning: {name} is missing ({error.message}); `ops staging-drill {again}` tries again")
            is_published = False
            break
    drill.say(f"drill #{end.incident} {end.outcome.value}: {end.why}")
    drill.say(f"  undo: {end.undo}")
    if not end.is_undone:
        drill.say(f"  the bad version may still be live on staging: `ops staging-drill {again}` tries again")
    return is_published


def _list_publications(
    drill: "StagingDrill", end: "DrillEnd", redactor: Redactor, *, is_stopped: bool
) -> "Mapping[str, Callable[[], object]]":
    """Return what is written about the end, in this order. A drill that is not undone stays open."""
    from ops.report.build import write_report
    from ops.report.drill_trend import publish_drill_result
    from ops.scheduled.staging_drill import incident

    number, links = end.incident, list[str]()

    def report_drill() -> None:
        if written := write_report(number, drill.path, drill.environ, redactor, only_if_recorded=False):
            links.append(written.url)

    def publish_drill() -> None:
        result = replace(end.result, report=next(iter(links), ""))
        drill.say(f"result: {publish_drill_result(result, drill.config, drill.environ, redactor)}")

    def close() -> None:
        lifts_hold = drill.service.hold_check
        incident.close_drill(drill.repository, number, is_stopped=is_stopped, lifts_hold=lifts_hold)

    if end.was_closed:
        return {}
    steps: dict[str, Callable[[], object]] = {
        "the comment": lambda: incident.comment_on_drill(drill.repository, number, incident.END, end=end),
        "the report": report_drill,
        "the result": publish_drill,
    }
    return {**steps, "the end of the incident": close} if end.is_undone else steps
