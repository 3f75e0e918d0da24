"""Folders and files that only this user can read: records of runs, and pictures of pages."""

import contextlib
import os
from pathlib import Path
from typing import IO


def make_folder(folder: Path) -> None:
    """With those above it that do not exist. Of an older release's folder `.ops`, others lose their access."""
    for each in reversed([folder, *folder.parents]):
        if not each.exists():
            each.mkdir(mode=0o700, exist_ok=True)
        elif each.name == ".ops":
            with contextlib.suppress(OSError):
                each.chmod(0o700)


def open_file(path: Path, *, append: bool = False) -> IO[str]:
    """For writing text."""
    start = os.O_APPEND if append else os.O_TRUNC
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | start, 0o600), "a" if append else "w", encoding="utf-8")
