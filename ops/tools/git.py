"""Read commits and files of a git repository, without changing its work tree or index."""

import contextlib
import os
import re
import shutil
import tarfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from ops.core.client_guards import is_loopback
from ops.core.names import GitCommit
from ops.core.redaction import Redactor
from ops.tools import process

GITHUB = "github.com"
_SAME_HOSTS = {"www.github.com", "ssh.github.com"}
"""Other hosts of github.com: docs.github.com/authentication, "Using SSH over the HTTPS port"."""


def remote_host(address: str) -> str:
    """Return the host of a remote's address, with the port of a web address; "" for a folder.

    Every host of github.com is `github.com`.
    """
    return _split_remote(address)[0]


def parse_remote(address: str) -> tuple[str, str] | None:
    """Return host and owner/name of a repository on a server; None for another address, such as a folder."""
    host, path = _split_remote(address)
    name = path.strip("/").removesuffix(".git")
    return (host, name) if host and re.fullmatch(r"[\w.-]+/[\w.-]+", name) else None


def _split_remote(address: str) -> tuple[str, str]:
    """Return host and path. `user@host:path` is of ssh; a host of one letter is a drive of Windows.

    git-scm.com/docs/git-clone, "Git URLs"
    """
    before, _, path = address.partition(":")
    host, port = before.rpartition("@")[2].lower(), None
    is_ssh = "/" not in before and bool(path) and not path.startswith("//") and (len(host) > 1 or host == "[")
    if not is_ssh:
        try:
            parts = urlsplit(address)
            host, path = parts.hostname or "", parts.path
            port = parts.port if parts.scheme in {"http", "https"} else None
        except ValueError:
            return "an unreadable address", ""
    if host == GITHUB or host in _SAME_HOSTS:
        return GITHUB, path
    return host if port in {None, 80, 443} else f"{host}:{port}", path


def parse_github_remote(address: str, environ: Mapping[str, str]) -> str:
    """Return owner/name of a repository on the server of GITHUB_SERVER_URL, which is github.com by default.

    Returns "" for another address: a repository of the same name on another server may belong to anybody. A sandbox
    takes the place of github.com.
    """
    host, name = parse_remote(address) or ("", "")
    server = environ.get("GITHUB_SERVER_URL") or f"https://{GITHUB}"
    own = {GITHUB, "127.0.0.1"} if is_loopback(server) else {remote_host(server).partition(":")[0]}
    return name if host.partition(":")[0] in own else ""


TIMEOUT = 120.0
"""Time limit of each git call, in seconds."""
EXECUTABLE, LINK = "100755", "120000"
PLAIN = {"100644", EXECUTABLE}
"""Modes of plain files."""
MAX_BYTES = 5_000_000
"""Largest total size of files that are read into memory."""
UNSAFE_PARTS = {"", ".", "..", ".git"}
"""Names that no folder or file of a commit may have: git itself refuses to check them out."""
LFS_LARGEST = 1024
"""Largest Git LFS pointer file in bytes (github.com/git-lfs/git-lfs/blob/main/docs/spec.md)."""
OWN = ["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false"]


class GitError(Exception):
    """Git is not installed, the folder has no repository, or git failed; the message says which."""


@dataclass(frozen=True)
class TreeEntry:
    """A file, link, folder or submodule of a commit."""

    mode: str
    object: str
    """SHA of its content."""
    size: int
    """Bytes; 0 for a folder or submodule."""
    path: str
    """From the root of the repository."""


