"""Guard a deployment from any CI: `ops guard`."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ops.cli.help import ExampleCommand
from ops.cli.options import (
    AS_JSON,
    CONFIG,
    ENVIRONMENT,
    choose_environment_option,
    choose_service_place,
    complete_service,
    github_environ,
)
from ops.cli.output import annotate, echo, echo_json, echo_line, show_headline, silent
from ops.core.clock import parse_duration
from ops.core.errors import ConfigError, OpsError, most_urgent_exit_code, page_of
from ops.core.redaction import Redactor
from ops.engine.runbook import params_type
from ops.github import actions

if TYPE_CHECKING:
    from ops.app.scope import Place
    from ops.config.sections import GuardConfig
    from ops.core.run import EndedRun
    from ops.watch.guard import GuardRequest, GuardResult
    from ops.watch.guard_end import GuardEnd

REPORT, ROLLBACK = "report", "rollback"
RUNBOOK = "rollback-worker"
REASON = "bad deployment, found by a guard"


@click.command(
    cls=ExampleCommand,
    epilog="""
    ops guard --service api --environment production
    ops guard --service api --environment production --for 15m --on-bad rollback
    ops guard --service api --environment production --commit 4f2a9c1 --json
    ops guard --environment production --recent
    """,
)
@click.option(
    "--service", default="", shell_complete=complete_service, help="Service in ops.yml (default: the only one)"
)
@ENVIRONMENT
@click.option("--for", "duration", default="", help="Time since the deployment, 10m to 1h (default: ops.yml, else 10m)")
@click.option(
    "--commit", default="", metavar="SHA", help="Commit of the deployment (default: GITHUB_SHA, if one has it)"
)
@click.option("--version", default="", metavar="ID", help="Version, or deployment of a site (default: the live one)")
@click.option(
    "--on-bad",
    default="",
    type=click.Choice(["", REPORT, ROLLBACK]),
    metavar="[report|rollback]",
    help="If it is bad: report it, or roll it back too (default: ops.yml, else report)",
)
@click.option("--recent", is_flag=True, help="Guard each recent deployment that no run made, of services with `guard`")
@AS_JSON
@CONFIG
@click.pass_obj
def guard(
    redactor: Redactor,
    /,
    *,
    service: str,
    environment: str,
    duration: str,
    commit: str,
    version: str,
    on_bad: str,
    recent: bool,
    as_json: bool,
    config: Path,
) -> int:
    """Judge a new deployment by its probes and error rate.

    A bad one fails the job, and opens an incident with the recovery menu. With --on-bad rollback it is rolled back too,
    if its probes and Cloudflare's figures about others both show it. Exit code 6: bad; 8: no evidence.
    """
    from ops.watch.guard import GuardRequest

    if recent:
        if named := [
            name for name, text in (("--commit", commit), ("--version", version), ("--on-bad", on_bad)) if text
        ]:
            raise click.UsageError(f"--recent guards all recent deployments, and only reports: omit {named[0]}.")
        return guard_recent(redactor, environment, service, config, as_json=as_json)
    given = {"for": duration, "commit": commit, "version": version, "on_bad": on_bad, "json": as_json}
    place = choose_service_place("guard", service, environment, config, given, is_argument=False)
    sha = "" if commit or version else os.environ.get("GITHUB_SHA", "")
    request = GuardRequest(version=version, commit=commit or sha, may_lack_commit=bool(sha))
    try:
        return _guard_one(place, request, redactor, duration=duration, on_bad=on_bad, config=config, as_json=as_json)
    except OpsError as error:
        actions.write_job_outputs(os.environ, redactor.redact_value(actions.failure_outputs(error)))
        raise


def _guard_one(
    place: "Place",
    request: "GuardRequest",
    redactor: Redactor,
    *,
    duration: str,
    on_bad: str,
    config: Path,
    as_json: bool,
) -> int:
    """Guard one deployment, report and roll it back if it is bad, and return the exit code. Raises OpsError."""
    from ops.app.configuration import load_config
    from ops.config.sections import GuardConfig
    from ops.watch.guard_start import GuardPlace, open_guards

    guarded = load_config(config, os.environ, redactor).environment(place.environment).service(place.service)
    settings = guarded.guard or GuardConfig()
    length, on_bad = _parse_guard_length(duration, settings), on_bad or settings.on_bad
    if on_bad == ROLLBACK and not guarded.worker:
        raise ConfigError(f"a guard rolls back no Pages site: {place.service}", hint="Use `--on-bad report`.")
    environ = github_environ(config, redactor, is_quiet=as_json)
    output, may_roll_back = _make_output(place, config, environ, redactor, as_json=as_json), False
    printer = _guard_printer(as_json=as_json)
    with open_guards(place.environment, config, environ, redactor, on_round=printer) as guards:
        (result,) = guards.run([GuardPlace(place, request, length)])
        if isinstance(result, OpsError):
            raise result
        output.show(result)
        if result.is_bad:
            output.end.report(result)
            objections = partial(_find_stop, output.end), partial(_find_trouble, output.end)
            may_roll_back = on_bad == ROLLBACK and output.end.permits_rollback(
                result, guards, output.show_wait, objections
            )
    if may_roll_back:
        output.roll_back(result)
    return output.finish(result)


def _find_stop(end: "GuardEnd") -> str:
    """Return the stop of all recoveries; empty without one. If it cannot be read, that is a note."""
    from ops.app.configuration import read_config
    from ops.gate.stop import find_stop

    return str(find_stop(read_config(end.config)[0], end.environ, end.redactor, end.note) or "")


def _find_trouble(end: "GuardEnd") -> str:
    from ops.status.outage import describe_trouble, read_outage

    return describe_trouble(read_outage(end.place, end.config, end.environ, end.redactor))


def guard_recent(redactor: Redactor, environment: str, service: str, config: Path, *, as_json: bool) -> int:
    """Guard the recent deployments of an environment side by side, and return the most urgent exit code.

    A deployment without evidence is no failure of a schedule: only its own job waits for one.
    """
    from ops.app.scope import Place
    from ops.watch.guard_start import open_guards

    environment = choose_environment_option("guard", environment, config, recent=True, json=as_json)
    environ = github_environ(config, redactor, is_quiet=as_json)
    codes = [0]
    with open_guards(environment, config, environ, redactor, on_round=_guard_printer(as_json=as_json)) as guards:
        places, failures = guards.find_recent(service)
        if not places and not failures:
            echo("No recent deployment is without a run of Backout.", err=as_json)
        for result in guards.run(places):
            if isinstance(result, OpsError):
                failures.append(result)
                continue
            output = _make_output(Place(environment, result.service), config, environ, redactor, as_json=as_json)
            output.show(result)
            if result.is_bad:
                output.end.report(result)
                codes.append(output.finish(result))
            elif as_json:
                output.finish(result)
    if failures and len(codes) == 1:
        raise failures[0]
    for error in failures:
        echo(f"error: {error.message}", err=True)
    return most_urgent_exit_code(codes)


def _parse_guard_length(text: str, settings: "GuardConfig") -> timedelta:
    """Return the length of the window. Raises ConfigError."""
    if not text:
        return settings.length
    try:
        length = timedelta(seconds=parse_duration(text))
    except (ValueError, OverflowError):
        length = timedelta(0)
    if not timedelta(minutes=10) <= length <= timedelta(hours=1):
        hint = "Use `--for 10m` to `--for 1h`: in less time, nothing can show that a deployment is good."
        raise ConfigError(f'"{text[:40]}" is no length of a guard', hint=hint)
    return length


def _guard_printer(*, as_json: bool) -> "Callable[[GuardResult], None]":
    """Return the listener that prints the start of the guard, and a line per minute."""

    def show_guard_round(result: "GuardResult") -> None:
        from ops.watch.guard import ROUNDS_PER_MINUTE
        from ops.watch.guard_end import guard_round_line, start_line

        if not result.state.rounds:
            echo_line(start_line(result), err=as_json)
        elif len(result.state.rounds) % ROUNDS_PER_MINUTE == 0 and not as_json:
            echo_line(guard_round_line(result))

    return show_guard_round


@dataclass
class _GuardOutput:
    """What the command prints and writes at the end of a guard, and the rollback that it starts."""

    end: "GuardEnd"
    as_json: bool
    rollback: "EndedRun | None" = None

    def show(self, result: "GuardResult") -> None:
        from ops.watch.guard_end import guard_detail_lines, guard_headline

        if self.as_json:
            return
        show_headline(result.verdict, guard_headline(result), exit_code=result.exit_code)
        for line in guard_detail_lines(result):
            echo_line(f"  {line}")

    def show_wait(self, text: str) -> None:
        echo_line(f"  Waiting for a second source: {text}", err=self.as_json)

    def roll_back(self, result: "GuardResult") -> None:
        """Run the runbook. It refuses if another deployment than the guarded one is live."""
        from ops.app.registry import load_runbook
        from ops.cli.runbook_command import start

        runbook, place = load_runbook(RUNBOOK), self.end.place
        params = params_type(runbook)(service=place.service, deployment=result.deployment.id, reason=REASON)
        given = {
            "environment": place.environment,
            "config": self.end.config,
            "incident": self.end.incident.number if self.end.incident else None,
            "began": result.deployment.created_on,
            "dry_run": False,
            "yes": True,
            "as_json": self.as_json,
            "at_end": self._keep_rollback,
            "is_part": True,
        }
        try:
            start(runbook, params, self.end.redactor, given)
        except OpsError as error:
            self.end.note(f"The rollback did not start: {error.message}. {error.hint}")

    def _keep_rollback(self, ended: "EndedRun") -> None:
        self.rollback = ended

    def finish(self, result: "GuardResult") -> int:
        """Print the result, write the outputs of the job, and return the exit code."""
        from ops.watch.guard_end import guard_headline

        step = self.end.next_step(result, self.rollback)
        docs = page_of(result.reason) if result.reason else ""
        if self.as_json:
            echo_json({**result.to_json(), **self._ended_json(), "next": step, "docs": docs})
        elif step:
            echo_line(f"  {step}")
        if result.exit_code:
            annotate("error", "ops guard", guard_headline(result))
        outputs = {
            "decision": result.decision or "",
            "reason": result.reason or "",
            "message": guard_headline(result),
            "hint": step,
            "deployment": result.deployment.id,
            "incident": str(self.end.incident.number) if self.end.incident else "",
        }
        actions.write_job_outputs(os.environ, self.end.redactor.redact_value(outputs))
        return result.exit_code

    def _ended_json(self) -> dict[str, Any]:
        ended, incident = self.rollback, self.end.incident
        return {
            "incident": incident.number if incident else None,
            "incident_url": incident.url if incident else "",
            "actions": self.end.notes,
            "rollback": ended and {"run": ended.id, "decision": ended.decision, "reason": ended.reason},
        }


def _make_output(
    place: "Place", config: Path, environ: Mapping[str, str], redactor: Redactor, *, as_json: bool
) -> _GuardOutput:
    from ops.watch.guard_end import GuardEnd

    show = silent if as_json else lambda text: echo(f"  {text}")
    job = actions.run_links(os.environ, None).get("run", "")
    return _GuardOutput(GuardEnd(place, config, environ, redactor, job, show), as_json)
