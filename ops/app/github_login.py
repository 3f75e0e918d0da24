"""Find the operations repository and a token on a laptop, where git and `gh` keep them."""

from collections.abc import Mapping
from pathlib import Path

from ops.core.client_guards import is_loopback, uses_one_sandbox
from ops.core.errors import ConfigError
from ops.core.redaction import Redactor
from ops.github import client, secrets
from ops.github.actions import is_job
from ops.tools.git import GITHUB, GitError, GitRepository, parse_github_remote, remote_host

TOKENS = ("GITHUB_TOKEN", "GH_TOKEN", secrets.TOKEN, secrets.APP_KEY)
"""Variables whose values are sent to GitHub."""


def add_server(environ: Mapping[str, str], folder: Path, redactor: Redactor) -> Mapping[str, str]:
    """Return the variables with GITHUB_SERVER_URL, for `client.api_url`: as given, else of the remote origin.

    Without an origin it is github.com, for which `gh` also takes GITHUB_TOKEN and GH_TOKEN (cli.github.com/manual,
    "gh help environment"). An origin elsewhere may be no GitHub at all, so the API stays that of github.com, and
    `api_url` refuses the two.
    """
    if is_job(environ) or environ.get("GITHUB_SERVER_URL") or is_loopback(environ.get("GITHUB_API_URL", "")):
        return environ
    host = remote_host(_origin(environ, folder, redactor)) or GITHUB
    api = environ.get("GITHUB_API_URL") or ("" if client.is_github_host(host) else client.API)
    return {**environ, "GITHUB_SERVER_URL": f"https://{host}", "GITHUB_API_URL": api}


def choose_repository(given: str, environ: Mapping[str, str], folder: Path, redactor: Redactor) -> str:
    """Return owner/name: as given, of GITHUB_REPOSITORY, or of the remote origin of the folder.

    Raises ConfigError if there is none, or if the origin is on another server than the token.
    """
    if found := given or environ.get("GITHUB_REPOSITORY", ""):
        return found
    environ = add_server(environ, folder, redactor)
    client.api_url(environ)
    if found := parse_github_remote(_origin(environ, folder, redactor), environ):
        return found
    raise ConfigError("the repository on GitHub is not known", hint="Add `--repo OWNER/NAME`.")


def _origin(environ: Mapping[str, str], folder: Path, redactor: Redactor) -> str:
    try:
        return GitRepository(folder, environ, redactor).origin() or ""
    except GitError:
        return ""


def find_token(environ: Mapping[str, str]) -> str:
    """Return the person's token: of GITHUB_TOKEN, else of GH_TOKEN, as `gh` names it; empty without one."""
    return environ.get("GITHUB_TOKEN") or environ.get("GH_TOKEN", "")


def add_github(environ: Mapping[str, str], folder: Path, redactor: Redactor) -> dict[str, str]:
    """Return the variables with server, token and repository of GitHub as far as they are known, else empty."""
    environ = add_server(environ, folder, redactor)
    try:
        repository = choose_repository("", environ, folder, redactor)
    except ConfigError:
        repository = ""
    return {**environ, "GITHUB_TOKEN": find_token(environ), "GITHUB_REPOSITORY": repository}


def log_in(environ: Mapping[str, str], folder: Path, redactor: Redactor) -> tuple[Mapping[str, str], str]:
    """Return the variables for a command on a laptop, and a line that names what was found; empty if nothing was.

    `folder` is that of ops.yml. Nothing is looked for in a job or without a token, and no repository for a sandbox of
    Cloudflare alone.
    """
    if is_job(environ) or not any(environ.get(name) for name in TOKENS):
        return environ, ""
    environ = add_server(environ, folder, redactor)
    if client.is_configured(environ) or not find_token(environ) or not uses_one_sandbox(environ):
        return environ, ""
    found = add_github(environ, folder, redactor)
    if not client.is_configured(found):
        return environ, ""
    source = "GITHUB_REPOSITORY" if environ.get("GITHUB_REPOSITORY") else "the origin of this checkout"
    token = "GITHUB_TOKEN" if environ.get("GITHUB_TOKEN") else "GH_TOKEN"
    return found, f"using {found['GITHUB_REPOSITORY']} on GitHub ({source}) with {token}"
