"""An authorized request to the GitHub API: parameters, body, answer or refusal."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode

from sandbox import routing
from sandbox.github.issues.list_lag import Listed
from sandbox.github.issues.state import MAX_BODY, FakeIssue
from sandbox.github.repository import Repository
from sandbox.github.urls import Urls
from sandbox.github.users.state import GitHubActor, Role, User, includes_role
from sandbox.github.users.tokens import FakeGitHubToken, GitHubTokens
from sandbox.permissions import CallPermission, call_permissions
from sandbox.server import HttpRequest

REPO = "/repos/{owner}/{repo}"
DOCS = "https://docs.github.com/rest"

T = TypeVar("T")
L = TypeVar("L", bound=Listed)


class GitHubRefusal(Exception):
    """A refused request: status, message and `errors` of the response."""

    def __init__(self, status: int, message: str, *errors: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.errors = errors


def not_found() -> GitHubRefusal:
    return GitHubRefusal(404, "Not Found")


def invalid(resource: str, field: str, code: str, **more: Any) -> GitHubRefusal:
    # docs.github.com/rest/using-the-rest-api/troubleshooting-the-rest-api#validation-failed
    return GitHubRefusal(422, "Validation Failed", {**more, "resource": resource, "field": field, "code": code})


def custom(resource: str, field: str, message: str) -> GitHubRefusal:
    return invalid(resource, field, "custom", message=message)


@dataclass(frozen=True, kw_only=True)
class GitHubAnswer:
    status: int = 200
    body: Any = None
    headers: Sequence[tuple[str, str]] = ()


NO_CONTENT = GitHubAnswer(status=204)


@dataclass(frozen=True, kw_only=True)
class GitHubCall:
    """Authorized request to the GitHub API."""

    repository: Repository
    token: FakeGitHubToken
    tokens: GitHubTokens
    request: HttpRequest
    urls: Urls
    parameters: Mapping[str, str]
    """Parameters of the path, decoded."""
    query: Mapping[str, str]

    @property
    def user(self) -> User:
        return self.token.user

    @property
    def by(self) -> GitHubActor:
        return GitHubActor(user=self.token.user, app=self.token.app)

    @property
    def issue(self) -> FakeIssue:
        """The issue named in the path. Raises GitHubRefusal if it does not exist."""
        issue = self.repository.threads.get(self.number("issue_number"))
        if issue is None:
            raise not_found()
        return issue

    def number(self, name: str) -> int:
        """Return a number in the path. Raises GitHubRefusal if it is not a number."""
        if not self.parameters[name].isdecimal():
            raise not_found()
        return int(self.parameters[name])

    def may(self, role: Role) -> bool:
        """Return whether the caller has the role. An app has its granted permissions instead of a role.

        A token of another repository reads what everybody can read: docs.github.com/authentication/
        keeping-your-account-and-data-secure/managing-your-personal-access-tokens#fine-grained-personal-access-tokens
        """
        if not self.token.is_for(self.repository.id):
            return role == "read" and not self.repository.switches.private
        return self.token.app is not None or includes_role(self.repository.role(self.user), role)

    def listed(self, items: Iterable[L]) -> list[L]:
        """Return the issues, comments, events or labels that a list shows; it may be behind a write."""
        return self.repository.host.list_lag.shown(items)

    def choice(self, name: str, *choices: str) -> str:
        """Return a query parameter; the first choice is the default. Raises GitHubRefusal for any other value."""
        value = self.query.get(name, choices[0])
        if value not in choices:
            raise invalid("Search", name, "invalid", value=value)
        return value

    def page(self, items: Iterable[T], shape: Callable[[T], Any], *, under: str | None = None) -> GitHubAnswer:
        """Return one page of a list; with `under`, an object with the list as that field, and `total_count`.

        docs.github.com/rest/using-the-rest-api/using-pagination-in-the-rest-api
        """
        listed = list(items)
        size = min(self._at_least_one("per_page", 30), 100)
        number = self._at_least_one("page", 1)
        shown = [shape(item) for item in listed[(number - 1) * size : number * size]]
        last = max(1, -(-len(listed) // size))
        body = shown if under is None else {"total_count": len(listed), under: shown}
        return GitHubAnswer(body=body, headers=self._links(number, last))

    def _at_least_one(self, name: str, default: int) -> int:
        text = self.query.get(name, "")
        return int(text) if text.isdecimal() and int(text) else default

    def _links(self, number: int, last: int) -> Sequence[tuple[str, str]]:
        before, after = {"first": 1, "prev": number - 1}, {"next": number + 1, "last": last}
        shown = {**(before if number > 1 else {}), **(after if number < last else {})}
        if not shown:
            return ()
        address = self.urls.api + self.request.path
        links = [f'<{address}?{urlencode({**self.query, "page": page})}>; rel="{rel}"' for rel, page in shown.items()]
        return [("link", ", ".join(links))]


Handler = Callable[[GitHubCall], GitHubAnswer]


class Routes(routing.Routes[CallPermission, Handler]):
    def add(self, method: str, template: str, access: CallPermission | None = None) -> Callable[[Handler], Handler]:
        """Declare a route. Without `access`, its rule is the row of permissions.toml; KeyError if there is none."""
        return super().add(method, template, access or call_permissions("github")[f"{method} {template}"])


Route = routing.ApiRoute[CallPermission, Handler]


Fields = Mapping[str, type | tuple[type, ...]]
"""Name → allowed type or types of the value."""

TEXT = (str, type(None))


def parse(call: GitHubCall) -> Any:
    """Return the parsed body; an empty object if there is none. Raises GitHubRefusal."""
    try:
        return json.loads(call.request.body or b"{}")
    except ValueError as error:
        raise GitHubRefusal(400, "Problems parsing JSON") from error


def fields(call: GitHubCall, *, required: Fields | None = None, optional: Fields | None = None) -> dict[str, Any]:
    """Return the body if it is an object with these fields and no others. Raises GitHubRefusal."""
    return check_fields(parse(call), required=required or {}, optional=optional or {})


def check_fields(value: Any, *, required: Fields, optional: Fields) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise GitHubRefusal(400, "Body should be a JSON object")
    known = {**required, **optional}
    for name in value:
        if name not in known:
            raise validation_failed(f'"{name}" is not a permitted key.')
    for name in required:
        if name not in value:
            raise validation_failed(f'"{name}" wasn\'t supplied.')
    for name, kind in known.items():
        if name in value and not routing.is_of_type(value[name], kind):
            raise validation_failed(f"For 'properties/{name}', {json.dumps(value[name])} is not {_named(kind)}.")
    return value


def validation_failed(problem: str) -> GitHubRefusal:
    """Return GitHub's refusal of a body that does not match the schema of the endpoint."""
    return GitHubRefusal(
        422, f"Invalid request.\n\n{problem}", {"resource": "Request", "code": "invalid", "message": problem}
    )


def parse_strings(value: Any, name: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise validation_failed(f"For 'properties/{name}', {json.dumps(value)} is not an array of strings.")
    return value


def require_short(resource: str, body: str | None) -> None:
    if body is not None and len(body) > MAX_BODY:
        raise custom(resource, "body", f"body is too long (maximum is {MAX_BODY} characters)")


def _named(kind: type | tuple[type, ...]) -> str:
    names = {str: "a string", int: "an integer", bool: "a boolean", dict: "an object", list: "an array"}
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join(names.get(one, "null") for one in kinds)
