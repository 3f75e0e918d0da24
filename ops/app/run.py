"""Compose a run: environment variables and ops.yml become clients, sinks and a Context.

Cloudflare's clients are imported only when a run uses them.
"""

import functools
import os
import pwd
import secrets
import shlex
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops import STARTED
from ops.app import registry, secret_values
from ops.app.config_path import DEFAULT_CONFIG, find_config
from ops.app.provider_status import StatusWarning
from ops.app.run_files import RUNS, TIMELINE, close_run, read_records
from ops.app.second_person import SecondPerson
from ops.app.secret_values import ProcessSecretValues
from ops.app.session import Session
from ops.core.approval_request import NOBODY, GatePeople
from ops.core.clock import Clock
from ops.core.errors import ConfigError, Decision, OpsError
from ops.core.names import LIMITS_FILE
from ops.core.next_step import replace_checkout
from ops.core.redaction import Redactor
from ops.core.result import RunResult, describe_state_after_bug
from ops.core.run_record import PreviousRuns, parse_job_run
from ops.core.timeline import EventKind, EventSink, RunEvent, Timeline
from ops.engine.context import Context, RequestInfo
from ops.engine.engine import Engine, RunOptions
from ops.engine.runbook import Runbook
from ops.engine.signals import SignalHandler
from ops.github import actions, permissions
from ops.github.secrets import EnvironmentSecrets
from ops.publish import LOCAL_USER, Publisher
from ops.tools import process

if TYPE_CHECKING:
    from ops.config import CheckedConfig, Config, Service
    from ops.config.probes import Probe
    from ops.config.types import Contact
    from ops.github.committed_file import CommittedFile
    from ops.github.environments import EnvironmentReview
    from ops.github.pulls import PullRequests
    from ops.probes.runner import ProbeRunner
    from ops.publish.menu import MenuParts
    from ops.site_build import SiteBuilder
    from ops.tools.source_files import SourceFiles

WATCHED = {Decision.RECOVERED, Decision.HEALTHY_AS_BEFORE, Decision.NO_EVIDENCE}
"""Decisions after which a service is watched. After all others people are at work, and no relapse can be found."""
AFTER_A_BUG = (
    "Check what is live in the dashboard (Workers & Pages → the Worker or project → Deployments), and continue there. "
    "Or start the same command again: it reads the state first."
)


@dataclass(frozen=True)
class RunRequest:
    """A request to run a runbook, from any trigger. `requested_at` is None if the command is the trigger."""

    runbook: Runbook[Any, Any]
    params: Any
    environment: str
    config: Path
    incident: int | None = None
    incident_began: datetime | None = None
    requested_at: datetime | None = None
    permission: str = ""
    """Whether the requester's permission was verified: `checked`, `not checked`, or empty without a gate."""
    requested_by: str = ""
    """Login of the requester according to the gate; empty: according to environment variables."""
    comment: int | None = None
    """Id of the comment on the incident that the run continues."""
    ends_by: datetime | None = None
    """Latest time at which a job of the same workflow run may end this run's state."""
    review: "EnvironmentReview | None" = None
    """Approval of a reviewer, if ops.yml requires one."""
    people: GatePeople = NOBODY


