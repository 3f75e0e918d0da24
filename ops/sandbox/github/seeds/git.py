"""Commits and pull requests."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from ops.sandbox.github.changes import git
from ops.sandbox.github.git import changes
from ops.sandbox.github.seeds.base import Base


class GitSeeds(Base):
    def add_commit(
        self,
        message: str,
        author: str,
        parents: Sequence[str] | None = None,
        files: Mapping[str, str | bytes | None] | None = None,
        *,
        branch: str = "main",
        at: datetime | None = None,
    ) -> str:
        """Its sha. The branch moves there, and is made where there is none; None for a file takes it away.

        Left out, the parent is the head of the branch, and of the default branch where it is new.
        """
        with self._repository.lock:
            graph, by = self._repository.git, self._by(author, at)
            head = graph.head(branch) or graph.head(graph.default_branch)
            onto = parents if parents is not None else [head.sha] if head else []
            contents = {path: text.encode() if isinstance(text, str) else text for path, text in (files or {}).items()}
            commit = git.commit(self._repository, by, message, contents, onto)
            git.move_ref(self._repository, by, f"refs/heads/{branch}", commit.sha)
            return commit.sha

    def open_pull(self, title: str, head: str, author: str, body: str | None = None, base: str = "main") -> int:
        """Its number."""
        with self._repository.lock:
            pull = git.open_pull(self._repository, self._by(author), title=title, body=body, head=head, base=base)
            return pull.number

    def merge(self, number: int, by: str) -> str:
        """The sha of the merge commit."""
        with self._repository.lock:
            return git.merge(self._repository, self._repository.threads[number], self._by(by)).sha

    def changed_files(self, number: int) -> list[str]:
        """The paths that a pull request changes, since it forked off."""
        pull, graph = self._repository.threads[number].pull, self._repository.git
        if pull is None:
            raise ValueError(f"#{number} is no pull request")
        head, base = graph.commits[pull.head_sha], graph.commits[pull.base_sha]
        fork = graph.merge_base(base, head)
        return [change.filename for change in changes(fork.files if fork else {}, head.files)]

    def files(self, branch: str | None = None) -> dict[str, bytes]:
        """Path → content at the head of a branch, None for the default branch; nothing where there is no branch."""
        graph = self._repository.git
        head = graph.head(branch or graph.default_branch)
        return dict(head.files) if head else {}
