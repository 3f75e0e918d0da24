"""Read the state of a Pages site before and after a change."""

import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from ops.cloudflare.types.pages import PRODUCTION, PagesDeployment, PagesProject
from ops.config.probes import ProbeSet
from ops.core.clock import format_utc
from ops.core.errors import OpsError, Reason, Refused
from ops.core.next_step import SuggestedCommand
from ops.core.run_record import RunRecord, merge_runs
from ops.core.threads import run_parallel_mixed
from ops.core.verdict import PageContent, WantedContent
from ops.engine.context import CloudflareClients, Context, WebClients
from ops.engine.runbook import RollbackReach
from ops.pages import live_deployment, target_choice
from ops.pages.live_deployment import PROPAGATION, AcceptedRollback, LiveDeployment, ObservedPages, SiteObservation
from ops.pages.plan_text import PagesHistory, describe_site_deployment, short_deployment_id
from ops.pages.target_choice import TargetFacts
from ops.workers.rollback_target import resolve_commit

if TYPE_CHECKING:
    from ops.config import Service

MAX_DEPLOYMENTS = 25
"""Deployments that are read: one page of Cloudflare's list."""
UNKNOWN_SECONDS = 10.0
"""Real seconds before an unknown live deployment is read again."""
FindContent = Callable[[], WantedContent | None]
FULL_ID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


class SiteReader(Protocol):
    """Clients that read a site and its deployments; the context of a run is one, and a session."""

    @property
    def cloudflare(self) -> CloudflareClients: ...

    @property
    def web(self) -> WebClients: ...


def build_site_probes(service: "Service", find_content: FindContent | None = None) -> ProbeSet:
    """Return the probes of the site. `find_content`: names the deployment that should be live; the run calls it."""
    return ProbeSet(service.url, service.probes, service.verify, find_content=find_content)


class SiteContent:
    """Finds the deployment that should be live, to compare cached answers with it. It is read once."""

    def __init__(self, read: FindContent) -> None:
        self._read = read
        self._found: WantedContent | None = None
        self._not_before = 0.0
        self._lock = threading.Lock()

    def __call__(self) -> WantedContent | None:
        """Return the deployment. An unknown one is read again after UNKNOWN_SECONDS."""
        with self._lock:
            if self._found is None and time.monotonic() >= self._not_before:
                self._found = self._read()
                self._not_before = time.monotonic() + UNKNOWN_SECONDS
            return self._found

    def forget(self) -> None:
        """Read again at the next call, because another deployment may be live."""
        self._found, self._not_before = None, 0.0


def live_content(reader: SiteReader, service: "Service") -> SiteContent:
    """Return the function that names the live deployment, identified by the content of the site."""
    return SiteContent(partial(_read_live_content, reader, service))


def _read_live_content(reader: SiteReader, service: "Service") -> WantedContent | None:
    try:
        observed = _observe_site_again(reader, service, _read_project_and_target(reader, service, ""))
    except OpsError:
        return None
    live = live_deployment.identify_live(observed.project, observed.deployments, observed.digests).deployment
    return live_deployment.wanted_content(service, observed.deployments, live) if live else None


def find_shown_instead(reader: SiteReader, service: "Service", deployment: str) -> tuple[str, ...] | None:
    """Return the deployments that the site shows instead of this one; none if it shows this one.

    None if that is unknown: a page could not be read, or the site shows no deployment.
    """
    try:
        observed = _observe_site_again(reader, service, _read_project_and_target(reader, service, ""))
    except OpsError:
        return None
    shown = observed.matching_deployments(observed.site)
    if deployment in shown:
        return ()
    is_read = deployment in observed.own and live_deployment.site_digest(observed.own[deployment]) is not None
    return tuple(each for each in observed.own if each in shown) if shown and is_read else None


@dataclass(frozen=True)
class PagesSnapshot:
    """State of a Pages project before a change."""

    requested: PagesDeployment | None
    """The deployment that `to` names; may be older than the listed ones."""
    observed: SiteObservation
    live: LiveDeployment
    history: PagesHistory | None
    """None if the live deployment could not be identified."""
    accepted: AcceptedRollback | None = None
    """A rollback by an earlier run that may be live, although the site does not show it."""

    @property
    def reach(self) -> RollbackReach:
        history = self.history
        if history is None:
            return RollbackReach("", None, 0, None)
        live = history.serving_deployment
        is_newest = not any(each.can_serve_production for each in history.newer_deployments)
        count, oldest = history.choice.history.deployable_releases
        return RollbackReach(short_deployment_id(live), live.created_on if is_newest else None, count, oldest)


