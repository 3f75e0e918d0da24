"""PyGithub's transport, with a check of each response against its expected shape.

Shapes follow docs.github.com/rest. They hold only the fields that Backout or PyGithub reads.
"""

import base64
import json
import re
import time
from collections.abc import Callable, Mapping
from copy import copy
from functools import cached_property, lru_cache
from typing import Any
from urllib.parse import urlsplit

import requests
from github import GithubException
from github.Requester import HTTPRequestsConnectionClass, HTTPSRequestsConnectionClass, Requester

from ops.core.client_guards import is_loopback
from ops.core.clock import Clock, SystemClock, parse_utc
from ops.core.errors import ProviderError, Reason, Refused, UnclearWrite
from ops.github.connection import BoundedAdapter, PlainApi, TlsApi
from ops.github.list_lag import find_created, may_have_created

_HOST = re.compile(r"https?://[^/]+(?:/api/v3)?(?=/)")
"""github.com serves the API at the root of its host, an Enterprise Server below /api/v3."""
Shape = Any
"""A type, None, a predicate, a list of one shape, a mapping of field → shape, or a tuple of alternatives.

A missing field counts as None.
"""


class MalformedAnswer(ProviderError):
    """GitHub, or a proxy in front of it, answered a read with an unexpected body."""

    def __init__(self, what: str, status: int, why: str) -> None:
        hint = "Check https://www.githubstatus.com/, then start the same command again."
        text = f"cannot read GitHub's answer for {what}: {why}{_status_suffix(status)}"
        super().__init__(text, reason=Reason.MALFORMED_ANSWER, hint=hint)


def _status_suffix(status: int) -> str:
    return f" (HTTP {status})" if status else ""


def malformed_answer(method: str, name: str, status: int, why: str) -> ProviderError:
    """Return the error for an unexpected response. After a write it is UnclearWrite: the write may have taken effect.

    `status` 0 means that the status is unknown.
    """
    if method == "GET":
        return MalformedAnswer(name, status, why)
    hint = "Look on GitHub whether the change is there, before you start the same command again."
    text = (
        f"cannot read GitHub's answer to a change of {name}: {why}{_status_suffix(status)}; "
        "the change may have been made"
    )
    return UnclearWrite(text, reason=Reason.UNCLEAR, hint=hint)


def is_timestamp(value: Any) -> bool:
    try:
        parse_utc(value)
    except (ValueError, OverflowError, AttributeError, TypeError):
        return False
    return True


def is_public_key(value: Any) -> bool:
    """Return whether the value is a key for libsodium sealed boxes: 32 bytes in Base64."""
    return isinstance(value, str) and len(_decode_base64(value) or b"") == 32


def is_base64(value: Any) -> bool:
    return isinstance(value, str) and _decode_base64(value.replace("\n", "")) is not None


def _decode_base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return None


def is_committed_file(value: Any) -> bool:
    return isinstance(value, dict) and value.get("encoding") == "base64"


def is_folder_entry(value: Any) -> bool:
    """Return whether the value is a timeline entry. Entries of kinds that Backout does not read may have any fields."""
    if not isinstance(value, dict):
        return False
    return _shape_problem(_ENTRIES.get(str(value.get("event")), {}), value) is None


