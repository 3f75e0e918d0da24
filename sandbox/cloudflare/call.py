"""An authorized request to the Cloudflare API: parameters, body, answer or refusal."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sandbox import routing
from sandbox.cloudflare.account import ChangeAuthor, FakeAccount
from sandbox.cloudflare.codes import UNREADABLE
from sandbox.cloudflare.pages.state import FakePagesProject
from sandbox.cloudflare.tokens.state import FakeCloudflareToken
from sandbox.cloudflare.workers.state import FakeWorker
from sandbox.permissions import CallPermission, call_permissions
from sandbox.server import HttpRequest, HttpResponse

BASE = "/client/v4"


class CloudflareRefusal(Exception):
    """A refused request: an entry of `errors`, and the HTTP status of the response."""

    def __init__(
        self, code: int, message: str, *, status: int = 400, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.headers = headers


class NoRouteRefusal(CloudflareRefusal):
    # developers.cloudflare.com/fundamentals/api/troubleshooting

    def __init__(self, path: str) -> None:
        message = f"Could not route to {path}, perhaps your object identifier is invalid?"
        super().__init__(7003, message, status=404)


@dataclass(frozen=True)
class CloudflareAnswer:
    result: Any
    result_info: Mapping[str, Any] | None = None
    messages: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, kw_only=True)
class CloudflareCall:
    """Authorized request to the Cloudflare API."""

    account: FakeAccount
    token: FakeCloudflareToken
    request: HttpRequest
    parameters: Mapping[str, str]
    """Parameters of the path, decoded."""

    def by(self, texts: Mapping[str, str] = MappingProxyType({})) -> ChangeAuthor:
        """Return the author of the change. `texts` are the annotations in the request."""
        agent = self.request.headers.get("user-agent", "")
        return ChangeAuthor(
            author=self.token.email,
            source="wrangler" if agent.startswith("wrangler/") else "api",
            message=texts.get("workers/message"),
            tag=texts.get("workers/tag"),
        )

    @property
    def worker(self) -> FakeWorker:
        """The Worker named in the path. Raises CloudflareRefusal if it does not exist."""
        worker = self.account.workers.get(self.parameters["script"])
        if worker is None:
            raise CloudflareRefusal(10007, "This Worker does not exist on your account.", status=404)
        return worker

    @property
    def project(self) -> FakePagesProject:
        """The Pages project named in the path. Raises CloudflareRefusal if it does not exist."""
        project = self.account.pages.projects.get(self.parameters["project"])
        if project is None:
            message = "Project not found. The specified project name does not match any of your existing projects."
            raise CloudflareRefusal(8000007, message, status=404)
        return project


Handler = Callable[[CloudflareCall], CloudflareAnswer | HttpResponse]
"""An HttpResponse is sent without the JSON envelope."""


class Routes(routing.Routes[CallPermission, Handler]):
    def add(self, method: str, template: str, access: CallPermission | None = None) -> Callable[[Handler], Handler]:
        """Declare a route. Without `access`, its rule is the row of permissions.toml; KeyError if there is none."""
        return super().add(method, template, access or call_permissions("cloudflare")[f"{method} {template}"])


Route = routing.ApiRoute[CallPermission, Handler]


Fields = Mapping[str, type | tuple[type, ...]]
"""Name → allowed type or types of the value."""

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
NUMBER = (int, float)


def json_body(request: HttpRequest, content_type: str = JSON) -> Any:
    if request.headers.get_content_type() != content_type:
        sent = request.headers.get("content-type", "no content type")
        raise CloudflareRefusal(UNREADABLE, f"Could not parse your request body: expected {content_type}, got {sent}.")
    return parse(request.body)


def parse(text: bytes | str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise CloudflareRefusal(UNREADABLE, f"Could not parse your request body: {error}.") from error


def fields(value: Any, *, required: Fields, optional: Fields, at: str = "body") -> dict[str, Any]:
    """Return `value` if it is an object with these fields and no others. `at` is its location, for the message.

    Raises:
        CloudflareRefusal: a field is missing, unknown or of the wrong type.
    """
    if not isinstance(value, dict):
        raise invalid(at, "must be an object")
    known = {**required, **optional}
    for name in value:
        if name not in known:
            raise invalid(at, f'has an unknown field "{name}"')
    for name in required:
        if name not in value:
            raise invalid(at, f'lacks the field "{name}"')
    for name, kind in known.items():
        if name in value and not routing.is_of_type(value[name], kind):
            raise invalid(f"{at}.{name}", "has the wrong type")
    return value


def invalid(at: str, problem: str) -> CloudflareRefusal:
    return CloudflareRefusal(UNREADABLE, f"Invalid request: {at} {problem}.")
