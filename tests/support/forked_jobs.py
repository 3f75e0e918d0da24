"""Cheap Python for the jobs of a runner: forked commands of `ops`, and packages unpacked once.

Four of five seconds that a job takes are the start of Python with its modules, and those of its packages. Everything
that belongs to a process is real: its id, session, folder, environment, standard files, signals and exit code. The
workflow files and actions are ours, unchanged. A job of another program than this one starts Python itself. So do the
jobs of a runner with another `pip_cache`: those of drills in a process of their own, and of tests about imported
modules, processes and packages.
"""

import atexit
import functools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ops.tools import own_program
from sandbox.actions.act import share_compiled_modules

HERE = Path(__file__).parent
PYTHON = Path(sys.base_prefix) / "bin" / "python3"
SHIM = """\
#!/bin/sh
case "$1 $2 $3 $4" in
"-P -B "*/.github/actions/run/command.py" ")
  exec '{python}' -I -S '{client}' '{address}' '{python}' "$@"
  ;;
"-I "*/.github/actions/setup/install.py" install --lock")
  before= names= files="$2"
  for word in "$@"; do
    case "$before" in
    --lock) name="${{word##*/}}" names="$names-${{name%.txt}}" files="$files $word" ;;
    --target) target="$word" ;;
    esac
    before="$word"
  done
  sum=$(cat $files | cksum) kept='{cache}'
  kept="$kept/unpacked$names-${{sum%% *}}"
  if [ -e "$kept" ]; then
    exec ln -s "$kept" "$target"
  fi
  '{python}' "$@" || exit
  cp -r "$target" "$kept.$$"
  mv -T "$kept.$$" "$kept" 2> /dev/null || rm -r "$kept.$$" # another job was faster
  exit 0
  ;;
esac
exec '{python}' "$@"
"""
NODE = """\
#!/bin/sh
if [ "$*" = '--no-warnings -e console.log(process.execPath)' ]; then
  exec echo '{node}'
fi
exec '{node}' "$@"
"""
"""Node takes 0.03 s of CPU to tell act its own path, which act asks at the start of each job."""


def shared_cache() -> Path:
    """Return a folder in which wheels are downloaded, and modules compiled, only once by all workers."""
    base = Path(tempfile.gettempdir()).parent  # `temporary_folder` in tests/conftest.py
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "pip"
    folder.mkdir(exist_ok=True)
    return folder


@functools.cache
def job_cache() -> Path:
    """Return a folder of this process for `pip_cache`, with a program `python3` for jobs."""
    shared, folder = shared_cache(), Path(tempfile.mkdtemp(prefix="jobs-"))
    for name in ("ops-wheels", "ops-compiled"):
        (shared / name).mkdir(exist_ok=True)
        (folder / name).symlink_to(shared / name)
    program, address, shim = folder / "program", folder / "socket", folder / "ops-programs" / "python3"
    own_program.write_program(program)
    shim.parent.mkdir()
    write_executable(shim, SHIM.format(python=PYTHON, client=HERE / "command_client.py", address=address, cache=shared))
    if node := shutil.which("node", path=f"{PYTHON.parent}:/usr/local/bin:/usr/bin:/bin"):
        write_executable(shim.with_name("node"), NODE.format(node=node))
    home = folder / "home"
    share_compiled_modules(home, shared / "ops-compiled")
    environ = {"HOME": str(home), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    start_server(address, PYTHON, _install(shim, program, shared), program, environ)
    return folder


def write_executable(program: Path, text: str) -> None:
    program.write_text(text)
    program.chmod(0o755)


def _install(shim: Path, program: Path, shared: Path) -> Path:
    """Unpack the packages of most jobs, unless another worker did, and return their folder."""
    action, lock = program / ".github/actions/setup/install.py", program / "locks/runtime.txt"
    argv = [str(shim), "-I", str(action), "install", "--lock", str(lock), "--target", str(program.parent / "packages")]
    done = subprocess.run(
        argv, env={**os.environ, "OPS_WHEELS": str(shared / "ops-wheels")}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return packages_in(shared)


def packages_in(cache: Path) -> Path:
    """Return the folder with the packages of most jobs. Others have extras, such as `runtime-crypto`."""
    (found,) = (each for each in cache.glob("unpacked-runtime-[0-9]*") if each.suffix == "")
    return found


def start_server(address: Path, python: Path, packages: Path | None, program: Path, environ: Mapping[str, str]) -> None:
    """Start the forking process, and wait until it has its modules: the first job must not take longer than others.

    It ends with this process. Without `packages` it has those of its Python.
    """
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(address))
        listening.listen(100)
        number = listening.fileno()
        argv = [
            str(python),
            "-P",
            "-B",
            str(HERE / "command_server.py"),
            str(number),
            str(packages or ""),
            str(program),
        ]
        process = subprocess.Popen(argv, env=environ, stdin=subprocess.PIPE, pass_fds=[number], start_new_session=True)
    assert process.stdin
    atexit.register(process.wait)
    atexit.register(process.stdin.close)
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(address))
        asking.shutdown(socket.SHUT_WR)
        asking.recv(1)
