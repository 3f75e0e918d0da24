"""Seeding methods for commits and pull requests."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sandbox.github.git import changes as git
from sandbox.github.git.state import list_changes
from sandbox.github.issues.state import FakeIssue, FakePullRequest, Fork
from sandbox.github.pulls import changes as pulls
from sandbox.github.users.fixtures import Seeds
from sandbox.github.users.state import GitHubActor

Contents = Mapping[str, str | bytes | None]
"""Path → new content; None deletes the file."""


class GitSeeds(Seeds):
    def add_commit(
        self,
        message: str,
        author: str,
        parents: Sequence[str] | None = None,
        files: Contents | None = None,
        *,
        branch: str = "main",
        at: datetime | None = None,
    ) -> str:
        """Add a commit, move the branch to it, and return its sha. Creates a missing branch.

        The default parent is the head of the branch or, for a new branch, of the default branch.
        """
        with self._repository.lock:
            graph, by = self._repository.git, self._by(author, at)
            head = graph.head(branch) or graph.head(graph.default_branch)
            onto = parents if parents is not None else [head.sha] if head else []
            sha = self._commit(by, message, files or {}, onto)
            git.move_ref(self._repository, by, f"refs/heads/{branch}", sha)
            return sha

    def _commit(self, by: GitHubActor, message: str, files: Contents, parents: Sequence[str]) -> str:
        contents = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
        return git.commit(self._repository, by, message, contents, parents).sha

    def open_pull(self, title: str, head: str, author: str, body: str | None = None, base: str = "main") -> int:
        """Open a pull request and return its number."""
        with self._repository.lock:
            pull = pulls.open_pull(self._repository, self._by(author), title=title, body=body, head=head, base=base)
            return pull.number

    @property
    def branches(self) -> dict[str, str]:
        """Branch → sha of its newest commit."""
        return self._repository.git.branches

    def pull_branches(self, number: int) -> tuple[str, str]:
        """Return the head and the base of a pull request."""
        _, pull = self._pull(number)
        return pull.head, pull.base

    def open_pulls(self) -> list[int]:
        """Return the numbers of the open pull requests, newest first."""
        found = [one for one in self._repository.threads.values() if one.pull and one.state == "open"]
        return [one.number for one in reversed(found)]

    def open_fork_pull(
        self,
        title: str,
        head_owner: str,
        files: Contents,
        *,
        head: str = "patch-1",
        body: str | None = None,
        base: str = "main",
    ) -> int:
        """Open a pull request from a fork with one commit on the current base. Returns its number.

        `head_owner` owns the fork and opens it. The repository has no branch for it, only `refs/pull/N/head`.
        """
        with self._repository.lock:
            by, onto = self._by(head_owner), self._repository.git.branches[base]
            fork = Fork(id=self._repository.new_id(), owner=by.user)
            sha = self._commit(by, title, files, [onto])
            return pulls.open_pull(
                self._repository, by, title=title, body=body, head=head, base=base, head_sha=sha, fork=fork
            ).number

    def push_to_fork(self, number: int, files: Contents, message: str = "More") -> str:
        """Add a commit to the head branch of a pull request from a fork, and return its sha."""
        with self._repository.lock:
            issue, pull = self._pull(number)
            if pull.fork is None:
                raise ValueError(f"#{number} is not from a fork: use add_commit on its branch {pull.head}")
            by = self._by(pull.fork.owner.login)
            sha = self._commit(by, message, files, [pull.head_sha])
            pulls.synchronize(self._repository, issue, by, sha)
            return sha

    def merge(self, number: int, by: str, method: str = "merge") -> str:
        """Merge a pull request and return the sha of the commit on its base. `method` is merge or squash."""
        with self._repository.lock:
            issue, pull = self._pull(number)
            if issue.state != "open" or pull.merge_commit_sha is None:
                raise ValueError(f"#{number} cannot be merged: it is closed, or conflicts with {pull.base}")
            return pulls.merge(self._repository, issue, self._by(by), method=method).sha

    def changed_files(self, number: int) -> list[str]:
        """Return the paths that a pull request changes since its merge base."""
        _, pull = self._pull(number)
        graph = self._repository.git
        found = list_changes(graph.files_at(pull.merge_base_sha), graph.commits[pull.head_sha].files)
        return [change.filename for change in found]

    def changed_between(self, before: str, after: str) -> list[str]:
        """Return the paths that differ between two commits."""
        commits = self._repository.git.commits
        return [change.filename for change in list_changes(commits[before].files, commits[after].files)]

    def resolve(self, ref: str) -> str | None:
        """Return the sha of a branch, a tag, another ref, or the start of a sha; None if nothing matches."""
        commit = self._repository.git.resolve(ref)
        return commit.sha if commit else None

    def commit_message(self, ref: str) -> str:
        """Return the message of a commit; "" if it is unknown."""
        commit = self._repository.git.resolve(ref)
        return commit.message if commit else ""

    def files(self, ref: str | None = None) -> dict[str, bytes]:
        """Return path → content at a branch, ref or sha (default: the default branch); empty if it is unknown."""
        graph = self._repository.git
        commit = graph.resolve(ref or graph.default_branch)
        return dict(commit.files) if commit else {}

    def _pull(self, number: int) -> tuple[FakeIssue, FakePullRequest]:
        issue = self._repository.threads[number]
        if issue.pull is None:
            raise ValueError(f"#{number} is not a pull request")
        return issue, issue.pull
