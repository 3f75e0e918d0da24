"""Workers and Pages sites that can become services, and the addresses where they answer."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from ops.cloudflare.types.pages import PagesDeployment
from ops.cloudflare.types.zones import CustomDomain, WorkerRoute
from ops.config.types import ORIGIN, PAGES, URL_PATH, WORKER
from ops.core.names import NAME_PATTERN

Kind = Literal["worker", "pages"]
PATTERNS: dict[Kind, str] = {"worker": WORKER, "pages": PAGES}
OTHER_STAGES = re.compile(r"[-_](staging|stage|dev|development|preview|test|testing|qa)$")
"""End of the name of a Worker or site that is not production."""
MAX_NAME_LENGTH = 36
"""Characters of a service's name, so that `recover:NAME` fits in a label."""


@dataclass(frozen=True)
class Address:
    """An origin, and the path below it that the service answers."""

    origin: str
    path: str = "/"

    def __str__(self) -> str:
        return self.origin + self.path.rstrip("/")


@dataclass(frozen=True)
class Resource:
    """A Worker or Pages project, as far as it is known from Cloudflare or a wrangler file."""

    kind: Kind
    name: str
    account_id: str
    """Empty if only a wrangler file without an account names it."""
    addresses: tuple[Address, ...] = ()
    """The most likely one first."""
    has_assets: bool | None = None
    secrets: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    """Classes of its own Durable Objects."""
    stores: tuple[str, ...] = ()
    """Bound databases and stores, for people: a rollback changes none of them."""
    live_versions: frozenset[str] = frozenset()
    deployments: tuple[PagesDeployment, ...] = field(default=(), repr=False)
    """Production deployments of a site that can serve it, newest first."""

    @property
    def is_production(self) -> bool:
        """Whether the name has no ending such as -staging."""
        return OTHER_STAGES.search(self.name) is None

    def merge(self, other: "Resource") -> "Resource":
        """Return the same Worker or site with the facts of both; those of `self` come first."""
        return replace(
            self,
            account_id=self.account_id or other.account_id,
            addresses=tuple(dict.fromkeys((*self.addresses, *other.addresses))),
            has_assets=other.has_assets if self.has_assets is None else self.has_assets,
            secrets=self.secrets or other.secrets,
            objects=self.objects or other.objects,
            stores=self.stores or other.stores,
        )


def is_usable(kind: Kind, name: str) -> bool:
    """Return whether ops.yml accepts the name. A name of another form is left out."""
    return re.fullmatch(PATTERNS[kind], name) is not None


def worker_addresses(
    worker: str, domains: Iterable[CustomDomain], routes: Iterable[WorkerRoute], dev_host: str = ""
) -> tuple[Address, ...]:
    """Return where a Worker answers: custom domains, routes of whole hosts, routes of paths, workers.dev."""
    found = [Address(f"https://{domain.hostname}") for domain in domains if domain.worker == worker]
    own = [route for route in routes if route.script == worker]
    for route in sorted(own, key=lambda route: (len(route.prefix), route.pattern)):
        found += route_address(route.host, route.path)
    if dev_host:
        found.append(Address(f"https://{dev_host}"))
    return usable_addresses(found)


def route_address(host: str, path: str) -> Iterator[Address]:
    """Yield the address of a route; none for a pattern of hosts."""
    if "*" not in host:
        yield Address(f"https://{host.lower()}", path.removesuffix("*") or "/")


def site_addresses(domains: Iterable[str]) -> tuple[Address, ...]:
    """Return where a site answers: custom domains, then pages.dev."""
    hosts = sorted(domains, key=lambda host: host.endswith(".pages.dev"))
    return usable_addresses(Address(f"https://{host}") for host in hosts)


def usable_addresses(addresses: Iterable[Address]) -> tuple[Address, ...]:
    """Return each address once, without those that ops.yml does not accept."""
    fits = (each for each in addresses if re.fullmatch(ORIGIN, each.origin) and re.fullmatch(URL_PATH, each.path))
    return tuple(dict.fromkeys(fits))


def service_names(resources: Iterable[Resource]) -> dict[Resource, str]:
    """Return a service name for each resource: its name on Cloudflare, in the form that ops.yml accepts."""
    names: dict[Resource, str] = {}
    for resource in resources:
        plain = re.sub(r"[^a-z0-9_-]", "-", resource.name.lower())[:MAX_NAME_LENGTH]
        plain = plain if re.fullmatch(NAME_PATTERN, plain) else f"s{plain}"[:MAX_NAME_LENGTH]
        number, taken = 2, set(names.values())
        name = plain
        while name in taken:
            name, number = f"{plain[: MAX_NAME_LENGTH - 3]}-{number}", number + 1
        names[resource] = name
    return names
