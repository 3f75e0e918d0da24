"""Start `python -m ops …` as a process of its own, in a fork of a process with imported modules.

Python and the modules of a run take 0.35 s of CPU to start; a fork takes 10 ms. Everything that belongs to a process is
real: its id, session, folder, environment, standard files, signals and exit code.
"""

import atexit
import functools
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parents[2]
_SERVER = """
import json, os, runpy, signal, socket, sys, threading, time
import ops.cli, ops.app.run, ops.runbooks.rollback_worker, ops.publish.issue, ops.render.terminal, httpx, github

def serve(requests):
    "Yield to each child its request and files. Its parent tells its id and exit code over the same connection."
    while True:
        connection, _ = requests.accept()
        if not os.fork():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            data, files, _, _ = socket.recv_fds(connection, 1_000_000, 3)
            while not data.endswith(b"\\n"):
                data += connection.recv(1_000_000)
            child = os.fork()
            if not child:
                os.setsid()
                connection.close()
                requests.close()
                return json.loads(data), files
            for number in files:
                os.close(number)
            connection.sendall(b"%d\\n" % child)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            connection.sendall(b"%d\\n" % code)
            os._exit(0)
        connection.close()

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
listening = socket.socket(fileno=int(sys.argv[1]))
request, files = serve(listening)
for number, file in enumerate(files):
    os.dup2(file, number)
    os.close(file)
sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")
ops.STARTED = ops.app.run.STARTED = time.monotonic()
os.environ.clear()
os.environ.update(request["environ"])
os.chdir(request["folder"])
sys.argv = ["ops", *request["arguments"]]
code = 0
try:
    runpy.run_module("ops", run_name="__main__", alter_sys=True)
except SystemExit as end:
    code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
except BaseException:
    import traceback
    traceback.print_exc()
    code = 1
threading._shutdown()
import atexit
atexit._run_exitfuncs()
for file in (sys.stdout, sys.stderr):
    try:
        file.flush()
    except OSError:
        pass
os._exit(code)
"""


class ForkedOps:
    """A running `ops`, with the part of `subprocess.Popen` that tests use."""

    def __init__(
        self, arguments: Sequence[str], *, environ: Mapping[str, str], folder: Path, files: tuple[int, int, int]
    ) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(_server())
        request = {"arguments": arguments, "environ": environ, "folder": str(folder)}
        socket.send_fds(self._connection, [json.dumps(request).encode() + b"\n"], list(files))
        self._answers = self._connection.makefile("rb")
        self.pid = int(self._answers.readline())
        self.returncode: int | None = None

    def wait(self, timeout: float) -> int:
        """Return the exit code, negative for a signal. Raises TimeoutError."""
        if self.returncode is None:
            self._connection.settimeout(timeout)
            self.returncode = int(self._answers.readline())
        return self.returncode

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.returncode is None:
            os.kill(self.pid, 9)
        self._answers.close()
        self._connection.close()


@functools.cache
def _server() -> str:
    """Start the process that forks, once for this process, and return its address."""
    listening = socket.socket(socket.AF_UNIX)
    address = f"\0backout-tests-{os.getpid()}"
    listening.bind(address)
    listening.listen()
    argv = [sys.executable, "-c", _SERVER, str(listening.fileno())]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(argv, env=environ, pass_fds=[listening.fileno()], start_new_session=True)
    listening.close()
    atexit.register(process.wait)
    atexit.register(process.kill)
    return address
