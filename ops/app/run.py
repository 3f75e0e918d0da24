"""Compose a run: environment variables and ops.yml become clients, sinks and a Context.

Cloudflare's clients are imported only when a run uses them.
"""

import functools
import os
import pwd
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ops
from ops.app import registry
from ops.app.configuration import probe_environ, published_prefix, read_config, register_secrets
from ops.app.context import make_site, new_run_id, planning_context
from ops.app.run_files import RUNS, TIMELINE, close_run, read_records
from ops.app.scope import laptop_variables
from ops.app.second_person import SecondPerson
from ops.app.session import Session
from ops.app.stop_override import StopOverride
from ops.core.approval import Approval
from ops.core.clock import Clock
from ops.core.end_message import describe_state_after_bug
from ops.core.errors import Decision, OpsError
from ops.core.outage import PageState, StatusReport
from ops.core.plan import Plan
from ops.core.redaction import Redactor
from ops.core.run import EndedRun
from ops.core.threads import start_call
from ops.core.timeline import EventKind, EventSink, RunEvent, Timeline
from ops.engine.context import Context, RequestInfo
from ops.engine.engine import Engine, RunOptions
from ops.engine.runbook import Runbook, WatchedState
from ops.engine.signals import SignalHandler, unwrap_signal
from ops.github import actions, permissions
from ops.publish import LOCAL_USER, Publisher
from ops.tools import process

if TYPE_CHECKING:
    from ops.config import Config, Service
    from ops.config.types import Contact
    from ops.probes.runner import ProbeRunner
    from ops.publish.menu import RecoveryMenu

WATCHED = {Decision.RECOVERED, Decision.HEALTHY_AS_BEFORE, Decision.NO_EVIDENCE, Decision.STILL_UNHEALTHY}
"""Decisions after which services are watched. After all others it is not known that our change is live."""
AFTER_A_BUG = (
    "Check what is live in the dashboard (Workers & Pages → the Worker or project → Deployments), and continue there. "
    "Or start the same command again: it reads the state first."
)


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """A request to run a runbook, from any trigger. The fields have the names of the options of a command."""

    runbook: Runbook[Any]
    params: Any
    environment: str
    config: Path
    """Path of ops.yml."""
    incident: int | None = None
    began: datetime | None = None
    """Start of the incident as a person stated it."""
    requested_at: datetime | None = None
    """None: the command is the trigger."""
    permission: str = ""
    """Whether the requester's permission was verified: `checked`, `not checked`, or empty without a gate."""
    requested_by: str = ""
    """Login of the requester according to the gate; empty: according to environment variables."""
    comment: int | None = None
    """Id of the comment on the incident that the run continues."""
    ends_by: datetime | None = None
    """Latest time at which a job of the same workflow run may end this run's state."""
    requesters: tuple[int, ...] = ()
    """Numeric ids of the people who made the request; empty without a gate."""
    approval: Approval | None = None
    """Approval by a second person, from the gate."""
    review: Approval | None = None
    """Approval by a reviewer, if ops.yml requires one."""
    stop: str = ""
    """`not read`: GitHub did not tell the gate whether recoveries are stopped."""
    is_part: bool = False
    """Whether a longer command, such as `guard`, starts the run: its durations begin there, not with the process."""


def _read_run_config(path: Path, signals: SignalHandler) -> "Config":
    """Return ops.yml. pydantic would swallow the exception of a signal, and call the file wrong."""
    with signals.delay():
        return read_config(path)[0]


