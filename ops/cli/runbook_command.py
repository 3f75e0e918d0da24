"""Build the command of a runbook from its Params, and print runs as text or JSON."""

import dataclasses
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ops.app.registry import runbook_names
from ops.cli.help import EXAMPLE_ENVIRONMENT, PROGRAM, ExampleCommand
from ops.cli.options import (
    DEFAULT,
    choose_runbook_place,
    common_options,
    complete_choice,
    complete_service,
    complete_version,
    github_environ,
    override_option,
)
from ops.cli.output import (
    CAUTION,
    annotate,
    clear_wait,
    echo,
    echo_json,
    echo_line,
    json_event,
    show_headline,
    silent,
    take_lost_output,
    text_event,
    text_width,
    to_masked_line,
)
from ops.core.errors import PROVED, ConfigError, Decision, Interrupted, OpsError, Reason, Refused, page_of
from ops.core.next_step import build_command
from ops.core.plan import Plan
from ops.core.redaction import Redactor
from ops.core.run import EndedRun
from ops.core.threads import run_in_time, start_call
from ops.engine.engine import RunOptions
from ops.engine.runbook import Runbook, has_job, params_type
from ops.engine.signals import PROCESS_SIGNALS, SignalHandler, unwrap_signal
from ops.github import actions
from ops.github.client import is_configured
from ops.render import PLAN_WARNING, format_plan, format_result

if TYPE_CHECKING:
    from ops.app.run import RunRequest
    from ops.core.plan import RunOutcome

PROBE_WAIT_BEFORE_CONFIRMATION = 3.0
"""Seconds. A person who must confirm should first see the results of the probes."""
INCIDENT_WAIT = 1.0
"""Seconds. After that, the question appears without an answer of GitHub."""
PROBE_WAIT = 0.25
"""Seconds. A fast plan waits this long, at most, for the probes before the change."""


SERVICE = "service"
OVERRIDE = "override"
"""The word that a person types behind the name, to go on although recoveries are stopped."""
HOW = {"dry_run", "yes", "as_json", "override_stop", "permit", "at_end", "verbose"}
"""Parameters of `run`; the others of a command are fields of RunRequest."""


def runbook_command(runbook: Runbook[Any]) -> click.Command:
    """Return the command of a runbook, with its Params and the common options as options."""
    fields = dataclasses.fields(params_type(runbook))
    names = [field.name for field in fields]
    stop_options = [override_option()] if runbook.name in runbook_names() else []

    @click.pass_obj
    def command(redactor: Redactor, /, **given: Any) -> int:
        values = {name: given.pop(name) for name in names}
        try:
            place = choose_runbook_place(runbook, _as_typed(values, given), given["config"])
        except OpsError as error:
            if given["as_json"]:
                echo_json(error_json(error))
            raise
        values |= {SERVICE: place.service} if SERVICE in values else {}
        given["environment"] = place.environment
        return start(runbook, params_type(runbook)(**values), redactor, given)

    return ExampleCommand(
        runbook.name,
        params=[*[_parameter_option(field) for field in fields], *common_options(), *stop_options],
        callback=command,
        help=runbook.__doc__,
        epilog="\n".join(_example_commands(runbook)),
    )


