"""The files of a repository: out of a real checkout into the sandbox, and out of a commit into a folder for act."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ops.sandbox.runner.expressions import Unsupported
from ops.sandbox.runner.plan import read

_UNKNOWN_TO_ACT = re.compile(r"^ +(?:queue: (?:max|single)|deployment: (?:true|false)) *(?:#.*)?\n", re.MULTILINE)


class NoCheckout(Exception):
    """The folder is no checkout of a git repository."""


def tracked(folder: Path) -> dict[str, bytes]:
    """Path → content of the files that git knows, as they stand now. Raises NoCheckout."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise NoCheckout(f"{folder} is no checkout of a git repository") from None
    files = {name: folder / name for name in listed.stdout.split("\0") if name}
    return {name: path.read_bytes() for name, path in files.items() if path.is_file()}


def lay_out(files: Mapping[str, bytes], folder: Path, workflow: str) -> None:
    """As a git repository of one commit, that workflow as act takes it. What begins with `#!` can be executed."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(for_act(content.decode()).encode() if name == workflow else content)
        if content.startswith(b"#!"):
            path.chmod(0o755)
    who = ["-c", "user.name=sandbox", "-c", "user.email=sandbox@example.com", "-c", "core.excludesFile=/dev/null"]
    for command in (["init", "-q", "-b", "main"], ["add", "-A", "-f"], ["commit", "-q", "--no-gpg-sign", "-m", "all"]):
        subprocess.run(["git", *who, *command], cwd=folder, check=True, capture_output=True)


def for_act(workflow: str) -> str:
    """Without the lines `concurrency.queue` and `environment.deployment`, which act 0.2.89 rejects; else the same.

    Raises Unsupported where they do not stand on lines of their own.
    """
    known = _UNKNOWN_TO_ACT.sub("", workflow)
    if read(known) != _without(read(workflow)):
        raise Unsupported("act does not know `queue` and `deployment`; let each stand on a line of its own")
    return known


def _without(workflow: dict[str, Any]) -> dict[str, Any]:
    for place in (workflow, *workflow["jobs"].values()):
        for key, unknown in (("concurrency", "queue"), ("environment", "deployment")):
            if isinstance(place.get(key), dict):
                place[key].pop(unknown, None)
    return workflow