def run_runbook(
    request: RunRequest,
    environ: Mapping[str, str],
    redactor: Redactor,
    *,
    sink: EventSink,
    options: RunOptions,
    signals: SignalHandler,
) -> "tuple[EndedRun, Config]":
    """Run a runbook from the request to the result. Raises ConfigError before anything is sent."""
    config = _read_run_config(request.config, signals)
    variables = probe_environ(environ, register_secrets(environ, config, redactor))
    runbook, use, rules = request.runbook, request.runbook.incident_use, registry.record_rules(config)
    with ExitStack() as ending:
        ending.enter_context(process.end_programs())
        session = Session(config, request.environment, environ, ending, runbook=runbook)
        clock, folder, incident = session.clock, request.config.resolve().parent, request.incident
        record = folder / RUNS / (run_id := new_run_id(environ, clock.now()))
        session.client  # noqa: B018  a missing token ends the run here, before its first event
        publisher = Publisher(environ, config, redactor, clock, run=run_id, incident=incident, comment=request.comment)
        sinks = (_open_event_file(record), sink, *publisher.sinks(is_routine=use.is_routine, is_dry=options.dry_run))
        timeline = Timeline(clock, redactor, sinks, lead=_seconds_since_trigger(request, clock), unbroken=signals.delay)
        _record_run_request(timeline, request, environ, session, _event_facts(run_id, environ, config))
        publisher.begin(timeline, ending)
        ending.push(_report_bug(timeline, record))
        prober = session.probe_runner(variables, redactor, folder, pictures=record)
        context = replace(
            planning_context(
                params=_without_secrets(request.params, redactor),
                request=_run_request(request, environ),
                session=session,
                path=request.config,
                environ=environ,
                redactor=redactor,
                ending=ending,
                run_id=run_id,
                timeline=timeline,
            ),
            make_site=lambda: make_site(environ, folder, redactor, ending, session, elsewhere=options.has_next_job),
            previous_runs=lambda: publisher.read_previous_runs(timeline, use.records_wait, rules),
            runs_of_incidents=lambda numbers: publisher.read_runs_of(numbers, timeline, rules),
            local_runs=functools.partial(read_records, folder / RUNS, runbook.name, session.sandbox, redactor),
            names_what_stays=True,
        )
        result = _execute_run(
            prober, session, request, context, options, environ=environ, redactor=redactor, signals=signals
        )
        menu = functools.partial(_build_menu, config, published_prefix(environ, request.config, config))
        links = publisher.end(timeline, menu, result.notices)
    return redactor.redact_value(_with_publication(result, publisher, links)), config


def _with_publication(result: EndedRun, publisher: Publisher, links: Mapping[str, str]) -> EndedRun:
    """Return the run with what its publication did on GitHub."""
    return replace(
        result,
        links=links,
        opened_incident=publisher.issue.opened_incident,
        is_answered=publisher.issue.is_answered,
        is_recorded=publisher.issue.is_recorded,
    )


def watched_services(request: RunRequest, result: EndedRun, config: "Config") -> str:
    """Return the services that a later job watches, separated by spaces; "" if there is none."""
    if _watched_state(request, config) != WatchedState.HEALTHY:
        return ""
    return " ".join(
        each.name for each in _changed_services(request, result, config) if each.worker or each.watched_probes
    )


def closed_service(request: RunRequest, result: EndedRun, config: "Config") -> str:
    """Return the service that the run closed, and that a later job watches to stay closed; "" if there is none."""
    is_closed = _watched_state(request, config) == WatchedState.CLOSED
    is_proved = is_closed and result.decision != Decision.STILL_UNHEALTHY
    return next((each.name for each in _changed_services(request, result, config) if is_proved), "")


def _watched_state(request: RunRequest, config: "Config") -> WatchedState:
    return request.runbook.effect(vars(request.params), config.environment(request.environment)).watched


def _changed_services(request: RunRequest, result: EndedRun, config: "Config") -> "list[Service]":
    if config.watch is None or not result.wrote or result.decision not in WATCHED:
        return []
    environment = config.environment(request.environment)
    runbook, params = request.runbook, request.params
    given = {each.name: getattr(params, each.name) for each in fields(params)}
    names = dict.fromkeys((runbook.service(params, environment), *runbook.written_services(given, environment)))
    return [environment.services[name] for name in names if name in environment.services]


def _build_menu(config: "Config", program: tuple[str, ...], number: str, page: str) -> "RecoveryMenu":
    from ops.app.menu import build_menu  # loads every runbook, for a run that opens an incident

    return build_menu(config, program, number, page)