TEXT = (str, None)
USER = ({"login": str}, None)
"""None if the account was deleted."""
MOMENT = (is_timestamp, None)
LABEL = {"name": str, "color": str, "description": TEXT, "url": str}
ISSUE = {
    "number": int,
    "url": str,
    "html_url": str,
    "title": str,
    "state": str,
    "body": TEXT,
    "user": USER,
    "labels": [{"name": str}],
    "created_at": is_timestamp,
    "closed_at": MOMENT,
    "pull_request": (dict, None),
}
COMMENT = {"id": int, "url": str, "html_url": str, "body": str, "user": USER}
PULL = {"number": int, "html_url": str, "body": TEXT, "user": USER, "merged_at": MOMENT}
OPEN_PULL = PULL | {"head": {"ref": str, "repo": ({"full_name": str}, None)}}
REF = {"ref": str, "object": {"sha": str}}
FILE = {"sha": str, "content": is_base64, "encoding": str}
ACTION_RESULT = {"actor": ({"login": str, "type": str}, None), "created_at": is_timestamp}
_ENTRIES: Mapping[str, Shape] = {
    "labeled": ACTION_RESULT | {"label": {"name": str}},
    "assigned": ACTION_RESULT | {"assignee": USER},
    "renamed": ACTION_RESULT | {"rename": {"from": str, "to": str}},
    "closed": ACTION_RESULT | {"state_reason": TEXT},
    "reopened": ACTION_RESULT,
    "commented": ACTION_RESULT | {"body": TEXT, "html_url": str, "updated_at": is_timestamp},
    "cross-referenced": ACTION_RESULT
    | {"source": ({"issue": ({"number": int, "title": str, "pull_request": (dict, None)}, None)}, None)},
}
_COMMIT = {
    "sha": str,
    "html_url": str,
    "author": ({"login": TEXT}, None),
    "commit": {"message": str, "author": ({"name": TEXT}, None)},
}
_JOB = {"name": str, "created_at": is_timestamp, "started_at": MOMENT, "runner_name": TEXT, "conclusion": TEXT}
_REVIEW = {"state": str, "environments": [{"name": str}], "user": USER}
_RUN = {
    "created_at": is_timestamp,
    "html_url": str,
    "event": str,
    "path": str,
    "head_branch": TEXT,
    "head_repository": ({"full_name": str}, None),
    "status": TEXT,
    "conclusion": TEXT,
    "actor": USER,
    "triggering_actor": USER,
}
_DEPLOYMENT = {
    "id": int,
    "created_at": is_timestamp,
    "environment": str,
    "ref": str,
    "sha": str,
    "creator": USER,
}
_STATUS = {"state": TEXT, "log_url": TEXT, "target_url": TEXT}
_APP_TOKEN = {"token": str}
_PERMISSION = {
    "permission": str,
    "role_name": str,
    "user": ({"login": str, "type": str, "id": int}, None),
}

_PROTECTED = {
    "name": str,
    "protection_rules": ([{"type": str}], None),
    "deployment_branch_policy": ({"custom_branch_policies": bool}, None),
}
_PATTERN = {"id": int, "name": str}

