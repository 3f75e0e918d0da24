"""Have the command of a job run by `job_server.py`: `python3 -I -S job_client.py SOCKET PYTHON -P -B PROGRAM …`.

It takes 10 ms. Signals go to the process of the command, whose exit code or signal is that of this process. Where the
server has another program or other packages, PYTHON takes its place.
"""

import _signal  # type: ignore[import-not-found]
import _socket
import marshal
import posix
import sys

END = "/.github/actions/run/command.py"
address, python, *arguments = sys.argv[1:]
environ = {name.decode(): value.decode(errors="surrogateescape") for name, value in posix.environ.items()}
script = next(each for each in arguments if each.endswith(END))
request = {
    "environ": environ,
    "folder": posix.getcwd(),
    "arguments": arguments[arguments.index(script) :],
    "packages": environ.get("PYTHONPATH", "").partition(":")[0],
    "program": script.removesuffix(END),
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
            raise SystemExit("the process that forks commands of jobs has ended: see its error in the tests' output")
        line += part
    return line.decode().strip()


answer = read_line()
if answer == "real":
    posix.execv(python, [python, *arguments])
for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP):
    _signal.signal(number, lambda number, _: posix.kill(int(answer), number))
code = int(read_line())
if code < 0:
    _signal.signal(-code, _signal.SIG_DFL)
    posix.kill(posix.getpid(), -code)
posix._exit(code)
