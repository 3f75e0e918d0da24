"""Read and write files, branches and pull requests of the operations repository.

Content of a pull request is data: it is never checked out, and never decides what runs. docs.github.com/rest:
repos/contents, commits/commits, git/refs, pulls/pulls
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ops.core.client_guards import WriteGuard, uses_one_sandbox
from ops.core.errors import ConfigError, Reason, Refused
from ops.core.redaction import Redactor
from ops.github import comments
from ops.github.client import connect, is_configured, provider_errors, write_errors
from ops.github.comments import author_login, own_login

if TYPE_CHECKING:
    from github.PullRequest import PullRequest
    from github.Repository import Repository

HINT = (
    "Check GITHUB_REPOSITORY (owner/name), and that GITHUB_TOKEN may read contents there; to propose a change it also "
    "needs Contents: write and Pull requests: write."
)
NOT_PERMITTED = "not permitted to create"
"""Part of GitHub's message if the repository does not allow Actions to create pull requests."""


@dataclass(frozen=True)
class FileAtCommit:
    text: str
    sha: str
    """SHA of the blob: a write names the blob that it replaces."""


MAX_FILES = 3000
"""Most files of a pull request that GitHub lists: docs.github.com/rest/pulls/pulls#list-pull-requests-files."""
MAX_STATES = 30
"""Most states of a file to read, newest first."""


@dataclass(frozen=True)
class FileState:
    """A file as it was on the default branch from `at` (UTC) on."""

    at: datetime
    text: str
    branch: str = ""
    """Branch of the pull request that was merged then; empty without one."""


def keep_recent_file_states(states: Iterable[tuple[datetime, str]], since: datetime) -> list[tuple[datetime, str]]:
    """Return those since then, and the two before, of times and commits that are sorted newest first."""
    kept, older = list[tuple[datetime, str]](), 0
    for at, commit in islice(states, MAX_STATES):
        kept.append((at, commit))
        older += at < since
        if older == 2:
            break
    return kept


@dataclass(frozen=True)
class CreatedPullRequest:
    number: int
    url: str


@dataclass(frozen=True)
class MergedPullRequest(CreatedPullRequest):
    branch: str


@dataclass(frozen=True)
class OwnPullRequest(CreatedPullRequest):
    head: str
    """Commit at the end of its branch."""
    body: str
    is_in_conflict: bool | None
    """Whether it cannot be merged. None for some seconds after a push, while GitHub computes it."""


