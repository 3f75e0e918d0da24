"""The argument of a handler, what its route demands, and what it answers or raises."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode

from sandbox import routing
from sandbox.github.issues.state import Issue
from sandbox.github.repository import Repository
from sandbox.github.urls import Urls
from sandbox.github.users.state import By, Role, User, reaches
from sandbox.github.users.tokens import Token, Tokens
from sandbox.server import Request

REPO = "/repos/{owner}/{repo}"
DOCS = "https://docs.github.com/rest"

T = TypeVar("T")


class ApiError(Exception):
    """GitHub says no."""

    def __init__(self, status: int, message: str, *errors: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.errors = errors


def not_found() -> ApiError:
    return ApiError(404, "Not Found")


def invalid(resource: str, field: str, code: str, **more: Any) -> ApiError:
    # docs.github.com/rest/using-the-rest-api/troubleshooting-the-rest-api#validation-failed
    return ApiError(422, "Validation Failed", {**more, "resource": resource, "field": field, "code": code})


def custom(resource: str, field: str, message: str) -> ApiError:
    return invalid(resource, field, "custom", message=message)


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int = 200
    body: Any = None
    headers: Sequence[tuple[str, str]] = ()


NO_CONTENT = Answer(status=204)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One authorised request."""

    repository: Repository
    token: Token
    tokens: Tokens
    request: Request
    urls: Urls
    parameters: Mapping[str, str]
    """Those of the path, decoded."""
    query: Mapping[str, str]

    @property
    def user(self) -> User:
        return self.token.user

    @property
    def by(self) -> By:
        return By(user=self.token.user, app=self.token.app)

    @property
    def issue(self) -> Issue:
        """The one that the path names."""
        issue = self.repository.threads.get(self.number("issue_number"))
        if issue is None:
            raise not_found()
        return issue

    def number(self, name: str) -> int:
        """A number in the path."""
        if not self.parameters[name].isdecimal():
            raise not_found()
        return int(self.parameters[name])

    def may(self, role: Role) -> bool:
        """Whether it acts with that role: a person's own, while an app has what it was granted."""
        return self.token.app is not None or reaches(self.repository.role(self.user), role)

    def choice(self, name: str, *choices: str) -> str:
        """A query parameter; the first choice is the default."""
        value = self.query.get(name, choices[0])
        if value not in choices:
            raise invalid("Search", name, "invalid", value=value)
        return value

    def page(self, items: Iterable[T], shape: Callable[[T], Any], *, under: str | None = None) -> Answer:
        """One page of a list; `under` is the key it stands beneath, beside `total_count`.

        docs.github.com/rest/using-the-rest-api/using-pagination-in-the-rest-api
        """
        listed = list(items)
        size = min(self._at_least_one("per_page", 30), 100)
        number = self._at_least_one("page", 1)
        shown = [shape(item) for item in listed[(number - 1) * size : number * size]]
        last = max(1, -(-len(listed) // size))
        body = shown if under is None else {"total_count": len(listed), under: shown}
        return Answer(body=body, headers=self._links(number, last))

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


Handler = Callable[[Call], Answer]


@dataclass(frozen=True)
class Access:
    """What a route demands."""

    permission: str | None
    """Of the token; None: any token will do."""
    docs: str
    """Its page below docs.github.com/rest, which a refusal names."""
    role: Role | None = None
    """Of a person; None: read for reading, write for writing."""

    @property
    def needed_role(self) -> Role:
        return self.role or ("write" if self.permission and self.permission.endswith(":write") else "read")


Routes = routing.Routes[Access, Handler]
Route = routing.Route[Access, Handler]