def read_config(path: Path, *, labels: Collection[str] | None = ()) -> "tuple[Config, tuple[str, ...]]":
    """Return the configuration and its warnings.

    `labels` names the labels that the caller needs; None: all. A problem in another label removes only that label, so
    that it cannot stop a recovery.

    Raises:
        ConfigError: with every problem at once.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        hint = "Run the command in the checkout of the operations repository, or add --config PATH."
        raise ConfigError(f"{path} cannot be read ({error.strerror})", hint=hint) from None
    needed = None if labels is None else frozenset(name.casefold() for name in labels)
    return _checked(text, needed).require_valid(str(path))


@functools.lru_cache(maxsize=4)
def _checked(text: str, labels: frozenset[str] | None) -> "CheckedConfig":
    """Check the text. Cached, because schedules, labels and drills read the same file for each run."""
    from ops import config

    return config.check_config(text, rules=registry.label_rules(), labels=labels)


def run(
    request: RunRequest,
    environ: Mapping[str, str],
    redactor: Redactor,
    *,
    sink: EventSink,
    options: RunOptions,
    signals: SignalHandler,
) -> "tuple[RunResult, Config]":
    """Run a runbook from the request to the result. Raises ConfigError before anything is sent."""
    config, _ = read_config(request.config)
    variables = probe_environ(environ, register_secrets(environ, config, redactor))
    runbook, environment = request.runbook, config.environment(request.environment)
    with ExitStack() as ending:
        ending.callback(process.kill_all)
        session = Session(environment, environ, ending, config, runbook=runbook)
        clock, folder, incident = session.clock, request.config.resolve().parent, request.incident
        record = folder / RUNS / (run_id := _run_id(environ, clock))
        session.client  # noqa: B018  a missing token ends the run here, before its first event
        publisher = Publisher(environ, config, redactor, clock, run=run_id, incident=incident, comment=request.comment)
        sinks = (_appending(record), sink, *publisher.sinks(is_routine=runbook.is_routine, is_dry=options.dry_run))
        timeline = Timeline(clock, redactor, sinks, lead=_lead(request, clock), unbroken=signals.hold)
        _record_request(timeline, request, environ, run_id, session)
        publisher.begin(timeline, ending)
        ending.push(_report_bug(timeline, record))
        prober = session.probe_runner(variables, redactor, folder, pictures=record)
        context = Context(
            params=_without_secrets(request.params, redactor),
            config=config,
            environment=environment,
            request=_run_request(request, environ),
            run_id=run_id,
            clock=clock,
            timeline=timeline,
            cloudflare=session,
            github=_Repository(folder, environ, redactor, session, ending),
            web=session,
            make_site=lambda: make_site(environ, folder, redactor, ending, session, elsewhere=options.has_next_job),
            read_source=functools.partial(read_source, folder, environ, redactor),
            secret_values=ProcessSecretValues(environ, redactor, config),
            previous_runs=lambda: publisher.read_previous_runs(timeline, runbook.records_wait),
            local_runs=functools.partial(read_records, folder / RUNS, runbook.name, session.sandbox, redactor),
            service_kinds=registry.service_kinds,
            command_prefix=command_prefix(environ, request.config),
        )
        approve = SecondPerson(runbook, context, lambda: session.token, environ, redactor, request.people).approve
        result = _execute(prober, session, request, context, replace(options, approve=approve), signals=signals)
        links = publisher.end(timeline, _menu(config, environ, request.config), result.notices)
    result = replace(result, is_answered=publisher.is_answered, is_recorded=publisher.is_recorded)
    return redactor.redact_value(replace(result, links=links, incident=incident or publisher.opened_incident)), config


def watched_service(request: RunRequest, result: RunResult, config: "Config") -> str:
    """Return the service that a later job watches; "" if there is none. Of several services it is the first one."""
    service = _changed_service(request, result, config)
    return service.name if service and service.watched_probes and request.runbook.is_watched(request.params) else ""


def closed_service(request: RunRequest, result: RunResult, config: "Config") -> str:
    """Return the service that the run closed, and that a later job watches to stay closed; "" if there is none."""
    service = _changed_service(request, result, config)
    return service.name if service and request.runbook.closes_service(request.params) else ""


def _changed_service(request: RunRequest, result: RunResult, config: "Config") -> "Service | None":
    if config.watch is None or not result.wrote or result.decision not in WATCHED:
        return None
    environment = config.environment(request.environment)
    return environment.services.get(request.runbook.service(request.params, environment))


def planning_context(  # noqa: PLR0917
    params: Any,
    session: Session,
    config: "Config",
    path: Path,
    environ: Mapping[str, str],
    redactor: Redactor,
    ending: ExitStack,
) -> Context[Any]:
    """Return a context in which a runbook can plan, and change and publish nothing. `path` is that of ops.yml."""
    folder, clock = path.resolve().parent, session.clock
    return Context(
        params=params,
        config=config,
        environment=session.environment,
        request=RequestInfo(LOCAL_USER),
        run_id=_run_id(environ, clock),
        clock=clock,
        timeline=Timeline(clock, redactor),
        cloudflare=session,
        github=_Repository(folder, environ, redactor, session, ending),
        web=session,
        make_site=lambda: make_site(environ, folder, redactor, ending, session),
        read_source=functools.partial(read_source, folder, environ, redactor),
        secret_values=ProcessSecretValues(environ, redactor, config),
        previous_runs=lambda: PreviousRuns,
        local_runs=tuple,
        service_kinds=registry.service_kinds,
        command_prefix=command_prefix(environ, path),
    )


def _menu(config: "Config", environ: Mapping[str, str], path: Path) -> "Callable[[str, str], MenuParts]":
    return functools.partial(_build_menu, config, published_prefix(environ, path, config))


def _build_menu(config: "Config", program: tuple[str, ...], number: str, page: str) -> "MenuParts":
    from ops.app.menu import build_menu  # loads every runbook, for a run that opens an incident

    return build_menu(config, program, number, page)


def _execute(
    prober: "ProbeRunner",
    session: Session,
    request: RunRequest,
    context: Context[Any],
    options: RunOptions,
    *,
    signals: SignalHandler,
) -> RunResult:
    """Execute the run, and revoke the tokens that were made for it, also after a failure or bug."""
    service = request.runbook.service(request.params, context.environment)
    options = StatusWarning(session, service, context.timeline).watch(options)
    engine = Engine(prober, session.write_guards.writing, signals)
    try:
        result = engine.execute(request.runbook, context, options)
    finally:
        context.github.secrets.revoke_tokens(functools.partial(context.timeline.record, EventKind.WARNING))
    return replace(result, timeline=tuple(context.timeline.events))


def read_source(
    folder: Path, environ: Mapping[str, str], redactor: Redactor, repository: str | None, paths: Sequence[str]
) -> "SourceFiles":
    """Return files of a repository: in a job those that an earlier job saved, else of the checkout. Raises Refused."""
    from ops.tools import source_files

    if actions.is_job(environ):
        return source_files.load_source_files(environ)
    return source_files.read_source_files(folder, environ, redactor, repository, paths)


def make_site(
    environ: Mapping[str, str],
    folder: Path,
    redactor: Redactor,
    ending: ExitStack,
    session: Session | None = None,
    *,
    elsewhere: bool = False,
) -> "SiteBuilder":
    """Return the builder of sites.

    `folder` is that of ops.yml. Without a session it cannot deploy. `elsewhere`: another job builds.
    """
    from ops.site_build import DeployAccount, SiteBuilder

    def exposed(application: str) -> str:
        from ops.github import environments

        return environments.source_exposure(environ, redactor, application)

    return SiteBuilder(
        environ,
        folder,
        redactor,
        scratch=lambda: ending.enter_context(process.scratch_folder()),
        may_build=elsewhere or not actions.is_job(environ),
        exposed=lambda of: exposed(of) if elsewhere and actions.is_job(environ) else "",
        account=DeployAccount(session.base_url, session.account_id, session.token) if session else None,
    )


class _Repository:
    """The operations repository for a Context. Most ports are made and imported on first use."""

    def __init__(
        self, folder: Path, environ: Mapping[str, str], redactor: Redactor, session: Session, ending: ExitStack
    ) -> None:
        self._folder, self._environ, self._redactor = folder, environ, redactor
        self._write_guards, self._ending = session.write_guards, ending
        self.secrets = self._write_guards.add(
            EnvironmentSecrets.of(environ, redactor, session.clock)
        )  # masks an App's key

    @functools.cached_property
    def pulls(self) -> "PullRequests":
        from ops.github.pulls import PullRequests

        pulls = self._write_guards.add(PullRequests.of(self._environ, self._redactor))
        self._ending.callback(pulls.close)
        return pulls

    @functools.cached_property
    def limits(self) -> "CommittedFile":
        from ops.github.committed_file import CommittedFile

        return CommittedFile(self._folder, LIMITS_FILE, self._environ, self._redactor, self.pulls)


def program_name(environ: Mapping[str, str]) -> str:
    """Return the start of suggested commands: `ops`, or the way in which `./run` was called.

    A job suggests commands for a laptop with a checkout, where `ops` is not installed.
    """
    return environ.get("OPS_PROGRAM") or ("./run ops" if actions.is_job(environ) else "ops")


def command_prefix(environ: Mapping[str, str], config: Path) -> tuple[str, ...]:
    """Return the program name, and the option that a suggested command needs to use the same ops.yml."""
    is_default = config in {DEFAULT_CONFIG, find_config()}
    return (program_name(environ), *(() if is_default else (f"--config {shlex.quote(str(config))}",)))


def published_prefix(environ: Mapping[str, str], path: Path, config: "Config") -> tuple[str, ...]:
    """Return `command_prefix` for other people's laptops: without the path of a checkout on this one."""
    program, *extra = command_prefix(environ, path)
    return (replace_checkout(f"{program} ", config.github.laptop_program).strip(), *extra)