def read_site_snapshot(ctx: Context[Any], service: "Service", to: str = "", to_commit: str = "") -> PagesSnapshot:
    """Read the project, its newest deployments and the served content. At most one of `to` and `to_commit` is given.

    Raises:
        Refused: the project has no deployment, `to` cannot be deployed, or the site changed between two reads.
    """
    earlier = ctx.previous_runs()
    listed = _read_project_and_target(ctx, service, to, to_commit)
    observed = _observe_site_again(ctx, service, listed)
    live = live_deployment.identify_live(observed.project, observed.deployments, observed.digests)
    runs, place = earlier().runs, {"service": service.name, "environment": ctx.environment.name}
    now, repository = ctx.clock.now(), service.repository
    known = merge_runs(runs, _recent_local_runs(ctx))
    accepted = live_deployment.find_accepted_rollback(known, observed.deployments, **place)
    accepted = accepted if accepted and accepted.may_be_live(live, now) else None
    if live.deployment is None:
        return PagesSnapshot(listed.requested, observed, live, None, accepted)
    facts = TargetFacts(
        now,
        service.min_served,
        observed.digests.own,
        target_choice.blamed_deployments(runs, observed.deployments, **place),
        earlier().opened_at,
        ctx.request.incident_began,
    )
    compared = observed.describe_comparison(live.deployment.id, service.compare)
    history = PagesHistory(observed.project, observed.deployments, live, live.deployment, facts, repository, compared)
    return PagesSnapshot(listed.requested, observed, live, history, accepted)


def _recent_local_runs(ctx: Context[Any]) -> list[RunRecord]:
    """Return the runs of this machine whose changes the site may still lag behind."""
    now = ctx.clock.now()
    return [run for run in ctx.local_runs() if any(now - row.at <= PROPAGATION for row in run.rows)]


def read_current_state(
    ctx: Context[Any], service: "Service"
) -> tuple[PagesProject, tuple[PagesDeployment, ...], ObservedPages]:
    """Read the project, its deployments and the content of the site."""
    project, deployments, *site = read_project_with(ctx, service, page_reads(ctx, service.url, service.compare))
    return project, deployments, tuple(site)


def read_compared_paths(ctx: Context[Any], service: "Service", address: str) -> ObservedPages:
    """Read the paths in `compare` of ops.yml below a URL, in parallel."""
    return tuple(run_parallel_mixed(page_reads(ctx, address, service.compare)))


def read_project_with(ctx: SiteReader, service: "Service", extra_reads: list[Callable[[], Any]]) -> tuple[Any, ...]:
    """Read the project and its newest deployments, newest first, in parallel with `extra_reads`."""
    project, deployments, *others = run_parallel_mixed(
        [
            lambda: ctx.cloudflare.pages.read_project(service.pages),
            lambda: ctx.cloudflare.pages.list_deployments(service.pages, limit=MAX_DEPLOYMENTS),
            *extra_reads,
        ]
    )
    return project, live_deployment.include_canonical(deployments, project.canonical), *others


def page_reads(ctx: SiteReader, address: str, paths: tuple[str, ...]) -> list[Callable[[], PageContent]]:
    return [_page_read(ctx, address.rstrip("/") + path) for path in paths]


def _page_read(ctx: SiteReader, url: str) -> Callable[[], PageContent]:
    return lambda: ctx.web.fetch_page(url)


@dataclass(frozen=True)
class _ProjectListing:
    """Result of the first round of reads."""

    project: PagesProject
    deployments: tuple[PagesDeployment, ...]
    requested: PagesDeployment | None


def _read_project_and_target(ctx: SiteReader, service: "Service", to: str, to_commit: str = "") -> _ProjectListing:
    to = to.strip().lower()
    whole = re.fullmatch(FULL_ID, to)
    requested: list[Callable[[], Any]] = (
        [lambda: ctx.cloudflare.pages.read_deployment(service.pages, to)] if whole else []
    )
    project, deployments, *further = read_project_with(ctx, service, requested)
    if not deployments:
        raise Refused(
            f"{service.pages} has no production deployment",
            reason=Reason.NO_TARGET,
            hint="Deploy the site first.",
        )
    to = _find_deployment(to_commit, deployments) if to_commit else to
    older = [d for d in further if d is not None and d not in deployments]
    if older and older[0].environment != PRODUCTION:
        raise Refused(
            f"deployment {short_deployment_id(older[0])} of {format_utc(older[0].created_on)} is a "
            "preview: "
            "it cannot serve production",
            reason=Reason.NOT_DEPLOYABLE,
            hint="Pass a production deployment.",
        )
    chosen = live_deployment.parse_deployment_target(to, (*deployments, *older), project=service.pages) if to else None
    return _ProjectListing(project, deployments, chosen)


