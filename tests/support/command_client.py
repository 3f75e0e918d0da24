"""Have a command run by `command_server.py`: `python3 -I -S command_client.py SOCKET PYTHON ARGUMENTS…`.

It takes 10 ms. Signals go to the process of the command, whose exit code or signal is that of this process. Where the
server has another program or other packages, PYTHON takes its place. ARGUMENTS are those of Python for a command of a
laptop, `-m ops …`, or of a job, `-P -B PROGRAM/.github/actions/run/command.py`.
"""

import _signal  # type: ignore[import-not-found]
import _socket
import marshal
import posix
import sys

END = "/.github/actions/run/command.py"
address, python, *given = sys.argv[1:]
environ = {name.decode(): value.decode(errors="surrogateescape") for name, value in posix.environ.items()}
arguments, packages, program = given, "", environ.get("PYTHONPATH", "")
if given[0] != "-m":
    arguments = given[next(at for at, each in enumerate(given) if each.endswith(END)) :]
    packages, program = program.partition(":")[0], arguments[0].removesuffix(END)
request = {
    "environ": environ,
    "folder": posix.getcwd(),
    "arguments": arguments,
    "packages": packages,
    "program": program,
}
connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
connection.connect(address)
content = marshal.dumps(request)
files = b"".join(number.to_bytes(4, sys.byteorder) for number in range(3))
connection.sendmsg([len(content).to_bytes(4, "little")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, files)])
connection.sendall(content)


def read_line() -> str:
    line = b""
    while not line.endswith(b"\n"):
        part = connection.recv(1)
        if not part:
            raise SystemExit("the process that forks commands has ended: see its error in the tests' output")
        line += part
    return line.decode().strip()


answer = read_line()
if answer == "real":
    posix.execv(python, [python, *given])
for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP):
    _signal.signal(number, lambda number, _: posix.kill(int(answer), number))
code = int(read_line())
if code < 0:
    _signal.signal(-code, _signal.SIG_DFL)
    posix.kill(posix.getpid(), -code)
posix._exit(code)
