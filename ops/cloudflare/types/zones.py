"""Zones, Workers routes and domains, and how a request matches a route.

developers.cloudflare.com/workers/configuration/routing/routes/#matching-behavior
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property

UNRESERVED_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"
"""The only characters that Cloudflare decodes in an incoming URL, unless the zone disables it
(…/rules/normalization/how-it-works)."""


@dataclass(frozen=True)
class Zone:
    id: str
    name: str

    def contains_host(self, host: str) -> bool:
        return host == self.name or host.endswith(f".{self.name}")


@dataclass(frozen=True)
class WorkerRoute:
    zone: str
    """ID of the zone."""
    id: str
    pattern: str
    script: str | None
    """None: no Worker runs here, even if a less specific route matches."""

    @cached_property
    def _host_and_path(self) -> tuple[str, str]:
        host, slash, path = re.sub("^https?://", "", self.pattern).partition("/")
        return host, slash + path

    @property
    def host(self) -> str:
        return self._host_and_path[0]

    @property
    def path(self) -> str:
        return self._host_and_path[1]

    @property
    def prefix(self) -> str:
        """Return the path up to its `*`."""
        return self.path.removesuffix("*")

    @property
    def is_open_ended(self) -> bool:
        return self.path.endswith("*")

    def matches_host(self, host: str) -> bool:
        """Return whether the route covers `host`. A host that is a pattern matches only an equal pattern."""
        return self.host == host or ("*" not in host and _route_expression(self.host).fullmatch(host) is not None)

    def matches(self, host: str, path: str) -> bool:
        """Return whether a request matches. `path` includes the query, which a pattern must match too."""
        return self.matches_host(host) and _route_expression(self.path).fullmatch(path) is not None

    @property
    def specificity(self) -> tuple[bool, int, int, bool]:
        """Return the sort key; the host precedes the path (…/workers/platform/known-issues/#route-specificity)."""
        return "*" not in self.host, len(self.host), len(self.prefix.rstrip("/")), not self.is_open_ended


@dataclass(frozen=True)
class CustomDomain:
    """A custom domain: a host that belongs to one Worker, except where a route matches."""

    zone: str
    hostname: str
    worker: str


@dataclass(frozen=True)
class WorkersDevSubdomain:
    """Whether workers.dev and preview URLs of a Worker are enabled."""

    enabled: bool
    previews_enabled: bool

    def __str__(self) -> str:
        return f"workers.dev {'on' if self.enabled else 'off'}, previews {'on' if self.previews_enabled else 'off'}"


def most_specific_route(routes: Iterable[WorkerRoute], host: str, path: str) -> WorkerRoute | None:
    """Return the most specific route that matches the request."""
    matching = (route for route in routes if route.matches(host, path))
    return max(matching, key=lambda route: route.specificity, default=None)


@cache  # that of `re` holds 512 patterns, and a zone may have more routes
def _route_expression(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)
