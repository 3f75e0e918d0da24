"""Create, change and delete what `ops verify-platform` makes in a repository.

docs.github.com/rest: git/trees, git/commits, git/refs, deployments/environments, actions/secrets, issues, pulls,
actions/workflows, actions/workflow-runs
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from ops.core.redaction import Secret
from ops.github.client import make_requester, provider_errors, read_json, send_json, write_errors
from ops.github.own_writes import SECRET, WORKFLOW, OwnWrites
from ops.github.pulls import CreatedPullRequest

if TYPE_CHECKING:
    from github.Repository import Repository

SKIP = "[skip ci]"
"""Part of a commit's message for which no `push` or `pull_request` workflow starts.

docs.github.com/actions/how-tos/manage-workflow-runs/skip-workflow-runs
"""


def open_guarded(environ: Mapping[str, str], token: Secret, name: str) -> "tuple[Repository, OwnWrites]":
    """Return a repository by OWNER/NAME, and the guard of its transport, without a request. Raises ConfigError."""
    from github.Auth import Token
    from github.Repository import Repository

    requester = make_requester(environ, Token(token.reveal()))
    guard = OwnWrites(requester.base_url, urlsplit(requester.graphql_url).path, name)
    requester.guard = guard.check
    return Repository(requester, url=f"/repos/{name}"), guard


def find_file(repository: "Repository", path: str, branch: str) -> str | None:
    """Return the text of a file on a branch; None if there is none. Raises ProviderError."""
    from github import UnknownObjectException

    with provider_errors():
        try:
            found = repository.get_contents(path, ref=branch)
        except UnknownObjectException:
            return None
    return "" if isinstance(found, list) else found.decoded_content.decode(errors="replace")


def make_commit(repository: "Repository", parent: str, files: Mapping[str, str | None], message: str) -> str:
    """Create a commit on no branch, and return it. A file with None is deleted. Raises ProviderError."""
    with provider_errors():
        tree = str(read_json(repository, f"/git/commits/{parent}")["tree"]["sha"])
    if files:
        entries = [
            {"path": path, "mode": "100644", "type": "blob"} | ({"sha": None} if text is None else {"content": text})
            for path, text in files.items()
        ]
        tree = send_json(repository, "POST", "/git/trees", {"base_tree": tree, "tree": entries})["sha"]
    commit = {"message": message, "tree": tree, "parents": [parent]}
    return str(send_json(repository, "POST", "/git/commits", commit)["sha"])


class VerificationWrites:
    """Writes of a verification, each sent once. They raise ProviderError and UnclearWrite."""

    def __init__(self, repository: "Repository", guard: OwnWrites) -> None:
        self._repository, self._guard = repository, guard
        self._heads: dict[str, str] = {}
        """Branch → its newest commit."""

    def create_branch(self, branch: str, base: str, files: Mapping[str, str | None], message: str) -> str:
        """Create a branch whose first commit is new, so that no workflow starts for one of somebody else.

        `base` is the branch to start from. A file with None is deleted. Returns the commit.
        """
        with provider_errors():
            parent = str(read_json(self._repository, f"/git/ref/heads/{quote(base)}")["object"]["sha"])
        made = make_commit(self._repository, parent, files, message)
        self._write_own_resource("POST", "/git/refs", {"ref": f"refs/heads/{branch}", "sha": made})
        self._heads[branch] = made
        return made

    def commit(self, branch: str, files: Mapping[str, str | None], message: str) -> str:
        """Add a commit to a branch that `create_branch` made, and return it. A file with None is deleted."""
        made = make_commit(self._repository, self._heads[branch], files, message)
        self._write_own_resource("PATCH", f"/git/refs/heads/{branch}", {"sha": made})
        self._heads[branch] = made
        return made

    def delete_branch(self, branch: str) -> None:
        self._write_own_resource("DELETE", f"/git/refs/heads/{branch}")

    def put_environment(self, name: str, rules: Mapping[str, Any]) -> None:
        """Create an environment, or replace its rules."""
        self._write_own_resource("PUT", f"/environments/{name}", rules)

    def put_secret(self, environment: str, value: str) -> None:
        """Write the dummy secret of an environment."""
        with write_errors():
            self._repository.get_environment(environment).create_secret(SECRET, value)

    def delete_environment(self, name: str) -> None:
        self._write_own_resource("DELETE", f"/environments/{name}")

    def create_label(self, name: str) -> None:
        self._write_own_resource(
            "POST", "/labels", {"name": name, "color": "ededed", "description": "Of ops verify-platform"}
        )

    def delete_label(self, name: str) -> None:
        self._write_own_resource("DELETE", f"/labels/{name}")

    def create_issue(self, title: str, body: str) -> int:
        number = int(self._write_own_resource("POST", "/issues", {"title": title, "body": body})["number"])
        self._guard.own_issue(number, title)
        return number

    def edit_issue(self, number: int, body: str) -> None:
        self._write_own_resource("PATCH", f"/issues/{number}", {"body": body})

    def close_issue(self, number: int, text: str) -> None:
        """Close an issue, and replace its text in the same request, which can be repeated."""
        self._write_own_resource("PATCH", f"/issues/{number}", {"state": "closed", "body": text})

    def comment(self, issue: int, text: str) -> int:
        """Add a comment, and return its ID."""
        made = int(self._write_own_resource("POST", f"/issues/{issue}/comments", {"body": text})["id"])
        self._guard.own_comment(made, issue)
        return made

    def edit_comment(self, comment: int, text: str) -> None:
        self._write_own_resource("PATCH", f"/issues/comments/{comment}", {"body": text})

    def add_label(self, issue: int, name: str) -> None:
        self._write_own_resource("POST", f"/issues/{issue}/labels", {"labels": [name]})

    def remove_label(self, issue: int, name: str) -> None:
        self._write_own_resource("DELETE", f"/issues/{issue}/labels/{name}")

    def open_pull(self, branch: str, base: str, title: str, body: str) -> CreatedPullRequest:
        made = self._write_own_resource("POST", "/pulls", {"title": title, "head": branch, "base": base, "body": body})
        self._guard.own_pull(made["number"], branch)
        return CreatedPullRequest(int(made["number"]), str(made["html_url"]))

    def close_pull(self, number: int) -> None:
        self._write_own_resource("PATCH", f"/pulls/{number}", {"state": "closed"})

    def dispatch(self, ref: str, inputs: Mapping[str, str], *, names_run: bool = True) -> int | None:
        """Start the workflow with the file of a branch, and return the run; None if GitHub does not name it.

        `names_run`: whether to ask for the run, which an older server refuses.
        """
        body = {"ref": ref, "inputs": dict(inputs), **({"return_run_details": True} if names_run else {})}
        answer = self._write_own_resource("POST", f"/actions/workflows/{WORKFLOW}/dispatches", body)
        if not answer:
            return None
        run = int(answer["workflow_run_id"])
        self._guard.own_run(run, ref)
        return run

    def own_run(self, run: int) -> None:
        """Permit to cancel a run of an own branch. Raises ValueError for another branch."""
        with provider_errors():
            self._guard.own_run(run, str(read_json(self._repository, f"/actions/runs/{run}")["head_branch"]))

    def cancel_run(self, run: int) -> None:
        self._write_own_resource("POST", f"/actions/runs/{run}/cancel")

    def _write_own_resource(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return send_json(self._repository, method, path, body)