def _as_typed(values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options of a run under the names that people type, without --config."""
    return {**values, **given, "json": given["as_json"], "as_json": False, "config": None}


def _example_commands(runbook: Runbook[Any]) -> Iterator[str]:
    """Yield commands with the runbook's own example."""
    given = {name: value for name, value in vars(runbook.example).items() if name != "one_person"}  # no default way
    options = {**given, "environment": EXAMPLE_ENVIRONMENT}
    if not runbook.incident_use.is_required:
        yield build_command(PROGRAM, runbook.name, {**options, "dry_run": True})
    yield build_command(PROGRAM, runbook.name, {**options, "incident": 42})


def _parameter_option(field: "dataclasses.Field[Any]") -> click.Option:
    if isinstance(field.default, bool):
        return click.Option([f"--{field.name.replace('_', '-')}"], is_flag=True, help=field.metadata["help"])
    is_repeatable = isinstance(field.default, tuple)
    # click treats a default of None as a default, and an option with a default is never missing.
    default: dict[str, Any] = (
        {"required": True}
        if field.default is dataclasses.MISSING and field.name != SERVICE
        else {"default": "" if field.name == SERVICE else field.default, "show_default": False}
    )
    return click.Option(
        [f"--{field.name.replace('_', '-')}"],
        help=field.metadata["help"] + (f" ({DEFAULT})" if field.name == SERVICE else ""),
        multiple=is_repeatable,
        shell_complete=_choose_completion(field),
        callback=_split_values if is_repeatable else None,
        metavar="NAME" if is_repeatable else "TEXT",
        **default,
    )


def _choose_completion(field: "dataclasses.Field[Any]") -> "Callable[[click.Context, click.Parameter, str], list[Any]]":
    """Return the function that completes the values of a parameter in a shell."""
    if field.metadata["names_version"]:
        return complete_version
    return complete_service if field.name == SERVICE else complete_choice


def _split_values(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Split the values at commas and spaces: a button has only one field for a repeatable option."""
    return tuple(name for value in values for name in re.split(r"[,\s]+", value) if name)


def start(runbook: Runbook[Any], params: Any, redactor: Redactor, given: Mapping[str, Any]) -> int:
    """Run a runbook by the `common_options` that a person or job gave. `given` may have other fields of RunRequest."""
    from ops.app.run import RunRequest

    how = {name: value for name, value in given.items() if name in HOW}
    fields = {name: value for name, value in given.items() if name not in how}
    return run_and_show(RunRequest(runbook=runbook, params=params, **fields), redactor, **how)


def run_and_show(
    request: "RunRequest",
    redactor: Redactor,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    override_stop: bool = False,
    permit: Callable[[], object] = lambda: None,
    at_end: "Callable[[EndedRun], object]" = lambda _: None,
    verbose: bool = False,
) -> int:
    """Run a runbook, print and record it, and return the exit code. `at_end` is called last.

    `verbose`: cut no list of the plan. The command of which the run is a part prints the JSON result.
    """
    from ops.app.run import run_runbook, write_run_summary

    runbook, environment, config = request.runbook, request.environment, request.config
    is_interactive = sys.stdin.isatty() and sys.stdout.isatty() and not as_json
    name = getattr(request.params, SERVICE, "") or runbook.name
    environ, sink = github_environ(config, redactor, is_quiet=as_json), json_event if as_json else text_event
    asks = is_interactive and not (dry_run or yes)
    find_missing = _start_incident_check(request, environ, redactor) if asks else str
    options = RunOptions(
        dry_run=dry_run or not (yes or is_interactive),
        is_implicit_dry_run=not (dry_run or yes or is_interactive),
        confirm=_name_prompt(name, environment, find_missing) if asks else _always_confirm,
        override=_override_prompt(name, environment, is_given=override_stop, has_prompt=not yes),
        show_plan=silent if as_json else _request_plan_printer(request, is_whole=verbose),
        probe_wait=PROBE_WAIT if yes else PROBE_WAIT_BEFORE_CONFIRMATION,
        pause=lambda: _pause_in_outage(request, redactor),
        permit=permit,
    )
    with PROCESS_SIGNALS.in_run() as signals:
        with _reports_early_end(request, options, environ, redactor, signals, as_json=as_json):
            result, configuration = run_runbook(request, environ, redactor, sink=sink, options=options, signals=signals)
        actions.write_job_outputs(environ, _run_outputs(request, result, configuration))
        record, problem = write_run_summary(result, configuration.contacts, config, environ, redactor)
        publications = None if options.dry_run else runbook.publications
        published = publications.result(result, environ, redactor) if publications else ()
        for line in (*published, *([f"warning: {problem}"] if problem else [])):
            echo(line, err=True)
        if not (request.is_part and as_json):
            _show_end(request, result, configuration, record, as_json=as_json)
    if options.dry_run and request.incident and not as_json and not request.is_part:
        _show_changes(request.incident, config, environ, redactor)
    at_end(result)
    return result.exit_code


def _show_changes(incident: int, config: Path, environ: Mapping[str, str], redactor: Redactor) -> None:
    """Print behind a plan what changed before the incident. A run that writes reads none of it."""
    from ops.status.recent_changes import SECONDS, read_changes_before

    if not is_configured(environ):
        return
    read = run_in_time({incident: partial(read_changes_before, incident, config, environ, redactor)}, 1, SECONDS)
    unknown = f"Changed before it broke: not read within {SECONDS:g} s. Run `ops incident changes {incident}`."
    for line in read[incident].lines() if incident in read else (unknown,):
        echo_line(line)


def _pause_in_outage(request: "RunRequest", redactor: Redactor) -> "RunOutcome | None":
    """Return the end of a run that a schedule started during an outage of Cloudflare; None if it goes on."""
    schedule = request.runbook.schedule
    if os.environ.get("GITHUB_EVENT_NAME") != "schedule" or schedule is None or not schedule.pauses:
        return None
    from ops.status.outage import pause_in_outage

    return pause_in_outage(request.environment, request.config, os.environ, redactor)


def _show_end(
    request: "RunRequest",
    result: EndedRun,
    configuration: Any,
    record: Path | None,
    *,
    as_json: bool,
) -> None:
    """Print the result, and for people the next steps. The record holds what cannot be printed."""
    if as_json:
        echo_json(_result_json(result, configuration))
    else:
        show_result(result, configuration)
        _show_next_steps(result, record, has_opened=request.incident is None and result.incident is not None)
    take_lost_output()


@contextmanager
def _reports_early_end(
    request: "RunRequest",
    options: RunOptions,
    environ: Mapping[str, str],
    redactor: Redactor,
    signals: SignalHandler,
    *,
    as_json: bool,
) -> Iterator[None]:
    """Report and publish the error that ends a run before its first step; with --json, print it first."""
    try:
        yield
    except Exception as raised:
        if not isinstance(error := unwrap_signal(raised), OpsError):
            raise
        signals.stop_raising()
        write_failure_outputs(error, redactor)
        if isinstance(error, Interrupted):  # later, the engine turns it into a result
            error.message += " before its first step; it changed nothing"
        publications = None if options.dry_run else request.runbook.publications
        for line in publications.early_end(error, request.environment, environ, redactor) if publications else ():
            echo(line, err=True)
        if as_json:
            echo_json(error_json(error))
        raise error from None


def write_failure_outputs(error: OpsError, redactor: Redactor) -> None:
    """Write the outputs of a run that did not begin, for the job that answers the requester."""
    outputs = {"decision": Decision.REFUSED.value, **actions.failure_outputs(error)}
    actions.write_job_outputs(
        os.environ, redactor.redact_value({name: outputs.get(name, "") for name in actions.RUN_OUTPUTS})
    )


def _result_json(result: EndedRun, configuration: Any) -> dict[str, Any]:
    contacts = [contact.model_dump() for contact in configuration.contacts] if result.needs_people else []
    return {**result.to_json(), "contacts": contacts}


def _run_outputs(request: "RunRequest", result: EndedRun, configuration: Any) -> dict[str, str]:
    """Return the outputs for later jobs of the same workflow run."""
    from ops.app.run import closed_service, watched_services

    end = result.full_plan.ends_at if result.full_plan and result.wrote else None
    values = {name: str(getattr(result, name, "") or "") for name in actions.RUN_OUTPUTS}
    values |= {
        "run": result.id,
        "watch": watched_services(request, result, configuration),
        "closed": closed_service(request, result, configuration),
    }
    values |= {"answered": "true" if result.is_answered else ""}
    return {**values, "ends_at": end.isoformat() if end and has_job(end, request.ends_by) else ""}


def error_json(error: OpsError) -> dict[str, Any]:
    return {
        "schema": 1,
        "decision": (error.decision or Decision.FAILED).value,
        "reason": error.reason.value,
        "exit_code": error.exit_code,
        "message": error.message,
        "hint": error.hint,
        "docs": page_of(error.reason),
        "problems": list(error.problems) if isinstance(error, ConfigError) else [],
    }


def plan_heading(runbook: str, service: str, environment: str) -> str:
    return " ".join(filter(None, ["Plan:", runbook, service, "in", environment]))


def _request_plan_printer(request: "RunRequest", *, is_whole: bool) -> Callable[[Plan], None]:
    service = getattr(request.params, SERVICE, "")
    return plan_printer(plan_heading(request.runbook.name, service, request.environment), is_whole=is_whole)


def plan_printer(heading: str, *, is_whole: bool) -> Callable[[Plan], None]:
    """Return the function that prints a plan; `is_whole` or in a job, with its long lists."""

    def show_plan_once(plan: Plan) -> None:
        whole = is_whole or actions.is_job(os.environ)
        first, *lines = format_plan(plan, heading=heading, width=text_width(), is_whole=whole)
        echo(f"\n{first}", bold=True)
        for line in lines:
            echo(line, fg=CAUTION if line.startswith(PLAN_WARNING) else None)
        echo("")

    return show_plan_once


def _always_confirm(_plan: Plan) -> bool:
    return False


def _name_prompt(name: str, environment: str, find_missing: Callable[[], str]) -> Callable[[Plan], bool]:
    """Return the question, with the change right above it: the plan may be longer than the terminal."""

    def ask_confirmation(plan: Plan) -> bool:
        clear_wait()
        echo_line(plan.summary, bold=True)
        if missing := find_missing():
            echo(missing, fg=CAUTION)
        confirm_name(name, f" in {environment}")
        return True

    return ask_confirmation


def _start_incident_check(request: "RunRequest", environ: Mapping[str, str], redactor: Redactor) -> Callable[[], str]:
    """Start to read whether the incident exists. Return a function that returns a warning if the token sees none.

    Only a person at the question can correct the number. With --yes the recovery goes on: it counts more than its
    record, which stays on this machine.
    """
    from ops.github.issues import is_missing

    number = request.incident
    if number is None or not is_configured(environ):
        return str
    reading = start_call(partial(is_missing, number, environ, redactor))

    def find_exposed_in_command() -> str:
        with suppress(Exception):  # without an answer, the run's own warnings say so
            if reading.result(timeout=INCIDENT_WAIT):
                shown = f"GitHub shows no issue #{number} of {environ['GITHUB_REPOSITORY']} to this token"
                return f"{shown}: press Ctrl-C to correct the number. Else the record stays on this machine."
        return ""

    return find_exposed_in_command


def _override_prompt(name: str, environment: str, *, is_given: bool, has_prompt: bool) -> Callable[[str], bool]:
    """Return what lets a run go on although recoveries are stopped: a typed text; without a prompt, the option."""

    def confirm_stop_override(stop: str) -> bool:
        if has_prompt:
            clear_wait()
            echo_line(stop[:1].upper() + stop[1:], fg=CAUTION, err=True)
            confirm_name(f"{name} {OVERRIDE}", f" in {environment}")
        elif not is_given:
            hint = "Ask there first. To recover anyway, start the same command with --override-stop."
            raise Refused(stop, reason=Reason.STOPPED, hint=hint)
        return has_prompt

    return confirm_stop_override


def confirm_name(name: str, where: str = "") -> None:
    """Ask a person to type the name. Raises Refused."""
    clear_wait()
    try:
        typed = click.prompt(f'Type "{name}" to go on{where}', default="", show_default=False)
    except (click.Abort, OSError):  # end of input, or the terminal is gone
        typed = ""
    if typed.strip() != name:
        hint = "Start the command again when you are sure."
        raise Refused(f'not confirmed: "{name}" was not typed', reason=Reason.NOT_CONFIRMED, hint=hint)


def show_result(result: EndedRun, configuration: Any) -> None:
    is_proved = result.decision in PROVED
    show_headline(
        result.state if is_proved else result.decision,
        result.headline if is_proved else result.message,
        exit_code=result.exit_code,
    )
    below = [to_masked_line(f"  {result.explanation}")] if is_proved and result.explanation else []
    lines = [*below, *format_result(result, map(str, configuration.contacts), width=text_width())]
    echo("\n".join(lines))
    word = result.state.lower() if is_proved else result.decision.replace("_", " ")
    title = f"{result.runbook} on {result.service} in {result.environment}: {word}"
    if result.exit_code == 0:
        annotate("warning" if result.decision == Decision.HEALTHY_AS_BEFORE else "notice", title, result.message)
    else:
        annotate("error", title, result.message)


def _show_next_steps(result: EndedRun, record: Path | None, *, has_opened: bool) -> None:
    """Print the path of the record, the incident that the run opened, and the next command."""
    from ops.app.configuration import program_name
    from ops.app.run_files import import_command

    echo(f"  record: {os.path.relpath(record)}" if record else "  no record was written")
    if has_opened and "incident" in result.links:
        echo(f"  opened the incident: {result.links['incident']}")
    if result.decision == Decision.PLANNED or actions.is_job(os.environ):
        return
    program = program_name(os.environ)
    if result.incident and result.is_recorded:
        echo(f"  then, the post-incident report: {program} incident report {result.incident}")
    elif record and (result.wrote or result.incident):
        where = (
            f"it is not on incident #{result.incident}; to post it" if result.incident else "to add it to an incident"
        )
        echo(f"  {where}: {import_command(program, record.parent, result.incident)}")
