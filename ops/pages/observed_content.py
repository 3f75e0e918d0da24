"""Compare the content of a Pages site with the content of its deployments.

A Pages URL may still serve a file that the deployment no longer has. So a path that a deployment lacks proves nothing
against that deployment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ops.cloudflare.types.pages import PagesDeployment, PagesProject
from ops.core.verdict import PageContent
from ops.pages.live_deployment import ContentDigests

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
        if self._equal(self.site, compares_assets=False):
            return False
        return any(page.assets_digest for page in self.site) and len(self._equal(self.site, compares_assets=True)) == 1

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
        return self._equal(site, compares_assets=self.compares_assets)

    def describe_comparison(self, name: str, paths: Sequence[str]) -> tuple[str, ...]:
        """Return how the site compares with a deployment at each path, for people."""
        pages = zip(paths, self.site, self.own.get(name, ()), strict=False)
        return tuple(f"{path}: {describe_match(own, site)}" for path, site, own in pages)

    def has_switched_to(self, name: str, site: ObservedPages) -> bool:
        """Return whether the site now matches a deployment, if the live one was unknown before."""
        if name in self._equal(site, compares_assets=False):
            return True
        before, after = (site_digest(look, compares_assets=True) for look in (self.site, site))
        return before != after and self._equal(site, compares_assets=True) == {name}

    def serves_new_deployment(self, own: ObservedPages, site: ObservedPages) -> bool:
        """Return whether the site matches a deployment that is newer than the plan. `own`: pages at its own URL."""
        if (whole := site_digest(site)) is not None and deployment_digest(own, site) == whole:
            return True
        before, after = (site_digest(look, compares_assets=True) for look in (self.site, site))
        return after is not None and before != after == deployment_digest(own, site, compares_assets=True)

    def _equal(self, site: ObservedPages, *, compares_assets: bool) -> frozenset[str]:
        whole = site_digest(site, compares_assets=compares_assets)
        if whole is None:
            return frozenset()
        own = self.own.items()
        return frozenset(
            name for name, look in own if deployment_digest(look, site, compares_assets=compares_assets) == whole
        )
