"""The GitHub API: route, authorize and handle a request, and shape the response.

Handlers run under the repository's lock.
"""

import json
from collections.abc import Mapping
from email.utils import format_datetime
from itertools import count
from typing import Any, cast

from sandbox.github.actions import api as actions
from sandbox.github.actions import policy_api as policy
from sandbox.github.call import DOCS, REPO, GitHubAnswer, GitHubCall, GitHubRefusal, Route, not_found
from sandbox.github.environments import api as environments
from sandbox.github.git import api as git
from sandbox.github.issues import api as issues
from sandbox.github.issues import comments_api as comments
from sandbox.github.issues import graphql_api as graphql
from sandbox.github.issues import labels_api as labels
from sandbox.github.issues.content_limit import MESSAGE
from sandbox.github.issues.state import FakeIssue
from sandbox.github.pages import api as pages
from sandbox.github.pulls import api as pulls
from sandbox.github.repositories import api as repositories
from sandbox.github.repository import Repository
from sandbox.github.rulesets import api as rulesets
from sandbox.github.secrets import api as secrets
from sandbox.github.urls import Urls
from sandbox.github.users import api as users
from sandbox.github.users.state import IdentityError, Role
from sandbox.github.users.tokens import FakeGitHubToken, GitHubTokens
from sandbox.permissions import CallPermission
from sandbox.routing import Router
from sandbox.server import HttpRequest, HttpResponse

ENTERPRISE = "/api/v3"
"""Path prefix of an Enterprise Server: docs.github.com/enterprise-server/rest."""

_MODULES = (
    actions,
    policy,
    comments,
    environments,
    rulesets,
    git,
    graphql,
    issues,
    labels,
    pages,
    pulls,
    repositories,
    secrets,
    users,
)
"""`rulesets` before `git`: the path of a branch is longer than its own."""
ROUTER = Router((module.ROUTES for module in _MODULES), ignores_last_slash=True)


class FakeGitHubApi:
    def __init__(self, repository: Repository, tokens: GitHubTokens) -> None:
        """`repository` is the one of calls that name none."""
        self._repository = repository
        self._tokens = tokens
        self._numbers = count(0xC0DE_0000_0000_0000_0001)
        """IDs of requests."""

    def knows(self, request: HttpRequest) -> bool:
        """Return whether there is a route with that method and path."""
        return ROUTER.match(request.method, request.path) is not None

    def answer(self, request: HttpRequest) -> HttpResponse:
        found = ROUTER.match(request.method, request.path)
        token: FakeGitHubToken | None = None
        with self._repository.lock:
            try:
                token = self._token(request)
                counted = self._authenticate(request, token)
                if found is None:
                    raise not_found()
                self._require_content_limit(request, counted)
                last = self._repository.host.last_id
                answer = self._handle(request, counted, *found)
                self._hide_from_lists(last)
            except GitHubRefusal as error:
                answer = _failure(error, found[0] if found else None)
            return _response(answer, self._headers(token))

    def _token(self, request: HttpRequest) -> FakeGitHubToken | None:
        repository = self._repository
        try:
            return self._tokens.find(
                request.headers.get("authorization", ""), repository.clock.now(), repository.bot_of
            )
        except IdentityError as error:
            raise GitHubRefusal(error.status, error.message) from None

    def _authenticate(self, request: HttpRequest, token: FakeGitHubToken | None) -> FakeGitHubToken:
        # docs.github.com/rest/authentication/authenticating-to-the-rest-api
        if "user-agent" not in request.headers:
            raise GitHubRefusal(
                403, "Request forbidden by administrative rules. Please make sure it has a User-Agent header."
            )
        if "authorization" not in request.headers:
            raise GitHubRefusal(401, "Requires authentication")
        if token is None:
            raise GitHubRefusal(401, "Bad credentials")
        if request.path != "/rate_limit" and not self._repository.rates.count(token):
            raise GitHubRefusal(403, f"API rate limit exceeded for user ID {token.user.id}.")
        return token

    def _handle(self, request: HttpRequest, token: FakeGitHubToken, route: Route, parameters: Any) -> GitHubAnswer:
        repository = self._find_repository(parameters)
        call = GitHubCall(
            repository=repository,
            token=token,
            tokens=self._tokens,
            request=request,
            urls=self._urls(request, repository),
            parameters=parameters,
            query=request.query,
        )
        self._authorize(call, route)
        return route.handler(call)

    def _require_content_limit(self, request: HttpRequest, token: FakeGitHubToken) -> None:
        switches, path = self._repository.switches, request.path.removeprefix(ENTERPRISE)
        if not self._repository.host.content.count(token.user.id, request.method, path, switches):
            raise GitHubRefusal(switches.content_limit_status, MESSAGE)

    def _hide_from_lists(self, last: int) -> None:
        """Leave what a request created out of lists for some seconds. `last`: newest ID before it."""
        host, seconds = self._repository.host, self._repository.switches.lists_lag_seconds
        host.list_lag.hide(range(last + 1, host.last_id + 1), seconds)

    def _find_repository(self, parameters: Mapping[str, str]) -> Repository:
        """Return the repository that the path names. Raises GitHubRefusal if there is none with that name."""
        if "repo" not in parameters:
            return self._repository
        named = self._repository.host.repositories.get(f"{parameters['owner']}/{parameters['repo']}".lower())
        if named is None:
            raise not_found()
        return named

    def _authorize(self, call: GitHubCall, route: Route) -> None:
        """Refuse a call without access: 404 if the caller cannot read the resource, 403 if it cannot change it."""
        if "repo" not in call.parameters:
            return
        if not call.may("read"):
            raise not_found()
        needed = route.access.needs
        if call.repository.is_archived and needed.endswith(":write") and route.template != REPO:
            raise GitHubRefusal(403, "Repository was archived so is read-only.")
        if needed and not _has_permission(call, needed):
            raise not_found() if call.token.kind == "classic" else GitHubRefusal(403, call.token.refusal)
        if not call.may(_needed_role(route.access)):
            raise GitHubRefusal(403, "Must have admin rights to Repository.")

    def _urls(self, request: HttpRequest, repository: Repository) -> Urls:
        """Return addresses with the host of the request."""
        own = repository.urls
        switches = self._repository.switches
        base = ENTERPRISE if switches.enterprise_server else ""
        host = switches.host_in_answers or request.headers.get("host", "")
        if not host:
            return own
        scheme = "https" if host == "api.github.com" else "http"
        html = f"{scheme}://{host.removeprefix('api.')}"
        return Urls(api=f"{scheme}://{host}{base}", html=html, full_name=own.full_name)

    def _headers(self, token: FakeGitHubToken | None) -> list[tuple[str, str]]:
        # docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api#checking-the-status-of-your-rate-limit
        headers = [
            ("server", "github.com"),
            ("date", format_datetime(self._repository.clock.now(), usegmt=True)),
            ("x-github-media-type", "github.v3; format=json"),
            ("x-github-request-id", f"{next(self._numbers):X}"),
        ]
        if token is None:
            return headers
        if token.kind == "classic":
            headers.append(("x-oauth-scopes", ", ".join(token.scopes)))
        rates = self._repository.rates.usage(token)
        return headers + [(f"x-ratelimit-{name}", str(value)) for name, value in rates.items()]


