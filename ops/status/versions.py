"""Versions of a service: the target of a rollback, and why the others are none."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.app import registry
from ops.app.configuration import load_config
from ops.app.context import planning_context
from ops.app.scope import Place
from ops.app.session import Session
from ops.cloudflare.marks import without_schema_marks
from ops.cloudflare.types.pages import PagesDeployment
from ops.cloudflare.types.workers import short_id
from ops.core.clock import format_duration, format_optional, format_rfc3339, format_utc
from ops.core.next_step import build_command
from ops.core.redaction import Redactor
from ops.core.run_record import PreviousRuns
from ops.core.threads import start_call
from ops.engine.context import Context, RequestInfo
from ops.pages import plan_text
from ops.pages.snapshot import MAX_DEPLOYMENTS, explain_unknown_live, read_site_snapshot
from ops.render import to_one_line
from ops.workers import history_reads, rollback_target, schema_age, secret_values
from ops.workers.history import WorkerHistory
from ops.workers.plan_text import describe_rollback, leftover_split_warnings
from ops.workers.rollback_target import TargetChoice
from ops.workers.schema_age import AppliedMigrations, list_schema_ages

if TYPE_CHECKING:
    from ops.config import Config, Service

LIVE, TARGET, POSSIBLE, REJECTED = "live", "target", "possible", "rejected"
OLDER = "older than the target"
MAX_TEXT = 60
"""Characters that are shown of a message or author."""


@dataclass(frozen=True)
class Candidate:
    """A version of a Worker, or a deployment of a site."""

    id: str
    verdict: str
    """live, target, possible (older than the target) or rejected."""
    why: str
    created_on: datetime | None
    percent: float
    """Share of the traffic now."""
    author: str
    """Empty for a site: Cloudflare's API does not name it."""
    message: str
    commit: str
    """Tag of a version, or commit of a deployment; free text of the deployer."""
    schema: tuple[str, ...] = ()
    """Each D1 database of the service that is ahead of this code, or for which this is unknown."""


@dataclass(frozen=True)
class ServiceVersions:
    """Candidates of a rollback, newest first."""

    service: str
    environment: str
    kind: str
    read_at: datetime
    candidates: tuple[Candidate, ...]
    command: str
    """Command of the rollback."""
    notes: tuple[str, ...] = ()
    """Why the rules choose none, and the part of the history that is unread."""

    def to_json(self) -> dict[str, Any]:
        chosen = next((each.id for each in self.candidates if each.verdict == TARGET), None)
        return {
            "schema": 1,
            "service": self.service,
            "environment": self.environment,
            "kind": self.kind,
            "read_at": format_rfc3339(self.read_at),
            "target": chosen,
            "command": self.command,
            "notes": list(self.notes),
            "versions": [{**vars(each), "created_on": format_optional(each.created_on)} for each in self.candidates],
        }


def service_versions(
    place: Place, incident: int | None, config_path: Path, environ: Mapping[str, str], redactor: Redactor
) -> ServiceVersions:
    """Read what a plan of the rollback reads, and return the redacted versions.

    With an incident, its runs count, as in a rollback for it.

    Raises:
        OpsError: the configuration is invalid, or Cloudflare or GitHub cannot be read.
    """
    config = load_config(config_path, environ, redactor)
    with ExitStack() as ending:
        session = Session(config, place.environment, environ, ending)
        context = planning_context(
            params=None,
            request=RequestInfo(actor="", incident=incident),
            session=session,
            path=config_path,
            environ=environ,
            redactor=redactor,
            ending=ending,
        )
        ctx = replace(context, previous_runs=_start_reading_runs(incident, config, environ, redactor))
        of = session.environment.service(place.service)
        program, *extra = ctx.command_prefix
        options = {"service": place.service, "environment": place.environment, "incident": incident}
        versions = ServiceVersions(
            place.service,
            place.environment,
            of.kind,
            session.clock.now(),
            (),
            build_command(program, f"rollback-{of.kind}", options, *extra),
        )
        versions = _worker_versions(ctx, of, versions) if of.worker else _site_versions(ctx, of, versions)
        redacted: ServiceVersions = redactor.redact_value(versions)
        return redacted


def _start_reading_runs(
    incident: int | None, config: "Config", environ: Mapping[str, str], redactor: Redactor
) -> Callable[[], Callable[[], PreviousRuns]]:
    """Return the function that starts to read the runs on the incident."""
    if incident is None:
        return lambda: PreviousRuns

    def read() -> PreviousRuns:
        from ops.github.client import CHECK_HINT, connect, provider_errors
        from ops.github.records import read_previous_runs

        with provider_errors(CHECK_HINT):
            return read_previous_runs(connect(environ, redactor), incident, registry.record_rules(config))

    return lambda: start_call(read).result


def _worker_versions(ctx: Context[Any], service: "Service", empty: ServiceVersions) -> ServiceVersions:
    databases = schema_age.start_reading_schemas(ctx.cloudflare, ctx.environment.databases_of(service.name))
    listing, _ = history_reads.read_listing(ctx, service)
    history = history_reads.read_history(ctx, service, listing)
    choice = rollback_target.choose_target(history, incident=ctx.request.incident)
    notes = [f"already rolled back: {describe_rollback(choice.active_rollback)}"] if choice.active_rollback else []
    notes += leftover_split_warnings(history.live, end="The next rollback removes it")
    names = sorted(history.releases, key=lambda name: (history.version(name).number or 0, name), reverse=True)
    applied = databases()
    candidates = (_worker_candidate(history, choice, name, applied) for name in names)
    return replace(empty, candidates=tuple(candidates), notes=(*notes, history.coverage, history.horizon))


