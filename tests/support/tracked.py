"""Files that Git tracks, and what Python compiled of them."""

import shutil
import subprocess
from functools import cache
from pathlib import Path

from tests.conftest import ROOT


@cache
def tracked() -> list[Path]:
    """Return the tracked files that exist: a deletion may not be committed yet."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def copy_compiled(copy: Path) -> None:
    """Give the Python files of a copy their times, and the compiled modules, which hold for these times.

    pytest's compiled tests name the files of this folder. A file with a number is one that another process writes.
    """
    ignored = shutil.ignore_patterns("*-pytest-*", "*.pyc.*")
    for path in tracked():
        if path.suffix == ".py":
            shutil.copystat(path, copy / path.relative_to(ROOT))
    for folder in {path.parent / "__pycache__" for path in tracked() if path.suffix == ".py"}:
        if folder.exists():
            shutil.copytree(folder, copy / folder.relative_to(ROOT), ignore=ignored)
