"""What was seen at addresses of Pages, and whether a site looks like a deployment. Pure.

An address of Pages may go on answering with a file that it once served and that the deployment no longer has: so a path
that a deployment does not have says nothing against that deployment.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ops.model.pages import Deployment, Project
from ops.model.pages_target import Sighting


@dataclass(frozen=True)
class Page:
    """What one address held: equal digests, equal answers."""

    digest: str = ""
    """Empty where it could not be read."""
    absent: bool = False
    """Whether it answers 404."""
    why: str = ""
    """Why it could not be read, for people."""


Look = tuple[Page, ...]
"""One page for each compared path."""


def of_site(site: Look) -> str | None:
    """All of the site as one digest; None where a path could not be read."""
    return "|".join(page.digest for page in site) if all(page.digest for page in site) else None


def of_deployment(own: Look, site: Look) -> str | None:
    """What the site's digest would be if this deployment served; None where that is not known.

    Where it lacks a path, and the site has it, the site's page is taken: it may be a remembered one. A deployment that
    lacks all that the site has is not to be known by them.
    """
    if of_site(own) is None or of_site(site) is None:
        return None
    remembered = [mine.absent and not theirs.absent for mine, theirs in zip(own, site, strict=True)]
    if all(remembered):
        return None
    parts = zip(own, site, remembered, strict=True)
    return "|".join(theirs.digest if is_remembered else mine.digest for mine, theirs, is_remembered in parts)


def unread(*looks: Look) -> str:
    """Why a path could not be read, the first of them; nothing where all were."""
    return next((page.why for look in looks for page in look if not page.digest), "")


@dataclass(frozen=True)
class Seen:
    """All that a plan is made of, read at once, so that it is the comparison too."""

    project: Project
    deployments: tuple[Deployment, ...]
    site: Look
    own: Mapping[str, Look]
    """Deployment → what its own address held."""

    @property
    def sighting(self) -> Sighting:
        own = {name: of_deployment(look, self.site) for name, look in self.own.items()}
        return Sighting(of_site(self.site), own)

    @property
    def unread(self) -> str:
        """Why a path could not be read, the first of them; nothing where all were."""
        return unread(self.site, *self.own.values())

    def like(self, site: Look) -> frozenset[str]:
        """The deployments that the site, as it is by now, looks like; none where a path could not be read."""
        whole = of_site(site)
        return frozenset(name for name, look in self.own.items() if whole and of_deployment(look, site) == whole)