def _needed_role(access: CallPermission) -> Role:
    return cast("Role", access.role) or ("write" if access.needs.endswith(":write") else "read")


def _has_permission(call: GitHubCall, permission: str) -> bool:
    """Return whether the token has the permission. On a pull request, `pull_requests` also counts for `issues`."""
    name, _, level = permission.partition(":")
    if not call.token.is_for(call.repository.id):
        return level == "read"  # of a public repository
    if call.token.may(permission):
        return True
    thread = _find_thread(call)
    return (
        name == "issues" and thread is not None and thread.pull is not None and call.token.may(f"pull_requests:{level}")
    )


def _find_thread(call: GitHubCall) -> FakeIssue | None:
    """Return the issue or pull request in the path, by its number or a comment's ID; None if there is none."""
    threads, parameters = call.repository.threads, call.parameters
    if "issue_number" in parameters:
        return threads.get(int(parameters["issue_number"]))
    wanted = parameters.get("comment_id")
    return next((one for one in threads.values() if wanted in {str(comment.id) for comment in one.comments}), None)


def _response(answer: GitHubAnswer, headers: list[tuple[str, str]]) -> HttpResponse:
    if isinstance(answer.body, bytes):
        return HttpResponse(status=answer.status, headers=[*headers, *answer.headers], body=answer.body)
    body = b"" if answer.body is None else json.dumps(answer.body).encode()
    typed = [("content-type", "application/json; charset=utf-8")] if body else []
    return HttpResponse(status=answer.status, headers=[*headers, *typed, *answer.headers], body=body)


def _failure(error: GitHubRefusal, route: Route | None) -> GitHubAnswer:
    # docs.github.com/rest/using-the-rest-api/troubleshooting-the-rest-api
    return GitHubAnswer(
        status=error.status,
        body={
            "message": error.message,
            **({"errors": list(error.errors)} if error.errors else {}),
            "documentation_url": f"{DOCS}/{route.access.page}" if route else DOCS,
            "status": str(error.status),
        },
    )
