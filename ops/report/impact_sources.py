"""Read the numbers of Cloudflare's analytics for each service of an incident."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from ops.app.session import Session
from ops.cloudflare.types.records import HostTraffic, WorkerTraffic
from ops.core.bounded_http import PROBE_AGENT
from ops.core.clock import Period
from ops.core.errors import OpsError, Reason
from ops.core.permissions import graphql_permissions, needed_permission
from ops.report.evidence import IncidentEvidence
from ops.report.impact import LONGEST, MINUTE, ServiceImpact, ServiceWrite, describe_own_requests, find_impact_window
from ops.report.pictures import MARGIN
from ops.report.timeline import find_deployment
from ops.watch.second_source import probes_with_other_agent

if TYPE_CHECKING:
    from ops.config import Config, Environment, Service
    from ops.config.probes import Probe

T = TypeVar("T")
TIMEOUT = 10.0
"""Seconds for one query; it is sent once."""
MOST_SERVICES = 10
"""Most services whose numbers are read."""


def read_impact(evidence: IncidentEvidence, config: "Config", environ: Mapping[str, str]) -> tuple[ServiceImpact, ...]:
    """Read the requests to each service, from the start of the incident to its recovery."""
    impact = []
    for environment, service, start, end in islice(_list_services(evidence, config), MOST_SERVICES):
        window = find_impact_window(start, end, evidence.read_at)
        if window is None:
            continue
        with ExitStack() as ending:
            session = Session(config, environment.name, environ, ending)
            read = _read_service(evidence, session, service, window)
        is_shortened = window.until - start > LONGEST + MINUTE
        impact.append(replace(read, has_recovered=end is not None, is_shortened=is_shortened))
    return tuple(impact)


def _read_service(evidence: IncidentEvidence, session: Session, service: "Service", window: Period) -> ServiceImpact:
    environment = session.environment
    shown = Period(window.since - MARGIN, max(window.until, min(window.until + MARGIN, evidence.read_at)))
    others = [each for each in environment.services.values() if each.name != service.name]
    impact = ServiceImpact(
        environment.name,
        service.name,
        window,
        shown,
        writes=tuple(_list_writes(evidence, environment.name, service.name)),
        worker=service.worker or "",
        host=service.host,
        sharing=tuple(each.name for each in others if service.host and each.host == service.host),
    )
    if service.worker:
        impact = _add_worker(impact, evidence, session, service)
    return _add_host(impact, evidence, session, service) if service.host else impact


def _add_worker(
    impact: ServiceImpact, evidence: IncidentEvidence, session: Session, service: "Service"
) -> ServiceImpact:
    environment = session.environment
    counted = [each for each in environment.services.values() if each.worker == service.worker]
    probes = {each.name: _all_probes(environment, each) for each in counted}
    traffic, problem = _try_impact_read(
        lambda: _read_traffic(session, impact.worker, impact.shown, evidence.read_at), graphql_permissions()["accounts"]
    )
    return replace(
        impact,
        traffic=traffic,
        traffic_problem=problem,
        own_worker=describe_own_requests(
            evidence.records, probes, environment.name, impact.window, _shortest_interval(counted)
        ),
    )


def _shortest_interval(services: Iterable["Service"]) -> timedelta:
    return timedelta(seconds=min(each.verify.interval for each in services))


def _all_probes(environment: "Environment", service: "Service") -> tuple["Probe", ...]:
    named = service.probes_with(service.durable_objects)
    return (*named, *(probe for each in environment.databases_of(service.name).values() for probe in each.probes))


def _add_host(impact: ServiceImpact, evidence: IncidentEvidence, session: Session, service: "Service") -> ServiceImpact:
    """Add the responses of the host. Requests of our probes are left out by user agent, the others are counted."""
    counted = [each for each in session.environment.services.values() if each.host == service.host]
    others = {each.name: probes_with_other_agent(each) for each in counted}
    responses, problem = _try_impact_read(
        lambda: _read_responses(session, impact, evidence.read_at),
        f"{graphql_permissions()['zones']} and {needed_permission('GET /zones')}",
    )
    own = describe_own_requests(
        evidence.records, others, impact.environment, impact.window, _shortest_interval(counted)
    )
    return replace(impact, responses=responses, responses_problem=problem, own_host=own)


def _read_traffic(session: Session, worker: str, shown: Period, now: datetime) -> WorkerTraffic:
    from ops.cloudflare import records

    return records.read_worker_traffic(
        session.client, session.account_id, worker, shown, now=now, history=timedelta(0), timeout=TIMEOUT
    )


def _read_responses(session: Session, impact: ServiceImpact, now: datetime) -> HostTraffic:
    """Read the responses of the host. Raises ProviderError, also if it is in no zone."""
    from ops.cloudflare import records

    zone = records.find_zone(session.client, session.account_id, impact.host)
    return records.read_host_traffic(
        session.client,
        zone,
        impact.host,
        impact.window,
        recent=impact.shown,
        without_agent=PROBE_AGENT,
        now=now,
        timeout=TIMEOUT,
    )


def _try_impact_read(ask: Callable[[], T], permissions: str) -> tuple[T | None, str]:
    """Return the result, or a reason that is the same for each read, so that an unchanged report stays unchanged."""
    try:
        return ask(), ""
    except OpsError as error:
        if error.reason == Reason.NOT_AUTHORISED:
            return None, f"the token needs {permissions}"
        return None, error.message.partition(" (cf-ray ")[0]


def _list_services(
    evidence: IncidentEvidence, config: "Config"
) -> Iterator[tuple["Environment", "Service", datetime, datetime | None]]:
    """Yield the affected services with start and recovery. Without a stated start, the replaced version's counts."""
    for state in evidence.state.services:
        environment = config.environments.get(state.environment)
        service = environment.services.get(state.service) if environment else None
        start = state.broken_since.at or find_deployment(evidence, evidence.find_run(state)).at
        if environment and service and start:
            yield environment, service, start, state.healthy_since


def _list_writes(evidence: IncidentEvidence, environment: str, service: str) -> Iterator[ServiceWrite]:
    """Yield the writes of the runs on the service, oldest first."""
    for one in evidence.counted_runs:
        if (one.record.environment, one.record.service) == (environment, service):
            yield from (ServiceWrite(row.at, one.record.runbook) for row in one.record.rows if row.kind == "written")
