"""What was seen at addresses of Pages, and whether a site looks like a deployment. Pure.

An address of Pages may go on answering with a file that it once served and that the deployment no longer has: so a path
that a deployment does not have says nothing against that deployment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ops.cloudflare.types.pages import PagesDeployment, PagesProject
from ops.core.observations import PageContent
from ops.pages.live_deployment import Sighting

Look = tuple[PageContent, ...]
"""One page for each compared path."""


def of_site(site: Look, *, by_assets: bool = False) -> str | None:
    """All of the site as one digest; None where a path could not be read."""
    return (
        "|".join(page.comparison_digest(by_assets=by_assets) for page in site)
        if all(page.digest for page in site)
        else None
    )


def of_deployment(own: Look, site: Look, *, by_assets: bool = False) -> str | None:
    """What the site's digest would be if this deployment served; None where that is not known.

    Where it lacks a path, and the site has it, the site's page is taken: it may be a remembered one. A deployment that
    lacks all that the site has is not to be known by them.
    """
    if of_site(own) is None or of_site(site) is None:
        return None
    remembered = [mine.is_absent and not theirs.is_absent for mine, theirs in zip(own, site, strict=True)]
    if all(remembered):
        return None
    parts = zip(own, site, remembered, strict=True)
    taken = (theirs if is_remembered else mine for mine, theirs, is_remembered in parts)
    return "|".join(page.comparison_digest(by_assets=by_assets) for page in taken)


def unread(*looks: Look) -> str:
    """Why a path could not be read, the first of them; nothing where all were."""
    return next((page.error for look in looks for page in look if not page.digest), "")


def likeness(own: PageContent, site: PageContent) -> str:
    """Return how the site's page compares with that of a deployment's own address, for people."""
    if not (own.digest and site.digest):
        return f"not read: {site.error or own.error}"
    if own.digest == site.digest:
        return "equal content"
    if own.assets_digest and own.assets_digest == site.assets_digest:
        return "other content, the same hashed assets"
    return "proves nothing: the deployment does not have it" if own.is_absent else "other content"


@dataclass(frozen=True)
class Seen:
    """All that a plan is made of, read at once, so that it is the comparison too."""

    project: PagesProject
    deployments: tuple[PagesDeployment, ...]
    site: Look
    own: Mapping[str, Look]
    """Deployment → what its own address held."""

    @cached_property
    def by_assets(self) -> bool:
        """Whether only hashed assets tell which deployment serves: no content equals, and one set of assets does."""
        if self._equal(self.site, by_assets=False):
            return False
        return any(page.assets_digest for page in self.site) and len(self._equal(self.site, by_assets=True)) == 1

    @property
    def sighting(self) -> Sighting:
        by_assets = self.by_assets
        own = {name: of_deployment(look, self.site, by_assets=by_assets) for name, look in self.own.items()}
        return Sighting(of_site(self.site, by_assets=by_assets), own, by_assets=by_assets)

    @property
    def unread(self) -> str:
        """Why a path could not be read, the first of them; nothing where all were."""
        return unread(self.site, *self.own.values())

    def like(self, site: Look) -> frozenset[str]:
        """The deployments that the site, as it is by now, looks like; none where a path could not be read."""
        return self._equal(site, by_assets=self.by_assets)

    def compared(self, name: str, paths: Sequence[str]) -> tuple[str, ...]:
        """How the site and that deployment's own address compare at each path, for people."""
        pages = zip(paths, self.site, self.own.get(name, ()), strict=False)
        return tuple(f"{path}: {likeness(own, site)}" for path, site, own in pages)

    def turned_to(self, name: str, site: Look) -> bool:
        """Whether the site looks like that deployment by now, where it was not known what it looked like before."""
        if name in self._equal(site, by_assets=False):
            return True
        before, after = (of_site(look, by_assets=True) for look in (self.site, site))
        return before != after and self._equal(site, by_assets=True) == {name}

    def shows(self, own: Look, site: Look) -> bool:
        """Whether the site looks like a deployment that was made after the plan; `own` is its own address."""
        if (whole := of_site(site)) is not None and of_deployment(own, site) == whole:
            return True
        before, after = (of_site(look, by_assets=True) for look in (self.site, site))
        return after is not None and before != after == of_deployment(own, site, by_assets=True)

    def _equal(self, site: Look, *, by_assets: bool) -> frozenset[str]:
        whole = of_site(site, by_assets=by_assets)
        if whole is None:
            return frozenset()
        own = self.own.items()
        return frozenset(name for name, look in own if of_deployment(look, site, by_assets=by_assets) == whole)