def _worker_candidate(
    history: WorkerHistory, choice: TargetChoice, name: str, databases: Sequence[AppliedMigrations]
) -> Candidate:
    version, percent = history.version(name), dict(history.live.split).get(name, 0.0)
    verdict, why = _judge_version(history, choice, name)
    message, ages = without_schema_marks(version.message), list_schema_ages(history, name, databases)
    schema = tuple(age.describe(short_id(name)) for age in ages if age.newer or not age.is_complete)
    return Candidate(name, verdict, why, version.created_on, percent, version.author, message, version.tag, schema)


def _judge_version(history: WorkerHistory, choice: TargetChoice, name: str) -> tuple[str, str]:
    served = f"its release served {format_duration(history.seconds_served(name))}"
    if name == choice.suspect:
        return LIVE, "a rollback deployed it" if choice.active_rollback else "a rollback removes it"
    if doubtful := secret_values.find_doubtful_values(history, name):
        return REJECTED, secret_values.describe_doubtful_values(name, doubtful)
    if history.live.displaced and name in history.live.displaced.serving_versions:
        return TARGET, f"{served}; a rehearsal replaced it by accident"
    if choice.candidates[:1] == (name,):
        is_target = choice.active_rollback is None and history.live.displaced is None
        return (TARGET, served) if is_target else (POSSIBLE, f"{served}; a rollback is in effect")
    if why := rollback_target.explain_rejection(history, choice, name):
        return REJECTED, why
    return POSSIBLE, f"{served}; {OLDER}"


def _site_versions(ctx: Context[Any], service: "Service", empty: ServiceVersions) -> ServiceVersions:
    snapshot = read_site_snapshot(ctx, service)
    history = snapshot.history
    if history is None:
        unknown = f"the live deployment could not be identified: {explain_unknown_live(service, snapshot)}"
        listed = (
            _site_candidate(each, REJECTED, "only `--to` can choose it") for each in snapshot.observed.deployments
        )
        return replace(empty, candidates=tuple(listed), notes=(unknown,))
    nothing = plan_text.explain_nothing_to_do(history, history.choice, None)
    judged = _judge_deployments(history, has_target=nothing is None)
    candidates = (_site_candidate(each, verdict, why) for each, verdict, why in judged)
    reach = (f"the newest {MAX_DEPLOYMENTS} deployments are read", history.choice.history.horizon)
    notes = (*([nothing[0]] if nothing else []), *reach)
    return replace(empty, candidates=tuple(candidates), notes=notes)


def _judge_deployments(
    history: plan_text.PagesHistory, *, has_target: bool
) -> Iterator[tuple[PagesDeployment, str, str]]:
    """Yield each deployment with its verdict and the reason."""
    live, choice = history.serving_deployment, history.choice
    for each in history.deployments:
        if each.id == live.id:
            yield each, LIVE, history.live.why
        elif not each.can_serve_production:
            yield each, REJECTED, f"its last stage is {' '.join(filter(None, (each.stage, each.status))) or 'unknown'}"
        elif each.created_on >= live.created_on:
            yield each, REJECTED, "newer than the live one"
        elif has_target and choice.target and each.id == choice.target.id:
            yield each, TARGET, "the newest good one before the live one"
        elif why := rollback_target.explain_rejection(choice.history, choice.choice, each.id):
            yield each, REJECTED, why
        else:
            yield each, POSSIBLE, OLDER if has_target else "there is nothing to roll back"


def _site_candidate(each: PagesDeployment, verdict: str, why: str) -> Candidate:
    percent = 100.0 if verdict == LIVE else 0.0
    return Candidate(each.id, verdict, why, each.created_on, percent, "", each.message, each.commit)


def version_lines(versions: ServiceVersions, *, most: int) -> Iterator[str]:
    """Yield the newest `most` versions, and further ones only if they are live or the target."""
    yield f"{versions.service} in {versions.environment}, read at {format_utc(versions.read_at)}"
    matters = [each for at, each in enumerate(versions.candidates) if at < most or each.verdict in {LIVE, TARGET}]
    for each in matters:
        yield f"  {each.verdict:<8}  {to_one_line(_describe_candidate(each, versions.read_at))}"
        yield from (f"            {to_one_line(line)}" for line in (each.why, *each.schema))
    if hidden := len(versions.candidates) - len(matters):
        yield f"  {hidden} more are not shown (--all shows them)"
    for note in versions.notes:
        yield f"  {to_one_line(note)}"
    has_target = any(each.verdict == TARGET for each in versions.candidates)
    yield f"  To roll back: {versions.command}" if has_target else f"  To choose one: {versions.command} --to ID"


def _describe_candidate(each: Candidate, now: datetime) -> str:
    parts = (
        each.id[:8],
        f"{each.percent:g} %" if each.percent else "",
        f"{format_duration((now - each.created_on).total_seconds())} old" if each.created_on else "",
        f"by {each.author[:MAX_TEXT]}" if each.author else "",
        f"from {each.commit[:12]}" if each.commit else "",
        f'"{each.message.partition(chr(10))[0][:MAX_TEXT]}"' if each.message else "",
    )
    return "  ".join(filter(None, parts))
