"""`limits.yml` as this checkout has it, and as Git has it: which commit is the newest that touches it.

GitHub is asked where it is configured, else the repository on this machine as it was fetched last.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from ops.core.errors import ConfigError, Reason, Refused
from ops.core.redaction import Redactor
from ops.github import actions
from ops.github.pulls import Pulls
from ops.limits.value import FILE
from ops.tools import git


@dataclass(frozen=True)
class Commits:
    """Both touch limits.yml: the newest that this checkout has, and the newest on the default branch."""

    own: str
    newest: str
    told_by: str
    """GitHub, or git."""

    @property
    def is_newest(self) -> bool:
        return self.own == self.newest


class LimitsSource:
    """`folder` is that of ops.yml."""

    def __init__(self, folder: Path, environ: Mapping[str, str], redactor: Redactor, pulls: Pulls) -> None:
        self._folder, self._environ = folder, environ
        self._pulls = pulls
        self._git = git.Repository(folder, environ, redactor)

    def text(self) -> str:
        """Raises ConfigError."""
        return read(self._folder / FILE)

    def commits(self) -> Commits:
        """Raises Refused, also where the file here is not as it was committed; and ProviderError."""
        try:
            return self._by_github() if self._pulls.is_on else self._by_git()
        except git.NoRepository as error:
            raise _unknown(str(error), "Run it in a checkout of the operations repository, with git.") from None

    def _by_github(self) -> Commits:
        # A workflow hands on `github.sha`: a local runner's GITHUB_SHA is that of its own copy.
        told = self._environ.get("OPS_COMMIT") or self._environ.get("GITHUB_SHA", "")
        head = told if actions.is_job(self._environ) else ""
        own = self._pulls.newest(FILE, head or self._head())
        newest = self._pulls.newest(FILE, self._pulls.default_branch)
        if own is None or newest is None:
            raise _unknown(f"GitHub knows no commit with {FILE}", "Commit it to the default branch, by a pull request.")
        return Commits(own, newest, "GitHub")

    def _by_git(self) -> Commits:
        branch = self._git.default_branch()
        tip, head = self._git.branch(branch), self._head()
        own = self._git.newest(head, FILE)
        newest = self._git.newest(tip, FILE) if tip else None
        if own is None or newest is None:
            raise _unknown(f"no commit of {branch} here has {FILE}", "Commit it, merge it, and fetch.")
        return Commits(own, newest, f"git, as fetched last from {branch}")

    def _head(self) -> str:
        """Of this checkout, whose file is the committed one."""
        commit = self._git.commit("HEAD")
        if commit is None:
            raise git.NoRepository(f"{self._folder} has no commit")
        if self._git.file(commit.sha, FILE) != self.text():
            raise _unknown(
                f"{FILE} here is not as it was committed", "Open a pull request with the change; what is merged counts."
            )
        return commit.sha


class Reached(TypedDict):
    """By their names in a Context."""

    pulls: Pulls
    limits: LimitsSource


def reached(folder: Path, environ: Mapping[str, str], redactor: Redactor, ending: ExitStack) -> Reached:
    """The operations repository on GitHub, and limits.yml of the checkout."""
    pulls = Pulls.of(environ, redactor)
    ending.callback(pulls.close)
    return {"pulls": pulls, "limits": LimitsSource(folder, environ, redactor, pulls)}


def read(path: Path) -> str:
    """Raises ConfigError."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        hint = "It stands beside ops.yml in the operations repository; docs/limits.md says what it holds."
        raise ConfigError(f"{path} cannot be read ({error.strerror})", hint=hint) from None


def _unknown(message: str, hint: str) -> Refused:
    return Refused(message, reason=Reason.UNKNOWN_NAME, hint=hint)
