"""Declare the routes of a fake API, and find the route of a request."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, TypeVar
from urllib.parse import unquote

A = TypeVar("A")
"""Type of the access rule of a route, in the terms of each API."""
H = TypeVar("H")
"""Type of the handlers."""


@dataclass(frozen=True, kw_only=True)
class ApiRoute(Generic[A, H]):
    method: str
    template: str
    access: A
    handler: H

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        digits = re.sub(r"\{(\w+_number)\}", r"(?P<\1>\\d+)", self.template)
        segments = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", digits)
        return re.compile(re.sub(r"\{(\w+)\*\}", r"(?P<\1>.+)", segments))

    @cached_property
    def depth(self) -> int | None:
        """Number of slashes in its paths, or None if that varies."""
        return None if "*}" in self.template else self.template.count("/")


@dataclass(frozen=True)
class Routes(Generic[A, H]):
    """The routes that a module of handlers declares."""

    table: list[ApiRoute[A, H]] = field(default_factory=list)

    def add(self, method: str, template: str, access: A) -> Callable[[H], H]:
        """Declare the decorated function as the handler of a method and path.

        In the template, `{name}` is a segment of the path, `{x_number}` one of digits, `{name*}` one or more segments.
        """

        def register(handler: H) -> H:
            self.table.append(ApiRoute(method=method, template=template, access=access, handler=handler))
            return handler

        return register


class Router(Generic[A, H]):
    """All routes of an API. Each API chooses its response if no route matches."""

    def __init__(self, tables: Iterable[Routes[A, H]], *, ignores_last_slash: bool = False) -> None:
        self.routes = [route for routes in tables for route in routes.table]
        self._ignores_last_slash = ignores_last_slash
        self._routes_by: dict[tuple[str, int], list[ApiRoute[A, H]]] = {}
        """Method (empty: any) and depth → the routes with them: matching a path with every route is slow."""

    def match(self, method: str, path: str) -> tuple[ApiRoute[A, H], Mapping[str, str]] | None:
        """Return the first route with that method and path, and its decoded parameters."""
        for route, found in self._matches(path, method):
            return route, {name: unquote(value) for name, value in found.groupdict().items()}
        return None

    def methods(self, path: str) -> set[str]:
        """Return the methods of all routes with that path."""
        return {route.method for route, _ in self._matches(path)}

    def _matches(self, path: str, method: str = "") -> Iterator[tuple[ApiRoute[A, H], re.Match[str]]]:
        """Yield the routes with that path, and with that method if one is given."""
        if self._ignores_last_slash:
            path = path.removesuffix("/") or "/"
        for route in self._routes_with(method, path.count("/")):
            if found := route.pattern.fullmatch(path):
                yield route, found

    def _routes_with(self, method: str, depth: int) -> list[ApiRoute[A, H]]:
        if (method, depth) not in self._routes_by:
            self._routes_by[method, depth] = [
                route
                for route in self.routes
                if (not method or route.method == method) and route.depth in {None, depth}
            ]
        return self._routes_by[method, depth]


def is_of_type(value: Any, kind: type | tuple[type, ...]) -> bool:
    """Return whether a JSON value has one of these types. A truth value is no number."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