def register_secrets(environ: Mapping[str, str], config: "Config", redactor: Redactor) -> frozenset[str]:
    """Register the values of all secret variables of ops.yml for redaction, and return their names."""
    from ops.config import durable_object_token_names

    tokens = {environment.token for environment in config.environments.values()}
    names = frozenset({"GITHUB_TOKEN", *tokens, *config.notify.webhooks.values()}) | secret_values.secret_variables(
        config
    )
    names |= durable_object_token_names(config)
    of_workers = {name for environment in config.environments.values() for name in environment.secrets}
    for name in names | config.login_variables | of_workers:
        redactor.add_secret(environ.get(name, ""))
        actions.mask_command(environ, environ.get(name, ""))
    return names


def _without_secrets(params: Any, redactor: Redactor) -> Any:
    """Return parameters with masked secrets: a reason may hold a pasted token, and the whole account can read it."""
    return replace(
        params, **{name: redactor.redact_text(value) for name, value in vars(params).items() if isinstance(value, str)}
    )


def probe_environ(environ: Mapping[str, str], never: frozenset[str]) -> "Callable[[Probe], Mapping[str, str]]":
    """Return a function from a probe to its environment: the variables that it names, except those in `never`."""

    def environ_of(probe: "Probe") -> Mapping[str, str]:
        return process.clean_environment(environ, names=probe.variables, never=never)

    return environ_of


