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

    def match(self, method: str, path: str) -> tuple[ApiRoute[A, H], Mapping[str, str]] | None:
        """Return the first route with that method and path, and its decoded parameters."""
        for route, found in self._matches(path):
            if route.method == method:
                return route, {name: unquote(value) for name, value in found.groupdict().items()}
        return None

    def methods(self, path: str) -> set[str]:
        """Return the methods of all routes with that path."""
        return {route.method for route, _ in self._matches(path)}

    def _matches(self, path: str) -> Iterator[tuple[ApiRoute[A, H], re.Match[str]]]:
        if self._ignores_last_slash:
            path = path.removesuffix("/") or "/"
        depth = path.count("/")
        for route in self.routes:
            if route.depth in {None, depth} and (found := route.pattern.fullmatch(path)):
                yield route, found


def is_of_type(value: Any, kind: type | tuple[type, ...]) -> bool:
    """Return whether a JSON value has one of these types. A truth value is no number."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
