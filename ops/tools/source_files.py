"""Read files of the default branch of a repository, here or in an earlier job.

The repository is OPS_SOURCE, by default the folder of ops.yml. In jobs, one without Cloudflare's token reads and saves
the files: OPS_SOURCE_FILES is what it saved, and OPS_SOURCE_FILES_SHA256 its digest.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ops.core.errors import ConfigError, Reason, Refused
from ops.core.redaction import Redactor
from ops.tools import git

SAVED = "OPS_SOURCE_FILES"


@dataclass(frozen=True)
class SourceFiles:
    branch: str
    commit: str
    files: Mapping[str, bytes]
    """Path from the root of the repository → content, without links."""
    web: str = ""
    """Address of the repository on GitHub; empty if it is unknown."""

    def find_page(self, path: str) -> str:
        """Return the address of a file's page on GitHub; empty if it is unknown."""
        return f"{self.web}/blob/{self.commit}/{quote(path)}" if self.web else ""

    def __str__(self) -> str:
        return f"commit {self.commit[:12]} of {self.branch}"


def read_source_files(
    folder: Path,
    environ: Mapping[str, str],
    redactor: Redactor,
    repository: str | None,
    paths: Sequence[str],
    *,
    is_checked_out: bool = False,
) -> SourceFiles:
    """Return the files in these folders of the default branch, as last fetched.

    `repository` is owner/name; None is that of `folder`, which ops.yml is in. With `is_checked_out`, the commit that is
    checked out counts.

    Raises:
        Refused: there is no such checkout, it is one of another repository, or the files are too large.
    """
    source = folder / (environ.get("OPS_SOURCE") or ".")
    try:
        checkout = git.GitRepository(source, environ, redactor)
        root = git.GitRepository(Path(checkout.root() or source), environ, redactor)
        if repository:
            _check_repository(root, source, repository, environ)
        branch = root.current_branch() if is_checked_out else root.default_branch()
        commit = root.head() if is_checked_out else root.branch_head(branch)
        if commit is None:
            raise _unreadable_source(f"{source} has no branch {branch}")
        files = root.read_folders(commit, paths)
    except git.GitError as error:
        raise _unreadable_source(str(error)) from None
    return SourceFiles(branch, commit, files, _find_source_address(root, environ))


def save_for_later_job(value: Any, into: Path) -> str:
    """Save a JSON value as an artifact, and return its digest.

    Another job can replace an artifact, but no output of a job, so the digest is one.
    """
    content = json.dumps(value).encode()
    into.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def load_from_earlier_job(variable: str, environ: Mapping[str, str]) -> Any:
    """Return the JSON value of the file that the variable names. Raises ConfigError if it is missing or was replaced.

    `variable`_SHA256 holds its digest.
    """
    hint = "Run `ops workflows sync`, commit the result, and use the button again."
    path, digest = environ.get(variable, ""), environ.get(f"{variable}_SHA256", "")
    if not path or not digest:
        raise ConfigError(f"{variable} and {variable}_SHA256 are not set: no job read the repository", hint=hint)
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{variable} cannot be read: {error.strerror}", hint=hint) from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise ConfigError(
            f"the artifact in {variable} differs from what the job `fetch` wrote: another job replaced it",
            hint="Change nothing with this run, and check its jobs.",
        )
    return json.loads(content)


def save_source_files(source_files: SourceFiles, into: Path) -> str:
    """Save the files for a later job, and return their digest."""
    files = {path: base64.b64encode(content).decode() for path, content in sorted(source_files.files.items())}
    saved = {"branch": source_files.branch, "commit": source_files.commit, "files": files, "web": source_files.web}
    return save_for_later_job(saved, into)


def load_source_files(environ: Mapping[str, str]) -> SourceFiles:
    """Return the files that an earlier job saved. Raises ConfigError if they are missing or were replaced."""
    saved = load_from_earlier_job(SAVED, environ)
    files = {path: base64.b64decode(text) for path, text in saved["files"].items()}
    return SourceFiles(saved["branch"], saved["commit"], files, saved.get("web", ""))


def _check_repository(root: git.GitRepository, source: Path, repository: str, environ: Mapping[str, str]) -> None:
    """Refuse a checkout of another repository on GitHub; a remote elsewhere tells nothing."""
    origin = git.parse_github_remote(root.origin() or "", environ)
    if origin and origin.lower() != repository.lower():
        raise _unreadable_source(f"{source} is a checkout of {origin}, not of {repository}")


def _find_source_address(root: git.GitRepository, environ: Mapping[str, str]) -> str:
    """Return the address of the repository on GitHub; empty for a remote elsewhere."""
    origin = root.origin() or ""
    host, name = git.parse_remote(origin) or ("", "")
    return f"https://{host}/{name}" if git.parse_github_remote(origin, environ) else ""


def _unreadable_source(text: str) -> Refused:
    hint = "Set OPS_SOURCE to a checkout of the repository with the migrations, run `git fetch` there, and try again."
    return Refused(text, reason=Reason.TOOL_MISSING, hint=hint)