def _execute_run(
    prober: "ProbeRunner",
    session: Session,
    request: RunRequest,
    context: Context[Any],
    options: RunOptions,
    *,
    environ: Mapping[str, str],
    redactor: Redactor,
    signals: SignalHandler,
) -> EndedRun:
    """Execute the run, and revoke the tokens that were made for it, also after a failure or bug."""
    runbook, stop = request.runbook, StopOverride(request.runbook, context, environ, redactor)
    service = runbook.service(request.params, context.environment)
    if runbook.incident_use.needs_approval:
        options = replace(options, approve=SecondPerson(runbook, context, session, environ, redactor).approve)
    options = ProviderStatusWarning(session, service, context.timeline).add_to(stop.add_to(options))
    engine = Engine(prober, session.write_guards.writing, signals)
    try:
        result = engine.execute(runbook, context, options)
    finally:
        stop.end()
        context.github.secrets.revoke_tokens(functools.partial(context.timeline.record, EventKind.WARNING))
    return replace(result, events=tuple(context.timeline.events))


def _without_secrets(params: Any, redactor: Redactor) -> Any:
    """Return parameters with masked secrets: a reason may hold a pasted token, and the whole account can read it."""
    return replace(
        params, **{name: redactor.redact_text(value) for name, value in vars(params).items() if isinstance(value, str)}
    )


def _seconds_since_trigger(request: RunRequest, clock: Clock) -> float:
    """Return seconds from the trigger to now: since this process started, or since the request elsewhere."""
    if request.requested_at is None:
        return 0.0 if request.is_part else time.monotonic() - ops.STARTED
    return max(0.0, (clock.now() - request.requested_at).total_seconds())


def _event_facts(run: str, environ: Mapping[str, str], config: "Config") -> Mapping[str, str]:
    return {"run": run, "docs": actions.docs_base(environ, config.github.actions)}


def _record_run_request(
    timeline: Timeline, request: RunRequest, environ: Mapping[str, str], session: Session, facts: Mapping[str, str]
) -> None:
    """Record the first event. `facts` are further data of it; empty ones are left out."""
    service = request.runbook.service(request.params, session.environment)
    params = {name: value for name, value in vars(request.params).items() if value}
    given = " ".join(f"{name}={','.join(v) if isinstance(v, tuple) else v}" for name, v in params.items())
    text = f"{request.runbook.name} {given} in {request.environment} ({_requester_name(request, environ)})"
    where = {"runbook": request.runbook.name, "environment": request.environment, "service": service}
    known = {"sandbox": session.sandbox, "log": actions.run_links(environ, None).get("run")}
    known |= facts
    known["laptop_variables"] = laptop_variables(request.runbook, session.environment, service)
    what = where | {name: value for name, value in known.items() if value}
    timeline.record(EventKind.REQUESTED, text, **what, params=params, incident=request.incident)
    if request.permission == permissions.UNCHECKED:
        timeline.record(EventKind.WARNING, permissions.NOT_CHECKED)
    if request.stop:
        timeline.record(EventKind.WARNING, "GitHub did not tell the gate whether recoveries are stopped")


def _requester_name(request: RunRequest, environ: Mapping[str, str]) -> str:
    """Return the requester, for people. Somebody else may have started another attempt."""
    actor, first = _actor_name(request, environ), _first_actor(environ)
    if not first:
        return f"laptop, {LOCAL_USER}{actor}"
    who = actor if actor.lower() == first.lower() else f"{actor}, who started a request of {first} again"
    second = ", the second person" if request.approval else ""
    return f"{who}{second}, approved by {request.review.login}" if request.review else f"{who}{second}"


def _run_request(request: RunRequest, environ: Mapping[str, str]) -> RequestInfo:
    return RequestInfo(
        actor=_actor_name(request, environ),
        incident=request.incident,
        incident_began=request.began,
        requested_at=request.requested_at,
        ends_by=request.ends_by,
        requesters=request.requesters,
        approval=request.approval,
        approved_at=request.review.at if request.review else None,
        is_watched=environ.get("OPS_WATCHED") == "true",
    )


def _actor_name(request: RunRequest, environ: Mapping[str, str]) -> str:
    """Return the login or user name of the person responsible for this attempt."""
    is_again = environ.get("GITHUB_RUN_ATTEMPT", "1") != "1"
    again = request.requested_by or environ.get("GITHUB_TRIGGERING_ACTOR") if is_again else ""
    return again or _first_actor(environ) or environ.get("USER") or _local_user_name()