ROUTES: tuple[tuple[str, str, str, Shape], ...] = (
    ("GET", "", "the repository", {"full_name": str, "default_branch": str, "html_url": str}),
    ("GET", "/issues", "the list of issues", [ISSUE]),
    ("POST", "/issues", "the issues", ISSUE),
    ("GET", r"/issues/\d+", "the issue", ISSUE | {"repository_url": str}),
    ("PATCH", r"/issues/\d+", "the issue", ISSUE),
    ("GET", r"/issues/\d+/timeline", "the timeline of the issue", [is_folder_entry]),
    ("GET", r"/issues/\d+/events", "the events of the issue", [is_folder_entry]),
    ("GET", r"/issues/\d+/comments", "the comments of the issue", [COMMENT]),
    ("POST", r"/issues/\d+/comments", "the comments of the issue", COMMENT),
    ("GET", r"/issues/comments/\d+", "the comment", COMMENT),
    ("PATCH", r"/issues/comments/\d+", "the comment", COMMENT),
    ("DELETE", r"/issues/comments/\d+", "the comment", None),
    ("GET", r"/issues/\d+/labels", "the labels of the issue", [{"name": str}]),
    ("DELETE", r"/issues/\d+/labels/[^/]+", "the labels of the issue", [{"name": str}]),
    ("GET", "/labels", "the labels of the repository", [LABEL]),
    ("GET", "/labels/[^/]+", "the labels of the repository", LABEL),
    ("POST", "/labels", "the labels of the repository", LABEL),
    ("PATCH", "/labels/[^/]+", "the labels of the repository", LABEL),
    ("DELETE", "/labels/[^/]+", "the labels of the repository", None),
    ("GET", "/collaborators/[^/]+/permission", "the permission of a user", _PERMISSION),
    ("GET", "/assignees/[^/]+", "the people who may be assigned", None),
    ("GET", "/actions/runs", "the workflow runs", {"workflow_runs": [_RUN | {"id": int}]}),
    ("GET", r"/actions/runs/\d+", "the workflow run", _RUN),
    ("GET", r"/actions/runs/\d+/approvals", "the reviews of the workflow run", [_REVIEW]),
    ("GET", "/actions/runs/.+/jobs", "the jobs of the workflow run", {"jobs": [_JOB]}),
    ("GET", "/actions/workflows/[^/]+/runs", "the runs of a workflow", {"workflow_runs": [_RUN | {"id": int}]}),
    ("POST", "/actions/workflows/[^/]+/dispatches", "a button", (dict, None)),
    ("GET", "/deployments", "the deployments", [_DEPLOYMENT]),
    ("GET", r"/deployments/\d+/statuses", "the statuses of a deployment", [_STATUS]),
    ("GET", "/contents/.+", "a file", ([dict], FILE)),
    ("PUT", "/contents/.+", "a file", {"content": dict, "commit": {"sha": str}}),
    ("GET", "/commits", "the commits", [{"sha": str}]),
    ("GET", "/commits/[^/]+/pulls", "the pull requests of a commit", [PULL]),
    ("GET", "/compare/.+", "the comparison of two commits", {"commits": [_COMMIT]}),
    ("GET", "/git/ref/.+", "the branch", REF),
    ("GET", "/git/matching-refs/.+", "the branches", [REF]),
    ("GET", r"/git/commits/[^/]+", "a commit", {"tree": {"sha": str}}),
    ("PATCH", "/git/refs/.+", "the branches", REF),
    ("DELETE", "/git/refs/.+", "the branches", None),
    ("POST", "/git/refs", "the branches", REF),
    ("POST", "/git/[^/]+", "the commits", {"sha": str}),
    ("GET", "/pulls", "the pull requests", [OPEN_PULL]),
    ("POST", "/pulls", "the pull requests", PULL),
    ("GET", "/environments/[^/]+", "an environment", _PROTECTED),
    ("PUT", "/environments/[^/]+", "an environment", _PROTECTED),
    ("DELETE", "/environments/[^/]+", "an environment", None),
    ("GET", "/environments", "the environments", {"environments": [{"name": str}]}),
    ("GET", ".*/deployment-branch-policies", "the branches of an environment", {"branch_policies": [_PATTERN]}),
    ("POST", ".*/deployment-branch-policies", "the branches of an environment", _PATTERN),
    ("DELETE", r".*/deployment-branch-policies/\d+", "the branches of an environment", None),
    ("GET", "/rules/branches/.+", "the rules of a branch", [{"type": str}]),
    ("GET", "/actions/permissions", "the policy of Actions", {"enabled": bool, "allowed_actions": TEXT}),
    (
        "GET",
        "/actions/permissions/selected-actions",
        "the allowed actions",
        {"github_owned_allowed": bool, "patterns_allowed": ([str], None)},
    ),
    (
        "GET",
        "/actions/permissions/workflow",
        "the rights of GITHUB_TOKEN",
        {"default_workflow_permissions": str, "can_approve_pull_request_reviews": bool},
    ),
    ("GET", "/actions/permissions/artifact-and-log-retention", "the retention of workflow runs", {"days": int}),
    ("GET", "/actions/permissions/fork-pr-contributor-approval", "the policy for forks", {"approval_policy": str}),
    ("GET", "/actions/runners", "the runners", {"runners": [{"status": str, "labels": [{"name": str}]}]}),
    ("GET", "/actions/workflows", "the workflows", {"workflows": [{"path": str, "state": str}]}),
    ("GET", "/codeowners/errors", "the errors of CODEOWNERS", {"errors": [{"line": int, "kind": str}]}),
    ("GET", "/rulesets", "the rulesets", [{"id": int, "name": str}]),
    ("POST", "/rulesets", "the rulesets", {"id": int, "name": str}),
    ("PUT", r"/rulesets/\d+", "a ruleset", {"id": int, "name": str}),
    ("GET", ".*/secrets", "the names of secrets", {"secrets": [{"name": str}]}),
    ("GET", ".*/secrets/public-key", "the public key of an environment", {"key_id": str, "key": is_public_key}),
    ("GET", ".*/secrets/[^/]+", "a secret of an environment", {"name": str, "updated_at": is_timestamp}),
    ("GET", "/installation", "the installation of the App", {"id": int}),
    ("POST", r"/app/installations/\d+/access_tokens", "the tokens of the App", _APP_TOKEN),
    ("DELETE", "/installation/token", "the token of the App", None),
    ("PUT", ".*/secrets/[^/]+", "a secret of an environment", (dict, None)),
)
"""Method, path below the repository, name in error texts, shape of a success response."""
_USER = {"login": str}
GRAPHQL = "/graphql"
"""End of the path of queries. They only read: Backout sends no mutation."""
_DATA = {"data": (dict, None), "errors": ([dict], None)}


