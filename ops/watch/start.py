"""Start a watch, with clients and probes; find the watches that stopped without an end."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app import registry
from ops.app.configuration import load_config, probe_environ, published_prefix, read_config, register_secrets
from ops.app.scope import Place
from ops.app.session import Session
from ops.config.probes import ProbeSet
from ops.core.clock import current_time
from ops.core.redaction import Redactor
from ops.core.run_record import RunRecord, is_closed_watch
from ops.core.verdict import ProbeObservation, Verdict
from ops.github import actions
from ops.github.client import CHECK_HINT, connect, provider_errors
from ops.github.issues import list_recent_incidents
from ops.github.records import Trust, judge_records
from ops.pages.snapshot import SiteContent, live_content
from ops.publish.incident_chat import post_message
from ops.watch.closure import ClosureWatch
from ops.watch.judgment import WatchResult
from ops.watch.record import RECENT, WATCH, WatchRecord, find_watched_incident
from ops.watch.second_source import read_second_source
from ops.watch.state import MAX_PAUSE, parse_watch_state
from ops.watch.text import CommandNames, chat_notice, render_notice, render_watch_comment
from ops.watch.watch import Watch, run_side_by_side

if TYPE_CHECKING:
    from ops.config import Config, Service


def watch_services(
    places: "Sequence[WatchPlace]",
    config_path: Path,
    environ: Mapping[str, str],
    redactor: Redactor,
    *,
    duration: timedelta,
    on_round: Callable[[WatchResult], object],
) -> list[WatchResult]:
    """Watch services of one environment side by side, or continue their watches; return the redacted results.

    Raises:
        OpsError: the configuration is invalid, the token is missing, or the incident cannot be read.
    """
    config, _ = read_config(config_path)
    names = register_secrets(environ, config, redactor)
    environment = config.environment(places[0].place.environment)
    with ExitStack() as ending:
        session = Session(config, environment.name, environ, ending)
        runner = session.probe_runner(probe_environ(environ, names), redactor, config_path.parent.resolve())
        watches = [
            _build_watch(
                each,
                session,
                config,
                environ,
                runner.run_round,
                redactor=redactor,
                names=watch_command_names(config_path, environ, each.incident),
                on_round=on_round,
            )
            for each in places
        ]
        results = dict(run_side_by_side([each.rounds(duration) for each in watches], session.clock))
        return [results[number] for number in range(len(watches))]


def _build_watch(
    place: "WatchPlace",
    session: Session,
    config: "Config",
    environ: Mapping[str, str],
    run_round: "Callable[[ProbeSet], ProbeObservation]",
    *,
    redactor: Redactor,
    names: CommandNames,
    on_round: Callable[[WatchResult], object],
) -> Watch:
    environment, incident = session.environment, place.incident
    service = environment.service(place.place.service)
    record: WatchRecord | None = None
    if incident is not None:
        job, rules = actions.job_number(environ), registry.record_rules(config)
        connect_issue, where = (
            partial(find_watched_incident, environ, redactor, incident),
            (environment.name, service.name),
        )
        record = WatchRecord(connect_issue, *where, rules=rules, job=job, is_closed=place.is_closed)
    may_step = record is not None and config.watch is not None and config.watch.on_relapse == "next"
    return (ClosureWatch if place.is_closed else Watch)(
        session,
        service,
        partial(_probe_service, run_round, service, _watched_site_content(session, service)),
        record,
        redactor=redactor,
        text=partial(render_watch_comment, names=names),
        notice=partial(render_notice, names=names),
        on_round=on_round,
        chat=lambda result: post_message(environ, config.notify, redactor, chat_notice(result, names), incident),
        second_source=partial(read_second_source, session, service) if may_step and service.worker else None,
    )


def watch_command_names(config_path: Path, environ: Mapping[str, str], incident: int | None) -> CommandNames:
    """Return the parts of the commands that other people's laptops can run."""
    config = read_config(config_path)[0]
    program, *more = published_prefix(environ, config_path, config)
    return CommandNames(program, tuple(more), incident, actions.docs_base(environ, config.github.actions))


def _watched_site_content(session: Session, service: "Service") -> SiteContent | None:
    return live_content(session, service) if service.pages else None


def _probe_service(
    run_round: "Callable[[ProbeSet], ProbeObservation]", service: "Service", content: SiteContent | None
) -> ProbeObservation:
    """Run one round without browsers, which take too long for it."""
    seen = run_round(ProbeSet(service.url, service.watched_probes, service.verify, find_content=content))
    if content is not None and seen.verdict == Verdict.INCONCLUSIVE:
        content.forget()
    return seen


@dataclass(frozen=True)
class WatchPlace:
    """A watch to begin or to continue."""

    place: Place
    incident: int | None
    is_closed: bool = False


def find_stopped(
    config_path: Path, environ: Mapping[str, str], redactor: Redactor, incident: int | None
) -> list[WatchPlace]:
    """Return each stopped watch: on this incident, or on all that changed since it could start.

    Raises OpsError.
    """
    config = load_config(config_path, environ, redactor)
    now, rules = current_time(environ), registry.record_rules(config)
    stopped: dict[WatchPlace, None] = {}
    with provider_errors(CHECK_HINT):
        repository = connect(environ, redactor)
        issues = (
            list_recent_incidents(repository, now - RECENT) if incident is None else [repository.get_issue(incident)]
        )
        for issue in issues:
            for each in judge_records(issue, rules, partial(_is_watch_stopped, config, now)):
                if each.trust != Trust.NONE or each.is_former:
                    place = Place(each.record.environment, each.record.service)
                    stopped[WatchPlace(place, issue.number, is_closed_watch(each.record.watch))] = None
    return list(stopped)


def _is_watch_stopped(config: "Config", now: datetime, record: RunRecord) -> bool:
    """Return whether this is a watch of a service in ops.yml, without a result and without a recent round."""
    environment = config.environments.get(record.environment)
    if record.source != WATCH or record.decision or environment is None or record.service not in environment.services:
        return False
    state = parse_watch_state(record.watch, now)
    return state is not None and now - state.seen_at > MAX_PAUSE
