"""Let through only reads, and writes to what a verification made in one repository.

Reads are those of the repository and of the token's owner (`/user`), and every GraphQL query, whose repositories are
not compared: it changes nothing. A check of each request right before its connection, below every client: code above
it can be wrong without touching what belongs to others.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import requests

from ops.core.errors import Reason, Refused
from ops.core.verification_name import is_verification_name

BRANCH_SUFFIXES = ("", "-workflow", "-removal")
"""Ends of the names of a run's branches: of its own workflow files, of the pull request that adds the harmless
workflow to the default branch, and of the one that removes it."""
SECRET = "BACKOUT_VERIFY"  # noqa: S105  (the name of a secret)
FOLDER = ".github/workflows/"
WORKFLOW = "verify-platform.yml"
"""The only file that a run proposes for the default branch."""
_FILE = re.compile(re.escape(FOLDER) + r"verify-platform[a-z0-9-]*\.yml")
_HEADS = "refs/heads/"
_CHANGEABLE = {"body", "state", "state_reason"}
"""Fields of an issue or a pull request that a run edits: no title, labels, people or base branch."""


def own_branch_of(branch: str) -> str:
    """Return the name of the run that made the branch; empty if none did."""
    names = (branch.removesuffix(suffix) for suffix in BRANCH_SUFFIXES if branch.endswith(suffix))
    return next((name for name in names if is_verification_name(name)), "")


@dataclass
class _OwnThings:
    """Names and numbers of what a verification made. A number is a text, as in a path."""

    default_branch: str = ""
    names: set[str] = field(default_factory=set)
    issues: set[str] = field(default_factory=set)
    comments: set[str] = field(default_factory=set)
    pulls: set[str] = field(default_factory=set)
    runs: set[str] = field(default_factory=set)

    def has_branch(self, branch: object) -> bool:
        return isinstance(branch, str) and own_branch_of(branch) in self.names

    def has_ref(self, ref: object) -> bool:
        return isinstance(ref, str) and ref.startswith(_HEADS) and self.has_branch(ref.removeprefix(_HEADS))

    def has_label(self, label: object) -> bool:
        """Return whether a label is own. GitHub finds it in any case: docs.github.com/rest/issues/labels."""
        return isinstance(label, str) and label.lower() in self.names

    def has_labels(self, body: Mapping[str, Any]) -> bool:
        labels = body.get("labels", [])
        return isinstance(labels, list) and all(map(self.has_label, labels))

    def may_open_issue(self, body: Mapping[str, Any]) -> bool:
        is_own = body.get("title") in self.names and self.has_labels(body)
        return is_own and body.keys() <= {"title", "body", "labels"}

    def may_open_pull(self, body: Mapping[str, Any]) -> bool:
        """Return whether a pull request is own. `issue` would turn an issue of others into one: rest/pulls."""
        base = body.get("base")
        is_own = self.has_branch(body.get("head")) and (base == self.default_branch or self.has_branch(base))
        return is_own and body.keys() <= {"title", "head", "base", "body"}


class OwnWrites:
    """Judge of the requests of a verification. It refuses every other one before it is sent."""

    def __init__(self, base_url: str, graphql_path: str, repository: str) -> None:
        """`base_url` is that of the API, `repository` is OWNER/NAME."""
        self._api, self._graphql = urlsplit(base_url), graphql_path
        self._base = self._api.path.rstrip("/")
        self._root = f"{self._base}/repos/{repository}"
        self._own = _OwnThings()
        self.sent = 0
        """Requests that were let through."""

    def own_name(self, name: str) -> None:
        """Permit writes to things with this name. Raises ValueError for a name of another origin."""
        if not is_verification_name(name):
            raise ValueError(f"{name} is no name of a verification")
        self._own.names.add(name)

    def own_issue(self, number: int, title: str) -> None:
        """Permit writes to an issue by its title. Raises ValueError as `own_name` does."""
        self.own_name(title)
        self._own.issues.add(str(number))

    def own_comment(self, comment: int, issue: int) -> None:
        """Permit edits of a comment on an own issue. Raises ValueError for any other issue."""
        if str(issue) not in self._own.issues:
            raise ValueError(f"#{issue} is no issue of this verification")
        self._own.comments.add(str(comment))

    def own_pull(self, number: int, branch: str) -> None:
        """Permit edits of a pull request by its branch. Raises ValueError for a branch that no run made."""
        self.own_name(own_branch_of(branch) or branch)
        self._own.pulls.add(str(number))

    def own_run(self, run: int, branch: str) -> None:
        """Permit to cancel a workflow run by its branch. Raises ValueError for a branch that no run made."""
        self.own_name(own_branch_of(branch) or branch)
        self._own.runs.add(str(run))

    def open_pulls_into(self, branch: str) -> None:
        """Permit pull requests of own branches into the default branch."""
        self._own.default_branch = branch

    def check(self, request: requests.PreparedRequest) -> None:
        """Count a request that may be sent.

        Raises:
            Refused: it is neither a permitted read nor a write to something of this verification.
        """
        method, url = str(request.method), urlsplit(str(request.url))
        is_of_api = (url.scheme, url.netloc) == (self._api.scheme, self._api.netloc)
        if not (is_of_api and self._may_send(method, url.path, _parse_body(request))):
            raise Refused(
                f"{method} is not sent to GitHub: no permitted read, and no write to what this run made",
                reason=Reason.READ_ONLY,
            )
        self.sent += 1

    def _may_send(self, method: str, path: str, body: Mapping[str, Any]) -> bool:
        if ".." in unquote(unquote(path)):  # a server may resolve it to another path
            return False
        if path == self._graphql:
            return method == "POST" and _is_query(body)
        if method == "GET":
            return path in {f"{self._base}/user", self._root} or path.startswith(f"{self._root}/")
        if not path.startswith(f"{self._root}/"):
            return False
        below = path.removeprefix(self._root)
        found = ((allows, re.fullmatch(pattern, below)) for verb, pattern, allows in _WRITES if verb == method)
        return any(match is not None and allows(self._own, unquote(match[1]), body) for allows, match in found)


def _parse_body(request: requests.PreparedRequest) -> Mapping[str, Any]:
    """Return the JSON object of the body; an empty one for any other body."""
    try:
        value = json.loads(request.body or "{}")  # type: ignore[arg-type]
    except (TypeError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _is_query(body: Mapping[str, Any]) -> bool:
    text = str(body.get("query", ""))
    return re.match(r"\s*(query\b|\{)", text) is not None and re.search("mutation|subscription", text) is None


def _are_own_files(body: Mapping[str, Any]) -> bool:
    """Return whether a tree changes only workflow files of a verification, on top of another tree."""
    tree = body.get("tree")
    entries = tree if isinstance(tree, list) else [None]
    own = [isinstance(each, dict) and _FILE.fullmatch(str(each.get("path"))) for each in entries]
    return isinstance(body.get("base_tree"), str) and all(own)


_Rule = Callable[[_OwnThings, str, Mapping[str, Any]], bool]
_NUMBER = r"/(\d+)"
_ONE = "/([^/]+)"
_WRITES: tuple[tuple[str, str, _Rule], ...] = (
    # A tree and a commit are on no branch until a ref names them.
    ("POST", "(/git/trees)", lambda _, __, body: _are_own_files(body)),
    ("POST", "(/git/commits)", lambda *_: True),
    ("POST", "(/git/refs)", lambda own, _, body: own.has_ref(body.get("ref"))),
    ("PATCH", f"/git/{_HEADS}(.+)", lambda own, name, _: own.has_branch(name)),
    ("DELETE", f"/git/{_HEADS}(.+)", lambda own, name, _: own.has_branch(name)),
    ("PUT", f"/environments{_ONE}", lambda own, name, _: name in own.names),
    ("DELETE", f"/environments{_ONE}", lambda own, name, _: name in own.names),
    ("PUT", f"/environments{_ONE}/secrets/{SECRET}", lambda own, name, _: name in own.names),
    ("POST", "(/labels)", lambda own, _, body: own.has_label(body.get("name"))),
    ("DELETE", f"/labels{_ONE}", lambda own, name, _: own.has_label(name)),
    ("POST", "(/issues)", lambda own, _, body: own.may_open_issue(body)),
    ("PATCH", f"/issues{_NUMBER}", lambda own, number, body: number in own.issues and body.keys() <= _CHANGEABLE),
    ("POST", f"/issues{_NUMBER}/comments", lambda own, number, _: number in own.issues),
    ("POST", f"/issues{_NUMBER}/labels", lambda own, number, body: number in own.issues and own.has_labels(body)),
    ("DELETE", f"/issues{_NUMBER}/labels/[^/]+", lambda own, number, _: number in own.issues),
    ("PATCH", f"/issues/comments{_NUMBER}", lambda own, comment, _: comment in own.comments),
    ("POST", "(/pulls)", lambda own, _, body: own.may_open_pull(body)),
    ("PATCH", f"/pulls{_NUMBER}", lambda own, number, body: number in own.pulls and body.keys() <= _CHANGEABLE),
    (
        "POST",
        f"(/actions/workflows)/{re.escape(WORKFLOW)}/dispatches",
        lambda own, _, body: own.has_branch(body.get("ref")),
    ),
    ("POST", f"/actions/runs{_NUMBER}/cancel", lambda own, run, _: run in own.runs),
)
"""Method, path below the repository with the part that the rule judges, rule. None merges a pull request."""
