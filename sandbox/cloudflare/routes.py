"""How a route is declared, what its handler is called with, and what it answers or raises."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

from sandbox.cloudflare.account import Account, By
from sandbox.cloudflare.pages.state import Project
from sandbox.cloudflare.tokens.state import Token
from sandbox.cloudflare.workers.state import Worker
from sandbox.server import Request, Response

BASE = "/client/v4"


class ApiError(Exception):
    """Cloudflare says no: an entry of `errors`, and the HTTP status it comes with."""

    def __init__(self, code: int, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


@dataclass(frozen=True)
class Answer:
    result: Any
    result_info: Mapping[str, Any] | None = None
    messages: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Call:
    """One authorised request."""

    account: Account
    token: Token
    request: Request
    parameters: Mapping[str, str]
    """What stands in the path."""

    def by(self, texts: Mapping[str, str] = MappingProxyType({})) -> By:
        """`texts` are the annotations that came with the request."""
        agent = self.request.headers.get("user-agent", "")
        return By(
            author=self.token.email,
            source="wrangler" if agent.startswith("wrangler/") else "api",
            message=texts.get("workers/message"),
            tag=texts.get("workers/tag"),
        )

    @property
    def worker(self) -> Worker:
        """The Worker that the path names."""
        worker = self.account.workers.get(self.parameters["script"])
        if worker is None:
            raise ApiError(10007, "This Worker does not exist on your account.", status=404)
        return worker

    @property
    def project(self) -> Project:
        """The Pages project that the path names."""
        project = self.account.pages.projects.get(self.parameters["project"])
        if project is None:
            message = "Project not found. The specified project name does not match any of your existing projects."
            raise ApiError(8000007, message, status=404)
        return project


Handler = Callable[[Call], Answer | Response]
"""A Response is for what has no envelope."""


@dataclass(frozen=True, kw_only=True)
class Route:
    method: str
    template: str
    pattern: re.Pattern[str]
    permission: str | None
    handler: Handler

    @cached_property
    def depth(self) -> int:
        """The number of its segments, which a template leaves open nowhere."""
        return self.template.count("/")


@dataclass(frozen=True)
class Routes:
    """A table that each module of handlers fills, and `find` reads."""

    table: list[Route] = field(default_factory=list)

    def add(self, method: str, template: str, permission: str | None) -> Callable[[Handler], Handler]:
        """`{name}` in the template is one segment of the path. A permission of None: any valid token will do."""
        pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template))

        def register(handler: Handler) -> Handler:
            route = Route(method=method, template=template, pattern=pattern, permission=permission, handler=handler)
            self.table.append(route)
            return handler

        return register

    def find(self, method: str, path: str) -> tuple[Route, Mapping[str, str]]:
        depth = path.count("/")
        candidates = (route for route in self.table if route.depth == depth)
        matches = [(route, match) for route in candidates if (match := route.pattern.fullmatch(path))]
        for route, match in matches:
            if route.method == method:
                return route, match.groupdict()
        if matches:
            raise ApiError(7001, f"Method {method} not available for that URI.", status=405)
        raise NoRouteError(path)


class NoRouteError(ApiError):
    # developers.cloudflare.com/fundamentals/api/troubleshooting

    def __init__(self, path: str) -> None:
        message = f"Could not route to {path}, perhaps your object identifier is invalid?"
        super().__init__(7003, message, status=404)
