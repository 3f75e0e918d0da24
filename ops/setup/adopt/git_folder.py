"""Commit the files of the operations repository, and push them."""

import base64
import shutil
from collections.abc import Mapping
from pathlib import Path

from ops.core.errors import ConfigError, ProviderError, Reason
from ops.core.redaction import Redactor
from ops.github.client import SERVER
from ops.tools import process
from ops.tools.git import GitRepository, last_output_line, parse_github_remote

COMMITTED = ("ops.yml", "limits.yml", "README.md", ".gitignore", ".github")
"""Files and folders that belong to the operations repository; others in the folder are not committed."""
MESSAGE = "Add the operations repository"
LOCKS = ("index.lock", "HEAD.lock", "config.lock")
"""Files that a killed git leaves. The folder has no other git while `ops adopt` runs."""
NETWORK = ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "GIT_SSL_CAINFO", "XDG_CONFIG_HOME")
SCOPE_ERROR = "without `workflow"
"""Part of GitHub's refusal of a token that may not write workflow files."""


def find_enclosing_repository(folder: Path) -> Path | None:
    """Return the root of the git repository around the folder, which may not exist; None without one."""
    return next((each for each in folder.resolve().parents if (each / ".git").exists()), None)


def require_adopt_folder(folder: Path) -> None:
    """Raise ConfigError if the folder is inside another git repository."""
    if not (folder / ".git").exists() and (root := find_enclosing_repository(folder)):
        text = f"{folder} is inside the git repository {root}"
        raise ConfigError(text, hint="Choose a folder of its own: `ops adopt FOLDER`.")


def copy_committed(folder: Path, target: Path) -> None:
    """Copy the files of the operations repository."""
    for name in COMMITTED:
        if (folder / name).is_dir():
            shutil.copytree(folder / name, target / name)
        elif (folder / name).exists():
            shutil.copy(folder / name, target / name)


class GitFolder(GitRepository):
    """The checkout of the operations repository. Methods raise GitError, and ConfigError for another repository."""

    def __init__(self, folder: Path, environ: Mapping[str, str], redactor: Redactor) -> None:
        """`environ` has GITHUB_TOKEN, GITHUB_REPOSITORY and maybe GITHUB_SERVER_URL. The token is in no argument."""
        super().__init__(folder, environ, redactor)
        self._name = environ["GITHUB_REPOSITORY"]
        server = (environ.get("GITHUB_SERVER_URL") or SERVER).rstrip("/")
        self._remote = f"{server}/{self._name}.git"
        login = base64.b64encode(f"x-access-token:{environ['GITHUB_TOKEN']}".encode()).decode()
        redactor.add_secret(login)
        self._environ |= process.clean_environment(environ, names=NETWORK)
        self._environ |= {
            "GIT_CONFIG_COUNT": "3",
            "GIT_CONFIG_KEY_0": f"http.{server}/.extraheader",
            "GIT_CONFIG_VALUE_0": f"Authorization: Basic {login}",
            "GIT_CONFIG_KEY_1": "credential.helper",
            "GIT_CONFIG_VALUE_1": "",
            "GIT_CONFIG_KEY_2": "commit.gpgSign",
            "GIT_CONFIG_VALUE_2": "false",
        }
        self._given = environ

    def prepare(self, branch: str) -> None:
        """Make the folder a checkout of the repository. Raises ConfigError if it belongs to another one."""
        git = self._folder / ".git"
        if git.is_dir():
            for name in (*LOCKS, f"refs/heads/{branch}.lock"):
                (git / name).unlink(missing_ok=True)
        else:
            require_adopt_folder(self._folder)
            self._require_git("init", "--quiet", f"--initial-branch={branch}")
        if not self.has_own_origin():
            self._require_git("remote", "add", "origin", self._remote)

    def has_own_origin(self) -> bool:
        """Return whether the folder has a remote. Raises ConfigError if it is another repository."""
        origin = self.origin() if (self._folder / ".git").exists() else ""
        if origin and parse_github_remote(origin, self._given).lower() != self._name.lower():
            text = f"the remote origin of {self._folder} is another repository, not {self._name}"
            raise ConfigError(text, hint="Choose a folder of its own: `ops adopt FOLDER`.")
        return bool(origin)

    def commit(self, login: str) -> None:
        """Commit what changed in the files of the repository."""
        present = [name for name in COMMITTED if (self._folder / name).exists()]
        self._require_git("add", "--", *present)
        if self.head() is not None and self._require_git("diff", "--cached", "--quiet", answers=(0, 1)) == 0:
            return
        if not self._git_line("config", "user.email"):
            for role in ("AUTHOR", "COMMITTER"):
                email = f"{login}@users.noreply.github.com"
                self._environ |= {f"GIT_{role}_NAME": login, f"GIT_{role}_EMAIL": email}
        self._require_git("commit", "--quiet", "-m", MESSAGE)

    def is_clean(self) -> bool:
        """Return whether the files of the repository are as in the newest commit."""
        present = [name for name in COMMITTED if (self._folder / name).exists()]
        return self._require_git("diff", "--quiet", "HEAD", "--", *present, answers=(0, 1)) == 0

    def push(self, branch: str) -> None:
        """Push the branch. Raises ProviderError if GitHub refuses it."""
        done = self._run_git("push", "--quiet", self._remote, f"HEAD:refs/heads/{branch}")
        if done.code == 0:
            return
        if SCOPE_ERROR in done.output:
            text = "GitHub refused the push: the token may not write workflow files"
            hint = "Run `gh auth refresh --scopes workflow`, or use a token with Workflows: write."
        else:
            text = f"git push to {self._name} failed: {last_output_line(done.output)}"
            hint = "Check the network, and that the token may write Contents and Workflows of the repository."
        raise ProviderError(text, reason=Reason.PROVIDER_REFUSED, hint=hint)