def _run_id(environ: Mapping[str, str], clock: Clock) -> str:
    """Return a unique id: GitHub's run and attempt, or the time; and four random digits.

    One job may run two commands. Deployment messages hold the id, so it must never repeat.
    """
    digits = secrets.token_hex(2)
    of_a_job = f"{actions.run_id(environ)}.{environ.get('GITHUB_RUN_ATTEMPT', '1')}-{digits}"
    return of_a_job if parse_job_run(of_a_job) else f"{clock.now():%Y%m%dT%H%M%S}-{digits}"


def _lead(request: RunRequest, clock: Clock) -> float:
    """Return seconds from the trigger to now: since this process started, or since the request elsewhere."""
    if request.requested_at is None:
        return time.monotonic() - STARTED
    return max(0.0, (clock.now() - request.requested_at).total_seconds())


def _record_request(
    timeline: Timeline, request: RunRequest, environ: Mapping[str, str], run: str, session: Session
) -> None:
    service = request.runbook.service(request.params, session.environment)
    params = {name: value for name, value in vars(request.params).items() if value}
    given = " ".join(f"{name}={','.join(v) if isinstance(v, tuple) else v}" for name, v in params.items())
    text = f"{request.runbook.name} {given} in {request.environment} ({_requester(request, environ)})"
    where = {"runbook": request.runbook.name, "environment": request.environment, "service": service}
    known = {"sandbox": session.sandbox, "log": actions.run_links(environ, None).get("run")}
    known["laptop_variables"] = request.runbook.laptop_variables(session.environment, service)
    what = where | {name: value for name, value in known.items() if value}
    timeline.record(EventKind.REQUESTED, text, **what, params=params, incident=request.incident, run=run)
    if request.permission == permissions.UNCHECKED:
        timeline.record(EventKind.WARNING, permissions.NOT_CHECKED)


