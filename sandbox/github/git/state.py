"""A small commit graph: commits with whole file trees, refs, and merges by line."""

import difflib
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from typing import NamedTuple

from sandbox.github.users.state import User

Files = Mapping[str, bytes]
"""Path → content."""


@dataclass(frozen=True, kw_only=True)
class FakeCommit:
    sha: str
    message: str
    author: User
    at: datetime
    parents: tuple[str, ...]
    files: Files

    @cached_property
    def tree(self) -> str:
        """Sha in the right format. It differs from git's because no tree objects exist."""
        return tree_sha(self.files)

    def below(self, path: str) -> Files:
        """Return the file at that path, or the files of that folder."""
        return {name: content for name, content in self.files.items() if f"{name}/".startswith(f"{path}/")}

    @property
    def email(self) -> str:
        return f"{self.author.id}+{self.author.login}@users.noreply.github.com"


@dataclass(frozen=True, kw_only=True)
class FileChange:
    """One file of a diff."""

    filename: str
    before: bytes | None
    after: bytes | None

    @property
    def status(self) -> str:
        return "added" if self.before is None else "removed" if self.after is None else "modified"

    @property
    def sha(self) -> str:
        return blob_sha(self.before or b"" if self.after is None else self.after)

    @cached_property
    def patch(self) -> str:
        """Unified diff without the two lines that name the files, as in the API."""
        before, after = (
            (content or b"").decode(errors="replace").splitlines() for content in (self.before, self.after)
        )
        return "\n".join(list(difflib.unified_diff(before, after, lineterm=""))[2:])

    def count(self, sign: str) -> int:
        return sum(line.startswith(sign) for line in self.patch.splitlines())


class Git:
    default_branch = "main"

    def __init__(self) -> None:
        self.commits: dict[str, FakeCommit] = {}
        self.refs: dict[str, str] = {}
        """Full ref, such as `refs/heads/main` → sha."""
        self.packs: list[bytes] = []
        """Packs of pushes."""
        self._trees: dict[str, Files] = {}

    def add_tree(self, files: Files) -> str:
        """Add a tree, which no commit has yet, and return its sha."""
        sha = tree_sha(files)
        self._trees[sha] = dict(files)
        return sha

    def find_tree(self, sha: str) -> Files | None:
        """Return the files of a tree, on its own or of a commit."""
        of_commits = (commit.files for commit in self.commits.values() if commit.tree == sha)
        return self._trees.get(sha) or next(of_commits, None)

    def add(self, message: str, author: User, at: datetime, parents: tuple[str, ...], files: Files) -> FakeCommit:
        """Add a commit, which is on no branch yet."""
        listed = (f"{path} {blob_sha(content)}" for path, content in sorted(files.items()))
        sha = _sha("commit", message, author.login, at.isoformat(), *parents, *listed)
        commit = FakeCommit(sha=sha, message=message, author=author, at=at, parents=parents, files=dict(files))
        return self.commits.setdefault(sha, commit)

    def head(self, branch: str) -> FakeCommit | None:
        return self.commits.get(self.refs.get(f"refs/heads/{branch}", ""))

    def resolve(self, name: str) -> FakeCommit | None:
        """Return the commit of a branch, a tag, a ref with or without `refs/`, or a sha of at least 7 digits."""
        if name == "HEAD":
            name = self.default_branch
        for ref in (name, f"refs/{name}", f"refs/heads/{name}", f"refs/tags/{name}"):
            if ref in self.refs:
                return self.commits[self.refs[ref]]
        found = [commit for sha, commit in self.commits.items() if len(name) >= 7 and sha.startswith(name)]
        return found[0] if len(found) == 1 else None

    @property
    def branches(self) -> dict[str, str]:
        prefix = "refs/heads/"
        return {ref.removeprefix(prefix): sha for ref, sha in sorted(self.refs.items()) if ref.startswith(prefix)}

    def history(self, commit: FakeCommit) -> list[FakeCommit]:
        """Return the commit and all its ancestors, newest first."""
        seen, waiting = {commit.sha: commit}, [commit]
        while waiting:
            for sha in waiting.pop().parents:
                if sha not in seen:
                    seen[sha] = self.commits[sha]
                    waiting.append(self.commits[sha])
        return self._newest_first(seen.values())

    def history_of(self, path: str, commit: FakeCommit) -> list[FakeCommit]:
        """Return the commits that changed a file or folder, newest first.

        A merge that equals one parent is followed only to that parent: git-scm.com/docs/git-log#_history_simplification
        """
        seen, waiting, found = {commit.sha}, [commit], []
        while waiting:
            one = waiting.pop()
            parents = [self.commits[sha] for sha in one.parents]
            content = one.below(path)
            same = [parent for parent in parents if parent.below(path) == content]
            if not same and (parents or content):
                found.append(one)
            for parent in same[:1] or parents:
                if parent.sha not in seen:
                    seen.add(parent.sha)
                    waiting.append(parent)
        return self._newest_first(found)

    def _newest_first(self, commits: Iterable[FakeCommit]) -> list[FakeCommit]:
        order = {sha: at for at, sha in enumerate(self.commits)}
        return sorted(commits, key=lambda one: (one.at, order[one.sha]), reverse=True)

    def commits_ahead(self, commit: FakeCommit, before: FakeCommit) -> list[FakeCommit]:
        """Return the ancestors of `commit` that `before` lacks, oldest first."""
        known = {one.sha for one in self.history(before)}
        return [one for one in reversed(self.history(commit)) if one.sha not in known]

    def commits_since(self, sha: str | None, commit: FakeCommit) -> list[FakeCommit]:
        """Return the ancestors of `commit` that the commit with that sha lacks, oldest first."""
        return self.commits_ahead(commit, self.commits[sha]) if sha else self.history(commit)[::-1]

    def merge_base(self, one: FakeCommit, other: FakeCommit) -> FakeCommit | None:
        """Return a common ancestor that no other one has as its ancestor. Dates do not count: a clock can go back.

        git-scm.com/docs/git-merge-base
        """
        known = {commit.sha for commit in self.history(one)}
        common = [commit for commit in self.history(other) if commit.sha in known]
        older = {sha for commit in common for sha in commit.parents}
        return next((commit for commit in common if commit.sha not in older), None)

    def files_at(self, sha: str | None) -> Files:
        """Return the files of a commit; none for None."""
        return self.commits[sha].files if sha else {}

    def parent_files(self, commit: FakeCommit) -> Files:
        return self.commits[commit.parents[0]].files if commit.parents else {}


