"""Run programs with a clean environment, a time limit and redacted output.

Also create folders and files that only this user can read: records of runs, and screenshots.
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
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ops.core.redaction import Redactor

DEFAULT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")
"""Variables that every program gets; others must be named. No token and no GITHUB_ variable is among them."""
ANSI_COLORS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
"""Color codes, which some programs print in spite of NO_COLOR."""
MAX_OUTPUT = 20_000
MEMORY = Path("/dev/shm")  # noqa: S108  each file in it is in a folder that only this user can read
"""Folder of Linux for files in memory."""
ROOM_IN_MEMORY = 2_000_000_000
"""Bytes that must be free there, for the checkouts and packages of all jobs that run at the same time."""

GATE_SCRIPT = 'read -r _ && unset PWD && exec "$@" </dev/null'
"""Waits for a line on stdin, then becomes the program. It ends if our process ends first. A shell may set PWD."""
FED_SCRIPT = GATE_SCRIPT.replace("/dev/null", '"$0"')
"""The same with a file as the program's stdin."""
LEASH_SCRIPT = 'read -r group && { read -r _; kill -s KILL -- "-$group"; }'
"""Kills the process group when the pipe on stdin closes, which only our process holds open."""

_lock = threading.Lock()


@dataclass(frozen=True)
class FinishedProcess:
    """Result of a program; `code` is None if it exceeded the time limit."""

    code: int | None
    output: str


class _Owned:
    """Running programs and scratch folders of one run."""

    def __init__(self) -> None:
        self.running: set[subprocess.Popen[bytes]] = set()
        self.folders: set[Path] = set()

    def end(self) -> None:
        with _lock:
            left, folders = list(self.running), list(self.folders)
        for process in left:
            _kill_group(process)
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


_owner: ContextVar[_Owned] = ContextVar("owner", default=_Owned())  # noqa: B039  for all outside of a run


@contextlib.contextmanager
def end_programs() -> Iterator[None]:
    """After the block, kill its programs and remove its scratch folders, so that no probe outlives its run.

    Those of the threads that `ops.core.threads` started in it count too, and no others: several runs of one process do
    not disturb each other.
    """
    owned = _Owned()
    token = _owner.set(owned)
    try:
        yield
    finally:
        _owner.reset(token)
        owned.end()


def clean_environment(
    environ: Mapping[str, str], *, names: Sequence[str] = (), never: frozenset[str] = frozenset()
) -> dict[str, str]:
    """Return the environment of a program: the default variables and `names`, without those in `never`."""
    passed_on = {*DEFAULT_VARIABLES, *names} - never
    return {name: environ[name] for name in sorted(passed_on) if name in environ}


def run_program(
    argv: Sequence[str],
    *,
    environ: Mapping[str, str],
    timeout: float,
    redactor: Redactor,
    folder: Path,
    stdin: Path | None = None,
    into: Path | None = None,
) -> FinishedProcess:
    """Run a program in `folder` until it ends or `timeout` seconds have passed; then kill its process group.

    The group is also killed when our process ends for any reason: a second process watches for that before the program
    starts. The output is stdout and stderr together, redacted, at most the last 20,000 characters. It goes to a file,
    because a child of the program could keep a pipe open. A program that cannot run ends with 126 or 127, as in a
    shell. `stdin` is a file that the program reads; its stdout goes to the file `into`, as it is.

    Raises:
        OSError: the program does not exist.
    """
    _require_program(argv[0], environ, folder)
    with tempfile.TemporaryFile() as output, into.open("wb") if into else contextlib.nullcontext(output) as written:
        start = (FED_SCRIPT, str(stdin)) if stdin else (GATE_SCRIPT, "sh")
        code = _run_script((*start, *argv), environ, timeout, folder, stdout=written.fileno(), stderr=output.fileno())
        output.seek(max(0, output.seek(0, os.SEEK_END) - MAX_OUTPUT - redactor.longest_spelling))
        text = ANSI_COLORS.sub("", output.read().decode(errors="replace"))
        return FinishedProcess(code, redactor.redact_tail(text, MAX_OUTPUT))