@lru_cache(maxsize=256)  # a run asks the same paths again
def expected_answer(method: str, path: str) -> tuple[str, Shape]:
    """Return the name of the route and its shape. A route that is not listed may return any object or list."""
    if path == "/user":
        return "the user of the token", _USER
    if path.endswith(GRAPHQL):
        return "a query", _DATA
    below = re.sub(r"^/repos/[^/]+/[^/]+", "", path)
    for verb, pattern, what, shape in ROUTES:
        if verb == method and re.fullmatch(pattern, below):
            return what, shape
    return "a request", (dict, list)


def check_answer(method: str, path: str, status: int, text: str) -> None:
    """Check that a success response has the shape of its route.

    `path` is the API path without host and query. Error responses are checked by their status: see `provider_errors`.

    Raises:
        MalformedAnswer: the response to a read has another shape.
        UnclearWrite: the response to a write has another shape.
    """
    name, shape = expected_answer(method, path)
    try:
        value = json.loads(text) if text else None
    except (ValueError, RecursionError):
        why = "an HTML page" if text.lstrip()[:1] == "<" else f"{len(text)} characters that are not JSON"
        raise malformed_answer(method, name, status, why) from None
    if problem := _shape_problem(shape, value):
        why = "an empty body" if not text else f"unexpected JSON ({problem[0].lstrip('.') or 'it'} {problem[1]})"
        raise malformed_answer(method, name, status, why)


