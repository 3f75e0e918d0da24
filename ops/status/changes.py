"""Changes of the services in a period, and those that a rollback took out of service.

A change is a version of a Worker that got traffic for the first time, or a production deployment of a site that
succeeded. A rollback and a gradual rollout of one version are no further changes (dora.dev/guides/dora-metrics).
"""

from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from ops.app.session import Session
from ops.cloudflare.types.workers import WorkerDeployment
from ops.core.clock import Period, format_optional
from ops.core.errors import OpsError
from ops.core.threads import run_in_batches
from ops.workers.history import WorkerHistory

if TYPE_CHECKING:
    from ops.config import Config, Service

MAX_PAGES = 10
"""Pages of deployments of one Worker."""
MAX_SITE_DEPLOYMENTS = 300
"""Deployments of one site that are read."""
MAX_CALLS = 16
"""Services that are read at the same time."""


@dataclass(frozen=True)
class ServiceChanges:
    """Changes of one service that Cloudflare lists, and those that a rollback took out of service."""

    environment: str
    service: str
    since: datetime | None
    """Since when Cloudflare lists all of them: the start of the period, or later; None if nothing was read."""
    changes: int = 0
    failed: tuple[str, ...] = ()
    """Version or deployment."""
    unread: str = ""

    def to_json(self) -> dict[str, Any]:
        since = format_optional(self.since)
        return {**vars(self), "since": since, "failed": list(self.failed)}


@dataclass(frozen=True)
class ChangeQuestion:
    """Which changes count, and what the incidents know of failed ones."""

    period: Period
    removed: Collection[tuple[str, str, str]]
    """Environment, service, and version or deployment (its first characters) that a run took out of service."""
    drills: Collection[int]
    """Incidents whose rollbacks say nothing about a change."""


def read_changes(
    config: "Config", environments: Iterable[str], question: ChangeQuestion, environ: Mapping[str, str]
) -> tuple[ServiceChanges, ...]:
    """Read the changes of each service. One that cannot be read is in the result, with the reason."""
    with ExitStack() as ending:
        sessions = {name: Session(config, name, environ, ending) for name in environments}
        reads = [
            partial(_try_service, session, service, question)
            for session in sessions.values()
            for service in session.environment.services.values()
        ]
        return tuple(run_in_batches(reads, MAX_CALLS))


def _try_service(session: Session, service: "Service", question: ChangeQuestion) -> ServiceChanges:
    place = (session.environment.name, service.name)
    taken = [name for *where, name in question.removed if (*where,) == place]
    try:
        read = _read_worker if service.worker else _read_site_changes
        since, made, failed = read(session, service, question)
    except OpsError as error:
        return ServiceChanges(*place, since=None, unread=error.message)
    failed |= {each for each in made if any(name and each.startswith(name) for name in taken)}
    return ServiceChanges(*place, since, len(made), tuple(sorted(failed & made)))


def _read_worker(session: Session, service: "Service", question: ChangeQuestion) -> tuple[datetime, set[str], set[str]]:
    """Return since when the list is whole, the versions that first got traffic in the period, and those rolled back."""
    period = question.period
    listed = list(session.cloudflare.workers.list_deployments(service.worker))
    page = 1
    while listed and listed[-1].created_on > period.since and page < MAX_PAGES:
        page += 1
        known = {each.id for each in listed}
        older = [d for d in session.cloudflare.workers.list_deployments(service.worker, page=page) if d.id not in known]
        if not older:
            break
        listed += older
    if not listed:
        return period.since, set(), set()
    made, seen = set[str](), set[str]()
    for each in reversed(listed):
        new = {*each.serving_versions} - seen
        seen |= new
        if period.contains(each.created_on) and each.mark is None:
            made |= new
    return max(period.since, listed[-1].created_on), made, _find_rolled_back(listed, question)


def _find_rolled_back(listed: list[WorkerDeployment], question: ChangeQuestion) -> set[str]:
    history = WorkerHistory(tuple(listed), {}, frozenset(), question.period.until, min_served=0.0)
    marks = ((step.removed_version, step.deployment.mark) for step in history.rollbacks)
    return {version for version, mark in marks if mark is None or mark.incident not in question.drills}


def _read_site_changes(
    session: Session, service: "Service", question: ChangeQuestion
) -> tuple[datetime, set[str], set[str]]:
    """Return the same of a site. Its list shows no rollback, so only the records of incidents tell of one."""
    period, listed = (
        question.period,
        session.cloudflare.pages.list_deployments(service.pages, limit=MAX_SITE_DEPLOYMENTS),
    )
    good = {d.id for d in listed if d.can_serve_production and period.contains(d.created_on)}
    return max(period.since, listed[-1].created_on) if listed else period.since, good, set()
