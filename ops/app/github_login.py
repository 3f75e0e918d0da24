"""Find the operations repository and a token on a laptop, where git and `gh` keep them."""

from collections.abc import Mapping
from pathlib import Path

from ops.core.errors import ConfigError
from ops.core.loopback import uses_one_sandbox
from ops.core.redaction import Redactor
from ops.github.actions import is_job
from ops.github.client import is_configured
from ops.tools.git import GitError, GitRepository, parse_github_remote


def choose_repository(given: str, environ: Mapping[str, str], folder: Path, redactor: Redactor) -> str:
    """Return owner/name: as given, of GITHUB_REPOSITORY, or of the remote origin of the folder. Raises ConfigError."""
    found = given or environ.get("GITHUB_REPOSITORY", "")
    if not found:
        try:
            address = GitRepository(folder, environ, redactor).origin() or ""
        except GitError:
            address = ""
        found = parse_github_remote(address, environ)
    if not found:
        raise ConfigError("the repository on GitHub is not known", hint="Add `--repo OWNER/NAME`.")
    return found


def find_token(environ: Mapping[str, str]) -> str:
    """Return the person's token: of GITHUB_TOKEN, else of GH_TOKEN, as `gh` names it; empty without one."""
    return environ.get("GITHUB_TOKEN") or environ.get("GH_TOKEN", "")


def add_github(environ: Mapping[str, str], folder: Path, redactor: Redactor) -> dict[str, str]:
    """Return the variables with token and repository of GitHub as far as they are known, else empty."""
    try:
        repository = choose_repository("", environ, folder, redactor)
    except ConfigError:
        repository = ""
    return {**environ, "GITHUB_TOKEN": find_token(environ), "GITHUB_REPOSITORY": repository}


def log_in(environ: Mapping[str, str], folder: Path, redactor: Redactor) -> tuple[Mapping[str, str], str]:
    """Return the variables for a command on a laptop, and a line that names what was found; empty if nothing was.

    `folder` is that of ops.yml. Nothing is looked for in a job, without a token, and for a sandbox of Cloudflare alone.
    """
    if is_job(environ) or is_configured(environ) or not find_token(environ) or not uses_one_sandbox(environ):
        return environ, ""
    found = add_github(environ, folder, redactor)
    if not is_configured(found):
        return environ, ""
    source = "GITHUB_REPOSITORY" if environ.get("GITHUB_REPOSITORY") else "the origin of this checkout"
    token = "GITHUB_TOKEN" if environ.get("GITHUB_TOKEN") else "GH_TOKEN"
    return found, f"using {found['GITHUB_REPOSITORY']} on GitHub ({source}) with {token}"