def _find_deployment(to_commit: str, deployments: Iterable[PagesDeployment]) -> str:
    """Return the ID of the production deployment of a commit. Raises Refused."""
    able = [each for each in deployments if each.can_serve_production]
    times = {each.id: format_utc(each.created_on) for each in able}
    return resolve_commit(to_commit, {each.id: (each.commit,) for each in able}, times, "listed deployment")


def _observe_site_again(ctx: SiteReader, service: "Service", listed: _ProjectListing) -> SiteObservation:
    """Read project and deployments again, with the content of the site and of the deployments."""
    further = (listed.project.canonical, listed.requested)
    compared = {d.id: d for d in (*live_deployment.select_compared(listed.deployments), *further) if d is not None}
    addresses = [service.url, *(d.url for d in compared.values())]
    calls = [call for address in addresses for call in page_reads(ctx, address, service.compare)]
    project, deployments, *pages = read_project_with(ctx, service, calls)
    if newly_available := live_deployment.newly_available_deployments(listed.deployments, deployments):
        raise Refused(
            f"{service.pages} was deployed while the plan was made: {describe_site_deployment(newly_available[0])}",
            reason=Reason.WORLD_MOVED,
            hint="Check what was deployed, then run the command again for a new plan.",
        )
    each = len(service.compare)
    site, *own = (tuple(pages[start : start + each]) for start in range(0, len(pages), each))
    return SiteObservation(project, deployments, site, dict(zip(compared, own, strict=True)))


def explain_unknown_live(service: "Service", snapshot: PagesSnapshot) -> str:
    """Return why the live deployment could not be identified, the likely cause first."""
    observed = snapshot.observed
    host, known = urlsplit(service.url).hostname, observed.project.domains
    is_other = known and host not in known
    own = observed.own.get(observed.project.canonical_id, ())
    failing = [
        page.failure_status
        for page, theirs in zip(observed.site, own, strict=False)
        if page.failure_status and theirs.digest
    ]
    causes = (
        f"`url` in ops.yml has the host {host}, but the project serves {', '.join(known)}" if is_other else "",
        f"{service.url} returns HTTP {failing[0]}, but the deployment's own URL does not" if failing else "",
        snapshot.live.why,
        observed.first_read_failure,
    )
    return "; ".join(filter(None, causes))


def live_unknown_refusal(
    ctx: Context[Any], service: "Service", snapshot: PagesSnapshot, press: SuggestedCommand | None = None
) -> Refused:
    """Return the refusal; a person may still name a target or a commit."""
    canonical = snapshot.observed.project.canonical
    facts = TargetFacts(ctx.clock.now(), service.min_served, {})
    target_ = target_choice.choose_target(snapshot.observed.deployments, canonical, facts).target if canonical else None
    by_name = (
        f"If {service.url} shows deployment {short_deployment_id(canonical)} (Cloudflare's canonical "
        "one), roll back to "
        f"the one before it with `rollback-pages --to`: {describe_site_deployment(target_)}. "
        if canonical and target_
        else "Pass the target with `rollback-pages --to`. "
    )
    build = "Or build and deploy a good commit: `redeploy-pages --commit SHA`. " if service.build else ""
    return Refused(
        f"the live deployment of {service.pages} could not be identified: {explain_unknown_live(service, snapshot)}",
        reason=Reason.LIVE_UNKNOWN,
        hint=(
            f"{by_name}{build}To prevent this, add the path of a file to `compare` of {service.name}, such as "
            "/version.txt, and allow this machine to read the deployments' own URLs."
        ),
        suggested_command=press
        or ctx.suggest("rollback-pages", service=service.name, to=target_.id if target_ else "DEPLOYMENT"),
    )


def check_not_superseded(ctx: Context[Any], deployments: tuple[PagesDeployment, ...]) -> None:
    """Refuse if a deployment is newer than the request: it may already be the fix."""
    newest, requested_at = next((d for d in deployments if d.can_serve_production), None), ctx.request.requested_at
    if newest is not None and requested_at is not None and newest.created_on > requested_at:
        raise Refused(
            f"a deployment is newer than this request ({format_utc(requested_at)}): {describe_site_deployment(newest)}",
            reason=Reason.WORLD_MOVED,
            hint="Check whether it fixed the problem. If not, send the request again.",
        )
