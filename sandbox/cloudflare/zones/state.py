"""Zones with routes and custom domains, and the Worker that a request reaches."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from uuid import UUID

ACCOUNT_SUBDOMAIN = "sandbox"
WORKERS_DEV = f".{ACCOUNT_SUBDOMAIN}.workers.dev"


@dataclass(frozen=True, kw_only=True)
class FakeWorkerRoute:
    id: str
    pattern: str
    script: str | None
    """None: no Worker serves these paths, regardless of less specific routes."""

    def matches(self, host: str, path: str) -> bool:
        """Return whether the route matches. `path` includes the query, which only a pattern with a final `*` accepts.

        developers.cloudflare.com/workers/configuration/routing/routes/#matching-behavior
        """
        own_host, own_path = split_pattern(self.pattern)
        return _glob(own_host).fullmatch(host) is not None and _glob(own_path).fullmatch(path) is not None

    @property
    def specificity(self) -> tuple[bool, int, int, bool, bool]:
        """Sort key: the host counts before the path. At Cloudflare, `/images*` wins over `/images/*`.

        developers.cloudflare.com/workers/platform/known-issues/#route-specificity
        """
        host, path = split_pattern(self.pattern)
        beginning = path.removesuffix("*").rstrip("/")
        return "*" not in host, len(host), len(beginning), not path.endswith("*"), not path.endswith("/*")


@dataclass(frozen=True, kw_only=True)
class FakeCustomDomain:
    """A custom domain: one Worker serves the whole host."""

    id: str
    hostname: str
    service: str
    zone: "FakeZone"


@dataclass(kw_only=True)
class FakeZone:
    id: str
    name: str
    routes: dict[str, FakeWorkerRoute] = field(default_factory=dict)

    def contains(self, host: str) -> bool:
        return host == self.name or host.endswith(f".{self.name}")


class Zones:
    """The zones of the account. Validates nothing: the API handlers refuse invalid requests first."""

    def __init__(self, new_id: Callable[[], UUID]) -> None:
        self._new_id = new_id
        self.all: dict[str, FakeZone] = {}
        self.domains: dict[str, FakeCustomDomain] = {}

    def add(self, name: str) -> str:
        """Add a zone and return its ID. A host without a route or custom domain has no origin."""
        zone = FakeZone(id=self._new_id().hex, name=name)
        self.all[zone.id] = zone
        return zone.id

    def add_route(self, zone: FakeZone, pattern: str, script: str | None, *, id: str | None = None) -> FakeWorkerRoute:  # noqa: A002
        route = FakeWorkerRoute(id=id or self._new_id().hex, pattern=pattern, script=script)
        zone.routes[route.id] = route
        return route

    def add_domain(self, zone: FakeZone, hostname: str, service: str) -> FakeCustomDomain:
        """Add a custom domain, or point an existing one to that Worker."""
        former = next((domain.id for domain in self.domains.values() if domain.hostname == hostname), None)
        domain = FakeCustomDomain(id=former or self._new_id().hex, hostname=hostname, service=service, zone=zone)
        self.domains[domain.id] = domain
        return domain

    def find(self, host: str) -> FakeZone | None:
        """Return the zone of a host: the one with the longest matching name."""
        return max((zone for zone in self.all.values() if zone.contains(host)), key=lambda z: len(z.name), default=None)

    def script_at(self, zone: FakeZone, host: str, path: str) -> str | None:
        """Return the name of the Worker that answers; None if none does. A route wins over a custom domain."""
        matching = [route for route in zone.routes.values() if route.matches(host, path)]
        if matching:
            return max(matching, key=lambda route: route.specificity).script
        return next((domain.service for domain in self.domains.values() if domain.hostname == host), None)


def split_pattern(pattern: str) -> tuple[str, str]:
    """Return host and path of a route pattern."""
    host, slash, path = re.sub("^https?://", "", pattern).partition("/")
    return host, slash + path


def normalize_path(target: str) -> str:
    """Return path and query as routes and Workers see them: unreserved characters decoded, dot segments removed.

    developers.cloudflare.com/rules/normalization/how-it-works
    """
    path, mark, query = target.partition("?")
    path = re.sub(r"%([0-9A-Fa-f]{2})", lambda found: _decode_unreserved(found[1]), path).replace("\\", "/")
    kept: list[str] = []
    *folders, last = merge_slashes(path).split("/")[1:] or [""]
    for segment in folders:
        if segment == "..":
            kept = kept[:-1]
        elif segment != ".":
            kept.append(segment)
    if last == "..":
        kept = kept[:-1]
    return "/" + "".join(f"{segment}/" for segment in kept) + ("" if last in {".", ".."} else last) + mark + query


def _decode_unreserved(digits: str) -> str:
    letter = chr(int(digits, 16))
    return letter if letter in _UNRESERVED else f"%{digits.upper()}"


_UNRESERVED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")


def merge_slashes(target: str) -> str:
    """Merge adjacent slashes of the path, which happens regardless of a zone's settings.

    developers.cloudflare.com/rules/normalization
    """
    path, mark, query = target.partition("?")
    return re.sub("/{2,}", "/", path) + mark + query


def is_pattern(pattern: Any, zone: FakeZone) -> bool:
    """Return whether it is a valid pattern: a host of the zone, `*` only at its start or the path's end, no query."""
    if not isinstance(pattern, str):
        return False
    host, path = split_pattern(pattern)
    bare = re.sub(r"^\*\.?", "", host)
    return "*" not in bare and zone.contains(bare) and bool(re.fullmatch(r"(/[^*?#\s]*\*?)?", path))


def parse_workers_dev_host(host: str) -> tuple[str, str] | None:
    """Return the Worker's name in a workers.dev host, and for a preview the start of a version ID.

    developers.cloudflare.com/workers/configuration/previews
    """
    label = host.removesuffix(WORKERS_DEV)
    if label == host:
        return None
    preview = re.fullmatch("([0-9a-f]{8})-(.+)", label)
    return (preview[2], preview[1]) if preview else (label, "")


@cache  # that of `re` holds 512 patterns, and a zone may have more routes
def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)
