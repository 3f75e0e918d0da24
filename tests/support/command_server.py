"""Fork commands from a process with imported modules: `python3 -P -B command_server.py FD PACKAGES PROGRAM`.

FD is a listening socket. The standard input is a pipe, whose end ends this process. PROGRAM is our program or a copy,
PACKAGES a folder with what it imports; "" for the packages of this Python. A request comes from `command_client.py`
or `forked_ops.py`, with the standard files of the command. The answers are the ID of the new process, and its exit
code. The only answer to a job of another program, or of other packages, is `real`.
"""

import atexit
import gc
import importlib
import marshal
import os
import runpy
import select
import signal
import socket
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

SELDOM = ("drills", "setup", "platform")
"""Packages that few commands import, and no job."""
SERVER_PATH = [each for each in sys.path if each not in os.environ.get("PYTHONPATH", "").split(":")]


class Server:
    def __init__(self, packages: str, program: str) -> None:
        self.packages, self.program, self.files = packages, program, _read_program(program)

    def serve(self, listening: socket.socket) -> tuple[dict[str, Any], list[int]]:
        """Import what commands import, and return in each child its request and files."""
        self._import()
        sources: list[Any] = [listening, 0]
        while 0 not in select.select(sources, [], [])[0]:
            connection, _ = listening.accept()
            with connection:
                length, files, _, _ = socket.recv_fds(connection, 4, 3)
                content = _read(connection, size := int.from_bytes(length, "little"))
                if len(content) == size > 0:  # else it asks whether the modules are there, or was killed
                    request = marshal.loads(content)
                    if not os.fork():
                        listening.close()
                        self._run(connection, request, files)
                        return request, files
            for number in files:
                os.close(number)
        sys.exit()

    def _import(self) -> None:
        sys.path[:0] = [each for each in (self.packages, self.program) if each]
        for name in self.files:
            parts = name.removesuffix(".py").split("/")
            is_imported = parts[-1] not in {"__init__", "__main__"}  # Python warns if `-m` runs what is imported
            if name.endswith(".py") and parts[1] not in SELDOM and is_imported:
                with suppress(ImportError):  # of an extra that jobs do not install
                    importlib.import_module(".".join(parts))
        importlib.import_module("github")
        importlib.import_module("httpx")
        self._warm_up()
        gc.freeze()  # the collector of a fork would copy each page with an object

    def _warm_up(self) -> None:
        """Do once what each command does at its first use: read a configuration, and compile the templates of a run."""
        import ops.app.configuration
        import ops.render

        for path in Path(self.program).glob("examples/*/ops.yml"):
            ops.app.configuration.read_config(path)
        for name in ("run.md.j2", "parts.md.j2"):
            ops.render.load_templates().get_template(name)

    def _run(self, connection: socket.socket, request: dict[str, Any], files: list[int]) -> None:
        """Start the command and return in its process; its parent waits for it."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if not self._is_ours(request):
            connection.sendall(b"real\n")
            os._exit(0)
        if not (child := os.fork()):
            os.setsid()
            return
        for number in files:
            os.close(number)
        connection.sendall(b"%d\n" % child)
        sources: list[Any] = [process := os.pidfd_open(child), connection]
        if process not in select.select(sources, [], [])[0]:  # the client was killed
            os.killpg(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        try:
            connection.sendall(b"%d\n" % code)
        finally:
            os._exit(0)

    def _is_ours(self, request: dict[str, Any]) -> bool:
        packages = request["packages"] and os.path.realpath(request["packages"])
        is_program = request["program"] == self.program or _read_program(request["program"]) == self.files
        return packages == self.packages and is_program


def _read_program(folder: str) -> dict[str, bytes]:
    """Return path → content of our modules and of what they read beside them."""
    found = {}
    for place, folders, names in os.walk(f"{folder}/ops"):
        folders[:] = [each for each in folders if each not in {"__pycache__", "node_modules", "program"}]
        for name in names:
            with open(f"{place}/{name}", "rb") as file:  # noqa: PTH123  in 5 ms
                found[f"{place}/{name}".removeprefix(f"{folder}/")] = file.read()
    return found


def _read(connection: socket.socket, size: int) -> bytes:
    with connection.makefile("rb") as file:
        return file.read(size)


def _become(request: dict[str, Any], files: list[int]) -> None:
    """Take the standard files, environment, folder and arguments of the command."""
    import ops

    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    sys.stdin = _open(0, "r", "surrogateescape")
    sys.stdout = _open(1, "w", "surrogateescape", 1 if os.isatty(1) else -1)
    sys.stderr = _open(2, "w", "backslashreplace", 1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ops.STARTED = time.monotonic()
    os.environ.clear()
    os.environ.update(request["environ"])
    os.chdir(request["folder"])
    sys.argv = request["arguments"]
    first = [str(Path.cwd())] if sys.argv[0] == "-m" else []  # as Python does
    sys.path[:] = [*first, *os.environ["PYTHONPATH"].split(":"), *SERVER_PATH]


def _open(number: int, mode: str, errors: str, buffering: int = -1) -> Any:
    """Open a standard file as Python does at its start."""
    return open(number, mode, buffering, encoding="utf-8", errors=errors, closefd=False)


def _execute() -> int:
    try:
        if sys.argv[0] == "-m":
            _, module, *_ = sys.argv
            del sys.argv[0]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:  # noqa: BLE001  as Python itself
        traceback.print_exc()
        return 1
    return 0


def main() -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listening = socket.socket(fileno=int(sys.argv[1]))
    _become(*Server(*sys.argv[2:]).serve(listening))
    code = _execute()
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for file in (sys.stdout, sys.stderr):
        with suppress(OSError):
            file.flush()
    os._exit(code)


main()
