"""What was seen at addresses of Pages, and whether a site looks like a deployment. Pure.

An address of Pages may go on answering with a file that it once served and that the deployment no longer has: so a path
that a deployment does not have says nothing against that deployment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ops.cloudflare.types.pages import PagesDeployment, PagesProject
from ops.core.observations import PageContent
from ops.pages.live_deployment import ContentDigests

ObservedPages = tuple[PageContent, ...]
"""One page for each compared path."""


def site_digest(site: ObservedPages, *, compares_assets: bool = False) -> str | None:
    """All of the site as one digest; None where a path could not be read."""
    return (
        "|".join(page.comparison_digest(by_assets=compares_assets) for page in site)
        if all(page.digest for page in site)
        else None
    )


def deployment_digest(own: ObservedPages, site: ObservedPages, *, compares_assets: bool = False) -> str | None:
    """What the site's digest would be if this deployment served; None where that is not known.

    Where it lacks a path, and the site has it, the site's page is taken: it may be a remembered one. A deployment that
    lacks all that the site has is not to be known by them.
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
    """Why a path could not be read, the first of them; nothing where all were."""
    return next((page.error for look in looks for page in look if not page.digest), "")


def describe_match(own: PageContent, site: PageContent) -> str:
    """Return how the site's page compares with that of a deployment's own address, for people."""
    if not (own.digest and site.digest):
        return f"not read: {site.error or own.error}"
    if own.digest == site.digest:
        return "equal content"
    if own.assets_digest and own.assets_digest == site.assets_digest:
        return "other content, the same hashed assets"
    return "proves nothing: the deployment does not have it" if own.is_absent else "other content"


@dataclass(frozen=True)
class SiteObservation:
    """All that a plan is made of, read at once, so that it is the comparison too."""

    project: PagesProject
    deployments: tuple[PagesDeployment, ...]
    site: ObservedPages
    own: Mapping[str, ObservedPages]
    """Deployment → what its own address held."""

    @cached_property
    def compares_assets(self) -> bool:
        """Whether only hashed assets tell which deployment serves: no content equals, and one set of assets does."""
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
        """Why a path could not be read, the first of them; nothing where all were."""
        return first_read_failure(self.site, *self.own.values())

    def matching_deployments(self, site: ObservedPages) -> frozenset[str]:
        """The deployments that the site, as it is by now, looks like; none where a path could not be read."""
        return self._equal(site, compares_assets=self.compares_assets)

    def describe_comparison(self, name: str, paths: Sequence[str]) -> tuple[str, ...]:
        """How the site and that deployment's own address compare at each path, for people."""
        pages = zip(paths, self.site, self.own.get(name, ()), strict=False)
        return tuple(f"{path}: {describe_match(own, site)}" for path, site, own in pages)

    def has_switched_to(self, name: str, site: ObservedPages) -> bool:
        """Whether the site looks like that deployment by now, where it was not known what it looked like before."""
        if name in self._equal(site, compares_assets=False):
            return True
        before, after = (site_digest(look, compares_assets=True) for look in (self.site, site))
        return before != after and self._equal(site, compares_assets=True) == {name}

    def serves_new_deployment(self, own: ObservedPages, site: ObservedPages) -> bool:
        """Whether the site looks like a deployment that was made after the plan; `own` is its own address."""
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