def _requester(request: RunRequest, environ: Mapping[str, str]) -> str:
    """Return the requester, for people. Somebody else may have started another attempt."""
    actor, first = _actor(request, environ), _first_actor(environ)
    if not first:
        return f"laptop, {LOCAL_USER}{actor}"
    who = actor if actor.lower() == first.lower() else f"{actor}, who started a request of {first} again"
    second = ", the second person" if request.people.approval else ""
    return f"{who}{second}, approved by {request.review.reviewer}" if request.review else f"{who}{second}"


def _run_request(request: RunRequest, environ: Mapping[str, str]) -> RequestInfo:
    return RequestInfo(
        _actor(request, environ),
        request.incident,
        request.incident_began,
        request.requested_at,
        ends_by=request.ends_by,
        approved_at=request.review.began if request.review else None,
        is_watched=environ.get("OPS_WATCHED") == "true",
    )


def _actor(request: RunRequest, environ: Mapping[str, str]) -> str:
    """Return the login or user name of the person responsible for this attempt."""
    is_again = environ.get("GITHUB_RUN_ATTEMPT", "1") != "1"
    again = request.requested_by or environ.get("GITHUB_TRIGGERING_ACTOR") if is_again else ""
    return again or _first_actor(environ) or environ.get("USER") or _account()


def _first_actor(environ: Mapping[str, str]) -> str:
    """Return the login that started the first attempt of a workflow run; empty on a laptop."""
    if environ.get("GITHUB_EVENT_NAME") == "schedule":
        return "a schedule"  # GitHub names the author of the schedule
    return environ.get("GITHUB_ACTOR", "")


def _account() -> str:
    """Return the user name of this process from the password database, for a shell without USER."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"number {os.getuid()}"


def _appending(folder: Path) -> EventSink:
    """Return a sink that writes each event to disk before the next step, so that a killed run leaves a record."""
    path = folder / TIMELINE

    def append(event: RunEvent) -> None:
        try:
            file = process.open_private_file(path, append=True)
        except FileNotFoundError:  # the first event, or the folder was deleted
            process.make_private_folder(folder)
            file = process.open_private_file(path, append=True)
        with file:
            file.write(event.to_line() + "\n")

    return append


def _report_bug(timeline: Timeline, record: Path) -> Callable[..., None]:
    """Return an exit callback that reports a bug in the timeline, on the incident and in the traceback."""

    def tell(_kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, OpsError):
            known = describe_state_after_bug(timeline.events)
            text = f"a bug in this program ended the run ({type(error).__name__}); {known}"
            timeline.record(EventKind.FAILED, text, hint=AFTER_A_BUG)
            error.add_note(f"{known}; record of the run: {record / TIMELINE}")

    return tell


def write_record(
    result: RunResult, contacts: "Iterable[Contact]", config: Path, environ: Mapping[str, str], redactor: Redactor
) -> tuple[Path | None, str]:
    """Write the run as Markdown: a file to paste into the incident issue, and the job's summary page.

    It also deletes old runs.

    Return the file, or None if it cannot be written, and the problem of the summary, or an empty text.
    """
    from ops.publish.comment import render_result

    text = redactor.redact_text(render_result(result, contacts))
    folder = config.resolve().parent / RUNS / result.run
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