class PullRequests(WriteGuard):
    """The repository's pull requests. Read-only outside `with pulls.writing():`. Every method raises ProviderError."""

    def __init__(self, open_repository: "Callable[[], Repository] | None") -> None:
        """`open_repository` is None if GitHub is not configured, or only one of GitHub and Cloudflare is a sandbox."""
        self._open = open_repository
        self._opened: Repository | None = None

    @classmethod
    def of(cls, environ: Mapping[str, str], redactor: Redactor) -> "PullRequests":
        return cls(
            (lambda: connect(environ, redactor)) if is_configured(environ) and uses_one_sandbox(environ) else None
        )

    def close(self) -> None:
        if self._opened is not None:
            self._opened.requester.close()

    @property
    def is_available(self) -> bool:
        return self._open is not None

    @property
    def repository(self) -> "Repository":
        """The opened repository. Raises ConfigError if GitHub is not configured."""
        if self._open is None:
            raise ConfigError(
                "GITHUB_TOKEN and GITHUB_REPOSITORY are not both set",
                reason=Reason.TOKEN_MISSING,
                hint="Set them to a token and to owner/name of the operations repository. In a job GitHub sets them.",
            )
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    @property
    def default_branch(self) -> str:
        with provider_errors(HINT):
            return self.repository.default_branch

    def file(self, path: str, ref: str) -> FileAtCommit | None:
        """Return a file at a branch or commit, or None if it does not exist.

        A commit of a fork can be read too, once a pull request exists for it.
        """
        from github import UnknownObjectException

        with provider_errors(HINT):
            try:
                content = self.repository.get_contents(path, ref=ref)
            except UnknownObjectException:
                return None
            if isinstance(content, list):
                return None
            return FileAtCommit(content.decoded_content.decode("utf-8", errors="surrogateescape"), content.sha)

    def changes_file(self, number: int, path: str) -> bool:
        """Return whether the pull request changes the file now; True if GitHub's list of its files may be cut."""
        with provider_errors(HINT):
            listed = 0
            for changed in self.repository.get_pull(number).get_files():
                listed += 1
                if path in {changed.filename, changed.previous_filename}:
                    return True
            return listed >= MAX_FILES

    def newest_commits(self, path: str, ref: str) -> tuple[str, ...]:
        """Return the newest two commits that touch the file, as of that branch or commit, newest first."""
        with provider_errors(HINT):
            return tuple(commit.sha for commit in islice(self.repository.get_commits(sha=ref, path=path), 2))

    def file_states(self, path: str, ref: str, since: datetime) -> tuple[FileState, ...]:
        """Return the states of a file on the default branch up to a branch or commit, oldest first.

        They are the states since then, and the two before. A commit of a pull request counts as its merge, because its
        own content was perhaps never on the branch.
        """
        with provider_errors(HINT):
            commits = self.repository.get_commits(sha=ref, path=path)
            kept = keep_recent_file_states(
                ((each.commit.committer.date.astimezone(UTC), each.sha) for each in commits), since
            )
            merges = dict.fromkeys(self._merge_of(sha) or (at, sha, "") for at, sha in kept)
        files = [(at, self.file(path, sha), branch) for at, sha, branch in reversed(merges)]
        return tuple(FileState(at, file.text, branch) for at, file, branch in files if file is not None)

    def _merge_of(self, sha: str) -> tuple[datetime, str, str] | None:
        """Return time, commit and branch of the merge that added a commit."""
        for one in self.repository.get_commit(sha).get_pulls():
            if one.merged_at and one.merge_commit_sha:
                return one.merged_at.astimezone(UTC), one.merge_commit_sha, one.head.ref
        return None

    def merged_pull(self, sha: str) -> MergedPullRequest | None:
        """Return the merged pull request that added a commit to the default branch."""
        with provider_errors(HINT):
            pull = next((one for one in self.repository.get_commit(sha).get_pulls() if one.merged_at), None)
            if pull is None:
                return None
            return MergedPullRequest(pull.number, pull.html_url, pull.head.ref)

    def branch_head(self, branch: str) -> str | None:
        """Return the newest commit of a branch, or None."""
        from github import UnknownObjectException

        with provider_errors(HINT):
            try:
                return self.repository.get_git_ref(f"heads/{branch}").object.sha
            except UnknownObjectException:
                return None

    def open_pull_of(self, branch: str) -> CreatedPullRequest | None:
        with provider_errors(HINT):
            owner = self.repository.full_name.partition("/")[0]
            pulls = self.repository.get_pulls(state="open", head=f"{owner}:{branch}")
            return next((CreatedPullRequest(one.number, one.html_url) for one in pulls), None)

    def own_open_pulls(self, prefix: str) -> tuple[OwnPullRequest, ...]:
        """Return our open pull requests from branches with that prefix, newest first."""
        with provider_errors(HINT):
            listed = [one for one in self.repository.get_pulls(state="open") if one.head.ref.startswith(prefix)]
            own = own_login(self.repository) if listed else ""
            return tuple(
                OwnPullRequest(
                    one.number,
                    one.html_url,
                    one.head.sha,
                    one.body or "",
                    {True: False, False: True}.get(one.mergeable),  # PyGithub's type lacks None
                )
                for one in listed
                if self._is_own(one, own)
            )

    def _is_own(self, pull: "PullRequest", own: str) -> bool:
        source: Any = pull.head.repo  # None if the fork was deleted
        return author_login(pull) == own and source is not None and source.full_name == self.repository.full_name

    def issue_opened_at(self, label: str, marker: str) -> datetime | None:
        """Return when our open issue with the label and marker was opened, or None."""
        issue = comments.open_issue(self.repository, label, marker)
        return None if issue is None else issue.opened_at

    def is_any_open(self, label: str) -> bool:
        """Return whether any issue with that label is open."""
        return comments.is_any_open(self.repository, label)

    def compare_url(self, branch: str) -> str:
        """Return the URL of the page where a person creates the pull request."""
        repository = self.repository
        return f"{repository.html_url}/compare/{quote(self.default_branch)}...{quote(branch)}?expand=1"

    def create_branch(self, branch: str, sha: str) -> None:
        """Create a branch. Each write is sent once. Raises UnclearWrite."""
        self._write_pull_request(lambda repository: repository.create_git_ref(f"refs/heads/{branch}", sha))

    def commit(self, branch: str, path: str, text: str, *, replaces: str, message: str) -> None:
        self._write_pull_request(
            lambda repository: repository.update_file(path, message, text, replaces, branch=branch)
        )

    def create_pull(self, branch: str, *, title: str, body: str) -> bool:
        """Create the pull request. Return False if the repository does not allow GitHub Actions to create any."""
        from github import GithubException

        base = self.default_branch

        def create_branch_once(repository: "Repository") -> bool:
            try:
                repository.create_pull(base, branch, title=title, body=body)
            except GithubException as error:
                message = error.data.get("message") if isinstance(error.data, dict) else ""
                if error.status == 403 and NOT_PERMITTED in str(message):
                    return False
                raise
            return True

        return bool(self._write_pull_request(create_branch_once))

    def _write_pull_request(self, call: "Callable[[Repository], Any]") -> Any:
        if not self._may_write:
            raise Refused("a branch on GitHub may not be written before the plan is confirmed", reason=Reason.READ_ONLY)
        with write_errors(HINT):
            return call(self.repository)
