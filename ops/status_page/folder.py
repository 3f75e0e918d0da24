"""Replace the folder of a site in one step: a build that dies leaves the former one whole."""

import ctypes
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ops.core.errors import ConfigError

MARK = "status.json"
"""File that every site of ours has. Another folder is never replaced."""
AT_FDCWD, RENAME_EXCHANGE = -100, 2
"""man 2 renameat2 (Linux)."""
RENAME_SWAP = 2
"""man 2 renamex_np (macOS)."""


def replace_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files beside the folder, then exchange both.

    Raises:
        ConfigError: the folder has other content than a site of ours, or cannot be written or exchanged.
    """
    folder = folder.resolve()
    try:
        if folder.exists() and not _is_empty_page_folder(folder) and not (folder / MARK).is_file():
            hint = "Name an empty or new folder: `ops status-page build FOLDER`."
            raise ConfigError(f"{folder} is not a status page, so it is not replaced", hint=hint)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{folder.name}.", dir=folder.parent, ignore_cleanup_errors=True
        ) as made:
            beside = Path(made, folder.name)
            _write_page_files(beside, files)
            if folder.exists() and not _is_empty_page_folder(folder):
                _exchange_page_folders(beside, folder)
            else:
                beside.rename(folder)
    except OSError as error:
        hint = "Name a folder that you may write: `ops status-page build FOLDER`. The former page is unchanged."
        raise ConfigError(f"{folder} cannot be replaced ({error.strerror})", hint=hint) from error


def _is_empty_page_folder(folder: Path) -> bool:
    return next(folder.iterdir(), None) is None


def _write_page_files(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _exchange_page_folders(one: Path, other: Path) -> None:
    """Exchange two folders in one step. Raises OSError, also on a file system that cannot do it."""
    library = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "darwin":
        failed = library.renamex_np(os.fsencode(one), os.fsencode(other), RENAME_SWAP)
    else:
        failed = library.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE)
    if failed:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(other))
