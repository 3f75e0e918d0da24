"""Build the repository of a drill by label or button: program, configuration, workflows."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ops.core.errors import ConfigError
from ops.core.names import LIMITS_FILE
from ops.tools import process

PRODUCT = Path(__file__).parents[2]
TEAM_FILES = frozenset({"ops.yml", LIMITS_FILE, "README.md", "CHANGELOG.md"})
"""Files that a team replaces. They do not apply to another configuration."""
UNUSED_FOLDERS = ("benchmarks/", "docs/", "tests/")
"""Folders that no job reads. Each job copies the repository, so they are left out."""
GITHUB, WORKFLOWS = ".github/", Path(".github", "workflows")


def files(config: Path) -> dict[str, bytes]:
    """Return path → content of the repository's files.

    An `ops.yml` beside `.github/workflows` belongs to a team's repository, whose tracked files count as they stand.
    Another configuration gets a repository with this program, and `ops workflows sync` writes its workflow files.

    Raises:
        ConfigError: git knows no checkout of the repository, or the workflow files cannot be written.
    """
    from sandbox.actions import NotACheckout, tracked_files

    folder = config.resolve().parent
    try:
        if config.name == "ops.yml" and (folder / WORKFLOWS).is_dir():
            return tracked_files(folder)
        found = tracked_files(PRODUCT, is_excluded=_is_excluded)
    except NotACheckout as error:
        hint = "Start it in a git checkout of Backout or of the operations repository, or leave --trigger out."
        raise ConfigError(f"a drill by label or button needs workflow files; {error}", hint=hint) from None
    found["ops.yml"] = config.read_bytes()
    limits = folder / LIMITS_FILE
    found |= {LIMITS_FILE: limits.read_bytes()} if limits.exists() else {}
    return {name: text for name, text in found.items() if not name.startswith(GITHUB)} | _github_files(found)


def _is_excluded(name: str) -> bool:
    return name in TEAM_FILES or name.startswith(UNUSED_FOLDERS)


def _github_files(found: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files of `.github` as the public command writes them for this configuration."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name, content in found.items():
            if name.startswith(GITHUB) or name == "ops.yml":
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)
        argv = [sys.executable, "-m", "ops", "workflows", "sync", "--config", str(folder / "ops.yml")]
        environ = process.clean_environment(os.environ) | {"PYTHONPATH": str(PRODUCT)}
        done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False)
        if done.returncode:
            output = (done.stderr or done.stdout).strip().splitlines()[:1]
            raise ConfigError(f"ops workflows sync failed: {' '.join(output)} (exit {done.returncode})")
        written = (path for path in (folder / GITHUB).rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in written}
