"""Keep the environment of this process from the programs that it starts."""

import os
import sys
from pathlib import Path

PR_SET_DUMPABLE = 4
"""man 2 PR_SET_DUMPABLE: with 0, /proc/PID/environ and /proc/PID/mem belong to root."""
ENV_START, ENV_END = 47, 48
"""man 5 proc_pid_stat: fields 50 and 51, counted from the one behind the name in parentheses."""


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
