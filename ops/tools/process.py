"""The one runner of subprocesses: a clean environment, a time limit, its own process group, output redacted."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ops.model.redact import Redactor

PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")
"""All that a program gets of our environment unless its name is asked for: no token, no GITHUB_ variable."""
COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
"""Some programs paint what they say though they were asked not to."""
MOST_OUTPUT = 20_000

_running: set[subprocess.Popen[bytes]] = set()
_scratch: set[Path] = set()
_lock = threading.Lock()


@dataclass(frozen=True)
class Finished:
    """`code` is None where the program did not end by itself in time."""

    code: int | None
    output: str


def clean_environment(
    environ: Mapping[str, str], *, names: Sequence[str] = (), never: frozenset[str] = frozenset()
) -> dict[str, str]:
    """What a program may see. `never` wins over `names`: a probe that asks for the token does not get it."""
    wanted = {*PASSED_ON, *names} - never
    return {name: environ[name] for name in sorted(wanted) if name in environ}


def run(
    argv: Sequence[str],
    *,
    environ: Mapping[str, str],
    timeout: float,
    redactor: Redactor,
    folder: Path,
    leashed: bool = False,
) -> Finished:
    """Run in `folder` to the end or to the time limit (seconds); then the whole process group is ended.

    `leashed`: it is ended too where we are killed without a chance to do it, which costs a process beside it.

    Raises OSError if it cannot start. Output is stdout and stderr together, its last 20,000 characters, redacted. It
    goes to a file: a pipe would stay open for as long as anything that the program started.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            list(argv),
            cwd=folder,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        with _lock:
            _running.add(process)
        try:
            with _leash(process) if leashed else contextlib.nullcontext():
                code: int | None = process.wait(timeout)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            end(process)
            with _lock:
                _running.discard(process)
        output.seek(max(0, output.seek(0, os.SEEK_END) - MOST_OUTPUT - redactor.reach))
        said = COLOURS.sub("", output.read().decode(errors="replace"))
        return Finished(code, redactor.tail(said, MOST_OUTPUT))


@contextlib.contextmanager
def _leash(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """A shell that waits for the end of a pipe which this process alone holds open, and then ends the group."""
    ours = subprocess.Popen(
        ["/bin/sh", "-c", 'read -r _; kill -s KILL -- "-$0"', str(process.pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        end(ours)
        assert ours.stdin is not None
        ours.stdin.close()


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill the group: what the program started goes with it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nothing is left; macOS: nothing but zombies
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for a program to write in. It goes with the program, at `end_all` too."""
    folder = Path(tempfile.mkdtemp(prefix="backout-"))
    with _lock:
        _scratch.add(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with _lock:
            _scratch.discard(folder)


def end_all() -> None:
    """At the end of a run, whatever still goes on; a probe must not outlive the run that asked it."""
    with _lock:
        left, folders = list(_running), list(_scratch)
    for process in left:
        end(process)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
