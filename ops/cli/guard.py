"""Guard a deployment from any CI: `ops guard`."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ops.cli.help import ExampleCommand
from ops.cli.options import (
    CONFIG,
    ENVIRONMENT,
    choose_environment,
    choose_service_place,
    complete_service,
    github_environ,
)
from ops.cli.output import annotate, echo, echo_json, one_line, show_headline
from ops.core.clock import parse_duration
from ops.core.errors import ConfigError, OpsError, UnclearWrite, most_urgent_exit_code, page_of
from ops.core.names import join_sentences
from ops.core.next_step import build_command
from ops.core.redaction import Redactor
from ops.github import actions

if TYPE_CHECKING:
    from ops.app.scope import Place
    from ops.config.sections import GuardConfig
    from ops.core.run import EndedRun
    from ops.watch.guard import GuardRequest, GuardResult
    from ops.watch.guard_incident import GuardIncident
    from ops.watch.guard_start import Guards

REPORT, ROLLBACK = "report", "rollback"
RUNBOOK = "rollback-worker"
REASON = "bad deployment, found by a guard"
CLOSED = "a person closed the incident of this deployment"


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
@click.option("--json", "as_json", is_flag=True, help="Print one JSON result")
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
    length, on_bad = _parse_length(duration, settings), on_bad or settings.on_bad
    if on_bad == ROLLBACK and not guarded.worker:
        raise ConfigError(f"a guard rolls back no Pages site: {place.service}", hint="Use `--on-bad report`.")
    environ = github_environ(config, redactor, is_quiet=as_json)
    ending, may_roll_back = GuardEnd(place, config, environ, redactor, as_json), False
    printer = _printer(as_json=as_json)
    with open_guards(place.environment, config, environ, redactor, on_round=printer) as guards:
        (result,) = guards.run([GuardPlace(place, request, length)])
        if isinstance(result, OpsError):
            raise result
        ending.show(result)
        if result.is_bad:
            ending.report(result)
            may_roll_back = on_bad == ROLLBACK and ending.permits_rollback(result, guards)
    if may_roll_back:
        ending.roll_back(result)
    return ending.finish(result)


def guard_recent(redactor: Redactor, environment: str, service: str, config: Path, *, as_json: bool) -> int:
    """Guard the recent deployments of an environment side by side, and return the most urgent exit code.

    A deployment without evidence is no failure of a schedule: only its own job waits for one.
    """
    from ops.app.scope import Place
    from ops.watch.guard_start import open_guards

    environment = choose_environment("guard", environment, config, recent=True, json=as_json)
    environ = github_environ(config, redactor, is_quiet=as_json)
    codes = [0]
    with open_guards(environment, config, environ, redactor, on_round=_printer(as_json=as_json)) as guards:
        places, failures = guards.find_recent(service)
        if not places and not failures:
            echo("No recent deployment is without a run of Backout.", err=as_json)
        for result in guards.run(places):
            if isinstance(result, OpsError):
                failures.append(result)
                continue
            ending = GuardEnd(Place(environment, result.service), config, environ, redactor, as_json)
            ending.show(result)
            if result.is_bad:
                ending.report(result)
                codes.append(ending.finish(result))
            elif as_json:
                ending.finish(result)
    if failures and len(codes) == 1:
        raise failures[0]
    for error in failures:
        echo(f"error: {error.message}", err=True)
    return most_urgent_exit_code(codes)


def _parse_length(text: str, settings: "GuardConfig") -> timedelta:
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


def _printer(*, as_json: bool) -> "Callable[[GuardResult], None]":
    """Return the listener that prints the start of the guard, and a line per minute."""

    def show(result: "GuardResult") -> None:
        from ops.watch.guard import ROUNDS_PER_MINUTE
        from ops.watch.guard_text import round_line, start_line

        if not result.state.rounds:
            echo(one_line(start_line(result)), err=as_json)
        elif len(result.state.rounds) % ROUNDS_PER_MINUTE == 0 and not as_json:
            echo(one_line(round_line(result)))

    return show


@dataclass
class GuardEnd:
    """End of a guard: what it shows, opens and starts."""

    place: "Place"
    config: Path
    environ: Mapping[str, str]
    redactor: Redactor
    as_json: bool
    incident: "GuardIncident | None" = None
    notes: list[str] = field(default_factory=list)
    """Sentences about the incident and the rollback."""
    rollback: "EndedRun | None" = None
    is_not_the_cause: bool = False
    """Whether a rollback mends nothing, as the evidence for it shows."""

    def show(self, result: "GuardResult") -> None:
        from ops.watch.guard_text import detail_lines, headline

        if self.as_json:
            return
        show_headline(result.verdict, headline(result), exit_code=result.exit_code)
        for line in detail_lines(result):
            echo(one_line(f"  {line}"))

    def report(self, result: "GuardResult") -> None:
        """Open the incident, or find it; else show how a person opens it."""
        from ops.watch.guard_incident import open_guard_incident, prefilled_link

        job = actions.run_links(os.environ, None).get("run", "")
        try:
            opened = open_guard_incident(result, self.config, self.environ, self.redactor, job=job)
        except OpsError as error:
            is_unclear = isinstance(error, UnclearWrite)
            what = "It is not known whether an incident was opened" if is_unclear else "No incident was opened"
            how = "If there is none, open it" if is_unclear else "Open it"
            link = prefilled_link(result, self.environ, self.redactor, job=job)
            self._note(f"{what}: {error.message}. {f'{how}: {link}' if link else error.hint}")
            return
        self.incident = opened
        state = "opened" if opened.is_new else "closed by a person" if opened.is_closed else "open already"
        self._note(f"Incident #{opened.number} ({state}): {opened.url}")

    def permits_rollback(self, result: "GuardResult", guards: "Guards") -> bool:
        """Return whether the deployment may be rolled back; else show why not."""
        from ops.status.outage import describe_trouble, read_outage

        if self.incident is not None and self.incident.is_closed:
            return self._refuse(CLOSED)
        if not result.has_failing_probes:
            return self._refuse("the probes do not fail, and Cloudflare's figures are one source only")
        show = lambda text: echo(one_line(f"  Waiting for a second source: {text}"), err=self.as_json)  # noqa: E731
        evidence = guards.wait_for_second_source(result, show)
        self.is_not_the_cause = evidence.is_not_the_cause
        if objection := evidence.objection or self._find_objection():
            return self._refuse(objection)
        if trouble := describe_trouble(read_outage(self.place, self.config, self.environ, self.redactor)):
            return self._refuse(trouble)
        self._note(f"A second source shows it too: {evidence.source.text}")
        return True

    def _find_objection(self) -> str:
        """Return why people want no rollback: a stop, or a closed incident. What cannot be read is a warning."""
        from ops.app.configuration import read_config
        from ops.gate.stop import find_stop
        from ops.github.client import connect, provider_errors

        if stop := find_stop(read_config(self.config)[0], self.environ, self.redactor, self._note):
            return str(stop)
        if self.incident is None:
            return ""
        try:
            with provider_errors():
                issue = connect(self.environ, self.redactor, read_only=True).get_issue(self.incident.number)
        except OpsError as error:
            self._note(f"warning: cannot check whether the incident is closed ({error.message})")
            return ""
        return CLOSED if issue.state == "closed" else ""

    def roll_back(self, result: "GuardResult") -> None:
        """Run the runbook. It refuses if another deployment than the guarded one is live."""
        from ops.app.registry import load_runbook
        from ops.cli.runbook_command import start

        runbook = load_runbook(RUNBOOK)
        params = runbook.params(service=self.place.service, deployment=result.deployment.id, reason=REASON)
        given = {
            "environment": self.place.environment,
            "config": self.config,
            "incident": self.incident.number if self.incident else None,
            "began": result.deployment.created_on,
            "dry_run": False,
            "yes": True,
            "as_json": self.as_json,
            "at_end": self._keep_rollback,
            "is_part": True,
        }
        try:
            start(runbook, params, self.redactor, given)
        except OpsError as error:
            self._note(f"The rollback did not start: {error.message}. {error.hint}")

    def _keep_rollback(self, ended: "EndedRun") -> None:
        self.rollback = ended

    def finish(self, result: "GuardResult") -> int:
        """Print the result, write the outputs of the job, and return the exit code."""
        from ops.watch.guard_text import headline

        step = self._next_step(result)
        docs = page_of(result.reason) if result.reason else ""
        if self.as_json:
            echo_json({**result.to_json(), **self._ended_json(), "next": step, "docs": docs})
        elif step:
            echo(one_line(f"  {step}"))
        if result.exit_code:
            annotate("error", "ops guard", headline(result))
        outputs = {
            "decision": result.decision or "",
            "reason": result.reason or "",
            "message": headline(result),
            "hint": step,
            "deployment": result.deployment.id,
            "incident": str(self.incident.number) if self.incident else "",
        }
        actions.write_job_outputs(os.environ, self.redactor.redact_value(outputs))
        return result.exit_code

    def _ended_json(self) -> dict[str, Any]:
        ended = self.rollback
        return {
            "incident": self.incident.number if self.incident else None,
            "incident_url": self.incident.url if self.incident else "",
            "actions": self.notes,
            "rollback": ended and {"run": ended.id, "decision": ended.decision, "reason": ended.reason},
        }

    def _next_step(self, result: "GuardResult") -> str:
        """Return how a person goes on; empty if nothing is left to do."""
        from ops.app.configuration import published_prefix, read_config

        program, *more = published_prefix(self.environ, self.config, read_config(self.config)[0])
        where: dict[str, Any] = {"service": self.place.service, "environment": self.place.environment}
        options = {**where, "incident": self.incident.number if self.incident else None}
        if self.rollback is not None and self.rollback.exit_code:
            ended = f"The rollback ended as {self.rollback.decision}: {self.rollback.message}"
            return join_sentences(ended, self.rollback.hint)
        if self.rollback is not None:
            watch = build_command(program, "watch", options, *more)
            return f"The next deployment of this code is bad again. To see a relapse: `{watch}`"
        if result.is_bad and not self.is_not_the_cause:
            return f"Roll it back: `{build_command(program, f'rollback-{result.kind}', options, *more)}`"
        if result.exit_code:
            return f"Look at the service: `{build_command(program, 'versions', where, *more)}`"
        return ""

    def _refuse(self, why: str) -> bool:
        self._note(f"No rollback: {why}")
        return False

    def _note(self, text: str) -> None:
        text = self.redactor.redact_text(one_line(text)).strip()
        self.notes.append(text)
        if not self.as_json:
            echo(f"  {text}")
