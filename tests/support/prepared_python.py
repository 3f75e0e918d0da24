"""Run scripts of the standard library, each in a fork of a process with imported modules.

Python and these modules take 0.1 s of CPU to start; a fork takes 5 ms. The forking process has one thread, imports
nothing of this repository, and runs isolated (`python -I`), as the scripts do in a job.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from typing import Protocol

_SERVER = '''
import argparse, atexit, calendar, concurrent.futures, dataclasses, functools, gzip, hashlib, html, http.client, io, json
import os, pathlib, platform, re, shlex, signal, socket, ssl, stat, subprocess, sys, tempfile, threading, time, traceback
import typing, urllib.error, urllib.parse, urllib.request, zipfile, zlib

compiled = functools.cache(compile)

def serve(requests, answers):
    """Answer each request with the result of a child; in that child, return the request and its program."""
    for line in requests:
        request = json.loads(line)
        program = compiled(request["script"], request["argv"][0], "exec")
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            if not (child := os.fork()):
                with open(os.devnull) as nothing:
                    os.dup2(nothing.fileno(), 0)
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                return request, program
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            texts = [(file.seek(0), file.read().decode())[1] for file in (out, err)]
        answers.write(json.dumps([code, *texts]) + "\\n")
        answers.flush()
    sys.exit()

def run(program):
    """Run the program, and return the exit code that Python would return."""
    try:
        exec(program, {"__name__": "__main__", "__file__": sys.argv[0]})
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0

def use_clock(url):
    """Let a sleep move the clock of a sandbox, and take no real time."""
    skipped, wall, monotonic = [0.0], time.time, time.monotonic
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    def sleep(seconds):
        body = json.dumps({"advance": seconds}).encode()
        opener.open(urllib.request.Request(url, body, {"Content-Type": "application/json"}), timeout=30).close()
        skipped[0] += seconds
    time.sleep = sleep
    time.time = lambda: wall() + skipped[0]
    time.monotonic = lambda: monotonic() + skipped[0]

request, program = serve(sys.stdin, sys.stdout)
signal.alarm(60)
if request["clock"]:
    use_clock(request["clock"])
os.environ.clear()
os.environ.update(request["environ"])
os.chdir(request["folder"])
sys.argv = request["argv"]
sys.stdin = open(0)
code = run(program)
threading._shutdown()
atexit._run_exitfuncs()
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)  # to free every module takes three times as long as the fork
'''


class RunPython(Protocol):
    """Runs a script as `python -I`; it fails after 60 seconds."""

    def __call__(
        self, script: str, *, environ: Mapping[str, str], folder: Path, argv: Sequence[str] = ("-c",), clock: str = ""
    ) -> CompletedProcess[str]:
        """`clock`: URL of a sandbox's clock by which the script sleeps; "" is the clock of this machine."""
        ...


@contextmanager
def prepared_python() -> Iterator[RunPython]:
    """Start the forking process, and stop it at the end."""
    argv = [sys.executable, "-I", "-c", _SERVER]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin
        assert server.stdout
        requests, answers = server.stdin, server.stdout

        def run(
            script: str,
            *,
            environ: Mapping[str, str],
            folder: Path,
            argv: Sequence[str] = ("-c",),
            clock: str = "",
        ) -> CompletedProcess[str]:
            request = {"script": script, "environ": dict(environ), "folder": str(folder), "argv": list(map(str, argv))}
            request["clock"] = clock
            requests.write(json.dumps(request) + "\n")
            requests.flush()
            code, out, err = json.loads(answers.readline())
            return CompletedProcess(list(argv), code, out, err)

        yield run


def fresh_python(
    script: str, *, environ: Mapping[str, str], folder: Path, argv: Sequence[str] = ("-c",), clock: str = ""
) -> CompletedProcess[str]:
    """Run a script in a process without imported modules, to show that it imports all that it uses.

    It has no use for `clock`: the script sleeps by the clock of this machine.
    """
    return subprocess.run(
        [sys.executable, "-I", "-c", script, *argv[1:]],
        env=dict(environ),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
