"""Start `python -m ops …` as a process of its own, in a fork of a process with imported modules.

Python, the modules of a run, and the first use of each take 1.2 s of CPU; a fork takes 10 ms. Everything that belongs to a process is
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
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parents[2]
_SERVER = """
import gc, json, os, runpy, signal, socket, sys, threading, time
import ops.cli, ops.app.configuration, ops.app.registry, ops.app.run, ops.publish.issue, ops.render, httpx, github
import ops.cloudflare.workers, ops.probes.http, ops.publish.comment

def warm_up():
    "Do once what each `ops` does at its first use: import a runbook, read a configuration, and compile a template."
    for name in ops.app.registry.runbook_names():
        ops.app.registry.load_runbook(name)
    ops.app.configuration.read_config(ops.app.registry.OPS.parent / "examples/fortunet/ops.yml")
    for name in ("run.md.j2", "parts.md.j2"):
        ops.render.load_templates().get_template(name)
    gc.freeze()  # the collector of a fork would copy each page with an object

def serve(requests):
    "Return in each child its request and files. Its parent tells its id and exit code over the child's connection."
    while True:
        _, files, _, _ = socket.recv_fds(requests, 1, 4)
        if not files:
            sys.exit()  # the process of the tests has ended
        if not os.fork():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            requests.close()
            connection = socket.socket(fileno=files.pop(0))
            with connection.makefile("rb") as file:
                request = json.loads(file.readline())
            child = os.fork()
            if not child:
                os.setsid()
                connection.close()
                return request, files
            for number in files:
                os.close(number)
            connection.sendall(b"%d\\n" % child)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            connection.sendall(b"%d\\n" % code)
            os._exit(0)
        for number in files:
            os.close(number)

warm_up()
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
request, files = serve(socket.socket(fileno=int(sys.argv[1])))
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
        self._connection, its = socket.socketpair()
        request = {"arguments": arguments, "environ": environ, "folder": str(folder)}
        with its, suppress(BrokenPipeError):  # `_read` names the cause
            socket.send_fds(_requests(), [b"\n"], [its.fileno(), *files])
            self._connection.sendall(json.dumps(request).encode() + b"\n")
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
def _requests() -> socket.socket:
    """Start the process that forks, once for this process, and return its socket. The end of this process ends it."""
    ours, its = socket.socketpair()
    argv = [sys.executable, "-c", _SERVER, str(its.fileno())]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    with its:
        process = subprocess.Popen(argv, env=environ, pass_fds=[its.fileno()], start_new_session=True)
    atexit.register(process.wait)
    atexit.register(ours.close)
    return ours