def refusal_body(text: str) -> str:
    """Return the body of an error response; `{}` if it has no `message` in GitHub's form."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return "{}"
    return text if isinstance(value, dict) and isinstance(value.get("message"), str) else "{}"


def _shape_problem(shape: Shape, value: Any) -> tuple[str, str] | None:
    """Return the first field that differs from the shape, and how; None if the value matches."""
    match shape:
        case tuple():
            problems = [_shape_problem(one, value) for one in shape]
            return None if None in problems else problems[0]
        case list():
            if not isinstance(value, list):
                return "", "is not a list"
            return next((_name_field("[]", found) for item in value if (found := _shape_problem(shape[0], item))), None)
        case Mapping():
            if not isinstance(value, dict):
                return "", "is not an object"
            fields = ((name, _shape_problem(one, value.get(name))) for name, one in shape.items())
            return next((_name_field(f".{name}", found) for name, found in fields if found), None)
        case type():
            is_other = not isinstance(value, shape) or (shape is int and isinstance(value, bool))
            return ("", "is missing or has another type") if is_other else None
        case None:
            return None if value is None else ("", "is not empty")
        case _:
            return None if shape(value) else ("", "is missing or has another form")


def _name_field(field: str, problem: tuple[str, str]) -> tuple[str, str]:
    return f"{field}{problem[0]}", problem[1]


class TypedRequester(Requester):
    """A transport that rejects responses with an unexpected shape.

    A response may contain URLs on another host, for instance behind a proxy. Every request still goes to the configured
    API, because the token is for that host only.

    PyGithub keeps a request in its connection until it sends it, so that two threads would get each other's answers.
    Here each request gets a connection object of its own; they share the open sockets.

    Raises:
        Refused: `is_read_only` is set, and the request is neither a GET nor a query.
        ProviderError: the response to a read has an unexpected shape.
        UnclearWrite: the response to a write has one.
    """

    is_read_only = False
    guard: Callable[[requests.PreparedRequest], None] | None = None
    """Called right before a request is sent; it raises to refuse it. Set it before the first one."""
    find_clock: Callable[[], Clock] = SystemClock
    """Returns the clock on which the list is awaited that shows whether an unclear creation was applied."""

    @cached_property
    def _connection_class(self) -> HTTPRequestsConnectionClass | HTTPSRequestsConnectionClass:
        parts, options = urlsplit(self.base_url), self.kwargs
        kind = TlsApi if parts.scheme == "https" else PlainApi
        given = {name: options[name] for name in ("timeout", "retry", "pool_size", "verify")}
        connection = kind(self.hostname, parts.port, **given)
        session = connection.session
        # Proxies and certificates of the environment are read once. Neither applies to a sandbox on loopback.
        if not is_loopback(self.base_url):
            settings = session.merge_environment_settings(self.base_url, {}, None, connection.verify, None)
            session.proxies, connection.verify = settings["proxies"], settings["verify"]
        size = connection.pool_size
        adapter = BoundedAdapter(size, size, max_retries=connection.retry)
        adapter.guard = self.guard
        session.mount(f"{parts.scheme}://", adapter)
        return connection

    def close(self) -> None:
        super().close()
        self._connection_class.close()

    def requestJsonAndCheck(  # noqa: N802  PyGithub's name
        self, verb: str, url: str, *arguments: Any, **options: Any
    ) -> tuple[dict[str, Any], Any]:
        # An Enterprise Server serves queries outside of the path of its API.
        path = url if url == self.graphql_url else _HOST.sub("", url, count=1)
        began = time.monotonic()
        try:
            return super().requestJsonAndCheck(verb, path, *arguments, **options)
        except Exception as error:
            if not may_have_created(verb, path, error):
                raise
            created = find_created(self, path, options.get("input") or {}, began, self.find_clock)
            if created is None:
                raise
            return {}, created

    def requestJson(  # noqa: N802, PLR0917  PyGithub's name and order
        self,
        verb: str,
        url: str,
        parameters: dict[str, Any] | None = None,
        headers: dict[str, Any] | None = None,
        input: Any | None = None,  # noqa: A002
        cnx: HTTPRequestsConnectionClass | HTTPSRequestsConnectionClass | None = None,
        follow_302_redirect: bool = False,  # noqa: FBT001, FBT002
    ) -> tuple[int, dict[str, Any], str]:
        path = urlsplit(url).path
        method = "GET" if path.endswith(GRAPHQL) else verb
        if self.is_read_only and method != "GET":
            raise Refused(f"{verb} {path} is a write to GitHub, and only reads are allowed", reason=Reason.READ_ONLY)
        try:
            status, answer_headers, text = super().requestJson(
                verb, url, parameters, headers, input, cnx or copy(self._connection_class), follow_302_redirect
            )
        except (requests.RequestException, GithubException):
            raise
        except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            # PyGithub cannot read the headers, or it was redirected to another host.
            raise malformed_answer(method, expected_answer(method, path)[0], 0, type(error).__name__) from None
        if 300 <= status < 400 and method != "GET":  # never followed: a moved issue may be in another repository
            raise GithubException(status, {}, answer_headers)
        if status >= 400:
            return status, answer_headers, refusal_body(text)
        check_answer(method, path, status, text)
        return status, answer_headers, text
