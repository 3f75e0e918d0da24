"""Identify the live deployment of a Pages project by the content of its site.

Cloudflare does not document that `canonical_deployment` follows a rollback [unsure: pages-canonical]. So it counts as
live only if the site's content matches it: Backout reads the same paths at the site's URL and at the deployments' own
URLs. A Pages URL may still serve a file that the deployment no longer has. So a path that a deployment lacks proves
nothing against that deployment.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from ops.cloudflare.types.pages import PagesDeployment, PagesProject
from ops.core.clock import MAX_CLOCK_SKEW, format_utc
from ops.core.errors import Decision, Reason, Refused
from ops.core.names import did_you_mean, quote_name
from ops.core.run_record import RunRecord
from ops.core.standing_rollback import StandingRollback
from ops.core.verdict import PageContent, WantedContent
from ops.pages.target_choice import find_by_prefix
from ops.workers.rollback_finder import name_version_commit

if TYPE_CHECKING:
    from ops.config import Service

PROPAGATION = timedelta(minutes=5)
"""Longest time until a site shows an accepted rollback. Custom domains were stale for up to five minutes."""
UNKNOWN = "unknown"
"""Text of a change for a live deployment that could not be identified; persisted in records."""
MAX_COMPARED = 8
"""Number of newest successful production deployments that the site is compared with."""


@dataclass(frozen=True)
class ContentDigests:
    """Digests of the compared paths: equal digests, equal content. None if a path could not be read."""

    site: str | None
    own: Mapping[str, str | None]
    """Deployment → digest at its own URL."""
    compares_assets: bool = False
    """Whether hashed assets were compared, because no content was equal."""


@dataclass(frozen=True)
class LiveDeployment:
    deployment: PagesDeployment | None
    """None if it is not proved: refuse before a change; inconclusive after one."""
    why: str
    """Explanation for people."""
    is_canonical: bool = False
    """Whether it is the canonical one. False with a deployment: canonical does not follow rollbacks here."""
    indistinguishable: tuple[str, ...] = ()
    """Other deployments with equal content on the compared paths."""


def select_compared(deployments: Sequence[PagesDeployment]) -> tuple[PagesDeployment, ...]:
    """Return the deployments to compare with the site. `deployments` are newest first, here and below."""
    return tuple(d for d in deployments if d.can_serve_production)[:MAX_COMPARED]


def identify_live(
    project: PagesProject, deployments: Sequence[PagesDeployment], digests: ContentDigests
) -> LiveDeployment:
    canonical = project.canonical
    if canonical is None:
        return LiveDeployment(None, f"Cloudflare names no canonical deployment of {project.name}")
    if digests.site is None:
        return LiveDeployment(None, "the site could not be read")
    compared = {d.id: d for d in select_compared(deployments)}
    equal = [compared[name] for name in compared if digests.own.get(name) == digests.site]
    if digests.own.get(canonical.id) == digests.site:
        indistinguishable = tuple(d.id for d in equal if d.id != canonical.id)
        how = "uses the hashed assets of" if digests.compares_assets else "matches"
        return LiveDeployment(
            canonical,
            f"the site {how} the canonical deployment",
            is_canonical=True,
            indistinguishable=indistinguishable,
        )
    # An unread deployment may match the site too.
    unread = sum(digests.own.get(name) is None for name in {*compared, canonical.id})
    if unread:
        return LiveDeployment(None, f"{unread} of the deployments to compare could not be read")
    if len(equal) != 1:
        matches = f"{len(equal)} deployments match it" if equal else "no deployment matches it"
        return LiveDeployment(
            None, f"the site does not match the canonical deployment {canonical.id[:8]}, and {matches}"
        )
    how = "uses the hashed assets of" if digests.compares_assets else "matches"
    return LiveDeployment(equal[0], f"the site {how} only {equal[0].id[:8]}: canonical does not follow rollbacks here")


def wanted_content(
    service: "Service",
    deployments: Sequence[PagesDeployment],
    wanted: PagesDeployment,
    replaced: PagesDeployment | None = None,
) -> WantedContent:
    """Return a deployment that should be live, and the one that it replaced (default: the newest other one)."""
    others = [replaced] if replaced else [d for d in deployments if d.can_serve_production and d.id != wanted.id][:1]
    urls = tuple(d.url for d in others if d.id != wanted.id)
    return WantedContent(wanted.id[:8], wanted.url, urls, service.url, service.compare)


def include_canonical(
    deployments: Sequence[PagesDeployment], canonical: PagesDeployment | None
) -> tuple[PagesDeployment, ...]:
    """Return the list with the canonical deployment, if that was deployed after the list was read.

    The project and the list are two reads; a deployment between them appears in only one of the two.
    """
    if canonical is None or any(d.id == canonical.id and d.can_serve_production for d in deployments):
        return tuple(deployments)
    if deployments and canonical.created_on < deployments[-1].created_on:  # older than all listed ones
        return tuple(deployments)
    others = (d for d in deployments if d.id != canonical.id)
    return tuple(sorted((canonical, *others), key=lambda deployment: deployment.created_on, reverse=True))


def newly_available_deployments(
    before: Sequence[PagesDeployment], now: Sequence[PagesDeployment]
) -> tuple[PagesDeployment, ...]:
    """Return the deployments that became deployable since `before`: new ones, and ones whose build ended.

    Older ones are ignored: they appear in the list only because another deployment was deleted.
    """
    could = {d.id for d in before if d.can_serve_production}
    oldest = before[-1].created_on
    return tuple(d for d in now if d.can_serve_production and d.id not in could and d.created_on >= oldest)


@dataclass(frozen=True)
class AcceptedRollback:
    """A rollback that an earlier run sent and Cloudflare accepted.

    Machines of the edge change one after the other, so a run that saw it says nothing of the next read.
    """

    run: str
    at: datetime
    replaced: PagesDeployment | None
    """None if that run could not identify it."""
    target: PagesDeployment
    was_seen: bool = False
    """Whether a run has seen it on the site."""

    def may_be_live(self, live: LiveDeployment, now: datetime) -> bool:
        """Return whether the site may still lag, or cannot tell the target from the replaced deployment."""
        may_lag = -MAX_CLOCK_SKEW <= now - self.at <= PROPAGATION
        is_hidden = self.target.id in live.indistinguishable and not self.was_seen
        return live.deployment == self.replaced and (may_lag or is_hidden)

    def __str__(self) -> str:
        return f"Cloudflare accepted the rollback to {self.target.id[:8]} at {format_utc(self.at)} (run {self.run})"


def not_shown_refusal(service: "Service", accepted: AcceptedRollback) -> Refused:
    """Refuse to restore what the site still shows, although a rollback of it was accepted."""
    again = format_utc(accepted.at + PROPAGATION)
    return Refused(
        f"it is unknown which deployment of {service.pages} is live: {accepted}, and the site does not show it",
        reason=Reason.LIVE_UNKNOWN,
        hint=(
            f"Start the command again after {again}. If the site still does not show it, use the Cloudflare dashboard: "
            "Workers & Pages → the project → Deployments → the deployment → Rollback."
        ),
    )


def find_accepted_rollback(
    runs: Iterable[RunRecord], deployments: Sequence[PagesDeployment], *, service: str, environment: str
) -> AcceptedRollback | None:
    """Return the rollback of the last run that wrote. Oldest run first.

    A later deployment replaces it. A run that failed after its write saw somebody else's change.
    """
    rows = [(run, row) for run in runs if (run.service, run.environment) == (service, environment) for row in run.rows]
    last = max((index for index, (_, row) in enumerate(rows) if row.kind == "written"), default=None)
    if last is None:
        return None
    was_seen = any(row.kind == "read_back" for _, row in rows[last:])
    run, at = rows[last][0], rows[last][1].at
    if run.decision == Decision.FAILED or len(run.versions) != 1:
        return None
    replaced, target = (find_by_prefix(name, deployments) for name in run.versions[0][1:])
    is_replaced = any(d.can_serve_production and d.created_on > at for d in deployments)
    is_known = replaced is not None or run.versions[0][1] == UNKNOWN
    if target is None or not is_known or is_replaced:
        return None
    return AcceptedRollback(run.run, at, replaced, target, was_seen)


def parse_deployment_target(text: str, deployments: Sequence[PagesDeployment], *, project: str) -> PagesDeployment:
    """Parse a deployment ID, its first eight characters if they are unique, or its URL. Raises Refused."""
    name = text.strip().lower().rstrip("/")
    named = [d for d in deployments if name in {d.id, d.url.lower().rstrip("/")}]
    named = named or [d for d in deployments if len(name) >= 8 and d.id.startswith(name)]
    if not named:
        raise Refused(
            f'no production deployment of {project} "{quote_name(text)}"'
            f"{did_you_mean(name, [d.id for d in deployments])}",
            reason=Reason.UNKNOWN_NAME,
            hint="Pass the ID of a deployment, its first 8 characters or its URL: `ops versions` lists them.",
        )
    if len(named) > 1:
        listed = ", ".join(f"{d.id} ({format_utc(d.created_on)})" for d in named)
        raise Refused(
            f'"{name}" matches {len(named)} deployments of {project}',
            reason=Reason.UNKNOWN_NAME,
            hint=f"Pass one of: {listed}.",
        )
    if not named[0].can_serve_production:
        stage = " ".join(filter(None, (named[0].stage, named[0].status))) or "unknown"
        raise Refused(
            f"deployment {named[0].id[:8]} of {project}, created {format_utc(named[0].created_on)} cannot be deployed: "
            f"its last stage is {stage}",
            reason=Reason.NOT_DEPLOYABLE,
            hint="Pass a deployment whose last stage is deploy with status success.",
        )
    return named[0]


ObservedPages = tuple[PageContent, ...]
"""Content of each compared path."""


def site_digest(site: ObservedPages, *, compares_assets: bool = False) -> str | None:
    """Return one digest of all paths of the site; None if a path could not be read."""
    return (
        "|".join(page.comparison_digest(by_assets=compares_assets) for page in site)
        if all(page.digest for page in site)
        else None
    )


def deployment_digest(own: ObservedPages, site: ObservedPages, *, compares_assets: bool = False) -> str | None:
    """Return the digest that the site would have if this deployment were live; None if that is unknown.

    For a path that only the site has, the site's page is used: it may be cached. A deployment that lacks all
    these paths cannot be recognized.
    """
    if site_digest(own) is None or site_digest(site) is None:
        return None
    remembered = [mine.is_absent and not theirs.is_absent for mine, theirs in zip(own, site, strict=True)]
    if all(remembered):
        return None
    parts = zip(own, site, remembered, strict=True)
    taken = (theirs if is_remembered else mine for mine, theirs, is_remembered in parts)
    return "|".join(page.comparison_digest(by_assets=compares_assets) for page in taken)


def first_read_failure(*looks: ObservedPages) -> str:
    """Return why a path could not be read, for the first such path; empty if all were read."""
    return next((page.error for look in looks for page in look if not page.digest), "")


def describe_match(own: PageContent, site: PageContent) -> str:
    """Return how the site's page compares with the page at a deployment's own URL, for people."""
    if not (own.digest and site.digest):
        return f"not read: {site.error or own.error}"
    if own.digest == site.digest:
        return "equal content"
    if own.assets_digest and own.assets_digest == site.assets_digest:
        return "other content, the same hashed assets"
    return "proves nothing: the deployment does not have it" if own.is_absent else "other content"


@dataclass(frozen=True)
class SiteObservation:
    """Project, deployments and content of a site, read at the same time; also the comparison before the write."""

    project: PagesProject
    deployments: tuple[PagesDeployment, ...]
    site: ObservedPages
    own: Mapping[str, ObservedPages]
    """Deployment → pages at its own URL."""

    @cached_property
    def compares_assets(self) -> bool:
        """Return whether only hashed assets identify the deployment: no content is equal, but one set of assets is."""
        if self._find_equal_deployments(self.site, compares_assets=False):
            return False
        return (
            any(page.assets_digest for page in self.site)
            and len(self._find_equal_deployments(self.site, compares_assets=True)) == 1
        )

    @property
    def digests(self) -> ContentDigests:
        compares_assets = self.compares_assets
        own = {
            name: deployment_digest(look, self.site, compares_assets=compares_assets) for name, look in self.own.items()
        }
        return ContentDigests(
            site_digest(self.site, compares_assets=compares_assets), own, compares_assets=compares_assets
        )

    @property
    def first_read_failure(self) -> str:
        """Return why a path could not be read, for the first such path; empty if all were read."""
        return first_read_failure(self.site, *self.own.values())

    def matching_deployments(self, site: ObservedPages) -> frozenset[str]:
        """Return the deployments that the current site matches; none if a path could not be read."""
        return self._find_equal_deployments(site, compares_assets=self.compares_assets)

    def describe_comparison(self, name: str, paths: Sequence[str]) -> tuple[str, ...]:
        """Return how the site compares with a deployment at each path, for people."""
        pages = zip(paths, self.site, self.own.get(name, ()), strict=False)
        return tuple(f"{path}: {describe_match(own, site)}" for path, site, own in pages)

    def has_switched_to(self, name: str, site: ObservedPages) -> bool:
        """Return whether the site now matches a deployment, if the live one was unknown before."""
        if name in self._find_equal_deployments(site, compares_assets=False):
            return True
        before, after = (site_digest(look, compares_assets=True) for look in (self.site, site))
        return before != after and self._find_equal_deployments(site, compares_assets=True) == {name}

    def serves_new_deployment(self, own: ObservedPages, site: ObservedPages) -> bool:
        """Return whether the site matches a deployment that is newer than the plan. `own`: pages at its own URL."""
        if (whole := site_digest(site)) is not None and deployment_digest(own, site) == whole:
            return True
        before, after = (site_digest(look, compares_assets=True) for look in (self.site, site))
        return after is not None and before != after == deployment_digest(own, site, compares_assets=True)

    def _find_equal_deployments(self, site: ObservedPages, *, compares_assets: bool) -> frozenset[str]:
        whole = site_digest(site, compares_assets=compares_assets)
        if whole is None:
            return frozenset()
        own = self.own.items()
        return frozenset(
            name for name, look in own if deployment_digest(look, site, compares_assets=compares_assets) == whole
        )


def find_site_rollback(
    service: "Service", live: PagesDeployment, deployments: Iterable[PagesDeployment]
) -> StandingRollback | None:
    """Return the rollback of a site. Cloudflare keeps neither its time nor its author."""
    newer = [each for each in deployments if each.can_serve_production and each.created_on > live.created_on]
    if not newer:
        return None
    newest = max(newer, key=lambda each: each.created_on)
    return StandingRollback(
        service.name,
        name_version_commit(live.id, live.commit),
        name_version_commit(newest.id, newest.commit),
        newest.created_on,
        "",
        service.hold_setup,
        newest.commit,
        key=newest.id[:8],
        is_exact=False,
    )
