"""Files that Git tracks."""

import subprocess
from functools import cache
from pathlib import Path

from tests.conftest import ROOT


@cache
def tracked() -> list[Path]:
    """Return the tracked files that exist: a deletion may not be committed yet."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]