def _first_actor(environ: Mapping[str, str]) -> str:
    """Return the login that started the first attempt of a workflow run; empty on a laptop."""
    if environ.get("GITHUB_EVENT_NAME") == "schedule":
        return "a schedule"  # GitHub names the author of the schedule
    return environ.get("GITHUB_ACTOR", "")


def _local_user_name() -> str:
    """Return the user name of this process from the password database, for a shell without USER."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"number {os.getuid()}"


def _open_event_file(folder: Path) -> EventSink:
    """Return a sink that writes each event to disk before the next step, so that a killed run leaves a record."""
    path = folder / TIMELINE

    def append_event(event: RunEvent) -> None:
        try:
            file = process.open_private_file(path, append=True)
        except FileNotFoundError:  # the first event, or the folder was deleted
            process.make_private_folder(folder)
            file = process.open_private_file(path, append=True)
        with file:
            file.write(event.to_line() + "\n")

    return append_event


def _report_bug(timeline: Timeline, record: Path) -> Callable[..., None]:
    """Return an exit callback that reports a bug in the timeline, on the incident and in the traceback."""

    def tell_end_of_run(_kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, Exception) and not isinstance(unwrap_signal(error), OpsError | KeyboardInterrupt):
            known = describe_state_after_bug(timeline.events)
            text = f"a bug in this program ended the run ({type(error).__name__}); {known}"
            timeline.record(EventKind.FAILED, text, hint=AFTER_A_BUG)
            error.add_note(f"{known}; record of the run: {record / TIMELINE}")

    return tell_end_of_run


def write_run_summary(
    result: EndedRun, contacts: "Iterable[Contact]", config: Path, environ: Mapping[str, str], redactor: Redactor
) -> tuple[Path | None, str]:
    """Write the run as Markdown: a file to paste into the incident issue, and the job's summary page.

    It also deletes old runs.

    Return the file, or None if it cannot be written, and the problem of the summary, or an empty text.
    """
    from ops.publish.comment import render_run_result

    text = redactor.redact_text(render_run_result(result, contacts))
    folder = config.resolve().parent / RUNS / result.id
    path: Path | None = folder / "record.md"
    try:
        with process.open_private_file(folder / "record.md") as file:
            file.write(text)
    except OSError:
        path = None
    close_run(folder, result)
    try:
        actions.write_summary(environ, text)
    except OSError as error:
        return path, f"the job's summary page cannot be written ({error.strerror})"
    return path, ""


def _read_provider_status(session: Session, services: "Sequence[Service]") -> StatusReport:
    """Read what Cloudflare reports about the products that these services use."""
    from ops.probes import provider_status

    return provider_status.read_report(
        session.probe_client(),
        provider_status.CLOUDFLARE_STATUS,
        provider_status.used_products(session.environment, *services),
        group=provider_status.PRODUCTS_GROUP,
        within=provider_status.STATUS_SECONDS,
    )


class ProviderStatusWarning:
    """Reads Cloudflare's status page in the background, and warns once, with the plan or its confirmation."""

    def __init__(self, session: Session, service: str, timeline: Timeline) -> None:
        services = session.environment.services
        used = [services[service]] if service in services else list(services.values())
        self._timeline = timeline
        self._reading: Future[StatusReport] | None = start_call(lambda: _read_provider_status(session, used))

    def add_to(self, options: RunOptions) -> RunOptions:
        """Return the options of a run that warns when it shows the plan or confirms it, if the page has answered."""
        return replace(
            options, show_plan=self._warn_before(options.show_plan), confirm=self._warn_before(options.confirm)
        )

    def _warn_before(self, step: Callable[[Plan], Any]) -> Callable[[Plan], Any]:
        def show_with_warning(plan: Plan) -> Any:
            self._warn_of_provider_trouble()
            return step(plan)

        return show_with_warning

    def _warn_of_provider_trouble(self) -> None:
        if self._reading is None or not self._reading.done():
            return
        reading, self._reading = self._reading, None
        report = reading.result() if reading.exception() is None else None
        if report is not None and report.state == PageState.TROUBLE:
            signs = "; ".join(report.evidence)
            self._timeline.record(EventKind.WARNING, f"{report.page} reports trouble, so this may not help: {signs}")
