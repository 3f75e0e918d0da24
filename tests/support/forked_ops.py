"""Start `python -m ops …` as a process of its own, in a fork of a process with imported modules.

Python, the modules of a run, and the first use of each take 1.2 s of CPU; a fork takes 10 ms. Everything that belongs
to a process is real: its id, session, folder, environment, standard files, signals and exit code.
"""

import functools
import marshal
import os
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.support.forked_jobs import HERE, PYTHON, start_server, write_executable

ROOT = Path(__file__).parents[2]
SHIM = """\
#!/bin/sh
case "$1 $2" in
"-m ops") exec '{client_python}' -I -S '{client}' '{address}' '{python}' "$@" ;;
esac
exec '{python}' "$@"
"""


@contextmanager
def forked_commands() -> Iterator[None]:
    """Fork each `ops` that a drill starts from this process. Other programs of this Python are started as usual."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", str(_forking_python()))
        yield


class ForkedOps:
    """A running `ops`, with the part of `subprocess.Popen` that tests use."""

    def __init__(
        self, arguments: Sequence[str], *, environ: Mapping[str, str], folder: Path, files: tuple[int, int, int]
    ) -> None:
        request = {"arguments": ["-m", "ops", *arguments], "packages": "", "program": str(ROOT)}
        content = marshal.dumps(request | {"environ": dict(environ), "folder": str(folder)})
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(str(_address()))
        with suppress(BrokenPipeError):  # `_read` names the cause
            socket.send_fds(self._connection, [len(content).to_bytes(4, "little")], files)
            self._connection.sendall(content)
        self._answers = self._connection.makefile("rb")
        self.pid = self._read()
        self.returncode: int | None = None

    def wait(self, timeout: float) -> int:
        """Return the exit code, negative for a signal. Raises TimeoutError."""
        if self.returncode is None:
            self._connection.settimeout(timeout)
            self.returncode = self._read()
        return self.returncode

    def _read(self) -> int:
        line = self._answers.readline()
        if not line:
            raise RuntimeError("the process that forks `ops` has ended: see its error in the output of the tests")
        return int(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._connection, self._answers:
            if self.returncode is None:
                with suppress(ProcessLookupError):
                    os.kill(self.pid, 9)
                self._connection.settimeout(10)
                self._connection.recv(100)  # the exit code, when it has ended


@functools.cache
def _address() -> Path:
    """Start the process that forks, once for this process, and return its socket."""
    address = Path(tempfile.mkdtemp(prefix="ops-")) / "socket"
    start_server(address, Path(sys.executable), None, ROOT, {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"})
    return address


@functools.cache
def _forking_python() -> Path:
    """Return a program that is this Python, but for `-m ops`, beside the programs of this Python's folder."""
    python = Path(sys.executable)
    names = {"client_python": PYTHON, "client": HERE / "command_client.py", "address": _address(), "python": python}
    shim = names["address"].with_name("python")
    write_executable(shim, SHIM.format(**names))
    (shim.parent / "act").symlink_to(python.with_name("act"))
    return shim
