"""Require a repository on github.com, the only server on which set-up works."""

from collections.abc import Mapping
from pathlib import Path

from ops.app.configuration import add_server
from ops.core.client_guards import is_loopback
from ops.core.errors import ConfigError
from ops.core.redaction import Redactor
from ops.github.client import SERVER, server_host
from ops.tools.git import GITHUB

ONLY = "set-up works on github.com only"
ELSEWHERE = (
    "Use a repository on github.com. Elsewhere only the laptop commands work that need no GitHub, such as "
    "`ops rollback-worker`."
)


def other_server(environ: Mapping[str, str]) -> str:
    """Return the host of GITHUB_SERVER_URL if it is neither github.com nor a sandbox; else ""."""
    host = server_host(environ)
    return "" if host == GITHUB or is_loopback(environ.get("GITHUB_SERVER_URL", "")) else host


def require_github_com(environ: Mapping[str, str], folder: Path, redactor: Redactor) -> Mapping[str, str]:
    """Return the variables with GITHUB_SERVER_URL. `folder` may be missing: then its parents' origin counts.

    Raises ConfigError on another server.
    """
    existing = next(each for each in (folder.resolve(), *folder.resolve().parents) if each.is_dir())
    environ = add_server(environ, existing, redactor)
    if host := other_server(environ):
        text = f"{ONLY}, and this repository is on {host} (GITHUB_SERVER_URL, else git's origin); nothing was written"
        raise ConfigError(text, hint=f"{ELSEWHERE} If it is on github.com: `export GITHUB_SERVER_URL={SERVER}`.")
    return environ