class GitRepository:
    """The git repository of a folder. Every method raises GitError."""

    def __init__(self, folder: Path, environ: Mapping[str, str], redactor: Redactor) -> None:
        self._folder = folder
        self._environ = {**process.clean_environment(environ), "GIT_TERMINAL_PROMPT": "0"}
        self._redactor = redactor

    @property
    def is_shallow(self) -> bool:
        return self._git_line("rev-parse", "--is-shallow-repository") == "true"

    def head(self) -> str | None:
        """Return the SHA of the commit that is checked out; None before the first commit."""
        return self._resolve_commit("HEAD")

    def origin(self) -> str | None:
        """Return the address of the remote origin; None if there is none."""
        return self._git_line("remote", "get-url", "origin")

    def root(self) -> str | None:
        """Return the path of the work tree; None without one."""
        return self._git_line("rev-parse", "--show-toplevel")

    def current_branch(self) -> str:
        """Return the branch that is checked out, or HEAD if none is."""
        return self._git_line("rev-parse", "--abbrev-ref", "HEAD") or "HEAD"

    def branch_head(self, name: str) -> str | None:
        """Return the SHA of the branch on origin as last fetched, else of the local branch; None if it is unknown."""
        fetched, local = f"refs/remotes/origin/{name}", f"refs/heads/{name}"
        lines = self._git_line("for-each-ref", "--format=%(refname) %(objectname)", fetched, local) or ""
        sha_of = {ref: sha for ref, _, sha in (line.partition(" ") for line in lines.splitlines())}
        return sha_of.get(fetched) or sha_of.get(local)

    def find_commit(self, text: str) -> GitCommit | None:
        """Return the commit with this SHA or prefix; None if there is none or more than one."""
        sha = self._resolve_commit(text)
        return None if sha is None else GitCommit(sha, self._git_line("show", "--no-patch", "--format=%s", sha) or "")

    def first_parent(self, sha: str) -> str | None:
        return self._resolve_commit(f"{sha}^1")

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Return whether `older` is an ancestor of `newer`; False if the repository lacks one of them."""
        known = self._resolve_commit(older) and self._resolve_commit(newer)
        return bool(known) and self._require_git("merge-base", "--is-ancestor", older, newer, answers=(0, 1)) == 0

    def merge_base(self, one: str, other: str) -> str | None:
        return self._git_line("merge-base", one, other)

    def default_branch(self) -> str:
        """Return the default branch of origin, or main if the clone does not know it."""
        ref = self._git_line("symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD") or ""
        return ref.partition("/")[2] or "main"

    def newest_commits_touching(self, sha: str, path: str) -> tuple[str, ...]:
        """Return the SHAs of the newest two commits up to `sha` that touch the file, newest first."""
        return tuple((self._git_line("log", "-2", "--format=%H", sha, "--", path) or "").split())

    def commit_times(self, sha: str, path: str) -> Iterator[tuple[datetime, str]]:
        """Yield time (UTC) and SHA of the commits and merges on the branch that changed the file, newest first."""
        found = self._git_line("log", "--first-parent", "--format=%ct %H", sha, "--", path) or ""
        for line in found.splitlines():
            seconds, _, commit = line.partition(" ")
            yield datetime.fromtimestamp(int(seconds), UTC), commit

    def read_file(self, sha: str, path: str) -> str | None:
        """Return the text of a plain file at a commit; the path is relative to the folder. None if there is none."""
        contents = dict(self._read_plain(sha, [path]))
        return next((content.decode("utf-8", errors="surrogateescape") for content in contents.values()), None)

    def read_folders(self, sha: str, folders: Sequence[str]) -> dict[str, bytes]:
        """Return path → content of the plain files in these folders of a commit; the paths start at its root."""
        known = [folder for folder in folders if self.file_mode(sha, folder) is not None]
        return dict(self._read_plain(sha, known, "-r")) if known else {}

    def list_tree(self, sha: str, paths: Sequence[str], *options: str) -> list[TreeEntry]:
        """Return the entries of a commit at these paths, relative to the folder; without paths all."""
        with process.scratch_folder() as scratch:
            listed = scratch / "list"
            self._require_git("ls-tree", "-z", "--long", "--full-name", *options, sha, "--", *paths, into=listed)
            return [_parse_tree_entry(line) for line in listed.read_bytes().split(b"\0") if line]

    def _read_plain(self, sha: str, paths: Sequence[str], *options: str) -> Iterator[tuple[str, bytes]]:
        """Yield path and content of the plain files. Raises GitError if they have too many bytes."""
        plain = [each for each in self.list_tree(sha, paths, *options) if each.mode in PLAIN]
        if sum(each.size for each in plain) > MAX_BYTES:
            raise GitError(f"{', '.join(paths)} of commit {sha[:12]} have more than {MAX_BYTES} bytes")
        with self._open_blobs(plain) as blobs:
            for each in plain:
                yield each.path, _begin_blob(blobs, each).read(each.size)
                blobs.read(1)

    @contextlib.contextmanager
    def _open_blobs(self, entries: Sequence[TreeEntry]) -> Iterator[IO[bytes]]:
        """Open the output of `git cat-file --batch`: committed bytes, which no attribute or filter of a tree changes.

        `git archive` obeys `export-subst` and `export-ignore`, and a checkout filters and line ends
        (git-scm.com/docs/gitattributes).
        """
        with process.scratch_folder() as scratch:
            names, blobs = scratch / "names", scratch / "blobs"
            names.write_text("".join(f"{each.object}\n" for each in entries))
            self._require_git("cat-file", "--batch", "--buffer", stdin=names, into=blobs)
            with blobs.open("rb") as opened:
                yield opened

    def file_mode(self, sha: str, path: str) -> str | None:
        """Return the `git ls-tree` mode: 100644, 120000 for a link, 160000 for a submodule. None if it is missing."""
        line = self._git_line("ls-tree", sha, "--", path)
        return line.partition(" ")[0] if line else None

    def list_submodules(self, sha: str) -> tuple[str, ...]:
        """Return the paths in .gitmodules that are submodules at this commit."""
        if self.file_mode(sha, ".gitmodules") not in PLAIN:
            return ()
        done = self._run_git("config", "--blob", f"{sha}:.gitmodules", "--get-regexp", r"^submodule\..*\.path$")
        paths = (line.partition(" ")[2] for line in done.output.splitlines())
        return tuple(path for path in paths if path and self.file_mode(sha, path) == "160000")

    def list_lfs_pointers(self, sha: str) -> tuple[str, ...]:
        """Return at most 20 Git LFS pointer files of the commit. A longer file that quotes a pointer is not one."""
        patterns = ["-e", "^version https://git-lfs.github.com/spec/v1", "-e", "^oid sha256:"]
        done = self._run_git("grep", "-alz", "--full-name", "--all-match", *patterns, sha, "--", ":/")
        paths = [name.partition(":")[2] for name in done.output.split("\0")[-21:]]
        sizes = {path: self._git_line("cat-file", "-s", f"{sha}:{path}") for path in paths if path}
        return tuple(path for path, size in sizes.items() if size and size.isdecimal() and int(size) <= LFS_LARGEST)

    def archive_commit(self, sha: str, archive: Path) -> None:
        """Write all committed files to a tar archive, with executable bits and links, and without submodules.

        Raises GitError for an unsafe path.
        """
        entries = [each for each in self.list_tree(sha, [], "-r", "--full-tree") if each.mode in {*PLAIN, LINK}]
        for each in entries:
            if not UNSAFE_PARTS.isdisjoint(each.path.lower().split("/")):
                raise GitError(f"commit {sha[:12]} has the unsafe path {each.path!r}")
        with self._open_blobs(entries) as blobs, tarfile.open(archive, "w") as packed:
            for each in entries:
                content, about = _begin_blob(blobs, each), tarfile.TarInfo(each.path)
                about.mode, about.mtime = 0o755 if each.mode == EXECUTABLE else 0o644, int(time.time())
                if each.mode == LINK:
                    about.type, about.linkname = tarfile.SYMTYPE, os.fsdecode(content.read(each.size))
                else:
                    about.size = each.size
                packed.addfile(about, content)
                blobs.read(1)

    def _resolve_commit(self, name: str) -> str | None:
        return self._git_line("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")

    def _git_line(self, *arguments: str) -> str | None:
        done = self._run_git(*arguments)
        return done.output.strip() or None if done.code == 0 else None

    def _require_git(
        self,
        *arguments: str,
        answers: Collection[int] = (0,),
        stdin: Path | None = None,
        into: Path | None = None,
    ) -> int:
        """Return the exit code, which is one of the answers."""
        done = self._run_git(*arguments, stdin=stdin, into=into)
        if done.code is None or done.code not in answers:
            raise GitError(f"git {arguments[0]} failed: {last_output_line(done.output)}")
        return done.code

    def _run_git(self, *arguments: str, stdin: Path | None = None, into: Path | None = None) -> process.FinishedProcess:
        if shutil.which("git", path=self._environ.get("PATH")) is None:
            raise GitError("git is not on PATH")
        argv = ["git", *OWN, "-C", str(self._folder), *arguments]
        done = process.run_program(
            argv,
            environ=self._environ,
            timeout=TIMEOUT,
            redactor=self._redactor,
            folder=Path.cwd(),
            stdin=stdin,
            into=into,
        )
        if done.code is None:
            raise GitError(f"git {arguments[0]} did not finish within {TIMEOUT:g} s")
        if done.code == 128 and "not a git repository" in done.output:
            raise GitError(f"{self._folder} is not a git repository")
        return done


def _parse_tree_entry(line: bytes) -> TreeEntry:
    """Return an entry of `git ls-tree -z --long` (git-scm.com/docs/git-ls-tree, output format)."""
    about, _, path = line.partition(b"\t")
    mode, _, name, size = about.decode().split()
    return TreeEntry(mode, name, int(size) if size.isdecimal() else 0, os.fsdecode(path))


def _begin_blob(blobs: IO[bytes], entry: TreeEntry) -> IO[bytes]:
    """Read the line before a content. Raises GitError if it is not that of the entry."""
    if blobs.readline().decode() != f"{entry.object} blob {entry.size}\n":
        raise GitError(f"git cat-file has no content of {entry.path!r}")
    return blobs


def unpack_archive(archive: Path, folder: Path) -> None:
    """Unpack a tar archive; no file is written outside the folder.

    Raises:
        OSError, tarfile.TarError: the archive cannot be read or written.
    """
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")


def last_output_line(output: str) -> str:
    """Return the last line with text, at most 300 characters."""
    return next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "it printed nothing")[:300]
