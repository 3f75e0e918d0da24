"""Read what is live of a service, and whether a rollback made it live."""

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from ops.app.session import Session
from ops.cloudflare.types.pages import PagesDeployment
from ops.cloudflare.types.workers import describe_accident
from ops.core.standing_rollback import StandingRollback
from ops.core.threads import run_parallel
from ops.pages.live_deployment import describe_match, find_site_rollback
from ops.pages.snapshot import MAX_DEPLOYMENTS
from ops.workers.plan_text import REPAIR
from ops.workers.rollback_finder import read_worker_rollback

if TYPE_CHECKING:
    from ops.config import Service


@dataclass(frozen=True)
class LiveService:
    """Live version or deployment of one service."""

    service: str
    kind: str
    split: tuple[tuple[str, float], ...]
    """Worker versions with their percentages, or the one deployment of a site."""
    since: datetime | None
    by: str
    message: str = ""
    compared: tuple[str, ...] = ()
    """For a site: result for each path in `compare`."""
    warning: str = ""
    """Accident that made this live."""
    rollback: StandingRollback | None = None
    """The rollback that made this live in place of a newer one."""
    guarded_until: datetime | None = None
    """Earliest end of a guard, if ops.yml asks for one; None for a deployment of ours."""


def read_live_worker(session: Session, service: "Service") -> LiveService:
    deployments = session.cloudflare.workers.list_deployments(service.worker)
    if not deployments:
        return LiveService(service.name, service.kind, (), None, "")
    one = deployments[0]
    rollback = read_worker_rollback(session.cloudflare.workers, service, deployments, session.clock.now())
    split = (*one.split, (one.rehearsed, 0.0)) if one.rehearsed else one.split
    warning = f"{accident}. {REPAIR}" if (accident := describe_accident(one)) else ""
    return LiveService(
        service.name,
        service.kind,
        split,
        one.created_on,
        one.author,
        one.message,
        warning=warning,
        rollback=rollback,
        guarded_until=None if one.mark else _guard_end(service, one.created_on),
    )


def read_live_site(session: Session, service: "Service") -> LiveService:
    """Read the deployment that Cloudflare reports as canonical."""
    one: PagesDeployment | None = session.cloudflare.pages.read_project(service.pages).canonical
    if one is None:
        return LiveService(service.name, service.kind, (), None, "")
    compared, rollback = _compare_paths(session, service, one), read_site_rollback(session, service, one)
    return LiveService(
        service.name,
        service.kind,
        ((one.id, 100.0),),
        one.created_on,
        one.trigger,
        one.message,
        compared,
        rollback=rollback,
        guarded_until=_guard_end(service, one.created_on),
    )


def _guard_end(service: "Service", deployed_at: datetime) -> datetime | None:
    return deployed_at + service.guard.length if service.guard else None


def _compare_paths(session: Session, service: "Service", one: PagesDeployment) -> tuple[str, ...]:
    """Compare each path in `compare` as a rollback does, which shows early if a path does not work."""
    places = [(path, each.rstrip("/") + path) for path in service.compare for each in (one.url, service.url)]
    pages = run_parallel([partial(session.web.fetch_page, url) for _, url in places])
    results = zip(service.compare, pages[::2], pages[1::2], strict=True)
    return tuple(f"{path}: {describe_match(own, site)}" for path, own, site in results)


def read_site_rollback(session: Session, service: "Service", live: PagesDeployment) -> StandingRollback | None:
    listed = session.cloudflare.pages.list_deployments(service.pages, limit=MAX_DEPLOYMENTS)
    return find_site_rollback(service, live, listed)


def read_rollback(session: Session, service: "Service") -> StandingRollback | None:
    """Return the rollback of a service that stands. Raises ProviderError."""
    if service.worker:
        deployments = session.cloudflare.workers.list_deployments(service.worker)
        now = session.clock.now()
        return read_worker_rollback(session.cloudflare.workers, service, deployments, now)
    live = session.cloudflare.pages.read_project(service.pages).canonical
    return read_site_rollback(session, service, live) if live else None
