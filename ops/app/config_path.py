"""Find ops.yml from any folder of a checkout."""

from pathlib import Path

DEFAULT_CONFIG = Path("ops.yml")


def find_config() -> Path:
    """Return the nearest `ops.yml`, relative to this folder: here, or above it up to the root of the Git checkout.

    If there is none, or outside of a checkout, it is the one of this folder.
    """
    try:
        here = Path.cwd()
    except FileNotFoundError:  # the folder was deleted
        return DEFAULT_CONFIG
    folders = [here, *here.parents]
    root = next((number for number, folder in enumerate(folders) if (folder / ".git").exists()), 0)
    found = (number for number, folder in enumerate(folders[: root + 1]) if (folder / DEFAULT_CONFIG).is_file())
    return Path(*[".."] * next(found, 0)) / DEFAULT_CONFIG
