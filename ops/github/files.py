"""Files of the operations repository: in this checkout, in its commits, and on a branch.

Commits come from GitHub if it is configured, else from the local repository as last fetched.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ops.core.errors import ConfigError, Reason, Refused
from ops.core.redaction import Redactor
from ops.github import actions
from ops.github.client import provider_errors, read_json
from ops.github.pulls import FileState, PullRequests, keep_recent_file_states
from ops.tools import git

if TYPE_CHECKING:
    from github.Repository import Repository


PER_PAGE, MOST_PAGES = 100, 10


@dataclass(frozen=True)
class FileCommits:
    """The newest commits that touch the file: in this checkout, and on the default branch."""

    checked_out: str
    newest: str
    source: str
    """`GitHub` or git, for people."""
    previous: str = ""
    """The commit before `checked_out` that touches the file; empty if there is none."""

    @property
    def is_newest(self) -> bool:
        return self.checked_out == self.newest


class CommittedFile:
    """A file of this checkout. `folder` is the folder of ops.yml."""

    def __init__(
        self, folder: Path, name: str, environ: Mapping[str, str], redactor: Redactor, pulls: PullRequests
    ) -> None:
        self._folder, self._name, self._environ = folder, name, environ
        self._pulls = pulls
        self._git = git.GitRepository(folder, environ, redactor)

    def text(self) -> str:
        """Return the text of the file. Raises ConfigError if it cannot be read."""
        return read_local_limits(self._folder / self._name)

    def states(self, commit: str, since: datetime) -> tuple[FileState, ...]:
        """Return the states up to `commit`, oldest first: those since then, and the two before.

        Raises ProviderError.
        """
        if self._pulls.is_available:
            return self._pulls.file_states(self._name, commit, since)
        return file_states_in_git(self._git, self._name, commit, since)

    def commits(self) -> FileCommits:
        """Return the commits of the file.

        Raises:
            Refused: a commit is unknown, or the file here differs from its commit.
            ProviderError: GitHub failed.
        """
        try:
            return self._commits_from_github() if self._pulls.is_available else self._commits_from_git()
        except git.GitError as error:
            raise _unknown_commit(str(error), "Run it in a checkout of the operations repository, with git.") from None

    def _commits_from_github(self) -> FileCommits:
        # A workflow passes on `github.sha`: a local runner's GITHUB_SHA names its own copy.
        job_commit = self._environ.get("OPS_COMMIT") or self._environ.get("GITHUB_SHA", "")
        head = job_commit if actions.is_job(self._environ) else ""
        checked_out = self._pulls.newest_commits(self._name, head or self._find_head_commit())
        newest = self._pulls.newest_commits(self._name, self._pulls.default_branch)
        if not checked_out or not newest:
            raise _unknown_commit(
                f"GitHub knows no commit with {self._name}", "Commit it to the default branch, by a pull request."
            )
        return FileCommits(checked_out[0], newest[0], "GitHub", "".join(checked_out[1:]))

    def _commits_from_git(self) -> FileCommits:
        branch = self._git.default_branch()
        tip, head = self._git.branch_head(branch), self._find_head_commit()
        checked_out = self._git.newest_commits_touching(head, self._name)
        newest = self._git.newest_commits_touching(tip, self._name) if tip else ()
        if not checked_out or not newest:
            raise _unknown_commit(f"no commit of {branch} here has {self._name}", "Commit it, merge it, and fetch.")
        previous = "".join(checked_out[1:])
        return FileCommits(checked_out[0], newest[0], f"git, as fetched last from {branch}", previous)

    def _find_head_commit(self) -> str:
        """Return the commit of this checkout. Raises Refused if the file differs from it."""
        commit = self._git.find_commit("HEAD")
        if commit is None:
            raise git.GitError(f"{self._folder} has no commit")
        committed = self._git.read_file(commit.sha, self._name) or ""
        if committed.replace("\r\n", "\n") != self.text().replace("\r\n", "\n"):  # a checkout may change line ends
            raise _unknown_commit(
                f"{self._name} here is not as it was committed",
                "Open a pull request with the change; what is merged counts.",
            )
        return commit.sha


def file_states_in_git(repository: git.GitRepository, name: str, commit: str, since: datetime) -> tuple[FileState, ...]:
    """Return the states of a file up to a commit, as `PullRequests.file_states`; none if git does not know them."""
    try:
        kept = keep_recent_file_states(repository.commit_times(commit, name), since)
        texts = [(at, repository.read_file(sha, name)) for at, sha in kept]
    except git.GitError:
        return ()
    return tuple(FileState(at, text) for at, text in reversed(texts) if text is not None)


def read_local_limits(path: Path) -> str:
    """Return the text of `limits.yml` in a checkout. Raises ConfigError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        hint = "The file is beside ops.yml in the operations repository; see docs/how-to/propose-limits.md."
        raise ConfigError(f"{path} cannot be read ({error.strerror})", hint=hint) from None


def _unknown_commit(message: str, hint: str) -> Refused:
    return Refused(message, reason=Reason.UNKNOWN_NAME, hint=hint)


@dataclass(frozen=True)
class WorkflowState:
    path: str
    state: str
    """`active`, or why GitHub does not start it, such as `disabled_inactivity`."""


def list_workflows(repository: "Repository") -> tuple[WorkflowState, ...]:
    """Return the workflows of the default branch (docs.github.com/rest/actions/workflows). Raises ProviderError."""
    with provider_errors():
        rows = list(_page_rows(repository, "/actions/workflows", "workflows"))
    return tuple(WorkflowState(str(row["path"]), str(row["state"])) for row in rows)


def list_file_digests(repository: "Repository", folder: str, branch: str) -> dict[str, str]:
    """Return path → Git blob SHA of the files in a folder; empty if there is no such folder. Raises ProviderError.

    docs.github.com/rest/repos/contents#get-repository-content
    """
    from github import UnknownObjectException

    with provider_errors():
        try:
            rows = read_json(repository, f"/contents/{quote(folder)}?ref={quote(branch, safe='')}")
        except UnknownObjectException:
            return {}
    return {str(row["path"]): str(row["sha"]) for row in rows if row.get("type") == "file"}


def _page_rows(repository: "Repository", path: str, key: str) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of all pages."""
    for page in range(1, MOST_PAGES + 1):
        rows = read_json(repository, f"{path}?per_page={PER_PAGE}&page={page}")[key]
        yield from rows
        if len(rows) < PER_PAGE:
            return