def _require_program(program: str, environ: Mapping[str, str], folder: Path) -> None:
    """Raise OSError if the program does not exist; the shell would only return an exit code."""
    places = os.pathsep.join(str(folder / place) for place in os.get_exec_path(environ))
    named = str(folder / program) if "/" in program else program
    if shutil.which(named, path=places) is None:
        code = errno.EACCES if named != program and Path(named).exists() else errno.ENOENT
        raise OSError(code, os.strerror(code), program)


def _run_script(
    script: Sequence[str], environ: Mapping[str, str], timeout: float, folder: Path, *, stdout: int, stderr: int
) -> int | None:
    """Run a shell script with its arguments. Return the exit code, or None after the time limit."""
    running = _owner.get().running
    with _start_group_killer() as leash:
        process = _start_shell(*script, cwd=folder, env=dict(environ), stdout=stdout, stderr=stderr)
        with _lock:
            running.add(process)
        try:
            _write_to_killer(leash, process.pid)
            _write_to_killer(process)
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _kill_group(process)
            _close_killer(process)
            with _lock:
                running.discard(process)


@contextlib.contextmanager
def _start_group_killer() -> Iterator[subprocess.Popen[bytes]]:
    """Start the process that kills the group when the block ends in any way. It first reads the group's id."""
    leash = _start_shell(LEASH_SCRIPT, env={}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield leash
    finally:
        _close_killer(leash)


def _start_shell(script: str, *arguments: str, **more: Any) -> subprocess.Popen[bytes]:
    """Start a shell script in a new session, which no signal to our group and no terminal reaches."""
    argv = ["/bin/sh", "-c", script, *arguments]
    return subprocess.Popen(argv, bufsize=0, stdin=subprocess.PIPE, start_new_session=True, **more)


def _write_to_killer(process: subprocess.Popen[bytes], word: object = "") -> None:
    assert process.stdin is not None
    process.stdin.write(f"{word}\n".encode())


def _close_killer(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill the process group, with all children of the program."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended; on macOS only zombies are left
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Create a private temporary folder for the block; the end of the run removes it too."""
    folders = _owner.get().folders
    folder = Path(tempfile.gettempdir(), f"backout-{secrets.token_hex(8)}")
    with _lock:
        folders.add(folder)  # before it exists, so that a signal in between leaves no folder
    try:
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with _lock:
            folders.discard(folder)


def memory_folder() -> Path | None:
    """Return the folder for files in memory; None without room, or if it can run no programs, as in a container.

    A disk takes longer: 1 ms of CPU for each folder, and 1 s for the checkout of a job.
    """
    try:
        state = os.statvfs(MEMORY)
    except OSError:
        return None
    has_room = state.f_bavail * state.f_frsize > ROOM_IN_MEMORY
    return MEMORY if has_room and os.access(MEMORY, os.W_OK) and not state.f_flag & os.ST_NOEXEC else None


def make_private_folder(folder: Path) -> None:
    """Create a folder and its missing parents for this user only; tighten a `.ops` of an older release."""
    for each in reversed([folder, *folder.parents]):
        if not each.exists():
            each.mkdir(mode=0o700, exist_ok=True)
        elif each.name == ".ops":
            with contextlib.suppress(OSError):
                each.chmod(0o700)


def open_private_file(path: Path, *, append: bool = False) -> IO[str]:
    """Open a text file for writing that only this user can read.

    A lone surrogate, which JSON of a provider may have and UTF-8 cannot hold, is written as JSON's escape.
    """
    start, mode = (os.O_APPEND, "a") if append else (os.O_TRUNC, "w")
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | start, 0o600)
    return os.fdopen(opened, mode, encoding="utf-8", errors="backslashreplace")
