"""Read commits and files of a git repository, without changing its work tree or index."""

import re
import shutil
import tarfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from ops.core.git_commit import GitCommit
from ops.core.loopback import is_loopback
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
PLAIN = {"100644", "100755"}
"""Modes of plain files."""
LFS_LARGEST = 1024
"""Largest Git LFS pointer file in bytes (github.com/git-lfs/git-lfs/blob/main/docs/spec.md)."""
OWN = ["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false"]


class GitError(Exception):
    """Git is not installed, the folder has no repository, or git failed; the message says which."""


class GitRepository:
    """The git repository of a folder. Every method raises GitError."""

    def __init__(self, folder: Path, environ: Mapping[str, str], redactor: Redactor) -> None:
        self._folder = folder
        self._environ = {**process.clean_environment(environ), "GIT_TERMINAL_PROMPT": "0"}
        self._redactor = redactor

    @property
    def is_shallow(self) -> bool:
        return self._line("rev-parse", "--is-shallow-repository") == "true"

    def head(self) -> str | None:
        """Return the SHA of the commit that is checked out; None before the first commit."""
        return self._whole("HEAD")

    def origin(self) -> str | None:
        """Return the address of the remote origin; None if there is none."""
        return self._line("remote", "get-url", "origin")

    def root(self) -> str | None:
        """Return the path of the work tree; None without one."""
        return self._line("rev-parse", "--show-toplevel")

    def current_branch(self) -> str:
        """Return the branch that is checked out, or HEAD if none is."""
        return self._line("rev-parse", "--abbrev-ref", "HEAD") or "HEAD"

    def branch_head(self, name: str) -> str | None:
        """Return the SHA of the branch on origin as last fetched, else of the local branch; None if it is unknown."""
        fetched, local = f"refs/remotes/origin/{name}", f"refs/heads/{name}"
        lines = self._line("for-each-ref", "--format=%(refname) %(objectname)", fetched, local) or ""
        found = {ref: sha for ref, _, sha in (line.partition(" ") for line in lines.splitlines())}
        return found.get(fetched) or found.get(local)

    def find_commit(self, text: str) -> GitCommit | None:
        """Return the commit with this SHA or prefix; None if there is none or more than one."""
        sha = self._whole(text)
        return None if sha is None else GitCommit(sha, self._line("show", "--no-patch", "--format=%s", sha) or "")

    def first_parent(self, sha: str) -> str | None:
        return self._whole(f"{sha}^1")

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Return whether `older` is an ancestor of `newer`; False if the repository lacks one of them."""
        known = self._whole(older) and self._whole(newer)
        return bool(known) and self._must("merge-base", "--is-ancestor", older, newer, answers=(0, 1)) == 0

    def merge_base(self, one: str, other: str) -> str | None:
        return self._line("merge-base", one, other)

    def default_branch(self) -> str:
        """Return the default branch of origin, or main if the clone does not know it."""
        found = self._line("symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD") or ""
        return found.partition("/")[2] or "main"

    def newest_commit_touching(self, sha: str, path: str) -> str | None:
        """Return the SHA of the newest commit up to `sha` that touches the file; None if there is none."""
        return self._line("log", "-1", "--format=%H", sha, "--", path)

    def read_file(self, sha: str, path: str) -> str | None:
        """Return the text of a file at a commit; the path is relative to the folder. None if it does not exist."""
        with process.scratch_folder() as scratch:
            done = self._git("archive", "--format=tar", f"--output={scratch / 'tar'}", sha, "--", path)
            if done.code != 0:
                return None
            with tarfile.open(scratch / "tar") as packed:
                found = packed.extractfile(path)
                return None if found is None else found.read().decode("utf-8", errors="surrogateescape")

    def read_folders(self, sha: str, folders: Sequence[str]) -> dict[str, bytes]:
        """Return path → content of the plain files in these folders of a commit; the paths start at its root."""
        found, known = {}, [folder for folder in folders if self.file_mode(sha, folder) is not None]
        if not known:
            return {}
        with process.scratch_folder() as scratch:
            self._must("archive", "--format=tar", f"--output={scratch / 'tar'}", sha, "--", *known)
            with tarfile.open(scratch / "tar") as packed:
                for each in packed:
                    content = packed.extractfile(each) if each.isreg() else None
                    if content is not None:
                        found[each.name] = content.read()
        return found

    def file_mode(self, sha: str, path: str) -> str | None:
        """Return the `git ls-tree` mode: 100644, 120000 for a link, 160000 for a submodule. None if it is missing."""
        line = self._line("ls-tree", sha, "--", path)
        return line.partition(" ")[0] if line else None

    def list_submodules(self, sha: str) -> tuple[str, ...]:
        """Return the paths in .gitmodules that are submodules at this commit."""
        if self.file_mode(sha, ".gitmodules") not in PLAIN:
            return ()
        done = self._git("config", "--blob", f"{sha}:.gitmodules", "--get-regexp", r"^submodule\..*\.path$")
        paths = (line.partition(" ")[2] for line in done.output.splitlines())
        return tuple(path for path in paths if path and self.file_mode(sha, path) == "160000")

    def list_lfs_pointers(self, sha: str) -> tuple[str, ...]:
        """Return at most 20 Git LFS pointer files of the commit. A longer file that quotes a pointer is not one."""
        patterns = ["-e", "^version https://git-lfs.github.com/spec/v1", "-e", "^oid sha256:"]
        done = self._git("grep", "-alz", "--full-name", "--all-match", *patterns, sha, "--", ":/")
        paths = [name.partition(":")[2] for name in done.output.split("\0")[-21:]]
        sizes = {path: self._line("cat-file", "-s", f"{sha}:{path}") for path in paths if path}
        return tuple(path for path, size in sizes.items() if size and size.isdecimal() and int(size) <= LFS_LARGEST)

    def archive_commit(self, sha: str, archive: Path) -> None:
        """Write all files of the commit to a tar archive, with executable bits and links."""
        with process.scratch_folder() as scratch:
            index = {"GIT_INDEX_FILE": str(scratch / "index")}
            self._must("read-tree", sha, more=index)
            (scratch / "tree").mkdir()
            self._must("checkout-index", "--all", f"--prefix={scratch / 'tree'}/", more=index)
            with tarfile.open(archive, "w") as packed:
                packed.add(scratch / "tree", arcname=".")

    def _whole(self, name: str) -> str | None:
        return self._line("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")

    def _line(self, *arguments: str) -> str | None:
        done = self._git(*arguments)
        return done.output.strip() or None if done.code == 0 else None

    def _must(self, *arguments: str, more: Mapping[str, str] | None = None, answers: Collection[int] = (0,)) -> int:
        """The exit code, which is one of the answers."""
        done = self._git(*arguments, more=more)
        if done.code is None or done.code not in answers:
            raise GitError(f"git {arguments[0]} failed: {last_output_line(done.output)}")
        return done.code

    def _git(self, *arguments: str, more: Mapping[str, str] | None = None) -> process.FinishedProcess:
        if shutil.which("git", path=self._environ.get("PATH")) is None:
            raise GitError("git is not on PATH")
        argv = ["git", *OWN, "-C", str(self._folder), *arguments]
        environ = {**self._environ, **(more or {})}
        done = process.run(argv, environ=environ, timeout=TIMEOUT, redactor=self._redactor, folder=Path.cwd())
        if done.code is None:
            raise GitError(f"git {arguments[0]} did not finish within {TIMEOUT:g} s")
        if done.code == 128 and "not a git repository" in done.output:
            raise GitError(f"{self._folder} is not a git repository")
        return done


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
