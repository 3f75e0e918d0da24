"""Workers routes as values, and which of them a request meets.

developers.cloudflare.com/workers/configuration/routing/routes/#matching-behavior
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

UNRESERVED_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"
"""Characters that Cloudflare decodes in an incoming URL, where its zone has not switched that off: no others
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
    """Its id."""
    id: str
    pattern: str
    script: str | None
    """None: no Worker here, whatever a less specific route says."""

    @cached_property
    def _parts(self) -> tuple[str, str]:
        host, slash, path = re.sub("^https?://", "", self.pattern).partition("/")
        return host, slash + path

    @property
    def host(self) -> str:
        return self._parts[0]

    @property
    def path(self) -> str:
        return self._parts[1]

    @property
    def prefix(self) -> str:
        """The path up to its `*`."""
        return self.path.removesuffix("*")

    @property
    def is_open_ended(self) -> bool:
        return self.path.endswith("*")

    def matches_host(self, host: str) -> bool:
        """Whether requests to `host` can meet it; a host that is itself a pattern is met by its equal alone."""
        return self.host == host or ("*" not in host and _glob(self.host).fullmatch(host) is not None)

    def matches(self, host: str, path: str) -> bool:
        """`path` with its query: a pattern ends where it ends, unless a `*` ends it."""
        return self.matches_host(host) and _glob(self.path).fullmatch(path) is not None

    @property
    def specificity(self) -> tuple[bool, int, int, bool]:
        """The host decides before the path (…/workers/platform/known-issues/#route-specificity)."""
        return "*" not in self.host, len(self.host), len(self.prefix.rstrip("/")), not self.is_open_ended


@dataclass(frozen=True)
class CustomDomain:
    """A custom domain: all of a host belongs to one Worker, but where a route is."""

    zone: str
    hostname: str
    worker: str


@dataclass(frozen=True)
class WorkersDevSubdomain:
    """A Worker's addresses on workers.dev: its own, and those of its versions."""

    enabled: bool
    previews_enabled: bool

    def __str__(self) -> str:
        return f"workers.dev {'on' if self.enabled else 'off'}, previews {'on' if self.previews_enabled else 'off'}"


def most_specific_route(routes: Iterable[WorkerRoute], host: str, path: str) -> WorkerRoute | None:
    """The most specific one that the request meets."""
    matching = (route for route in routes if route.matches(host, path))
    return max(matching, key=lambda route: route.specificity, default=None)


def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)