def list_changes(before: Files, after: Files) -> Iterator[FileChange]:
    for path in sorted({*before, *after}):
        if before.get(path) != after.get(path):
            yield FileChange(filename=path, before=before.get(path), after=after.get(path))


@lru_cache(maxsize=2_000)  # the files of a commit are those of the commit before, but for one
def blob_sha(content: bytes) -> str:
    """Return the sha that git computes."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def tree_sha(files: Files) -> str:
    return _sha(*(f"{path} {blob_sha(content)}" for path, content in sorted(files.items())))


def _sha(*parts: str) -> str:
    return hashlib.sha1("\0".join(parts).encode(), usedforsecurity=False).hexdigest()


class _LineEdit(NamedTuple):
    """Replacement of lines `start` to `end` of the base."""

    start: int
    end: int
    lines: list[bytes]


def merge_trees(git: Git, base: FakeCommit, head: FakeCommit) -> Files | None:
    """Return the files with the changes of both; None if they conflict."""
    fork = git.merge_base(base, head)
    before = fork.files if fork else {}
    files = {}
    for path in sorted({*before, *base.files, *head.files}):
        was, ours, theirs = (files_.get(path) for files_ in (before, base.files, head.files))
        if theirs in {was, ours}:
            content = ours
        elif was == ours:
            content = theirs
        elif was is None or ours is None or theirs is None:
            return None  # created twice, or changed on one side and deleted on the other
        else:
            content = _merge_lines(was, ours, theirs)
            if content is None:
                return None
        if content is not None:
            files[path] = content
    return files


def _merge_lines(was: bytes, ours: bytes, theirs: bytes) -> bytes | None:
    """Merge by line. Edits that touch each other conflict, unless they are equal."""
    lines = was.splitlines(keepends=True)
    edits = sorted([*_edits(lines, ours), *_edits(lines, theirs)])
    kept: list[_LineEdit] = []
    for edit in edits:
        if kept and edit == kept[-1]:
            continue
        if kept and edit.start <= kept[-1].end:
            return None
        kept.append(edit)
    for edit in reversed(kept):
        lines[edit.start : edit.end] = edit.lines
    return b"".join(lines)


def _edits(before: list[bytes], after: bytes) -> list[_LineEdit]:
    lines = after.splitlines(keepends=True)
    found = difflib.SequenceMatcher(None, before, lines, autojunk=False).get_opcodes()
    return [_LineEdit(start, end, lines[at:to]) for kind, start, end, at, to in found if kind != "equal"]
