"""Find ops.yml from any folder of a checkout."""

import os
from pathlib import Path

DEFAULT_CONFIG = Path("ops.yml")


def find_config(user: int | None = None) -> Path:
    """Return the nearest `ops.yml`, relative to this folder: here, or above it up to the root of the Git checkout.

    If there is none, or outside of a checkout, it is the one of this folder. Above, a file of another user does not
    count, such as /tmp/ops.yml beside /tmp/.git: it names programs to run, and hosts that get secrets of probes.

    `user`: numeric ID (default: that of this process).
    """
    user = os.getuid() if user is None else user
    try:
        here = Path.cwd()
    except FileNotFoundError:  # the folder was deleted
        return DEFAULT_CONFIG
    folders = [here, *here.parents]
    root = next((number for number, folder in enumerate(folders) if (folder / ".git").exists()), 0)
    paths = [folder / DEFAULT_CONFIG for folder in folders[: root + 1]]
    found = (
        number for number, path in enumerate(paths) if path.is_file() and (not number or path.lstat().st_uid == user)
    )
    return Path(*[".."] * next(found, 0)) / DEFAULT_CONFIG
