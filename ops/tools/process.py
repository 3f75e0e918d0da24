"""Run subprocesses with a clean environment, a time limit, a process group of their own and redacted output.

Also folders and files that only this user can read: records of runs, and pictures of pages.
"""

import contextlib
import errno
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ops.core.redaction import Redactor

DEFAULT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")
"""All that a program gets of our environment unless its name is asked for: no token, no GITHUB_ variable."""
ANSI_COLORS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
"""Some programs paint what they say though they were asked not to."""
MAX_OUTPUT = 20_000

GATE_SCRIPT = 'read -r _ && unset PWD && exec "$@" </dev/null'
"""Becomes the program once it is told so, and nothing where whoever was to tell it has ended. A shell may set PWD."""
LEASH_SCRIPT = 'read -r group && { read -r _; kill -s KILL -- "-$group"; }'
"""Ends the group at the end of a pipe that this process alone holds open."""

_running: set[subprocess.Popen[bytes]] = set()
_scratch: set[Path] = set()
_lock = threading.Lock()


@dataclass(frozen=True)
class FinishedProcess:
    """`code` is None where the program did not end by itself in time."""

    code: int | None
    output: str


def clean_environment(
    environ: Mapping[str, str], *, names: Sequence[str] = (), never: frozenset[str] = frozenset()
) -> dict[str, str]:
    """What a program may see. `never` wins over `names`: a probe that asks for the token does not get it."""
    wanted = {*DEFAULT_VARIABLES, *names} - never
    return {name: environ[name] for name in sorted(wanted) if name in environ}


def run(
    argv: Sequence[str], *, environ: Mapping[str, str], timeout: float, redactor: Redactor, folder: Path
) -> FinishedProcess:
    """Run in `folder` to the end or to the time limit (seconds); then the whole process group is ended.

    It is ended with this process too, however and whenever that ends: nothing is started before its leash holds it.

    Raises OSError if there is no such program. One that cannot be run ends with 126 or 127, as in a shell, which also
    runs a script that names no interpreter. Output is stdout and stderr together, its last 20,000 characters, redacted.
    It goes to a file: a pipe would stay open for as long as anything that the program started.
    """
    _find(argv[0], environ, folder)
    with tempfile.TemporaryFile() as output:
        code = _run(argv, environ, timeout, folder, output.fileno())
        output.seek(max(0, output.seek(0, os.SEEK_END) - MAX_OUTPUT - redactor.reach))
        said = ANSI_COLORS.sub("", output.read().decode(errors="replace"))
        return FinishedProcess(code, redactor.tail(said, MAX_OUTPUT))


def _find(program: str, environ: Mapping[str, str], folder: Path) -> None:
    """Raises OSError as starting it would; of a program that it does not find the shell leaves but an exit code."""
    places = os.pathsep.join(str(folder / place) for place in os.get_exec_path(environ))
    named = str(folder / program) if "/" in program else program
    if shutil.which(named, path=places) is None:
        code = errno.EACCES if named != program and Path(named).exists() else errno.ENOENT
        raise OSError(code, os.strerror(code), program)


def _run(argv: Sequence[str], environ: Mapping[str, str], timeout: float, folder: Path, output: int) -> int | None:
    """The exit code; None after the time limit."""
    with _leash() as leash:
        process = _shell(
            GATE_SCRIPT, "sh", *argv, cwd=folder, env=dict(environ), stdout=output, stderr=subprocess.STDOUT
        )
        with _lock:
            _running.add(process)
        try:
            _tell(leash, process.pid)
            _tell(process)
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end(process)
            _close(process)
            with _lock:
                _running.discard(process)


@contextlib.contextmanager
def _leash() -> Iterator[subprocess.Popen[bytes]]:
    """It waits for the group's number. It is never killed: whatever breaks the block off, the group ends with it."""
    leash = _shell(LEASH_SCRIPT, env={}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield leash
    finally:
        _close(leash)


def _shell(script: str, *arguments: str, **more: Any) -> subprocess.Popen[bytes]:
    """In a session of its own: a signal to our group does not reach it, and no terminal does."""
    argv = ["/bin/sh", "-c", script, *arguments]
    return subprocess.Popen(argv, bufsize=0, stdin=subprocess.PIPE, start_new_session=True, **more)


def _tell(process: subprocess.Popen[bytes], word: object = "") -> None:
    assert process.stdin is not None
    process.stdin.write(f"{word}\n".encode())


def _close(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the group: what the program started goes with it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nothing is left; macOS: nothing but zombies
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for a program to write in. It goes with the program, at `kill_all` too."""
    folder = Path(tempfile.gettempdir(), f"backout-{secrets.token_hex(8)}")
    with _lock:
        _scratch.add(folder)  # before it is there: a signal in between leaves nothing
    try:
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with _lock:
            _scratch.discard(folder)


def kill_all() -> None:
    """At the end of a run, whatever still goes on; a probe must not outlive the run that asked it."""
    with _lock:
        left, folders = list(_running), list(_scratch)
    for process in left:
        _end(process)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def make_private_folder(folder: Path) -> None:
    """With those above it that do not exist. Of an older release's folder `.ops`, others lose their access."""
    for each in reversed([folder, *folder.parents]):
        if not each.exists():
            each.mkdir(mode=0o700, exist_ok=True)
        elif each.name == ".ops":
            with contextlib.suppress(OSError):
                each.chmod(0o700)


def open_private_file(path: Path, *, append: bool = False) -> IO[str]:
    """For writing text."""
    start = os.O_APPEND if append else os.O_TRUNC
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | start, 0o600), "a" if append else "w", encoding="utf-8")
