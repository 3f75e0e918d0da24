"""Files of this program that are not modules, and the environment of its process."""

import os
import sys
from pathlib import Path

OPS = Path(__file__).parents[1]
ROOT = OPS / "program" if (OPS / "program").is_dir() else OPS.parent
"""Folder of `templates`, `locks`, `examples` and `.github/actions`. A wheel has them inside of the package."""
JOB_FOLDERS = ("templates", "locks", ".github/actions")
"""Folders that jobs need besides `ops`."""
_NOT_OURS = {"__pycache__", "node_modules", "program"}
PR_SET_DUMPABLE = 4
"""man 2 PR_SET_DUMPABLE: with 0, /proc/PID/environ and /proc/PID/mem belong to root."""
ENV_START, ENV_END = 47, 48
"""man 5 proc_pid_stat: fields 50 and 51, counted from the one behind the name in parentheses."""


def read_program() -> dict[str, bytes]:
    """Return path → content of the files that jobs need, as in a checkout."""
    contents = {f"ops/{name}": content for name, content in _read_program_folder(OPS).items()}
    for folder in JOB_FOLDERS:
        contents |= {f"{folder}/{name}": content for name, content in _read_program_folder(ROOT / folder).items()}
    return contents


def write_program(folder: Path) -> None:
    """Write the files that jobs need to an empty folder."""
    for name, content in read_program().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _read_program_folder(folder: Path) -> dict[str, bytes]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    names = ((path.relative_to(folder), path) for path in paths)
    return {name.as_posix(): path.read_bytes() for name, path in names if _NOT_OURS.isdisjoint(name.parts)}


def hide_environment() -> None:
    """Wipe the environment of this process in /proc; os.environ and getenv still work. Linux only.

    Other processes of the same user cannot read the memory either. Root can: a program with sudo rights, or in a
    container that runs as root, finds the values in /proc/PID/mem.
    """
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    for name, value in os.environb.items():
        os.putenv(name, value)  # copies it, so that getenv does not read the wiped block
    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        start, end = int(fields[ENV_START]), int(fields[ENV_END])
    except (OSError, ValueError, IndexError):
        start = end = 0
    if 0 < start < end:
        ctypes.memset(start, 0, end - start)
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
